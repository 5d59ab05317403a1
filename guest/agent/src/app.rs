//! What the app API answers: state of one app in one VM.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bylaw_attest::event_log;
use bylaw_attest::{Attestation, Platform, RuntimeEvent};
use bylaw_attester::Attester;
use bylaw_keys::Algorithm;
use bylaw_ratls::csr::CertConfig;
use bylaw_rpc::RpcError;
use bylaw_rpc::message::guest::{AppInfo, GetQuoteResponse};
use bylaw_types::clock::Clock;
use bylaw_types::{
    AppCompose, BootInfo, KeyProviderInfo, MrAggregated, ReportData, TrustAnchorSet,
};
use serde_json::json;

use crate::cache::{KeyCache, Recent};
use crate::certs::{Signer, TlsKey, fresh_key};

/// How long an identity is answered from memory. Whatever extends a register through
/// this agent is seen at once, anything else after this time.
const IDENTITY_FOR: Duration = Duration::from_secs(1);
/// How long evidence that anybody may ask for is answered from memory.
const PUBLIC_EVIDENCE_FOR: Duration = Duration::from_secs(10);
/// Longest payload of an app's event, in bytes.
const MAX_PAYLOAD: usize = 64 * 1024;
/// All payloads together: evidence beyond verifiers' limits would be worth nothing.
const MAX_PAYLOADS: usize = 4 * 1024 * 1024;

/// A running app.
#[derive(Debug)]
pub struct App {
    pub(crate) attester: Arc<dyn Attester>,
    pub(crate) compose: AppCompose,
    pub(crate) keys: KeyCache,
    /// Empty without a KMS.
    pub(crate) k256_signature: Vec<u8>,
    pub(crate) signer: Signer,
    pub(crate) boot_info: BootInfo,
    pub(crate) provider: KeyProviderInfo,
    pub(crate) anchors: TrustAnchorSet,
    pub(crate) clock: Clock,
    /// Obtained before the API is served.
    pub(crate) app_cert: String,
    pub(crate) gpu_attestation: PathBuf,
    pub(crate) caches: Caches,
    pub(crate) events: EventBudget,
}

/// What is answered from memory.
#[derive(Debug)]
pub(crate) struct Caches {
    identity: Recent<(AppInfo, Attestation)>,
    signing_key: [Recent<GetQuoteResponse>; 2],
}

impl Default for Caches {
    fn default() -> Self {
        Self {
            identity: Recent::new(IDENTITY_FOR),
            signing_key: std::array::from_fn(|_| Recent::new(PUBLIC_EVIDENCE_FOR)),
        }
    }
}

/// How many events, and bytes of payload, the log already holds.
#[derive(Debug, Default)]
pub(crate) struct EventBudget {
    count: AtomicUsize,
    bytes: AtomicUsize,
}

impl EventBudget {
    pub(crate) fn of(events: &[RuntimeEvent]) -> Self {
        Self {
            count: AtomicUsize::new(events.len()),
            bytes: AtomicUsize::new(events.iter().map(|event| event.payload.len()).sum()),
        }
    }

    /// Takes room for one more.
    fn take(&self, payload: usize) -> Result<(), RpcError> {
        let full = |what| RpcError::new("event_log_full", format!("the event log is full: {what}"));
        if payload > MAX_PAYLOAD {
            return Err(RpcError::bad_request(format!(
                "event payload is {payload} bytes; the limit is {MAX_PAYLOAD}"
            )));
        }
        let take = |slot: &AtomicUsize, amount: usize, most: usize| {
            slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(amount).filter(|used| *used <= most)
            })
        };
        take(&self.count, 1, event_log::MAX_EVENTS)
            .map_err(|_| full(format!("{} events", event_log::MAX_EVENTS)))?;
        take(&self.bytes, payload, MAX_PAYLOADS)
            .map_err(|_| full(format!("{MAX_PAYLOADS} bytes of payload")))?;
        Ok(())
    }
}

fn failed(error: impl std::fmt::Display) -> RpcError {
    RpcError::new("tee", error)
}

/// Report data as the API takes it: up to 64 bytes, zero-padded.
pub(crate) fn padded(report_data: &[u8]) -> Result<ReportData, RpcError> {
    ReportData::padded(report_data).map_err(|_| RpcError::bad_request("Report data is too long"))
}

