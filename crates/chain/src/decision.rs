//! Yes and no, each with the block it is true at.

use std::fmt;

use bylaw_types::{BlockHash, BootInfo, ContractAddress};
use serde::Serialize;

/// A block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Block {
    /// Height.
    pub number: u64,
    /// Hash, recomputed from the header.
    pub hash: BlockHash,
    /// State root, from the same header.
    pub state_root: BlockHash,
    /// Unix seconds.
    pub timestamp: u64,
}

/// What the contract said.
#[derive(Debug, Clone)]
pub enum Decision {
    /// Yes.
    Allow(Allowance),
    /// No.
    Deny(Denial),
}

/// Permission for exactly one identity at one block.
///
/// Only this crate makes one, from the contract's answer to that identity:
///
/// ```compile_fail
/// fn forge(boot_info: bylaw_types::BootInfo, block: bylaw_chain::Block) {
///     let _ = bylaw_chain::Allowance { boot_info, block, gateway_app_id: String::new() };
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Allowance {
    pub(crate) boot_info: BootInfo,
    pub(crate) block: Block,
    pub(crate) gateway_app_id: String,
}

impl Allowance {
    /// Who was judged.
    pub fn boot_info(&self) -> &BootInfo {
        &self.boot_info
    }

    /// As of when.
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// The gateway that the contract names.
    pub fn gateway_app_id(&self) -> &str {
        &self.gateway_app_id
    }
}

/// The contract's no, with what it judged.
#[derive(Debug, Clone, Serialize)]
pub struct Denial {
    /// The contract's own words.
    pub reason: String,
    /// `KmsAuth`.
    pub kms_auth: ContractAddress,
    /// Who was judged.
    pub boot_info: BootInfo,
    /// As of when.
    pub block: Block,
}

impl Denial {
    /// The input that the reason is about: its name and value.
    pub fn input(&self) -> Option<(&'static str, String)> {
        let info = &self.boot_info;
        Some(match self.reason.as_str() {
            "Compose hash not allowed" => ("composeHash", info.compose_hash.to_string()),
            "OS image is not allowed" => ("osImageHash", info.os_image_hash.to_string()),
            "Aggregated MR not allowed" => ("mrAggregated", info.mr_aggregated.to_string()),
            "TCB status is not up to date" => ("tcbStatus", info.tcb_status.to_string()),
            "Device not allowed" | "KMS is not allowed to boot on this device" => {
                ("deviceId", info.device_id.to_string())
            }
            "App not registered" | "App not deployed or invalid address" => {
                ("appId", info.app_id.to_string())
            }
            _ => return None,
        })
    }

    /// What the owner could do about it, if they want to.
    pub fn fix(&self) -> Option<String> {
        let app = self.boot_info.app_id;
        let input = self.input()?;
        Some(match input.0 {
            "composeHash" => format!("bylaw app allow 0x{app} --compose-hash 0x{}", input.1),
            "osImageHash" => format!(
                "OS_IMAGE_HASH=0x{} forge script script/Manage.s.sol:AddOsImage --broadcast",
                input.1
            ),
            "mrAggregated" => format!(
                "MR_AGGREGATED=0x{} forge script script/Manage.s.sol:AddKmsAggregatedMr --broadcast",
                input.1
            ),
            "deviceId" if self.reason.starts_with("KMS") => format!(
                "DEVICE_ID=0x{} forge script script/Manage.s.sol:AddKmsDevice --broadcast",
                input.1
            ),
            "deviceId" => format!("bylaw app allow 0x{app} --device 0x{}", input.1),
            "appId" => "bylaw app create".to_owned(),
            _ => "update the platform's firmware and microcode".to_owned(),
        })
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "App not allowed: {}", self.reason)?;
        if let Some((name, value)) = self.input() {
            write!(f, " ({name} {value})")?;
        }
        let Block { number, hash, .. } = self.block;
        write!(
            f,
            "; decided by KmsAuth 0x{} at block {number} ({hash})",
            self.kms_auth
        )
    }
}
