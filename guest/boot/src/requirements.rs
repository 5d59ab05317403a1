//! What the app asks of its platform (attestation reference, section 12): checked before
//! anything is measured, so that a VM that may not run never has keys.

use bylaw_types::TeeVariant;
use bylaw_types::compose::{BootFields, Manifest};
use semver::{Version, VersionReq};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::shared::SysConfig;

/// Shortest launch token, in bytes.
const MIN_TOKEN: usize = 32;

/// A condition of the manifest that does not hold here.
#[derive(Debug, thiserror::Error)]
pub enum RequirementError {
    /// The range, or this system's version.
    #[error("requirements.os_version: {0}")]
    BadVersion(String),
    /// Another system.
    #[error("the app asks for OS {range}, this is {version}")]
    OsVersion {
        /// What is asked for.
        range: String,
        /// What is.
        version: String,
    },
    /// Another TEE.
    #[error("the app runs on {allowed:?} only, this is {variant}")]
    Platform {
        /// What is asked for.
        allowed: Vec<String>,
        /// What is.
        variant: TeeVariant,
    },
    /// Another way to measure.
    #[error("the app asks for the {asked} TDX measurement, this VM was launched with {launched}")]
    Measurement {
        /// What is asked for.
        asked: &'static str,
        /// What is.
        launched: String,
    },
    /// No token, or another.
    #[error("launch token: {0}")]
    LaunchToken(&'static str),
    /// Something that this image does not do.
    #[error("{what} is not supported by this image: {instead}")]
    Unsupported {
        /// What the manifest asks for.
        what: String,
        /// What to do.
        instead: &'static str,
    },
}

/// What the platform is.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Version of the image, by its own verified files.
    pub os_version: &'a str,
    /// The TEE.
    pub variant: TeeVariant,
    /// The host's settings.
    pub sys_config: &'a SysConfig,
    /// The owner's settings.
    pub user_config: &'a [u8],
    /// NVIDIA devices attached.
    pub gpus: usize,
}

/// Checks everything the manifest asks for.
///
/// # Errors
/// [`RequirementError`] names the first condition that does not hold.
pub fn check(
    manifest: &Manifest,
    fields: &BootFields,
    facts: &Facts,
) -> Result<(), RequirementError> {
    supported(manifest, fields)?;
    let Some(asked) = &manifest.requirements else {
        return Ok(());
    };
    if let Some(range) = &asked.os_version {
        os_version(range, facts.os_version)?;
    }
    if let Some(allowed) = &asked.platforms {
        platform(allowed, facts.variant)?;
    }
    if let Some(whole) = asked.tdx_measure_acpi_tables {
        measurement(whole, facts)?;
    }
    if let Some(hash) = &asked.launch_token_hash {
        launch_token(hash, facts.user_config)?;
    }
    if let Some(policy) = &asked.gpu_policy {
        let is_used = policy.rego.is_some() || (policy.attest_gpu && facts.gpus > 0);
        if is_used {
            return Err(RequirementError::Unsupported {
                what: "requirements.gpu_policy".to_owned(),
                instead: "GPU attestation needs the NVIDIA flavour of the image",
            });
        }
    }
    Ok(())
}

fn supported(manifest: &Manifest, fields: &BootFields) -> Result<(), RequirementError> {
    let refuse = |what: String, instead| Err(RequirementError::Unsupported { what, instead });
    match manifest.storage_fs.as_deref() {
        None | Some("ext4") => {}
        Some(other) => {
            return refuse(
                format!("storage_fs {other:?}"),
                "leave it out or write \"ext4\"",
            );
        }
    }
    if manifest.runner == "nerdctl-compose" {
        return refuse("runner nerdctl-compose".to_owned(), "use docker-compose");
    }
    if manifest.snapshotter.is_some() {
        return refuse("snapshotter".to_owned(), "it belongs to nerdctl-compose");
    }
    if fields.verity_volumes > 0 {
        return refuse("verity_volumes".to_owned(), "put the data into the image");
    }
    Ok(())
}

fn os_version(range: &str, version: &str) -> Result<(), RequirementError> {
    let bad = |error: semver::Error| RequirementError::BadVersion(error.to_string());
    let asked: VersionReq = range.parse().map_err(bad)?;
    let parsed: Version = version.parse().map_err(bad)?;
    if asked.matches(&parsed) {
        return Ok(());
    }
    Err(RequirementError::OsVersion {
        range: range.to_owned(),
        version: version.to_owned(),
    })
}

fn platform(allowed: &[String], variant: TeeVariant) -> Result<(), RequirementError> {
    let name = variant.as_str();
    let short = name.strip_prefix("dstack-").unwrap_or(name);
    if allowed.iter().any(|one| one == name || one == short) {
        return Ok(());
    }
    Err(RequirementError::Platform {
        allowed: allowed.to_vec(),
        variant,
    })
}

fn measurement(whole: bool, facts: &Facts) -> Result<(), RequirementError> {
    if facts.variant != TeeVariant::Tdx {
        return Ok(());
    }
    let launched = facts
        .sys_config
        .vm_fact("tdx_attestation_variant")
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_else(|| "legacy".to_owned());
    let asked = if whole { "legacy" } else { "lite" };
    if launched == asked {
        return Ok(());
    }
    Err(RequirementError::Measurement { asked, launched })
}

#[derive(Deserialize)]
struct UserConfig {
    dstack: Option<Dstack>,
}

#[derive(Deserialize)]
struct Dstack {
    launch_token: Option<String>,
}

