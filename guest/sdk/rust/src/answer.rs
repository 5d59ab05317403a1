//! What the agent answers. Keys do not print; call [`Secret::expose`] to use one.

use std::fmt;

use bylaw_attest::event_log::{self, TdxEvent};
use bylaw_attest::{DecodeError, GetQuoteAnswer};
use bylaw_keys::Secret;
use bylaw_types::{AppId, ComposeHash, DeviceId, InstanceId, KeyProviderInfo, Register};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::Evidence;

fn bytes<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<u8>, D::Error> {
    let text = Zeroizing::new(String::deserialize(input)?);
    hex::decode(text.as_str()).map_err(|_| D::Error::custom("not hexadecimal"))
}

fn list<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<Vec<u8>>, D::Error> {
    Vec::<String>::deserialize(input)?
        .iter()
        .map(|text| hex::decode(text).map_err(|_| D::Error::custom("not hexadecimal")))
        .collect()
}

fn secret<'de, D: Deserializer<'de>>(input: D) -> Result<Secret, D::Error> {
    let bytes = Zeroizing::new(bytes(input)?);
    Secret::from_slice(&bytes).ok_or_else(|| D::Error::custom("not 32 bytes"))
}

fn hidden<'de, D: Deserializer<'de>>(input: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(input).map(Zeroizing::new)
}

/// A derived key.
#[derive(Debug, Deserialize)]
pub struct KeyAnswer {
    /// secp256k1 scalar or ed25519 seed.
    #[serde(deserialize_with = "secret")]
    pub key: Secret,
    /// By the app's key, and by the KMS root (empty without a KMS).
    #[serde(deserialize_with = "list")]
    pub signature_chain: Vec<Vec<u8>>,
}

/// What a TLS certificate should say.
#[derive(Debug, Clone, Serialize)]
pub struct TlsKeyOptions {
    /// Common name.
    pub subject: String,
    /// DNS names or IP addresses.
    pub alt_names: Vec<String>,
    /// Put evidence for the key into the certificate.
    pub usage_ra_tls: bool,
    /// For servers; on unless said otherwise.
    pub usage_server_auth: bool,
    /// For clients.
    pub usage_client_auth: bool,
    /// Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<u64>,
    /// Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<u64>,
    /// Put the app's identity into the certificate.
    pub with_app_info: bool,
}

impl Default for TlsKeyOptions {
    fn default() -> Self {
        Self {
            subject: String::new(),
            alt_names: vec![],
            usage_ra_tls: false,
            usage_server_auth: true,
            usage_client_auth: false,
            not_before: None,
            not_after: None,
            with_app_info: false,
        }
    }
}

/// A TLS key with its certificates.
#[derive(Deserialize)]
pub struct TlsKeyAnswer {
    /// PKCS#8 PEM.
    #[serde(deserialize_with = "hidden")]
    pub key: Zeroizing<String>,
    /// PEM, leaf first.
    pub certificate_chain: Vec<String>,
}

impl fmt::Debug for TlsKeyAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsKeyAnswer")
            .field("certificate_chain", &self.certificate_chain)
            .finish_non_exhaustive()
    }
}

/// A quote with what is needed to understand it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct QuoteAnswer {
    /// TDX quote; empty on other platforms.
    #[serde(deserialize_with = "bytes")]
    pub quote: Vec<u8>,
    /// JSON text.
    pub event_log: String,
    /// What was quoted, 64 bytes.
    #[serde(default, deserialize_with = "bytes")]
    pub report_data: Vec<u8>,
    /// JSON text: the VM's description of itself.
    #[serde(default)]
    pub vm_config: String,
    /// Versioned evidence; empty where the quote says everything.
    #[serde(default, deserialize_with = "bytes")]
    pub attestation: Vec<u8>,
}

impl QuoteAnswer {
    /// The answer as evidence that a [`crate::Verifier`] takes.
    ///
    /// # Errors
    /// [`DecodeError`] when a part of it does not parse.
    pub fn evidence(&self) -> Result<Evidence, DecodeError> {
        Evidence::try_from(GetQuoteAnswer {
            quote: hex::encode(&self.quote),
            event_log: self.event_log.clone(),
            report_data: hex::encode(&self.report_data),
            vm_config: self.vm_config.clone(),
            attestation: hex::encode(&self.attestation),
        })
    }
}

#[derive(Deserialize)]
pub(crate) struct Attested {
    #[serde(deserialize_with = "bytes")]
    pub(crate) attestation: Vec<u8>,
}

#[derive(Deserialize)]
pub(crate) struct GpuInfo {
    pub(crate) attestation: String,
}

#[derive(Deserialize)]
pub(crate) struct Valid {
    pub(crate) valid: bool,
}

/// A signature and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SignAnswer {
    /// 64 bytes.
    #[serde(deserialize_with = "bytes")]
    pub signature: Vec<u8>,
    /// The signature, by the app's key, by the KMS root.
    #[serde(deserialize_with = "list")]
    pub signature_chain: Vec<Vec<u8>>,
    /// 32 bytes (ed25519) or 33 bytes (secp256k1).
    #[serde(deserialize_with = "bytes")]
    pub public_key: Vec<u8>,
}

