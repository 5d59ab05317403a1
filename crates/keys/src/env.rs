//! Encrypted environment variables (keys reference, section 7; `docs/environment.md`).
//!
//! Two forms exist: [`anonymous`], which keeps a secret and says nothing about its
//! sender, and [`signed`], which one of the app's signers made for this app, in an
//! order. [`open`] takes a file as the host delivers it and applies the manifest's
//! rules; what comes out is an [`Environment`] of well-formed variables.

mod anonymous;
mod signed;
mod variables;

pub use anonymous::{decrypt_anonymous, encrypt_anonymous, env_public_key};
use bylaw_types::compose::{EncryptedEnvRules, EnvVersion};
use bylaw_types::{AppId, SignerAddress};
pub use signed::SealedEnv;
pub use variables::{Environment, MAX_ENV_VALUE};

use crate::{KeyError, Secret, SignatureError};

/// Longest file that is opened, in bytes.
pub const MAX_ENV_FILE: usize = 256 * 1024;
/// Ephemeral public key, IV and tag.
const SEALED_MIN: usize = 32 + 12 + 16;

/// Why an environment does not open, or cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// More than [`MAX_ENV_FILE`].
    #[error("encrypted environment is {0} bytes; the limit is {MAX_ENV_FILE}")]
    TooLong(usize),
    /// Shorter than what every form begins with.
    #[error("encrypted environment is {0} bytes; too short to be one")]
    TooShort(usize),
    /// A key that forces a known secret.
    #[error("the X25519 public key yields an all-zero shared secret")]
    WeakKey,
    /// Made for another app, or changed.
    #[error("encrypted environment does not open: made for another app, or changed")]
    Broken,
    /// The manifest does not name this form.
    #[error(
        "encrypted environment is of version {0}, which app-compose.json does not accept \
         (encrypted_env.versions)"
    )]
    Version(u8),
    /// The signature is malformed.
    #[error("signature of the encrypted environment: {0}")]
    Signature(#[from] SignatureError),
    /// Somebody else signed it, or it was made for another app.
    #[error(
        "encrypted environment is signed by 0x{0}, not by a signer in app-compose.json \
         (encrypted_env.signers), or it was made for another app"
    )]
    Signer(SignerAddress),
    /// An older file than one that was opened already.
    #[error("encrypted environment has revision {revision}, older than {least}")]
    Stale {
        /// Of the file.
        revision: u64,
        /// Lowest that opens.
        least: u64,
    },
    /// The plaintext is not `{"env":[{"key":…,"value":…}]}`.
    #[error("environment is not {{\"env\":[{{\"key\":…,\"value\":…}}]}}: {0}")]
    Plaintext(String),
    /// A name or value that no shell has.
    #[error("environment variable {name:?}: {reason}")]
    Variable {
        /// Its name, cut to 64 characters.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// No randomness.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// An environment that opened.
#[derive(Debug)]
pub struct OpenedEnv {
    /// Its variables; not yet filtered by the manifest's `allowed_envs`.
    pub environment: Environment,
    /// Who signed it, and its revision; `None` for the anonymous form.
    pub signed: Option<(SignerAddress, u64)>,
}

/// Opens a file as the host delivers it.
///
/// `last_revision` is the highest revision this disk has seen, 0 for none: an older
/// signed file is refused, so that the host cannot go back.
///
/// # Errors
/// [`EnvError`].
pub fn open(
    file: &[u8],
    env_crypt_key: &Secret,
    app_id: &AppId,
    rules: &EncryptedEnvRules,
    last_revision: u64,
) -> Result<OpenedEnv, EnvError> {
    if file.len() > MAX_ENV_FILE {
        return Err(EnvError::TooLong(file.len()));
    }
    let version = if SealedEnv::is_signed(file) {
        EnvVersion::Signed
    } else {
        EnvVersion::Anonymous
    };
    if !rules.accepts(version) {
        return Err(EnvError::Version(version.into()));
    }
    if version == EnvVersion::Anonymous {
        let plaintext = decrypt_anonymous(env_crypt_key, file)?;
        return Ok(OpenedEnv {
            environment: Environment::parse(&plaintext)?,
            signed: None,
        });
    }
    let (envelope, signature) = SealedEnv::parse(file, app_id)?;
    let signer = envelope.signer(signature)?;
    if !rules.signers.contains(&signer) {
        return Err(EnvError::Signer(signer));
    }
    let revision = envelope.revision();
    let least = rules.min_revision.max(last_revision);
    if revision < least {
        return Err(EnvError::Stale { revision, least });
    }
    let plaintext = envelope.decrypt(env_crypt_key)?;
    Ok(OpenedEnv {
        environment: Environment::parse(&plaintext)?,
        signed: Some((signer, revision)),
    })
}

#[cfg(test)]
mod tests;
