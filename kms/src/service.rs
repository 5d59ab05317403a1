//! Service `KMS`: each method decodes, calls one thing, encodes.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::routing::get;
use bylaw_attest::Mode;
use bylaw_keys::AppKeys;
use bylaw_ratls::csr::Csr;
use bylaw_ratls::{CertSpec, RaTlsCert, USAGE_APP_CA, USAGE_CUSTOM};
use bylaw_rpc::message::kms::{
    AppId as AppIdMessage, AppKeyResponse, GetAppKeyRequest, GetKmsKeyRequest, GetMetaResponse,
    GetTempCaCertResponse, KmsKeyResponse, KmsKeys, PublicKeyResponse, SignCertRequest,
    SignCertResponse,
};
use bylaw_rpc::{Context, Empty, RpcError, Service};
use bylaw_types::AppId;

use crate::kms::Kms;
use crate::log::Kind;
use crate::metrics::Reason;
use crate::release::{Grant, Refusal, Request, Subject};

impl Refusal {
    /// Stable code, the same in answers, logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoEvidence => "no_evidence",
            Self::Evidence(_) => "evidence_not_verified",
            Self::NotEnabled { .. } => "platform_not_enabled",
            Self::Identity(_) => "identity_not_established",
            Self::Denied(_) => "denied",
            Self::Doubt(_) => "policy_unknown",
            Self::Log(_) => "not_recorded",
            Self::Interrupted(_) => "interrupted",
        }
    }
}

impl From<Refusal> for RpcError {
    fn from(refusal: Refusal) -> Self {
        let code = refusal.code();
        match &refusal {
            // Clients know these sentences by their beginning.
            Refusal::Denied(denial) => {
                let fix = denial.fix().map(|fix| format!(". To allow it: {fix}"));
                Self::new(code, format!("{denial}{}", fix.unwrap_or_default()))
            }
            other => Self::new(code, format!("App not allowed: {other}")),
        }
    }
}

fn internal(error: impl std::fmt::Display) -> RpcError {
    RpcError::new("internal", error)
}

/// Routes of the main listener.
pub fn router(kms: Arc<Kms>) -> Router {
    let metrics = Arc::clone(&kms);
    let service = Service::new("KMS", &["KMS"], kms)
        .method(
            "GetMeta",
            |kms: Arc<Kms>, _: Context, _: Empty| async move { kms.get_meta().await },
        )
        .method(
            "GetTempCaCert",
            |kms: Arc<Kms>, _: Context, _: Empty| async move { kms.get_temp_ca_cert().await },
        )
        .method(
            "GetAppEnvEncryptPubKey",
            |kms: Arc<Kms>, _: Context, request: AppIdMessage| async move {
                kms.get_app_env_encrypt_pub_key(&request).await
            },
        )
        .method(
            "GetAppKey",
            |kms: Arc<Kms>, context: Context, request: GetAppKeyRequest| async move {
                let started = Instant::now();
                let answer = kms.get_app_key(&context, request).await;
                kms.count(started, answer)
            },
        )
        .method(
            "GetKmsKey",
            |kms: Arc<Kms>, context: Context, request: GetKmsKeyRequest| async move {
                let started = Instant::now();
                let answer = kms.get_kms_key(&context, request).await;
                kms.count(started, answer)
            },
        )
        .method(
            "SignCert",
            |kms: Arc<Kms>, _: Context, request: SignCertRequest| async move {
                let started = Instant::now();
                let answer = kms.sign_cert(request).await;
                kms.count(started, answer)
            },
        );
    let openapi = service.openapi("/prpc");
    service
        .into_router("/prpc")
        .route("/health", get(|| async { "OK" }))
        .route(
            "/metrics",
            get(move || async move { metrics.metrics.render() }),
        )
        .route(
            "/api-docs/openapi.json",
            get(move || async move { axum::Json(openapi) }),
        )
        .layer(axum::middleware::from_fn(add_version))
}

async fn add_version(
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    let mut response = next.run(request).await;
    let version = axum::http::HeaderValue::from_static(env!("CARGO_PKG_VERSION"));
    response.headers_mut().insert("x-app-version", version);
    response
}

