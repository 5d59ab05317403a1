// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {AppPolicy} from "../governance/AppPolicies.sol";
import {IAppAuthBasicManagement} from "./IAppAuthBasicManagement.sol";
import {IGoverned} from "./IGoverned.sol";
import {IPolicyLog} from "./IPolicyLog.sol";

/// @title How an app's owner and guardian change its policy
interface IAppManagement is IAppAuthBasicManagement, IPolicyLog, IGoverned {
    /// @notice How a new app begins.
    /// @param owner Who manages it; not zero.
    /// @param guardian Who may veto and pause besides the owner; 0 for nobody.
    /// @param delay How long widenings wait, in seconds.
    /// @param upgradesDisabled True: the implementation can never be replaced.
    /// @param policy What holds from the start.
    /// @param devices First allowed devices.
    /// @param composeHash First version; 0 for none.
    /// @param noteUri Where people read about the first version.
    struct AppConfig {
        address owner;
        address guardian;
        uint32 delay;
        bool upgradesDisabled;
        AppPolicy policy;
        bytes32[] devices;
        bytes32 composeHash;
        string noteUri;
    }

    /// @notice No implementation can replace the present one any more.
    event UpgradesDisabled();

    /// @notice No version can be added any more.
    event VersionsFrozen();

    /// @notice The device list is ignored from now on (true) or applies again (false).
    event AllowAnyDeviceSet(bool allowAnyDevice);

    /// @notice The platform must be up to date from now on (true) or need not be (false).
    event RequireTcbUpToDateSet(bool requireTcbUpToDate);

    /// @notice What the app demands from now on.
    event PolicySet(AppPolicy policy);

    /// @notice A version got its place in the order. It may run from `activatesAt`, see also {ChangeScheduled}.
    event VersionAdded(
        uint32 indexed number,
        bytes32 indexed composeHash,
        uint64 activatesAt,
        uint64 expiresAt,
        string noteUri
    );

    /// @notice A version will never boot again.
    event VersionRetired(uint32 indexed number, bytes32 indexed composeHash);

    /// @notice Every version before this one will never boot again.
    event MinVersionSet(uint32 minVersion);

    /// @notice A version ends earlier than it was to.
    event VersionExpirySet(uint32 indexed number, bytes32 indexed composeHash, uint64 expiresAt);

    /// @notice The advisory does not matter any more (true) or does (false).
    event AdvisoryToleranceSet(bytes32 advisory, bool tolerated);

    /// @notice No VM of the app gets keys from now on.
    event AppPaused(address by);

    /// @notice VMs of the app get keys again.
    event AppUnpaused();

    /// @notice A retired version stays retired.
    error VersionIsRetired(uint32 number, bytes32 composeHash);

    /// @notice The version list is frozen.
    error VersionListIsFrozen();

    /// @notice There is no such version.
    error UnknownVersion(bytes32 composeHash);

    /// @notice The version may run already, or waits to; its end can be moved only to an earlier time.
    error VersionExists(uint32 number, bytes32 composeHash);

    /// @notice An end before the beginning, or later than before.
    error BadExpiry(uint64 expiresAt);

    /// @notice {minVersion} only rises, and at most to one more than the latest version.
    error BadMinVersion(uint32 minVersion, uint32 present, uint32 latest);

    /// @notice That version waits already to supersede it; veto it first.
    error AlreadySuperseded(uint32 successor);

    /// @notice A version is not superseded by itself.
    error SupersedesItself(bytes32 composeHash);

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

    /// @notice Sets up a new proxy with everything there is to choose.
    function initialize(AppConfig calldata config) external;

    // ------------------------------------------------------------ versions

    /// @notice Adds a version. Owner only; a widening. {addComposeHash} does the same without the last three.
    /// @param composeHash SHA-256 of the exact bytes of app-compose.json.
    /// @param notBefore Earliest time to begin at; the delay may make it later. 0 for as soon as possible.
    /// @param expiresAt When it ends; 0 for never.
    /// @param noteUri Where people read about it.
    function addVersion(bytes32 composeHash, uint64 notBefore, uint64 expiresAt, string calldata noteUri)
        external;

    /// @notice Adds a version that retires another in the moment it takes effect, so that at any time of the chain
    /// one of them can run. If it never takes effect, the other goes on. Owner only; a widening.
    /// @dev A KMS gives keys when both the final and the newest block say yes: from the exchange until that is final
    /// it gives them to neither. Where that is too long, add the new version and retire the old one later.
    function supersede(
        bytes32 oldComposeHash,
        bytes32 newComposeHash,
        uint64 expiresAt,
        string calldata noteUri
    ) external;

    /// @notice Ends a version for good, pending or not. Owner only; at once.
    function retire(bytes32 composeHash) external;

    /// @notice Moves a version's end to an earlier time. Owner only; at once.
    function setVersionExpiry(bytes32 composeHash, uint64 expiresAt) external;

    /// @notice Retires every version with a smaller number. Owner only; at once.
    function setMinVersion(uint32 number) external;

    /// @notice No version can be added from now on, and those that wait are dropped. Owner only; irrevocable.
    function freezeVersions() external;

    // ------------------------------------------------------------ policy

    /// @notice Sets what the app demands. Owner only. Whatever of it is stricter holds at once, the rest after the
    /// delay; it replaces a policy that still waits.
    function setPolicy(AppPolicy calldata policy) external;

    /// @notice Whether any device will do; the rest of the policy stays. Owner only.
    function setAllowAnyDevice(bool allowAnyDevice) external;

    /// @notice True: only `UpToDate` will do, without grace. False: any TCB status. Owner only.
    function setRequireTcbUpToDate(bool requireTcbUpToDate) external;

    /// @notice Whether a security advisory may apply to the platform; see `anyAdvisory`. Owner only.
    /// @param advisory Its id as ASCII from the left, for example "INTEL-SA-00828".
    function setAdvisoryTolerated(bytes32 advisory, bool tolerated) external;

    /// @notice Stops the release of keys at once. Owner and guardian only.
    function pause() external;

    /// @notice Resumes it, after the delay. Owner only.
    function unpause() external;

    /// @notice Gives up upgrades for good. Owner only; nothing undoes it.
    function disableUpgrades() external;
}
