//! The calls of the contracts reference, as alloy sees them.

#![allow(missing_docs, reason = "made by a macro from the contracts' interface")]
#![allow(
    clippy::too_many_arguments,
    reason = "made by a macro from the contracts' interface"
)]

use alloy::primitives::{Address, B256};
use alloy::sol;
use alloy::sol_types::SolCall;
use bylaw_types::{BootInfo, PlatformFacts, TeeVariant};

sol! {
    #[derive(Debug)]
    struct AppBootInfo {
        address appId;
        bytes32 composeHash;
        address instanceId;
        bytes32 deviceId;
        bytes32 mrAggregated;
        bytes32 mrSystem;
        bytes32 osImageHash;
        string tcbStatus;
        string[] advisoryIds;
    }

    #[derive(Debug)]
    struct Facts {
        uint64 time;
        uint8 teeVariant;
        uint64 tcbOutdatedSince;
        bool gpuAttested;
    }

    #[derive(Debug)]
    struct RuleVerdict {
        string rule;
        bool passed;
        string reason;
    }

    #[sol(rpc)]
    interface IKms {
        event AppDeployedViaFactory(address indexed appId, address indexed deployer);

        function initialize(address owner, address appImplementation) external;
        function isAppAllowed(AppBootInfo calldata info) external view returns (bool isAllowed, string memory reason);
        function isKmsAllowed(AppBootInfo calldata info) external view returns (bool isAllowed, string memory reason);
        function supportsInterface(bytes4 interfaceId) external view returns (bool);
        function decide(AppBootInfo calldata info, Facts calldata facts, uint64 time) external view returns (bool isAllowed, string memory reason);
        function explain(AppBootInfo calldata info, Facts calldata facts, uint64 time) external view returns (RuleVerdict[] memory);
        function gatewayAppId() external view returns (string memory);
        function registeredApps(address app) external view returns (bool);
        function allowedOsImages(bytes32 hash) external view returns (bool);
        function kmsAllowedAggregatedMrs(bytes32 mr) external view returns (bool);
        function kmsAllowedDeviceIds(bytes32 device) external view returns (bool);
        function appImplementation() external view returns (address);
        function owner() external view returns (address);
        function kmsInfo() external view returns (bytes memory k256Pubkey, bytes memory caPubkey, bytes memory quote, bytes memory eventlog);
        struct KmsInfo { bytes k256Pubkey; bytes caPubkey; bytes quote; bytes eventlog; }
        function setKmsInfo(KmsInfo calldata info) external;
        function addKmsAggregatedMr(bytes32 mr) external;
        function removeKmsAggregatedMr(bytes32 mr) external;
        function addKmsDevice(bytes32 device) external;
        function addOsImageHash(bytes32 hash) external;
        function removeOsImageHash(bytes32 hash) external;
        function registerApp(address app) external;
        function deployAndRegisterApp(address owner, bool disableUpgrades, bool requireTcbUpToDate, bool allowAnyDevice, bytes32 deviceId, bytes32 composeHash) external returns (address);
    }

    #[sol(rpc)]
    interface IApp {
        function isAppAllowed(AppBootInfo calldata info) external view returns (bool isAllowed, string memory reason);
        function allowedComposeHashes(bytes32 hash) external view returns (bool);
        function allowedDeviceIds(bytes32 device) external view returns (bool);
        function allowAnyDevice() external view returns (bool);
        function requireTcbUpToDate() external view returns (bool);
        function owner() external view returns (address);
        function addComposeHash(bytes32 hash) external;
        function removeComposeHash(bytes32 hash) external;
        function addDevice(bytes32 device) external;
        function removeDevice(bytes32 device) external;
        function setAllowAnyDevice(bool allow) external;
        function setRequireTcbUpToDate(bool require_) external;
    }
}

impl From<&BootInfo> for AppBootInfo {
    fn from(info: &BootInfo) -> Self {
        Self {
            appId: Address::from(info.app_id.to_bytes()),
            composeHash: B256::from(info.compose_hash.to_bytes()),
            // The ABI has no absence; the zero address stands for it.
            instanceId: Address::from(info.instance_id.map_or([0; 20], |id| id.to_bytes())),
            deviceId: B256::from(info.device_id.to_bytes()),
            mrAggregated: B256::from(info.mr_aggregated.to_bytes()),
            mrSystem: B256::from(info.mr_system.to_bytes()),
            osImageHash: B256::from(info.os_image_hash.to_bytes()),
            tcbStatus: info.tcb_status.as_str().to_owned(),
            advisoryIds: info.advisory_ids.clone(),
        }
    }
}

/// ERC-165 id of contracts that can be asked about [`Facts`]: the XOR of `decide` and `explain`.
pub fn policy_interface() -> alloy::primitives::FixedBytes<4> {
    let decide = u32::from_be_bytes(IKms::decideCall::SELECTOR);
    let explain = u32::from_be_bytes(IKms::explainCall::SELECTOR);
    (decide ^ explain).to_be_bytes().into()
}

impl Facts {
    /// What is known of this VM at `time` (Unix seconds, this machine's clock).
    pub fn new(info: &BootInfo, facts: &PlatformFacts, time: u64) -> Self {
        Self {
            time,
            teeVariant: variant_bit(info.tee_variant),
            tcbOutdatedSince: facts.tcb_outdated_since.unwrap_or_default(),
            gpuAttested: facts.gpu_attested,
        }
    }
}

/// The bit of `TeeVariants` in the contracts.
fn variant_bit(variant: TeeVariant) -> u8 {
    match variant {
        TeeVariant::Tdx => 1 << 0,
        TeeVariant::GcpTdx => 1 << 1,
        TeeVariant::NitroEnclave => 1 << 2,
        TeeVariant::SevSnp => 1 << 3,
        TeeVariant::AwsNitroTpm => 1 << 4,
    }
}
