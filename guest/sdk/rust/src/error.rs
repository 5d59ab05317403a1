//! Why something is not believed.

use bylaw_attest::tdx::QuoteError;
use bylaw_attest::{AppraisalError, DecodeError};
use bylaw_ratls::CertError;
use bylaw_types::TcbStatus;

/// A rule that does not hold. [`VerifyError::code`] is the same in every SDK.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Bytes that do not parse, or a certificate without evidence.
    #[error("evidence or certificate does not parse: {0}")]
    Encoding(String),
    /// Only Intel TDX is verified.
    #[error("evidence of platform {0} is not supported; only tdx is")]
    UnsupportedPlatform(String),
    /// A signature of the quote, its certificates, or what it says of the platform.
    #[error("quote: {0}")]
    Quote(String),
    /// What the vendor says of the platform is missing, out of date, or not the vendor's.
    #[error("collateral: {0}")]
    Collateral(String),
    /// The platform is not as current as it must be.
    #[error("TCB status is {actual}; allowed are {allowed:?} (advisories: {advisories:?})")]
    TcbStatus {
        /// By the vendor's word.
        actual: String,
        /// What was expected.
        allowed: Vec<TcbStatus>,
        /// That apply.
        advisories: Vec<String>,
    },
    /// The host can read the TD's memory.
    #[error("the TD runs in debug mode; its host can read its memory")]
    Debug,
    /// Made for another key or challenge, or it was not said for which.
    #[error("report data: {0}")]
    ReportData(String),
    /// The events are not those that were measured.
    #[error("event log: {0}")]
    EventLog(String),
    /// Another app.
    #[error("app id is {actual}, expected {expected}")]
    AppId {
        /// What was expected.
        expected: String,
        /// What was measured.
        actual: String,
    },
    /// Another manifest.
    #[error("compose hash is {actual}, expected {expected}")]
    ComposeHash {
        /// What was expected.
        expected: String,
        /// What was measured.
        actual: String,
    },
    /// Another machine.
    #[error("device id {0} is not among those expected")]
    DeviceId(String),
    /// Another firmware, kernel or shape of VM.
    #[error("MRTD and RTMR0 to RTMR2 ({0}) match none of those expected")]
    Measurement(String),
    /// The VM's keys come from elsewhere.
    #[error("key provider is {actual}, expected the KMS whose root CA has key {expected}")]
    KeyProvider {
        /// Hex SubjectPublicKeyInfo.
        expected: String,
        /// What was measured.
        actual: String,
    },
    /// The certificates do not lead to the KMS's root CA.
    #[error("certificate chain: {0}")]
    Chain(String),
    /// What should be the KMS's root keys.
    #[error("KMS root: {0}")]
    Root(String),
    /// A key's signature chain.
    #[error("key's signature chain: {0}")]
    KeyChain(String),
    /// A signature over data.
    #[error("signature: {0}")]
    Signature(String),
    /// A signed env encryption key.
    #[error("env encryption key: {0}")]
    EnvKey(String),
}

impl VerifyError {
    /// The rule, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Encoding(_) => "encoding",
            Self::UnsupportedPlatform(_) => "unsupported_platform",
            Self::Quote(_) => "quote",
            Self::Collateral(_) => "collateral",
            Self::TcbStatus { .. } => "tcb_status",
            Self::Debug => "debug",
            Self::ReportData(_) => "report_data_mismatch",
            Self::EventLog(_) => "event_log",
            Self::AppId { .. } => "app_id",
            Self::ComposeHash { .. } => "compose_hash",
            Self::DeviceId(_) => "device_id",
            Self::Measurement(_) => "measurement",
            Self::KeyProvider { .. } => "key_provider",
            Self::Chain(_) => "chain",
            Self::Root(_) => "root",
            Self::KeyChain(_) => "key_chain",
            Self::Signature(_) => "signature",
            Self::EnvKey(_) => "env_key",
        }
    }
}

impl From<DecodeError> for VerifyError {
    fn from(error: DecodeError) -> Self {
        Self::Encoding(error.to_string())
    }
}

impl From<CertError> for VerifyError {
    fn from(error: CertError) -> Self {
        Self::Encoding(error.to_string())
    }
}

impl From<AppraisalError> for VerifyError {
    fn from(error: AppraisalError) -> Self {
        let text = error.to_string();
        match error {
            AppraisalError::Quote(error) => error.into(),
            AppraisalError::CollateralMissing(_) => Self::Collateral(text),
            AppraisalError::UnsupportedPlatform(name) => Self::UnsupportedPlatform(name.to_owned()),
            AppraisalError::Snp(_)
            | AppraisalError::HostData { .. }
            | AppraisalError::Document(_) => Self::UnsupportedPlatform("sev-snp".to_owned()),
            AppraisalError::ReportData { .. } => Self::ReportData(text),
            AppraisalError::EventLog { .. }
            | AppraisalError::EventName(_)
            | AppraisalError::TooManyEvents(_) => Self::EventLog(text),
        }
    }
}

impl From<QuoteError> for VerifyError {
    fn from(error: QuoteError) -> Self {
        let text = error.to_string();
        match error {
            QuoteError::Debug => Self::Debug,
            QuoteError::Collateral(_) => Self::Collateral(text),
            QuoteError::Revoked(_) => Self::TcbStatus {
                actual: text,
                allowed: vec![],
                advisories: vec![],
            },
            QuoteError::Malformed(_)
            | QuoteError::Signature(_)
            | QuoteError::Chain(_)
            | QuoteError::Attributes(_)
            | QuoteError::ForeignModule
            | QuoteError::Refused(_) => Self::Quote(text),
        }
    }
}
