// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {
    CompatibilityFallbackHandler
} from "@safe-global/safe-smart-account/contracts/handler/CompatibilityFallbackHandler.sol";
import {ISafe} from "@safe-global/safe-smart-account/contracts/interfaces/ISafe.sol";
import {MultiSend} from "@safe-global/safe-smart-account/contracts/libraries/MultiSend.sol";
import {SafeProxyFactory} from "@safe-global/safe-smart-account/contracts/proxies/SafeProxyFactory.sol";
import {SafeL2} from "@safe-global/safe-smart-account/contracts/SafeL2.sol";

import {IGoverned} from "../contracts/interfaces/IGoverned.sol";
import {IOwnedProxy} from "../contracts/interfaces/IOwnedProxy.sol";
import {PolicyLabels} from "../contracts/PolicyLog.sol";
import {Operation} from "./support/Operation.sol";
import {vm} from "./support/Vm.sol";

// Usage: SAFE_OWNERS=0x…,0x…,0x… SAFE_THRESHOLD=2 forge script script/Safe.s.sol:DeploySafe --rpc-url … --broadcast
//        SAFE=0x… KMS_CONTRACT_ADDR=0x… forge script script/Safe.s.sol:HandOverToSafe --rpc-url … --broadcast
// Where Safe's own contracts exist on the chain, name them: what everybody uses needs no trust in this build.

/// @notice A new Safe. Whatever is not given is deployed from Safe's sources.
/// @dev Env: SAFE_OWNERS (addresses with commas between them), SAFE_THRESHOLD; SAFE_SINGLETON, SAFE_FACTORY,
/// SAFE_FALLBACK_HANDLER, SAFE_MULTISEND (each deployed when not given), SAFE_SALT_NONCE (0).
contract DeploySafe is Operation {
    function run() external {
        address[] memory owners = vm.envAddress("SAFE_OWNERS", ",");
        uint256 threshold = vm.envUint("SAFE_THRESHOLD");
        require(
            threshold != 0 && threshold <= owners.length,
            "SAFE_THRESHOLD: must be at least 1 and at most the number of SAFE_OWNERS"
        );

        address singleton = _given("SAFE_SINGLETON");
        address factory = _given("SAFE_FACTORY");
        address handler = _given("SAFE_FALLBACK_HANDLER");
        address multiSend = _given("SAFE_MULTISEND");
        _startBroadcast();
        if (singleton == address(0)) singleton = address(new SafeL2());
        if (factory == address(0)) factory = address(new SafeProxyFactory());
        if (handler == address(0)) handler = address(new CompatibilityFallbackHandler());
        if (multiSend == address(0)) multiSend = address(new MultiSend());
        address safe = address(
            SafeProxyFactory(factory)
                .createProxyWithNonce(
                    singleton, _setup(owners, threshold, handler), vm.envOr("SAFE_SALT_NONCE", uint256(0))
                )
        );
        vm.stopBroadcast();

        _say("Safe singleton:", singleton);
        _say("Safe proxy factory:", factory);
        _say("Safe fallback handler:", handler);
        _say("Safe MultiSend:", multiSend);
        _say("Safe:", safe);
        _say("Safe threshold:", SafeL2(payable(safe)).getThreshold());
        owners = SafeL2(payable(safe)).getOwners();
        for (uint256 i = 0; i < owners.length; i++) {
            _say("Safe owner:", owners[i]);
        }
    }

    function _given(string memory name) private view returns (address) {
        return _isSet(name) ? _contractFromEnv(name) : address(0);
    }

    /// @dev Without modules and without paying whoever deploys it.
    function _setup(address[] memory owners, uint256 threshold, address handler)
        private
        pure
        returns (bytes memory)
    {
        return abi.encodeCall(
            ISafe.setup, (owners, threshold, address(0), "", handler, address(0), 0, payable(address(0)))
        );
    }
}

/// @notice Offers contracts to a Safe, which owns them once it has accepted.
/// @dev Env: SAFE; KMS_CONTRACT_ADDR, APP_CONTRACT_ADDR or both.
contract HandOverToSafe is Operation {
    function run() external {
        address safe = _contractFromEnv("SAFE");
        require(_isSafe(safe), "SAFE: not a Safe");
        bool kms = _isSet("KMS_CONTRACT_ADDR");
        bool app = _isSet("APP_CONTRACT_ADDR");
        require(kms || app, "nothing to hand over: give KMS_CONTRACT_ADDR, APP_CONTRACT_ADDR or both");
        if (kms) _handOver(_contractFromEnv("KMS_CONTRACT_ADDR"), safe);
        if (app) _handOver(_contractFromEnv("APP_CONTRACT_ADDR"), safe);
    }

    function _handOver(address target, address safe) private {
        if (_ownerOf(target) == safe) {
            _say("The Safe owns it already:", target);
            return;
        }
        bytes memory call = abi.encodeCall(IOwnedProxy.transferOwnership, (safe));
        _asOwner(
            target, call, _text(string.concat("Ownership of ", vm.toString(target), " offered to"), safe)
        );
        _say("Until it accepts, the owner is still:", _ownerOf(target));
        _say("The Safe must then execute:");
        _say("Accept target:", target);
        _say("Accept value: 0");
        _say(string.concat("Accept calldata: ", vm.toString(abi.encodeCall(IOwnedProxy.acceptOwnership, ()))));
        _say(string.concat("Accept from: ", _time(_acceptableFrom(target), "at once")));
    }

    function _acceptableFrom(address target) private view returns (uint64) {
        if (!_isGoverned(target)) return 0;
        IGoverned.PendingChange[] memory pending = IGoverned(target).pendingChanges();
        for (uint256 i = 0; i < pending.length; i++) {
            if (pending[i].policy == PolicyLabels.OWNER) return pending[i].activatesAt;
        }
        return 0;
    }
}
