//! What the contracts say, rule by rule.

use bylaw_types::ContractAddress;
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
