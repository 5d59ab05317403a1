use std::sync::Arc;

use bylaw_attest::collateral::Directory;
use bylaw_attest::{Attestation, TrustAnchors};
use bylaw_keys::P256Key;
use bylaw_types::ReportData;
use bylaw_types::clock::Clock;

use super::*;
use crate::{CertSpec, Issuer};

async fn verdict(spec: CertSpec) -> Result<AttestedCert, AttestedError> {
    let key = P256Key::random().unwrap();
    let issuer = Issuer::self_signed(&spec, &key, 1_800_000_000).unwrap();
    let cert = RaTlsCert::parse(&issuer.cert().der).unwrap();
    let nothing = Arc::new(Directory::new("/nonexistent"));
    let verifier = Verifier::new(TrustAnchors::vendor(), nothing, Clock::fixed(1_800_000_000));
    verify_attested(cert, &verifier).await
}

fn spec() -> CertSpec {
    CertSpec {
        subject: "x".into(),
        ..CertSpec::default()
    }
}

#[tokio::test]
async fn a_certificate_without_evidence_or_of_other_anchors_is_refused() {
    assert_eq!(verdict(spec()).await.unwrap_err(), AttestedError::Missing);
    let other = CertSpec {
        trust_anchors: Some(TrustAnchorDigest::new([1; 32])),
        ..spec()
    };
    assert!(matches!(
        verdict(other).await,
        Err(AttestedError::OtherAnchors { .. })
    ));
}

#[tokio::test]
async fn real_evidence_in_a_certificate_of_another_key_is_refused() {
    let quote = include_bytes!("../../../../test/vectors/attest/tdx/dcapqvl-v4/quote.bin");
    let evidence = Attestation::from_tdx_quote(
        quote,
        bylaw_attest::tdx::report_data(quote).unwrap_or(ReportData::new([0; 64])),
    );
    let replayed = CertSpec {
        attestation: Some(evidence),
        ..spec()
    };
    assert!(matches!(
        verdict(replayed).await,
        Err(AttestedError::Appraisal(_))
    ));
}
