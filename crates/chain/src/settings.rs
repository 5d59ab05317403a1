//! What the contracts say, rule by rule.

use bylaw_types::{BootInfo, ContractAddress, TcbStatus};
use serde::Serialize;

use crate::Block;

/// Public keys of the KMS, as its owner put them on chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KmsInfo {
    /// Compressed secp256k1 root key; empty before it was set.
    pub k256_public: Vec<u8>,
    /// DER SubjectPublicKeyInfo of the root CA; empty before it was set.
    pub ca_spki_der: Vec<u8>,
}

/// What `KmsAuth` says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KmsSettings {
    /// As of when.
    pub block: Block,
    /// Root keys.
    pub info: KmsInfo,
    /// Gateway.
    pub gateway_app_id: String,
    /// Implementation that the factory deploys.
    pub app_implementation: ContractAddress,
    /// Who may change it.
    pub owner: ContractAddress,
}

/// Every rule that decides about an app, with its verdict on one identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppSettings {
    /// As of when.
    pub block: Block,
    /// The app is registered at `KmsAuth`.
    pub registered: bool,
    /// The image is allowed at `KmsAuth`.
    pub os_image_allowed: bool,
    /// There is a contract at the app id.
    pub deployed: bool,
    /// The app's own rules; `None` for a custom contract without them.
    pub rules: Option<AppRules>,
}

/// One rule of the contracts and what it says of one VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleVerdict {
    /// Its name.
    pub rule: String,
    /// The verdict.
    pub passed: bool,
    /// Why it failed; empty when it passed.
    pub reason: String,
}

impl RuleVerdict {
    pub(crate) fn new(rule: &str, passed: bool, reason: &str) -> Self {
        Self {
            rule: rule.to_owned(),
            passed,
            reason: if passed {
                String::new()
            } else {
                reason.to_owned()
            },
        }
    }
}

/// Every rule, in the order the contracts look at them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// As of when.
    pub block: Block,
    /// The rules.
    pub rules: Vec<RuleVerdict>,
}

impl AppSettings {
    /// dstack's rules applied to `boot_info`, with the reasons of its contracts. A
    /// custom app contract shows no rules: whether it allows is asked for itself.
    pub(crate) fn judge(&self, boot_info: &BootInfo) -> Vec<RuleVerdict> {
        let rule = RuleVerdict::new;
        let mut rules = vec![
            rule("registered", self.registered, "App not registered"),
            rule("OS image", self.os_image_allowed, "OS image is not allowed"),
            rule(
                "app contract exists",
                self.deployed,
                "App not deployed or invalid address",
            ),
        ];
        if let Some(app) = &self.rules {
            let up_to_date = boot_info.tcb_status == TcbStatus::UpToDate;
            rules.extend([
                rule(
                    "TCB status",
                    !app.require_tcb_up_to_date || up_to_date,
                    "TCB status is not up to date",
                ),
                rule(
                    "compose hash",
                    app.compose_allowed,
                    "Compose hash not allowed",
                ),
                rule(
                    "device",
                    app.allow_any_device || app.device_allowed,
                    "Device not allowed",
                ),
            ]);
        }
        rules
    }
}

/// Rules of an `AppAuth`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppRules {
    /// Who may change them.
    pub owner: ContractAddress,
    /// The compose hash is on the list.
    pub compose_allowed: bool,
    /// Any device will do.
    pub allow_any_device: bool,
    /// The device is on the list.
    pub device_allowed: bool,
    /// Only `UpToDate` platforms.
    pub require_tcb_up_to_date: bool,
}
