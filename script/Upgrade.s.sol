// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";

import {AppAuth} from "../contracts/AppAuth.sol";
import {IGoverned} from "../contracts/interfaces/IGoverned.sol";
import {IKmsAuth} from "../contracts/interfaces/IKmsAuth.sol";
import {IManagedAppAuth} from "../contracts/interfaces/IManagedAppAuth.sol";
import {KmsAuth} from "../contracts/KmsAuth.sol";
import {PolicyLabels} from "../contracts/PolicyLog.sol";
import {Operation} from "./support/Operation.sol";
import {vm} from "./support/Vm.sol";

// Usage: KMS_CONTRACT_ADDR=0x… forge script script/Upgrade.s.sol:UpgradeKms --rpc-url … --broadcast --ledger
// They deploy today's implementation and point the owner's proxy at it. The upgrade is simulated first, and
// refused, with nothing sent, when the proxy's storage is not the one the new code reads.
//
// Where the contract has a delay, the first run deploys and schedules; a run after the delay carries out what was
// scheduled, and one before only tells until when it waits. Where the owner is a contract, the signer, who may be
// anyone, deploys the implementation, and the call that the owner must execute is printed.
// Env: IMPLEMENTATION, one that is deployed already (none).

abstract contract Upgrade is Operation {
    /// @dev Everything the getters tell that must be the same before and after.
    function _state(address proxy) internal view virtual returns (bytes memory);

    function _deployImplementation() internal virtual returns (address);

    function _upgrade(address proxy, string memory name) internal {
        address before = _implementationOf(proxy);
        require(before != address(0), string.concat(name, ": not an ERC-1967 proxy"));
        _state(proxy);
        address[] memory owner = new address[](1);
        owner[0] = _ownerOf(proxy);
        _isSignerOrContract(owner, "owner", proxy);

        (address implementation, bytes memory initialization, uint64 activatesAt) = _scheduledUpgrade(proxy);
        if (_isSet("IMPLEMENTATION")) {
            address chosen = _contractFromEnv("IMPLEMENTATION");
            if (chosen != implementation) (initialization, activatesAt) = ("", 0);
            implementation = chosen;
        } else if (implementation == address(0)) {
            _startBroadcast();
            implementation = _deployImplementation();
            vm.stopBroadcast();
            _say("Implementation deployed:", implementation);
        }
        _checkLayout(proxy, before, implementation, name);

        _say(string.concat(name, " proxy:"), proxy);
        _say("Implementation before:", before);
        // The contract decides; this only tells.
        // forge-lint: disable-next-line(block-timestamp)
        if (activatesAt > block.timestamp) {
            _say("Implementation scheduled:", implementation);
            _say("Nothing is sent: the upgrade waits. Pending until:", activatesAt);
            return;
        }
        if (activatesAt != 0) _say("The upgrade was scheduled, and its time has come: it is carried out.");
        bytes memory call = abi.encodeCall(UUPSUpgradeable.upgradeToAndCall, (implementation, initialization));
        bool sent = _perform(owner, "owner", proxy, call, _text("Implementation:", implementation));
        if (!sent) return;
        bool isDone = _implementationOf(proxy) == implementation;
        _say(isDone ? "Implementation now:" : "Implementation scheduled:", implementation);
    }

    /// @dev Zeros when none waits.
    function _scheduledUpgrade(address proxy)
        private
        view
        returns (address implementation, bytes memory initialization, uint64 activatesAt)
    {
        if (!_isGoverned(proxy)) return (address(0), "", 0);
        IGoverned.PendingChange[] memory pending = IGoverned(proxy).pendingChanges();
        for (uint256 i = 0; i < pending.length; i++) {
            if (pending[i].policy != PolicyLabels.IMPLEMENTATION_UPGRADE) continue;
            (, initialization) = abi.decode(pending[i].data, (bytes32, bytes));
            return (address(uint160(uint256(pending[i].value))), initialization, pending[i].activatesAt);
        }
    }

    /// @dev Reads the proxy's storage with the new code, in the simulation only.
    function _checkLayout(address proxy, address before, address implementation, string memory name) private {
        bytes32 state = keccak256(_state(proxy));
        vm.store(proxy, IMPLEMENTATION_SLOT, bytes32(uint256(uint160(implementation))));
        require(
            keccak256(_state(proxy)) == state,
            string.concat(name, ": the new implementation would read the storage otherwise")
        );
        vm.store(proxy, IMPLEMENTATION_SLOT, bytes32(uint256(uint160(before))));
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
        IKmsAuth kms = IKmsAuth(proxy);
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
        IManagedAppAuth app = IManagedAppAuth(proxy);
        // The earliest contracts kept the app id in slot 0, and everything else one slot further.
        require(
            _answers(proxy, abi.encodeCall(app.allowedComposeHashes, (bytes32(0))))
                && !_answers(proxy, abi.encodeWithSignature("appId()")),
            "APP_CONTRACT_ADDR: not an app contract with today's storage layout; deploy a new one"
        );
        return abi.encode(app.owner(), app.pendingOwner(), app.allowAnyDevice());
    }
}
