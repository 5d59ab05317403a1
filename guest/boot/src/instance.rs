//! Who this VM is: app, seed, instance (attestation reference, section 4.1).

use bylaw_types::compose::KeyProvider;
use bylaw_types::{AppCompose, AppId, InstanceId};
use serde::{Deserialize, Serialize};

/// No seed.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// The kernel gives no randomness.
    #[error("no randomness for the instance id: {0}")]
    Random(getrandom::Error),
}

/// `.instance_info`: what the host keeps for the next start. Members are absent or exact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceInfo {
    /// Makes instances of one app differ.
    #[serde(default, with = "exact_or_empty")]
    pub instance_id_seed: Option<[u8; 20]>,
    /// Computed, never believed.
    #[serde(default, with = "exact_or_empty")]
    pub instance_id: Option<[u8; 20]>,
    /// The app that the host says this is.
    #[serde(default, with = "exact_or_empty")]
    pub app_id: Option<[u8; 20]>,
}

/// Who this VM is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// As measured.
    pub app_id: AppId,
    /// As measured; `None` where the manifest wants none.
    pub instance_id: Option<InstanceId>,
    /// For the host to keep.
    pub info: InstanceInfo,
}

impl Identity {
    /// Settles it from what the host kept.
    ///
    /// An app id other than the manifest's own counts only with a KMS: there the contract
    /// says whether this manifest may run as that app. Nobody else would check.
    ///
    /// # Errors
    /// [`InstanceError`].
    pub fn settle(kept: &InstanceInfo, compose: &AppCompose) -> Result<Self, InstanceError> {
        let manifest = compose.manifest();
        let own = AppId::from_compose_hash(&compose.hash());
        let given = kept.app_id.map_or(own, AppId::new);
        let provider = manifest.key_provider();
        let app_id = match provider {
            KeyProvider::Kms => given,
            _ => own,
        };
        let seed = match kept.instance_id_seed {
            // Without a provider nothing of an earlier start can be read: it is another one.
            Some(seed) if provider != KeyProvider::None => seed,
            _ => {
                let mut seed = [0; 20];
                getrandom::fill(&mut seed).map_err(InstanceError::Random)?;
                seed
            }
        };
        let instance_id = (!manifest.no_instance_id).then(|| InstanceId::of(&seed, &given));
        Ok(Self {
            app_id,
            instance_id,
            info: InstanceInfo {
                instance_id_seed: Some(seed),
                instance_id: instance_id.map(InstanceId::to_bytes),
                app_id: Some(given.to_bytes()),
            },
        })
    }
}

/// Hex of exactly 20 bytes, or the empty text.
mod exact_or_empty {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        bytes: &Option<[u8; 20]>,
        output: S,
    ) -> Result<S::Ok, S::Error> {
        output.serialize_str(&bytes.map(hex::encode).unwrap_or_default())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Option<[u8; 20]>, D::Error> {
        let text = Option::<String>::deserialize(input)?.unwrap_or_default();
        if text.is_empty() {
            return Ok(None);
        }
        let bytes = hex::decode(&text).map_err(D::Error::custom)?;
        let count = bytes.len();
        let exact = <[u8; 20]>::try_from(bytes);
        exact
            .map(Some)
            .map_err(|_| D::Error::custom(format!("{count} bytes where 20 or none are expected")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compose(rest: &str) -> AppCompose {
        let text = format!(r#"{{"manifest_version":2,"name":"a","runner":"bash"{rest}}}"#);
        AppCompose::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_id_matches_the_vector() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!(
            "../../../test/vectors/attest/attestation-vectors.json"
        ))
        .unwrap();
        let vector = &vectors["instance_id"];
        let text = |name: &str| vector[name].as_str().unwrap();
        let kept: InstanceInfo = serde_json::from_value(serde_json::json!({
            "instance_id_seed": text("instance_id_seed"),
            "app_id": text("app_id"),
        }))
        .unwrap();
        let settled = Identity::settle(&kept, &compose(r#","kms_enabled":true"#)).unwrap();
        assert_eq!(
            settled.instance_id.unwrap().to_string(),
            text("instance_id")
        );
        assert_eq!(settled.app_id.to_string(), text("app_id"));
        let again = Identity::settle(&settled.info, &compose(r#","kms_enabled":true"#)).unwrap();
        assert_eq!(
            again, settled,
            "what the host keeps leads to the same instance"
        );
    }

    #[test]
    fn without_a_kms_the_host_cannot_name_the_app() {
        let kept = InstanceInfo {
            app_id: Some([9; 20]),
            ..InstanceInfo::default()
        };
        for rules in [r#","key_provider":"local""#, ""] {
            let compose = compose(rules);
            let settled = Identity::settle(&kept, &compose).unwrap();
            assert_eq!(settled.app_id, AppId::from_compose_hash(&compose.hash()));
        }
    }

    #[test]
    fn the_seed_is_kept_unless_nobody_gives_keys() {
        let kept = InstanceInfo {
            instance_id_seed: Some([5; 20]),
            ..InstanceInfo::default()
        };
        for (rules, is_kept) in [
            (r#","key_provider":"kms""#, true),
            (r#","key_provider":"local""#, true),
            (r#","key_provider":"none""#, false),
        ] {
            let settled = Identity::settle(&kept, &compose(rules)).unwrap();
            assert_eq!(
                settled.info.instance_id_seed == Some([5; 20]),
                is_kept,
                "{rules}"
            );
        }
        let nameless = Identity::settle(&kept, &compose(r#","no_instance_id":true"#)).unwrap();
        assert_eq!(nameless.instance_id, None);
        assert!(
            serde_json::to_string(&nameless.info)
                .unwrap()
                .contains(r#""instance_id":"""#)
        );
    }
}
