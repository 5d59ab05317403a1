// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IPolicyLog} from "./interfaces/IPolicyLog.sol";

/// @title Topics that name a rule in {IPolicyLog-PolicyChanged} and a pending change
library PolicyLabels {
    // Both contracts
    bytes32 internal constant IMPLEMENTATION_UPGRADE = keccak256("implementation-upgrade");
    bytes32 internal constant UPGRADES_DISABLED = keccak256("upgrades-disabled");
    bytes32 internal constant DELAY = keccak256("delay");
    bytes32 internal constant GUARDIAN = keccak256("guardian");
    bytes32 internal constant OWNER = keccak256("owner");

    // KmsAuth
    bytes32 internal constant APP_IMPLEMENTATION = keccak256("app-implementation");
    bytes32 internal constant KMS_INFO = keccak256("kms-info");
    bytes32 internal constant GATEWAY_APP_ID = keccak256("gateway-app-id");
    bytes32 internal constant REGISTERED_APP = keccak256("registered-app");
    bytes32 internal constant APP_PAUSED = keccak256("app-paused");
    bytes32 internal constant APP_UNPAUSED = keccak256("app-unpaused");
    bytes32 internal constant KMS_AGGREGATED_MR = keccak256("kms-aggregated-mr");
    bytes32 internal constant KMS_DEVICE = keccak256("kms-device");
    bytes32 internal constant OS_IMAGE = keccak256("os-image");
    bytes32 internal constant KMS_NODE = keccak256("kms-node");
    bytes32 internal constant KMS_EVIDENCE = keccak256("kms-evidence");

    // AppAuth
    bytes32 internal constant DEVICE = keccak256("device");
    bytes32 internal constant COMPOSE_HASH = keccak256("compose-hash");
    bytes32 internal constant RETIRED = keccak256("retired");
    bytes32 internal constant MIN_VERSION = keccak256("min-version");
    bytes32 internal constant VERSION_EXPIRY = keccak256("version-expiry");
    bytes32 internal constant VERSIONS_FROZEN = keccak256("versions-frozen");
    bytes32 internal constant POLICY = keccak256("policy");
    bytes32 internal constant ADVISORY = keccak256("advisory");
    bytes32 internal constant ALLOW_ANY_DEVICE = keccak256("allow-any-device");
    bytes32 internal constant REQUIRE_TCB_UP_TO_DATE = keccak256("require-tcb-up-to-date");
    bytes32 internal constant PAUSED = keccak256("paused");
    bytes32 internal constant UNPAUSED = keccak256("unpaused");
}

/// @title The record of policy changes
/// @dev Has no storage, so it moves no slot of the contracts that inherit it.
abstract contract PolicyLog is IPolicyLog {
    function _recordPolicy(bytes32 policy, bytes32 value, bool enabled) internal {
        emit PolicyChanged(msg.sender, policy, value, enabled);
    }

    function _recordPolicy(bytes32 policy, address value) internal {
        _recordPolicy(policy, _word(value), true);
    }

    function _word(address value) internal pure returns (bytes32) {
        return bytes32(uint256(uint160(value)));
    }
}
