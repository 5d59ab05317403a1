// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAppManagement} from "./IAppManagement.sol";
import {IGoverned} from "./IGoverned.sol";
import {IKmsTypes} from "./IKmsTypes.sol";
import {IPolicyLog} from "./IPolicyLog.sol";

/// @title How the policy of a KMS is changed
/// @notice Where a function adds or removes, doing so twice succeeds and emits again.
interface IKmsManagement is IKmsTypes, IPolicyLog, IGoverned {
    /// @notice `appId` may ask for keys.
    event AppRegistered(address appId);

    /// @notice The KMS published its identity.
    event KmsInfoSet(bytes k256Pubkey);

    /// @notice KMS instances with this measurement may hold the root key.
    event KmsAggregatedMrAdded(bytes32 mrAggregated);

    /// @notice KMS instances with this measurement are refused from now on.
    event KmsAggregatedMrRemoved(bytes32 mrAggregated);

    /// @notice The KMS may run on this device.
    event KmsDeviceAdded(bytes32 deviceId);

    /// @notice The KMS may no longer run on this device.
    event KmsDeviceRemoved(bytes32 deviceId);

    /// @notice The guest OS image is trusted, for the KMS and for every app.
    event OsImageHashAdded(bytes32 osImageHash);

    /// @notice The guest OS image is no longer trusted.
    event OsImageHashRemoved(bytes32 osImageHash);

    /// @notice Which app is the gateway.
    event GatewayAppIdSet(string gatewayAppId);

    /// @notice Which implementation the factory gives to new apps.
    event AppImplementationSet(address implementation);

    /// @notice The factory created and registered an app.
    /// @param appId Address of the new app's proxy.
    /// @param deployer Who called the factory; not necessarily the app's owner.
    event AppDeployedViaFactory(address indexed appId, address indexed deployer);

    /// @notice `appId` gets no more keys until the owner registers it again.
    event AppDeregistered(address appId, address by);

    /// @notice `appId` gets no keys for now.
    event AppPaused(address appId, address by);

    /// @notice `appId` gets keys again.
    event AppUnpaused(address appId);

    /// @notice The evidence of {kmsInfo} was replaced; its keys were not.
    event KmsEvidenceSet(bytes32 quoteHash, bytes32 eventlogHash);

    /// @notice Where a KMS node answers; `nodeId` is keccak256 of its endpoint.
    event KmsNodeSet(bytes32 indexed nodeId, KmsNode node);

    /// @notice The KMS node is no longer on the roster.
    event KmsNodeRemoved(bytes32 indexed nodeId);

    /// @notice No implementation can replace the present one any more.
    event UpgradesDisabled();

    /// @notice Only the owner of this contract, the app or the app's owner may do this.
    error MayNotDeregister(address appId, address caller);

    /// @notice Other keys are two keys: none at all would let the next ones be the first ones.
    error KmsKeysMissing();

    /// @notice No node of this id is on the roster.
    error UnknownKmsNode(bytes32 nodeId);

    /// @notice Sets up a new proxy.
    /// @param initialOwner Who manages the policy; not zero.
    /// @param appImplementation Implementation for the factory; 0 leaves the factory closed until
    /// {setAppImplementation}.
    function initialize(address initialOwner, address appImplementation) external;

    /// @notice As above, with a delay and a guardian from the start.
    /// @param initialDelay How long widenings wait, in seconds.
    /// @param initialGuardian Who may veto, and pause apps, besides the owner; 0 for nobody.
    function initialize(
        address initialOwner,
        address appImplementation,
        uint32 initialDelay,
        address initialGuardian
    ) external;

    /// @notice Publishes the identity of the KMS. Owner only. The first keys at once; other ones are a widening,
    /// since clients trust what these keys signed. With a delay their evidence does not wait with them: see
    /// {setKmsQuote} and {setKmsEventlog}.
    function setKmsInfo(KmsInfo calldata info) external;

    /// @notice Replaces the quote of {kmsInfo}. Owner only; at once.
    function setKmsQuote(bytes calldata quote) external;

