//! From a docker-compose.yaml, or an app-compose.json, to the manifest that is measured.

use std::path::{Path, PathBuf};

use bylaw_types::compose::{EnvVersion, Governance, KeyProvider};
use bylaw_types::{AppCompose, SignerAddress};
use serde_json::{Map, Value, json};

use super::containers::Containers;
use crate::output::Failure;

/// What becomes part of a new manifest.
#[derive(clap::Args, Clone)]
pub(crate) struct ManifestArgs {
    /// Where the app's keys come from.
    #[arg(long, value_name = "WHERE", default_value = "kms")]
    key_provider: KeyProviderName,
    /// Anyone may read the containers' logs (`bylaw logs --container`).
    #[arg(long)]
    public_logs: bool,
    /// Anyone may read system information.
    #[arg(long)]
    public_sysinfo: bool,
    /// Reachable through the gateway.
    #[arg(long)]
    gateway: bool,
    /// The guest takes its time from authenticated servers before it asks for keys.
    #[arg(long)]
    secure_time: bool,
    /// All replicas share one disk key.
    #[arg(long)]
    no_instance_id: bool,
    /// Script that runs before the containers.
    #[arg(long, value_name = "FILE")]
    pre_launch_script: Option<PathBuf>,
    /// Swap on an encrypted disk, such as 2G.
    #[arg(long, value_name = "SIZE")]
    swap: Option<crate::vmm::Memory>,
}

#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum KeyProviderName {
    /// A KMS that obeys a contract.
    Kms,
    /// The sealing enclave of the same machine.
    Local,
    /// Nowhere: random keys at each boot, nothing on disk survives.
    None,
}

/// What the manifest says about the environment.
#[derive(Debug, Clone, Default)]
pub(crate) struct EnvRules {
    /// Names that may be set.
    pub(crate) names: Vec<String>,
    /// Who signs it; None accepts anonymous ones.
    pub(crate) signer: Option<SignerAddress>,
}

/// A file as it was given.
pub(crate) enum Source {
    /// A finished manifest.
    Manifest(Box<AppCompose>),
    /// What Docker is to run.
    Yaml(String),
}

impl Source {
    pub(crate) fn read(file: &Path) -> Result<Self, Failure> {
        let unusable =
            |error: std::io::Error| Failure::Unusable(format!("{}: {error}", file.display()));
        let text = std::fs::read_to_string(file).map_err(unusable)?;
        // JSON is YAML too: what begins as an object and has a manifest's field is one.
        let is_json = text.trim_start().starts_with('{');
        if is_json && text.contains("\"manifest_version\"") {
            return Ok(Self::Manifest(Box::new(crate::compose::read(file)?)));
        }
        Ok(Self::Yaml(text))
    }
}

impl ManifestArgs {
    /// A manifest around this docker-compose.yaml; the same options give the same bytes.
    pub(crate) fn make(
        &self,
        name: &str,
        yaml: &str,
        env: &EnvRules,
        governance: Option<Governance>,
    ) -> Result<AppCompose, Failure> {
        let mut fields = Map::new();
        let mut set = |key: &str, value: Value| fields.insert(key.to_owned(), value);
        set("manifest_version", json!(2));
        set("name", json!(name));
        set("runner", json!("docker-compose"));
        set("docker_compose_file", json!(yaml));
        let provider = match self.key_provider {
            KeyProviderName::Kms => KeyProvider::Kms,
            KeyProviderName::Local => KeyProvider::Local,
            KeyProviderName::None => KeyProvider::None,
        };
        set("key_provider", json!(provider));
        set("kms_enabled", json!(provider == KeyProvider::Kms));
        set(
            "local_key_provider_enabled",
            json!(provider == KeyProvider::Local),
        );
        set("key_provider_id", json!(""));
        set("gateway_enabled", json!(self.gateway));
        set("public_logs", json!(self.public_logs));
        set("public_sysinfo", json!(self.public_sysinfo));
        set("secure_time", json!(self.secure_time));
        set("no_instance_id", json!(self.no_instance_id));
        set("storage_fs", json!("ext4"));
        if let Some(swap) = self.swap {
            set("swap_size", json!(u64::from(swap.0) << 20));
        }
        if let Some(file) = &self.pre_launch_script {
            let script = std::fs::read_to_string(file)
                .map_err(|error| Failure::Unusable(format!("{}: {error}", file.display())))?;
            set("pre_launch_script", json!(script));
        }
        // The guest then refuses a KMS that obeys another contract, whatever the host says.
        if let Some(governance) = governance.filter(|_| provider == KeyProvider::Kms) {
            set("governance", json!(governance));
        }
        apply(&mut fields, env);
        finish(&fields)
    }
}

/// The same manifest with another docker-compose.yaml, or another environment.
pub(crate) fn change(
    running: &str,
    yaml: Option<&str>,
    env: Option<&EnvRules>,
) -> Result<AppCompose, Failure> {
    let mut fields: Map<String, Value> = serde_json::from_str(running)
        .map_err(|error| Failure::Unusable(format!("the running app-compose.json: {error}")))?;
    if let Some(yaml) = yaml {
        fields.insert("docker_compose_file".to_owned(), json!(yaml));
    }
    if let Some(env) = env {
        apply(&mut fields, env);
    }
    finish(&fields)
}

