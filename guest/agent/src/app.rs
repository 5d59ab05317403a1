//! What the app API answers: state of one app in one VM.

use std::sync::Arc;

use bylaw_attest::event_log::{self, RUNTIME_REGISTER};
use bylaw_attest::{Attestation, Platform};
use bylaw_attester::Attester;
use bylaw_keys::AppKey;
use bylaw_ratls::csr::CertConfig;
use bylaw_rpc::RpcError;
use bylaw_rpc::message::guest::{AppInfo, GetQuoteResponse};
use bylaw_types::clock::Clock;
use bylaw_types::{AppCompose, BootInfo, KeyProviderInfo, ReportData};
use serde_json::json;

use crate::certs::{Signer, TlsKey, fresh_key};

/// A running app.
#[derive(Debug)]
pub struct App {
    pub(crate) attester: Arc<dyn Attester>,
    pub(crate) compose: AppCompose,
    pub(crate) key: AppKey,
    /// Empty without a KMS.
    pub(crate) k256_signature: Vec<u8>,
    pub(crate) signer: Signer,
    pub(crate) boot_info: BootInfo,
    pub(crate) provider: KeyProviderInfo,
    pub(crate) clock: Clock,
    /// Obtained before the API is served.
    pub(crate) app_cert: String,
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
        let evidence = self.attest(report_data).await?;
        let vm_config = evidence.vm_config();
        let report_data = report_data.as_bytes().to_vec();
        Ok(match &evidence.platform {
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
        })
    }

    /// Who this app is.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn info(&self) -> Result<AppInfo, RpcError> {
        let evidence = self.attest(&ReportData::new([0; 64])).await?;
        let who = &self.boot_info;
        let dmi = |name: &str| {
            std::fs::read_to_string(format!("/sys/class/dmi/id/{name}"))
                .map(|text| text.trim().to_owned())
                .unwrap_or_default()
        };
        Ok(AppInfo {
            app_id: who.app_id.as_bytes().to_vec(),
            instance_id: who
                .instance_id
                .map(|id| id.as_bytes().to_vec())
                .unwrap_or_default(),
            app_cert: self.app_cert.clone(),
            tcb_info: self.tcb_info(&evidence)?,
            app_name: self.compose.manifest().name.clone(),
            device_id: who.device_id.as_bytes().to_vec(),
            mr_aggregated: who.mr_aggregated.as_bytes().to_vec(),
            os_image_hash: who.os_image_hash.as_bytes().to_vec(),
            key_provider_info: String::from_utf8_lossy(&self.provider.to_payload()).into_owned(),
            compose_hash: who.compose_hash.as_bytes().to_vec(),
            vm_config: evidence.vm_config(),
            cloud_vendor: dmi("sys_vendor"),
            cloud_product: dmi("product_name"),
        })
    }

    fn tcb_info(&self, evidence: &Attestation) -> Result<String, RpcError> {
        let Platform::Tdx { quote, event_log } = &evidence.platform else {
            return Err(failed(format!("platform {}", evidence.platform.kind())));
        };
        let report = bylaw_attest::tdx::report(quote).map_err(failed)?;
        let [rtmr0, rtmr1, rtmr2, rtmr3] = report.rtmr;
        let value = json!({
            "mrtd": report.mrtd,
            "rtmr0": rtmr0,
            "rtmr1": rtmr1,
            "rtmr2": rtmr2,
            "rtmr3": rtmr3,
            "mr_aggregated": self.boot_info.mr_aggregated,
            "os_image_hash": self.boot_info.os_image_hash,
            "compose_hash": self.boot_info.compose_hash,
            "device_id": self.boot_info.device_id,
            "event_log": event_log::to_json(event_log),
            "app_compose": self.compose.raw(),
        });
        serde_json::to_string_pretty(&value).map_err(failed)
    }

    /// Extends an event of the app's own into RTMR3.
    ///
    /// # Errors
    /// [`RpcError`] for names that would be ambiguous.
    pub async fn emit_event(&self, event: &str, payload: &[u8]) -> Result<(), RpcError> {
        if event.is_empty() || event.contains(':') {
            return Err(RpcError::bad_request(
                "event name must not be empty or contain a colon",
            ));
        }
        self.attester.extend(event, payload).await.map_err(failed)
    }
}

/// Whether the runtime log already holds this event.
pub(crate) fn has_event(evidence: &Attestation, name: &str) -> bool {
    match &evidence.platform {
        Platform::Tdx { event_log, .. } => event_log
            .iter()
            .any(|event| event.imr == RUNTIME_REGISTER && event.event == name),
        _ => evidence
            .stack
            .runtime_events
            .iter()
            .any(|event| event.event == name),
    }
}
