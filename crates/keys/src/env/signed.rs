//! Version 2: encrypted for one app, signed by one of its signers, in an order.
//!
//! ```text
//! "BYLAWENV" || 02 || revision (u64, big-endian) || signature (65) || sealed
//! sealed = ephemeral public key (32) || IV (12) || AES-256-GCM ciphertext and tag
//! ```
//! The key is HKDF-SHA256 over the shared secret, bound to both public keys and the
//! app; the associated data binds revision and app. The signature is `r || s || v`
//! over the EIP-712 digest that [`SealedEnv::digest`] describes, so a wallet can make
//! it. Both bind the app: the ciphertext of one app neither opens nor counts as
//! signed in another.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use bylaw_types::{AppId, SignerAddress};
use hkdf::Hkdf;
use sha2::Sha256;
use sha3::{Digest, Keccak256};
use x25519_dalek::{PublicKey, SharedSecret, StaticSecret};
use zeroize::Zeroizing;

use crate::env::{EnvError, Environment, SEALED_MIN};
use crate::signature::{SIGNATURE_LEN, Signer, address_of, recover};
use crate::{KeyError, Secret};

const MAGIC: &[u8; 8] = b"BYLAWENV";
const VERSION: u8 = 2;
const SALT: &[u8] = b"bylaw-env-v2";
const DOMAIN_TYPE: &[u8] = b"EIP712Domain(string name,string version,address verifyingContract)";
const DOMAIN_NAME: &[u8] = b"Bylaw environment";
const DOMAIN_VERSION: &[u8] = b"2";
const MESSAGE_TYPE: &[u8] = b"EncryptedEnvironment(uint64 revision,bytes32 sealed)";

/// An encrypted environment of one app, before or after signing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedEnv {
    app_id: AppId,
    revision: u64,
    sealed: Vec<u8>,
}

impl SealedEnv {
    /// Whether a file claims to be of this version. The random key that an anonymous
    /// file begins with does so once in 2^64.
    pub fn is_signed(file: &[u8]) -> bool {
        file.starts_with(MAGIC)
    }

    /// Encrypts for the holder of `recipient`'s secret.
    ///
    /// # Errors
    /// [`EnvError::WeakKey`] for a public key of small order.
    pub fn seal(
        environment: &Environment,
        recipient: &[u8; 32],
        app_id: AppId,
        revision: u64,
    ) -> Result<Self, EnvError> {
        let mut iv = [0; 12];
        getrandom::fill(&mut iv).map_err(|_| KeyError::Randomness)?;
        let plaintext = environment.to_plaintext();
        Self::seal_with(
            &Secret::random()?,
            iv,
            &plaintext,
            recipient,
            app_id,
            revision,
        )
    }

    pub(super) fn seal_with(
        ephemeral: &Secret,
        iv: [u8; 12],
        plaintext: &[u8],
        recipient: &[u8; 32],
        app_id: AppId,
        revision: u64,
    ) -> Result<Self, EnvError> {
        let secret = StaticSecret::from(*ephemeral.expose());
        let public = PublicKey::from(&secret).to_bytes();
        let shared = secret.diffie_hellman(&PublicKey::from(*recipient));
        let payload = Payload {
            msg: plaintext,
            aad: &associated_data(revision, &app_id),
        };
        let ciphertext = cipher(&shared, &public, recipient, &app_id)?
            .encrypt(&iv.into(), payload)
            .map_err(|_| EnvError::Broken)?;
        Ok(Self {
            app_id,
            revision,
            sealed: [&public[..], &iv, &ciphertext].concat(),
        })
    }

    /// What is signed: EIP-712 with domain `EIP712Domain(string name,string version,
    /// address verifyingContract)` = ("Bylaw environment", "2", app id) and message
    /// `EncryptedEnvironment(uint64 revision,bytes32 sealed)`, where `sealed` is the
    /// Keccak-256 of the encrypted bytes.
    pub fn digest(&self) -> [u8; 32] {
        let [prefix, domain, message] = self.signed_parts();
        keccak(&[&prefix, &domain, &message])
    }

    fn signed_parts(&self) -> [Vec<u8>; 3] {
        let domain = keccak(&[
            &keccak(&[DOMAIN_TYPE]),
            &keccak(&[DOMAIN_NAME]),
            &keccak(&[DOMAIN_VERSION]),
            &[0; 12],
            self.app_id.as_bytes(),
        ]);
        let message = keccak(&[
            &keccak(&[MESSAGE_TYPE]),
            &[0; 24],
            &self.revision.to_be_bytes(),
            &keccak(&[&self.sealed]),
        ]);
        [b"\x19\x01".to_vec(), domain.to_vec(), message.to_vec()]
    }