fn apply(fields: &mut Map<String, Value>, env: &EnvRules) {
    fields.insert("allowed_envs".to_owned(), json!(env.names));
    if let Some(signer) = env.signer {
        fields.insert(
            "encrypted_env".to_owned(),
            json!({
                "versions": [u8::from(EnvVersion::Signed)],
                "signers": [format!("0x{signer}")],
            }),
        );
    }
}

fn finish(fields: &Map<String, Value>) -> Result<AppCompose, Failure> {
    let mut text = serde_json::to_string_pretty(fields)?;
    text.push('\n');
    AppCompose::parse(text.as_bytes()).map_err(|error| Failure::Unusable(error.to_string()))
}

/// Warnings about what a manifest runs; with `strict`, images by tag are refused.
pub(crate) fn check(
    compose: &AppCompose,
    strict: bool,
) -> Result<(Containers, Vec<String>), Failure> {
    let manifest = compose.manifest();
    let Some(yaml) = manifest
        .docker_compose_file
        .as_ref()
        .filter(|_| manifest.runner != "bash")
    else {
        return Ok((Containers::default(), vec![]));
    };
    let containers = Containers::read(yaml)?;
    let mut warnings = containers.warnings.clone();
    for (service, image) in containers.unpinned() {
        let text = format!(
            "service {service}: image {image} is named by tag; whoever holds the registry can \
             exchange it. Name it by digest (image@sha256:…)"
        );
        if strict {
            return Err(Failure::Unusable(text));
        }
        warnings.push(text);
    }
    let unknown: Vec<&str> = containers
        .variables
        .iter()
        .map(String::as_str)
        .filter(|name| !manifest.allowed_envs.iter().any(|known| known == name))
        .collect();
    if !unknown.is_empty() {
        warnings.push(format!(
            "nothing sets {} (allowed_envs); it will be empty",
            unknown.join(", ")
        ));
    }
    Ok((containers, warnings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ManifestArgs,
    }

    fn args(line: &[&str]) -> ManifestArgs {
        Line::parse_from([&["x"], line].concat()).args
    }

    const YAML: &str =
        "services:\n  web:\n    image: nginx:1\n    environment: {A: \"${TOKEN}\"}\n";

    #[test]
    fn the_same_options_give_the_same_bytes() {
        let make = || {
            args(&["--public-logs"])
                .make("web", YAML, &EnvRules::default(), None)
                .unwrap()
        };
        let first = make();
        assert_eq!(first.raw(), make().raw());
        assert!(first.manifest().public_logs);
        assert_eq!(first.manifest().key_provider(), KeyProvider::Kms);
        assert_eq!(first.manifest().docker_compose_file.as_deref(), Some(YAML));
        let other = args(&[])
            .make("web", YAML, &EnvRules::default(), None)
            .unwrap();
        assert_ne!(first.hash(), other.hash());
    }

    #[test]
    fn governance_is_pinned_only_where_a_kms_gives_the_keys() {
        let governance: Governance = serde_json::from_value(json!({
            "chain_id": 1, "kms_auth": format!("0x{}", "11".repeat(20)),
        }))
        .unwrap();
        let make = |line: &[&str]| {
            let made = args(line).make("a", YAML, &EnvRules::default(), Some(governance));
            made.unwrap().manifest().governance
        };
        assert_eq!(make(&[]), Some(governance));
        assert_eq!(make(&["--key-provider", "none"]), None);
    }

    #[test]
    fn a_signed_environment_is_the_only_one_accepted() {
        let signer = SignerAddress::new([7; 20]);
        let env = EnvRules {
            names: vec!["TOKEN".into()],
            signer: Some(signer),
        };
        let compose = args(&[]).make("a", YAML, &env, None).unwrap();
        let rules = &compose.manifest().encrypted_env;
        assert!(!rules.accepts(EnvVersion::Anonymous));
        assert_eq!(rules.signers, [signer]);
        assert!(
            check(&compose, false)
                .unwrap()
                .1
                .iter()
                .all(|text| !text.contains("TOKEN"))
        );
    }

    #[test]
    fn images_by_tag_are_warned_about_and_refused_when_strict() {
        let compose = args(&[])
            .make("a", YAML, &EnvRules::default(), None)
            .unwrap();
        let (_, warnings) = check(&compose, false).unwrap();
        assert!(
            warnings.iter().any(|text| text.contains("nginx:1")),
            "{warnings:?}"
        );
        assert!(
            warnings.iter().any(|text| text.contains("TOKEN")),
            "{warnings:?}"
        );
        assert!(matches!(check(&compose, true), Err(Failure::Unusable(_))));
    }

    #[test]
    fn an_upgrade_keeps_every_other_field() {
        let before = args(&["--public-logs"])
            .make("a", YAML, &EnvRules::default(), None)
            .unwrap();
        let mut text: Map<String, Value> = serde_json::from_str(before.raw()).unwrap();
        text.insert("unknown_to_us".into(), json!([1]));
        let running = serde_json::to_string(&text).unwrap();
        let after = change(&running, Some("services: {b: {image: c}}"), None).unwrap();
        assert!(after.raw().contains("unknown_to_us"));
        assert!(after.manifest().public_logs);
        assert_eq!(
            after.manifest().docker_compose_file.as_deref(),
            Some("services: {b: {image: c}}")
        );
        assert!(change("[]", None, None).is_err());
    }
}
