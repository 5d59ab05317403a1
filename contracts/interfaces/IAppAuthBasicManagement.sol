// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title Managing what may run as an app, and where
/// @notice What deployment tools rely on beyond {IAppAuth}. The ERC-165 id of this interface, the XOR of its
/// four selectors, is 0x8fd37527. Adding what is there, or removing what is not, succeeds and emits again.
interface IAppAuthBasicManagement {
    /// @notice VMs with this compose hash are allowed from now on.
    event ComposeHashAdded(bytes32 composeHash);

    /// @notice VMs with this compose hash get no more keys.
    event ComposeHashRemoved(bytes32 composeHash);

    /// @notice The app may run on this device.
    event DeviceAdded(bytes32 deviceId);

    /// @notice The app may no longer run on this device, unless any device is allowed.
    event DeviceRemoved(bytes32 deviceId);

    /// @notice Allows a version of the app. Owner only.
    function addComposeHash(bytes32 composeHash) external;

    /// @notice Stops allowing a version of the app. Running VMs keep the keys they have. Owner only.
    function removeComposeHash(bytes32 composeHash) external;

    /// @notice Allows a device. Owner only.
    function addDevice(bytes32 deviceId) external;

    /// @notice Stops allowing a device. Owner only.
    function removeDevice(bytes32 deviceId) external;
}
