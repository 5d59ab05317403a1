//! Encrypting variables for an app.

use bylaw_keys::{EnvError, Environment, MAX_ENV_FILE, SealedEnv, Secret, encrypt_anonymous};
use bylaw_types::AppId;

/// Why variables were not encrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncryptError {
    /// A name or value that no app would accept, or a public key that protects nothing.
    #[error(transparent)]
    Environment(#[from] EnvError),
    /// More than an app opens.
    #[error("the encrypted environment would be {0} bytes; the limit is {MAX_ENV_FILE}")]
    TooLong(usize),
    /// The signer gave no signature.
    #[error("the signer: {0}")]
    Signer(String),
}

/// Encrypts for the holder of `recipient`'s secret, by the form that says nothing about its
/// sender. Check the public key first: [`crate::verify_env_key`].
///
/// # Errors
/// [`EncryptError`].
pub fn encrypt_env(
    variables: impl IntoIterator<Item = (String, String)>,
    recipient: &[u8; 32],
) -> Result<Vec<u8>, EncryptError> {
    let plaintext = Environment::new(variables)?.to_plaintext();
    bounded(encrypt_anonymous(recipient, &plaintext)?)
}

/// Encrypts for one app, signed with a secp256k1 key whose address the app's manifest
/// names. An app refuses a lower `revision` than it has seen.
///
/// # Errors
/// [`EncryptError`].
pub fn encrypt_env_signed(
    variables: impl IntoIterator<Item = (String, String)>,
    recipient: &[u8; 32],
    app_id: AppId,
    revision: u64,
    signer: &Secret,
) -> Result<Vec<u8>, EncryptError> {
    let sealed = seal(variables, recipient, app_id, revision)?;
    bounded(sealed.sign(signer)?)
}

/// As [`encrypt_env_signed`], signed by a wallet or hardware: `sign` gets the 32-byte
/// EIP-712 digest and returns `r || s || v`, v being 0, 1, 27 or 28.
///
/// # Errors
/// [`EncryptError::Signer`] with the signer's own reason.
pub fn encrypt_env_signed_with<E: std::fmt::Display>(
    variables: impl IntoIterator<Item = (String, String)>,
    recipient: &[u8; 32],
    app_id: AppId,
    revision: u64,
    sign: impl FnOnce(&[u8; 32]) -> Result<[u8; 65], E>,
) -> Result<Vec<u8>, EncryptError> {
    let sealed = seal(variables, recipient, app_id, revision)?;
    let signature =
        sign(&sealed.digest()).map_err(|error| EncryptError::Signer(error.to_string()))?;
    bounded(sealed.with_signature(&signature)?)
}

fn seal(
    variables: impl IntoIterator<Item = (String, String)>,
    recipient: &[u8; 32],
    app_id: AppId,
    revision: u64,
) -> Result<SealedEnv, EncryptError> {
    let environment = Environment::new(variables)?;
    Ok(SealedEnv::seal(&environment, recipient, app_id, revision)?)
}

fn bounded(file: Vec<u8>) -> Result<Vec<u8>, EncryptError> {
    if file.len() > MAX_ENV_FILE {
        return Err(EncryptError::TooLong(file.len()));
    }
    Ok(file)
}
