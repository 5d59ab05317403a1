//! The JSON answers of the guest API, as people save them to files.

use bylaw_types::ReportData;
use serde::{Deserialize, Serialize};

use super::{Attestation, DecodeError, Platform, Stack, StackKind};
use crate::event_log;

/// Answer of `GetQuote`, or of `Attest` (only `attestation`). Hex for bytes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct GetQuoteAnswer {
    /// TDX quote, hex.
    #[serde(default)]
    pub quote: String,
    /// Event log, JSON text.
    #[serde(default)]
    pub event_log: String,
    /// 64 bytes, hex.
    #[serde(default)]
    pub report_data: String,
    /// JSON text.
    #[serde(default)]
    pub vm_config: String,
    /// Versioned attestation, hex; wins over the other fields.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub attestation: String,
}

fn malformed(reason: impl Into<String>) -> DecodeError {
    DecodeError::Malformed {
        encoding: "JSON",
        reason: reason.into(),
    }
}

fn decode_hex(name: &str, text: &str) -> Result<Vec<u8>, DecodeError> {
    hex::decode(text.trim().trim_start_matches("0x"))
        .map_err(|error| malformed(format!("`{name}` is not hexadecimal: {error}")))
}

impl TryFrom<GetQuoteAnswer> for Attestation {
    type Error = DecodeError;

    fn try_from(answer: GetQuoteAnswer) -> Result<Self, DecodeError> {
        if !answer.attestation.is_empty() {
            return Self::decode(&decode_hex("attestation", &answer.attestation)?);
        }
        if answer.quote.is_empty() {
            return Err(malformed("it has neither `quote` nor `attestation`"));
        }
        let quote = decode_hex("quote", &answer.quote)?;
        let event_log = match answer.event_log.as_str() {
            "" => vec![],
            text => event_log::from_json(text).map_err(|error| malformed(error.to_string()))?,
        };
        // Without a stated challenge the quote's own counts: it is what was signed.
        let report_data = match answer.report_data.as_str() {
            "" => crate::tdx::report_data(&quote).map_err(|error| malformed(error.to_string()))?,
            text => ReportData::padded(&decode_hex("report_data", text)?)
                .map_err(|error| malformed(error.to_string()))?,
        };
        let runtime_events = event_log
            .iter()
            .filter_map(event_log::TdxEvent::to_runtime_event)
            .collect();
        Ok(Self {
            platform: Platform::Tdx { quote, event_log },
            stack: Stack {
                kind: StackKind::Plain,
                report_data,
                runtime_events,
                config: answer.vm_config,
            },
        })
    }
}
