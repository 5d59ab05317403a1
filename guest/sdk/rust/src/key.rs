//! Whose a key or signature is, up to the KMS's root.

use bylaw_keys::{Secret, recover, verify_data, verify_key_chain};
use bylaw_types::AppId;
use x509_parser::prelude::FromDer;

use crate::{KeyAnswer, SignAnswer, VerifyError};

pub use bylaw_keys::Algorithm as KeyAlgorithm;

/// First part of what is signed about an env encryption key.
const ENV_KEY: &[u8] = b"dstack-env-encrypt-pubkey";
/// How far ahead a clock may be, in seconds.
const MAX_AHEAD: u64 = 60;

/// The public root keys of a KMS. Take them from the contract, never from the KMS itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmsRoot {
    k256_public: [u8; 33],
    ca_spki: Vec<u8>,
}

impl KmsRoot {
    /// From the compressed secp256k1 key and the DER SubjectPublicKeyInfo of the root CA.
    ///
    /// # Errors
    /// [`VerifyError::Root`] when one is empty or not a key.
    pub fn new(k256_public: &[u8], ca_spki: &[u8]) -> Result<Self, VerifyError> {
        if k256_public.is_empty() || ca_spki.is_empty() {
            return Err(VerifyError::Root("KmsAuth names no KMS root".to_owned()));
        }
        let fixed: [u8; 33] = k256_public.try_into().map_err(|_| {
            VerifyError::Root(format!(
                "the secp256k1 key has {} bytes; compressed keys have 33",
                k256_public.len()
            ))
        })?;
        k256::PublicKey::from_sec1_bytes(&fixed)
            .map_err(|_| VerifyError::Root("the secp256k1 key is not a point".to_owned()))?;
        match x509_parser::x509::SubjectPublicKeyInfo::from_der(ca_spki) {
            Ok(([], _)) => {}
            _ => {
                return Err(VerifyError::Root(
                    "the CA's key is not a DER SubjectPublicKeyInfo".to_owned(),
                ));
            }
        }
        Ok(Self {
            k256_public: fixed,
            ca_spki: ca_spki.to_vec(),
        })
    }

    /// Compressed public key that signs apps' keys.
    pub fn k256_public(&self) -> &[u8; 33] {
        &self.k256_public
    }

    /// DER SubjectPublicKeyInfo of the root CA.
    pub fn ca_spki(&self) -> &[u8] {
        &self.ca_spki
    }
}

/// Checks a public key's signature chain: the app's key signed it for `purpose`, and the
/// KMS issued the app's key. Returns the app's public key.
///
/// `public_key` is 33 bytes (secp256k1, compressed) or 32 bytes (ed25519).
///
/// # Errors
/// [`VerifyError::KeyChain`].
pub fn verify_key(
    root: &KmsRoot,
    app_id: &AppId,
    purpose: &str,
    public_key: &[u8],
    signature_chain: &[Vec<u8>],
) -> Result<[u8; 33], VerifyError> {
    let [by_app, by_root] = signature_chain else {
        return Err(VerifyError::KeyChain(format!(
            "a key's chain has 2 signatures, this one {}",
            signature_chain.len()
        )));
    };
    let chain = [by_app.as_slice(), by_root.as_slice()];
    verify_key_chain(root.k256_public(), app_id, purpose, public_key, chain)
        .map_err(|error| VerifyError::KeyChain(error.to_string()))
}

/// As [`verify_key`], for an answer of `GetKey` as it came.
///
/// # Errors
/// [`VerifyError::KeyChain`].
pub fn verify_key_answer(
    root: &KmsRoot,
    app_id: &AppId,
    purpose: &str,
    algorithm: KeyAlgorithm,
    answer: &KeyAnswer,
) -> Result<[u8; 33], VerifyError> {
    let public = public_key(&answer.key, algorithm)?;
    verify_key(root, app_id, purpose, &public, &answer.signature_chain)
}

