//! V1: a MessagePack map with named fields.
//!
//! The trap of this encoding: `quote`, `report`, `report_data` and their like are
//! arrays of integers (serde's default for bytes), while digests and payloads of
//! events and all TPM fields are `bin`.

use bylaw_types::ReportData;
use serde::{Deserialize, Serialize};

use super::{Attestation, DecodeError, PcrValue, Platform, Stack, StackKind, TpmEvent, TpmQuote};
use crate::event_log::{RuntimeEvent, TdxEvent};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    version: u32,
    platform: PlatformForm,
    stack: StackForm,
}

#[derive(Serialize, Deserialize)]
#[serde(
    tag = "kind",
    content = "data",
    rename_all = "kebab-case",
    deny_unknown_fields
)]
enum PlatformForm {
    Tdx {
        quote: Vec<u8>,
        event_log: Vec<TdxEvent>,
    },
    GcpTdx {
        quote: Vec<u8>,
        event_log: Vec<TdxEvent>,
        tpm_quote: TpmForm,
    },
    NitroEnclave {
        nsm_quote: Vec<u8>,
    },
    SevSnp {
        report: Vec<u8>,
        cert_chain: Vec<Vec<u8>>,
        mr_config: String,
    },
    AwsNitroTpm {
        attestation_doc: Vec<u8>,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", content = "data", deny_unknown_fields)]
enum StackForm {
    #[serde(rename = "dstack")]
    Plain {
        report_data: Vec<u8>,
        runtime_events: Vec<RuntimeEvent>,
        config: String,
    },
    #[serde(rename = "dstack-pod")]
    Pod {
        report_data: Vec<u8>,
        runtime_events: Vec<RuntimeEvent>,
        config: String,
        report_data_payload: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TpmForm {
    #[serde(with = "serde_bytes")]
    message: Vec<u8>,
    #[serde(with = "serde_bytes")]
    signature: Vec<u8>,
    pcr_values: Vec<PcrForm>,
    #[serde(with = "serde_bytes")]
    ak_cert: Vec<u8>,
    platform: u8,
    event_log: Vec<TpmEventForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PcrForm {
    index: u32,
    algorithm: String,
    #[serde(with = "serde_bytes")]
    value: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TpmEventForm {
    pcr_index: u32,
    #[serde(with = "serde_bytes")]
    digest: Vec<u8>,
}

fn malformed(reason: impl Into<String>) -> DecodeError {
    DecodeError::Malformed {
        encoding: "V1",
        reason: reason.into(),
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<Attestation, DecodeError> {
    let mut rest = bytes;
    let mut reader = rmp_serde::Deserializer::new(&mut rest);
    let envelope =
        Envelope::deserialize(&mut reader).map_err(|error| malformed(error.to_string()))?;
    drop(reader);
    if !rest.is_empty() {
        return Err(malformed(format!("{} bytes follow it", rest.len())));
    }
    if envelope.version != 1 {
        return Err(malformed(format!("version is {}, not 1", envelope.version)));
    }
    let (kind, report_data, runtime_events, config) = match envelope.stack {
        StackForm::Plain {
            report_data,
            runtime_events,
            config,
        } => (StackKind::Plain, report_data, runtime_events, config),
        StackForm::Pod {
            report_data,
            runtime_events,
            config,
            report_data_payload,
        } => {
            let kind = StackKind::Pod {
                payload: report_data_payload,
            };
            (kind, report_data, runtime_events, config)
        }
    };
    let report_data = ReportData::try_from(report_data.as_slice())
        .map_err(|error| malformed(error.to_string()))?;
    Ok(Attestation {
        platform: envelope.platform.into(),
        stack: Stack {
            kind,
            report_data,
            runtime_events,
            config,
        },
    })
}

pub(super) fn encode(attestation: &Attestation) -> Vec<u8> {
    let stack = attestation.stack.clone();
    let report_data = stack.report_data.as_bytes().to_vec();
    let envelope = Envelope {
        version: 1,
        platform: attestation.platform.clone().into(),
        stack: match stack.kind {
            StackKind::Plain => StackForm::Plain {
                report_data,
                runtime_events: stack.runtime_events,
                config: stack.config,
            },
            StackKind::Pod { payload } => StackForm::Pod {
                report_data,
                runtime_events: stack.runtime_events,
                config: stack.config,
                report_data_payload: payload,
            },
        },
    };
    // Writing plain data to memory cannot fail.
    rmp_serde::to_vec_named(&envelope).unwrap_or_default()
}

impl From<PlatformForm> for Platform {
    fn from(form: PlatformForm) -> Self {
        match form {
            PlatformForm::Tdx { quote, event_log } => Self::Tdx { quote, event_log },
            PlatformForm::GcpTdx {
                quote,
                event_log,
                tpm_quote,
            } => Self::GcpTdx {
                quote,
                event_log,
                tpm_quote: tpm_quote.into(),
            },
            PlatformForm::NitroEnclave { nsm_quote } => Self::NitroEnclave { nsm_quote },
            PlatformForm::SevSnp {
                report,
                cert_chain,
                mr_config,
            } => Self::SevSnp {
                report,
                cert_chain,
                mr_config,
            },
            PlatformForm::AwsNitroTpm { attestation_doc } => Self::AwsNitroTpm { attestation_doc },
        }
    }
}

impl From<Platform> for PlatformForm {
    fn from(platform: Platform) -> Self {
        match platform {
            Platform::Tdx { quote, event_log } => Self::Tdx { quote, event_log },
            Platform::GcpTdx {
                quote,
                event_log,
                tpm_quote,
            } => Self::GcpTdx {
                quote,
                event_log,
                tpm_quote: tpm_quote.into(),
            },
            Platform::NitroEnclave { nsm_quote } => Self::NitroEnclave { nsm_quote },
            Platform::SevSnp {
                report,
                cert_chain,
                mr_config,
            } => Self::SevSnp {
                report,
                cert_chain,
                mr_config,
            },
            Platform::AwsNitroTpm { attestation_doc } => Self::AwsNitroTpm { attestation_doc },
        }
    }
}

impl From<TpmForm> for TpmQuote {
    fn from(form: TpmForm) -> Self {
        let pcr = |pcr: PcrForm| PcrValue {
            index: pcr.index,
            algorithm: pcr.algorithm,
            value: pcr.value,
        };
        Self {
            message: form.message,
            signature: form.signature,
            pcr_values: form.pcr_values.into_iter().map(pcr).collect(),
            ak_cert: form.ak_cert,
            platform: form.platform,
            event_log: form
                .event_log
                .into_iter()
                .map(|event| TpmEvent {
                    pcr_index: event.pcr_index,
                    digest: event.digest,
                })
                .collect(),
        }
    }
}

impl From<TpmQuote> for TpmForm {
    fn from(quote: TpmQuote) -> Self {
        let pcr = |pcr: PcrValue| PcrForm {
            index: pcr.index,
            algorithm: pcr.algorithm,
            value: pcr.value,
        };
        Self {
            message: quote.message,
            signature: quote.signature,
            pcr_values: quote.pcr_values.into_iter().map(pcr).collect(),
            ak_cert: quote.ak_cert,
            platform: quote.platform,
            event_log: quote
                .event_log
                .into_iter()
                .map(|event| TpmEventForm {
                    pcr_index: event.pcr_index,
                    digest: event.digest,
                })
                .collect(),
        }
    }
}
