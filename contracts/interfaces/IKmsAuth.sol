// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IAppAuth} from "./IAppAuth.sol";
import {IPolicyLog} from "./IPolicyLog.sol";

/// @title The policy of one KMS
/// @notice States which builds of the KMS may hold the root key, which guest OS images are trusted, and which
/// apps exist. It answers for an app only after its own rules passed, and then asks the app's contract.
/// Where a function adds or removes, doing so twice succeeds and emits again.
interface IKmsAuth is IAppAuth, IPolicyLog {
    /// @notice What a KMS publishes about itself once it has its root key.
    /// @param k256Pubkey secp256k1 public key that signs the keys of apps.
    /// @param caPubkey Public key of the certificate authority.
    /// @param quote Evidence that both keys were made inside a TEE.
    /// @param eventlog The event log that belongs to the quote.
    struct KmsInfo {
        bytes k256Pubkey;
        bytes caPubkey;
        bytes quote;
        bytes eventlog;
    }

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

    /// @notice Sets up a new proxy.
    /// @param initialOwner Who manages the policy; not zero.
    /// @param appImplementation Implementation for the factory; 0 leaves the factory closed until
    /// {setAppImplementation}.
    function initialize(address initialOwner, address appImplementation) external;

    /// @notice Publishes the identity of the KMS. Owner only.
    function setKmsInfo(KmsInfo calldata info) external;

    /// @notice Replaces the quote of {kmsInfo}. Owner only; emits nothing.
    function setKmsQuote(bytes calldata quote) external;

    /// @notice Replaces the event log of {kmsInfo}. Owner only; emits nothing.
    function setKmsEventlog(bytes calldata eventlog) external;

    /// @notice Names the gateway's app id. Owner only.
    function setGatewayAppId(string calldata appId) external;

    /// @notice Makes an app known. Anyone may call it: the keys of an app depend on its address, so a
    /// registration gives nobody access to another app. Nothing removes it.
    /// @param appId Address of a contract that answers {IAppAuth}; reverts with "Invalid app ID" if zero.
    function registerApp(address appId) external;

    /// @notice Chooses the implementation of apps that the factory makes later. Owner only.
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

    /// @notice Whether a KMS instance with this identity may hold the root key.
    /// @return isAllowed The verdict.
    /// @return reason The first rule that failed; empty when allowed.
    function isKmsAllowed(AppBootInfo calldata bootInfo)
        external
        view
        returns (bool isAllowed, string memory reason);

    /// @notice What {setKmsInfo}, {setKmsQuote} and {setKmsEventlog} stored.
    function kmsInfo()
        external
        view
        returns (bytes memory k256Pubkey, bytes memory caPubkey, bytes memory quote, bytes memory eventlog);

    /// @notice The gateway's app id as text; empty when none is set.
    function gatewayAppId() external view returns (string memory);

    /// @notice Whether the app was registered.
    function registeredApps(address appId) external view returns (bool);

    /// @notice Whether KMS instances with this measurement are allowed.
    function kmsAllowedAggregatedMrs(bytes32 mrAggregated) external view returns (bool);

    /// @notice Whether the KMS may run on this device.
    function kmsAllowedDeviceIds(bytes32 deviceId) external view returns (bool);

    /// @notice Whether the guest OS image is trusted.
    function allowedOsImages(bytes32 osImageHash) external view returns (bool);

    /// @notice The factory's implementation; 0 when it is closed.
    function appImplementation() external view returns (address);
}
