//! Messages of the guest agent: `DstackGuest`, `Tappd` and `Worker` (guest agent API reference).

use serde::{Deserialize, Serialize};

use crate::message::message;

/// Asks for a TLS key and certificate.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetTlsKeyArgs {
    /// Common name.
    #[prost(string, tag = "1")]
    pub subject: String,
    /// DNS names or IP addresses.
    #[prost(string, repeated, tag = "2")]
    pub alt_names: Vec<String>,
    /// Put evidence into the certificate.
    #[prost(bool, tag = "3")]
    pub usage_ra_tls: bool,
    /// Extended key usage.
    #[prost(bool, tag = "4")]
    pub usage_server_auth: bool,
    /// Extended key usage.
    #[prost(bool, tag = "5")]
    pub usage_client_auth: bool,
    /// Unix seconds.
    #[prost(uint64, optional, tag = "6")]
    pub not_before: Option<u64>,
    /// Unix seconds.
    #[prost(uint64, optional, tag = "7")]
    pub not_after: Option<u64>,
    /// Put the app info into the certificate.
    #[prost(bool, tag = "8")]
    pub with_app_info: bool,
}
message!(GetTlsKeyArgs);

/// A TLS key and certificate.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetTlsKeyResponse {
    /// PKCS#8 PEM.
    #[prost(string, tag = "1")]
    pub key: String,
    /// PEM, leaf first.
    #[prost(string, repeated, tag = "2")]
    pub certificate_chain: Vec<String>,
}
message!(GetTlsKeyResponse);

/// Asks for a derived key.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetKeyArgs {
    /// Where in the app's hierarchy.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Signed, not derived with.
    #[prost(string, tag = "2")]
    pub purpose: String,
    /// `secp256k1`, `k256`, `ed25519` or empty.
    #[prost(string, tag = "3")]
    pub algorithm: String,
}
message!(GetKeyArgs);

/// A derived key.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetKeyResponse {
    /// 32 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// By the app key, and by the KMS root.
    #[serde(with = "crate::json::bytes_list")]
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub signature_chain: Vec<Vec<u8>>,
}
message!(GetKeyResponse);

/// Asks for evidence.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct RawQuoteArgs {
    /// At most 64 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "1")]
    pub report_data: Vec<u8>,
}
message!(RawQuoteArgs);

/// Evidence.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetQuoteResponse {
    /// TDX quote.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "1")]
    pub quote: Vec<u8>,
    /// JSON text.
    #[prost(string, tag = "2")]
    pub event_log: String,
    /// 64 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "3")]
    pub report_data: Vec<u8>,
    /// JSON text.
    #[prost(string, tag = "4")]
    pub vm_config: String,
    /// Versioned attestation; omitted when empty.
    #[serde(with = "crate::json::bytes", skip_serializing_if = "Vec::is_empty")]
    #[prost(bytes = "vec", tag = "5")]
    pub attestation: Vec<u8>,
}
message!(GetQuoteResponse);

/// Evidence.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AttestResponse {
    /// Versioned attestation.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "1")]
    pub attestation: Vec<u8>,
}
message!(AttestResponse);

/// GPU evidence.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuInfoResponse {
    /// Output of the vendor's tool; empty without a GPU.
    #[prost(string, tag = "1")]
    pub attestation: String,
}
message!(GpuInfoResponse);

/// Asks to extend a runtime event.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct EmitEventArgs {
    /// Name.
    #[prost(string, tag = "1")]
    pub event: String,
    /// Payload.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "2")]
    pub payload: Vec<u8>,
}
message!(EmitEventArgs);

/// Who this app is.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AppInfo {
    /// 20 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "1")]
    pub app_id: Vec<u8>,
    /// 20 bytes or none.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "2")]
    pub instance_id: Vec<u8>,
    /// PEM chain with evidence.
    #[prost(string, tag = "3")]
    pub app_cert: String,
    /// Measurements and event log, JSON text.
    #[prost(string, tag = "4")]
    pub tcb_info: String,
    /// From the manifest.
    #[prost(string, tag = "5")]
    pub app_name: String,
    /// 32 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "8")]
    pub device_id: Vec<u8>,
    /// 32 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "9")]
    pub mr_aggregated: Vec<u8>,
    /// 32 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "10")]
    pub os_image_hash: Vec<u8>,
    /// JSON text.
    #[prost(string, tag = "12")]
    pub key_provider_info: String,
    /// 32 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "13")]
    pub compose_hash: Vec<u8>,
    /// JSON text.
    #[prost(string, tag = "14")]
    pub vm_config: String,
    /// From DMI.
    #[prost(string, tag = "15")]
    pub cloud_vendor: String,
    /// From DMI.
    #[prost(string, tag = "16")]
    pub cloud_product: String,
}
message!(AppInfo);

