//! Configuration: TOML, checked as a whole before anything starts.
//!
//! The file is read into a private twin that refuses unknown keys and
//! is then turned into a [`Config`] that is always valid. No setting weakens
//! attestation: the only choice about trust is *which* roots are trusted, and
//! that choice changes every key this KMS derives.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bylaw_types::{ChainId, ContractAddress};
use serde::{Deserialize, Serialize};

/// Environment overrides are `BYLAW_KMS_<SECTION>_<KEY>`, e.g. `BYLAW_KMS_RPC_LISTEN`.
pub const ENV_PREFIX: &str = "BYLAW_KMS_";

/// Shown by `--print-config`; parses to the defaults.
pub const DEFAULTS: &str = include_str!("../kms.toml");

/// Everything the service needs to know, valid by construction.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of the store; created with mode 0700.
    pub data_dir: PathBuf,
    /// Main TLS listener.
    pub rpc_listen: SocketAddr,
    /// Plain listener used until the KMS has its keys.
    pub onboard: Onboard,
    /// Admin listener, when enabled.
    pub admin: Option<Admin>,
    /// Where this process gets its own evidence and sealing key from.
    pub attester: String,
    /// Free text shown in `GetAttestationInfo`.
    pub site_name: String,
    /// PEM of a TDX root other than Intel's; changes every derived key.
    pub tdx_root_ca: Option<PathBuf>,
    /// PCCS base URL or a directory of collateral.
    pub collateral: String,
    /// The chain and the contract.
    pub chain: Chain,
}

/// The phase before keys exist.
#[derive(Debug, Clone)]
pub struct Onboard {
    /// Listener for Bootstrap and Onboard.
    pub listen: SocketAddr,
    /// Bootstrap by itself under this domain instead of listening.
    pub auto_bootstrap_domain: Option<String>,
}

/// Admin listener.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Address.
    pub listen: SocketAddr,
    /// File whose first line is the token.
    pub token_file: PathBuf,
}

/// How the policy is read.
#[derive(Debug, Clone)]
pub struct Chain {
    /// JSON-RPC endpoints.
    pub rpc_urls: Vec<String>,
    /// How many of them must agree.
    pub agreement: usize,
    /// EIP-155 id every endpoint must report.
    pub chain_id: ChainId,
    /// Address of `KmsAuth`.
    pub kms_auth: ContractAddress,
    /// Which block decisions are made at.
    pub finality: Finality,
    /// Oldest block a decision may rest on.
    pub max_head_age: Duration,
    /// Longest wait for one endpoint.
    pub timeout: Duration,
}

