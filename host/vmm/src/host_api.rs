//! `HostApi`: what guests may tell and ask (VMM API reference, section 3).
//!
//! Over vsock the kernel says which VM calls. Without vsock a guest calls through its own
//! network, where nobody vouches for it: the URL it was given carries a secret of this
//! start, and only the running VM of that id with that secret is served.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use bylaw_rpc::message::host_api::{
    GetSealingKeyRequest, GetSealingKeyResponse, HostInfo, Notification,
};
use bylaw_rpc::{Context, Empty, Peer, RpcError, Service};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::key_provider::{self, MAX_QUOTE};
use crate::node::Node;
use crate::vm::{NotifyError, Vm};

/// Routes for vsock.
pub fn vsock_router(node: Arc<Node>) -> Router {
    service(node)
        .into_router("/api")
        .fallback(bylaw_rpc::not_found)
}

/// Routes for TCP.
pub fn tcp_router(node: Arc<Node>) -> Router {
    service(Arc::clone(&node))
        .into_router("/vm/{id}/{secret}/api")
        .route_layer(from_fn_with_state(node, identify))
        .fallback(bylaw_rpc::not_found)
}

fn service(node: Arc<Node>) -> Service<Node> {
    Service::new("HostApi", &["HostApi"], node)
        .method("Info", |_: Arc<Node>, _: Context, _: Empty| async move {
            Ok(HostInfo {
                name: "dstack VMM".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            })
        })
        .method(
            "Notify",
            |node: Arc<Node>, context: Context, request: Notification| async move {
                notify(&node, &context, &request)
            },
        )
        .method(
            "GetSealingKey",
            |node: Arc<Node>, context: Context, request: GetSealingKeyRequest| async move {
                sealing_key(&node, &context, &request).await
            },
        )
}

/// The VM that calls.
fn caller(node: &Node, context: &Context) -> Result<Arc<Vm>, RpcError> {
    let cid = context
        .peer_cid()
        .ok_or_else(|| RpcError::new("not_a_vm", "only VMs of this node may ask"))?;
    node.vm_of_cid(cid)
        .ok_or_else(|| RpcError::new("not_a_vm", format!("no VM runs with context id {cid}")))
}

fn notify(node: &Node, context: &Context, request: &Notification) -> Result<Empty, RpcError> {
    let vm = caller(node, context)?;
    let keep = node.config.event_buffer_size;
    vm.notify(&request.event, &request.payload, node.now_ms(), keep)
        .map_err(|error| match error {
            NotifyError::TooMany => RpcError::new("too_many", error),
            NotifyError::Unknown(_) | NotifyError::Malformed { .. } => RpcError::bad_request(error),
            NotifyError::Record(_) => RpcError::new("internal", "the host cannot store it"),
        })?;
    Ok(Empty {})
}

async fn sealing_key(
    node: &Node,
    context: &Context,
    request: &GetSealingKeyRequest,
) -> Result<GetSealingKeyResponse, RpcError> {
    let vm = caller(node, context)?;
    let Some(address) = &node.config.key_provider else {
        let text = "this machine has no key provider (key_provider.enabled = false in vmm.toml)";
        return Err(RpcError::new("no_key_provider", text));
    };
    if request.quote.is_empty() || request.quote.len() > MAX_QUOTE {
        let text = format!("the quote must have 1 to {MAX_QUOTE} bytes");
        return Err(RpcError::bad_request(text));
    }
    let key = key_provider::sealing_key(address, &request.quote)
        .await
        .map_err(|error| {
            tracing::warn!(vm = vm.id(), %error, "no sealing key");
            RpcError::new("key_provider", error)
        })?;
    Ok(GetSealingKeyResponse {
        encrypted_key: key.encrypted_key,
        provider_quote: key.provider_quote,
    })
}

/// Turns id and secret of the URL into the VM's context id.
async fn identify(
    State(node): State<Arc<Node>>,
    Path(path): Path<Vec<(String, String)>>,
    mut request: Request,
    next: Next,
) -> Response {
    let part = |name: &str| {
        path.iter()
            .find(|(key, _)| key == name)
            .map(|(_, v)| v.as_str())
    };
    let cid = match (part("id"), part("secret")) {
        (Some(id), Some(secret)) => cid_of(&node, id, secret),
        _ => None,
    };
    let Some(cid) = cid else {
        return bylaw_rpc::not_found(request).await.into_response();
    };
    let peer = Peer {
        cid: Some(cid),
        ..Peer::default()
    };
    request.extensions_mut().insert(peer);
    next.run(request).await
}

fn cid_of(node: &Node, id: &str, secret: &str) -> Option<u32> {
    let vm = node.vm(id).ok()?;
    let view = vm.view();
    let launch = view.launch.as_ref().filter(|_| view.is_alive())?;
    let digest = |text: &str| -> [u8; 32] { Sha256::digest(text).into() };
    let same: bool = digest(&launch.host_secret).ct_eq(&digest(secret)).into();
    same.then_some(launch.cid)
}
