//! What a KMS holds, and what it derives (keys reference, sections 1 and 3).

use bylaw_types::{AppId, InstanceId, TrustAnchorSet};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::derive::{P256Key, derive};
use crate::signature::{ENV_KEY, ISSUED, SIGNATURE_LEN, Signer};
use crate::{KeyError, Secret};

/// First part of the derivation that separates other anchors from the vendors'.
const ANCHOR_CONTEXT: &[u8] = b"bylaw-trust-anchors-v1";

/// Root keys as they are generated, sealed and handed to another KMS.
///
/// Yields nothing by itself: [`RootMaterial::bind`] says which trust anchors the
/// holder verifies evidence under, and those decide the keys (design, invariant 4).
#[derive(Debug)]
pub struct RootMaterial {
    ca: Secret,
    k256: Secret,
}

impl RootMaterial {
    /// New random roots.
    ///
    /// # Errors
    /// [`KeyError::Randomness`], or [`KeyError::Scalar`] once in 2^32 calls.
    pub fn generate() -> Result<Self, KeyError> {
        Self::from_parts(Secret::random()?, Secret::random()?)
    }

    /// From the P-256 CA scalar and the secp256k1 scalar.
    ///
    /// # Errors
    /// [`KeyError::Scalar`] when one is not a valid scalar.
    pub fn from_parts(ca: Secret, k256: Secret) -> Result<Self, KeyError> {
        P256Key::from_scalar(&ca)?;
        Signer::new(&k256)?;
        Ok(Self { ca, k256 })
    }

    /// From the form of `GetKmsKey`: PKCS#8 PEM and 32 bytes.
    ///
    /// # Errors
    /// [`KeyError`] names the part.
    pub fn from_wire(ca_pem: &str, k256: &[u8]) -> Result<Self, KeyError> {
        let k256 = Secret::from_slice(k256).ok_or(KeyError::Scalar("secp256k1"))?;
        Self::from_parts(P256Key::from_pkcs8_pem(ca_pem)?.scalar(), k256)
    }

    /// The form of `GetKmsKey`.
    ///
    /// # Errors
    /// [`KeyError::Pkcs8`] never for valid roots.
    pub fn to_wire(&self) -> Result<(Zeroizing<String>, Zeroizing<Vec<u8>>), KeyError> {
        let pem = P256Key::from_scalar(&self.ca)?.to_pkcs8_pem()?;
        Ok((pem, Zeroizing::new(self.k256.expose().to_vec())))
    }

    /// The P-256 scalar, for sealing.
    pub fn ca_scalar(&self) -> &Secret {
        &self.ca
    }

    /// The secp256k1 scalar, for sealing.
    pub fn k256_scalar(&self) -> &Secret {
        &self.k256
    }

    /// The roots a KMS with these anchors derives from.
    ///
    /// Under the vendors' anchors they are the material itself, so everything
    /// equals the reference. Under any other set each root is derived with the
    /// set's digest, so every key, public ones included, is unrelated.
    ///
    /// # Errors
    /// [`KeyError::Scalar`] with probability 2^-32 for other anchors.
    pub fn bind(&self, anchors: &TrustAnchorSet) -> Result<RootKeys, KeyError> {
        let root = |material: &Secret, label: &[u8]| match anchors {
            TrustAnchorSet::Vendor(_) => derive_nothing(material),
            TrustAnchorSet::Other(digest) => {
                derive(material.expose(), &[ANCHOR_CONTEXT, digest.as_ref(), label])
            }
        };
        let k256 = root(&self.k256, b"k256");
        Ok(RootKeys {
            ca: P256Key::from_scalar(&root(&self.ca, b"ca"))?,
            signer: Signer::new(&k256)?,
            k256,
        })
    }
}

fn derive_nothing(material: &Secret) -> Secret {
    let mut copy = *material.expose();
    Secret::take(&mut copy)
}

/// Roots bound to trust anchors: what everything is derived from.
pub struct RootKeys {
    ca: P256Key,
    k256: Secret,
    signer: Signer,
}

/// What a KMS hands to one instance of an app.
#[derive(Debug)]
pub struct AppKeys {
    /// Encrypts the disk; its lower-case hex is the LUKS passphrase.
    pub disk_crypt_key: Secret,
    /// X25519 secret for the encrypted environment.
    pub env_crypt_key: Secret,
    /// secp256k1 secret of the app.
    pub k256_key: Secret,
    /// The root's signature over the app's public key.
    pub k256_signature: [u8; SIGNATURE_LEN],
}

impl RootKeys {
    /// The root CA key.
    pub fn ca(&self) -> &P256Key {
        &self.ca
    }

    /// Compressed public key of the root secp256k1 key.
    pub fn k256_public(&self) -> [u8; 33] {
        self.signer.public()
    }

    /// Key of an app's CA.
    ///
    /// # Errors
    /// [`KeyError::Scalar`] with probability 2^-32.
    pub fn app_ca(&self, app_id: &AppId) -> Result<P256Key, KeyError> {
        self.ca.child(&[app_id.as_ref(), b"app-ca"])
    }

    /// Everything an instance gets.
    ///
    /// # Errors
    /// [`KeyError::Scalar`] with probability 2^-32.
    pub fn app_keys(
        &self,
        app_id: &AppId,
        instance_id: Option<&InstanceId>,
    ) -> Result<AppKeys, KeyError> {
        let id = app_id.as_ref();
        let instance = instance_id.map_or(&[][..], AsRef::as_ref);
        let k256_key = derive(self.k256.expose(), &[id, b"app-key"]);
        let app_public = Signer::new(&k256_key)?.public();
        Ok(AppKeys {
            disk_crypt_key: self
                .ca
                .child_secret(&[id, instance, b"app-disk-crypt-key"])?,
            env_crypt_key: self.env_secret(app_id)?,
            k256_signature: self.signer.sign(&[ISSUED, b":", id, &app_public]),
            k256_key,
        })
    }

    fn env_secret(&self, app_id: &AppId) -> Result<Secret, KeyError> {
        self.ca.child_secret(&[app_id.as_ref(), b"env-encrypt-key"])
    }

    /// X25519 public key for an app's encrypted environment.
    ///
    /// # Errors
    /// [`KeyError::Scalar`] with probability 2^-32.
    pub fn env_public(&self, app_id: &AppId) -> Result<[u8; 32], KeyError> {
        let secret = StaticSecret::from(*self.env_secret(app_id)?.expose());
        Ok(PublicKey::from(&secret).to_bytes())
    }

    /// Signatures over an env public key: without and with a timestamp (Unix seconds).
    pub fn sign_env_public(
        &self,
        app_id: &AppId,
        env_public: &[u8; 32],
        timestamp: u64,
    ) -> ([u8; SIGNATURE_LEN], [u8; SIGNATURE_LEN]) {
        let id = app_id.as_ref();
        let stamp = timestamp.to_be_bytes();
        (
            self.signer.sign(&[ENV_KEY, b":", id, env_public]),
            self.signer.sign(&[ENV_KEY, b":", id, &stamp, env_public]),
        )
    }
}

impl std::fmt::Debug for RootKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RootKeys")
    }
}

#[cfg(test)]
mod tests;
