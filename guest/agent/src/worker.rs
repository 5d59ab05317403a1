//! `Worker` and pages on the public listener (guest agent API reference, section 4).
//!
//! The manifest says what everybody may see: `public_tcbinfo`, `public_sysinfo` and
//! `public_logs`. What it does not name is answered as if it did not exist.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use bylaw_keys::Algorithm;
use bylaw_rpc::message::guest::{
    AppInfo, GetAttestationForAppKeyRequest, GetQuoteResponse, WorkerVersion,
};
use bylaw_rpc::{Context, Empty, RpcError, Service};
use bylaw_types::ReportData;
use tower::ServiceBuilder;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::app::{App, as_get_quote};
use crate::containers::{self, Engine};
use crate::dashboard;
use crate::dstack::{key_error, version};
use crate::system::{self, System};

/// Nothing but our own style sheet: no scripts, no frames, no forms.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";

/// What the pages are made from.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) app: Arc<App>,
    pub(crate) engine: Engine,
}

/// Routes of the public listener.
pub fn router(app: Arc<App>, engine: Engine, system: System) -> Router {
    let manifest = app.compose.manifest();
    let (shows_logs, shows_system) = (manifest.public_logs, manifest.public_sysinfo);
    let shows_evidence = manifest.public_tcbinfo;
    let worker = Arc::new(Worker {
        app: Arc::clone(&app),
        engine: engine.clone(),
    });
    let mut pages = Router::new()
        .route("/", get(home))
        .route("/style.css", get(style));
    if shows_evidence {
        pages = pages.route("/evidence.json", get(evidence));
    }
    let mut router = rpc(app).merge(pages.with_state(worker));
    if shows_logs {
        router = router.merge(containers::router(engine));
    }
    if shows_system {
        router = router.merge(system::router(system));
    }
    let header = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    router.layer(
        ServiceBuilder::new()
            .layer(header(CONTENT_SECURITY_POLICY, CONTENT_POLICY))
            .layer(header(X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .layer(header(X_FRAME_OPTIONS, "DENY"))
            .layer(header(REFERRER_POLICY, "no-referrer"))
            .layer(header(
                HeaderName::from_static("x-app-version"),
                env!("CARGO_PKG_VERSION"),
            )),
    )
}

fn rpc(app: Arc<App>) -> Router {
    Service::new("Worker", &["Worker"], app)
        .method("Info", |app: Arc<App>, _: Context, _: Empty| async move {
            public_info(&app).await
        })
        .method("Version", |_: Arc<App>, _: Context, _: Empty| async move {
            Ok::<WorkerVersion, RpcError>(version())
        })
        .method(
            "GetAttestationForAppKey",
            |app: Arc<App>, _: Context, request: GetAttestationForAppKeyRequest| async move {
                attestation_for_app_key(&app, &request).await
            },
        )
        .into_router("/prpc")
}

/// The identity, without what the manifest keeps from the public.
pub(crate) async fn public_info(app: &App) -> Result<AppInfo, RpcError> {
    let mut info = app.info().await?;
    if !app.compose.manifest().public_tcbinfo {
        info.tcb_info = String::new();
        info.vm_config = String::new();
    }
    Ok(info)
}

async fn attestation_for_app_key(
    app: &App,
    request: &GetAttestationForAppKeyRequest,
) -> Result<GetQuoteResponse, RpcError> {
    let algorithm = match Algorithm::for_signing(&request.algorithm).map_err(key_error)? {
        // A digest is signed by the same key, which is asked for by its own name.
        Algorithm::Secp256k1Prehashed => {
            return Err(RpcError::bad_request("Unsupported algorithm"));
        }
        algorithm => algorithm,
    };
    Ok(GetQuoteResponse::clone(
        &*app.signing_key_evidence(algorithm).await?,
    ))
}

async fn home(State(worker): State<Arc<Worker>>) -> Response {
    match dashboard::View::gather(&worker).await {
        Ok(view) => ([(CACHE_CONTROL, "no-store")], Html(view.render())).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}

async fn style() -> Response {
    let headers = [
        (CONTENT_TYPE, "text/css; charset=utf-8"),
        (CACHE_CONTROL, "max-age=300"),
    ];
    (headers, dashboard::STYLE).into_response()
}

/// Evidence as `bylaw verify` reads it.
async fn evidence(State(worker): State<Arc<Worker>>) -> Response {
    match worker.app.identity().await {
        Ok(identity) => {
            axum::Json(as_get_quote(&identity.1, &ReportData::new([0; 64]))).into_response()
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}
