// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IPolicyLog} from "./interfaces/IPolicyLog.sol";

/// @title Topics that name a rule in {IPolicyLog-PolicyChanged}
library PolicyLabels {
    bytes32 internal constant IMPLEMENTATION_UPGRADE = keccak256("implementation-upgrade");

    // KmsAuth
    bytes32 internal constant APP_IMPLEMENTATION = keccak256("app-implementation");
    bytes32 internal constant KMS_INFO = keccak256("kms-info");
    bytes32 internal constant GATEWAY_APP_ID = keccak256("gateway-app-id");
    bytes32 internal constant REGISTERED_APP = keccak256("registered-app");
    bytes32 internal constant KMS_AGGREGATED_MR = keccak256("kms-aggregated-mr");
    bytes32 internal constant KMS_DEVICE = keccak256("kms-device");
    bytes32 internal constant OS_IMAGE = keccak256("os-image");

    // AppAuth
    bytes32 internal constant DEVICE = keccak256("device");
    bytes32 internal constant COMPOSE_HASH = keccak256("compose-hash");
    bytes32 internal constant ALLOW_ANY_DEVICE = keccak256("allow-any-device");
    bytes32 internal constant REQUIRE_TCB_UP_TO_DATE = keccak256("require-tcb-up-to-date");
    bytes32 internal constant UPGRADES_DISABLED = keccak256("upgrades-disabled");
}

/// @title What both contracts share: the record of policy changes and the one common rule
/// @dev Has no storage, so it moves no slot of the contracts that inherit it.
abstract contract PolicyLog is IPolicyLog {
    string internal constant TCB_NOT_UP_TO_DATE = "TCB status is not up to date";

    function _recordPolicy(bytes32 policy, bytes32 value, bool enabled) internal {
        emit PolicyChanged(msg.sender, policy, value, enabled);
    }

    function _recordPolicy(bytes32 policy, address value) internal {
        _recordPolicy(policy, bytes32(uint256(uint160(value))), true);
    }

    function _isUpToDate(string calldata tcbStatus) internal pure returns (bool) {
        return keccak256(bytes(tcbStatus)) == keccak256("UpToDate");
    }
}
