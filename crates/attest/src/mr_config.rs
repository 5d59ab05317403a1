//! Launch configuration bound into MRCONFIGID or HOST_DATA (attestation reference,
//! section 8).

mod document;

use bylaw_types::{AppId, ComposeHash, Register};
pub use document::{LaunchDocument, LaunchDocumentError};
use sha2::{Digest, Sha256};
use sha3::Keccak256;

/// What a launch was bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MrConfig<'a> {
    /// The compose hash alone.
    V1 {
        /// SHA-256 of app-compose.json.
        compose_hash: &'a ComposeHash,
    },
    /// Compose hash, app and key provider.
    V2 {
        /// SHA-256 of app-compose.json.
        compose_hash: &'a ComposeHash,
        /// The app.
        app_id: &'a AppId,
        /// none 0, local 1, kms 2, tpm 3.
        key_provider: u8,
        /// Identity of the provider; may be empty.
        key_provider_id: &'a [u8],
    },
    /// A document.
    V3 {
        /// Its exact bytes.
        document: &'a [u8],
    },
}

impl MrConfig<'_> {
    /// The 48 bytes of MRCONFIGID: version, digest, zeros.
    pub fn register(&self) -> Register {
        let (version, digest): (u8, [u8; 32]) = match self {
            Self::V1 { compose_hash } => (1, compose_hash.to_bytes()),
            Self::V2 {
                compose_hash,
                app_id,
                key_provider,
                key_provider_id,
            } => (
                2,
                Keccak256::new()
                    .chain_update(compose_hash)
                    .chain_update(app_id)
                    .chain_update([*key_provider])
                    .chain_update(key_provider_id)
                    .finalize()
                    .into(),
            ),
            Self::V3 { document } => (3, v3_digest(document)),
        };
        let mut register = [0; 48];
        register[0] = version;
        register[1..33].copy_from_slice(&digest);
        Register::new(register)
    }
}

/// SHA-256 of a version 3 document; also the SEV-SNP HOST_DATA.
pub fn v3_digest(document: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"dstack-mr-config-v3:\0")
        .chain_update(document)
        .finalize()
        .into()
}

/// A launch that was bound to something else than what was measured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("MRCONFIGID {register} binds another configuration than the measured {measured}")]
pub struct MrConfigMismatch {
    /// As quoted.
    pub register: Register,
    /// What was measured.
    pub measured: String,
}

/// Checks what of MRCONFIGID can be checked against measured events.
///
/// All zero means no binding. Version 1 must equal the measured compose hash.
/// Versions 2 and 3 bind facts that are not all in the event log; the guest
/// checks those at boot from the measured OS image. An unknown version is refused.
///
/// # Errors
/// [`MrConfigMismatch`].
pub fn check(register: &Register, compose_hash: &ComposeHash) -> Result<(), MrConfigMismatch> {
    let bound = match register.as_bytes()[0] {
        0 => register.is_zero(),
        1 => *register == (MrConfig::V1 { compose_hash }).register(),
        2 | 3 => register.as_bytes()[33..] == [0; 15],
        _ => false,
    };
    if bound {
        Ok(())
    } else {
        Err(MrConfigMismatch {
            register: *register,
            measured: format!("compose hash {compose_hash}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_matches_the_vectors() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!(
            "../../../test/vectors/attest/attestation-vectors.json"
        ))
        .unwrap();
        let vectors = &vectors["mr_config"];
        let compose_hash = &vectors["v1"]["compose_hash"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let v1 = MrConfig::V1 { compose_hash }.register();
        assert_eq!(
            v1.to_string(),
            vectors["v1"]["mr_config_id"].as_str().unwrap()
        );
        for vector in vectors["v2"].as_array().unwrap() {
            let text = |key: &str| vector[key].as_str().unwrap();
            let config = MrConfig::V2 {
                compose_hash,
                app_id: &text("app_id").parse().unwrap(),
                key_provider: u8::try_from(vector["key_provider_byte"].as_u64().unwrap()).unwrap(),
                key_provider_id: &hex::decode(text("key_provider_id")).unwrap(),
            };
            assert_eq!(config.register().to_string(), text("mr_config_id"));
        }
        let document = vectors["v3"]["document"].as_str().unwrap().as_bytes();
        assert_eq!(
            MrConfig::V3 { document }.register().to_string(),
            vectors["v3"]["mr_config_id"].as_str().unwrap()
        );
        assert_eq!(
            hex::encode(v3_digest(document)),
            vectors["v3"]["host_data"].as_str().unwrap()
        );
    }

    #[test]
    fn a_binding_to_another_compose_is_refused() {
        let compose_hash = ComposeHash::new([1; 32]);
        let other = ComposeHash::new([2; 32]);
        let register = MrConfig::V1 {
            compose_hash: &compose_hash,
        }
        .register();
        assert!(check(&register, &compose_hash).is_ok());
        assert!(check(&register, &other).is_err());
        assert!(check(&Register::new([0; 48]), &other).is_ok(), "no binding");
        let mut trailing = register.to_bytes();
        trailing[47] = 1;
        assert!(check(&Register::new(trailing), &compose_hash).is_err());
        let mut unknown = register.to_bytes();
        unknown[0] = 9;
        assert!(check(&Register::new(unknown), &compose_hash).is_err());
    }
}