    /// The file, signed with a secp256k1 key.
    ///
    /// # Errors
    /// [`KeyError::Scalar`].
    pub fn sign(&self, key: &Secret) -> Result<Vec<u8>, EnvError> {
        let [prefix, domain, message] = self.signed_parts();
        let signature = Signer::new(key)?.sign(&[&prefix, &domain, &message]);
        Ok(self.file(&signature))
    }

    /// The file, with a signature that a wallet made over [`SealedEnv::digest`]; `v`
    /// may be 0 and 1, or 27 and 28 as wallets write it.
    ///
    /// # Errors
    /// [`EnvError::Signature`] when no key recovers from it.
    pub fn with_signature(&self, signature: &[u8; 65]) -> Result<Vec<u8>, EnvError> {
        let mut signature = *signature;
        if let [.., v @ (27 | 28)] = &mut signature {
            *v -= 27;
        }
        self.signer(&signature)?;
        Ok(self.file(&signature))
    }

    fn file(&self, signature: &[u8; SIGNATURE_LEN]) -> Vec<u8> {
        [
            &MAGIC[..],
            &[VERSION],
            &self.revision.to_be_bytes(),
            signature,
            &self.sealed,
        ]
        .concat()
    }

    /// Reads a file that was delivered to `app_id`: the envelope and its signature.
    ///
    /// # Errors
    /// [`EnvError::TooShort`] or [`EnvError::Version`].
    pub fn parse<'a>(
        file: &'a [u8],
        app_id: &AppId,
    ) -> Result<(Self, &'a [u8; SIGNATURE_LEN]), EnvError> {
        let too_short = || EnvError::TooShort(file.len());
        let rest = file.strip_prefix(MAGIC).ok_or(EnvError::Version(1))?;
        let (version, rest) = rest.split_first().ok_or_else(too_short)?;
        if *version != VERSION {
            return Err(EnvError::Version(*version));
        }
        let (revision, rest) = rest.split_first_chunk().ok_or_else(too_short)?;
        let (signature, sealed) = rest.split_first_chunk().ok_or_else(too_short)?;
        if sealed.len() < SEALED_MIN {
            return Err(too_short());
        }
        let envelope = Self {
            app_id: *app_id,
            revision: u64::from_be_bytes(*revision),
            sealed: sealed.to_vec(),
        };
        Ok((envelope, signature))
    }

    /// Who made `signature` over this; any change yields another address.
    ///
    /// # Errors
    /// [`EnvError::Signature`].
    pub fn signer(&self, signature: &[u8; SIGNATURE_LEN]) -> Result<SignerAddress, EnvError> {
        let [prefix, domain, message] = self.signed_parts();
        let public = recover(signature, &[&prefix, &domain, &message])?;
        Ok(address_of(&public)?)
    }

    /// Its place in the order.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The plaintext.
    ///
    /// # Errors
    /// [`EnvError::Broken`] or [`EnvError::WeakKey`].
    pub fn decrypt(&self, env_crypt_key: &Secret) -> Result<Zeroizing<Vec<u8>>, EnvError> {
        let too_short = || EnvError::TooShort(self.sealed.len());
        let (public, rest) = self
            .sealed
            .split_first_chunk::<32>()
            .ok_or_else(too_short)?;
        let (iv, ciphertext) = rest.split_first_chunk::<12>().ok_or_else(too_short)?;
        let secret = StaticSecret::from(*env_crypt_key.expose());
        let recipient = PublicKey::from(&secret).to_bytes();
        let shared = secret.diffie_hellman(&PublicKey::from(*public));
        let payload = Payload {
            msg: ciphertext,
            aad: &associated_data(self.revision, &self.app_id),
        };
        cipher(&shared, public, &recipient, &self.app_id)?
            .decrypt(&(*iv).into(), payload)
            .map(Zeroizing::new)
            .map_err(|_| EnvError::Broken)
    }
}

fn associated_data(revision: u64, app_id: &AppId) -> Vec<u8> {
    [
        &MAGIC[..],
        &[VERSION],
        &revision.to_be_bytes(),
        app_id.as_ref(),
    ]
    .concat()
}

fn cipher(
    shared: &SharedSecret,
    ephemeral: &[u8; 32],
    recipient: &[u8; 32],
    app_id: &AppId,
) -> Result<Aes256Gcm, EnvError> {
    if !shared.was_contributory() {
        return Err(EnvError::WeakKey);
    }
    let hkdf = Hkdf::<Sha256>::new(Some(SALT), shared.as_bytes());
    // 32 bytes are far below HKDF's limit of 8160, the only error there is.
    let key =
        Secret::fill(|out| hkdf.expand_multi_info(&[ephemeral, recipient, app_id.as_ref()], out))
            .map_err(|_| EnvError::Broken)?;
    Ok(Aes256Gcm::new(key.expose().into()))
}

fn keccak(parts: &[&[u8]]) -> [u8; 32] {
    parts
        .iter()
        .fold(Keccak256::new(), |hash, part| hash.chain_update(part))
        .finalize()
        .into()
}
