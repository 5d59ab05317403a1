//! AMD's key service for the machine's one chip.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bylaw_types::clock::Clock;

use crate::{Amd, Machine, SimError};

#[derive(Debug)]
struct Kds {
    machine: Arc<Machine>,
    clock: Clock,
}

/// Routes of the service; the revocation list is issued as of each request.
pub fn router(machine: Arc<Machine>, clock: Clock) -> Router {
    Router::new()
        .route("/vcek/v1/{product}/cert_chain", get(cert_chain))
        .route("/vcek/v1/{product}/crl", get(crl))
        .route("/vcek/v1/{product}/{hardware_id}", get(vcek))
        .with_state(Arc::new(Kds { machine, clock }))
}

async fn cert_chain(State(kds): State<Arc<Kds>>, Path(product): Path<String>) -> Response {
    answer(kds, product, |amd, _| Ok(amd.chain_pem().into_bytes())).await
}

async fn crl(State(kds): State<Arc<Kds>>, Path(product): Path<String>) -> Response {
    answer(kds, product, |amd, kds| {
        let (from, until) = Machine::window(kds.clock.now_unix());
        amd.crl(from, until, kds.machine.revokes_ask())
    })
    .await
}

/// Only for the chip and the TCB that it is.
async fn vcek(
    State(kds): State<Arc<Kds>>,
    Path((product, hardware_id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    let asked = (hardware_id, query.unwrap_or_default());
    let matching = answer(kds, product, move |amd, _| {
        let known = asked == (hex::encode(amd.hardware_id()), amd.kds_query());
        Ok(if known { amd.vcek().to_vec() } else { vec![] })
    });
    matching.await
}

/// 404 for another product, and for an empty answer.
async fn answer(
    kds: Arc<Kds>,
    product: String,
    work: impl FnOnce(&Amd, &Kds) -> Result<Vec<u8>, SimError> + Send + 'static,
) -> Response {
    // Making the keys, and signing with them, takes a while.
    let done = tokio::task::spawn_blocking(move || {
        let amd = kds.machine.amd()?;
        if amd.product().name() != product {
            return Ok(vec![]);
        }
        work(&amd, &kds)
    });
    match done.await {
        Ok(Ok(bytes)) if bytes.is_empty() => StatusCode::NOT_FOUND.into_response(),
        Ok(Ok(bytes)) => bytes.into_response(),
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
}
