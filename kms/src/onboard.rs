//! Service `Onboard`: the phase before this KMS has root keys.

use std::sync::Arc;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use bylaw_attest::report_data;
use bylaw_chain::PolicySource;
use bylaw_keys::{P256Key, RootMaterial};
use bylaw_rpc::message::kms::{
    AttestationInfoResponse, BootstrapRequest, BootstrapResponse, OnboardRequest, OnboardResponse,
};
use bylaw_rpc::{Context, Empty, RpcError, Service};
use bylaw_types::ReportData;
use bylaw_types::clock::Clock;
use tokio::sync::{Mutex, Notify};

use crate::config::check_domain;
use crate::identity::{OWN_MODE, Own};
use crate::release::Refusal;
use crate::replicate::replicate;
use crate::store::{Roots, SEALING_CONTEXT, Store};

/// A KMS without root keys.
#[derive(Debug)]
pub struct Onboarding {
    own: Own,
    policy: Arc<dyn PolicySource>,
    store: Store,
    clock: Clock,
    site_name: String,
    eth_rpc_url: String,
    /// One attempt at a time.
    attempt: Mutex<()>,
    finished: Notify,
}

fn failed(error: impl std::fmt::Display) -> RpcError {
    RpcError::new("onboard", error)
}

impl Onboarding {
    /// A KMS that will keep its roots in `store`.
    pub fn new(
        own: Own,
        policy: Arc<dyn PolicySource>,
        store: Store,
        clock: Clock,
        site_name: String,
        eth_rpc_url: String,
    ) -> Arc<Self> {
        Arc::new(Self {
            own,
            policy,
            store,
            clock,
            site_name,
            eth_rpc_url,
            attempt: Mutex::new(()),
            finished: Notify::new(),
        })
    }

    /// Ends when `Finish` is called.
    pub async fn finished(&self) {
        self.finished.notified().await;
    }

    /// Routes of the onboarding listener.
    pub fn router(self: &Arc<Self>) -> Router {
        let finish = Arc::clone(self);
        Service::new("Onboard", &["Onboard"], Arc::clone(self))
            .method(
                "Bootstrap",
                |this: Arc<Self>, _: Context, request: BootstrapRequest| async move {
                    this.bootstrap(&request.domain).await
                },
            )
            .method(
                "Onboard",
                |this: Arc<Self>, _: Context, request: OnboardRequest| async move {
                    this.onboard(request).await
                },
            )
            .method("GetAttestationInfo", |this: Arc<Self>, _: Context, _: Empty| async move {
                this.attestation_info().await
            })
            .method("Finish", |this: Arc<Self>, _: Context, _: Empty| async move {
                this.finished.notify_one();
                Ok(Empty {})
            })
            .into_router("/prpc")
            .route("/", get(|| async { Html(include_str!("../assets/onboard.html")) }))
            .route("/health", get(|| async { "OK" }))
            .route(
                "/finish",
                get(move || async move {
                    finish.finished.notify_one();
                    "OK"
                }),
            )
    }

    /// Generates, attests and stores new root keys.
    ///
    /// # Errors
    /// [`RpcError`] says what is in the way.
    pub async fn bootstrap(&self, domain: &str) -> Result<BootstrapResponse, RpcError> {
        check_domain(domain).map_err(RpcError::bad_request)?;
        let _one = self.attempt.lock().await;
        self.refuse_second_time()?;
        self.check_self().await?;
        let temp_ca = P256Key::random().map_err(failed)?;
        let material = RootMaterial::generate().map_err(failed)?;
        let anchors = self.own.verifier().anchors();
        let mut roots =
            Roots::new(material, temp_ca, anchors, domain.to_owned()).map_err(failed)?;
        let ca_pubkey = roots.keys.ca().spki_der();
        let k256_pubkey = roots.keys.k256_public().to_vec();
        let challenge = report_data::kms_bootstrap(&ca_pubkey, &k256_pubkey);
        let (evidence, _) = self.own.attest(&challenge).await.map_err(failed)?;
        let response = BootstrapResponse {
            ca_pubkey,
            k256_pubkey,
            attestation: evidence.encode(),
        };
        roots.public.bootstrap_info = Some(response.clone());
        self.keep(&roots).await?;
        Ok(response)
    }

    async fn onboard(&self, request: OnboardRequest) -> Result<OnboardResponse, RpcError> {
        check_domain(&request.domain).map_err(RpcError::bad_request)?;
        let _one = self.attempt.lock().await;
        self.refuse_second_time()?;
        self.check_self().await?;
        let now = self.clock.now_unix();
        let roots = replicate(
            &self.own,
            &*self.policy,
            &request.source_url,
            request.domain,
            now,
        )
        .await
        .map_err(failed)?;
        self.keep(&roots).await?;
        Ok(OnboardResponse {
            k256_pubkey: roots.keys.k256_public().to_vec(),
        })
    }

    fn refuse_second_time(&self) -> Result<(), RpcError> {
        if self.store.has_root().map_err(failed)? {
            return Err(failed("KMS has already been bootstrapped"));
        }
        Ok(())
    }

    async fn check_self(&self) -> Result<(), RpcError> {
        let (_, appraisal) = self
            .own
            .attest(&ReportData::new([0; 64]))
            .await
            .map_err(failed)?;
        let boot_info = self
            .own
            .verifier()
            .identify(&appraisal, OWN_MODE, None)
            .await
            .map_err(Refusal::from)?;
        match self
            .policy
            .decide_kms(boot_info)
            .await
            .map_err(Refusal::from)?
        {
            bylaw_chain::Decision::Allow(_) => Ok(()),
            bylaw_chain::Decision::Deny(denial) => Err(Refusal::Denied(Box::new(denial)).into()),
        }
    }

    /// On disk before the answer leaves.
    async fn keep(&self, roots: &Roots) -> Result<(), RpcError> {
        let key = self
            .own
            .attester()
            .sealing_key(SEALING_CONTEXT)
            .await
            .map_err(failed)?;
        tokio::task::block_in_place(|| self.store.put_root(roots, &key)).map_err(failed)
    }

    async fn attestation_info(&self) -> Result<AttestationInfoResponse, RpcError> {
        let (_, appraisal) = self
            .own
            .attest(&ReportData::new([0; 64]))
            .await
            .map_err(failed)?;
        let info = self
            .own
            .verifier()
            .identify(&appraisal, OWN_MODE, None)
            .await
            .map_err(failed)?;
        Ok(AttestationInfoResponse {
            device_id: info.device_id.as_bytes().to_vec(),
            mr_aggregated: info.mr_aggregated.as_bytes().to_vec(),
            os_image_hash: info.os_image_hash.as_bytes().to_vec(),
            tee_variant: info.tee_variant.to_string(),
            site_name: self.site_name.clone(),
            eth_rpc_url: self.eth_rpc_url.clone(),
            kms_contract_address: format!("0x{}", self.policy.kms_auth()),
            ppid: vec![],
        })
    }
}
