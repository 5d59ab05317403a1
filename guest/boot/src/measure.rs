//! The launch events up to `boot-mr-done`, in their order (attestation reference, 4.1).

use bylaw_attest::event_log::BOOT_MR_DONE;
use bylaw_attester::{Attester, AttesterError};
use bylaw_types::AppCompose;
use bylaw_types::compose::BootFields;
use sha2::{Digest, Sha256};

use crate::instance::Identity;

/// What is measured about an app before it is given keys: names and payloads.
pub fn launch_events(
    compose: &AppCompose,
    fields: &BootFields,
    identity: &Identity,
) -> Vec<(&'static str, Vec<u8>)> {
    let mut events = vec![
        ("system-preparing", vec![]),
        ("app-id", identity.app_id.as_bytes().to_vec()),
        ("compose-hash", compose.hash().as_bytes().to_vec()),
    ];
    for script in &compose.manifest().init_script {
        events.push(("init-script-hash", Sha256::digest(script).to_vec()));
    }
    events.push(("gpu-policy-hash", gpu_policy_hash(fields).to_vec()));
    let instance = identity.instance_id.map(|id| id.as_bytes().to_vec());
    events.push(("instance-id", instance.unwrap_or_default()));
    events.push((BOOT_MR_DONE, vec![]));
    events
}

/// SHA-256 of the policy in its canonical form.
pub fn gpu_policy_hash(fields: &BootFields) -> [u8; 32] {
    // JSON that was parsed always serialises.
    let canonical = serde_json_canonicalizer::to_vec(&fields.gpu_policy).unwrap_or_default();
    Sha256::digest(canonical).into()
}

/// Extends them all.
///
/// # Errors
/// [`AttesterError`].
pub async fn extend_all(
    attester: &dyn Attester,
    events: &[(&'static str, Vec<u8>)],
) -> Result<(), AttesterError> {
    for (name, payload) in events {
        attester.extend(name, payload).await?;
        tracing::info!(event = name, payload = hex::encode(payload), "measured");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bylaw_attest::event_log::replay;
    use bylaw_attest::{EventVersion, RuntimeEvent};
    use bylaw_types::{AppId, InstanceId};

    use super::*;
    use crate::instance::InstanceInfo;

    fn events(text: &str, instance: Option<[u8; 20]>) -> Vec<(&'static str, Vec<u8>)> {
        let compose = AppCompose::parse(text.as_bytes()).unwrap();
        let identity = Identity {
            app_id: AppId::new([0x11; 20]),
            instance_id: instance.map(InstanceId::new),
            info: InstanceInfo::default(),
        };
        launch_events(&compose, &compose.boot_fields().unwrap(), &identity)
    }

    #[test]
    fn the_order_is_the_normative_one() {
        let text = r#"{"manifest_version":"3","name":"a","runner":"bash",
            "init_script":["one","two"]}"#;
        let events = events(text, Some([0x22; 20]));
        let names: Vec<_> = events.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            [
                "system-preparing",
                "app-id",
                "compose-hash",
                "init-script-hash",
                "init-script-hash",
                "gpu-policy-hash",
                "instance-id",
                "boot-mr-done"
            ]
        );
        assert_eq!(events[2].1, Sha256::digest(text).to_vec());
        assert_eq!(events[3].1, Sha256::digest("one").to_vec());
        assert_eq!(events[4].1, Sha256::digest("two").to_vec());
    }

    /// The vectors are of an older guest, which measured no GPU policy.
    #[test]
    fn the_register_replays_to_the_vectors_value() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!(
            "../../../test/vectors/attest/attestation-vectors.json"
        ))
        .unwrap();
        let listed = vectors["runtime_events"].as_array().unwrap();
        let text = r#"{"manifest_version":2,"name":"a","runner":"bash"}"#;
        let ours: Vec<RuntimeEvent> = events(text, Some([0x22; 20]))
            .into_iter()
            .filter(|(name, _)| *name != "gpu-policy-hash")
            .zip(listed)
            .map(|((name, payload), listed)| {
                assert_eq!(name, listed["event"].as_str().unwrap());
                let expected = hex::decode(listed["payload"].as_str().unwrap()).unwrap();
                if name != "compose-hash" {
                    assert_eq!(payload, expected, "{name}");
                }
                RuntimeEvent::new(name, expected, EventVersion::V1)
            })
            .collect();
        assert_eq!(
            replay(&ours).to_string(),
            vectors["replay"]["v1_rtmr3_to_boot_mr_done"]
                .as_str()
                .unwrap()
        );
    }

    #[test]
    fn no_policy_hashes_like_an_empty_one() {
        let default = events(r#"{"manifest_version":2,"name":"a","runner":"bash"}"#, None);
        assert!(hex::encode(&default[3].1).starts_with("44136fa3"));
        assert_eq!(default[4], ("instance-id", vec![]));
        let text = r#"{"manifest_version":"3","name":"a","runner":"bash",
            "requirements":{"gpu_policy":{"allow_debug":true,"attest_gpu":false}}}"#;
        let sorted = Sha256::digest(r#"{"allow_debug":true,"attest_gpu":false}"#).to_vec();
        assert_eq!(events(text, None)[3].1, sorted);
    }
}
