//! A PCCS-compatible endpoint for the machine's collateral.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bylaw_types::clock::Clock;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::collateral::Signed;
use crate::{Machine, SimError};

#[derive(Debug)]
struct Pccs {
    machine: Arc<Machine>,
    clock: Clock,
}

/// Routes of the PCS API, version 4; collateral is issued as of each request.
pub fn router(machine: Arc<Machine>, clock: Clock) -> Router {
    Router::new()
        .route("/sgx/certification/v4/pckcrl", get(pck_crl))
        .route("/sgx/certification/v4/rootcacrl", get(root_crl))
        .route("/IntelSGXRootCA.der", get(root_crl_der))
        .route("/tdx/certification/v4/tcb", get(tcb))
        .route("/tdx/certification/v4/qe/identity", get(qe_identity))
        .route("/sgx/certification/v4/tcb", get(sgx_tcb))
        .route("/sgx/certification/v4/qe/identity", get(sgx_qe_identity))
        .with_state(Arc::new(Pccs { machine, clock }))
}

impl Pccs {
    fn window(&self) -> (u64, u64) {
        Machine::window(self.clock.now_unix())
    }
}

fn encoded(pem: &str) -> String {
    utf8_percent_encode(pem, NON_ALPHANUMERIC).to_string()
}

fn failed(error: &SimError) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
}

async fn pck_crl(State(pccs): State<Arc<Pccs>>, RawQuery(query): RawQuery) -> Response {
    if !query.unwrap_or_default().contains("ca=platform") {
        return StatusCode::NOT_FOUND.into_response();
    }
    let (from, until) = pccs.window();
    match pccs.machine.crls(from, until) {
        Ok((_, crl)) => {
            let chain = encoded(&pccs.machine.pck_crl_chain_pem());
            ([("SGX-PCK-CRL-Issuer-Chain", chain)], crl).into_response()
        }
        Err(error) => failed(&error),
    }
}

/// Hex, as a PCCS serves it.
async fn root_crl(State(pccs): State<Arc<Pccs>>) -> Response {
    let (from, until) = pccs.window();
    match pccs.machine.crls(from, until) {
        Ok((crl, _)) => hex::encode(crl).into_response(),
        Err(error) => failed(&error),
    }
}

/// DER, as Intel's distribution point serves it.
async fn root_crl_der(State(pccs): State<Arc<Pccs>>) -> Response {
    let (from, until) = pccs.window();
    match pccs.machine.crls(from, until) {
        Ok((crl, _)) => crl.into_response(),
        Err(error) => failed(&error),
    }
}

async fn tcb(State(pccs): State<Arc<Pccs>>, RawQuery(query): RawQuery) -> Response {
    let (from, until) = pccs.window();
    tcb_info(query, &pccs.machine, &pccs.machine.tcb_info(from, until))
}

async fn sgx_tcb(State(pccs): State<Arc<Pccs>>, RawQuery(query): RawQuery) -> Response {
    let (from, until) = pccs.window();
    tcb_info(
        query,
        &pccs.machine,
        &pccs.machine.sgx_tcb_info(from, until),
    )
}

fn tcb_info(query: Option<String>, machine: &Machine, signed: &Signed) -> Response {
    let wanted = format!("fmspc={}", hex::encode(crate::pck::FMSPC));
    if !query
        .unwrap_or_default()
        .to_ascii_lowercase()
        .contains(&wanted)
    {
        return StatusCode::NOT_FOUND.into_response();
    }
    let body = format!(
        r#"{{"tcbInfo":{},"signature":"{}"}}"#,
        signed.text, signed.signature
    );
    let chain = encoded(&machine.tcb_chain_pem());
    ([("TCB-Info-Issuer-Chain", chain)], body).into_response()
}

async fn qe_identity(State(pccs): State<Arc<Pccs>>) -> Response {
    let (from, until) = pccs.window();
    identity(&pccs.machine, &pccs.machine.qe_identity(from, until))
}

async fn sgx_qe_identity(State(pccs): State<Arc<Pccs>>) -> Response {
    let (from, until) = pccs.window();
    identity(&pccs.machine, &pccs.machine.sgx_qe_identity(from, until))
}

fn identity(machine: &Machine, signed: &Signed) -> Response {
    let body = format!(
        r#"{{"enclaveIdentity":{},"signature":"{}"}}"#,
        signed.text, signed.signature
    );
    let chain = encoded(&machine.tcb_chain_pem());
    ([("SGX-Enclave-Identity-Issuer-Chain", chain)], body).into_response()
}