/// Version of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Version {
    /// Of the program.
    pub version: String,
    /// Of its source.
    #[serde(default)]
    pub rev: String,
}

/// Who an app is, as its agent says.
#[derive(Debug, Clone)]
pub struct Info {
    /// The app.
    pub app_id: AppId,
    /// The instance, where the app has them.
    pub instance_id: Option<InstanceId>,
    /// A certificate chain with evidence, PEM.
    pub app_cert: String,
    /// Measurements and event log; `None` where the app keeps them to itself.
    pub tcb_info: Option<TcbInfo>,
    /// From the manifest.
    pub app_name: String,
    /// The machine.
    pub device_id: DeviceId,
    /// Over every register, 32 bytes; empty from older agents.
    pub mr_aggregated: Vec<u8>,
    /// The OS image, 32 bytes; empty from older agents.
    pub os_image_hash: Vec<u8>,
    /// Who gave the app its keys; `None` where the agent does not say.
    pub key_provider: Option<KeyProviderInfo>,
    /// The manifest.
    pub compose_hash: ComposeHash,
    /// JSON text: the VM's description of itself.
    pub vm_config: String,
    /// As the firmware names it.
    pub cloud_vendor: String,
    /// As the firmware names it.
    pub cloud_product: String,
}

/// Registers, events and manifest of this VM.
#[derive(Debug, Clone)]
pub struct TcbInfo {
    /// Measurement of the initial contents; `None` off TDX, as are the RTMRs.
    pub mrtd: Option<Register>,
    /// Runtime registers 0 to 3.
    pub rtmr: [Option<Register>; 4],
    /// Everything measured.
    pub event_log: Vec<TdxEvent>,
    /// The manifest's exact text; its SHA-256 is the compose hash.
    pub app_compose: String,
}

#[derive(Deserialize)]
pub(crate) struct InfoWire {
    app_id: AppId,
    instance_id: String,
    app_cert: String,
    tcb_info: Value,
    app_name: String,
    device_id: DeviceId,
    #[serde(default, deserialize_with = "bytes")]
    mr_aggregated: Vec<u8>,
    #[serde(default, deserialize_with = "bytes")]
    os_image_hash: Vec<u8>,
    key_provider_info: String,
    compose_hash: ComposeHash,
    #[serde(default)]
    vm_config: String,
    #[serde(default)]
    cloud_vendor: String,
    #[serde(default)]
    cloud_product: String,
}

#[derive(Deserialize)]
struct TcbInfoWire {
    mrtd: Option<Register>,
    rtmr0: Option<Register>,
    rtmr1: Option<Register>,
    rtmr2: Option<Register>,
    rtmr3: Option<Register>,
    event_log: Value,
    app_compose: String,
}

impl TryFrom<InfoWire> for Info {
    type Error = String;

    fn try_from(wire: InfoWire) -> Result<Self, String> {
        let instance_id = match wire.instance_id.as_str() {
            "" => None,
            text => Some(
                text.parse()
                    .map_err(|error| format!("instance_id: {error}"))?,
            ),
        };
        let key_provider = match wire.key_provider_info.as_str() {
            "" => None,
            text => {
                Some(key_provider(text).map_err(|error| format!("key_provider_info: {error}"))?)
            }
        };
        Ok(Self {
            app_id: wire.app_id,
            instance_id,
            app_cert: wire.app_cert,
            tcb_info: TcbInfo::parse(wire.tcb_info)
                .map_err(|error| format!("tcb_info: {error}"))?,
            app_name: wire.app_name,
            device_id: wire.device_id,
            mr_aggregated: wire.mr_aggregated,
            os_image_hash: wire.os_image_hash,
            key_provider,
            compose_hash: wire.compose_hash,
            vm_config: wire.vm_config,
            cloud_vendor: wire.cloud_vendor,
            cloud_product: wire.cloud_product,
        })
    }
}

/// Unlike the measured form, this one may say more than name and id.
fn key_provider(text: &str) -> Result<KeyProviderInfo, serde_json::Error> {
    #[derive(Deserialize)]
    struct Wire {
        name: String,
        id: String,
    }
    serde_json::from_str::<Wire>(text).map(|wire| KeyProviderInfo {
        name: wire.name,
        id: wire.id,
    })
}

impl TcbInfo {
    /// From JSON text, as agents send it, or the object itself; `None` for empty text.
    fn parse(value: Value) -> Result<Option<Self>, String> {
        let value = match value {
            Value::String(text) if text.is_empty() => return Ok(None),
            Value::Null => return Ok(None),
            Value::String(text) => {
                serde_json::from_str(&text).map_err(|error| error.to_string())?
            }
            value => value,
        };
        let wire: TcbInfoWire = serde_json::from_value(value).map_err(|error| error.to_string())?;
        Ok(Some(Self {
            mrtd: wire.mrtd,
            rtmr: [wire.rtmr0, wire.rtmr1, wire.rtmr2, wire.rtmr3],
            event_log: event_log::from_json(&wire.event_log.to_string())
                .map_err(|error| error.to_string())?,
            app_compose: wire.app_compose,
        }))
    }
}
