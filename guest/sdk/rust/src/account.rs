//! Ethereum and Solana accounts from an app's keys.
//!
//! An account from a [`KeyAnswer`] is the app's for as long as the KMS's root lives; one
//! from a [`TlsKeyAnswer`] is gone with that key, except in programs that made it from
//! `tappd.sock`.

use std::fmt;

use bylaw_keys::Secret;
use sha2::{Digest, Sha256};
use sha3::Keccak256;
use zeroize::Zeroizing;

use crate::{KeyAnswer, TlsKeyAnswer};

/// An account on Ethereum and its kin.
pub struct EthereumAccount {
    /// Signs; wiped on drop.
    pub key: k256::ecdsa::SigningKey,
    /// `0x` and 40 digits, in the mixed case that is their checksum (EIP-55).
    pub address: String,
}

/// An account on Solana.
pub struct SolanaAccount {
    /// Signs; wiped on drop.
    pub key: ed25519_dalek::SigningKey,
    /// The public key in base58.
    pub address: String,
}

/// Bytes that make no account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// Zero, or not below the order of the curve.
    #[error("the key is not a secp256k1 key")]
    Scalar,
    /// Not a private key in PEM.
    #[error("the TLS key is not PKCS#8 PEM")]
    Pem,
}

/// The Ethereum account whose private key this is.
///
/// # Errors
/// [`AccountError::Scalar`], once in 2^128 keys.
pub fn ethereum(answer: &KeyAnswer) -> Result<EthereumAccount, AccountError> {
    ethereum_of(&answer.key)
}

/// The Solana account whose seed this key is.
pub fn solana(answer: &KeyAnswer) -> SolanaAccount {
    solana_of(&answer.key)
}

/// The Ethereum account of SHA-256 over a TLS key's DER.
///
/// # Errors
/// [`AccountError`].
pub fn ethereum_from_tls_key_secure(
    answer: &TlsKeyAnswer,
) -> Result<EthereumAccount, AccountError> {
    ethereum_of(&hashed(answer)?)
}

/// The Solana account of SHA-256 over a TLS key's DER.
///
/// # Errors
/// [`AccountError`].
pub fn solana_from_tls_key_secure(answer: &TlsKeyAnswer) -> Result<SolanaAccount, AccountError> {
    Ok(solana_of(&hashed(answer)?))
}

/// The Ethereum account that old programs made of a TLS key's first 32 bytes.
///
/// # Errors
/// [`AccountError`].
#[deprecated(
    note = "those bytes are the same for every P-256 key, so everybody has this account's key; \
            only to find what old programs put there"
)]
pub fn ethereum_from_tls_key(answer: &TlsKeyAnswer) -> Result<EthereumAccount, AccountError> {
    ethereum_of(&first_bytes(answer)?)
}

/// The Solana account that old programs made of a TLS key's first 32 bytes.
///
/// # Errors
/// [`AccountError`].
#[deprecated(
    note = "those bytes are the same for every P-256 key, so everybody has this account's key; \
            only to find what old programs put there"
)]
pub fn solana_from_tls_key(answer: &TlsKeyAnswer) -> Result<SolanaAccount, AccountError> {
    Ok(solana_of(&first_bytes(answer)?))
}

fn der(answer: &TlsKeyAnswer) -> Result<Zeroizing<Vec<u8>>, AccountError> {
    let pem = pem::parse(answer.key.as_bytes()).map_err(|_| AccountError::Pem)?;
    Ok(Zeroizing::new(pem.into_contents()))
}

fn hashed(answer: &TlsKeyAnswer) -> Result<Secret, AccountError> {
    let mut digest: [u8; 32] = Sha256::digest(der(answer)?.as_slice()).into();
    Ok(Secret::take(&mut digest))
}

fn first_bytes(answer: &TlsKeyAnswer) -> Result<Secret, AccountError> {
    let der = der(answer)?;
    der.get(..32)
        .and_then(Secret::from_slice)
        .ok_or(AccountError::Pem)
}

fn ethereum_of(secret: &Secret) -> Result<EthereumAccount, AccountError> {
    let key =
        k256::ecdsa::SigningKey::from_slice(secret.expose()).map_err(|_| AccountError::Scalar)?;
    let point = key.verifying_key().to_encoded_point(false);
    let coordinates = point.as_bytes().get(1..).unwrap_or_default();
    let digest: [u8; 32] = Keccak256::digest(coordinates).into();
    let address = checksummed(&digest[12..]);
    Ok(EthereumAccount { key, address })
}

/// EIP-55: a letter is upper-case where the digest of the digits has a high nibble.
fn checksummed(address: &[u8]) -> String {
    let digits = hex::encode(address);
    let digest = hex::encode(Keccak256::digest(&digits));
    let cased = digits.chars().zip(digest.chars()).map(|(digit, nibble)| {
        if nibble >= '8' {
            digit.to_ascii_uppercase()
        } else {
            digit
        }
    });
    "0x".chars().chain(cased).collect()
}

fn solana_of(secret: &Secret) -> SolanaAccount {
    let key = ed25519_dalek::SigningKey::from_bytes(secret.expose());
    let address = bs58::encode(key.verifying_key().as_bytes()).into_string();
    SolanaAccount { key, address }
}

impl fmt::Debug for EthereumAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EthereumAccount({})", self.address)
    }
}

impl fmt::Debug for SolanaAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SolanaAccount({})", self.address)
    }
}
