//! Configuration: TOML, read into a twin that refuses unknown keys, then checked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bylaw_chain::{Finality, RpcConfig};
use bylaw_types::{ChainId, ContractAddress};
use serde::Deserialize;

/// Shown by `--print-config`.
pub const DEFAULTS: &str = include_str!("../agent.toml");

/// Everything the agent needs to know, valid by construction.
#[derive(Debug, Clone)]
pub struct Config {
    /// Exact manifest of this VM.
    pub compose_file: PathBuf,
    /// TEE this agent runs in.
    pub attester: String,
    /// Socket of the current API.
    pub dstack: Option<PathBuf>,
    /// Socket of the legacy API.
    pub tappd: Option<PathBuf>,
    /// Permissions of both sockets.
    pub mode: u32,
    /// KMS nodes, tried in order.
    pub kms_urls: Vec<String>,
    /// The contract; `None` when no endpoint is configured.
    pub chain: Option<RpcConfig>,
    /// PEM of a TDX root other than Intel's.
    pub tdx_root_ca: Option<PathBuf>,
    /// PCCS URL or directory.
    pub collateral: String,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: {reason}")]
pub struct ConfigError {
    origin: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    compose_file: PathBuf,
    attester: String,
    listen: RawListen,
    kms: RawKms,
    chain: RawChain,
    trust: RawTrust,
    collateral: RawCollateral,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawListen {
    dstack: PathBuf,
    tappd: PathBuf,
    mode: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKms {
    urls: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChain {
    rpc_urls: Vec<String>,
    agreement: usize,
    chain_id: u64,
    kms_auth: ContractAddress,
    finality: String,
    #[serde(with = "humantime_serde")]
    max_head_age: Duration,
    #[serde(with = "humantime_serde")]
    timeout: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTrust {
    tdx_root_ca: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCollateral {
    source: String,
}

fn non_empty(path: PathBuf) -> Option<PathBuf> {
    (!path.as_os_str().is_empty()).then_some(path)
}

impl Config {
    /// Defaults, then the file.
    ///
    /// # Errors
    /// [`ConfigError`] names file and key.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let origin = file.map_or_else(
            || "configuration".to_owned(),
            |path| path.display().to_string(),
        );
        let error = |reason: String| ConfigError {
            origin: origin.clone(),
            reason,
        };
        let table = |text: &str| {
            text.parse::<toml::Table>()
                .map_err(|invalid| error(invalid.to_string()))
        };
        let mut merged = table(DEFAULTS)?;
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|unread| error(unread.to_string()))?;
            for (key, value) in table(&text)? {
                match (merged.get_mut(&key), value) {
                    (Some(toml::Value::Table(known)), toml::Value::Table(given)) => {
                        known.extend(given);
                    }
                    (_, value) => drop(merged.insert(key, value)),
                }
            }
        }
        let raw: Raw = merged
            .try_into()
            .map_err(|invalid: toml::de::Error| error(invalid.to_string()))?;
        Self::check(raw).map_err(error)
    }

    fn check(raw: Raw) -> Result<Self, String> {
        if raw.attester.is_empty() {
            return Err("attester = \"\": must be simtee:<socket>".to_owned());
        }
        let chain = raw.chain;
        let finality = match chain.finality.split_once(':') {
            None if chain.finality == "finalized" => Finality::Finalized,
            Some(("confirmations", depth)) => Finality::Confirmations(
                depth
                    .parse()
                    .map_err(|_| format!("chain.finality: {depth:?} is not a number"))?,
            ),
            _ => {
                return Err(format!(
                    "chain.finality = {:?}: must be \"finalized\" or \"confirmations:<blocks>\"",
                    chain.finality
                ));
            }
        };
        let chain = (!chain.rpc_urls.is_empty()).then_some(RpcConfig {
            urls: chain.rpc_urls,
            agreement: chain.agreement,
            chain_id: ChainId(chain.chain_id),
            kms_auth: chain.kms_auth,
            finality,
            max_head_age: chain.max_head_age,
            timeout: chain.timeout,
        });
        Ok(Self {
            compose_file: raw.compose_file,
            attester: raw.attester,
            dstack: non_empty(raw.listen.dstack),
            tappd: non_empty(raw.listen.tappd),
            mode: raw.listen.mode,
            kms_urls: raw.kms.urls,
            chain,
            tdx_root_ca: non_empty(raw.trust.tdx_root_ca),
            collateral: raw.collateral.source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        bylaw_types::file::write_atomic(&path, text.as_bytes()).unwrap();
        Config::load(Some(&path))
    }

    #[test]
    fn a_minimal_file_is_enough_and_unknown_keys_are_refused() {
        let config = load("attester = \"simtee:/x\"").unwrap();
        assert_eq!(config.mode, 0o660);
        assert!(config.chain.is_none());
        assert!(load("attester = \"simtee:/x\"\n[trust]\nverify = false").is_err());
        assert!(load("").is_err(), "no TEE");
        assert!(load("attester = \"simtee:/x\"\n[chain]\nfinality = \"latest\"").is_err());
    }
}
