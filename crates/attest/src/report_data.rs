//! What evidence is challenged with (attestation reference, section 2).
//!
//! `report_data = pad64(H(tag || ":" || content))`, zero-padded on the right.

use bylaw_types::{ReportData, TrustAnchorDigest};
use sha2::{Digest, Sha256, Sha384, Sha512};
use sha3::{Keccak256, Keccak384, Keccak512, Sha3_256, Sha3_384, Sha3_512};

/// Tag of RA-TLS keys; the content is the DER SubjectPublicKeyInfo.
pub const TAG_RATLS: &str = "ratls-cert";
/// Tag of application data.
pub const TAG_APP_DATA: &str = "app-data";
/// Tag of a KMS root CA.
pub const TAG_KMS_ROOT_CA: &str = "kms-root-ca";

/// Hash of the tagged content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512, the default.
    Sha512,
    /// SHA3-256.
    Sha3_256,
    /// SHA3-384.
    Sha3_384,
    /// SHA3-512.
    Sha3_512,
    /// Keccak-256.
    Keccak256,
    /// Keccak-384.
    Keccak384,
    /// Keccak-512.
    Keccak512,
}

impl HashAlgorithm {
    /// Every algorithm with its name on the wire.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Sha256, "sha256"),
        (Self::Sha384, "sha384"),
        (Self::Sha512, "sha512"),
        (Self::Sha3_256, "sha3-256"),
        (Self::Sha3_384, "sha3-384"),
        (Self::Sha3_512, "sha3-512"),
        (Self::Keccak256, "keccak256"),
        (Self::Keccak384, "keccak384"),
        (Self::Keccak512, "keccak512"),
    ];

    /// The algorithm of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(algorithm, _)| *algorithm)
    }

    fn hash(self, parts: [&[u8]; 3]) -> Vec<u8> {
        fn digest<D: Digest>(parts: [&[u8]; 3]) -> Vec<u8> {
            parts
                .iter()
                .fold(D::new(), |hash, part| hash.chain_update(part))
                .finalize()
                .to_vec()
        }
        match self {
            Self::Sha256 => digest::<Sha256>(parts),
            Self::Sha384 => digest::<Sha384>(parts),
            Self::Sha512 => digest::<Sha512>(parts),
            Self::Sha3_256 => digest::<Sha3_256>(parts),
            Self::Sha3_384 => digest::<Sha3_384>(parts),
            Self::Sha3_512 => digest::<Sha3_512>(parts),
            Self::Keccak256 => digest::<Keccak256>(parts),
            Self::Keccak384 => digest::<Keccak384>(parts),
            Self::Keccak512 => digest::<Keccak512>(parts),
        }
    }
}

/// `pad64(H(tag || ":" || content))`.
pub fn tagged(tag: &str, algorithm: HashAlgorithm, content: &[u8]) -> ReportData {
    let hash = algorithm.hash([tag.as_bytes(), b":", content]);
    let mut padded = [0; 64];
    for (slot, byte) in padded.iter_mut().zip(hash) {
        *slot = byte;
    }
    ReportData::new(padded)
}

/// Report data that binds evidence to a TLS key, by its DER SubjectPublicKeyInfo.
pub fn ratls(spki_der: &[u8]) -> ReportData {
    tagged(TAG_RATLS, HashAlgorithm::Sha512, spki_der)
}

/// Report data of the evidence a KMS gives for its new root keys (keys
/// reference, section 8; the misspelling is part of the format).
pub fn kms_bootstrap(ca_spki_der: &[u8], k256_public: &[u8]) -> ReportData {
    let text = format!(
        "dstack-kms-genereted-keys-v1:{};{};",
        hex::encode(ca_spki_der),
        hex::encode(k256_public)
    );
    let mut padded = [0; 64];
    for (slot, byte) in padded.iter_mut().zip(Keccak256::digest(text.as_bytes())) {
        *slot = byte;
    }
    ReportData::new(padded)
}

/// SHA-256 identifying a set of trust anchors: over a label and, sorted, each
/// `platform || 0x00 || SHA-256(SubjectPublicKeyInfo DER)`. A root that is issued
/// again for the same key is the same anchor.
pub(crate) fn anchor_digest(anchors: &[(&str, &[u8])]) -> TrustAnchorDigest {
    let mut lines: Vec<Vec<u8>> = anchors
        .iter()
        .map(|(platform, der)| [platform.as_bytes(), &[0], &Sha256::digest(der)].concat())
        .collect();
    lines.sort();
    let mut hash = Sha256::new_with_prefix(b"bylaw-trust-anchors-v1");
    for line in lines {
        hash.update(line);
    }
    TrustAnchorDigest::new(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_and_hash_matches_the_vectors() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!(
            "../../../test/vectors/attest/attestation-vectors.json"
        ))
        .unwrap();
        let by_tag = vectors["report_data"]["by_tag_and_hash"]
            .as_object()
            .unwrap();
        assert_eq!(by_tag.len(), 3);
        for (tag, by_hash) in by_tag {
            for (algorithm, name) in HashAlgorithm::ALL {
                let expected = by_hash[name].as_str().unwrap();
                assert_eq!(
                    tagged(tag, algorithm, b"hello").to_string(),
                    expected,
                    "{tag} {name}"
                );
            }
        }
    }

    #[test]
    fn kms_bootstrap_matches_the_vector() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../test/vectors/keys/key-vectors.json"))
                .unwrap();
        let bytes = |name: &str| hex::decode(vectors["inputs"][name].as_str().unwrap()).unwrap();
        assert_eq!(
            kms_bootstrap(
                &bytes("root_ca_spki_der"),
                &bytes("root_k256_pubkey_compressed")
            )
            .to_string(),
            vectors["kms_bootstrap_report_data"]["report_data"]
                .as_str()
                .unwrap()
        );
    }
}
