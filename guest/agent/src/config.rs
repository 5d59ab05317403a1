//! Configuration: TOML, read into a twin that refuses unknown keys, then checked.

use std::path::PathBuf;

use bylaw_chain::{BadChainSetting, ChainSettings, RpcConfig};
use bylaw_rpc::serve::{Listen, ListenError};
use bylaw_rpc::{Client, ClientError};
use bylaw_service::Names;
use serde::Deserialize;

/// Environment overrides are `BYLAW_AGENT_<SECTION>_<KEY>`.
pub const NAMES: Names = Names {
    prefix: "BYLAW_AGENT_",
    defaults: include_str!("../agent.toml"),
};

/// Everything the agent needs to know, valid by construction.
#[derive(Debug, Clone)]
pub struct Config {
    /// Exact manifest of this VM.
    pub compose_file: PathBuf,
    /// TEE this agent runs in.
    pub attester: String,
    /// Where a Linux TEE's description of the VM comes from.
    pub vm_config_file: PathBuf,
    /// Keeps the keys for a restart.
    pub keys_file: Option<PathBuf>,
    /// File system of the encrypted disk, where the manifest names none.
    pub storage_fs: Option<String>,
    /// Where it listens.
    pub listen: Listeners,
    /// KMS nodes, tried in order.
    pub kms_urls: Vec<String>,
    /// The contract; `None` when no endpoint is configured.
    pub chain: Option<RpcConfig>,
    /// PEM of a TDX root other than Intel's.
    pub tdx_root_ca: Option<PathBuf>,
    /// PEM of SEV-SNP roots other than AMD's.
    pub amd_root_ca: Option<PathBuf>,
    /// PCCS URL or directory.
    pub collateral: String,
    /// Base URL of AMD's key service, or a directory.
    pub amd_kds: String,
    /// Encrypted variables.
    pub environment: EnvironmentFiles,
    /// What the VM consists of besides the TEE.
    pub system: SystemSettings,
}

/// Where the agent listens; `None` is not served.
#[derive(Debug, Clone)]
pub struct Listeners {
    /// Current app API.
    pub dstack: Option<PathBuf>,
    /// Legacy app API.
    pub tappd: Option<PathBuf>,
    /// Permissions of both.
    pub mode: u32,
    /// Worker API and dashboard.
    pub external: Option<Listen>,
    /// The host's view.
    pub guest_api: Option<Listen>,
}

/// Encrypted variables: from where, to where.
#[derive(Debug, Clone)]
pub struct EnvironmentFiles {
    /// Encrypted.
    pub file: PathBuf,
    /// Decrypted; `None` decrypts nothing.
    pub output: Option<PathBuf>,
    /// Highest revision seen.
    pub revision_file: Option<PathBuf>,
}

/// What the VM consists of besides the TEE.
#[derive(Debug, Clone)]
pub struct SystemSettings {
    /// Socket of the container engine.
    pub container_engine: PathBuf,
    /// Mount points that are reported.
    pub data_disks: Vec<PathBuf>,
    /// Output of the GPU vendor's attestation tool.
    pub gpu_attestation: PathBuf,
    /// Program and arguments of `Shutdown`; empty refuses it.
    pub shutdown: Vec<String>,
    /// The host's API.
    pub host_api: Option<Client>,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// About the chain.
    #[error(transparent)]
    Chain(#[from] BadChainSetting),
    /// An address to listen on.
    #[error("{key}: {source}")]
    Listen {
        /// `section.key`.
        key: &'static str,
        /// What is wrong.
        source: ListenError,
    },
    /// The TEE.
    #[error(
        "attester = {0:?}: must be linux, linux:tdx, linux:snp, simtee:<socket> or simtee:http://…"
    )]
    Attester(String),
    /// The host's API.
    #[error("system.host_api: {0}")]
    HostApi(ClientError),
    /// A public listener without a host part would be a Unix socket nobody reaches.
    #[error("listen.external = {0:?}: must be <host>:<port>")]
    External(String),
}

