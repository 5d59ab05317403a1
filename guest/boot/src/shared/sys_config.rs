//! `.sys-config.json`: what the host says about itself and this VM.
//!
//! Nothing in it is believed: URLs say whom to ask, and whoever answers has to prove
//! himself; `vm_config` and `mr_config` are proven or refuted by evidence.

use bylaw_rpc::Client;
use bylaw_rpc::serve::Listen;
use serde::{Deserialize, Deserializer};

/// The host's settings (VMM API reference, section 9).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SysConfig {
    /// KMS nodes, tried in order.
    #[serde(default)]
    pub kms_urls: Vec<String>,
    /// Gateways.
    #[serde(default, alias = "tproxy_urls")]
    pub gateway_urls: Vec<String>,
    /// PCCS; empty takes the default.
    #[serde(default, deserialize_with = "or_empty")]
    pub pccs_url: String,
    /// Newer form of the same.
    #[serde(default)]
    collateral_urls: Option<CollateralUrls>,
    /// Proxy of NVIDIA's attestation services.
    #[serde(default, deserialize_with = "or_empty")]
    pub nvidia_attestation_proxy_url: String,
    /// Registry mirror.
    #[serde(default, deserialize_with = "or_empty")]
    pub docker_registry: String,
    /// Where the host listens to this VM.
    #[serde(default, deserialize_with = "or_empty")]
    pub host_api_url: String,
    /// JSON text.
    pub vm_config: String,
    /// Document that the launch was bound to.
    #[serde(default)]
    pub mr_config: Option<String>,
    /// The contract.
    #[serde(default)]
    pub chain: Option<Chain>,
    /// Where the agent shall listen for the host.
    #[serde(default)]
    pub guest_api: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct CollateralUrls {
    #[serde(default, deserialize_with = "or_empty")]
    pccs: String,
    #[serde(default, deserialize_with = "or_empty")]
    amd_kds: String,
}

/// The agent's `[chain]`; the host names endpoints, the app's manifest the contract.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// JSON-RPC endpoints.
    pub rpc_urls: Vec<String>,
    /// EIP-155 id.
    pub chain_id: u64,
    /// `KmsAuth`.
    pub kms_auth: String,
    /// `finalized` or `confirmations:<blocks>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finality: Option<String>,
    /// How many endpoints must agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<u32>,
    /// Oldest head that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_head_age: Option<String>,
}

fn or_empty<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(input)?.unwrap_or_default())
}

impl SysConfig {
    /// What types alone do not say.
    pub(super) fn check(&self) -> Result<(), String> {
        serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&self.vm_config)
            .map_err(|error| format!("vm_config is not a JSON object: {error}"))?;
        if !self.host_api_url.is_empty() {
            Client::new(&self.host_api_url).map_err(|error| format!("host_api_url: {error}"))?;
        }
        if let Some(address) = &self.guest_api {
            match address.parse::<Listen>() {
                Ok(Listen::Vsock { .. } | Listen::Tcp(_)) => {}
                _ => return Err(format!("guest_api {address:?} is neither vsock nor TCP")),
            }
        }
        if self.docker_registry.contains(['"', '\\', ' ']) {
            return Err("docker_registry is not a URL".to_owned());
        }
        Ok(())
    }

    /// Where collateral comes from, if the host says so.
    pub fn pccs(&self) -> Option<&str> {
        let newer = self.collateral_urls.as_ref().map(|urls| urls.pccs.as_str());
        newer
            .into_iter()
            .chain([self.pccs_url.as_str()])
            .find(|url| !url.is_empty())
    }

    /// AMD's key service or a mirror, if the host says so.
    pub fn amd_kds(&self) -> Option<&str> {
        let urls = self.collateral_urls.as_ref()?;
        Some(urls.amd_kds.as_str()).filter(|url| !url.is_empty())
    }

    /// A member of vm_config.
    pub fn vm_fact(&self, name: &str) -> Option<serde_json::Value> {
        let facts: serde_json::Value = serde_json::from_str(&self.vm_config).ok()?;
        facts.get(name).cloned()
    }

    /// The document that the launch was bound to: beside vm_config, or inside.
    pub fn mr_config_document(&self) -> Option<String> {
        match &self.mr_config {
            Some(document) => Some(document.clone()),
            None => Some(self.vm_fact("mr_config")?.as_str()?.to_owned()),
        }
    }
}
