//! Every call, view and event of the contracts that governance touches, beyond what a
//! KMS asks ([`bylaw_chain::abi`]).

#![allow(missing_docs, reason = "made by a macro from the contracts' interface")]
#![allow(
    clippy::too_many_arguments,
    reason = "made by a macro from the contracts' interface"
)]

use alloy::sol;

sol! {
    #[derive(Debug, PartialEq, Eq)]
    struct AppPolicy {
        bool allowAnyDevice;
        uint8 teeVariants;
        uint16 tcbStatuses;
        uint32 tcbGracePeriod;
        bool anyAdvisory;
        uint32 maxStateAge;
        bool requireGpu;
    }

    #[derive(Debug, PartialEq, Eq)]
    struct PendingChange {
        bytes32 id;
        bytes32 policy;
        bytes32 value;
        uint64 activatesAt;
        bytes data;
    }

    #[derive(Debug, PartialEq, Eq)]
    struct VersionInfo {
        uint32 number;
        bytes32 composeHash;
        uint64 activatesAt;
        uint64 expiresAt;
        bool allowed;
        string state;
        string noteUri;
    }

    #[derive(Debug, PartialEq, Eq)]
    struct KmsInfo {
        bytes k256Pubkey;
        bytes caPubkey;
        bytes quote;
        bytes eventlog;
    }

    #[derive(Debug, PartialEq, Eq)]
    struct KmsNode {
        bytes publicKey;
        bytes32 evidenceHash;
        string endpoint;
    }

    /// Calls that change something, of `AppAuth` and `KmsAuth` alike.
    #[derive(Debug, PartialEq, Eq)]
    interface Calls {
        function setDelay(uint32 newDelay) external;
        function setGuardian(address newGuardian) external;
        function veto(bytes32 id) external;
        function settle() external;
        function transferOwnership(address newOwner) external;
        function acceptOwnership() external;
        function renounceOwnership() external;
        function upgradeToAndCall(address newImplementation, bytes data) external payable;
        function disableUpgrades() external;

        function addComposeHash(bytes32 composeHash) external;
        function removeComposeHash(bytes32 composeHash) external;
        function addVersion(bytes32 composeHash, uint64 notBefore, uint64 expiresAt, string noteUri) external;
        function supersede(bytes32 oldComposeHash, bytes32 newComposeHash, uint64 expiresAt, string noteUri) external;
        function retire(bytes32 composeHash) external;
        function setVersionExpiry(bytes32 composeHash, uint64 expiresAt) external;
        function setMinVersion(uint32 number) external;
        function freezeVersions() external;
        function addDevice(bytes32 deviceId) external;
        function removeDevice(bytes32 deviceId) external;
        function setPolicy(AppPolicy policy) external;
        function setAllowAnyDevice(bool allowAnyDevice) external;
        function setRequireTcbUpToDate(bool requireTcbUpToDate) external;
        function setAdvisoryTolerated(bytes32 advisory, bool tolerated) external;
        function pause() external;
        function unpause() external;

        function setKmsInfo(KmsInfo info) external;
        function setGatewayAppId(string appId) external;
        function setAppImplementation(address implementation) external;
        function registerApp(address appId) external;
        function deregisterApp(address appId) external;
        function pauseApp(address appId) external;
        function unpauseApp(address appId) external;
        function addKmsAggregatedMr(bytes32 mrAggregated) external;
        function removeKmsAggregatedMr(bytes32 mrAggregated) external;
        function addKmsDevice(bytes32 deviceId) external;
        function removeKmsDevice(bytes32 deviceId) external;
        function addOsImageHash(bytes32 osImageHash) external;
        function removeOsImageHash(bytes32 osImageHash) external;
        function setKmsNode(KmsNode node) external;
        function removeKmsNode(bytes32 nodeId) external;
    }

    #[derive(Debug, PartialEq, Eq)]
    interface Views {
        function owner() external view returns (address);
        function pendingOwner() external view returns (address);
        function supportsInterface(bytes4 interfaceId) external view returns (bool);
        function delay() external view returns (uint32);
        function guardian() external view returns (address);
        function pendingChanges() external view returns (PendingChange[] memory);
        function upgradesDisabled() external view returns (bool);

        function allowedComposeHashes(bytes32 composeHash) external view returns (bool);
        function versionCount() external view returns (uint32);
        function minVersion() external view returns (uint32);
        function versions(uint32 from, uint32 count, uint64 time) external view returns (VersionInfo[] memory);
        function versionOf(bytes32 composeHash, uint64 time) external view returns (VersionInfo memory);
        function versionsFrozen() external view returns (bool);
        function policy(uint64 time) external view returns (AppPolicy memory);
        function allowAnyDevice() external view returns (bool);
        function requireTcbUpToDate() external view returns (bool);
        function paused() external view returns (bool);

        function appImplementation() external view returns (address);
        function gatewayAppId() external view returns (string memory);
        function registeredApps(address appId) external view returns (bool);
        function pausedApps(address appId) external view returns (bool);
        function deregisteredApps(address appId) external view returns (bool);
        function allowedOsImages(bytes32 osImageHash) external view returns (bool);
        function kmsNodes() external view returns (bytes32[] memory nodeIds, KmsNode[] memory nodes);
    }

    #[derive(Debug, PartialEq, Eq)]
    interface Events {
        event ChangeScheduled(bytes32 indexed id, bytes32 indexed policy, bytes32 indexed value, uint64 activatesAt, bytes data);
        event ChangeDropped(bytes32 indexed id, bytes32 indexed policy, bytes32 indexed value, address by);
        event ChangeApplied(bytes32 indexed id, bytes32 indexed policy, bytes32 indexed value);
        event DelaySet(uint32 delay);
        event GuardianSet(address guardian);
        event OwnershipTransferStarted(address indexed previousOwner, address indexed newOwner);
        event OwnershipTransferred(address indexed previousOwner, address indexed newOwner);
        event Upgraded(address indexed implementation);
        event UpgradesDisabled();

        event ComposeHashAdded(bytes32 composeHash);
        event ComposeHashRemoved(bytes32 composeHash);
        event VersionAdded(uint32 indexed number, bytes32 indexed composeHash, uint64 activatesAt, uint64 expiresAt, string noteUri);
        event VersionRetired(uint32 indexed number, bytes32 indexed composeHash);
        event MinVersionSet(uint32 minVersion);
        event VersionExpirySet(uint32 indexed number, bytes32 indexed composeHash, uint64 expiresAt);
        event VersionsFrozen();
        event DeviceAdded(bytes32 deviceId);
        event DeviceRemoved(bytes32 deviceId);
        event AllowAnyDeviceSet(bool allowAnyDevice);
        event RequireTcbUpToDateSet(bool requireTcbUpToDate);
        event PolicySet(AppPolicy policy);
        event AdvisoryToleranceSet(bytes32 advisory, bool tolerated);
        event AppPaused(address by);
        event AppUnpaused();

        event KmsInfoSet(bytes k256Pubkey);
        event GatewayAppIdSet(string gatewayAppId);
        event AppImplementationSet(address implementation);
        event AppRegistered(address appId);
        event AppDeregistered(address appId, address by);
        event KmsAggregatedMrAdded(bytes32 mrAggregated);
        event KmsAggregatedMrRemoved(bytes32 mrAggregated);
        event KmsDeviceAdded(bytes32 deviceId);
        event KmsDeviceRemoved(bytes32 deviceId);
        event OsImageHashAdded(bytes32 osImageHash);
        event OsImageHashRemoved(bytes32 osImageHash);
        event KmsNodeSet(bytes32 indexed nodeId, KmsNode node);
        event KmsNodeRemoved(bytes32 indexed nodeId);
    }

    /// The two events whose names both contracts use with other parameters.
    #[derive(Debug, PartialEq, Eq)]
    interface KmsEvents {
        event AppPaused(address appId, address by);
        event AppUnpaused(address appId);
    }

    /// What the contracts complain about.
    #[derive(Debug, PartialEq, Eq)]
    interface Errors {
        error NotPending(bytes32 id);
        error NotYet(uint64 activatesAt);
        error NeitherOwnerNorGuardian(address caller);
        error DelayTooLong(uint32 delay, uint32 max);
        error TooManyPending(uint256 max);
        error DataTooLong(uint256 length, uint256 max);
        error NotPayable();
        error ImplementationChanged(address implementation);
        error NotAnImplementation(address implementation);
        error VersionIsRetired(uint32 number, bytes32 composeHash);
        error VersionListIsFrozen();
        error UnknownVersion(bytes32 composeHash);
        error VersionExists(uint32 number, bytes32 composeHash);
        error BadExpiry(uint64 expiresAt);
        error BadMinVersion(uint32 minVersion, uint32 present, uint32 latest);
        error AlreadySuperseded(uint32 successor);
        error SupersedesItself(bytes32 composeHash);
        error MayNotDeregister(address appId, address caller);
        error UnknownKmsNode(bytes32 nodeId);
        error KmsKeysMissing();
        error NoVerdict(address appId);
        error OwnableUnauthorizedAccount(address account);
        error OwnableInvalidOwner(address owner);
        error InvalidInitialization();
        error TimelockInsufficientDelay(uint256 delay, uint256 minDelay);
        error AccessControlUnauthorizedAccount(address account, bytes32 neededRole);
    }

    /// Safe 1.3 and later.
    #[derive(Debug, PartialEq, Eq)]
    interface Safe {
        function VERSION() external view returns (string memory);
        function getThreshold() external view returns (uint256);
        function getOwners() external view returns (address[] memory);
        function nonce() external view returns (uint256);
        function domainSeparator() external view returns (bytes32);
        function execTransaction(
            address to, uint256 value, bytes data, uint8 operation, uint256 safeTxGas, uint256 baseGas,
            uint256 gasPrice, address gasToken, address refundReceiver, bytes signatures
        ) external payable returns (bool success);

        event ExecutionSuccess(bytes32 indexed txHash, uint256 payment);
        event ExecutionFailure(bytes32 indexed txHash, uint256 payment);
    }

    /// What a Safe's signers sign.
    #[derive(Debug, PartialEq, Eq)]
    struct SafeTx {
        address to;
        uint256 value;
        bytes data;
        uint8 operation;
        uint256 safeTxGas;
        uint256 baseGas;
        uint256 gasPrice;
        address gasToken;
        address refundReceiver;
        uint256 nonce;
    }

    /// OpenZeppelin's TimelockController.
    #[derive(Debug, PartialEq, Eq)]
    interface Timelock {
        function getMinDelay() external view returns (uint256);
        function getTimestamp(bytes32 id) external view returns (uint256);
        function isOperationDone(bytes32 id) external view returns (bool);
        function hashOperation(address target, uint256 value, bytes data, bytes32 predecessor, bytes32 salt) external pure returns (bytes32);
        function schedule(address target, uint256 value, bytes data, bytes32 predecessor, bytes32 salt, uint256 delay) external;
        function execute(address target, uint256 value, bytes payload, bytes32 predecessor, bytes32 salt) external payable;
    }
}
