//! Evidence on the wire: versioned attestations (attestation reference, section 6).
//!
//! Two encodings exist: V0 is SCALE and starts with `0x00`, V1 is a MessagePack
//! map. The reader accepts both and refuses trailing bytes; the writer uses V0
//! unless an event needs V1. Only what both can say is modelled; each encoding's
//! own traps (arrays of integers against `bin`, omitted versions) stay in
//! [`v0`] and [`v1`].

mod get_quote;
mod v0;
mod v1;

use bylaw_types::ReportData;
pub use get_quote::GetQuoteAnswer;

use crate::event_log::{self, EventVersion, RuntimeEvent, TdxEvent};

/// Longest encoding that is read, in bytes.
pub const MAX_LEN: usize = 10 * 1024 * 1024;

/// Evidence, parsed but not yet believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// What the platform signed.
    pub platform: Platform,
    /// What the guest says was measured.
    pub stack: Stack,
}

/// What the platform signed, one variant a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platform {
    /// Intel TDX.
    Tdx {
        /// DCAP quote.
        quote: Vec<u8>,
        /// Boot and runtime events.
        event_log: Vec<TdxEvent>,
    },
    /// Intel TDX on Google Cloud.
    GcpTdx {
        /// DCAP quote.
        quote: Vec<u8>,
        /// Boot and runtime events.
        event_log: Vec<TdxEvent>,
        /// Quote of the vTPM.
        tpm_quote: TpmQuote,
    },
    /// AWS Nitro Enclave.
    NitroEnclave {
        /// COSE_Sign1 document.
        nsm_quote: Vec<u8>,
    },
    /// AMD SEV-SNP.
    SevSnp {
        /// Attestation report, 1184 bytes.
        report: Vec<u8>,
        /// `[ASK, VCEK]`, one auxblob table, or nothing.
        cert_chain: Vec<Vec<u8>>,
        /// MrConfigV3 document.
        mr_config: String,
    },
    /// AWS NitroTPM.
    AwsNitroTpm {
        /// COSE_Sign1 document.
        attestation_doc: Vec<u8>,
    },
}

impl Platform {
    /// The name on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tdx { .. } => "tdx",
            Self::GcpTdx { .. } => "gcp-tdx",
            Self::NitroEnclave { .. } => "nitro-enclave",
            Self::SevSnp { .. } => "sev-snp",
            Self::AwsNitroTpm { .. } => "aws-nitro-tpm",
        }
    }
}

/// A vTPM quote beside a TDX quote.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TpmQuote {
    /// TPMS_ATTEST.
    pub message: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub signature: Vec<u8>,
    /// Register values.
    pub pcr_values: Vec<PcrValue>,
    /// Certificate of the attestation key.
    pub ak_cert: Vec<u8>,
    /// 0 dstack, 1 gcp, 2 nitro, 3 aws-ec2.
    pub platform: u8,
    /// Event log.
    pub event_log: Vec<TpmEvent>,
}

/// One PCR of a [`TpmQuote`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrValue {
    /// PCR number.
    pub index: u32,
    /// Bank.
    pub algorithm: String,
    /// Digest.
    pub value: Vec<u8>,
}

/// One event of a [`TpmQuote`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmEvent {
    /// PCR number.
    pub pcr_index: u32,
    /// Digest.
    pub digest: Vec<u8>,
}

/// What the guest says was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Plain, or a pod with its payload.
    pub kind: StackKind,
    /// What the attester was challenged with; must equal what the platform signed.
    pub report_data: ReportData,
    /// Events extended into the runtime register.
    pub runtime_events: Vec<RuntimeEvent>,
    /// `vm_config` JSON; sometimes a whole sys-config around it ([`Attestation::vm_config`]).
    pub config: String,
}

/// Kinds of stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StackKind {
    /// `dstack`.
    Plain,
    /// `dstack-pod`: report data is the `app-data` form of this payload.
    Pod {
        /// The payload.
        payload: String,
    },
}

/// Evidence that cannot be parsed, or cannot be written in an encoding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Zero bytes.
    #[error("evidence is empty")]
    Empty,
    /// More than [`MAX_LEN`].
    #[error("evidence is {0} bytes; the limit is {MAX_LEN}")]
    TooLong(usize),
    /// The first byte starts neither encoding.
    #[error("evidence starts with byte 0x{0:02x}: neither a V0 (0x00) nor a V1 attestation")]
    UnknownVersion(u8),
    /// Truncated, trailing bytes, or a field of another type.
    #[error("evidence is not a valid {encoding} attestation: {reason}")]
    Malformed {
        /// `V0` or `V1`, or the JSON form.
        encoding: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl Attestation {
    /// Parses either encoding.
    ///
    /// # Errors
    /// [`DecodeError`]; trailing bytes are an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_LEN {
            return Err(DecodeError::TooLong(bytes.len()));
        }
        match bytes.first() {
            None => Err(DecodeError::Empty),
            Some(0x00) => v0::decode(bytes),
            Some(0x80..=0x8f | 0xde | 0xdf) => v1::decode(bytes),
            Some(other) => Err(DecodeError::UnknownVersion(*other)),
        }
    }

    /// Writes V0, or V1 where V0 cannot say everything.
    pub fn encode(&self) -> Vec<u8> {
        v0::encode(self).unwrap_or_else(|| v1::encode(self))
    }

    /// A TDX quote alone, with nothing measured beside it.
    pub fn from_tdx_quote(quote: &[u8], report_data: ReportData) -> Self {
        Self {
            platform: Platform::Tdx {
                quote: quote.to_vec(),
                event_log: vec![],
            },
            stack: Stack {
                kind: StackKind::Plain,
                report_data,
                runtime_events: vec![],
                config: String::new(),
            },
        }
    }

    /// The form certificates carry: of the event log only what a verifier needs.
    #[must_use]
    pub fn stripped(mut self) -> Self {
        match &mut self.platform {
            Platform::Tdx { event_log, .. } => *event_log = event_log::stripped(event_log),
            Platform::GcpTdx { event_log, .. } => {
                event_log.retain(|event| event.imr == event_log::RUNTIME_REGISTER);
            }
            _ => {}
        }
        self
    }

    /// The VM's description of itself: `config`, unwrapped when it is a whole sys-config.
    pub fn vm_config(&self) -> String {
        #[derive(serde::Deserialize)]
        struct SysConfig {
            vm_config: String,
        }
        serde_json::from_str(&self.stack.config).map_or_else(
            |_| self.stack.config.clone(),
            |outer: SysConfig| outer.vm_config,
        )
    }

    fn needs_v1(&self) -> bool {
        matches!(self.stack.kind, StackKind::Pod { .. })
            || self
                .stack
                .runtime_events
                .iter()
                .any(|event| event.version != EventVersion::V1)
    }
}

#[cfg(test)]
mod tests;