/// Version of the agent.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerVersion {
    /// Crate version.
    #[prost(string, tag = "1")]
    pub version: String,
    /// Revision.
    #[prost(string, tag = "2")]
    pub rev: String,
}
message!(WorkerVersion);

/// Asks for a signature.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct SignRequest {
    /// `ed25519`, `secp256k1`, `k256` or `secp256k1_prehashed`.
    #[prost(string, tag = "1")]
    pub algorithm: String,
    /// What to sign.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "2")]
    pub data: Vec<u8>,
}
message!(SignRequest);

/// A signature.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct SignResponse {
    /// 64 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "1")]
    pub signature: Vec<u8>,
    /// The signature, by the app key, by the KMS root.
    #[serde(with = "crate::json::bytes_list")]
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub signature_chain: Vec<Vec<u8>>,
    /// 32 or 33 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "3")]
    pub public_key: Vec<u8>,
}
message!(SignResponse);

/// Asks whether a signature holds.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct VerifyRequest {
    /// As for signing.
    #[prost(string, tag = "1")]
    pub algorithm: String,
    /// What was signed.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "2")]
    pub data: Vec<u8>,
    /// 64 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "3")]
    pub signature: Vec<u8>,
    /// 32 or 33 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "4")]
    pub public_key: Vec<u8>,
}
message!(VerifyRequest);

/// Whether it holds.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct VerifyResponse {
    /// Whether it holds.
    #[prost(bool, tag = "1")]
    pub valid: bool,
}
message!(VerifyResponse);

/// Legacy: asks for a P-256 key.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct DeriveKeyArgs {
    /// Where in the app's hierarchy.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Common name.
    #[prost(string, tag = "2")]
    pub subject: String,
    /// DNS names or IP addresses.
    #[prost(string, repeated, tag = "3")]
    pub alt_names: Vec<String>,
    /// Put evidence into the certificate.
    #[prost(bool, tag = "4")]
    pub usage_ra_tls: bool,
    /// Extended key usage.
    #[prost(bool, tag = "5")]
    pub usage_server_auth: bool,
    /// Extended key usage.
    #[prost(bool, tag = "6")]
    pub usage_client_auth: bool,
    /// A fresh key instead of a derived one.
    #[prost(bool, tag = "7")]
    pub random_seed: bool,
}
message!(DeriveKeyArgs);

/// Legacy: a derived key.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct DeriveK256KeyResponse {
    /// 32 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "1")]
    pub k256_key: Vec<u8>,
    /// By the app key, and by the KMS root.
    #[serde(with = "crate::json::bytes_list")]
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub k256_signature_chain: Vec<Vec<u8>>,
}
message!(DeriveK256KeyResponse);

/// Legacy: asks for a quote.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct TdxQuoteArgs {
    /// Content.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "1")]
    pub report_data: Vec<u8>,
    /// Hash of the tagged content.
    #[prost(string, tag = "2")]
    pub hash_algorithm: String,
    /// Tag.
    #[prost(string, tag = "3")]
    pub prefix: String,
}
message!(TdxQuoteArgs);

/// Legacy: a quote.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct TdxQuoteResponse {
    /// TDX quote.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "1")]
    pub quote: Vec<u8>,
    /// JSON text.
    #[prost(string, tag = "2")]
    pub event_log: String,
    /// The one used.
    #[prost(string, tag = "3")]
    pub hash_algorithm: String,
    /// The tag used.
    #[prost(string, tag = "4")]
    pub prefix: String,
}
message!(TdxQuoteResponse);

/// Asks for evidence of the key that signs for the app.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetAttestationForAppKeyRequest {
    /// `ed25519`, `secp256k1` or `k256`.
    #[prost(string, tag = "1")]
    pub algorithm: String,
}
message!(GetAttestationForAppKeyRequest);
