//! What the launch was bound to: MRCONFIGID or HOST_DATA of this VM's own evidence
//! against what the VM is about to run (attestation reference, section 8).

use bylaw_attest::mr_config::{LaunchDocument, MrConfig, v3_digest};
use bylaw_attest::{Attestation, Platform, tdx};
use bylaw_types::compose::{BootFields, KeyProvider};
use bylaw_types::{AppCompose, Register, Sha256Digest};
use sha2::{Digest, Sha256};

use crate::instance::Identity;
use crate::measure::gpu_policy_hash;

/// HOST_DATA within an SEV-SNP report.
const HOST_DATA: std::ops::Range<usize> = 0xc0..0xe0;

/// A launch that was bound to something else.
#[derive(Debug, thiserror::Error)]
pub enum BindingError {
    /// The evidence is of another form.
    #[error("this VM's own evidence: {0}")]
    Evidence(String),
    /// Bound to another configuration.
    #[error("the launch was bound to another configuration: {0}")]
    Other(String),
    /// Bound to a document that is missing or another.
    #[error(
        "the launch was bound to a document, and mr_config is {0}; the VMM must write the one it \
         launched with"
    )]
    Document(&'static str),
    /// The document says something else than what runs.
    #[error("the launch document's {field} is {document}, but here it is {actual}")]
    Field {
        /// Which.
        field: &'static str,
        /// What it says.
        document: String,
        /// What is.
        actual: String,
    },
}

/// What is about to run.
#[derive(Debug)]
pub struct Configuration<'a> {
    /// The manifest.
    pub compose: &'a AppCompose,
    /// Its further fields.
    pub fields: &'a BootFields,
    /// Who this VM is.
    pub identity: &'a Identity,
    /// The document, if the host gave one.
    pub document: Option<&'a str>,
}

/// Checks the binding in this VM's own evidence. Zero binds nothing, except on SEV-SNP,
/// where nothing else would say what runs.
///
/// # Errors
/// [`BindingError`].
pub fn check(evidence: &Attestation, running: &Configuration) -> Result<(), BindingError> {
    match &evidence.platform {
        Platform::Tdx { quote, .. } => {
            let report =
                tdx::report(quote).map_err(|error| BindingError::Evidence(error.to_string()))?;
            check_register(&report.mr_config_id, running)
        }
        Platform::SevSnp { report, .. } => check_host_data(report, running),
        other => Err(BindingError::Evidence(format!(
            "{} is not supported",
            other.kind()
        ))),
    }
}

fn check_host_data(report: &[u8], running: &Configuration) -> Result<(), BindingError> {
    let bound = report
        .get(HOST_DATA)
        .ok_or_else(|| BindingError::Evidence("the report is too short".to_owned()))?;
    let text = running.document.ok_or(BindingError::Document("missing"))?;
    if v3_digest(text.as_bytes()) != bound {
        return Err(BindingError::Document("another one"));
    }
    check_document(text, running)
}

fn check_register(register: &Register, running: &Configuration) -> Result<(), BindingError> {
    let compose_hash = &running.compose.hash();
    let manifest = running.compose.manifest();
    let is = |bound: MrConfig| bound.register() == *register;
    let [version, ..] = register.as_bytes();
    match version {
        0 if register.is_zero() => Ok(()),
        1 if is(MrConfig::V1 { compose_hash }) => Ok(()),
        1 => Err(BindingError::Other("its compose hash differs".to_owned())),
        2 => {
            let provider_id = hex::decode(&manifest.key_provider_id).unwrap_or_default();
            let bound = MrConfig::V2 {
                compose_hash,
                app_id: &running.identity.app_id,
                key_provider: provider_byte(manifest.key_provider()),
                key_provider_id: &provider_id,
            };
            is(bound).then_some(()).ok_or_else(|| {
                BindingError::Other(
                    "compose hash, app, key provider or key_provider_id differs".to_owned(),
                )
            })
        }
        3 => {
            let text = running.document.ok_or(BindingError::Document("missing"))?;
            if !is(MrConfig::V3 {
                document: text.as_bytes(),
            }) {
                return Err(BindingError::Document("another one"));
            }
            check_document(text, running)
        }
        _ => Err(BindingError::Other(format!(
            "MRCONFIGID {register} is of no known version"
        ))),
    }
}