/// Which block decisions are made at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finality {
    /// The chain's `finalized` block.
    Finalized,
    /// This many blocks below the head, for chains without finality.
    Confirmations(u64),
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// File.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or another type.
    #[error("{origin}: {reason}")]
    Parse {
        /// File, or `environment`.
        origin: String,
        /// What the parser says, with line and column.
        reason: String,
    },
    /// A value outside what is allowed.
    #[error("{key} = {value:?}: {reason}")]
    Value {
        /// `section.key`.
        key: &'static str,
        /// As given.
        value: String,
        /// What is allowed.
        reason: String,
    },
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    data_dir: PathBuf,
    site_name: String,
    rpc: RawRpc,
    onboard: RawOnboard,
    admin: RawAdmin,
    attester: RawAttester,
    trust: RawTrust,
    collateral: RawCollateral,
    chain: RawChain,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawRpc {
    listen: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawOnboard {
    listen: String,
    auto_bootstrap_domain: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawAdmin {
    enabled: bool,
    listen: String,
    token_file: PathBuf,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawAttester {
    endpoint: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawTrust {
    tdx_root_ca: PathBuf,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawCollateral {
    source: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawChain {
    rpc_urls: Vec<String>,
    agreement: usize,
    chain_id: u64,
    kms_auth: String,
    finality: String,
    #[serde(with = "humantime_serde")]
    max_head_age: Duration,
    #[serde(with = "humantime_serde")]
    timeout: Duration,
}

impl Config {
    /// Defaults, then the file, then the environment; the later wins.
    ///
    /// # Errors
    /// [`ConfigError`] names file, key, value and the allowed form.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut table = parse_table("built-in defaults", DEFAULTS)?;
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
                path: path.to_owned(),
                source,
            })?;
            merge(&mut table, parse_table(&path.display().to_string(), &text)?);
        }
        apply_environment(&mut table, environment)?;
        let raw: Raw = table
            .try_into()
            .map_err(|error: toml::de::Error| ConfigError::Parse {
                origin: file.map_or_else(
                    || "configuration".to_owned(),
                    |path| path.display().to_string(),
                ),
                reason: error.to_string(),
            })?;
        raw.try_into()
    }
}

fn parse_table(origin: &str, text: &str) -> Result<toml::Table, ConfigError> {
    text.parse()
        .map_err(|error: toml::de::Error| ConfigError::Parse {
            origin: origin.to_owned(),
            reason: error.to_string(),
        })
}

fn merge(base: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(value)) => merge(inner, value),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// `BYLAW_KMS_CHAIN_RPC_URLS=a,b` sets `chain.rpc_urls`; the type follows the default's.
fn apply_environment(
    table: &mut toml::Table,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<(), ConfigError> {
    for (name, text) in environment {
        let Some(path) = name.strip_prefix(ENV_PREFIX) else {
            continue;
        };
        let path = path.to_ascii_lowercase();
        let slot = match table.get_mut(&path) {
            Some(value) if !value.is_table() => Some(value),
            _ => path.split_once('_').and_then(|(section, key)| {
                table
                    .get_mut(section)
                    .and_then(toml::Value::as_table_mut)?
                    .get_mut(key)
            }),
        };
        let bad = |reason: &str| ConfigError::Parse {
            origin: "environment".to_owned(),
            reason: format!("{name}={text:?}: {reason}"),
        };
        let slot = slot.ok_or_else(|| bad("names no setting"))?;
        *slot = match slot {
            toml::Value::Boolean(_) => {
                toml::Value::Boolean(text.parse().map_err(|_| bad("must be true or false"))?)
            }
            toml::Value::Integer(_) => {
                toml::Value::Integer(text.parse().map_err(|_| bad("must be a whole number"))?)
            }
            toml::Value::Array(_) => toml::Value::Array(
                text.split(',')
                    .filter(|item| !item.is_empty())
                    .map(|item| toml::Value::String(item.trim().to_owned()))
                    .collect(),
            ),
            _ => toml::Value::String(text.clone()),
        };
    }
    Ok(())
}

impl TryFrom<Raw> for Config {
    type Error = ConfigError;

    fn try_from(raw: Raw) -> Result<Self, ConfigError> {
        let chain = raw.chain.try_into()?;
        let admin = match raw.admin {
            RawAdmin { enabled: false, .. } => None,
            RawAdmin {
                listen, token_file, ..
            } => {
                if token_file.as_os_str().is_empty() {
                    return Err(value(
                        "admin.token_file",
                        "",
                        "must name a file with the token when admin.enabled = true",
                    ));
                }
                Some(Admin {
                    listen: address("admin.listen", &listen)?,
                    token_file,
                })
            }
        };
        let domain = raw.onboard.auto_bootstrap_domain;
        if !domain.is_empty() {
            check_domain(&domain)
                .map_err(|reason| value("onboard.auto_bootstrap_domain", &domain, reason))?;
        }
        if raw.collateral.source.is_empty() {
            return Err(value(
                "collateral.source",
                "",
                "must be a PCCS URL or a directory",
            ));
        }
        Ok(Self {
            data_dir: raw.data_dir,
            rpc_listen: address("rpc.listen", &raw.rpc.listen)?,
            onboard: Onboard {
                listen: address("onboard.listen", &raw.onboard.listen)?,
                auto_bootstrap_domain: (!domain.is_empty()).then_some(domain),
            },
            admin,
            attester: raw.attester.endpoint,
            site_name: raw.site_name,
            tdx_root_ca: (!raw.trust.tdx_root_ca.as_os_str().is_empty())
                .then_some(raw.trust.tdx_root_ca),
            collateral: raw.collateral.source,
            chain,
        })
    }
}

impl TryFrom<RawChain> for Chain {
    type Error = ConfigError;

    fn try_from(raw: RawChain) -> Result<Self, ConfigError> {
        if raw.rpc_urls.is_empty() {
            return Err(value(
                "chain.rpc_urls",
                "[]",
                "must name at least one JSON-RPC endpoint",
            ));
        }
        if raw.agreement == 0 || raw.agreement > raw.rpc_urls.len() {
            return Err(value(
                "chain.agreement",
                &raw.agreement.to_string(),
                format!(
                    "must be 1 to the number of rpc_urls ({})",
                    raw.rpc_urls.len()
                ),
            ));
        }
        if raw.chain_id == 0 {
            return Err(value(
                "chain.chain_id",
                "0",
                "must be the EIP-155 id of the chain",
            ));
        }
        let kms_auth: ContractAddress = raw
            .kms_auth
            .parse()
            .map_err(|error| value("chain.kms_auth", &raw.kms_auth, error))?;
        if kms_auth.is_zero() {
            return Err(value(
                "chain.kms_auth",
                &raw.kms_auth,
                "must be the address of KmsAuth",
            ));
        }
        let finality = match raw.finality.as_str() {
            "finalized" => Finality::Finalized,
            other => match other.strip_prefix("confirmations:").map(str::parse) {
                Some(Ok(depth)) => Finality::Confirmations(depth),
                _ => {
                    return Err(value(
                        "chain.finality",
                        other,
                        "must be \"finalized\" or \"confirmations:<blocks>\"",
                    ));
                }
            },
        };
        for (key, duration) in [
            ("chain.max_head_age", raw.max_head_age),
            ("chain.timeout", raw.timeout),
        ] {
            if duration.is_zero() {
                return Err(value(key, "0s", "must be longer than zero"));
            }
        }
        Ok(Self {
            rpc_urls: raw.rpc_urls,
            agreement: raw.agreement,
            chain_id: ChainId(raw.chain_id),
            kms_auth,
            finality,
            max_head_age: raw.max_head_age,
            timeout: raw.timeout,
        })
    }
}

fn value(key: &'static str, value: &str, reason: impl fmt::Display) -> ConfigError {
    ConfigError::Value {
        key,
        value: value.to_owned(),
        reason: reason.to_string(),
    }
}

fn address(key: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse()
        .map_err(|_| value(key, text, "must be address:port, e.g. 127.0.0.1:8000"))
}

/// A DNS name as certificates hold it: ASCII labels of letters, digits and hyphens.
///
/// # Errors
/// Says which rule is broken.
pub fn check_domain(domain: &str) -> Result<(), &'static str> {
    if domain.is_empty() || domain.len() > 253 {
        return Err("a domain has 1 to 253 characters");
    }
    let label_is_valid = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if domain.split('.').all(label_is_valid) {
        Ok(())
    } else {
        Err("every label has 1 to 63 letters, digits or inner hyphens")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: &str = r#"
        [chain]
        rpc_urls = ["http://127.0.0.1:8545"]
        chain_id = 31337
        kms_auth = "0x5fbdb2315678afecb367f032d93f642f64180aa3"
    "#;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kms.toml");
        bylaw_types::file::write_atomic(&path, text.as_bytes()).unwrap();
        let environment = environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::load(Some(&path), environment)
    }

    #[test]
    fn defaults_name_what_must_be_set() {
        let error = Config::load(None, std::iter::empty()).unwrap_err();
        assert!(error.to_string().contains("chain.rpc_urls"), "{error}");
    }

    #[test]
    fn a_minimal_file_is_enough() {
        let config = load(CHAIN, &[]).unwrap();
        assert_eq!(config.chain.finality, Finality::Finalized);
        assert_eq!(config.chain.agreement, 1);
        assert!(config.tdx_root_ca.is_none());
        assert!(config.admin.is_none());
    }

    #[test]
    fn unknown_keys_are_refused_at_every_level() {
        for text in [
            "attestation = false",
            "[trust]\nenabled = false",
            "[chain]\nlatest = true",
        ] {
            let text = format!(
                "{text}\n{}",
                CHAIN.replace(
                    "[chain]",
                    if text.contains("[chain]") {
                        ""
                    } else {
                        "[chain]"
                    }
                )
            );
            let error = load(&text, &[]).unwrap_err();
            assert!(error.to_string().contains("unknown field"), "{error}");
        }
    }

    #[test]
    fn values_outside_their_range_are_named() {
        for (from, to, key) in [
            ("31337", "0", "chain.chain_id"),
            (
                "0x5fbdb2315678afecb367f032d93f642f64180aa3",
                "0x5f",
                "chain.kms_auth",
            ),
            ("chain_id", "agreement = 2\nchain_id", "chain.agreement"),
            (
                "chain_id",
                "finality = \"latest\"\nchain_id",
                "chain.finality",
            ),
            ("chain_id", "timeout = \"0s\"\nchain_id", "chain.timeout"),
        ] {
            let error = load(&CHAIN.replace(from, to), &[]).unwrap_err();
            assert!(error.to_string().contains(key), "{key}: {error}");
        }
    }

    #[test]
    fn the_environment_wins_and_must_name_a_setting() {
        let config = load(
            CHAIN,
            &[
                ("BYLAW_KMS_CHAIN_RPC_URLS", "http://a,http://b"),
                ("BYLAW_KMS_CHAIN_AGREEMENT", "2"),
                ("BYLAW_KMS_DATA_DIR", "/x"),
                ("PATH", "/bin"),
            ],
        )
        .unwrap();
        assert_eq!(config.chain.rpc_urls, ["http://a", "http://b"]);
        assert_eq!(config.chain.agreement, 2);
        assert_eq!(config.data_dir, Path::new("/x"));
        assert!(load(CHAIN, &[("BYLAW_KMS_CHAIN_TYPO", "1")]).is_err());
        assert!(load(CHAIN, &[("BYLAW_KMS_CHAIN_AGREEMENT", "two")]).is_err());
    }

    #[test]
    fn domains_are_dns_names() {
        for good in ["localhost", "kms.example.com", "a-b.c"] {
            assert!(check_domain(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "a..b",
            "-a",
            "a-",
            "a b",
            "ü.de",
            &"a".repeat(64),
            "a/b",
        ] {
            assert!(check_domain(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn admin_needs_a_token() {
        let error = load(&format!("[admin]\nenabled = true\n{CHAIN}"), &[]).unwrap_err();
        assert!(error.to_string().contains("admin.token_file"), "{error}");
    }
}
