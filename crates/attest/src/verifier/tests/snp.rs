//! Real SEV-SNP evidence, with the certificates that were published with it.

use bylaw_types::TeeVariant;

use super::*;
use crate::Report;
use crate::image::snp::SnpImageError;
use crate::image::snp::tests::real_vm_config;
use crate::snp::Product;

const REAL: &[u8] = include_bytes!("../../../../../test/vectors/attest/sev_snp_attestation.bin");
const ASK: &[u8] = include_bytes!("../../../../../test/vectors/attest/snp/milan-ask.pem");
const VCEK: &[u8] =
    include_bytes!("../../../../../test/vectors/attest/snp/dstack-milan-v3/vcek.pem");
/// 2026-07-01, within the dates of its VCEK.
const NOW: u64 = 1_782_864_000;

/// The parts of evidence that tests change.
struct Parts {
    report: Vec<u8>,
    cert_chain: Vec<Vec<u8>>,
    mr_config: String,
}

fn real(change: impl FnOnce(&mut Parts)) -> Attestation {
    let mut evidence = Attestation::decode(REAL).unwrap();
    let Platform::SevSnp {
        report, mr_config, ..
    } = evidence.platform
    else {
        panic!("SEV-SNP");
    };
    let mut parts = Parts {
        report,
        cert_chain: vec![ASK.to_vec(), VCEK.to_vec()],
        mr_config,
    };
    change(&mut parts);
    evidence.platform = Platform::SevSnp {
        report: parts.report,
        cert_chain: parts.cert_chain,
        mr_config: parts.mr_config,
    };
    evidence
}

fn verifier(anchors: TrustAnchors) -> Verifier {
    let nothing = Arc::new(Directory::new("/nonexistent"));
    Verifier::new(anchors, nothing, Clock::fixed(NOW))
}

async fn tolerant(evidence: &Attestation) -> Result<Appraisal, AppraisalError> {
    verifier(TrustAnchors::vendor())
        .tolerating_missing_collateral()
        .appraise(evidence, Expect::Anything)
        .await
}

#[tokio::test]
async fn real_evidence_establishes_its_known_identity() {
    let appraisal = tolerant(&real(|_| {})).await.unwrap();
    assert_eq!(appraisal.tee_variant(), TeeVariant::SevSnp);
    assert_eq!(appraisal.tcb_status(), TcbStatus::NotReported);
    let Report::SevSnp(report) = appraisal.report() else {
        panic!("SEV-SNP");
    };
    let (vm_config, image) = real_vm_config();
    for mode in [Mode::Full, Mode::BootTime] {
        let who = appraisal.identify(mode, Some(&vm_config)).unwrap();
        assert_eq!(who.os_image_hash, image);
        assert_eq!(
            who.app_id.to_string(),
            "86e59625be93207bc2351c4d1bba20037cec8e16"
        );
        assert_eq!(
            who.compose_hash.to_string(),
            "86e59625be93207bc2351c4d1bba20037cec8e168da6b18f559af5af657b7a23"
        );
        assert_eq!(
            who.instance_id.unwrap().to_string(),
            "d378c00e65112c4235bfeb46c6a0f98fd02145a3"
        );
        assert!(
            who.key_provider_info
                .starts_with(br#"{"name":"kms","id":"3059"#)
        );
        assert_eq!(who.mr_system, report.mr_system());
        assert_eq!(who.mr_aggregated, report.mr_aggregated());
        assert_eq!(who.device_id, report.device_id());
    }
    // What it said of its image is in a form of its time, which proves nothing here.
    assert!(matches!(
        appraisal.identify(Mode::Full, None),
        Err(IdentifyError::SnpImage(SnpImageError::Material(_)))
    ));
}

/// SEV-SNP has no register for events, so a host may write what it likes.
#[tokio::test]
async fn nothing_is_believed_from_events() {
    let gpus = br#"{"provider":"nvidia","devices":8,"cc_mode":"on","devtools":false}"#;
    let mut evidence = real(|_| {});
    evidence.stack.runtime_events = vec![
        RuntimeEvent::new("gpu-attestation", gpus.to_vec(), crate::EventVersion::V1),
        RuntimeEvent::new("app-id", vec![9; 20], crate::EventVersion::V1),
    ];
    let appraisal = tolerant(&evidence).await.unwrap();
    assert!(!appraisal.facts().gpu_attested);
    assert!(appraisal.runtime_events().is_empty());
    let (vm_config, _) = real_vm_config();
    let who = appraisal.identify(Mode::Full, Some(&vm_config)).unwrap();
    assert_ne!(who.app_id, [9; 20].into());
}

#[tokio::test]
async fn without_amds_word_nothing_may_be_released() {
    let strict = verifier(TrustAnchors::vendor());
    let refused = |evidence: Attestation| {
        let strict = strict.clone();
        async move {
            strict
                .appraise(&evidence, Expect::Anything)
                .await
                .unwrap_err()
        }
    };
    let missing = AppraisalError::CollateralMissing(CollateralError::NoAmdSource);
    assert_eq!(refused(real(|_| {})).await, missing);
    assert_eq!(
        refused(real(|parts| parts.cert_chain.clear())).await,
        missing
    );
    let forged = refused(real(|parts| parts.report[0x60] ^= 1)).await;
    assert_eq!(forged, AppraisalError::Snp(SnpError::Signature));
}

#[tokio::test]
async fn a_document_that_the_launch_was_not_bound_to_is_refused() {
    for change in [
        (|text: &mut String| text.push(' ')) as fn(&mut String),
        |text| *text = text.replace("86e5", "86e6"),
        String::clear,
    ] {
        let error = tolerant(&real(|parts| change(&mut parts.mr_config)))
            .await
            .unwrap_err();
        assert!(matches!(error, AppraisalError::HostData { .. }), "{error}");
    }
}

#[tokio::test]
async fn evidence_for_another_key_is_refused() {
    let mut evidence = real(|_| {});
    evidence.stack.report_data = ReportData::new([1; 64]);
    let error = tolerant(&evidence).await.unwrap_err();
    assert!(
        matches!(error, AppraisalError::ReportData { .. }),
        "{error}"
    );
    let error = verifier(TrustAnchors::vendor())
        .tolerating_missing_collateral()
        .appraise(&real(|_| {}), Expect::RaTlsKey(b"key"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, AppraisalError::ReportData { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn development_sets_without_an_amd_root_refuse() {
    let root = include_bytes!("../../../../../test/vectors/attest/snp/genoa-ask.pem");
    let error = verifier(TrustAnchors::with_tdx_root(root).unwrap())
        .appraise(&real(|_| {}), Expect::Anything)
        .await
        .unwrap_err();
    let no_root = AppraisalError::Snp(SnpError::NoRoot(Product::Milan));
    assert_eq!(error, no_root);
}
