//! The chain as a service's configuration names it.

use std::fmt;
use std::time::Duration;

use bylaw_types::{ChainId, ContractAddress};
use serde::Deserialize;

use crate::rpc_policy::{Finality, RpcConfig};

/// The `[chain]` section of a service's settings, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainSettings {
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

/// A value outside what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value:?}: {reason}")]
pub struct BadChainSetting {
    key: &'static str,
    value: String,
    reason: String,
}

fn bad(key: &'static str, value: &str, reason: impl fmt::Display) -> BadChainSetting {
    BadChainSetting {
        key,
        value: value.to_owned(),
        reason: reason.to_string(),
    }
}

impl ChainSettings {
    /// Whether any endpoint is named at all.
    pub fn is_empty(&self) -> bool {
        self.rpc_urls.is_empty()
    }
}

impl TryFrom<ChainSettings> for RpcConfig {
    type Error = BadChainSetting;

    fn try_from(raw: ChainSettings) -> Result<Self, BadChainSetting> {
        if raw.rpc_urls.is_empty() {
            let reason = "must name at least one JSON-RPC endpoint";
            return Err(bad("chain.rpc_urls", "[]", reason));
        }
        if raw.agreement == 0 || raw.agreement > raw.rpc_urls.len() {
            let most = raw.rpc_urls.len();
            let reason = format!("must be 1 to the number of rpc_urls ({most})");
            return Err(bad("chain.agreement", &raw.agreement.to_string(), reason));
        }
        if raw.chain_id == 0 {
            let reason = "must be the EIP-155 id of the chain";
            return Err(bad("chain.chain_id", "0", reason));
        }
        let kms_auth: ContractAddress = raw
            .kms_auth
            .parse()
            .map_err(|error| bad("chain.kms_auth", &raw.kms_auth, error))?;
        if kms_auth.is_zero() {
            let reason = "must be the address of KmsAuth";
            return Err(bad("chain.kms_auth", &raw.kms_auth, reason));
        }
        let depth = raw.finality.strip_prefix("confirmations:");
        let finality = match (raw.finality.as_str(), depth.map(str::parse)) {
            ("finalized", _) => Finality::Finalized,
            (_, Some(Ok(depth))) => Finality::Confirmations(depth),
            (other, _) => {
                let reason = "must be \"finalized\" or \"confirmations:<blocks>\"";
                return Err(bad("chain.finality", other, reason));
            }
        };
        for (key, duration) in [
            ("chain.max_head_age", raw.max_head_age),
            ("chain.timeout", raw.timeout),
        ] {
            if duration.is_zero() {
                return Err(bad(key, "0s", "must be longer than zero"));
            }
        }
        Ok(Self {
            urls: raw.rpc_urls,
            agreement: raw.agreement,
            chain_id: ChainId(raw.chain_id),
            kms_auth,
            finality,
            max_head_age: raw.max_head_age,
            timeout: raw.timeout,
        })
    }
}
