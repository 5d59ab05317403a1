//! What an app derives from its own key (keys reference, sections 5 and 6).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bylaw_types::ReportData;
use ed25519_dalek::Signer as _;
use k256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use sha2::{Digest, Sha256};

use crate::derive::{P256Key, derive};
use crate::signature::{SIGNATURE_LEN, Signer};
use crate::{KeyError, Secret};

/// Algorithm of a derived key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA on secp256k1.
    Secp256k1,
    /// EdDSA on curve 25519.
    Ed25519,
    /// ECDSA on secp256k1 over a digest made by the caller; signing only.
    Secp256k1Prehashed,
}

/// Why a request about keys is refused; the texts are what clients match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppKeyError {
    /// Not one of the algorithms.
    #[error("Unsupported algorithm")]
    Algorithm,
    /// Prehashed signing of something else than a digest.
    #[error("Pre-hashed signing requires a 32-byte digest, but received {0} bytes")]
    Digest(usize),
    /// A public key or signature that does not parse.
    #[error("invalid {0}")]
    Malformed(&'static str),
    /// The derived scalar is not valid, once in 2^128.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Algorithm {
    /// For deriving: empty means secp256k1.
    ///
    /// # Errors
    /// [`AppKeyError::Algorithm`].
    pub fn for_key(name: &str) -> Result<Self, AppKeyError> {
        match name {
            "" | "secp256k1" | "k256" => Ok(Self::Secp256k1),
            "ed25519" => Ok(Self::Ed25519),
            _ => Err(AppKeyError::Algorithm),
        }
    }

    /// For signing and verifying: must be named.
    ///
    /// # Errors
    /// [`AppKeyError::Algorithm`].
    pub fn for_signing(name: &str) -> Result<Self, AppKeyError> {
        match name {
            "secp256k1" | "k256" => Ok(Self::Secp256k1),
            "ed25519" => Ok(Self::Ed25519),
            "secp256k1_prehashed" => Ok(Self::Secp256k1Prehashed),
            _ => Err(AppKeyError::Algorithm),
        }
    }
}

/// An app's secp256k1 key: the source of everything the app derives.
pub struct AppKey {
    secret: Secret,
    signer: Signer,
}

/// A key derived by path, with the app's signature over its public key.
#[derive(Debug)]
pub struct DerivedKey {
    /// secp256k1 scalar or ed25519 seed.
    pub key: Secret,
    /// 33 bytes compressed, or 32 bytes.
    pub public: Vec<u8>,
    /// By the app key over `<purpose>:<hex public key>`.
    pub signature: [u8; SIGNATURE_LEN],
}

impl AppKey {
    /// From the app's secret.
    ///
    /// # Errors
    /// [`KeyError::Scalar`].
    pub fn new(secret: Secret) -> Result<Self, KeyError> {
        Ok(Self {
            signer: Signer::new(&secret)?,
            secret,
        })
    }

    /// Compressed public key.
    pub fn public(&self) -> [u8; 33] {
        self.signer.public()
    }

    /// The key at `path`. Purpose and algorithm do not change its bytes.
    ///
    /// # Errors
    /// [`AppKeyError::Key`] for a derived scalar that is not valid.
    pub fn derive(
        &self,
        path: &str,
        purpose: &str,
        algorithm: Algorithm,
    ) -> Result<DerivedKey, AppKeyError> {
        let key = derive(self.secret.expose(), &[path.as_bytes()]);
        let public = match algorithm {
            Algorithm::Ed25519 => ed25519_dalek::SigningKey::from_bytes(key.expose())
                .verifying_key()
                .to_bytes()
                .to_vec(),
            Algorithm::Secp256k1 | Algorithm::Secp256k1Prehashed => {
                Signer::new(&key)?.public().to_vec()
            }
        };
        let text = hex::encode(&public);
        let signature = self
            .signer
            .sign(&[purpose.as_bytes(), b":", text.as_bytes()]);
        Ok(DerivedKey {
            key,
            public,
            signature,
        })
    }

    /// The P-256 key at `path`, as the legacy API derives it.
    ///
    /// # Errors
    /// [`KeyError::Scalar`] with probability 2^-32.
    pub fn derive_p256(&self, path: &str) -> Result<P256Key, KeyError> {
        P256Key::from_seed(&self.secret, &[path.as_bytes()])
    }

    /// The key that signs for the app: path `vms`, purpose `signing`.
    ///
    /// # Errors
    /// [`AppKeyError::Key`].
    pub fn signing_key(&self, algorithm: Algorithm) -> Result<DerivedKey, AppKeyError> {
        self.derive("vms", "signing", algorithm)
    }

