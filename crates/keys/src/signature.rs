//! Recoverable secp256k1 signatures (keys reference, section 4).
//!
//! 65 bytes `r || s || recovery id` (0 or 1) over Keccak-256, deterministic, low s.

use bylaw_types::{AppId, SignerAddress};
use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use sha3::{Digest, Keccak256};

use crate::{KeyError, Secret};

/// Length of a signature in bytes.
pub const SIGNATURE_LEN: usize = 65;
/// Oldest and newest timestamp of an env key signature, in seconds around now.
const MAX_AGE: u64 = 300;
const MAX_AHEAD: u64 = 60;

/// Bytes that are not a signature, or not by the expected key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not 65 bytes, or a recovery id other than 0 or 1.
    #[error("a signature is 65 bytes r || s || recovery id (0 or 1)")]
    Form,
    /// No key recovers from it.
    #[error("no public key recovers from the signature")]
    Unrecoverable,
    /// Another key signed.
    #[error("the signature is by another key")]
    OtherKey,
}

/// Why a signed env encryption key is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvKeySignatureError {
    /// The signature.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Replayed, or a clock is off.
    #[error("signed at {signed_at}, now is {now}: not within 300 s before and 60 s after")]
    Time {
        /// Unix seconds.
        signed_at: u64,
        /// Unix seconds.
        now: u64,
    },
}

/// A secp256k1 signing key that wipes itself.
pub(crate) struct Signer(SigningKey);

impl Signer {
    pub(crate) fn new(secret: &Secret) -> Result<Self, KeyError> {
        SigningKey::from_slice(secret.expose())
            .map(Self)
            .map_err(|_| KeyError::Scalar("secp256k1"))
    }

    pub(crate) fn public(&self) -> [u8; 33] {
        compressed(self.0.verifying_key())
    }

    pub(crate) fn sign(&self, parts: &[&[u8]]) -> [u8; SIGNATURE_LEN] {
        // Signing a 32-byte digest with a valid key fails only if k is zero, once in 2^256.
        let Ok((signature, recovery)) = self.0.sign_digest_recoverable(keccak(parts)) else {
            unreachable!("RFC 6979 yields a usable nonce")
        };
        let mut bytes = [0; SIGNATURE_LEN];
        bytes[..64].copy_from_slice(&signature.to_bytes());
        bytes[64] = recovery.to_byte();
        bytes
    }
}

fn keccak(parts: &[&[u8]]) -> Keccak256 {
    parts
        .iter()
        .fold(Keccak256::new(), |hash, part| hash.chain_update(part))
}

fn compressed(key: &VerifyingKey) -> [u8; 33] {
    let point = key.to_encoded_point(true);
    let mut bytes = [0; 33];
    for (slot, byte) in bytes.iter_mut().zip(point.as_bytes()) {
        *slot = *byte;
    }
    bytes
}

/// The compressed public key that signed the concatenation of `parts`.
///
/// # Errors
/// [`SignatureError`].
pub fn recover(signature: &[u8], parts: &[&[u8]]) -> Result<[u8; 33], SignatureError> {
    let bytes: &[u8; SIGNATURE_LEN] = signature.try_into().map_err(|_| SignatureError::Form)?;
    let (rs, recovery) = bytes.split_at(64);
    let recovery = match recovery {
        [id @ (0 | 1)] => RecoveryId::from_byte(*id).ok_or(SignatureError::Form)?,
        _ => return Err(SignatureError::Form),
    };
    let signature = Signature::from_slice(rs).map_err(|_| SignatureError::Form)?;
    // The other half of each signature would be a second valid text for one message.
    if signature.normalize_s().is_some() {
        return Err(SignatureError::Form);
    }
    VerifyingKey::recover_from_digest(keccak(parts), &signature, recovery)
        .map(|key| compressed(&key))
        .map_err(|_| SignatureError::Unrecoverable)
}

/// The Ethereum address of a compressed public key: the last 20 bytes of the
/// Keccak-256 of its coordinates.
pub(crate) fn address_of(public: &[u8; 33]) -> Result<SignerAddress, SignatureError> {
    let key = VerifyingKey::from_sec1_bytes(public).map_err(|_| SignatureError::Unrecoverable)?;
    let point = key.to_encoded_point(false);
    let digest: [u8; 32] = keccak(&[point.as_bytes().get(1..).unwrap_or_default()])
        .finalize()
        .into();
    let mut address = [0; 20];
    address.copy_from_slice(&digest[12..]);
    Ok(SignerAddress::new(address))
}

fn expect(signer: [u8; 33], expected: &[u8]) -> Result<(), SignatureError> {
    if signer == expected {
        Ok(())
    } else {
        Err(SignatureError::OtherKey)
    }
}

pub(crate) const ISSUED: &[u8] = b"dstack-kms-issued";
pub(crate) const ENV_KEY: &[u8] = b"dstack-env-encrypt-pubkey";

/// Checks that the KMS root issued this app public key (33 bytes).
///
/// # Errors
/// [`SignatureError`].
pub fn verify_app_key(
    root_public: &[u8],
    app_id: &AppId,
    app_public: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    expect(
        recover(signature, &[ISSUED, b":", app_id.as_ref(), app_public])?,
        root_public,
    )
}

/// Checks a `GetKey` answer up to the KMS root; returns the app's public key.
///
/// `public` is the key's public key as the chain signs it: 33 bytes compressed
/// secp256k1, or 32 bytes ed25519.
///
/// # Errors
/// [`SignatureError`].
pub fn verify_key_chain(
    root_public: &[u8],
    app_id: &AppId,
    purpose: &str,
    public: &[u8],
    chain: [&[u8]; 2],
) -> Result<[u8; 33], SignatureError> {
    let text = hex::encode(public);
    let app_public = recover(chain[0], &[purpose.as_bytes(), b":", text.as_bytes()])?;
    verify_app_key(root_public, app_id, &app_public, chain[1])?;
    Ok(app_public)
}

/// Checks an env encryption key without a timestamp.
///
/// # Errors
/// [`SignatureError`].
pub fn verify_env_key_legacy(
    root_public: &[u8],
    app_id: &AppId,
    env_public: &[u8; 32],
    signature: &[u8],
) -> Result<(), SignatureError> {
    expect(
        recover(signature, &[ENV_KEY, b":", app_id.as_ref(), env_public])?,
        root_public,
    )
}

/// Checks an env encryption key and that it was signed just now.
///
/// # Errors
/// [`EnvKeySignatureError`].
pub fn verify_env_key(
    root_public: &[u8],
    app_id: &AppId,
    env_public: &[u8; 32],
    signed_at: u64,
    signature: &[u8],
    now: u64,
) -> Result<(), EnvKeySignatureError> {
    let stamp = signed_at.to_be_bytes();
    let signer = recover(
        signature,
        &[ENV_KEY, b":", app_id.as_ref(), &stamp, env_public],
    )?;
    expect(signer, root_public)?;
    if now.saturating_sub(signed_at) > MAX_AGE || signed_at.saturating_sub(now) > MAX_AHEAD {
        return Err(EnvKeySignatureError::Time { signed_at, now });
    }
    Ok(())
}
