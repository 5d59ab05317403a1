//! The app's keys as a file (guest agent API reference, section 6).
//!
//! Written to memory that ends with the boot, so that an agent which restarts goes on
//! with the same keys without asking anybody. The form is dstack's `.appkeys.json`.

use std::path::Path;

use bylaw_keys::{AppKey, KeyError, P256Key, Secret, SeedKeys};
use bylaw_types::KeyProviderInfo;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Everything an app holds.
#[derive(Debug)]
pub struct AppSecrets {
    /// Source of everything the app derives.
    pub app_key: Secret,
    /// The root's signature over its public key; empty without a KMS.
    pub k256_signature: Vec<u8>,
    /// Encrypts the disk.
    pub disk_crypt_key: Secret,
    /// Opens the encrypted environment; `None` without a KMS.
    pub env_crypt_key: Option<Secret>,
    /// CA that the app's certificates chain to, PEM.
    pub ca_cert: String,
    /// The gateway that the contract names; empty without a KMS.
    pub gateway_app_id: String,
    /// Who gave them.
    pub provider: Provider,
}

/// Who gave the keys, with what is needed to go on.
#[derive(Debug)]
pub enum Provider {
    /// Nobody: random at this boot. Holds the key of the app's own CA.
    None(P256Key),
    /// The local sealing enclave, by its measurement.
    Local(P256Key, Vec<u8>),
    /// A TPM, by its public key.
    Tpm(P256Key, Vec<u8>),
    /// A KMS, by its root CA's DER SubjectPublicKeyInfo.
    Kms {
        /// Where it answered.
        url: String,
        /// Its root CA key.
        spki_der: Vec<u8>,
    },
}

impl Provider {
    /// Name and stable id, as they are measured.
    pub fn info(&self) -> KeyProviderInfo {
        let named = |name: &str, id: &[u8]| KeyProviderInfo {
            name: name.to_owned(),
            id: hex::encode(id),
        };
        match self {
            Self::None(_) => named("none", &[]),
            Self::Local(_, measurement) => named("local-sgx", measurement),
            Self::Tpm(..) => named("tpm", &[]),
            Self::Kms { spki_der, .. } => KeyProviderInfo::kms(spki_der),
        }
    }
}

impl AppSecrets {
    /// Keys that end with this boot.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn random() -> Result<Self, KeyError> {
        Self::from_seed(&Secret::random()?, Provider::None)
    }

    /// Keys from the seed that a machine-bound provider gave.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_seed(
        seed: &Secret,
        provider: impl FnOnce(P256Key) -> Provider,
    ) -> Result<Self, KeyError> {
        let SeedKeys {
            ca,
            disk_crypt_key,
            k256_key,
        } = SeedKeys::from_seed(seed)?;
        Ok(Self {
            app_key: k256_key,
            k256_signature: vec![],
            disk_crypt_key,
            env_crypt_key: None,
            ca_cert: String::new(),
            gateway_app_id: String::new(),
            provider: provider(ca),
        })
    }

    /// The app's key, ready to derive.
    ///
    /// # Errors
    /// [`KeyError::Scalar`].
    pub fn app_key(&self) -> Result<AppKey, KeyError> {
        AppKey::new(Secret::take(&mut self.app_key.expose().to_owned()))
    }
}

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysFileError {
    /// The file system.
    #[error("keys_file {path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Not such a file.
    #[error("keys_file is malformed: {0}. Remove it, and the keys are asked for again")]
    Malformed(String),
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Wire {
    disk_crypt_key: String,
    #[serde(default)]
    env_crypt_key: String,
    k256_key: String,
    #[serde(default)]
    k256_signature: String,
    #[serde(default)]
    gateway_app_id: String,
    ca_cert: String,
    key_provider: WireProvider,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
enum WireProvider {
    None {
        key: String,
    },
    Local {
        key: String,
        mr: String,
    },
    Tpm {
        key: String,
        pubkey: String,
    },
    Kms {
        url: String,
        pubkey: String,
        #[serde(default)]
        tmp_ca_key: String,
        #[serde(default)]
        tmp_ca_cert: String,
    },
}

impl AppSecrets {
    /// Reads a file; `None` when there is none.
    ///
    /// # Errors
    /// [`KeysFileError`].
    pub fn read(path: &Path) -> Result<Option<Self>, KeysFileError> {
        match std::fs::read(path).map(Zeroizing::new) {
            Ok(bytes) => Self::parse(&bytes).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(io(path)(source)),
        }
    }

    /// Parses the JSON form.
    ///
    /// # Errors
    /// [`KeysFileError::Malformed`] names the field, never its value.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeysFileError> {
        let wire: Wire = serde_json::from_slice(bytes).map_err(|error| {
            // serde_json's own message can quote a value.
            let place = format!("line {}, column {}", error.line(), error.column());
            KeysFileError::Malformed(place)
        })?;
        let provider = match &wire.key_provider {
            WireProvider::None { key } => Provider::None(p256(key)?),
            WireProvider::Local { key, mr } => Provider::Local(p256(key)?, public("mr", mr)?),
            WireProvider::Tpm { key, pubkey } => {
                Provider::Tpm(p256(key)?, public("pubkey", pubkey)?)
            }
            WireProvider::Kms { url, pubkey, .. } => Provider::Kms {
                url: url.clone(),
                spki_der: public("pubkey", pubkey)?,
            },
        };
        let env_crypt_key = match wire.env_crypt_key.as_str() {
            "" => None,
            text => Some(secret("env_crypt_key", text)?),
        };
        Ok(Self {
            app_key: secret("k256_key", &wire.k256_key)?,
            k256_signature: public("k256_signature", &wire.k256_signature)?,
            disk_crypt_key: secret("disk_crypt_key", &wire.disk_crypt_key)?,
            env_crypt_key,
            ca_cert: wire.ca_cert.clone(),
            gateway_app_id: wire.gateway_app_id.clone(),
            provider,
        })
    }

    /// Writes the file for this user only; its directory is made if need be.
    ///
    /// # Errors
    /// [`KeysFileError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), KeysFileError> {
        let pem = |key: &P256Key| {
            key.to_pkcs8_pem()
                .map(|pem| pem.to_string())
                .map_err(|error| KeysFileError::Malformed(error.to_string()))
        };
        let text = |key: &Secret| hex::encode(key.expose());
        let key_provider = match &self.provider {
            Provider::None(key) => WireProvider::None { key: pem(key)? },
            Provider::Local(key, measurement) => WireProvider::Local {
                key: pem(key)?,
                mr: hex::encode(measurement),
            },
            Provider::Tpm(key, public) => WireProvider::Tpm {
                key: pem(key)?,
                pubkey: hex::encode(public),
            },
            // The temporary CA is anybody's: it is asked for when it is needed.
            Provider::Kms { url, spki_der } => WireProvider::Kms {
                url: url.clone(),
                pubkey: hex::encode(spki_der),
                tmp_ca_key: String::new(),
                tmp_ca_cert: String::new(),
            },
        };
        let wire = Wire {
            disk_crypt_key: text(&self.disk_crypt_key),
            env_crypt_key: self.env_crypt_key.as_ref().map(text).unwrap_or_default(),
            k256_key: text(&self.app_key),
            k256_signature: hex::encode(&self.k256_signature),
            gateway_app_id: self.gateway_app_id.clone(),
            ca_cert: self.ca_cert.clone(),
            key_provider,
        };
        // Strings always serialise.
        let bytes = Zeroizing::new(serde_json::to_vec(&wire).unwrap_or_default());
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(io(path))?;
        }
        bylaw_types::file::write_private(path, &bytes).map_err(io(path))
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> KeysFileError + '_ {
    move |source| KeysFileError::Io {
        path: path.display().to_string(),
        source,
    }
}