    /// Signs with [`AppKey::signing_key`]; the signature is 64 bytes.
    ///
    /// # Errors
    /// [`AppKeyError`].
    pub fn sign(
        &self,
        algorithm: Algorithm,
        data: &[u8],
    ) -> Result<(Vec<u8>, DerivedKey), AppKeyError> {
        let derived = self.signing_key(algorithm)?;
        Ok((derived.sign(algorithm, data)?, derived))
    }

    /// Report data of the evidence for the signing key (`dip1` form).
    ///
    /// # Errors
    /// [`AppKeyError`].
    pub fn signing_key_report_data(&self, algorithm: Algorithm) -> Result<ReportData, AppKeyError> {
        let label = match algorithm {
            Algorithm::Ed25519 => "ed25519-pk",
            Algorithm::Secp256k1 => "secp256k1c-pk",
            Algorithm::Secp256k1Prehashed => return Err(AppKeyError::Algorithm),
        };
        let public = self.signing_key(algorithm)?.public;
        let text = format!("dip1::{label}:{}", URL_SAFE_NO_PAD.encode(public));
        ReportData::padded(text.as_bytes()).map_err(|_| AppKeyError::Malformed("public key"))
    }
}

impl DerivedKey {
    /// Signs; 64 bytes, deterministic.
    ///
    /// # Errors
    /// [`AppKeyError::Digest`] for prehashed signing of something else than a digest.
    pub fn sign(&self, algorithm: Algorithm, data: &[u8]) -> Result<Vec<u8>, AppKeyError> {
        if algorithm == Algorithm::Ed25519 {
            let key = ed25519_dalek::SigningKey::from_bytes(self.key.expose());
            return Ok(key.sign(data).to_bytes().to_vec());
        }
        let key = k256::ecdsa::SigningKey::from_slice(self.key.expose())
            .map_err(|_| KeyError::Scalar("secp256k1"))?;
        let signature: k256::ecdsa::Signature = key
            .sign_prehash(&digest(algorithm, data)?)
            .map_err(|_| AppKeyError::Malformed("digest"))?;
        Ok(signature
            .normalize_s()
            .unwrap_or(signature)
            .to_bytes()
            .to_vec())
    }
}

impl std::fmt::Debug for AppKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AppKey")
    }
}

fn digest(algorithm: Algorithm, data: &[u8]) -> Result<[u8; 32], AppKeyError> {
    match algorithm {
        Algorithm::Secp256k1Prehashed => {
            data.try_into().map_err(|_| AppKeyError::Digest(data.len()))
        }
        _ => Ok(Sha256::digest(data).into()),
    }
}

/// Whether `signature` is by `public` over `data`.
///
/// # Errors
/// [`AppKeyError::Malformed`] when key or signature do not parse.
pub fn verify(
    algorithm: Algorithm,
    data: &[u8],
    signature: &[u8],
    public: &[u8],
) -> Result<bool, AppKeyError> {
    let bad_key = |_| AppKeyError::Malformed("public key");
    match algorithm {
        Algorithm::Ed25519 => {
            let public: &[u8; 32] = public
                .try_into()
                .map_err(|_| AppKeyError::Malformed("public key"))?;
            let key = ed25519_dalek::VerifyingKey::from_bytes(public).map_err(bad_key)?;
            let signature = ed25519_dalek::Signature::from_slice(signature)
                .map_err(|_| AppKeyError::Malformed("signature"))?;
            Ok(key.verify_strict(data, &signature).is_ok())
        }
        Algorithm::Secp256k1 | Algorithm::Secp256k1Prehashed => {
            let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(public)
                .map_err(|_| AppKeyError::Malformed("public key"))?;
            let signature = k256::ecdsa::Signature::from_slice(signature)
                .map_err(|_| AppKeyError::Malformed("signature"))?;
            Ok(key
                .verify_prehash(&digest(algorithm, data)?, &signature)
                .is_ok())
        }
    }
}

/// Keys of an app without a KMS, from a seed (keys reference, section 5).
#[derive(Debug)]
pub struct SeedKeys {
    /// Key of the app's own root CA.
    pub ca: P256Key,
    /// Encrypts the disk.
    pub disk_crypt_key: Secret,
    /// secp256k1 secret of the app.
    pub k256_key: Secret,
}

impl SeedKeys {
    /// Everything a seed yields.
    ///
    /// # Errors
    /// [`KeyError::Scalar`] with probability 2^-32.
    pub fn from_seed(seed: &Secret) -> Result<Self, KeyError> {
        Ok(Self {
            ca: P256Key::from_seed(seed, &[b"app-key"])?,
            disk_crypt_key: P256Key::from_seed(seed, &[b"app-disk-key"])?.pkcs8_digest()?,
            k256_key: derive(seed.expose(), &[b"app-k256-key"]),
        })
    }
}

#[cfg(test)]
mod tests;