fn provider_byte(provider: KeyProvider) -> u8 {
    match provider {
        KeyProvider::None => 0,
        KeyProvider::Local => 1,
        KeyProvider::Kms => 2,
        KeyProvider::Tpm => 3,
    }
}

fn check_document(text: &str, running: &Configuration) -> Result<(), BindingError> {
    let document =
        LaunchDocument::parse(text).map_err(|error| BindingError::Other(error.to_string()))?;
    let manifest = running.compose.manifest();
    let provider = |provider: KeyProvider| format!("{provider:?}");
    let list = |hashes: &[Sha256Digest]| -> Vec<String> {
        hashes.iter().map(ToString::to_string).collect()
    };
    let init_scripts: Vec<Sha256Digest> = manifest
        .init_script
        .iter()
        .map(|script| Sha256Digest::new(Sha256::digest(script).into()))
        .collect();
    let instance = running.identity.instance_id;
    let provider_id = manifest.key_provider_id.to_ascii_lowercase();
    // Members that are not there bind nothing.
    for (field, bound, actual) in [
        (
            "compose_hash",
            Some(document.compose_hash.to_string()),
            running.compose.hash().to_string(),
        ),
        (
            "key_provider",
            Some(provider(document.key_provider)),
            provider(manifest.key_provider()),
        ),
        (
            "app_id",
            document.app_id.map(|id| id.to_string()),
            running.identity.app_id.to_string(),
        ),
        (
            "key_provider_id",
            Some(hex::encode(&document.key_provider_id)).filter(|id| !id.is_empty()),
            provider_id,
        ),
        (
            "instance_id",
            document.instance_id.map(|id| id.to_string()),
            instance.map(|id| id.to_string()).unwrap_or_default(),
        ),
        (
            "gpu_policy_hash",
            document.gpu_policy_hash.map(|hash| hash.to_string()),
            hex::encode(gpu_policy_hash(running.fields)),
        ),
        (
            "init_script_hashes",
            document
                .init_script_hashes
                .as_deref()
                .map(|bound| list(bound).join(",")),
            list(&init_scripts).join(","),
        ),
    ] {
        match bound {
            Some(bound) if bound != actual => {
                return Err(BindingError::Field {
                    field,
                    document: bound,
                    actual,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bylaw_types::AppId;
    use serde_json::json;

    use super::*;
    use crate::instance::InstanceInfo;

    fn with<T>(work: impl FnOnce(&Configuration, &AppCompose) -> T, document: Option<&str>) -> T {
        let text = r#"{"manifest_version":"3","name":"a","runner":"bash","kms_enabled":true,
            "key_provider_id":"33","init_script":"one"}"#;
        let compose = AppCompose::parse(text.as_bytes()).unwrap();
        let identity = Identity {
            app_id: AppId::new([0x11; 20]),
            instance_id: None,
            info: InstanceInfo::default(),
        };
        let fields = compose.boot_fields().unwrap();
        let running = Configuration {
            compose: &compose,
            fields: &fields,
            identity: &identity,
            document,
        };
        work(&running, &compose)
    }

    #[test]
    fn no_binding_passes_and_unknown_ones_do_not() {
        with(
            |running, _| {
                check_register(&Register::new([0; 48]), running).unwrap();
                for (at, value) in [(0, 9), (47, 1)] {
                    let mut bytes = [0; 48];
                    bytes[at] = value;
                    assert!(check_register(&Register::new(bytes), running).is_err());
                }
            },
            None,
        );
    }

    #[test]
    fn versions_one_and_two_bind_this_configuration_alone() {
        with(
            |running, compose| {
                let hash = compose.hash();
                let one = MrConfig::V1 {
                    compose_hash: &hash,
                }
                .register();
                let two = |app: u8, provider| {
                    MrConfig::V2 {
                        compose_hash: &hash,
                        app_id: &AppId::new([app; 20]),
                        key_provider: provider,
                        key_provider_id: &[0x33],
                    }
                    .register()
                };
                check_register(&one, running).unwrap();
                check_register(&two(0x11, 2), running).unwrap();
                for other in [two(0x12, 2), two(0x11, 0)] {
                    assert!(check_register(&other, running).is_err());
                }
                for register in [one, two(0x11, 2)] {
                    let mut flipped = register.to_bytes();
                    flipped[5] ^= 1;
                    assert!(check_register(&Register::new(flipped), running).is_err());
                }
            },
            None,
        );
    }

    #[test]
    fn on_sev_snp_the_document_must_be_there_and_be_the_one_that_was_launched() {
        let hash = with(|_, compose| compose.hash().to_string(), None);
        let text = format!(r#"{{"version":3,"compose_hash":"{hash}","key_provider":"kms"}}"#);
        let mut report = vec![0; 1184];
        report[HOST_DATA].copy_from_slice(&v3_digest(text.as_bytes()));
        let result = |report: &[u8], document: Option<&str>| {
            with(|running, _| check_host_data(report, running), document)
        };
        result(&report, Some(&text)).unwrap();
        // The same members, other bytes.
        let spaced = text.replace(',', ", ");
        for (report, document) in [
            (&report[..], Some(spaced.as_str())),
            (&report[..], None),
            (&report[..100], Some(&text)),
            (&[0; 1184][..], Some(&text)),
        ] {
            assert!(result(report, document).is_err(), "{document:?}");
        }
    }

    #[test]
    fn every_member_of_a_document_must_hold() {
        let (hash, script) = with(
            |_, compose| {
                (
                    compose.hash().to_string(),
                    hex::encode(Sha256::digest("one")),
                )
            },
            None,
        );
        let whole = json!({
            "version": 3, "compose_hash": hash, "key_provider": "kms", "app_id": "11".repeat(20),
            "key_provider_id": "33", "init_script_hashes": [script],
            "gpu_policy_hash": hex::encode(Sha256::digest("{}")),
        });
        let result = |document: &serde_json::Value| {
            let text = document.to_string();
            let register = MrConfig::V3 {
                document: text.as_bytes(),
            }
            .register();
            with(|running, _| check_register(&register, running), Some(&text))
        };
        result(&whole).unwrap();
        result(&json!({"version": 3, "compose_hash": hash, "key_provider": "kms"})).unwrap();
        for (field, other) in [
            ("compose_hash", json!("22".repeat(32))),
            ("key_provider", json!("none")),
            ("app_id", json!("12".repeat(20))),
            ("key_provider_id", json!("34")),
            ("instance_id", json!("44".repeat(20))),
            ("gpu_policy_hash", json!("55".repeat(32))),
            ("init_script_hashes", json!([])),
        ] {
            let mut changed = whole.clone();
            changed[field] = other;
            match result(&changed) {
                Err(BindingError::Field { field: named, .. }) => assert_eq!(named, field),
                result => panic!("{field}: {result:?}"),
            }
        }
        for (member, other) in [("version", 2), ("more", 1)] {
            let mut unusable = whole.clone();
            unusable[member] = json!(other);
            assert!(matches!(result(&unusable), Err(BindingError::Other(_))));
        }
    }

    #[test]
    fn a_document_must_be_the_one_of_the_launch() {
        let register = MrConfig::V3 { document: b"{}" }.register();
        for document in [None, Some("{} ")] {
            let refused = with(|running, _| check_register(&register, running), document);
            assert!(
                matches!(refused, Err(BindingError::Document(_))),
                "{refused:?}"
            );
        }
    }
}
