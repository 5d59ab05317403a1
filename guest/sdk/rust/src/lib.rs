//! For programs inside confidential VMs, and for everybody who talks to them.
//!
//! | You want to | Start at |
//! |---|---|
//! | get keys, certificates, evidence and signatures inside a VM | [`Client`] |
//! | know that evidence is genuine, and of which app | [`Verifier::verify_evidence`] |
//! | know whom you are talking to over TLS | [`tls::connect`], [`Verifier::verify_certificate`] |
//! | know that a key or signature is an app's | [`verify_key`], [`verify_signature`] |
//! | send secrets to an app | [`encrypt_env`], [`encrypt_env_signed`], [`verify_env_key`] |
//! | an Ethereum or Solana account from a key | [`account`] |
//!
//! Verification starts from a [`KmsRoot`], which `chain::fetch_kms_root` (feature `chain`,
//! on by default) reads from the contract that governs the KMS. Every refusal is a [`VerifyError`] whose
//! [`code`](VerifyError::code) names the rule.

pub mod account;
mod answer;
mod appraisal;
mod certificate;
#[cfg(feature = "chain")]
pub mod chain;
mod client;
mod compose;
mod environment;
mod error;
mod event_log;
mod http;
mod key;
pub mod tls;
mod verifier;

pub use answer::{
    Info, KeyAnswer, QuoteAnswer, SignAnswer, TcbInfo, TlsKeyAnswer, TlsKeyOptions, Version,
};
pub use appraisal::Appraisal;
pub use bylaw_attest::collateral::{CollateralSource, Pccs};
pub use bylaw_attest::{Attestation as Evidence, TrustAnchors};
pub use bylaw_keys::SealedEnv;
pub use bylaw_keys::Secret;
pub use bylaw_types::clock::Clock;
pub use bylaw_types::{
    AppId, ComposeHash, DeviceId, InstanceId, KeyProviderInfo, MrAggregated, MrSystem, OsImageHash,
    Register, ReportData, SignerAddress, TcbStatus,
};
pub use certificate::{VerifiedPeer, parse_chain};
pub use client::{Client, ClientBuilder, ClientError};
pub use compose::compose_hash;
pub use environment::{EncryptError, encrypt_env, encrypt_env_signed, encrypt_env_signed_with};
pub use error::VerifyError;
pub use event_log::{EventLogError, replay_rtmrs};
pub use key::{
    KeyAlgorithm, KmsRoot, verify_env_key, verify_env_key_legacy, verify_key, verify_key_answer,
    verify_signature,
};
pub use verifier::{Expect, Measurement, Verifier, report_data_for_tls_key};

/// The README's examples compile.
#[cfg(all(doctest, feature = "chain"))]
#[doc = include_str!("../README.md")]
struct Readme;
