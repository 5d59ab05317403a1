// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {AppPolicy} from "../governance/AppPolicies.sol";

/// @title What anyone can read off an {AppAuth}, about now and about later
/// @dev Where a function takes a `time`, it is Unix seconds; 0, like any time in the past, stands for now. Answers
/// about the future assume that nothing else is decided.
interface IAppReading {
    /// @notice A version as it is now.
    /// @param number Its place in the order, from 1; 0 for a hash allowed by a contract that knew no versions.
    /// @param composeHash What it runs.
    /// @param activatesAt From when it may run, Unix seconds.
    /// @param expiresAt Until when; 0 for ever.
    /// @param allowed It may run now.
    /// @param state Why or why not, in one word: `active`, `pending`, `expired`, `retired`,
    /// `removed` (or vetoed), `unknown`.
    /// @param noteUri Where people read about it.
    struct VersionInfo {
        uint32 number;
        bytes32 composeHash;
        uint64 activatesAt;
        uint64 expiresAt;
        bool allowed;
        string state;
        string noteUri;
    }

    /// @notice Version of dstack's interface that is spoken: 2 knows `requireTcbUpToDate`. What is ours is found by
    /// ERC-165, see {IAppPolicy}.
    function version() external pure returns (uint256);

    /// @notice How many versions were ever added.
    function versionCount() external view returns (uint32);

    /// @notice Versions with a smaller number are retired.
    function minVersion() external view returns (uint32);

    /// @notice Versions `from` to `from + count - 1`, as far as they exist, as they will be at `time`; 0 for now.
    function versions(uint32 from, uint32 count, uint64 time) external view returns (VersionInfo[] memory);

    /// @notice The version with this compose hash, if any, as it will be at `time`; 0 for now.
    function versionOf(bytes32 composeHash, uint64 time) external view returns (VersionInfo memory);

    /// @notice What the app demands at a time; 0 for now.
    function policy(uint64 time) external view returns (AppPolicy memory);

    /// @notice Whether VMs with this compose hash may have keys, as far as that depends on the hash.
    function allowedComposeHashes(bytes32 composeHash) external view returns (bool);

    /// @notice Whether the device is on the list; see {allowAnyDevice}.
    function allowedDeviceIds(bytes32 deviceId) external view returns (bool);

    /// @notice Whether the advisory is on the list of those tolerated.
    function toleratedAdvisories(bytes32 advisory) external view returns (bool);

    /// @notice Whether the device list is ignored.
    function allowAnyDevice() external view returns (bool);

    /// @notice Whether the platform's TCB status must be `UpToDate`.
    function requireTcbUpToDate() external view returns (bool);

    /// @notice Whether no VM gets keys.
    function paused() external view returns (bool);

    /// @notice Whether the implementation can never be replaced.
    function upgradesDisabled() external view returns (bool);

    /// @notice Whether no version can be added any more.
    function versionsFrozen() external view returns (bool);
}
