//! V0: SCALE.

#![expect(
    clippy::cast_possible_truncation,
    reason = "in code that the codec derives"
)]

use parity_scale_codec::{Decode, DecodeAll, Encode};

use super::{Attestation, DecodeError, PcrValue, Platform, Stack, StackKind, TpmEvent, TpmQuote};
use crate::event_log::{EventVersion, RuntimeEvent, TdxEvent};

#[derive(Encode, Decode)]
enum Versioned {
    #[codec(index = 0)]
    V0(Body),
}

#[derive(Encode, Decode)]
struct Body {
    quote: Quote,
    runtime_events: Vec<Event>,
    report_data: [u8; 64],
    config: String,
}

#[derive(Encode, Decode)]
enum Quote {
    #[codec(index = 0)]
    Tdx(Vec<u8>, Vec<LogEntry>),
    #[codec(index = 1)]
    GcpTdx(Vec<u8>, Vec<LogEntry>, Tpm),
    #[codec(index = 2)]
    NitroEnclave(Vec<u8>),
    #[codec(index = 3)]
    SevSnp(Vec<u8>, Vec<Vec<u8>>, String),
    #[codec(index = 4)]
    AwsNitroTpm(Vec<u8>),
}

#[derive(Encode, Decode)]
struct LogEntry {
    imr: u32,
    event_type: u32,
    digest: Vec<u8>,
    event: String,
    payload: Vec<u8>,
}

#[derive(Encode, Decode)]
struct Event {
    event: String,
    payload: Vec<u8>,
}

#[derive(Encode, Decode)]
struct Tpm {
    message: Vec<u8>,
    signature: Vec<u8>,
    pcr_values: Vec<(u32, String, Vec<u8>)>,
    ak_cert: Vec<u8>,
    platform: u8,
    event_log: Vec<(u32, Vec<u8>)>,
}

pub(super) fn decode(mut bytes: &[u8]) -> Result<Attestation, DecodeError> {
    let Versioned::V0(body) =
        Versioned::decode_all(&mut bytes).map_err(|error| DecodeError::Malformed {
            encoding: "V0",
            reason: error.to_string(),
        })?;
    Ok(Attestation {
        platform: match body.quote {
            Quote::Tdx(quote, log) => Platform::Tdx {
                quote,
                event_log: read_log(log),
            },
            Quote::GcpTdx(quote, log, tpm) => Platform::GcpTdx {
                quote,
                event_log: read_log(log),
                tpm_quote: tpm.into(),
            },
            Quote::NitroEnclave(nsm_quote) => Platform::NitroEnclave { nsm_quote },
            Quote::SevSnp(report, cert_chain, mr_config) => Platform::SevSnp {
                report,
                cert_chain,
                mr_config,
            },
            Quote::AwsNitroTpm(attestation_doc) => Platform::AwsNitroTpm { attestation_doc },
        },
        stack: Stack {
            kind: StackKind::Plain,
            report_data: body.report_data.into(),
            runtime_events: body
                .runtime_events
                .into_iter()
                .map(|event| RuntimeEvent {
                    event: event.event,
                    payload: event.payload,
                    version: EventVersion::V1,
                })
                .collect(),
            config: body.config,
        },
    })
}

/// `None` when V0 would lose something.
pub(super) fn encode(attestation: &Attestation) -> Option<Vec<u8>> {
    if attestation.needs_v1() {
        return None;
    }
    let quote = match attestation.platform.clone() {
        Platform::Tdx { quote, event_log } => Quote::Tdx(quote, write_log(event_log)),
        Platform::GcpTdx {
            quote,
            event_log,
            tpm_quote,
        } => Quote::GcpTdx(quote, write_log(event_log), tpm_quote.into()),
        Platform::NitroEnclave { nsm_quote } => Quote::NitroEnclave(nsm_quote),
        Platform::SevSnp {
            report,
            cert_chain,
            mr_config,
        } => Quote::SevSnp(report, cert_chain, mr_config),
        Platform::AwsNitroTpm { attestation_doc } => Quote::AwsNitroTpm(attestation_doc),
    };
    let stack = &attestation.stack;
    let body = Body {
        quote,
        runtime_events: stack
            .runtime_events
            .iter()
            .map(|event| Event {
                event: event.event.clone(),
                payload: event.payload.clone(),
            })
            .collect(),
        report_data: stack.report_data.to_bytes(),
        config: stack.config.clone(),
    };
    Some(Versioned::V0(body).encode())
}

fn read_log(log: Vec<LogEntry>) -> Vec<TdxEvent> {
    log.into_iter()
        .map(|entry| TdxEvent {
            imr: entry.imr,
            event_type: entry.event_type,
            digest: entry.digest,
            event: entry.event,
            event_payload: entry.payload,
            version: EventVersion::V1,
            preimage: None,
        })
        .collect()
}

fn write_log(log: Vec<TdxEvent>) -> Vec<LogEntry> {
    log.into_iter()
        .map(|event| LogEntry {
            imr: event.imr,
            event_type: event.event_type,
            digest: event.digest,
            event: event.event,
            payload: event.event_payload,
        })
        .collect()
}

impl From<Tpm> for TpmQuote {
    fn from(tpm: Tpm) -> Self {
        Self {
            message: tpm.message,
            signature: tpm.signature,
            pcr_values: tpm
                .pcr_values
                .into_iter()
                .map(|(index, algorithm, value)| PcrValue {
                    index,
                    algorithm,
                    value,
                })
                .collect(),
            ak_cert: tpm.ak_cert,
            platform: tpm.platform,
            event_log: tpm
                .event_log
                .into_iter()
                .map(|(pcr_index, digest)| TpmEvent { pcr_index, digest })
                .collect(),
        }
    }
}

impl From<TpmQuote> for Tpm {
    fn from(tpm: TpmQuote) -> Self {
        Self {
            message: tpm.message,
            signature: tpm.signature,
            pcr_values: tpm
                .pcr_values
                .into_iter()
                .map(|pcr| (pcr.index, pcr.algorithm, pcr.value))
                .collect(),
            ak_cert: tpm.ak_cert,
            platform: tpm.platform,
            event_log: tpm
                .event_log
                .into_iter()
                .map(|event| (event.pcr_index, event.digest))
                .collect(),
        }
    }
}
