// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {Strings} from "@openzeppelin/contracts/utils/Strings.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {ERC165} from "@openzeppelin/contracts/utils/introspection/ERC165.sol";

import {IAppAuth} from "../interfaces/IAppAuth.sol";

/// @title An app whose versions run once enough CI systems reproduced them from source
/// @notice Nobody owns this contract and nothing replaces it: its signers and their threshold are fixed. A
/// compose hash runs while an attestation of it is valid and no signer has revoked it. Its address is the
/// app's id.
/// @dev Looks at the compose hash alone: any device and any TCB status will do. Attestations only add up: what
/// is recorded later, or again, takes nothing away, so it does not matter who submits what in which order.
contract CiAttestedApp is ERC165, EIP712, IAppAuth {
    /// @notice What signers sign: building `sourceCommit` gives `composeHash`, which may run from `notBefore`
    /// to `notAfter`, both inclusive, in seconds since 1970.
    struct BuildAttestation {
        bytes32 composeHash;
        bytes32 sourceCommit;
        uint64 notBefore;
        uint64 notAfter;
    }

    /// @notice Enough signers attested a build.
    event BuildAttested(bytes32 indexed composeHash, BuildAttestation attestation);
    /// @notice The compose hash gets no more keys, for good.
    event ComposeHashRevoked(bytes32 indexed composeHash, address indexed signer);

    /// @notice The threshold is zero or more than there are signers.
    error InvalidThreshold(uint256 threshold);
    /// @notice A signer is not above the one before it (the first: above zero), so it may be there twice.
    error SignersNotAscending(address signer);
    /// @notice Not in {signers}.
    error UnknownSigner(address signer);
    /// @notice Signers and signatures differ in number.
    error LengthMismatch(uint256 signers, uint256 signatures);
    /// @notice Fewer signatures than {threshold}.
    error TooFewSignatures(uint256 given, uint256 needed);
    /// @notice Not what this signer would have signed for this contract on this chain.
    error InvalidSignature(address signer);
    /// @notice The attestation ends before it starts.
    error InvalidWindow();
    /// @notice The attestation is over.
    error AttestationExpired(uint64 notAfter);
    /// @notice The same attestation was recorded before.
    error AlreadyAttested(bytes32 digest);
    /// @notice A signer revoked the compose hash before.
    error AlreadyRevoked(bytes32 composeHash, address signer);

    /// @notice EIP-712 type hash of {BuildAttestation}.
    bytes32 public constant BUILD_ATTESTATION_TYPEHASH = keccak256(
        "BuildAttestation(bytes32 composeHash,bytes32 sourceCommit,uint64 notBefore,uint64 notAfter)"
    );

    /// @notice How many signers must attest a build.
    uint256 public immutable threshold;
    /// @notice Whether an account is a signer.
    mapping(address account => bool) public isSigner;
    /// @notice Whether the attestation with this digest was recorded.
    mapping(bytes32 digest => bool) public isAttested;
    /// @notice The signer that revoked a compose hash; zero if none did.
    mapping(bytes32 composeHash => address signer) public revokedBy;

    address[] private _signers;
    mapping(bytes32 composeHash => BuildAttestation[]) private _attestations;

    /// @param signers_ The CI systems' accounts, or contracts that answer ERC-1271, in ascending order.
    /// @param threshold_ How many of them must attest a build; 1 … their number.
    constructor(address[] memory signers_, uint256 threshold_) EIP712("CiAttestedApp", "1") {
        if (threshold_ == 0 || threshold_ > signers_.length) revert InvalidThreshold(threshold_);
        address previous;
        for (uint256 i = 0; i < signers_.length; ++i) {
            if (signers_[i] <= previous) revert SignersNotAscending(signers_[i]);
            previous = signers_[i];
            isSigner[previous] = true;
        }
        _signers = signers_;
        threshold = threshold_;
    }

    /// @notice Records an attestation. Anybody may submit it, also before it starts.
    /// @param attestation What was signed.
    /// @param signers_ Who signed, in ascending order; at least {threshold}.
    /// @param signatures Theirs, in the same order: 65 bytes r, s, v, or what the ERC-1271 contract wants.
    function attest(
        BuildAttestation calldata attestation,
        address[] calldata signers_,
        bytes[] calldata signatures
    ) external {
        bytes32 composeHash = attestation.composeHash;
        if (revokedBy[composeHash] != address(0)) revert AlreadyRevoked(composeHash, revokedBy[composeHash]);
        if (attestation.notAfter < attestation.notBefore) revert InvalidWindow();
        // forge-lint: disable-next-line(block-timestamp)
        if (attestation.notAfter < block.timestamp) revert AttestationExpired(attestation.notAfter);
        bytes32 digest = attestationDigest(attestation);
        if (isAttested[digest]) revert AlreadyAttested(digest);
        if (signers_.length != signatures.length) revert LengthMismatch(signers_.length, signatures.length);
        if (signers_.length < threshold) revert TooFewSignatures(signers_.length, threshold);

        address previous;
        for (uint256 i = 0; i < signers_.length; ++i) {
            address signer = signers_[i];
            if (signer <= previous) revert SignersNotAscending(signer);
            if (!isSigner[signer]) revert UnknownSigner(signer);
            if (!SignatureChecker.isValidSignatureNowCalldata(signer, digest, signatures[i])) {
                revert InvalidSignature(signer);
            }
            previous = signer;
        }

        isAttested[digest] = true;
        _attestations[composeHash].push(attestation);
        emit BuildAttested(composeHash, attestation);
    }

    /// @notice Stops a compose hash for good, attested or not. Any signer may call it; nothing undoes it.
    /// @param composeHash SHA-256 of the exact bytes of app-compose.json.
    function revoke(bytes32 composeHash) external {
        if (!isSigner[msg.sender]) revert UnknownSigner(msg.sender);
        if (revokedBy[composeHash] != address(0)) revert AlreadyRevoked(composeHash, revokedBy[composeHash]);
        revokedBy[composeHash] = msg.sender;
        emit ComposeHashRevoked(composeHash, msg.sender);
    }

    /// @inheritdoc IAppAuth
    /// @dev Names the attestation that starts next, or else the end of the one that ended last.
    function isAppAllowed(AppBootInfo calldata bootInfo) external view returns (bool, string memory) {
        if (revokedBy[bootInfo.composeHash] != address(0)) {
            return (false, "Compose hash was revoked by a CI signer");
        }
        BuildAttestation[] storage recorded = _attestations[bootInfo.composeHash];
        uint256 time = block.timestamp;
        uint256 next = type(uint256).max;
        uint256 end;
        for (uint256 i = recorded.length; i > 0; --i) {
            uint256 notBefore = recorded[i - 1].notBefore;
            uint256 notAfter = recorded[i - 1].notAfter;
            if (notBefore <= time && time <= notAfter) return (true, "");
            if (time < notBefore && notBefore < next) next = notBefore;
            if (notAfter > end) end = notAfter;
        }
        if (recorded.length == 0) return (false, "Compose hash was not attested by enough CI signers");
        if (next != type(uint256).max) {
            return (false, string.concat("Build attestation starts at ", Strings.toString(next)));
        }
        return (false, string.concat("Build attestation expired after ", Strings.toString(end)));
    }

    /// @notice All signers, ascending.
    function signers() external view returns (address[] memory) {
        return _signers;
    }

    /// @notice All recorded attestations of a compose hash, in the order of their submission.
    function attestations(bytes32 composeHash) external view returns (BuildAttestation[] memory) {
        return _attestations[composeHash];
    }

    /// @notice What a signer signs, for this contract on the present chain.
    function attestationDigest(BuildAttestation calldata attestation) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(BUILD_ATTESTATION_TYPEHASH, attestation)));
    }

    /// @inheritdoc ERC165
    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return interfaceId == type(IAppAuth).interfaceId || super.supportsInterface(interfaceId);
    }
}
