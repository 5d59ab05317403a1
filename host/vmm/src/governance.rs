//! What the contracts say about a VM's app, for the console: allowed, pending, refused.
//!
//! The operator's convenience, nobody's proof: a KMS asks the contracts itself.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256};
use axum::Json;
use axum::extract::{Query, State as Shared};
use axum::response::{IntoResponse, Response};
use bylaw_gov::{Chain, GovError, Launch, Standing, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::images::Image;
use crate::node::Node;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Names a VM.
#[derive(Debug, Deserialize)]
pub struct Of {
    #[serde(default)]
    id: String,
}

/// The verdict and what it is about.
#[derive(Debug, Serialize)]
struct Answer {
    #[serde(flatten)]
    standing: Standing,
    app_id: Address,
    compose_hash: B256,
    kms_auth: Address,
    chain_id: u64,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    /// The chain does not answer.
    #[error(transparent)]
    Chain(#[from] GovError),
    /// Something about the VM or the configuration cannot be read.
    #[error("{0}")]
    Local(String),
}

/// `GET /governance?id=<vm>`; 404 without such a VM or without `[cvm.chain]`.
pub async fn governance(Shared(node): Shared<Arc<Node>>, Query(of): Query<Of>) -> Response {
    let Ok(vm) = node.vm(&of.id) else {
        return (StatusCode::NOT_FOUND, "VM not found").into_response();
    };
    let Some(chain) = &node.config.cvm.chain else {
        return (StatusCode::NOT_FOUND, "no [cvm.chain] is configured").into_response();
    };
    let about = launch_of(&node, &vm)
        .and_then(|launch| Ok((launch, parsed::<Address>(&chain.kms_auth, "kms_auth")?)));
    let (launch, kms_auth) = match about {
        Ok(about) => about,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let standing = match standing(&node, chain.chain_id, kms_auth, launch).await {
        Ok(standing) => standing,
        Err(error) => Standing {
            state: State::Unknown,
            reason: format!("the contracts cannot be asked: {error}"),
            activates_at: None,
        },
    };
    Json(Answer {
        standing,
        app_id: launch.app,
        compose_hash: launch.compose_hash,
        kms_auth,
        chain_id: chain.chain_id,
    })
    .into_response()
}

/// What this VM would run at its next start.
fn launch_of(node: &Node, vm: &crate::vm::Vm) -> Result<Launch, Unknown> {
    let local = |error: &dyn std::fmt::Display| Unknown::Local(error.to_string());
    let (app_id, image) = {
        let view = vm.view();
        (view.manifest.app_id.clone(), view.manifest.image.clone())
    };
    let compose = node.compose(vm).map_err(|error| local(&error))?;
    let image = Image::open(&node.config.image_path, &image).map_err(|error| local(&error))?;
    let os_image_hash = image.os_image_hash().map_err(|error| local(&error))?;
    Ok(Launch {
        app: parsed(&format!("0x{app_id}"), "app_id")?,
        compose_hash: B256::new(compose.hash().to_bytes()),
        os_image_hash: B256::new(os_image_hash.to_bytes()),
    })
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    text: &str,
    name: &str,
) -> Result<T, Unknown> {
    text.parse()
        .map_err(|error| Unknown::Local(format!("{name} {text:?}: {error}")))
}

async fn standing(
    node: &Node,
    chain_id: u64,
    kms_auth: Address,
    launch: Launch,
) -> Result<Standing, Unknown> {
    let url = node.config.chain_url.as_deref().ok_or_else(|| {
        Unknown::Local("name an endpoint: cvm.chain.rpc_urls, or chain_url".to_owned())
    })?;
    let client =
        bylaw_chain::http_client(TIMEOUT).map_err(|error| Unknown::Local(error.to_string()))?;
    let chain = Chain::connect(url, client, chain_id).await?;
    Ok(chain
        .standing(chain.latest().await?, kms_auth, launch)
        .await?)
}
