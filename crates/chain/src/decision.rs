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
        let reason = self.reason.as_str();
        let starts = |begins: &[&str]| begins.iter().any(|begin| reason.starts_with(begin));
        Some(match reason {
            _ if starts(&["Compose hash not allowed", "Version "]) => {
                ("composeHash", info.compose_hash.to_string())
            }
            "OS image is not allowed" => ("osImageHash", info.os_image_hash.to_string()),
            "Aggregated MR not allowed" => ("mrAggregated", info.mr_aggregated.to_string()),
            _ if starts(&["TCB status ", "The grace period"]) => {
                ("tcbStatus", info.tcb_status.to_string())
            }
            _ if starts(&["TEE variant "]) => ("teeVariant", info.tee_variant.to_string()),
            "Device not allowed" | "KMS is not allowed to boot on this device" => {
                ("deviceId", info.device_id.to_string())
            }
            _ if starts(&["App "]) => ("appId", info.app_id.to_string()),
            _ => return None,
        })
    }

    /// What the owner could do about it, if they want to.
    pub fn fix(&self) -> Option<String> {
        let app = self.boot_info.app_id;
        let (_, value) = self.input()?;
        let propose = |change: String| Some(format!("bylaw gov propose {change}"));
        match self.reason.as_str() {
            "Compose hash not allowed" => {
                propose(format!("version --app 0x{app} --compose-hash 0x{value}"))
            }
            "OS image is not allowed" => propose(format!("os-image 0x{value}")),
            "Aggregated MR not allowed" => propose(format!("kms-build 0x{value}")),
            "KMS is not allowed to boot on this device" => propose(format!("kms-device 0x{value}")),
            "Device not allowed" => propose(format!("device --app 0x{app} 0x{value}")),
            "App not registered" => propose(format!("register 0x{app}")),
            "App is paused" => propose(format!("unpause --app 0x{app}")),
            "App is paused at the KMS contract" => {
                propose(format!("unpause --app 0x{app} --at-kms"))
            }
            "App not deployed or invalid address" => Some("bylaw app create".to_owned()),
            reason if reason.starts_with("TCB status ") => {
                Some("update the platform's firmware and microcode".to_owned())
            }
            // A version that waits, ended or is retired: time or another version helps.
            _ => None,
        }
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
