//! Version 1, as dstack's clients make it (keys reference, section 7).
//!
//! `ephemeral public key (32) || IV (12) || AES-256-GCM ciphertext and tag`; the
//! key is the raw X25519 shared secret. Anybody who knows the app's public key can
//! make one, so it says nothing about who did.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead, KeyInit};
use x25519_dalek::{PublicKey, SharedSecret, StaticSecret};
use zeroize::Zeroizing;

use crate::env::{EnvError, SEALED_MIN};
use crate::{KeyError, Secret};

/// The X25519 public key that belongs to an app's env key.
pub fn env_public_key(env_crypt_key: &Secret) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(*env_crypt_key.expose())).to_bytes()
}

/// Encrypts for the holder of `recipient`'s secret.
///
/// # Errors
/// [`EnvError::WeakKey`] for a public key of small order.
pub fn encrypt_anonymous(recipient: &[u8; 32], plaintext: &[u8]) -> Result<Vec<u8>, EnvError> {
    let mut iv = [0; 12];
    getrandom::fill(&mut iv).map_err(|_| KeyError::Randomness)?;
    encrypt_with(&Secret::random()?, iv, recipient, plaintext)
}

fn encrypt_with(
    ephemeral: &Secret,
    iv: [u8; 12],
    recipient: &[u8; 32],
    plaintext: &[u8],
) -> Result<Vec<u8>, EnvError> {
    let secret = StaticSecret::from(*ephemeral.expose());
    let sealed = cipher(&secret.diffie_hellman(&PublicKey::from(*recipient)))?
        .encrypt(&iv.into(), plaintext)
        .map_err(|_| EnvError::Broken)?;
    Ok([&PublicKey::from(&secret).to_bytes()[..], &iv, &sealed].concat())
}

/// Decrypts with the app's env key.
///
/// # Errors
/// [`EnvError`].
pub fn decrypt_anonymous(
    env_crypt_key: &Secret,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, EnvError> {
    let too_short = || EnvError::TooShort(sealed.len());
    if sealed.len() < SEALED_MIN {
        return Err(too_short());
    }
    let (public, rest) = sealed.split_first_chunk::<32>().ok_or_else(too_short)?;
    let (iv, ciphertext) = rest.split_first_chunk::<12>().ok_or_else(too_short)?;
    let secret = StaticSecret::from(*env_crypt_key.expose());
    cipher(&secret.diffie_hellman(&PublicKey::from(*public)))?
        .decrypt(&(*iv).into(), ciphertext)
        .map(Zeroizing::new)
        .map_err(|_| EnvError::Broken)
}

fn cipher(shared: &SharedSecret) -> Result<Aes256Gcm, EnvError> {
    if !shared.was_contributory() {
        return Err(EnvError::WeakKey);
    }
    Ok(Aes256Gcm::new(shared.as_bytes().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors() -> serde_json::Value {
        serde_json::from_str(include_str!(
            "../../../../test/vectors/keys/key-vectors.json"
        ))
        .unwrap()
    }

    fn bytes(value: &serde_json::Value) -> Vec<u8> {
        hex::decode(value.as_str().unwrap()).unwrap()
    }

    fn secret(value: &serde_json::Value) -> Secret {
        Secret::from_slice(&bytes(value)).unwrap()
    }

    #[test]
    fn encryption_matches_the_vector() {
        let all = vectors();
        let vector = &all["env_encryption"];
        let recipient = bytes(&all["env_encrypt_key"]["x25519_public_key"])
            .try_into()
            .unwrap();
        let sealed = encrypt_with(
            &secret(&vector["ephemeral_secret"]),
            bytes(&vector["iv"]).try_into().unwrap(),
            &recipient,
            vector["plaintext_utf8"].as_str().unwrap().as_bytes(),
        )
        .unwrap();
        assert_eq!(hex::encode(&sealed), vector["ciphertext"].as_str().unwrap());
        let opened =
            decrypt_anonymous(&secret(&all["env_encrypt_key"]["secret"]), &sealed).unwrap();
        assert_eq!(
            opened.as_slice(),
            vector["plaintext_utf8"].as_str().unwrap().as_bytes()
        );
    }

    #[test]
    fn upstreams_constant_decrypts() {
        let all = vectors();
        let vector = &all["upstream_constants"]["env_decrypt"];
        let opened =
            decrypt_anonymous(&secret(&vector["secret"]), &bytes(&vector["ciphertext"])).unwrap();
        assert_eq!(
            opened.as_slice(),
            vector["plaintext_utf8"].as_str().unwrap().as_bytes()
        );
    }

    #[test]
    fn changed_short_and_weak_inputs_are_refused() {
        let key = Secret::random().unwrap();
        let public = PublicKey::from(&StaticSecret::from(*key.expose())).to_bytes();
        let mut sealed = encrypt_anonymous(&public, b"x").unwrap();
        assert_eq!(
            decrypt_anonymous(&key, &sealed[..59]),
            Err(EnvError::TooShort(59))
        );
        sealed[50] ^= 1;
        assert_eq!(decrypt_anonymous(&key, &sealed), Err(EnvError::Broken));
        sealed[..32].fill(0);
        assert_eq!(decrypt_anonymous(&key, &sealed), Err(EnvError::WeakKey));
        assert_eq!(encrypt_anonymous(&[0; 32], b"x"), Err(EnvError::WeakKey));
    }
}