fn public_key(key: &Secret, algorithm: KeyAlgorithm) -> Result<Vec<u8>, VerifyError> {
    match algorithm {
        KeyAlgorithm::Ed25519 => {
            let key = ed25519_dalek::SigningKey::from_bytes(key.expose());
            Ok(key.verifying_key().to_bytes().to_vec())
        }
        KeyAlgorithm::Secp256k1 | KeyAlgorithm::Secp256k1Prehashed => {
            let key = k256::ecdsa::SigningKey::from_slice(key.expose())
                .map_err(|error| VerifyError::KeyChain(error.to_string()))?;
            Ok(key
                .verifying_key()
                .to_encoded_point(true)
                .as_bytes()
                .to_vec())
        }
    }
}

/// Checks an answer of `Sign`: the signature holds for `data`, and the key is the app's
/// signing key. Returns the app's public key.
///
/// # Errors
/// [`VerifyError::Signature`] or [`VerifyError::KeyChain`].
pub fn verify_signature(
    root: &KmsRoot,
    app_id: &AppId,
    algorithm: &str,
    data: &[u8],
    answer: &SignAnswer,
) -> Result<[u8; 33], VerifyError> {
    let fault = |reason: &dyn std::fmt::Display| VerifyError::Signature(reason.to_string());
    let algorithm = KeyAlgorithm::for_signing(algorithm).map_err(|error| fault(&error))?;
    let [repeated, chain @ ..] = answer.signature_chain.as_slice() else {
        return Err(fault(&"its chain is empty"));
    };
    if *repeated != answer.signature {
        return Err(fault(&"its chain begins with another signature"));
    }
    let holds = verify_data(algorithm, data, &answer.signature, &answer.public_key)
        .map_err(|error| fault(&error))?;
    if !holds {
        return Err(fault(&"it is not by this key over this data"));
    }
    verify_key(root, app_id, "signing", &answer.public_key, chain)
}

/// Checks an env encryption key of an app and that it was signed just now: at most
/// `max_age` seconds before `now` (300 is usual), at most 60 after. Returns the signer,
/// which is `expected_root` if that is given; otherwise compare it with the KMS's root.
///
/// # Errors
/// [`VerifyError::EnvKey`].
pub fn verify_env_key(
    env_public: &[u8],
    app_id: &AppId,
    timestamp: u64,
    signature_v1: &[u8],
    expected_root: Option<&[u8; 33]>,
    now: u64,
    max_age: u64,
) -> Result<[u8; 33], VerifyError> {
    let stamp = timestamp.to_be_bytes();
    let parts = [ENV_KEY, b":", app_id.as_ref(), &stamp, env_public];
    let signer = env_signer(env_public, signature_v1, &parts, expected_root)?;
    if now.saturating_sub(timestamp) > max_age {
        return Err(VerifyError::EnvKey(format!(
            "signed at {timestamp}, which is more than {max_age} s before {now}"
        )));
    }
    if timestamp.saturating_sub(now) > MAX_AHEAD {
        return Err(VerifyError::EnvKey(format!(
            "signed at {timestamp}, which is more than {MAX_AHEAD} s after {now}"
        )));
    }
    Ok(signer)
}

/// Checks an env encryption key by the older signature, which may be of any age.
///
/// # Errors
/// [`VerifyError::EnvKey`].
pub fn verify_env_key_legacy(
    env_public: &[u8],
    app_id: &AppId,
    signature: &[u8],
    expected_root: Option<&[u8; 33]>,
) -> Result<[u8; 33], VerifyError> {
    let parts = [ENV_KEY, b":", app_id.as_ref(), env_public];
    env_signer(env_public, signature, &parts, expected_root)
}

fn env_signer(
    env_public: &[u8],
    signature: &[u8],
    parts: &[&[u8]],
    expected_root: Option<&[u8; 33]>,
) -> Result<[u8; 33], VerifyError> {
    if env_public.len() != 32 {
        return Err(VerifyError::EnvKey(format!(
            "the public key has {} bytes, X25519 keys have 32",
            env_public.len()
        )));
    }
    let signer =
        recover(signature, parts).map_err(|error| VerifyError::EnvKey(error.to_string()))?;
    match expected_root {
        Some(root) if *root != signer => Err(VerifyError::EnvKey(
            "it is not signed by the KMS's root, or for another app or key".to_owned(),
        )),
        _ => Ok(signer),
    }
}
