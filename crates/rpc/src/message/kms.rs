//! Messages of the KMS: services `KMS`, `Onboard` and `Admin` (KMS API reference).

use serde::{Deserialize, Serialize};

use crate::message::message;

/// Asks for an app's keys.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetAppKeyRequest {
    /// 0 or 1.
    #[prost(uint32, tag = "1")]
    pub api_version: u32,
    /// The VM's description of itself, JSON.
    #[prost(string, tag = "2")]
    pub vm_config: String,
}
message!(GetAppKeyRequest);

/// Names an app.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AppId {
    /// 20 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "1")]
    pub app_id: Vec<u8>,
}
message!(AppId);

/// Key for encrypting an app's environment.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct PublicKeyResponse {
    /// X25519, 32 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "1")]
    pub public_key: Vec<u8>,
    /// By the root key, without timestamp, 65 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "2")]
    pub signature: Vec<u8>,
    /// Unix seconds.
    #[prost(uint64, tag = "3")]
    pub timestamp: u64,
    /// By the root key, with timestamp, 65 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "4")]
    pub signature_v1: Vec<u8>,
}
message!(PublicKeyResponse);

/// An app's keys.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AppKeyResponse {
    /// Root CA, PEM.
    #[prost(string, tag = "1")]
    pub ca_cert: String,
    /// 32 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "2")]
    pub disk_crypt_key: Vec<u8>,
    /// 32 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "3")]
    pub env_crypt_key: Vec<u8>,
    /// 32 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "4")]
    pub k256_key: Vec<u8>,
    /// 65 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "5")]
    pub k256_signature: Vec<u8>,
    /// Same as `gateway_app_id`.
    #[prost(string, tag = "6")]
    pub tproxy_app_id: String,
    /// The gateway the contract names.
    #[prost(string, tag = "7")]
    pub gateway_app_id: String,
    /// The proven image, 32 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "8")]
    pub os_image_hash: Vec<u8>,
}
message!(AppKeyResponse);

/// What a KMS says about itself.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetMetaResponse {
    /// Root CA, PEM.
    #[prost(string, tag = "1")]
    pub ca_cert: String,
    /// Always false: contracts decide.
    #[prost(bool, tag = "2")]
    pub allow_any_upgrade: bool,
    /// Compressed root key, 33 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "3")]
    pub k256_pubkey: Vec<u8>,
    /// Evidence for the root keys, where this node made them.
    #[prost(message, optional, tag = "4")]
    pub bootstrap_info: Option<BootstrapResponse>,
    /// Whether the trust anchors are not the vendors'.
    #[prost(bool, tag = "5")]
    pub is_dev: bool,
    /// The gateway the contract names.
    #[prost(string, optional, tag = "6")]
    pub gateway_app_id: Option<String>,
    /// `KmsAuth`, 0x-prefixed.
    #[prost(string, optional, tag = "7")]
    pub kms_contract_address: Option<String>,
    /// EIP-155 id.
    #[prost(uint64, optional, tag = "8")]
    pub chain_id: Option<u64>,
    /// Implementation that the factory deploys.
    #[prost(string, optional, tag = "9")]
    pub app_auth_implementation: Option<String>,
    /// `vendor` or `other`.
    #[prost(string, tag = "100")]
    pub trust_anchors: String,
    /// Digest of the set of trust anchors, 32 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "101")]
    pub trust_anchor_digest: Vec<u8>,
}
message!(GetMetaResponse);

/// Asks for the root keys.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetKmsKeyRequest {
    /// The VM's description of itself, JSON.
    #[prost(string, tag = "1")]
    pub vm_config: String,
}
message!(GetKmsKeyRequest);

/// Root keys.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct KmsKeys {
    /// PKCS#8 PEM.
    #[prost(string, tag = "1")]
    pub ca_key: String,
    /// 32 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "2")]
    pub k256_key: Vec<u8>,
}
message!(KmsKeys);

/// Root keys for another KMS.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct KmsKeyResponse {
    /// PKCS#8 PEM.
    #[prost(string, tag = "1")]
    pub temp_ca_key: String,
    /// Exactly one.
    #[prost(message, repeated, tag = "2")]
    pub keys: Vec<KmsKeys>,
}
message!(KmsKeyResponse);

