//! `app-compose.json`: the manifest whose exact bytes are the app's identity.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use crate::{ChainId, ComposeHash, ContractAddress};

mod boot;
mod encrypted_env;

pub use boot::{BootFields, MAX_SWAP};
pub use encrypted_env::{EncryptedEnvRules, EnvVersion};

/// Newest manifest version this code understands.
pub const MAX_MANIFEST_VERSION: u32 = 3;
/// Most init scripts a manifest may have.
pub const MAX_INIT_SCRIPTS: usize = 5;
/// Longest manifest that is read, in bytes.
pub const MAX_LEN: usize = 1024 * 1024;

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// More than [`MAX_LEN`] bytes.
    #[error("app-compose is {0} bytes; the limit is {MAX_LEN}")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("app-compose is not UTF-8 text")]
    NotText,
    /// Not JSON, or a field has another type.
    #[error("app-compose is not a valid manifest: {0}")]
    Json(#[from] serde_json::Error),
    /// A rule between fields is broken.
    #[error("app-compose field `{field}`: {reason}")]
    Field {
        /// JSON name of the field.
        field: &'static str,
        /// What is wrong and what is allowed.
        reason: String,
    },
}

fn field(field: &'static str, reason: impl Into<String>) -> ComposeError {
    ComposeError::Field {
        field,
        reason: reason.into(),
    }
}

/// Where an app asks its keys from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyProvider {
    /// Nowhere: random keys each boot.
    None,
    /// A KMS governed by contract.
    Kms,
    /// The sealing enclave on the same machine.
    Local,
    /// The platform's TPM.
    Tpm,
}

/// The chain and contract an app accepts keys under; ours, beside upstream's fields.
///
/// When present, the guest refuses a KMS that obeys another contract, so the
/// host cannot choose the governance of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Governance {
    /// EIP-155 chain id.
    pub chain_id: ChainId,
    /// Address of `KmsAuth`.
    pub kms_auth: ContractAddress,
}

/// A parsed manifest together with the hash of the bytes it came from.
///
/// Only made by [`AppCompose::parse`], so the hash always belongs to the fields.
/// Unknown top-level keys are accepted, as upstream's guests do: they are
/// measured like everything else.
#[derive(Debug, Clone)]
pub struct AppCompose {
    hash: ComposeHash,
    raw: String,
    manifest: Manifest,
}

/// The typed fields of a manifest.
#[derive(Debug, Clone, Deserialize)]
pub struct Manifest {
    /// 1, 2 (a number or decimal text) or 3 (text only).
    #[serde(deserialize_with = "manifest_version")]
    pub manifest_version: ManifestVersion,
    /// Name for people; not an identity.
    pub name: String,
    /// `docker-compose`, `nerdctl-compose` or `bash`.
    pub runner: String,
    /// Text of the docker-compose.yaml.
    #[serde(default)]
    pub docker_compose_file: Option<String>,
    /// `overlayfs` or `stargz`; nerdctl only.
    #[serde(default)]
    pub snapshotter: Option<String>,
    /// Scripts run before anything else; each is measured.
    #[serde(default, deserialize_with = "one_or_many")]
    pub init_script: Vec<String>,
    /// Deprecated feature flags; `tproxy-net` means the gateway.
    #[serde(default)]
    pub features: Vec<String>,
    /// Keys come from a KMS (before `key_provider` existed).
    #[serde(default)]
    pub kms_enabled: bool,
    /// Reachable through the gateway.
    #[serde(default, alias = "tproxy_enabled")]
    pub gateway_enabled: bool,
    /// Keys come from the local sealing enclave (before `key_provider` existed).
    #[serde(default)]
    pub local_key_provider_enabled: bool,
    /// All replicas share one disk key.
    #[serde(default)]
    pub no_instance_id: bool,
    /// Anyone may read the containers' logs.
    #[serde(default)]
    pub public_logs: bool,
    /// Anyone may read system information.
    #[serde(default)]
    pub public_sysinfo: bool,
    /// Anyone may read the measurements.
    #[serde(default = "yes")]
    pub public_tcbinfo: bool,
    /// The clock is set from authenticated time before keys are asked for.
    #[serde(default = "yes")]
    pub secure_time: bool,
    #[serde(default)]
    key_provider: Option<KeyProvider>,
    /// Hex of the key provider this app insists on; empty accepts any the contract names.
    #[serde(default)]
    pub key_provider_id: String,
    /// Names of environment variables that may be set from outside.
    #[serde(default)]
    pub allowed_envs: Vec<String>,
    /// `zfs` or `ext4`.
    #[serde(default)]
    pub storage_fs: Option<String>,
    /// Digest form of the runtime event log: 1 or 2.
    #[serde(default = "one")]
    pub event_log_version: u8,
    /// Governance this app insists on.
    #[serde(default)]
    pub governance: Option<Governance>,
    /// Which encrypted environments are opened, and whose; ours, beside upstream's fields.
    #[serde(default)]
    pub encrypted_env: EncryptedEnvRules,
    /// Conditions on the platform; manifest 3 and later.
    #[serde(default)]
    pub requirements: Option<Requirements>,
}

/// Conditions an app puts on the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirements {
    /// Semver range of the OS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// TEE variants; an empty list allows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platforms: Option<Vec<String>>,
    /// `true` asks for the legacy measurement, `false` for lite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tdx_measure_acpi_tables: Option<bool>,
    /// SHA-256 of the launch token, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_token_hash: Option<String>,
    /// What a GPU must prove.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_policy: Option<GpuPolicy>,
}

