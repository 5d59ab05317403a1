//! The document of version 3.

use bylaw_types::compose::KeyProvider;
use bylaw_types::{AppId, ComposeHash, InstanceId, KeyProviderInfo, Sha256Digest};
use serde::{Deserialize, Deserializer, de};

/// Longest document that is read, in bytes. Real ones have about 500.
const MAX_LEN: usize = 16 * 1024;
const VERSION: u32 = 3;

/// What a launch was bound to; absent members bind nothing.
///
/// Bound are the exact bytes ([`super::v3_digest`]): the same members written in another way
/// are another document.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchDocument {
    version: u32,
    /// SHA-256 of app-compose.json.
    pub compose_hash: ComposeHash,
    /// Where the app asks its keys from.
    pub key_provider: KeyProvider,
    /// The app.
    #[serde(default)]
    pub app_id: Option<AppId>,
    /// Identity of the provider; empty binds none.
    #[serde(default, deserialize_with = "hex_bytes")]
    pub key_provider_id: Vec<u8>,
    /// The instance.
    #[serde(default)]
    pub instance_id: Option<InstanceId>,
    /// SHA-256 of the policy about GPUs.
    #[serde(default)]
    pub gpu_policy_hash: Option<Sha256Digest>,
    /// SHA-256 of each init script, in their order.
    #[serde(default)]
    pub init_script_hashes: Option<Vec<Sha256Digest>>,
}

/// A text that is not such a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mr_config is not a launch document of version 3: {0}")]
pub struct LaunchDocumentError(String);

impl LaunchDocument {
    /// Reads a document.
    ///
    /// # Errors
    /// [`LaunchDocumentError`] for members that are unknown, missing or of another form.
    pub fn parse(text: &str) -> Result<Self, LaunchDocumentError> {
        if text.len() > MAX_LEN {
            let reason = format!("{} bytes; the limit is {MAX_LEN}", text.len());
            return Err(LaunchDocumentError(reason));
        }
        let document: Self =
            serde_json::from_str(text).map_err(|error| LaunchDocumentError(error.to_string()))?;
        if document.version != VERSION {
            let reason = format!("its version is {}", document.version);
            return Err(LaunchDocumentError(reason));
        }
        Ok(document)
    }

    /// The provider as measured events name it.
    pub fn key_provider_info(&self) -> KeyProviderInfo {
        let name = match self.key_provider {
            KeyProvider::None => "none",
            KeyProvider::Kms => "kms",
            KeyProvider::Local => "local-sgx",
            KeyProvider::Tpm => "tpm",
        };
        KeyProviderInfo {
            name: name.to_owned(),
            id: hex::encode(&self.key_provider_id),
        }
    }
}

fn hex_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    hex::decode(text.as_ref()).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(document: &serde_json::Value) -> Result<LaunchDocument, LaunchDocumentError> {
        LaunchDocument::parse(&document.to_string())
    }

    #[test]
    fn members_are_read_and_unknown_ones_refused() {
        let whole = json!({
            "version": 3, "compose_hash": "11".repeat(32), "key_provider": "local",
            "app_id": "22".repeat(20), "key_provider_id": "33", "instance_id": "44".repeat(20),
            "gpu_policy_hash": "55".repeat(32), "init_script_hashes": ["66".repeat(32)],
        });
        let document = parse(&whole).unwrap();
        assert_eq!(document.app_id, Some(AppId::new([0x22; 20])));
        assert_eq!(document.instance_id, Some(InstanceId::new([0x44; 20])));
        let provider = document.key_provider_info().to_payload();
        assert_eq!(provider, br#"{"name":"local-sgx","id":"33"}"#);
        for (member, other) in [
            ("version", json!(2)),
            ("version", json!(null)),
            ("compose_hash", json!("11")),
            ("key_provider", json!("other")),
            ("app_id", json!("")),
            ("key_provider_id", json!("3")),
            ("instance_id", json!("44".repeat(32))),
            ("init_script_hashes", json!(["66"])),
            ("more", json!(1)),
        ] {
            let mut changed = whole.clone();
            changed[member] = other;
            assert!(parse(&changed).is_err(), "{member}");
        }
        for member in ["version", "compose_hash", "key_provider"] {
            let mut without = whole.clone();
            without.as_object_mut().unwrap().remove(member);
            assert!(parse(&without).is_err(), "{member}");
        }
        let twice = whole.to_string().replace("{", r#"{"version":3,"#);
        assert!(LaunchDocument::parse(&twice).is_err());
        let long = format!("{}{}", " ".repeat(MAX_LEN), whole);
        assert!(LaunchDocument::parse(&long).is_err());
    }
}
