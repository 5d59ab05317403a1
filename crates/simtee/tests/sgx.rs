//! Quotes of the simulated sealing enclave, verified by the code that verifies hardware.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use bylaw_attest::collateral::Pccs;
use bylaw_attest::sgx;
use bylaw_attest::tdx::QuoteError;
use bylaw_attest::{Collateral, TrustAnchors};
use bylaw_simtee::{Machine, Options, pccs};
use bylaw_types::clock::Clock;
use bylaw_types::{ReportData, TcbStatus};

const NOW: u64 = 1_800_000_000;

fn machine(options: Options) -> (tempfile::TempDir, Machine, TrustAnchors, Collateral) {
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::open(dir.path(), options).unwrap();
    let anchors = TrustAnchors::with_tdx_root(machine.root_pem().as_bytes()).unwrap();
    let collateral = machine.sgx_collateral(NOW).unwrap();
    (dir, machine, anchors, collateral)
}

#[test]
fn an_enclave_is_who_it_says() {
    let (_dir, machine, anchors, collateral) = machine(Options::default());
    let report_data = ReportData::new([9; 64]);
    let quote = machine.sgx_quote(&report_data);
    let verified = sgx::verify(&quote, &anchors, &collateral, NOW).unwrap();
    assert_eq!(verified.enclave.mr_enclave, machine.mr_enclave());
    assert_eq!(verified.enclave.report_data, report_data);
    assert_eq!(verified.tcb_status, TcbStatus::UpToDate);
    assert_eq!(sgx::report(&quote).unwrap(), verified.enclave);
}

#[test]
fn forged_foreign_and_revoked_quotes_are_refused() {
    let (_dir, mine, anchors, collateral) = machine(Options::default());
    let quote = mine.sgx_quote(&ReportData::new([9; 64]));
    // Report data, measurement, quoting enclave, attestation key.
    for at in [48 + 320, 48 + 64, 28, 48 + 384 + 4 + 64] {
        let mut forged = quote.clone();
        forged[at] ^= 1;
        let error = sgx::verify(&forged, &anchors, &collateral, NOW).unwrap_err();
        assert!(
            matches!(error, QuoteError::Signature(_) | QuoteError::Refused(_)),
            "{at}: {error}"
        );
    }
    let mut debug = quote.clone();
    debug[48 + 48] |= 2;
    assert_eq!(sgx::report(&debug), Err(QuoteError::Debug));
    assert!(sgx::verify(&quote[..quote.len() - 1], &anchors, &collateral, NOW).is_err());
    assert!(sgx::verify(&quote, &TrustAnchors::vendor(), &collateral, NOW).is_err());
    let later = NOW + 90 * 24 * 60 * 60;
    assert!(sgx::verify(&quote, &anchors, &collateral, later).is_err());
    let of_tds = mine.collateral(NOW).unwrap();
    assert!(sgx::verify(&quote, &anchors, &of_tds, NOW).is_err());

    let (_dir, revoked, anchors, collateral) = machine(Options {
        revoke_pck: true,
        ..Options::default()
    });
    let quote = revoked.sgx_quote(&ReportData::new([9; 64]));
    let error = sgx::verify(&quote, &anchors, &collateral, NOW).unwrap_err();
    assert!(matches!(error, QuoteError::Revoked(_)), "{error}");
}

#[test]
fn sealing_keys_stay_with_the_machine() {
    let (dir, one, ..) = machine(Options::default());
    let (_dir, other, ..) = machine(Options::default());
    assert_ne!(one.sgx_sealing_key(), other.sgx_sealing_key());
    let again = Machine::open(dir.path(), Options::default()).unwrap();
    assert_eq!(one.sgx_sealing_key(), again.sgx_sealing_key());
}

#[tokio::test]
async fn collateral_of_enclaves_is_served() {
    let (_dir, machine, anchors, _) = machine(Options::default());
    let machine = Arc::new(machine);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = pccs::router(Arc::clone(&machine), Clock::fixed(NOW));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let quote = machine.sgx_quote(&ReportData::new([9; 64]));
    let key = sgx::collateral_key(&quote).unwrap();
    let collateral = Pccs::new(&url)
        .unwrap()
        .enclave_collateral(&key)
        .await
        .unwrap();
    sgx::verify(&quote, &anchors, &collateral, NOW).unwrap();
}