/// What a GPU must prove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuPolicy {
    /// Attest at all.
    #[serde(default = "yes")]
    pub attest_gpu: bool,
    /// Policy text for the vendor's verifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rego: Option<String>,
    /// Accept developer mode.
    #[serde(default)]
    pub allow_devtools: bool,
    /// Accept debug.
    #[serde(default)]
    pub allow_debug: bool,
    /// Accept a boot that was not secure.
    #[serde(default)]
    pub allow_insecure_boot: bool,
}

/// Manifest version, and whether it was written as text (as 3 and later must be).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestVersion {
    /// The number.
    pub number: u32,
    /// Written as a JSON string.
    pub is_text: bool,
}

fn yes() -> bool {
    true
}

fn one() -> u8 {
    1
}

fn manifest_version<'de, D: Deserializer<'de>>(input: D) -> Result<ManifestVersion, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Number(u32),
        Text(String),
    }
    match Form::deserialize(input)? {
        Form::Number(number) => Ok(ManifestVersion {
            number,
            is_text: false,
        }),
        Form::Text(text) => {
            let number: u32 = text.parse().map_err(D::Error::custom)?;
            // "01" and "+1" would be other spellings of the same version.
            if number.to_string() != text {
                return Err(D::Error::custom(format!(
                    "version {text:?} is not canonical decimal"
                )));
            }
            Ok(ManifestVersion {
                number,
                is_text: true,
            })
        }
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Option::<Form>::deserialize(input)? {
        None => vec![],
        Some(Form::One(script)) => vec![script],
        Some(Form::Many(scripts)) => scripts,
    })
}

impl AppCompose {
    /// Parses and checks a manifest; the compose hash is over exactly `bytes`.
    ///
    /// # Errors
    /// [`ComposeError`] names the field that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, ComposeError> {
        if bytes.len() > MAX_LEN {
            return Err(ComposeError::TooLong(bytes.len()));
        }
        // serde_json does not look into strings that it skips.
        let raw = std::str::from_utf8(bytes).map_err(|_| ComposeError::NotText)?;
        let manifest: Manifest = serde_json::from_str(raw)?;
        manifest.check()?;
        Ok(Self {
            hash: compose_hash(bytes),
            raw: raw.to_owned(),
            manifest,
        })
    }

    /// SHA-256 of the exact bytes.
    pub fn hash(&self) -> ComposeHash {
        self.hash
    }

    /// The exact text.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The typed fields.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

impl Manifest {
    /// Where keys come from, with the older flags taken into account.
    pub fn key_provider(&self) -> KeyProvider {
        match self.key_provider {
            Some(provider) => provider,
            None if self.kms_enabled => KeyProvider::Kms,
            None if self.local_key_provider_enabled => KeyProvider::Local,
            None => KeyProvider::None,
        }
    }

    /// Whether the app is reachable through the gateway, by flag or deprecated feature.
    pub fn uses_gateway(&self) -> bool {
        self.gateway_enabled || self.features.iter().any(|feature| feature == "tproxy-net")
    }

    fn check(&self) -> Result<(), ComposeError> {
        let ManifestVersion { number, is_text } = self.manifest_version;
        if !(1..=MAX_MANIFEST_VERSION).contains(&number) {
            return Err(field(
                "manifest_version",
                format!("{number} is not supported; 1 to {MAX_MANIFEST_VERSION} are"),
            ));
        }
        if number >= 3 && !is_text {
            return Err(field(
                "manifest_version",
                "3 and later must be written as text (\"3\"), so that older guests refuse them",
            ));
        }
        let needs_3 = |name, used: bool| {
            if used && number < 3 {
                return Err(field(
                    name,
                    format!("needs manifest_version \"3\", this is {number}"),
                ));
            }
            Ok(())
        };
        needs_3("requirements", self.requirements.is_some())?;
        needs_3("init_script", self.init_script.len() > 1)?;
        needs_3("runner", self.runner == "nerdctl-compose")?;
        if self.init_script.len() > MAX_INIT_SCRIPTS {
            return Err(field(
                "init_script",
                format!("at most {MAX_INIT_SCRIPTS} scripts"),
            ));
        }
        if !["docker-compose", "nerdctl-compose", "bash"].contains(&self.runner.as_str()) {
            return Err(field(
                "runner",
                format!(
                    "{:?} is not docker-compose, nerdctl-compose or bash",
                    self.runner
                ),
            ));
        }
        if !(1..=2).contains(&self.event_log_version) {
            return Err(field("event_log_version", "must be 1 or 2"));
        }
        if hex::decode(&self.key_provider_id).is_err() {
            return Err(field("key_provider_id", "must be hexadecimal or empty"));
        }
        self.encrypted_env
            .check()
            .map_err(|reason| field("encrypted_env", reason))?;
        Ok(())
    }
}

/// SHA-256 of the exact bytes of an app-compose.json: what the guest measures.
pub fn compose_hash(bytes: &[u8]) -> ComposeHash {
    ComposeHash::new(Sha256::digest(bytes).into())
}

/// The text that SDK helpers hash: keys sorted, no whitespace, raw UTF-8.
///
/// Useful to write a manifest in one canonical way; the guest never does this.
///
/// # Errors
/// [`ComposeError::Json`] when `bytes` is not JSON.
pub fn canonical_text(bytes: &[u8]) -> Result<String, ComposeError> {
    let value: serde_json::Value = serde_json::from_slice(bytes)?;
    Ok(serde_json::to_string(&sorted(value))?)
}

fn sorted(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_by(|left, right| left.0.cmp(&right.0));
            Value::Object(
                entries
                    .into_iter()
                    .map(|(key, value)| (key, sorted(value)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
