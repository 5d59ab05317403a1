//! The legacy `Tappd` service on `tappd.sock` (guest agent API reference, section 3).

use std::sync::Arc;

use axum::Router;
use bylaw_attest::report_data::{HashAlgorithm, TAG_APP_DATA, tagged};
use bylaw_ratls::csr::CertConfig;
use bylaw_rpc::message::guest::{
    DeriveK256KeyResponse, DeriveKeyArgs, GetKeyArgs, GetTlsKeyResponse, RawQuoteArgs,
    TdxQuoteArgs, TdxQuoteResponse,
};
use bylaw_rpc::{Context, Empty, RpcError, Service};
use bylaw_types::ReportData;

use crate::app::App;
use crate::certs::fresh_key;
use crate::dstack::{get_key, version};

/// Routes of `tappd.sock`.
pub fn router(app: Arc<App>) -> Router {
    Service::new("Tappd", &["Tappd"], app)
        .method(
            "DeriveKey",
            |app: Arc<App>, _: Context, request: DeriveKeyArgs| async move {
                derive_key(&app, request).await
            },
        )
        .method(
            "DeriveK256Key",
            |app: Arc<App>, _: Context, request: GetKeyArgs| async move {
                let answer = get_key(&app, &request)?;
                Ok(DeriveK256KeyResponse {
                    k256_key: answer.key,
                    k256_signature_chain: answer.signature_chain,
                })
            },
        )
        .method(
            "TdxQuote",
            |app: Arc<App>, _: Context, request: TdxQuoteArgs| async move {
                tdx_quote(&app, request).await
            },
        )
        .method(
            "RawQuote",
            |app: Arc<App>, _: Context, request: RawQuoteArgs| async move {
                let hash_algorithm = "raw".to_owned();
                let report_data = request.report_data;
                tdx_quote(
                    &app,
                    TdxQuoteArgs {
                        report_data,
                        hash_algorithm,
                        prefix: String::new(),
                    },
                )
                .await
            },
        )
        .method("Info", |app: Arc<App>, _: Context, _: Empty| async move {
            app.info().await
        })
        .method("Version", |_: Arc<App>, _: Context, _: Empty| async move {
            Ok(version())
        })
        .into_router("/prpc")
        .fallback(bylaw_rpc::not_found)
}

async fn derive_key(app: &App, request: DeriveKeyArgs) -> Result<GetTlsKeyResponse, RpcError> {
    let key = if request.random_seed {
        fresh_key()?
    } else {
        app.keys
            .app_key()
            .derive_p256(&request.path)
            .map_err(|error| RpcError::new("key", error))?
    };
    let config = CertConfig {
        subject: request.subject,
        subject_alt_names: request.alt_names,
        usage_server_auth: request.usage_server_auth,
        usage_client_auth: request.usage_client_auth,
        ext_quote: request.usage_ra_tls,
        ..CertConfig::default()
    };
    let tls = app.certify(&key, config).await?;
    Ok(GetTlsKeyResponse {
        key: tls.key_pem,
        certificate_chain: tls.chain,
    })
}

async fn tdx_quote(app: &App, request: TdxQuoteArgs) -> Result<TdxQuoteResponse, RpcError> {
    let name = match request.hash_algorithm.as_str() {
        "" => "sha512",
        name => name,
    };
    let (report_data, prefix) = if name == "raw" {
        let data = ReportData::try_from(request.report_data.as_slice())
            .map_err(|_| RpcError::bad_request("invalid content length"))?;
        (data, String::new())
    } else {
        let algorithm = HashAlgorithm::from_name(name)
            .ok_or_else(|| RpcError::bad_request("invalid hash algorithm"))?;
        let tag = match request.prefix.as_str() {
            "" => TAG_APP_DATA,
            tag => tag,
        };
        (tagged(tag, algorithm, &request.report_data), tag.to_owned())
    };
    let quote = app.quote(&report_data).await?;
    Ok(TdxQuoteResponse {
        quote: quote.quote,
        event_log: quote.event_log,
        hash_algorithm: name.to_owned(),
        prefix,
    })
}
