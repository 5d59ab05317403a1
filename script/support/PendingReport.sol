// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {AppPolicies} from "../../contracts/governance/AppPolicies.sol";
import {IGoverned} from "../../contracts/interfaces/IGoverned.sol";
import {PolicyLabels} from "../../contracts/PolicyLog.sol";
import {PolicyText} from "./PolicyText.sol";
import {vm} from "./Vm.sol";

/// @dev What waits at a contract, in words.
abstract contract PendingReport is PolicyText {
    function _reportPending(address target) internal view {
        IGoverned.PendingChange[] memory pending = IGoverned(target).pendingChanges();
        for (uint256 i = 0; i < pending.length; i++) {
            _say("Change id:", pending[i].id);
            _say(string.concat("  what: ", _describe(pending[i])));
            _say(
                string.concat(
                    "  pending until: ", vm.toString(uint256(pending[i].activatesAt)), _left(pending[i])
                )
            );
        }
    }

    function _left(IGoverned.PendingChange memory change) private view returns (string memory) {
        // forge-lint: disable-next-line(block-timestamp)
        if (change.activatesAt <= block.timestamp) return " (can be carried out)";
        return string.concat(" (", vm.toString(change.activatesAt - block.timestamp), " seconds left)");
    }

    function _describe(IGoverned.PendingChange memory change) internal pure returns (string memory) {
        bytes32 value = change.value;
        if (change.policy == PolicyLabels.DELAY) return _text("delay in seconds", uint256(value));
        if (change.policy == PolicyLabels.POLICY) {
            return string.concat("policy ", _oneLine(AppPolicies.unpack(value)));
        }
        if (change.policy == PolicyLabels.GATEWAY_APP_ID) {
            return string.concat("gateway-app-id ", string(change.data));
        }
        if (change.policy == PolicyLabels.COMPOSE_HASH) {
            bytes32 superseded = abi.decode(change.data, (bytes32));
            string memory added = _text("compose-hash", value);
            return superseded == 0 ? added : _text(string.concat(added, ", which retires"), superseded);
        }
        if (change.policy == PolicyLabels.IMPLEMENTATION_UPGRADE) {
            (, bytes memory call) = abi.decode(change.data, (bytes32, bytes));
            string memory upgrade = _text("implementation-upgrade", _address(value));
            return call.length == 0 ? upgrade : string.concat(upgrade, " with the call ", vm.toString(call));
        }
        (string memory label, bool isAddress) = _labelOf(change.policy);
        if (isAddress) return _text(label, _address(value));
        return value == 0 ? label : _text(label, value);
    }

    function _labelOf(bytes32 policy) private pure returns (string memory label, bool isAddress) {
        string[6] memory ofAddresses =
            ["guardian", "owner", "app-implementation", "registered-app", "app-unpaused", "app-paused"];
        for (uint256 i = 0; i < ofAddresses.length; i++) {
            if (policy == keccak256(bytes(ofAddresses[i]))) return (ofAddresses[i], true);
        }
        string[7] memory others =
            ["kms-info", "kms-aggregated-mr", "kms-device", "os-image", "device", "advisory", "unpaused"];
        for (uint256 i = 0; i < others.length; i++) {
            if (policy == keccak256(bytes(others[i]))) return (others[i], false);
        }
        return (vm.toString(policy), false);
    }

    function _address(bytes32 word) internal pure returns (address) {
        return address(uint160(uint256(word)));
    }
}