fn launch_token(hash: &str, user_config: &[u8]) -> Result<(), RequirementError> {
    let refuse = |why| Err(RequirementError::LaunchToken(why));
    let config: Option<UserConfig> = serde_json::from_slice(user_config).ok();
    let token = config
        .and_then(|config| config.dstack?.launch_token)
        .unwrap_or_default();
    if token.is_empty() {
        return refuse("the app asks for one in .user-config as dstack.launch_token");
    }
    if token.len() < MIN_TOKEN {
        return refuse("it has fewer than 32 bytes");
    }
    let actual = Sha256::new()
        .chain_update(b"dstack-launch-token/v1:")
        .chain_update(&token)
        .finalize();
    match hash.eq_ignore_ascii_case(&hex::encode(actual)) {
        true => Ok(()),
        false => refuse("it is not the one that the manifest names"),
    }
}

#[cfg(test)]
mod tests {
    use bylaw_types::AppCompose;

    use super::*;
    use crate::shared::{APP_COMPOSE, SYS_CONFIG, Shared};

    fn sys_config(vm_config: &str) -> SysConfig {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            bylaw_types::file::write_atomic(&dir.path().join(name), text.as_bytes()).unwrap();
        };
        put(APP_COMPOSE, "{}");
        put(
            SYS_CONFIG,
            &serde_json::json!({ "vm_config": vm_config }).to_string(),
        );
        Shared::read(dir.path()).unwrap().sys_config
    }

    fn checked(rest: &str, vm_config: &str, user_config: &str, gpus: usize) -> Result<(), String> {
        let text = format!(r#"{{"manifest_version":"3","name":"a","runner":"bash",{rest}}}"#)
            .replace(r#""runner":"bash","runner""#, r#""runner""#);
        let compose = AppCompose::parse(text.as_bytes()).unwrap();
        let facts = Facts {
            os_version: "0.5.6",
            variant: TeeVariant::Tdx,
            sys_config: &sys_config(vm_config),
            user_config: user_config.as_bytes(),
            gpus,
        };
        check(compose.manifest(), &compose.boot_fields().unwrap(), &facts)
            .map_err(|error| error.to_string())
    }

    fn asked(requirements: &str) -> Result<(), String> {
        checked(
            &format!(r#""requirements":{{{requirements}}}"#),
            "{}",
            "",
            0,
        )
    }

    #[test]
    fn os_versions_are_semantic_ranges() {
        asked(r#""os_version":">=0.5.0, <0.6""#).unwrap();
        assert!(
            asked(r#""os_version":">=0.6""#)
                .unwrap_err()
                .contains("0.5.6")
        );
        assert!(
            asked(r#""os_version":"newest""#)
                .unwrap_err()
                .contains("os_version")
        );
    }

    #[test]
    fn platforms_are_named_and_none_allows_none() {
        asked(r#""platforms":["dstack-amd-sev-snp","dstack-tdx"]"#).unwrap();
        asked(r#""platforms":["tdx"]"#).unwrap();
        assert!(
            asked(r#""platforms":[]"#)
                .unwrap_err()
                .contains("dstack-tdx")
        );
        assert!(asked(r#""platforms":["dstack-gcp-tdx"]"#).is_err());
    }

    #[test]
    fn the_way_to_measure_is_the_one_asked_for() {
        let lite = r#"{"tdx_attestation_variant":"lite"}"#;
        let rule = |whole| format!(r#""requirements":{{"tdx_measure_acpi_tables":{whole}}}"#);
        for (whole, vm_config, is_fine) in [
            (true, "{}", true),
            (false, lite, true),
            (true, lite, false),
            (false, "{}", false),
        ] {
            let checked = checked(&rule(whole), vm_config, "", 0);
            assert_eq!(checked.is_ok(), is_fine, "{whole} {vm_config}: {checked:?}");
        }
    }

    #[test]
    fn the_launch_token_is_the_vectors() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!(
            "../../../test/vectors/attest/attestation-vectors.json"
        ))
        .unwrap();
        let vector = &vectors["launch_token"];
        let (token, hash) = (
            vector["token"].as_str().unwrap(),
            vector["hash"].as_str().unwrap(),
        );
        let rule = format!(r#""requirements":{{"launch_token_hash":"{hash}"}}"#);
        let with = |token: &str| {
            let user = serde_json::json!({ "dstack": { "launch_token": token } });
            checked(&rule, "{}", &user.to_string(), 0)
        };
        with(token).unwrap();
        assert!(
            with(&token.replace('1', "2"))
                .unwrap_err()
                .contains("not the one")
        );
        assert!(with("short").unwrap_err().contains("32"));
        assert!(
            checked(&rule, "{}", "no json", 0)
                .unwrap_err()
                .contains("user-config")
        );
    }

    #[test]
    fn what_this_image_cannot_do_is_refused_with_what_to_do() {
        for (rest, what) in [
            (r#""storage_fs":"zfs""#, "ext4"),
            (r#""runner":"nerdctl-compose""#, "docker-compose"),
            (r#""snapshotter":"stargz""#, "snapshotter"),
            (r#""verity_volumes":[{}]"#, "verity_volumes"),
            (r#""requirements":{"gpu_policy":{"rego":"x"}}"#, "NVIDIA"),
        ] {
            let error = checked(rest, "{}", "", 0).unwrap_err();
            assert!(error.contains(what), "{rest}: {error}");
        }
        checked(r#""storage_fs":"ext4""#, "{}", "", 0).unwrap();
        let policy = r#""requirements":{"gpu_policy":{}}"#;
        checked(policy, "{}", "", 0).unwrap();
        assert!(
            checked(policy, "{}", "", 1).is_err(),
            "a GPU that nobody attests"
        );
    }
}