fn public(name: &str, text: &str) -> Result<Vec<u8>, KeysFileError> {
    hex::decode(text).map_err(|_| KeysFileError::Malformed(format!("{name} is not hexadecimal")))
}

fn secret(name: &str, text: &str) -> Result<Secret, KeysFileError> {
    let bytes = Zeroizing::new(public(name, text)?);
    Secret::from_slice(&bytes)
        .ok_or_else(|| KeysFileError::Malformed(format!("{name} is not 32 bytes")))
}

fn p256(pem: &str) -> Result<P256Key, KeysFileError> {
    P256Key::from_pkcs8_pem(pem).map_err(|error| KeysFileError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_dstacks_simulator_is_read() {
        let bytes = include_bytes!("../../../test/vectors/simulator/appkeys.json");
        let secrets = AppSecrets::parse(bytes).unwrap();
        let public = secrets.app_key().unwrap().public();
        assert!(hex::encode(public).starts_with("02818494"));
        assert_eq!(secrets.k256_signature.len(), 65);
        assert_eq!(secrets.gateway_app_id, "any");
        assert_eq!(secrets.provider.info().name, "none");
        assert!(secrets.env_crypt_key.is_some());
    }

    #[test]
    fn what_is_written_is_read_again_by_nobody_else() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/appkeys.json");
        assert!(AppSecrets::read(&path).unwrap().is_none());
        let mut secrets = AppSecrets::random().unwrap();
        for provider in [
            Provider::Local(P256Key::random().unwrap(), vec![1; 32]),
            Provider::Tpm(P256Key::random().unwrap(), vec![2]),
            Provider::Kms {
                url: "https://kms".to_owned(),
                spki_der: vec![3; 91],
            },
        ] {
            secrets.provider = provider;
            secrets.write(&path).unwrap();
            let read = AppSecrets::read(&path).unwrap().unwrap();
            assert_eq!(read.app_key, secrets.app_key);
            assert_eq!(read.disk_crypt_key, secrets.disk_crypt_key);
            assert_eq!(read.env_crypt_key, secrets.env_crypt_key);
            assert_eq!(read.provider.info(), secrets.provider.info());
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_malformed_file_is_described_without_its_secrets() {
        let good = include_str!("../../../test/vectors/simulator/appkeys.json");
        let secret = "d6e88992cdeeee35fe70b5db61ab66cdb191fb9b6ec9313757ef162dd7214d5d";
        for bad in [
            good.replace("\"k256_key\"", "\"other\""),
            good.replace(secret, &secret[2..]),
            good.replace(secret, "no hex"),
            good.replace("\"None\"", "\"Sgx\""),
            good.replace("BEGIN PRIVATE", "BEGIN PUBLIC"),
            String::new(),
        ] {
            let error = AppSecrets::parse(bad.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("malformed"), "{error}");
            assert!(!error.contains(&secret[2..]), "{error}");
        }
    }
}