/// The CA that first-contact client certificates chain to.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetTempCaCertResponse {
    /// PEM.
    #[prost(string, tag = "1")]
    pub temp_ca_cert: String,
    /// PKCS#8 PEM; public by design.
    #[prost(string, tag = "2")]
    pub temp_ca_key: String,
    /// Root CA, PEM.
    #[prost(string, tag = "3")]
    pub ca_cert: String,
}
message!(GetTempCaCertResponse);

/// Asks for a certificate.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct SignCertRequest {
    /// 1 or 2.
    #[prost(uint32, tag = "1")]
    pub api_version: u32,
    /// SCALE.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "2")]
    pub csr: Vec<u8>,
    /// DER ECDSA over `csr`.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "3")]
    pub signature: Vec<u8>,
    /// The VM's description of itself, JSON.
    #[prost(string, tag = "4")]
    pub vm_config: String,
}
message!(SignCertRequest);

/// A certificate chain.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct SignCertResponse {
    /// PEM: leaf, app CA, root CA.
    #[prost(string, repeated, tag = "1")]
    pub certificate_chain: Vec<String>,
}
message!(SignCertResponse);

/// What to forget.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct ClearImageCacheRequest {
    /// Empty skips, `all`, or hex.
    #[prost(string, tag = "1")]
    pub image_hash: String,
    /// Empty skips, `all`, or hex.
    #[prost(string, tag = "2")]
    pub config_hash: String,
}
message!(ClearImageCacheRequest);

/// Asks for new root keys.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct BootstrapRequest {
    /// DNS name of this KMS.
    #[prost(string, tag = "1")]
    pub domain: String,
}
message!(BootstrapRequest);

/// Public root keys and evidence for them.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct BootstrapResponse {
    /// DER SubjectPublicKeyInfo, P-256.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "1")]
    pub ca_pubkey: Vec<u8>,
    /// 33 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "2")]
    pub k256_pubkey: Vec<u8>,
    /// Versioned attestation.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "3")]
    pub attestation: Vec<u8>,
}
message!(BootstrapResponse);

/// Asks to receive root keys.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct OnboardRequest {
    /// A running KMS.
    #[prost(string, tag = "1")]
    pub source_url: String,
    /// DNS name of this KMS.
    #[prost(string, tag = "2")]
    pub domain: String,
}
message!(OnboardRequest);

/// Public part of what was received.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct OnboardResponse {
    /// 33 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "1")]
    pub k256_pubkey: Vec<u8>,
}
message!(OnboardResponse);

/// What to register on chain for this KMS.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AttestationInfoResponse {
    /// 32 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "1")]
    pub device_id: Vec<u8>,
    /// 32 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "2")]
    pub mr_aggregated: Vec<u8>,
    /// 32 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "3")]
    pub os_image_hash: Vec<u8>,
    /// `dstack-tdx` and so on.
    #[prost(string, tag = "4")]
    pub tee_variant: String,
    /// From the configuration.
    #[prost(string, tag = "5")]
    pub site_name: String,
    /// First endpoint, scheme and host.
    #[prost(string, tag = "6")]
    pub eth_rpc_url: String,
    /// `KmsAuth`.
    #[prost(string, tag = "7")]
    pub kms_contract_address: String,
    /// Left empty: its hash is `device_id`.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "8")]
    pub ppid: Vec<u8>,
}
message!(AttestationInfoResponse);

/// Which part of the release log.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct ListReleasesRequest {
    /// First sequence number.
    #[prost(uint64, tag = "1")]
    pub from: u64,
    /// At most 1000; 0 means 100.
    #[prost(uint32, tag = "2")]
    pub limit: u32,
}
message!(ListReleasesRequest);

/// Part of the release log.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct ListReleasesResponse {
    /// JSON texts, in order.
    #[prost(string, repeated, tag = "1")]
    pub records: Vec<String>,
    /// Records in the log, every link of which was checked.
    #[prost(uint64, tag = "2")]
    pub total: u64,
}
message!(ListReleasesResponse);
