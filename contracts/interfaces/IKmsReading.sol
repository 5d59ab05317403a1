// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAppAuth} from "./IAppAuth.sol";
import {RuleVerdict} from "./IAppPolicy.sol";
import {IKmsTypes} from "./IKmsTypes.sol";

/// @title What anyone can read off a {KmsAuth}
interface IKmsReading is IAppAuth, IKmsTypes {
    /// @notice The app's contract answered something that is no verdict.
    error NoVerdict(address appId);

    /// @notice Whether a KMS instance with this identity may hold the root key.
    /// @return isAllowed The verdict.
    /// @return reason The first rule that failed; empty when allowed.
    function isKmsAllowed(AppBootInfo calldata bootInfo)
        external
        view
        returns (bool isAllowed, string memory reason);

    /// @notice Every rule of {isKmsAllowed} with its verdict, at a time; 0 for now.
    function explainKms(AppBootInfo calldata bootInfo, uint64 time)
        external
        view
        returns (RuleVerdict[] memory);

    /// @notice What {setKmsInfo}, {setKmsQuote} and {setKmsEventlog} stored.
    function kmsInfo()
        external
        view
        returns (bytes memory k256Pubkey, bytes memory caPubkey, bytes memory quote, bytes memory eventlog);

    /// @notice The gateway's app id as text; empty when none is set.
    function gatewayAppId() external view returns (string memory);

    /// @notice Whether the app was registered.
    function registeredApps(address appId) external view returns (bool);

    /// @notice Whether the app was deregistered and is not registered again.
    function deregisteredApps(address appId) external view returns (bool);

    /// @notice Whether the app's keys are withheld here.
    function pausedApps(address appId) external view returns (bool);

    /// @notice Every KMS node on the roster, in no particular order.
    function kmsNodes() external view returns (bytes32[] memory nodeIds, KmsNode[] memory nodes);

    /// @notice Whether the implementation can never be replaced.
    function upgradesDisabled() external view returns (bool);

    /// @notice Whether KMS instances with this measurement are allowed.
    function kmsAllowedAggregatedMrs(bytes32 mrAggregated) external view returns (bool);

    /// @notice Whether the KMS may run on this device.
    function kmsAllowedDeviceIds(bytes32 deviceId) external view returns (bool);

    /// @notice Whether the guest OS image is trusted.
    function allowedOsImages(bytes32 osImageHash) external view returns (bool);

    /// @notice The factory's implementation; 0 when it is closed.
    function appImplementation() external view returns (address);
}
