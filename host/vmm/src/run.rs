//! Building the parts in order, then serving.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bylaw_rpc::serve::{self, Listen};
use bylaw_service::stop_signal;
use bylaw_types::clock::Clock;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::Value;

use crate::auth::{Credentials, authenticate};
use crate::config::{Config, HostApi};
use crate::discovery::{Discovery, runtime_dir};
use crate::node::Node;
use crate::{console, governance, guest, host_api, launch, logs, rotate, service};

/// Serves until SIGTERM or ctrl-C; VMs go on running.
///
/// # Errors
/// Whatever keeps it from serving, with what to do about it.
pub async fn run(config: Config, config_file: PathBuf) -> anyhow::Result<()> {
    let clock = Clock::system();
    let credentials = match &config.auth {
        Some(auth) => Some(Arc::new(Credentials::load(auth)?)),
        None => None,
    };
    let one = only_one(&config)?;
    let stop = stop_signal();
    // Sockets first: a guest that runs already may call at once.
    let listener = config.listen.bind(0o600).await.context("address")?;
    let node = Node::load(config, "/proc/self/exe".into(), clock.clone()).await?;
    let (host_listen, host_router) = host_side(&node);
    let host_listener = host_listen.bind(0o600).await.context("host_api")?;
    let id = launch::random_hex::<8>()?;
    let started = clock.now_unix();
    let announced = Discovery::announce(&runtime_dir(), &id, &node.config, &config_file, started);
    if let Err(error) = &announced {
        tracing::warn!(%error, "no discovery file; clients need --url");
    }
    tokio::spawn(rotate::keep_small(Arc::clone(&node)));
    tracing::info!(
        address = %node.config.listen,
        host_api = %host_listen,
        vms = node.vms().len(),
        "serving"
    );
    tokio::join!(
        serve::any(
            listener,
            router(Arc::clone(&node), credentials),
            stop.clone().wait()
        ),
        serve::any(host_listener, host_router, stop.wait()),
    );
    if let Listen::Unix(path) = &node.config.listen {
        let _ = std::fs::remove_file(path);
    }
    drop((announced, one));
    Ok(())
}

/// Two VMMs over the same work directories would each restart what the other stopped.
fn only_one(config: &Config) -> anyhow::Result<std::fs::File> {
    std::fs::create_dir_all(&config.run_path)
        .with_context(|| format!("run_path {}", config.run_path.display()))?;
    let path = config.run_path.join(".lock");
    let lock = crate::process::lock(&path).with_context(|| path.display().to_string())?;
    lock.with_context(|| {
        let run_path = config.run_path.display();
        format!("another VMM runs with run_path {run_path}; stop it or use another path")
    })
}

/// Where guests call, and what answers.
fn host_side(node: &Arc<Node>) -> (Listen, Router) {
    if let (true, HostApi::Vsock { cid, port }) = (node.vsock, &node.config.host_api) {
        let listen = Listen::Vsock {
            cid: *cid,
            port: u32::from(*port),
        };
        return (listen, host_api::vsock_router(Arc::clone(node)));
    }
    let (address, port) = node.config.host_api.tcp();
    if matches!(node.config.host_api, HostApi::Vsock { .. }) {
        tracing::info!("no vsock on this machine: guests call their host over TCP");
    }
    let listen = Listen::Tcp(std::net::SocketAddr::new(address, port).to_string());
    (listen, host_api::tcp_router(Arc::clone(node)))
}

/// Everything on the management listener.
pub fn router(node: Arc<Node>, credentials: Option<Arc<Credentials>>) -> Router {
    let vmm = service::service(Arc::clone(&node));
    let guest = guest::service(Arc::clone(&node));
    let document = Arc::new(merged(vmm.openapi("/prpc"), &guest.openapi("/guest")));
    let page = Arc::clone(&document);
    let guarded = Router::new()
        .merge(vmm.into_router("/prpc"))
        .merge(guest.into_router("/guest"))
        .merge(console::pages(Arc::clone(&node)))
        .merge(
            Router::new()
                .route("/logs", get(logs::logs))
                .route("/governance", get(governance::governance))
                .with_state(node),
        )
        .route(
            "/api-docs/openapi.json",
            get(move || async move { json(&document) }),
        )
        .route(
            "/api-docs/docs",
            get(move || async move { console::methods(&page) }),
        )
        .fallback(bylaw_rpc::not_found);
    let guarded = match credentials {
        None => guarded,
        Some(credentials) => guarded.layer(from_fn_with_state(credentials, authenticate)),
    };
    Router::new()
        .merge(console::resources())
        .fallback_service(guarded)
        .layer(map_response(headers))
}

async fn headers(mut response: Response) -> Response {
    let version = HeaderValue::from_static(env!("CARGO_PKG_VERSION"));
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("x-app-version"), version);
    let no_buffering = HeaderName::from_static("x-accel-buffering");
    headers.insert(no_buffering, HeaderValue::from_static("no"));
    response
}

fn json(document: &Value) -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, kind)], document.to_string()).into_response()
}

/// One document of both services.
fn merged(mut document: Value, other: &Value) -> Value {
    for pointer in ["/paths", "/components/schemas"] {
        let more = other.pointer(pointer).and_then(Value::as_object);
        if let (Some(into), Some(more)) = (
            document.pointer_mut(pointer).and_then(Value::as_object_mut),
            more,
        ) {
            into.extend(more.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
    }
    document
}
