//! From evidence to appraisal.
//!
//! [`Attestation`] is evidence: the bytes an attester produced, parsed once into
//! types. A [`Verifier`] turns it into an [`Appraisal`]: what the verifier
//! established, under which trust anchors, at what time. An appraisal is then
//! asked for an identity ([`Appraisal::identify`]), which also proves the OS
//! image.
//!
//! [`sgx`] verifies the sealing enclave of a machine, which is no attester of apps.
//!
//! One module a platform ([`tdx`], [`snp`]); adding a platform adds a module and an arm in
//! [`Verifier::appraise`], nothing else.

mod app_info;
mod appraisal;
pub mod ccel;
pub mod collateral;
mod encoding;
pub mod event_log;
pub mod image;
pub mod mr_config;
pub mod report_data;
pub mod sgx;
pub mod snp;
pub mod tdx;
mod trust;
mod verifier;

pub use app_info::{AppInfo, AppInfoError};
pub use appraisal::{Appraisal, IdentifyError, Mode, Report};
pub use collateral::{Collateral, CollateralError, CollateralSource};
pub use encoding::{Attestation, DecodeError, GetQuoteAnswer, MAX_LEN, Platform, Stack, StackKind};
pub use event_log::{EventVersion, RuntimeEvent, TdxEvent};
pub use trust::{TrustAnchorError, TrustAnchors};
pub use verifier::{AppraisalError, Expect, Verifier};
