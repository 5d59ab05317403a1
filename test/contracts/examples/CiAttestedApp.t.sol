// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";

import {CiAttestedApp} from "../../../contracts/examples/CiAttestedApp.sol";
import {ExampleTest, vm} from "./support/ExampleTest.sol";
import {AnsweringWallet, Wallet} from "./support/Wallets.sol";

contract CiAttestedAppTest is ExampleTest {
    string private constant NOT_ATTESTED = "Compose hash was not attested by enough CI signers";
    string private constant REVOKED = "Compose hash was revoked by a CI signer";
    string private constant TYPES =
        '{"types":{"EIP712Domain":[{"name":"name","type":"string"},{"name":"version","type":"string"},{"name":"chainId","type":"uint256"},{"name":"verifyingContract","type":"address"}],"BuildAttestation":[{"name":"composeHash","type":"bytes32"},{"name":"sourceCommit","type":"bytes32"},{"name":"notBefore","type":"uint64"},{"name":"notAfter","type":"uint64"}]},"primaryType":"BuildAttestation","domain":{"name":"CiAttestedApp","version":"1","chainId":';
    bytes32 private constant TYPEHASH = keccak256(
        "BuildAttestation(bytes32 composeHash,bytes32 sourceCommit,uint64 notBefore,uint64 notAfter)"
    );
    uint256 private constant GROUP_ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
    uint256 private constant OUTSIDER_KEY = 0xBAD;
    uint256 private constant SIGNERS = 4;

    /// @dev In ascending order of their addresses.
    uint256[] private keys;
    CiAttestedApp private app;

    function setUp() public override {
        super.setUp();
        for (uint256 key = 1; key <= SIGNERS; key++) {
            keys.push(key);
            for (uint256 i = keys.length - 1; i > 0 && vm.addr(keys[i]) < vm.addr(keys[i - 1]); i--) {
                (keys[i], keys[i - 1]) = (keys[i - 1], keys[i]);
            }
        }
        app = new CiAttestedApp(_accounts(15), 3);
        kms.registerApp(address(app));
    }

    // ------------------------------------------------------------ set-up

    function test_parameters_are_readable() public view {
        vm.assertEq(app.threshold(), 3);
        vm.assertEq(app.BUILD_ATTESTATION_TYPEHASH(), TYPEHASH);
        vm.assertEq(keccak256(abi.encode(app.signers())), keccak256(abi.encode(_accounts(15))));
        for (uint256 i = 0; i < SIGNERS; i++) {
            vm.assertEq(app.signers()[i], vm.addr(keys[i]));
            vm.assertTrue(app.isSigner(vm.addr(keys[i])));
        }
        vm.assertFalse(app.isSigner(STRANGER));
        vm.assertFalse(app.isSigner(address(0)));
    }

    function test_interfaces() public view {
        _assertInterfaces(address(app));
    }

    function test_constructor_refuses_thresholds_nobody_or_everybody_meets() public {
        address[] memory accounts = _accounts(15);
        uint256[2] memory wrong = [uint256(0), 5];
        for (uint256 i = 0; i < 2; i++) {
            vm.expectRevert(abi.encodeWithSelector(CiAttestedApp.InvalidThreshold.selector, wrong[i]));
            new CiAttestedApp(accounts, wrong[i]);
        }
        vm.expectRevert(abi.encodeWithSelector(CiAttestedApp.InvalidThreshold.selector, 1));
        new CiAttestedApp(new address[](0), 1);
        vm.assertEq(new CiAttestedApp(accounts, 1).threshold(), 1);
        vm.assertEq(new CiAttestedApp(accounts, 4).threshold(), 4);
    }

    function test_constructor_wants_signers_ascending() public {
        address[] memory accounts = _accounts(15);
        (accounts[1], accounts[2]) = (accounts[2], accounts[1]);
        _expectNotAscending(accounts[2]);
        new CiAttestedApp(accounts, 3);

        accounts = _accounts(15);
        accounts[3] = accounts[2];
        _expectNotAscending(accounts[3]);
        new CiAttestedApp(accounts, 3);

        accounts = _accounts(15);
        accounts[0] = address(0);
        _expectNotAscending(address(0));
        new CiAttestedApp(accounts, 3);
    }

    // ------------------------------------------------------------ what is signed

    function test_domain() public view {
        (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        ) = app.eip712Domain();
        vm.assertEq(bytes32(fields), bytes32(bytes1(0x0f)));
        vm.assertEq(name, "CiAttestedApp");
        vm.assertEq(version, "1");
        vm.assertEq(chainId, block.chainid);
        vm.assertEq(verifyingContract, address(app));
        vm.assertEq(salt, bytes32(0));
        vm.assertEq(extensions.length, 0);
    }

    /// @dev Against Foundry's own EIP-712, as a wallet would be asked.
    function testFuzz_digest(CiAttestedApp.BuildAttestation memory build, uint64 chainId) public {
        vm.chainId(chainId);
        string memory json = string.concat(
            TYPES,
            vm.toString(chainId),
            ',"verifyingContract":"',
            vm.toString(address(app)),
            '"},"message":{"composeHash":"',
            vm.toString(build.composeHash),
            '","sourceCommit":"',
            vm.toString(build.sourceCommit)
        );
        json = string.concat(
            json,
            '","notBefore":"',
            vm.toString(build.notBefore),
            '","notAfter":"',
            vm.toString(build.notAfter),
            '"}}'
        );
        vm.assertEq(app.attestationDigest(build), vm.eip712HashTypedData(json));
    }

    // ------------------------------------------------------------ attesting

    function test_attestation_from_signatures_to_verdict() public {
        _assertAnswer(address(app), COMPOSE, NOT_ATTESTED);
        CiAttestedApp.BuildAttestation memory build = _build();
        bytes32 digest = app.attestationDigest(build);
        vm.assertFalse(app.isAttested(digest));
        vm.expectEmit(address(app));
        emit CiAttestedApp.BuildAttested(COMPOSE, build);
        vm.prank(STRANGER); // anybody
        _attest(build, 7);

        vm.assertTrue(app.isAttested(digest));
        CiAttestedApp.BuildAttestation[] memory recorded = app.attestations(COMPOSE);
        vm.assertEq(recorded.length, 1);
        vm.assertEq(keccak256(abi.encode(recorded[0])), keccak256(abi.encode(build)));
        _assertAnswer(address(app), COMPOSE, "");
        _assertAnswer(address(app), keccak256("another"), NOT_ATTESTED);
        _assertAnswer(address(app), 0, NOT_ATTESTED);
        _assertKmsRulesFirst(address(app), COMPOSE);
    }

    /// @dev Every subset of the signers, against the rule.
    function testFuzz_any_threshold_of_signers_will_do(uint8 who, uint8 threshold) public {
        who = uint8(who % 16);
        threshold = uint8(_bound(threshold, 1, SIGNERS));
        app = new CiAttestedApp(_accounts(15), threshold);
        kms.registerApp(address(app));
        uint256 count = _accounts(who).length;
        if (count < threshold) {
            vm.expectRevert(abi.encodeWithSelector(CiAttestedApp.TooFewSignatures.selector, count, threshold));
        }
        _attest(_build(), who);
        _assertAnswer(address(app), COMPOSE, count < threshold ? NOT_ATTESTED : "");
    }

    function test_signers_must_ascend() public {
        CiAttestedApp.BuildAttestation memory build = _build();
        bytes32 digest = app.attestationDigest(build);
        address[] memory accounts = _accounts(7);
        bytes[] memory signatures = _signatures(digest, 7);
        (accounts[0], accounts[1]) = (accounts[1], accounts[0]);
        (signatures[0], signatures[1]) = (signatures[1], signatures[0]);
        _expectNotAscending(accounts[1]);
        app.attest(build, accounts, signatures);
    }

    function test_no_signer_counts_twice() public {
        CiAttestedApp.BuildAttestation memory build = _build();
        address[] memory accounts = _accounts(7);
        bytes[] memory signatures = _signatures(app.attestationDigest(build), 7);
        (accounts[1], signatures[1]) = (accounts[0], signatures[0]);
        _expectNotAscending(accounts[0]);
        app.attest(build, accounts, signatures);
    }

    /// @dev Not even hidden behind enough others.
    function test_one_wrong_signature_spoils_all() public {
        CiAttestedApp.BuildAttestation memory build = _build();
        bytes32 digest = app.attestationDigest(build);
        address[] memory accounts = _accounts(15);
        for (uint256 i = 0; i < SIGNERS; i++) {
            bytes[] memory signatures = _signatures(digest, 15);
            signatures[i] = _sign(OUTSIDER_KEY, digest);
            _expectInvalid(accounts[i]);
            app.attest(build, accounts, signatures);
        }
    }

    function test_outsiders_are_no_signers() public {
        CiAttestedApp.BuildAttestation memory build = _build();
        bytes32 digest = app.attestationDigest(build);
        address outsider = vm.addr(OUTSIDER_KEY);
        address[] memory accounts = new address[](3);
        bytes[] memory signatures = new bytes[](3);
        accounts[0] = outsider;
        signatures[0] = _sign(OUTSIDER_KEY, digest);
        vm.expectRevert(abi.encodeWithSelector(CiAttestedApp.UnknownSigner.selector, outsider));
        app.attest(build, accounts, signatures);

        accounts[0] = address(0);
        _expectNotAscending(address(0));
        app.attest(build, accounts, signatures);
    }

    function test_each_signer_has_a_signature() public {
        CiAttestedApp.BuildAttestation memory build = _build();
        bytes32 digest = app.attestationDigest(build);
        vm.expectRevert(abi.encodeWithSelector(CiAttestedApp.LengthMismatch.selector, 3, 4));
        app.attest(build, _accounts(7), _signatures(digest, 15));
        vm.expectRevert(abi.encodeWithSelector(CiAttestedApp.LengthMismatch.selector, 4, 3));
        app.attest(build, _accounts(15), _signatures(digest, 7));
        vm.expectRevert(abi.encodeWithSelector(CiAttestedApp.TooFewSignatures.selector, 0, 3));
        app.attest(build, new address[](0), new bytes[](0));
    }

    /// @dev Cut, stretched, with another v or the other s: no second form of a signature is taken.
    function test_malformed_signatures() public {
        CiAttestedApp.BuildAttestation memory build = _build();
        bytes32 digest = app.attestationDigest(build);
        address[] memory accounts = _accounts(7);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keys[0], digest);
        bytes[] memory wrong = new bytes[](6);
        wrong[1] = abi.encodePacked(r, s);
        wrong[2] = abi.encodePacked(r, s, v, uint8(0));
        wrong[3] = abi.encodePacked(r, s, v - 27);
        wrong[4] = abi.encodePacked(r, bytes32(GROUP_ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        wrong[5] = new bytes(65);
        for (uint256 i = 0; i < wrong.length; i++) {
            bytes[] memory signatures = _signatures(digest, 7);
            signatures[0] = wrong[i];
            _expectInvalid(accounts[0]);
            app.attest(build, accounts, signatures);
        }
    }

    /// @dev Signatures are for every field of what they were made for.
    function testFuzz_signatures_are_for_one_attestation(uint8 field, uint256 change) public {
        CiAttestedApp.BuildAttestation memory build = _build();
        bytes[] memory signatures = _signatures(app.attestationDigest(build), 7);
        field = field % 4;
        if (field == 0) build.composeHash ^= bytes32(_bound(change, 1, type(uint256).max - 1));
        if (field == 1) build.sourceCommit ^= bytes32(_bound(change, 1, type(uint256).max - 1));
        if (field == 2) build.notBefore -= uint64(_bound(change, 1, START));
        if (field == 3) build.notAfter += uint64(_bound(change, 1, 1000 days));
        _expectInvalid(vm.addr(keys[0]));
        app.attest(build, _accounts(7), signatures);
    }

    // ------------------------------------------------------------ replay

    function testFuzz_no_replay_on_another_chain(uint64 chainId) public {
        vm.assume(chainId != block.chainid);
        CiAttestedApp.BuildAttestation memory build = _build();
        bytes[] memory signatures = _signatures(app.attestationDigest(build), 7);
        uint256 here = block.chainid;
        vm.chainId(chainId);
        _expectInvalid(vm.addr(keys[0]));
        app.attest(build, _accounts(7), signatures);
        vm.chainId(here);
        app.attest(build, _accounts(7), signatures);
    }

    function test_no_replay_at_another_contract() public {
        CiAttestedApp.BuildAttestation memory build = _build();
        bytes[] memory signatures = _signatures(app.attestationDigest(build), 7);
        CiAttestedApp twin = new CiAttestedApp(_accounts(15), 3);
        _expectInvalid(vm.addr(keys[0]));
        twin.attest(build, _accounts(7), signatures);
    }

    function test_the_same_attestation_counts_once() public {
        CiAttestedApp.BuildAttestation memory build = _build();
        _attest(build, 7);
        bytes32 digest = app.attestationDigest(build);
        bytes[] memory signatures = _signatures(digest, 14);
        vm.expectRevert(abi.encodeWithSelector(CiAttestedApp.AlreadyAttested.selector, digest));
        app.attest(build, _accounts(14), signatures);
        vm.assertEq(app.attestations(COMPOSE).length, 1);
    }

    // ------------------------------------------------------------ time

    function test_window_to_the_second() public {
        CiAttestedApp.BuildAttestation memory build = _build();
        build.notBefore = uint64(START + 10);
        build.notAfter = uint64(START + 20);
        _attest(build, 7);
        _assertAnswer(address(app), COMPOSE, "Build attestation starts at 1700000010");
        vm.warp(START + 9);
        _assertAnswer(address(app), COMPOSE, "Build attestation starts at 1700000010");
        vm.warp(START + 10);
        _assertAnswer(address(app), COMPOSE, "");
        vm.warp(START + 20);
        _assertAnswer(address(app), COMPOSE, "");
        vm.warp(START + 21);
        _assertAnswer(address(app), COMPOSE, "Build attestation expired after 1700000020");
    }

    function test_what_is_over_is_not_recorded() public {
        CiAttestedApp.BuildAttestation memory build = _build();
        build.notAfter = build.notBefore = uint64(START); // one second long
        vm.warp(START + 1);
        bytes[] memory signatures = _signatures(app.attestationDigest(build), 7);
        vm.expectRevert(abi.encodeWithSelector(CiAttestedApp.AttestationExpired.selector, START));
        app.attest(build, _accounts(7), signatures);
        vm.warp(START);
        app.attest(build, _accounts(7), signatures);
        _assertAnswer(address(app), COMPOSE, "");
    }

    function test_what_ends_before_it_starts_is_not_recorded() public {
        CiAttestedApp.BuildAttestation memory build = _build();
        build.notBefore = build.notAfter + 1;
        bytes[] memory signatures = _signatures(app.attestationDigest(build), 7);
        vm.expectRevert(CiAttestedApp.InvalidWindow.selector);
        app.attest(build, _accounts(7), signatures);
    }

    function test_reasons_between_attestations() public {
        uint16[6] memory windows = [uint16(100), 110, 300, 310, 200, 210];
        for (uint256 i = 0; i < 6; i += 2) {
            _attest(_build(START + windows[i], START + windows[i + 1], i), 7);
        }
        _assertAnswer(address(app), COMPOSE, "Build attestation starts at 1700000100");
        vm.warp(START + 150);
        _assertAnswer(address(app), COMPOSE, "Build attestation starts at 1700000200");
        vm.warp(START + 311);
        _assertAnswer(address(app), COMPOSE, "Build attestation expired after 1700000310");
    }

    /// @dev Allowed while any of them is valid, whatever the order in which they came.
    function testFuzz_attestations_add_up(uint8[6] memory bounds, uint8 passed, bool reverse) public {
        bool expected;
        for (uint256 i = 0; i < 3; i++) {
            uint256 n = reverse ? 2 - i : i;
            (uint256 from, uint256 to) = (bounds[2 * n], bounds[2 * n + 1]);
            if (from > to) (from, to) = (to, from);
            _attest(_build(START + from, START + to, n), 7);
            if (from <= passed && passed <= to) expected = true;
        }
        vm.assertEq(app.attestations(COMPOSE).length, 3);
        vm.warp(START + passed);
        (bool isAllowed, string memory reason) = kms.isAppAllowed(_bootInfo(address(app), COMPOSE));
        vm.assertEq(isAllowed, expected);
        vm.assertEq(bytes(reason).length == 0, expected);
    }

    // ------------------------------------------------------------ revoking

    function testFuzz_any_signer_revokes_for_good(uint8 who) public {
        address signer = vm.addr(keys[who % SIGNERS]);
        _attest(_build(), 7);
        _assertAnswer(address(app), COMPOSE, "");
        vm.assertEq(app.revokedBy(COMPOSE), address(0));
        vm.expectEmit(address(app));
        emit CiAttestedApp.ComposeHashRevoked(COMPOSE, signer);
        vm.prank(signer);
        app.revoke(COMPOSE);
        vm.assertEq(app.revokedBy(COMPOSE), signer);
        _assertAnswer(address(app), COMPOSE, REVOKED);

        // Not even all signers bring it back.
        CiAttestedApp.BuildAttestation memory again = _build(START, START + 1 days, 1);
        bytes[] memory signatures = _signatures(app.attestationDigest(again), 15);
        bytes memory revoked = abi.encodeWithSelector(CiAttestedApp.AlreadyRevoked.selector, COMPOSE, signer);
        vm.expectRevert(revoked);
        app.attest(again, _accounts(15), signatures);
        vm.prank(signer);
        vm.expectRevert(revoked);
        app.revoke(COMPOSE);
        _assertAnswer(address(app), COMPOSE, REVOKED);
    }

    function test_revoking_before_any_attestation() public {
        vm.prank(vm.addr(keys[3]));
        app.revoke(COMPOSE);
        _assertAnswer(address(app), COMPOSE, REVOKED);
        _assertAnswer(address(app), keccak256("another"), NOT_ATTESTED);
    }

    function testFuzz_only_signers_revoke(address caller) public {
        vm.assume(!app.isSigner(caller));
        _attest(_build(), 7);
        vm.prank(caller);
        vm.expectRevert(abi.encodeWithSelector(CiAttestedApp.UnknownSigner.selector, caller));
        app.revoke(COMPOSE);
        _assertAnswer(address(app), COMPOSE, "");
    }

    // ------------------------------------------------------------ signers that are contracts

    function test_contracts_sign_by_erc1271() public {
        _assertContractSigner(address(new Wallet(vm.addr(OUTSIDER_KEY))), true);
    }

    function test_a_contract_that_says_no() public {
        _assertContractSigner(address(new Wallet(STRANGER)), false);
    }

    function test_contracts_that_answer_otherwise() public {
        bytes4 yes = IERC1271.isValidSignature.selector;
        AnsweringWallet wallet = new AnsweringWallet();
        wallet.set(abi.encode(yes), false);
        _assertContractSigner(address(wallet), true);
        wallet.set(abi.encode(yes, "more"), false);
        _assertContractSigner(address(wallet), true);

        bytes[4] memory answers = [
            bytes(""), // nothing
            abi.encodePacked(yes), // too short
            abi.encode(uint256(1)), // a bool
            abi.encodePacked(yes, bytes28(uint224(1))) // not a bytes4
        ];
        for (uint256 i = 0; i < answers.length; i++) {
            wallet.set(answers[i], false);
            _assertContractSigner(address(wallet), false);
        }
        wallet.set(abi.encode(yes), true); // reverts with it
        _assertContractSigner(address(wallet), false);
    }

    // ------------------------------------------------------------ helpers

    /// @dev Two signers, a key and a contract, both needed.
    function _assertContractSigner(address wallet, bool valid) private {
        address account = vm.addr(keys[0]);
        bool walletFirst = wallet < account;
        address[] memory accounts = new address[](2);
        (accounts[0], accounts[1]) = walletFirst ? (wallet, account) : (account, wallet);
        app = new CiAttestedApp(accounts, 2);
        kms.registerApp(address(app));

        CiAttestedApp.BuildAttestation memory build = _build();
        bytes32 digest = app.attestationDigest(build);
        bytes[] memory signatures = new bytes[](2);
        signatures[walletFirst ? 1 : 0] = _sign(keys[0], digest);
        signatures[walletFirst ? 0 : 1] = _sign(OUTSIDER_KEY, digest);
        if (!valid) _expectInvalid(wallet);
        app.attest(build, accounts, signatures);
        _assertAnswer(address(app), COMPOSE, valid ? "" : NOT_ATTESTED);

        vm.prank(wallet);
        app.revoke(COMPOSE);
        _assertAnswer(address(app), COMPOSE, REVOKED);
    }

    function _build() private pure returns (CiAttestedApp.BuildAttestation memory) {
        return _build(START, START + 30 days, 0);
    }

    function _build(uint256 notBefore, uint256 notAfter, uint256 commit)
        private
        pure
        returns (CiAttestedApp.BuildAttestation memory)
    {
        return CiAttestedApp.BuildAttestation(
            COMPOSE, keccak256(abi.encode("commit", commit)), uint64(notBefore), uint64(notAfter)
        );
    }

    /// @dev By the signers whose bits are set.
    function _attest(CiAttestedApp.BuildAttestation memory build, uint256 who) private {
        app.attest(build, _accounts(who), _signatures(_digest(build), who));
    }

    /// @dev Computed here, so that {_attest} makes one call only, and expectations are about that.
    function _digest(CiAttestedApp.BuildAttestation memory build) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("CiAttestedApp"),
                keccak256("1"),
                block.chainid,
                app
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, keccak256(abi.encode(TYPEHASH, build))));
    }

    function _accounts(uint256 who) private view returns (address[] memory accounts) {
        accounts = new address[](_count(who));
        uint256 next;
        for (uint256 i = 0; i < SIGNERS; i++) {
            if (who >> i & 1 != 0) accounts[next++] = vm.addr(keys[i]);
        }
    }

    function _signatures(bytes32 digest, uint256 who) private view returns (bytes[] memory signatures) {
        signatures = new bytes[](_count(who));
        uint256 next;
        for (uint256 i = 0; i < SIGNERS; i++) {
            if (who >> i & 1 != 0) signatures[next++] = _sign(keys[i], digest);
        }
    }

    function _count(uint256 who) private pure returns (uint256 count) {
        for (; who != 0; who >>= 1) {
            count += who & 1;
        }
    }

    function _sign(uint256 key, bytes32 digest) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function _expectInvalid(address signer) private {
        vm.expectRevert(abi.encodeWithSelector(CiAttestedApp.InvalidSignature.selector, signer));
    }

    function _expectNotAscending(address signer) private {
        vm.expectRevert(abi.encodeWithSelector(CiAttestedApp.SignersNotAscending.selector, signer));
    }
}
