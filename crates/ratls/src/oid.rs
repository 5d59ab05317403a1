//! Extension identifiers.
//!
//! The content of each is a DER OCTET STRING inside the extension's value.

use p256::pkcs8::der::asn1::OctetStringRef;
use p256::pkcs8::der::{Decode, Encode};

use crate::CertError;

/// TDX quote (older generation).
pub(crate) const QUOTE: &[u64] = &[1, 3, 6, 1, 4, 1, 62397, 1, 1];
/// Event log JSON (older generation).
pub(crate) const EVENT_LOG: &[u64] = &[1, 3, 6, 1, 4, 1, 62397, 1, 2];
/// App id, 20 bytes.
pub(crate) const APP_ID: &[u64] = &[1, 3, 6, 1, 4, 1, 62397, 1, 3];
/// Special usage, text.
pub(crate) const USAGE: &[u64] = &[1, 3, 6, 1, 4, 1, 62397, 1, 4];
/// Versioned attestation.
pub(crate) const ATTESTATION: &[u64] = &[1, 3, 6, 1, 4, 1, 62397, 1, 8];
/// App info, MessagePack.
pub(crate) const APP_INFO: &[u64] = &[1, 3, 6, 1, 4, 1, 62397, 1, 9];
/// Digest of the issuer's trust anchors, 32 bytes. Ours: the UUID
/// dbe95875-6460-471a-8e18-eeb9d159b645 under the arc that takes UUIDs in small parts.
/// The UUID arc 2.25 would need numbers that Go's and other X.509 libraries refuse.
pub(crate) const TRUST_ANCHORS: &[u64] = &[
    1, 2, 840, 113_556, 1, 8000, 2554, 56_297, 22_645, 25_696, 18_202, 36_376, 15_645_137,
    5_879_365,
];

/// Usage of a KMS's TLS leaf.
pub const USAGE_KMS: &str = "kms:rpc";
/// Usage of an app's CA.
pub const USAGE_APP_CA: &str = "app:ca";
/// Usage of an app's leaf.
pub const USAGE_CUSTOM: &str = "app:custom";

pub(crate) fn dotted(oid: &[u64]) -> String {
    oid.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

pub(crate) fn wrap(content: &[u8]) -> Result<Vec<u8>, CertError> {
    OctetStringRef::new(content)
        .and_then(|octets| octets.to_der())
        .map_err(|error| CertError::Issue(error.to_string()))
}

pub(crate) fn unwrap(oid: &[u64], value: &[u8]) -> Result<Vec<u8>, CertError> {
    OctetStringRef::from_der(value)
        .map(|octets| octets.as_bytes().to_vec())
        .map_err(|error| CertError::Extension {
            oid: dotted(oid),
            reason: format!("not an OCTET STRING: {error}"),
        })
}