impl Kms {
    fn count<T>(&self, started: Instant, answer: Result<T, RpcError>) -> Result<T, RpcError> {
        self.metrics.attestation_requests.inc();
        match &answer {
            Ok(_) => self
                .metrics
                .release_seconds
                .observe(started.elapsed().as_secs_f64()),
            Err(error) => {
                self.metrics.attestation_failures.inc();
                self.metrics
                    .refusals
                    .get_or_create(&Reason { code: error.code() })
                    .inc();
            }
        }
        answer
    }

    async fn get_meta(&self) -> Result<GetMetaResponse, RpcError> {
        let settings = self.policy.kms_settings().await.map_err(Refusal::Doubt)?;
        let anchors = self.roots.public.anchors;
        Ok(GetMetaResponse {
            ca_cert: self.certificates.root.cert().pem.clone(),
            allow_any_upgrade: false,
            k256_pubkey: self.roots.keys.k256_public().to_vec(),
            bootstrap_info: self.roots.public.bootstrap_info.clone(),
            is_dev: !anchors.is_vendor(),
            gateway_app_id: Some(settings.gateway_app_id),
            kms_contract_address: Some(format!("0x{}", self.kms_auth)),
            chain_id: Some(self.chain_id.0),
            app_auth_implementation: Some(format!("0x{}", settings.app_implementation)),
            trust_anchors: if anchors.is_vendor() {
                "vendor"
            } else {
                "other"
            }
            .to_owned(),
            trust_anchor_digest: anchors.digest().as_bytes().to_vec(),
        })
    }

    async fn get_temp_ca_cert(&self) -> Result<GetTempCaCertResponse, RpcError> {
        self.check_self().await?;
        Ok(GetTempCaCertResponse {
            temp_ca_cert: self.certificates.temp.cert().pem.clone(),
            temp_ca_key: self.temp_ca_pem()?,
            ca_cert: self.certificates.root.cert().pem.clone(),
        })
    }

    fn temp_ca_pem(&self) -> Result<String, RpcError> {
        Ok(self
            .roots
            .temp_ca
            .to_pkcs8_pem()
            .map_err(internal)?
            .to_string())
    }

    async fn get_app_env_encrypt_pub_key(
        &self,
        request: &AppIdMessage,
    ) -> Result<PublicKeyResponse, RpcError> {
        let app_id = AppId::try_from(request.app_id.as_slice()).map_err(RpcError::bad_request)?;
        self.check_self().await?;
        let public = self.roots.keys.env_public(&app_id).map_err(internal)?;
        let timestamp = self.clock.now_unix();
        let (legacy, v1) = self.roots.keys.sign_env_public(&app_id, &public, timestamp);
        Ok(PublicKeyResponse {
            public_key: public.to_vec(),
            signature: legacy.to_vec(),
            timestamp,
            signature_v1: v1.to_vec(),
        })
    }

    async fn get_app_key(
        self: &Arc<Self>,
        context: &Context,
        request: GetAppKeyRequest,
    ) -> Result<AppKeyResponse, RpcError> {
        if request.api_version > 1 {
            let text = format!("Unsupported API version: {}", request.api_version);
            return Err(RpcError::bad_request(text));
        }
        self.check_self().await?;
        let request = peer_request(
            context,
            request.vm_config,
            Mode::Full,
            Subject::App,
            Kind::AppKeys,
        )?;
        Ok(self.release(request, app_key_response).await?)
    }

    async fn get_kms_key(
        self: &Arc<Self>,
        context: &Context,
        request: GetKmsKeyRequest,
    ) -> Result<KmsKeyResponse, RpcError> {
        self.check_self().await?;
        let request = peer_request(
            context,
            request.vm_config,
            Mode::Full,
            Subject::Kms,
            Kind::RootKeys,
        )?;
        Ok(self.release(request, kms_key_response).await?)
    }

