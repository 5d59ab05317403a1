//! `DstackGuest` on `dstack.sock` (guest agent API reference, section 2).

use std::sync::Arc;

use axum::Router;
use bylaw_keys::{Algorithm, AppKeyError, verify_data};
use bylaw_ratls::csr::CertConfig;
use bylaw_rpc::message::guest::{
    AttestResponse, EmitEventArgs, GetKeyArgs, GetKeyResponse, GetTlsKeyArgs, GetTlsKeyResponse,
    GpuInfoResponse, RawQuoteArgs, SignRequest, SignResponse, VerifyRequest, VerifyResponse,
    WorkerVersion,
};
use bylaw_rpc::{Context, Empty, RpcError, Service};

use crate::app::{App, padded};

pub(crate) fn key_error(error: AppKeyError) -> RpcError {
    RpcError::bad_request(error)
}

/// Routes of `dstack.sock`.
pub fn router(app: Arc<App>) -> Router {
    Service::new("DstackGuest", &["DstackGuest"], app)
        .method(
            "GetTlsKey",
            |app: Arc<App>, _: Context, request: GetTlsKeyArgs| async move {
                get_tls_key(&app, request).await
            },
        )
        .method(
            "GetKey",
            |app: Arc<App>, _: Context, request: GetKeyArgs| async move { get_key(&app, &request) },
        )
        .method(
            "GetQuote",
            |app: Arc<App>, _: Context, request: RawQuoteArgs| async move {
                app.quote(&padded(&request.report_data)?).await
            },
        )
        .method(
            "Attest",
            |app: Arc<App>, _: Context, request: RawQuoteArgs| async move {
                let evidence = app.attest(&padded(&request.report_data)?).await?;
                Ok(AttestResponse {
                    attestation: evidence.encode(),
                })
            },
        )
        .method("Info", |app: Arc<App>, _: Context, _: Empty| async move {
            app.info().await
        })
        .method(
            "GpuInfo",
            |app: Arc<App>, _: Context, _: Empty| async move { gpu_info(&app).await },
        )
        .method(
            "EmitEvent",
            |app: Arc<App>, _: Context, request: EmitEventArgs| async move {
                app.emit_event(&request.event, &request.payload).await?;
                Ok(Empty {})
            },
        )
        .method(
            "Sign",
            |app: Arc<App>, _: Context, request: SignRequest| async move { sign(&app, &request) },
        )
        .method(
            "Verify",
            |_: Arc<App>, _: Context, request: VerifyRequest| async move { verify(&request) },
        )
        .method("Version", |_: Arc<App>, _: Context, _: Empty| async move {
            Ok(version())
        })
        .into_router("")
        .fallback(bylaw_rpc::not_found)
}

pub(crate) fn version() -> WorkerVersion {
    WorkerVersion {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        rev: option_env!("BYLAW_REVISION").unwrap_or("").to_owned(),
    }
}

async fn get_tls_key(app: &App, request: GetTlsKeyArgs) -> Result<GetTlsKeyResponse, RpcError> {
    let tls = app
        .tls_key(CertConfig {
            org_name: None,
            subject: request.subject,
            subject_alt_names: request.alt_names,
            usage_server_auth: request.usage_server_auth,
            usage_client_auth: request.usage_client_auth,
            ext_quote: request.usage_ra_tls,
            ext_app_info: request.with_app_info,
            not_before: request.not_before,
            not_after: request.not_after,
        })
        .await?;
    Ok(GetTlsKeyResponse {
        key: tls.key_pem,
        certificate_chain: tls.chain,
    })
}

pub(crate) fn get_key(app: &App, request: &GetKeyArgs) -> Result<GetKeyResponse, RpcError> {
    let algorithm = Algorithm::for_key(&request.algorithm).map_err(key_error)?;
    let derived = app
        .keys
        .derive(&request.path, &request.purpose, algorithm)
        .map_err(key_error)?;
    Ok(GetKeyResponse {
        key: derived.key.expose().to_vec(),
        signature_chain: vec![derived.signature.to_vec(), app.k256_signature.clone()],
    })
}

/// What the vendor's tool left, word for word; nothing without a GPU.
async fn gpu_info(app: &App) -> Result<GpuInfoResponse, RpcError> {
    match tokio::fs::read_to_string(&app.gpu_attestation).await {
        Ok(attestation) => Ok(GpuInfoResponse { attestation }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(GpuInfoResponse::default())
        }
        Err(error) => Err(RpcError::new(
            "gpu",
            format!("{}: {error}", app.gpu_attestation.display()),
        )),
    }
}

fn sign(app: &App, request: &SignRequest) -> Result<SignResponse, RpcError> {
    let algorithm = Algorithm::for_signing(&request.algorithm).map_err(key_error)?;
    let derived = app
        .keys
        .derive("vms", "signing", algorithm)
        .map_err(key_error)?;
    let signature = derived.sign(algorithm, &request.data).map_err(key_error)?;
    Ok(SignResponse {
        signature_chain: vec![
            signature.clone(),
            derived.signature.to_vec(),
            app.k256_signature.clone(),
        ],
        signature,
        public_key: derived.public.clone(),
    })
}

fn verify(request: &VerifyRequest) -> Result<VerifyResponse, RpcError> {
    let algorithm = Algorithm::for_signing(&request.algorithm).map_err(key_error)?;
    verify_data(
        algorithm,
        &request.data,
        &request.signature,
        &request.public_key,
    )
    .map(|valid| VerifyResponse { valid })
    .map_err(key_error)
}
