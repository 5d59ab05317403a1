//! Messages of `HostApi`, which a guest calls (VMM API reference, section 3).

use serde::{Deserialize, Serialize};

use crate::message::message;

/// Something the guest tells its host.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Notification {
    /// What, e.g. `boot.progress`.
    #[prost(string, tag = "1")]
    pub event: String,
    /// A sentence, without secrets.
    #[prost(string, tag = "2")]
    pub payload: String,
}
message!(Notification);

/// Who hosts this guest.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct HostInfo {
    /// `dstack VMM`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Of the VMM.
    #[prost(string, tag = "2")]
    pub version: String,
}
message!(HostInfo);

/// Asks the sealing enclave of this machine for the key of a TD.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetSealingKeyRequest {
    /// TDX quote whose report data is an X25519 public key and 32 zero bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "1")]
    pub quote: Vec<u8>,
}
message!(GetSealingKeyRequest);

/// The key, for the holder of the X25519 secret alone.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetSealingKeyResponse {
    /// A sealed box.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "1")]
    pub encrypted_key: Vec<u8>,
    /// SGX quote whose report data starts with the SHA-256 of `encrypted_key`.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "2")]
    pub provider_quote: Vec<u8>,
}
message!(GetSealingKeyResponse);
