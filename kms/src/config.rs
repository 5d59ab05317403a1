//! Configuration: TOML, checked as a whole before anything starts.
//!
//! The file is read into a private twin that refuses unknown keys and
//! is then turned into a [`Config`] that is always valid. No setting weakens
//! attestation: the only choice about trust is *which* roots are trusted, and
//! that choice changes every key this KMS derives.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use bylaw_chain::{BadChainSetting, ChainSettings, RpcConfig};
use bylaw_measure::store::{HASH_PLACEHOLDER, StoreSettings};
use bylaw_service::Names;
use serde::Deserialize;

/// Environment overrides are `BYLAW_KMS_<SECTION>_<KEY>`, e.g. `BYLAW_KMS_RPC_LISTEN`.
pub const NAMES: Names = Names {
    prefix: "BYLAW_KMS_",
    defaults: include_str!("../kms.toml"),
};

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
    /// PEM of SEV-SNP roots other than AMD's; changes every derived key.
    pub amd_root_ca: Option<PathBuf>,
    /// PCCS base URL or a directory of collateral.
    pub collateral: String,
    /// Base URL of AMD's key service, or a directory of its answers.
    pub amd_kds: String,
    /// SEV-SNP guests get keys too.
    pub sev_snp_key_release: bool,
    /// The chain and the contract.
    pub chain: RpcConfig,
    /// Where images that carry no measurements come from; `None` proves none of them.
    pub images: Option<StoreSettings>,
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

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// About the chain.
    #[error(transparent)]
    Chain(#[from] BadChainSetting),
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

/// The settings as written; becomes a [`Config`] when they make sense together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    data_dir: PathBuf,
    site_name: String,
    sev_snp_key_release: bool,
    rpc: RawRpc,
    onboard: RawOnboard,
    admin: RawAdmin,
    attester: RawAttester,
    trust: RawTrust,
    collateral: RawCollateral,
    chain: ChainSettings,
    images: Option<RawImages>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawImages {
    cache_dir: PathBuf,
    #[serde(default)]
    download_url: String,
    #[serde(default = "default_qemu")]
    qemu: PathBuf,
}

fn default_qemu() -> PathBuf {
    PathBuf::from("qemu-system-x86_64")
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRpc {
    listen: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOnboard {
    listen: String,
    auto_bootstrap_domain: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAdmin {
    enabled: bool,
    listen: String,
    token_file: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAttester {
    endpoint: String,
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
        if raw.collateral.amd_kds.is_empty() {
            return Err(value(
                "collateral.amd_kds",
                "",
                "must be the URL of AMD's key service or a directory of its answers",
            ));
        }
        let given = |path: PathBuf| (!path.as_os_str().is_empty()).then_some(path);
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
            tdx_root_ca: given(raw.trust.tdx_root_ca),
            amd_root_ca: given(raw.trust.amd_root_ca),
            collateral: raw.collateral.source,
            amd_kds: raw.collateral.amd_kds,
            sev_snp_key_release: raw.sev_snp_key_release,
            chain,
            images: raw.images.map(image_store).transpose()?,
        })
    }
}

fn image_store(raw: RawImages) -> Result<StoreSettings, ConfigError> {
    if raw.cache_dir.as_os_str().is_empty() {
        return Err(value(
            "images.cache_dir",
            "",
            "must be a directory; without [images] only images that carry measurements are proven",
        ));
    }
    let url = raw.download_url;
    if !url.is_empty() && !url.contains(HASH_PLACEHOLDER) {
        return Err(value(
            "images.download_url",
            &url,
            format!("must contain {HASH_PLACEHOLDER}"),
        ));
    }
    Ok(StoreSettings {
        cache_dir: raw.cache_dir,
        download_url: (!url.is_empty()).then_some(url),
        qemu: raw.qemu,
    })
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

    fn load(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kms.toml");
        bylaw_types::file::write_atomic(&path, text.as_bytes()).unwrap();
        let raw: Raw = bylaw_service::load(NAMES, Some(&path), std::iter::empty())
            .map_err(|error| error.to_string())?;
        Config::try_from(raw).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_name_what_must_be_set() {
        let error = load("").unwrap_err();
        assert!(error.contains("chain.rpc_urls"), "{error}");
    }

    #[test]
    fn a_minimal_file_is_enough() {
        let config = load(CHAIN).unwrap();
        assert_eq!(config.chain.finality, bylaw_chain::Finality::Finalized);
        assert_eq!(config.chain.agreement, 1);
        assert!(config.tdx_root_ca.is_none());
        assert!(config.amd_root_ca.is_none());
        assert_eq!(config.amd_kds, bylaw_attest::collateral::AMD_KDS);
        assert!(!config.sev_snp_key_release, "somebody has to want it");
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
            let error = load(&text).unwrap_err();
            assert!(error.contains("unknown field"), "{error}");
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
            let error = load(&CHAIN.replace(from, to)).unwrap_err();
            assert!(error.contains(key), "{key}: {error}");
        }
    }

    #[test]
    fn images_are_measured_from_files_only_when_asked_for() {
        assert!(load(CHAIN).unwrap().images.is_none());
        let images = |text: &str| load(&format!("[images]\n{text}\n{CHAIN}"));
        let url = "download_url = \"https://x/{OS_IMAGE_HASH}\"";
        let given = images(&format!("cache_dir = \"/c\"\n{url}")).unwrap();
        let given = given.images.unwrap();
        assert_eq!(given.qemu, PathBuf::from("qemu-system-x86_64"));
        assert!(given.download_url.is_some());
        for (text, reason) in [
            (url, "cache_dir"),
            ("cache_dir = \"\"", "images.cache_dir"),
            (
                "cache_dir = \"/c\"\ndownload_url = \"https://x/\"",
                "images.download_url",
            ),
            ("cache_dir = \"/c\"\nmore = 1", "unknown field"),
        ] {
            let error = images(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
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
        let error = load(&format!("[admin]\nenabled = true\n{CHAIN}")).unwrap_err();
        assert!(error.contains("admin.token_file"), "{error}");
    }
}
