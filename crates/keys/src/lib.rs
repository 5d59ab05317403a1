//! The key hierarchy (keys reference): every key a KMS or a guest derives.
//!
//! Pure functions over secret types; nothing here does I/O except asking the
//! operating system for randomness. Start at [`RootMaterial`] (what a KMS holds),
//! which must be bound to trust anchors before it yields anything, or at
//! [`AppKey`] (what an app holds).

mod app;
mod derive;
mod env;
mod root;
mod secret;
mod signature;

pub use app::{Algorithm, AppKey, AppKeyError, DerivedKey, SeedKeys, verify as verify_data};
pub use derive::P256Key;
pub use env::{
    EnvError, Environment, MAX_ENV_FILE, MAX_ENV_VALUE, OpenedEnv, SealedEnv, decrypt_anonymous,
    encrypt_anonymous, env_public_key, open as open_env,
};
pub use root::{AppKeys, RootKeys, RootMaterial};
pub use secret::Secret;
pub use signature::{
    EnvKeySignatureError, SIGNATURE_LEN, SignatureError, recover, verify_app_key, verify_env_key,
    verify_env_key_legacy, verify_key_chain,
};

/// Bytes that are not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Zero, or not below the order of the curve.
    #[error("not a valid {0} scalar")]
    Scalar(&'static str),
    /// Not PKCS#8 of a P-256 key.
    #[error("not a PKCS#8 P-256 private key")]
    Pkcs8,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Randomness,
}
