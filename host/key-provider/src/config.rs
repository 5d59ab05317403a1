//! Configuration: TOML, checked as a whole before anything starts.

use std::net::SocketAddr;

use bylaw_service::Names;
use serde::Deserialize;

/// Environment overrides are `BYLAW_KEY_PROVIDER_<KEY>`.
pub const NAMES: Names = Names {
    prefix: "BYLAW_KEY_PROVIDER_",
    defaults: include_str!("../key-provider.toml"),
};

/// Everything the service needs to know, valid by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// TCP listener.
    pub listen: SocketAddr,
    /// Whose key is sealed with.
    pub enclave: EnclaveKind,
    /// PCCS base URL, for quotes of hardware.
    pub collateral: String,
}

/// Whose key is sealed with. Which roots are trusted follows from it and cannot be chosen:
/// a simulated enclave serves simulated TDs, a real one real TDs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnclaveKind {
    /// This process is an SGX enclave.
    Gramine,
    /// A software TEE, at its control socket.
    Simulator(String),
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{key} = {value:?}: {reason}")]
pub struct ConfigError {
    key: &'static str,
    value: String,
    reason: &'static str,
}

/// The settings as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    listen: String,
    enclave: String,
    collateral: String,
}

impl TryFrom<Raw> for Config {
    type Error = ConfigError;

    fn try_from(raw: Raw) -> Result<Self, ConfigError> {
        let wrong = |key, value: &str, reason| ConfigError {
            key,
            value: value.to_owned(),
            reason,
        };
        let enclave = match raw.enclave.split_once(':') {
            None if raw.enclave == "gramine" => EnclaveKind::Gramine,
            Some(("simulator", address)) if !address.is_empty() => {
                EnclaveKind::Simulator(address.to_owned())
            }
            _ => {
                let reason = "must be gramine or simulator:<control socket>";
                return Err(wrong("enclave", &raw.enclave, reason));
            }
        };
        Ok(Self {
            listen: raw
                .listen
                .parse()
                .map_err(|_| wrong("listen", &raw.listen, "must be <address>:<port>"))?,
            enclave,
            collateral: raw.collateral,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let environment = pairs
            .iter()
            .map(|(name, value)| (format!("BYLAW_KEY_PROVIDER_{name}"), (*value).to_owned()));
        let raw: Raw = bylaw_service::load(NAMES, None::<&std::path::Path>, environment)
            .map_err(|error| error.to_string())?;
        Config::try_from(raw).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_the_real_enclave() {
        let config = config(&[]).unwrap();
        assert_eq!(config.enclave, EnclaveKind::Gramine);
        assert_eq!(config.listen.to_string(), "127.0.0.1:3443");
    }

    #[test]
    fn an_enclave_is_named_or_refused() {
        let simulated = config(&[("ENCLAVE", "simulator:unix:/run/control.sock")]).unwrap();
        let address = "unix:/run/control.sock".to_owned();
        assert_eq!(simulated.enclave, EnclaveKind::Simulator(address));
        for (key, value) in [
            ("ENCLAVE", ""),
            ("ENCLAVE", "simulator"),
            ("ENCLAVE", "simulator:"),
            ("ENCLAVE", "sgx"),
            ("LISTEN", "3443"),
        ] {
            let error = config(&[(key, value)]).unwrap_err();
            assert!(error.contains(&key.to_lowercase()), "{error}");
        }
    }
}