impl App {
    /// A fresh TLS key with a certificate.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn tls_key(&self, config: CertConfig) -> Result<TlsKey, RpcError> {
        self.certify(&fresh_key()?, config).await
    }

    pub(crate) async fn certify(
        &self,
        key: &bylaw_keys::P256Key,
        config: CertConfig,
    ) -> Result<TlsKey, RpcError> {
        self.signer
            .certify(key, config, &*self.attester, self.clock.now_unix())
            .await
    }

    /// Evidence for these bytes.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn attest(&self, report_data: &ReportData) -> Result<Attestation, RpcError> {
        self.attester.attest(report_data).await.map_err(failed)
    }

    /// Evidence in the form of `GetQuote`.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn quote(&self, report_data: &ReportData) -> Result<GetQuoteResponse, RpcError> {
        Ok(as_get_quote(&self.attest(report_data).await?, report_data))
    }

    /// Evidence for the key that `Sign` signs with; anybody may ask for it.
    ///
    /// # Errors
    /// [`RpcError`].
    pub(crate) async fn signing_key_evidence(
        &self,
        algorithm: Algorithm,
    ) -> Result<Arc<GetQuoteResponse>, RpcError> {
        let [secp256k1, ed25519] = &self.caches.signing_key;
        let cache = match algorithm {
            Algorithm::Ed25519 => ed25519,
            Algorithm::Secp256k1 | Algorithm::Secp256k1Prehashed => secp256k1,
        };
        let report_data = self
            .keys
            .app_key()
            .signing_key_report_data(algorithm)
            .map_err(RpcError::bad_request)?;
        cache.get(self.quote(&report_data)).await
    }

    /// Who this app is.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn info(&self) -> Result<AppInfo, RpcError> {
        Ok(self.identity().await?.0.clone())
    }

    /// Who this app is, and the evidence that says so.
    pub(crate) async fn identity(&self) -> Result<Arc<(AppInfo, Attestation)>, RpcError> {
        self.caches.identity.get(self.make_identity()).await
    }

    async fn make_identity(&self) -> Result<(AppInfo, Attestation), RpcError> {
        let evidence = self.attest(&ReportData::new([0; 64])).await?;
        let who = &self.boot_info;
        let mr_aggregated = self.mr_aggregated(&evidence)?;
        let dmi = |name: &str| {
            std::fs::read_to_string(format!("/sys/class/dmi/id/{name}"))
                .map(|text| text.trim().to_owned())
                .unwrap_or_default()
        };
        let info = AppInfo {
            app_id: who.app_id.as_bytes().to_vec(),
            instance_id: who
                .instance_id
                .map(|id| id.as_bytes().to_vec())
                .unwrap_or_default(),
            app_cert: self.app_cert.clone(),
            tcb_info: self.tcb_info(&evidence, mr_aggregated)?,
            app_name: self.compose.manifest().name.clone(),
            device_id: who.device_id.as_bytes().to_vec(),
            mr_aggregated: mr_aggregated.as_bytes().to_vec(),
            os_image_hash: who.os_image_hash.as_bytes().to_vec(),
            key_provider_info: String::from_utf8_lossy(&self.provider.to_payload()).into_owned(),
            compose_hash: who.compose_hash.as_bytes().to_vec(),
            vm_config: evidence.vm_config(),
            cloud_vendor: dmi("sys_vendor"),
            cloud_product: dmi("product_name"),
        };
        Ok((info, evidence))
    }

    /// As of now: an app's own events are part of it.
    fn mr_aggregated(&self, evidence: &Attestation) -> Result<MrAggregated, RpcError> {
        let Platform::Tdx { quote, .. } = &evidence.platform else {
            return Ok(self.boot_info.mr_aggregated);
        };
        let report = bylaw_attest::tdx::report(quote).map_err(failed)?;
        let [.., rtmr3] = report.rtmr;
        Ok(report.mr_aggregated(&rtmr3))
    }

    /// Measurements as `Info` tells them; registers are `null` off TDX.
    fn tcb_info(
        &self,
        evidence: &Attestation,
        mr_aggregated: MrAggregated,
    ) -> Result<String, RpcError> {
        let (report, log) = match &evidence.platform {
            Platform::Tdx { quote, event_log } => {
                let report = bylaw_attest::tdx::report(quote).map_err(failed)?;
                (Some(report), event_log::to_json(event_log))
            }
            _ => {
                let events: Vec<_> = evidence
                    .stack
                    .runtime_events
                    .iter()
                    .map(RuntimeEvent::to_tdx_event)
                    .collect();
                (None, event_log::to_json(&events))
            }
        };
        let rtmr = |index: usize| report.as_ref().and_then(|report| report.rtmr.get(index));
        let value = json!({
            "mrtd": report.as_ref().map(|report| report.mrtd),
            "rtmr0": rtmr(0),
            "rtmr1": rtmr(1),
            "rtmr2": rtmr(2),
            "rtmr3": rtmr(3),
            "mr_aggregated": mr_aggregated,
            "os_image_hash": self.boot_info.os_image_hash,
            "compose_hash": self.boot_info.compose_hash,
            "device_id": self.boot_info.device_id,
            "event_log": log,
            "app_compose": self.compose.raw(),
        });
        serde_json::to_string_pretty(&value).map_err(failed)
    }

    /// Extends an event of the app's own into RTMR3.
    ///
    /// # Errors
    /// [`RpcError`] for names that would be ambiguous, and when the log is full.
    pub async fn emit_event(&self, event: &str, payload: &[u8]) -> Result<(), RpcError> {
        if event.is_empty() || event.len() > 255 || event.contains(':') {
            return Err(RpcError::bad_request(
                "event name must be 1 to 255 bytes and must not contain a colon",
            ));
        }
        self.events.take(payload.len())?;
        self.attester.extend(event, payload).await.map_err(failed)?;
        self.caches.identity.forget();
        Ok(())
    }
}

pub(crate) fn as_get_quote(evidence: &Attestation, report_data: &ReportData) -> GetQuoteResponse {
    let vm_config = evidence.vm_config();
    let report_data = report_data.as_bytes().to_vec();
    match &evidence.platform {
        Platform::Tdx { quote, event_log } => GetQuoteResponse {
            quote: quote.clone(),
            event_log: event_log::to_get_quote_json(event_log).to_string(),
            report_data,
            vm_config,
            attestation: vec![],
        },
        _ => GetQuoteResponse {
            report_data,
            vm_config,
            attestation: evidence.encode(),
            ..GetQuoteResponse::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_an_end() {
        let budget = EventBudget::default();
        assert!(budget.take(MAX_PAYLOAD + 1).is_err());
        for _ in 0..MAX_PAYLOADS / MAX_PAYLOAD {
            budget.take(MAX_PAYLOAD).unwrap();
        }
        let error = budget.take(1).unwrap_err();
        assert_eq!(error.code(), "event_log_full");

        let budget = EventBudget::default();
        for _ in 0..event_log::MAX_EVENTS {
            budget.take(0).unwrap();
        }
        assert!(
            budget
                .take(0)
                .unwrap_err()
                .message()
                .contains("4096 events")
        );
    }
}
