//! The primitive: HKDF-SHA256, and P-256 keys made with it (keys reference, section 2).

use std::fmt;

use hkdf::Hkdf;
use p256::SecretKey;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{KeyError, Secret};

/// Salt of every derivation.
const SALT: &[u8] = b"RATLS";

/// `HKDF-SHA256(salt "RATLS", ikm, info = parts without separators)`, 32 bytes.
pub(crate) fn derive(ikm: &[u8], parts: &[&[u8]]) -> Secret {
    let hkdf = Hkdf::<Sha256>::new(Some(SALT), ikm);
    // 32 bytes are far below HKDF's limit of 8160, the only error there is.
    let Ok(secret) = Secret::fill(|out| hkdf.expand_multi_info(parts, out)) else {
        unreachable!("32 bytes are a valid HKDF length")
    };
    secret
}

/// A P-256 private key.
pub struct P256Key(SecretKey);

impl P256Key {
    /// From a big-endian scalar.
    ///
    /// # Errors
    /// [`KeyError::Scalar`] for zero or a value not below the order.
    pub fn from_scalar(scalar: &Secret) -> Result<Self, KeyError> {
        SecretKey::from_slice(scalar.expose())
            .map(Self)
            .map_err(|_| KeyError::Scalar("P-256"))
    }

    /// From the operating system's randomness.
    ///
    /// # Errors
    /// [`KeyError::Randomness`], or [`KeyError::Scalar`] once in 2^32 calls.
    pub fn random() -> Result<Self, KeyError> {
        Self::from_scalar(&Secret::random()?)
    }

    /// The child at `parts`: its scalar is the HKDF output.
    ///
    /// # Errors
    /// [`KeyError::Scalar`] with probability 2^-32; there is no retry, by definition.
    pub fn child(&self, parts: &[&[u8]]) -> Result<Self, KeyError> {
        Self::from_scalar(&derive(self.scalar().expose(), parts))
    }

    /// From a parent scalar that is not itself a key (a seed).
    ///
    /// # Errors
    /// As [`P256Key::child`].
    pub fn from_seed(seed: &Secret, parts: &[&[u8]]) -> Result<Self, KeyError> {
        Self::from_scalar(&derive(seed.expose(), parts))
    }

    /// SHA-256 of the child's PKCS#8 DER: disk keys and X25519 secrets.
    ///
    /// # Errors
    /// As [`P256Key::child`].
    pub(crate) fn child_secret(&self, parts: &[&[u8]]) -> Result<Secret, KeyError> {
        self.child(parts)?.pkcs8_digest()
    }

    pub(crate) fn pkcs8_digest(&self) -> Result<Secret, KeyError> {
        let der = self.to_pkcs8_der()?;
        let mut digest: [u8; 32] = Sha256::digest(der.as_slice()).into();
        Ok(Secret::take(&mut digest))
    }

    /// The scalar.
    pub fn scalar(&self) -> Secret {
        let mut bytes: [u8; 32] = self.0.to_bytes().into();
        Secret::take(&mut bytes)
    }

    /// PKCS#8 DER, 138 bytes: public key included, no parameters inside ECPrivateKey.
    ///
    /// # Errors
    /// [`KeyError::Pkcs8`] never for a valid key.
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let document = self.0.to_pkcs8_der().map_err(|_| KeyError::Pkcs8)?;
        Ok(Zeroizing::new(document.as_bytes().to_vec()))
    }

    /// PKCS#8 PEM.
    ///
    /// # Errors
    /// [`KeyError::Pkcs8`] never for a valid key.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        self.0
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|_| KeyError::Pkcs8)
    }

    /// From PKCS#8 PEM.
    ///
    /// # Errors
    /// [`KeyError::Pkcs8`].
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, KeyError> {
        SecretKey::from_pkcs8_pem(pem)
            .map(Self)
            .map_err(|_| KeyError::Pkcs8)
    }

    /// DER SubjectPublicKeyInfo, 91 bytes.
    pub fn spki_der(&self) -> Vec<u8> {
        // A valid point always encodes.
        self.0
            .public_key()
            .to_public_key_der()
            .map(|der| der.into_vec())
            .unwrap_or_default()
    }
}

impl fmt::Debug for P256Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P256Key")
    }
}