/// The settings as written; becomes a [`Config`] when they make sense together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    compose_file: PathBuf,
    attester: String,
    vm_config_file: PathBuf,
    keys_file: PathBuf,
    storage_fs: String,
    listen: RawListen,
    kms: RawKms,
    chain: ChainSettings,
    trust: RawTrust,
    collateral: RawCollateral,
    environment: RawEnvironment,
    system: RawSystem,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawListen {
    dstack: PathBuf,
    tappd: PathBuf,
    mode: u32,
    external: String,
    guest_api: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKms {
    urls: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTrust {
    tdx_root_ca: PathBuf,
    amd_root_ca: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCollateral {
    source: String,
    amd_kds: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEnvironment {
    file: PathBuf,
    output: PathBuf,
    revision_file: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSystem {
    container_engine: PathBuf,
    data_disks: Vec<PathBuf>,
    gpu_attestation: PathBuf,
    shutdown: Vec<String>,
    host_api: String,
}

fn non_empty(path: PathBuf) -> Option<PathBuf> {
    (!path.as_os_str().is_empty()).then_some(path)
}

fn listen(key: &'static str, text: &str) -> Result<Option<Listen>, ConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|source| ConfigError::Listen { key, source })
}

impl TryFrom<Raw> for Config {
    type Error = ConfigError;

    fn try_from(raw: Raw) -> Result<Self, ConfigError> {
        let (kind, rest) = raw.attester.split_once(':').unwrap_or((&raw.attester, ""));
        match (kind, rest) {
            ("linux", "" | "tdx" | "snp") => {}
            ("simtee", socket) if !socket.is_empty() => {}
            _ => return Err(ConfigError::Attester(raw.attester)),
        }
        let external = listen("listen.external", &raw.listen.external)?;
        if !matches!(external, None | Some(Listen::Tcp(_))) {
            return Err(ConfigError::External(raw.listen.external));
        }
        let chain = match raw.chain {
            chain if chain.is_empty() => None,
            chain => Some(RpcConfig::try_from(chain)?),
        };
        let host_api = match raw.system.host_api.as_str() {
            "" => None,
            url => Some(Client::new(url).map_err(ConfigError::HostApi)?),
        };
        Ok(Self {
            compose_file: raw.compose_file,
            attester: raw.attester,
            vm_config_file: raw.vm_config_file,
            keys_file: non_empty(raw.keys_file),
            storage_fs: (!raw.storage_fs.is_empty()).then_some(raw.storage_fs),
            listen: Listeners {
                dstack: non_empty(raw.listen.dstack),
                tappd: non_empty(raw.listen.tappd),
                mode: raw.listen.mode,
                external,
                guest_api: listen("listen.guest_api", &raw.listen.guest_api)?,
            },
            kms_urls: raw.kms.urls,
            chain,
            tdx_root_ca: non_empty(raw.trust.tdx_root_ca),
            amd_root_ca: non_empty(raw.trust.amd_root_ca),
            collateral: raw.collateral.source,
            amd_kds: raw.collateral.amd_kds,
            environment: EnvironmentFiles {
                file: raw.environment.file,
                output: non_empty(raw.environment.output),
                revision_file: non_empty(raw.environment.revision_file),
            },
            system: SystemSettings {
                container_engine: raw.system.container_engine,
                data_disks: raw.system.data_disks,
                gpu_attestation: raw.system.gpu_attestation,
                shutdown: raw.system.shutdown,
                host_api,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        bylaw_types::file::write_atomic(&path, text.as_bytes()).unwrap();
        let raw: Raw = bylaw_service::load(NAMES, Some(&path), std::iter::empty())
            .map_err(|error| error.to_string())?;
        Config::try_from(raw).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_usable_inside_a_vm() {
        let config = load("").unwrap();
        assert_eq!(config.listen.mode, 0o660);
        assert_eq!(
            config.listen.external,
            Some(Listen::Tcp("0.0.0.0:8090".into()))
        );
        assert!(config.chain.is_none() && config.system.host_api.is_none());
        assert!(config.environment.output.is_none());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, why) in [
            ("[trust]\nverify = false", "unknown field"),
            ("attester = \"\"", "must be linux"),
            ("attester = \"linux:sgx\"", "must be linux"),
            ("attester = \"simtee:\"", "must be linux"),
            ("[listen]\nexternal = \"8090\"", "listen.external"),
            ("[listen]\nexternal = \"unix:/x\"", "listen.external"),
            ("[listen]\nguest_api = \"vsock:8000\"", "listen.guest_api"),
            ("[system]\nhost_api = \"ftp://x\"", "system.host_api"),
            (
                "[chain]\nrpc_urls = [\"http://a\"]\nchain_id = 1\nfinality = \"latest\"",
                "chain.kms_auth",
            ),
        ] {
            let error = load(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
