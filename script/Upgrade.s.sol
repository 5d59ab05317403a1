// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";

import {AppAuth} from "../contracts/AppAuth.sol";
import {KmsAuth} from "../contracts/KmsAuth.sol";
import {BylawScript} from "./support/BylawScript.sol";
import {vm} from "./support/Vm.sol";

// Usage: KMS_CONTRACT_ADDR=0x… forge script script/Upgrade.s.sol:UpgradeKms --rpc-url … --broadcast --ledger
// They deploy today's implementation and point the owner's proxy at it. The upgrade is simulated first, and
// refused, with nothing sent, when the proxy's storage is not the one the new code reads.

abstract contract Upgrade is BylawScript {
    /// @dev Everything the getters tell that must be the same before and after.
    function _state(address proxy) internal view virtual returns (bytes memory);

    function _deployImplementation() internal virtual returns (address);

    function _upgrade(address proxy, string memory name) internal {
        address before = _implementationOf(proxy);
        require(before != address(0), string.concat(name, ": not an ERC-1967 proxy"));
        bytes memory state = _state(proxy);

        _startBroadcast();
        address implementation = _deployImplementation();
        UUPSUpgradeable(proxy).upgradeToAndCall(implementation, "");
        vm.stopBroadcast();

        require(
            keccak256(_state(proxy)) == keccak256(state),
            string.concat(name, ": the new implementation would read the storage otherwise")
        );
        _say(string.concat(name, " proxy:"), proxy);
        _say("Implementation before:", before);
        _say("Implementation now:", implementation);
    }

    /// @dev Whether the contract answers a call of a getter with these arguments.
    function _answers(address target, bytes memory call) internal view returns (bool) {
        (bool success, bytes memory answer) = target.staticcall(call);
        return success && answer.length != 0;
    }
}

/// @dev Env: KMS_CONTRACT_ADDR.
contract UpgradeKms is Upgrade {
    function run() external {
        _upgrade(address(_kms()), "KmsAuth");
    }

    function _deployImplementation() internal override returns (address) {
        return address(new KmsAuth());
    }

    function _state(address proxy) internal view override returns (bytes memory) {
        KmsAuth kms = KmsAuth(proxy);
        // The earliest contracts kept other variables in slots 5 to 10, under other names.
        require(
            _answers(proxy, abi.encodeCall(kms.appImplementation, ()))
                && _answers(proxy, abi.encodeCall(kms.registeredApps, (address(0))))
                && _answers(proxy, abi.encodeCall(kms.allowedOsImages, (bytes32(0)))),
            "KMS_CONTRACT_ADDR: not a KMS contract with today's storage layout; deploy a new one"
        );
        (bytes memory k256Pubkey, bytes memory caPubkey, bytes memory quote, bytes memory eventlog) =
            kms.kmsInfo();
        return abi.encode(
            kms.owner(),
            kms.pendingOwner(),
            kms.appImplementation(),
            kms.gatewayAppId(),
            k256Pubkey,
            caPubkey,
            quote,
            eventlog
        );
    }
}

/// @dev Env: APP_CONTRACT_ADDR.
contract UpgradeApp is Upgrade {
    function run() external {
        _upgrade(address(_app()), "AppAuth");
    }

    function _deployImplementation() internal override returns (address) {
        return address(new AppAuth());
    }

    function _state(address proxy) internal view override returns (bytes memory) {
        AppAuth app = AppAuth(proxy);
        // The earliest contracts kept the app id in slot 0, and everything else one slot further.
        require(
            _answers(proxy, abi.encodeCall(app.allowedComposeHashes, (bytes32(0))))
                && !_answers(proxy, abi.encodeWithSignature("appId()")),
            "APP_CONTRACT_ADDR: not an app contract with today's storage layout; deploy a new one"
        );
        return abi.encode(app.owner(), app.pendingOwner(), app.allowAnyDevice());
    }
}
