//! Root keys at rest: encrypted under a key that only this TEE, in this state, can have.
//!
//! AES-256-GCM with a random 96-bit nonce. Everything that is stored beside the
//! ciphertext (public keys, trust anchors, origin) is its associated data, so
//! none of it can be exchanged without the seal breaking.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Ciphertext and nonce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// 12 bytes, hex.
    nonce: String,
    /// Ciphertext and 16-byte tag, hex.
    ciphertext: String,
}

/// The seal is not for this TEE, or what it covers was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the stored root keys do not open: they were sealed by another TEE or another build, or the \
     store was changed. Restore the store of this build, or onboard from a running KMS into an \
     empty data directory"
)]
pub struct BrokenSeal;

/// Encrypts `plaintext` under `key`, bound to `associated`.
///
/// # Errors
/// Only when `plaintext` is longer than AES-GCM allows (64 GiB).
pub fn seal(key: &[u8; 32], associated: &[u8], plaintext: &[u8]) -> Result<Sealed, BrokenSeal> {
    let nonce = Aes256Gcm::generate_nonce(&mut OsRng);
    let ciphertext = cipher(key)
        .encrypt(
            &nonce,
            Payload {
                msg: plaintext,
                aad: associated,
            },
        )
        .map_err(|_| BrokenSeal)?;
    Ok(Sealed {
        nonce: hex::encode(nonce),
        ciphertext: hex::encode(ciphertext),
    })
}

/// Opens what [`seal`] made with the same key and associated data.
///
/// # Errors
/// [`BrokenSeal`] when key, associated data or ciphertext differ in any bit.
pub fn open(
    key: &[u8; 32],
    associated: &[u8],
    sealed: &Sealed,
) -> Result<Zeroizing<Vec<u8>>, BrokenSeal> {
    let nonce: [u8; 12] = hex::decode(&sealed.nonce)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(BrokenSeal)?;
    let ciphertext = hex::decode(&sealed.ciphertext).map_err(|_| BrokenSeal)?;
    cipher(key)
        .decrypt(
            &nonce.into(),
            Payload {
                msg: &ciphertext,
                aad: associated,
            },
        )
        .map(Zeroizing::new)
        .map_err(|_| BrokenSeal)
}

fn cipher(key: &[u8; 32]) -> Aes256Gcm {
    Aes256Gcm::new(key.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_with_the_same_key_and_data() {
        let sealed = seal(&[1; 32], b"public", b"secret").unwrap();
        assert_eq!(&**open(&[1; 32], b"public", &sealed).unwrap(), b"secret");
        assert!(open(&[2; 32], b"public", &sealed).is_err());
        assert!(open(&[1; 32], b"Public", &sealed).is_err());
    }

    #[test]
    fn any_changed_bit_breaks_it() {
        let sealed = seal(&[1; 32], b"", b"secret").unwrap();
        let mut bytes = hex::decode(&sealed.ciphertext).unwrap();
        for position in 0..bytes.len() {
            bytes[position] ^= 1;
            let forged = Sealed {
                ciphertext: hex::encode(&bytes),
                ..sealed.clone()
            };
            assert!(open(&[1; 32], b"", &forged).is_err(), "byte {position}");
            bytes[position] ^= 1;
        }
        for nonce in ["", "00", "zz", &"00".repeat(13)] {
            let forged = Sealed {
                nonce: nonce.to_owned(),
                ..sealed.clone()
            };
            assert!(open(&[1; 32], b"", &forged).is_err());
        }
    }

    #[test]
    fn nonces_differ() {
        let one = seal(&[1; 32], b"", b"x").unwrap();
        let two = seal(&[1; 32], b"", b"x").unwrap();
        assert_ne!(one.nonce, two.nonce);
    }
}