    /// @notice Replaces the event log of {kmsInfo}. Owner only; at once.
    function setKmsEventlog(bytes calldata eventlog) external;

    /// @notice Names the gateway's app id. Owner only. The first one, or none, at once; another one is a widening.
    function setGatewayAppId(string calldata appId) external;

    /// @notice Makes an app known. Anyone may call it: the keys of an app depend on its address, so a
    /// registration gives nobody access to another app. After {deregisterApp} only the owner may, and it is a
    /// widening.
    /// @param appId Address of a contract that answers {IAppAuth}; reverts with "Invalid app ID" if zero.
    function registerApp(address appId) external;

    /// @notice Ends an app: it gets no more keys, at once. The owner, the app itself and the app's owner may.
    function deregisterApp(address appId) external;

    /// @notice Stops the release of an app's keys at once, whatever its own contract says. Owner and guardian only.
    function pauseApp(address appId) external;

    /// @notice Resumes it, after the delay. Owner only.
    function unpauseApp(address appId) external;

    /// @notice Chooses the implementation of apps that the factory makes later. Owner only. The first one at once,
    /// another one is a widening.
    /// @param implementation Reverts with "Invalid implementation address" if zero.
    function setAppImplementation(address implementation) external;

    /// @notice Deploys an app's contract behind a proxy and registers it. Anyone may call it.
    /// @dev Reverts with "DstackApp implementation not set" or "Invalid owner address".
    /// @param initialOwner Who manages the app; not zero.
    /// @param disableUpgrades True: the app's implementation can never be replaced.
    /// @param requireTcbUpToDate True: only platforms whose TCB status is `UpToDate` are allowed.
    /// @param allowAnyDevice True: the app's device list is ignored.
    /// @param initialDeviceId First allowed device; 0 for none.
    /// @param initialComposeHash First allowed compose hash; 0 for none.
    /// @return appId Address of the new proxy, which is the app's id.
    function deployAndRegisterApp(
        address initialOwner,
        bool disableUpgrades,
        bool requireTcbUpToDate,
        bool allowAnyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) external returns (address appId);

    /// @notice The older form of the factory call: as above, with `requireTcbUpToDate` false.
    function deployAndRegisterApp(
        address initialOwner,
        bool disableUpgrades,
        bool allowAnyDevice,
        bytes32 initialDeviceId,
        bytes32 initialComposeHash
    ) external returns (address appId);

    /// @notice Creates and registers an app at an address that {predictApp} told before. Anyone may.
    /// @param config What it begins with.
    /// @param salt Tells the caller's apps apart; reverts when it was used before.
    function createApp(IAppManagement.AppConfig calldata config, bytes32 salt)
        external
        returns (address appId);

    /// @notice Where {createApp} puts the app of this caller and salt, whatever it begins with and whichever
    /// implementation it gets.
    function predictApp(address deployer, bytes32 salt) external view returns (address);

    /// @notice Allows a build of the KMS, by its aggregated measurement. Owner only.
    function addKmsAggregatedMr(bytes32 mrAggregated) external;

    /// @notice Stops allowing a build of the KMS. Owner only.
    function removeKmsAggregatedMr(bytes32 mrAggregated) external;

    /// @notice Allows the KMS on a device. Owner only.
    function addKmsDevice(bytes32 deviceId) external;

    /// @notice Stops allowing the KMS on a device. Owner only.
    function removeKmsDevice(bytes32 deviceId) external;

    /// @notice Trusts a guest OS image. Owner only.
    function addOsImageHash(bytes32 osImageHash) external;

    /// @notice Stops trusting a guest OS image. Owner only.
    function removeOsImageHash(bytes32 osImageHash) external;

    /// @notice Puts a KMS node on the roster, or changes its entry. Owner only; at once, since the roster only
    /// helps to find nodes: whom to trust is told by {kmsInfo}.
    function setKmsNode(KmsNode calldata node) external;

    /// @notice Takes a KMS node off the roster. Owner only.
    function removeKmsNode(bytes32 nodeId) external;

    /// @notice Gives up upgrades for good. Owner only; nothing undoes it.
    function disableUpgrades() external;
}
