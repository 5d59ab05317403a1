//! The attester of each TD over HTTP, for guests in virtual machines.
//!
//! A guest under QEMU's user network reaches the host only by TCP, where no peer
//! address tells guests apart. So each launch gets a random token, which is part of the
//! URL that the guest is given: who has it is the TD.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bylaw_rpc::not_found;
use subtle::ConstantTimeEq;
use tower::ServiceExt;

use crate::SimError;
use crate::service::Simulator;

/// 16 random bytes, in hex.
#[derive(Clone)]
pub(crate) struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    pub(crate) fn random() -> Result<Self, SimError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| SimError::State(error.to_string()))?;
        Ok(Self(hex::encode(bytes)))
    }

    /// Path of the TD that has it.
    pub(crate) fn path(&self) -> String {
        format!("/td/{}", self.0)
    }

    pub(crate) fn is(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }
}

/// The routes for guests: `/td/<token>/<Method>`.
pub fn router(simulator: Arc<Simulator>) -> Router {
    Router::new()
        .route("/td/{token}/{method}", any(forward))
        .fallback(not_found)
        .with_state(simulator)
}

async fn forward(
    State(simulator): State<Arc<Simulator>>,
    Path((token, method)): Path<(String, String)>,
    mut request: Request,
) -> Response {
    let target = simulator.td_with(&token).await;
    let uri = format!("/{method}").parse::<Uri>();
    match (target, uri) {
        (Some(router), Ok(uri)) => {
            *request.uri_mut() = uri;
            router.oneshot(request).await.into_response()
        }
        _ => not_found(request).await.into_response(),
    }
}