    async fn sign_cert(
        self: &Arc<Self>,
        request: SignCertRequest,
    ) -> Result<SignCertResponse, RpcError> {
        let csr = Csr::verify(request.api_version, &request.csr, &request.signature)
            .map_err(RpcError::bad_request)?;
        self.check_self().await?;
        let request = Request {
            evidence: csr.attestation.clone(),
            bound_to: csr.spki_der.clone(),
            vm_config: non_empty(request.vm_config),
            mode: Mode::BootTime,
            subject: Subject::App,
            kind: Kind::Certificate,
        };
        Ok(self
            .release(request, move |kms, grant| sign(kms, grant, csr))
            .await?)
    }
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// A request by the holder of the client certificate: its evidence, bound to its key.
fn peer_request(
    context: &Context,
    vm_config: String,
    mode: Mode,
    subject: Subject,
    kind: Kind,
) -> Result<Request, RpcError> {
    let der = context.peer_certificate().ok_or(Refusal::NoEvidence)?;
    let cert = RaTlsCert::parse(der).map_err(RpcError::bad_request)?;
    let evidence = cert.attestation.ok_or(Refusal::NoEvidence)?;
    let bound_to = cert.spki_der;
    Ok(Request {
        evidence,
        bound_to,
        vm_config: non_empty(vm_config),
        mode,
        subject,
        kind,
    })
}

fn app_key_response(kms: &Kms, grant: &Grant) -> Result<AppKeyResponse, String> {
    let who = grant.boot_info();
    let AppKeys {
        disk_crypt_key,
        env_crypt_key,
        k256_key,
        k256_signature,
    } = kms
        .roots
        .keys
        .app_keys(&who.app_id, who.instance_id.as_ref())
        .map_err(|error| error.to_string())?;
    let gateway = grant.gateway_app_id().to_owned();
    Ok(AppKeyResponse {
        ca_cert: kms.certificates.root.cert().pem.clone(),
        disk_crypt_key: disk_crypt_key.expose().to_vec(),
        env_crypt_key: env_crypt_key.expose().to_vec(),
        k256_key: k256_key.expose().to_vec(),
        k256_signature: k256_signature.to_vec(),
        tproxy_app_id: gateway.clone(),
        gateway_app_id: gateway,
        os_image_hash: who.os_image_hash.as_bytes().to_vec(),
    })
}

fn kms_key_response(kms: &Kms, _: &Grant) -> Result<KmsKeyResponse, String> {
    let (ca_key, k256_key) = kms
        .roots
        .material
        .to_wire()
        .map_err(|error| error.to_string())?;
    let temp_ca_key = kms
        .roots
        .temp_ca
        .to_pkcs8_pem()
        .map_err(|error| error.to_string())?;
    Ok(KmsKeyResponse {
        temp_ca_key: temp_ca_key.to_string(),
        keys: vec![KmsKeys {
            ca_key: ca_key.to_string(),
            k256_key: k256_key.to_vec(),
        }],
    })
}

fn sign(kms: &Kms, grant: &Grant, csr: Csr) -> Result<SignCertResponse, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let who = grant.boot_info();
    let now = kms.clock.now_unix();
    let anchors = Some(*kms.roots.public.anchors.digest());
    let ca_key = kms
        .roots
        .keys
        .app_ca(&who.app_id)
        .map_err(|error| text(&error))?;
    let ca_spec = CertSpec {
        subject: "Dstack App CA".to_owned(),
        organization: Some("Dstack".to_owned()),
        ca_path_len: Some(0),
        app_id: Some(who.app_id),
        usage: Some(USAGE_APP_CA),
        trust_anchors: anchors,
        ..CertSpec::default()
    };
    let ca = kms
        .certificates
        .root
        .intermediate(&ca_spec, &ca_key, now)
        .map_err(|error| text(&error))?;
    let config = csr.config;
    let app_info = config.ext_app_info.then(|| bylaw_attest::AppInfo {
        app_id: who.app_id,
        compose_hash: who.compose_hash,
        instance_id: who.instance_id,
        device_id: who.device_id,
        mr_system: who.mr_system,
        mr_aggregated: who.mr_aggregated,
        os_image_hash: who.os_image_hash,
        key_provider_info: who.key_provider_info.clone(),
        init_script_hashes: None,
    });
    let leaf_spec = CertSpec {
        subject: config.subject,
        organization: config.org_name,
        alt_names: config.subject_alt_names,
        server_auth: config.usage_server_auth,
        client_auth: config.usage_client_auth,
        not_before: config.not_before,
        not_after: config.not_after,
        app_id: Some(who.app_id),
        usage: Some(USAGE_CUSTOM),
        attestation: config.ext_quote.then_some(csr.attestation),
        app_info,
        trust_anchors: anchors,
        ca_path_len: None,
    };
    let leaf = ca
        .issue(&leaf_spec, &csr.spki_der, now)
        .map_err(|error| text(&error))?;
    let root = kms.certificates.root.cert();
    Ok(SignCertResponse {
        certificate_chain: vec![leaf.pem, ca.cert().pem.clone(), root.pem.clone()],
    })
}
