//! Which instance a SEV-SNP guest will be.
//!
//! A TD says so in a measured event once it runs. A SEV-SNP guest has no such events: what
//! a KMS believes is the document that the launch is bound to, so the instance is settled
//! before it, from a seed that is chosen at the first start and kept like a guest's own.

use bylaw_types::compose::KeyProvider;
use bylaw_types::{AppCompose, AppId, InstanceId};

use super::{LaunchError, random_hex};
use crate::record::{InstanceInfo, Manifest, WorkDir, shared};

/// The instance, recorded where the guest reads its seed; none where the app wants none, or
/// where nothing outlives a start.
///
/// # Errors
/// [`LaunchError`].
pub(super) fn settle(
    dir: &WorkDir,
    manifest: &Manifest,
    compose: &AppCompose,
) -> Result<Option<InstanceId>, LaunchError> {
    let wanted = compose.manifest();
    if wanted.no_instance_id || wanted.key_provider() == KeyProvider::None {
        return Ok(None);
    }
    let malformed = |reason: &dyn std::fmt::Display| LaunchError::Instance(reason.to_string());
    let bytes = dir.read_shared(shared::INSTANCE_INFO)?.unwrap_or_default();
    let mut info: InstanceInfo =
        serde_json::from_slice(&bytes).map_err(|error| malformed(&error))?;
    if info.instance_id_seed.is_empty() {
        info.instance_id_seed = random_hex::<20>()?;
    }
    let mut seed = [0; 20];
    hex::decode_to_slice(&info.instance_id_seed, &mut seed).map_err(|error| malformed(&error))?;
    let app_id: AppId = manifest.app_id.parse().map_err(|error| malformed(&error))?;
    let id = InstanceId::of(&seed, &app_id);
    info.instance_id = id.to_string();
    // Three texts always serialise.
    let json = serde_json::to_vec(&info).unwrap_or_default();
    dir.write_shared(shared::INSTANCE_INFO, &json)?;
    Ok(Some(id))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::State;

    const APP: &str = "00112233445566778899aabbccddeeff00112233";

    fn manifest() -> Manifest {
        serde_json::from_value(json!({
            "id": "vm", "name": "n", "app_id": APP, "vcpu": 1, "memory": 512, "disk_size": 1,
            "image": "i", "created_at_ms": 1,
        }))
        .unwrap()
    }

    fn compose(more: &serde_json::Value) -> AppCompose {
        let mut fields = json!({ "manifest_version": 2, "name": "n", "runner": "bash" });
        let fields = fields.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        AppCompose::parse(&serde_json::to_vec(fields).unwrap()).unwrap()
    }

    fn record(run: &std::path::Path, info: &[u8]) -> WorkDir {
        let files = [(shared::INSTANCE_INFO, info.to_vec())];
        WorkDir::create(run, State::STOPPED, &manifest(), &files).unwrap()
    }

    #[test]
    fn the_seed_is_chosen_once_and_the_guest_finds_it() {
        let run = tempfile::tempdir().unwrap();
        let dir = record(run.path(), format!(r#"{{"app_id":"{APP}"}}"#).as_bytes());
        let compose = compose(&json!({ "key_provider": "kms" }));
        let first = settle(&dir, &manifest(), &compose).unwrap().unwrap();
        assert_eq!(settle(&dir, &manifest(), &compose).unwrap(), Some(first));
        let kept = dir.read_shared(shared::INSTANCE_INFO).unwrap().unwrap();
        let kept: InstanceInfo = serde_json::from_slice(&kept).unwrap();
        assert!(kept.is_valid());
        assert_eq!(kept.instance_id, first.to_string());
        let other = tempfile::tempdir().unwrap();
        let other = record(other.path(), format!(r#"{{"app_id":"{APP}"}}"#).as_bytes());
        assert_ne!(settle(&other, &manifest(), &compose).unwrap(), Some(first));
    }

    #[test]
    fn apps_without_instances_have_none() {
        let run = tempfile::tempdir().unwrap();
        let dir = record(run.path(), b"{}");
        for more in [
            json!({ "key_provider": "none" }),
            json!({ "key_provider": "kms", "no_instance_id": true }),
        ] {
            assert_eq!(settle(&dir, &manifest(), &compose(&more)).unwrap(), None);
        }
        assert_eq!(
            dir.read_shared(shared::INSTANCE_INFO).unwrap().unwrap(),
            b"{}"
        );
    }

    #[test]
    fn a_seed_that_is_none_is_an_error() {
        let run = tempfile::tempdir().unwrap();
        let dir = record(run.path(), br#"{"instance_id_seed":"00"}"#);
        let compose = compose(&json!({ "key_provider": "kms" }));
        let error = settle(&dir, &manifest(), &compose).unwrap_err();
        assert!(error.to_string().contains(".instance_info"), "{error}");
    }
}
