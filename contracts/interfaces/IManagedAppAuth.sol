// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAppAuth} from "./IAppAuth.sol";
import {IAppAuthBasicManagement} from "./IAppAuthBasicManagement.sol";
import {IPolicyLog} from "./IPolicyLog.sol";

/// @title Everything {AppAuth} offers beyond ownership, upgrades and ERC-165
interface IManagedAppAuth is IAppAuth, IAppAuthBasicManagement, IPolicyLog {
    /// @notice No implementation can replace the present one any more.
    event UpgradesDisabled();

    /// @notice The device list is ignored from now on (true) or applies again (false).
    event AllowAnyDeviceSet(bool allowAnyDevice);

    /// @notice The platform must be up to date from now on (true) or need not be (false).
    event RequireTcbUpToDateSet(bool requireTcbUpToDate);

    /// @notice Sets up a new proxy, without a demand on the TCB status.
    /// @dev The older of two forms; tools written before `requireTcbUpToDate` existed call it.
    /// @param initialOwner Who manages the app; not zero.
    /// @param disableUpgrades True: the implementation can never be replaced.
    /// @param allowAnyDevice True: the device list is ignored.
    /// @param initialDeviceId First allowed device; 0 for none.
    /// @param initialComposeHash First allowed compose hash; 0 for none.
    function initialize(
        address initialOwner,
        bool disableUpgrades,
        bool allowAnyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) external;

    /// @notice Sets up a new proxy.
    /// @dev The three flags emit no event here: whoever audits reads their first values from the call.
    /// @param initialOwner Who manages the app; not zero.
    /// @param disableUpgrades True: the implementation can never be replaced.
    /// @param requireTcbUpToDate True: only platforms whose TCB status is `UpToDate` are allowed.
    /// @param allowAnyDevice True: the device list is ignored.
    /// @param initialDeviceId First allowed device; 0 for none.
    /// @param initialComposeHash First allowed compose hash; 0 for none.
    function initialize(
        address initialOwner,
        bool disableUpgrades,
        bool requireTcbUpToDate,
        bool allowAnyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) external;

    /// @notice Whether any device will do. Owner only.
    function setAllowAnyDevice(bool allowAnyDevice) external;

    /// @notice Whether the platform's TCB status must be `UpToDate`. Owner only.
    function setRequireTcbUpToDate(bool requireTcbUpToDate) external;

    /// @notice Gives up upgrades for good. Owner only; nothing undoes it.
    function disableUpgrades() external;

    /// @notice Version of this interface: 2 knows `requireTcbUpToDate`.
    function version() external pure returns (uint256);

    /// @notice Whether VMs with this compose hash may have keys.
    function allowedComposeHashes(bytes32 composeHash) external view returns (bool);

    /// @notice Whether the device is on the list; see {allowAnyDevice}.
    function allowedDeviceIds(bytes32 deviceId) external view returns (bool);

    /// @notice Whether the device list is ignored.
    function allowAnyDevice() external view returns (bool);

    /// @notice Whether the platform's TCB status must be `UpToDate`.
    function requireTcbUpToDate() external view returns (bool);
}
