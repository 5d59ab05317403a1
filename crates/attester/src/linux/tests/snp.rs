//! SEV-SNP, from a recorded report.

use super::*;

const RECORDED: &[u8] =
    include_bytes!("../../../../../test/vectors/attest/sev_snp_attestation.bin");

struct Recorded {
    whole: Attestation,
    report: Vec<u8>,
}

fn recorded() -> Recorded {
    let whole = Attestation::decode(RECORDED).unwrap();
    let Platform::SevSnp { report, .. } = whole.platform.clone() else {
        panic!("SEV-SNP");
    };
    Recorded { whole, report }
}

fn open(dir: &Path, report: Vec<u8>, config: &str) -> (Arc<FakeKernel>, LinuxAttester) {
    let kernel = sev(dir, move |_| report.clone());
    kernel.driver().aux = Some(vec![]);
    let attester = attester(&kernel, None, Some(config)).unwrap();
    (kernel, attester)
}

#[tokio::test]
async fn a_recorded_report_gives_the_recorded_evidence_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let recorded = recorded();
    let config = &recorded.whole.stack.config;
    let (kernel, attester) = open(dir.path(), recorded.report, config);
    assert_eq!(attester.tee(), Tee::Snp);
    for event in &recorded.whole.stack.runtime_events {
        attester.extend(&event.event, &event.payload).await.unwrap();
    }
    let evidence = attester
        .attest(&recorded.whole.stack.report_data)
        .await
        .unwrap();
    assert_eq!(evidence.encode(), RECORDED);
    assert!(
        !Measurement::Rtmr3.path(&kernel.roots).exists(),
        "no register was needed"
    );
    let hardware = attester.hardware().await.unwrap();
    assert_eq!(hardware.tee, TeeVariant::SevSnp);
    assert!(!hardware.measures_events);
}

#[tokio::test]
async fn the_hosts_certificates_travel_as_one_table() {
    let dir = tempfile::tempdir().unwrap();
    let recorded = recorded();
    let (kernel, attester) = open(dir.path(), recorded.report, &recorded.whole.stack.config);
    kernel.driver().aux = Some(b"table".to_vec());
    let evidence = attester
        .attest(&recorded.whole.stack.report_data)
        .await
        .unwrap();
    let Platform::SevSnp { cert_chain, .. } = evidence.platform else {
        panic!("SEV-SNP");
    };
    assert_eq!(cert_chain, [b"table"]);
}

#[tokio::test]
async fn a_privilege_level_reaches_the_driver() {
    let dir = tempfile::tempdir().unwrap();
    let recorded = recorded();
    let (kernel, attester) = open(dir.path(), recorded.report, &recorded.whole.stack.config);
    let asked = recorded.whole.stack.report_data;
    attester.attest(&asked).await.unwrap();
    assert!(kernel.driver().levels.is_empty());
    let lower = attester.clone().at_privilege_level(1).unwrap();
    lower.attest(&asked).await.unwrap();
    assert_eq!(kernel.driver().levels, [b"1"]);
    let error = attester.at_privilege_level(4).unwrap_err();
    assert!(matches!(error, PlatformError::PrivilegeLevel(4)), "{error}");
}

#[tokio::test]
async fn reports_of_another_length_or_for_another_challenge_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let recorded = recorded();
    let (kernel, attester) = open(
        dir.path(),
        recorded.report.clone(),
        &recorded.whole.stack.config,
    );
    let error = platform_error(attester.attest(&ASKED).await.unwrap_err());
    assert!(
        matches!(error, PlatformError::OtherReportData { .. }),
        "{error}"
    );
    let asked = recorded.whole.stack.report_data;
    for length in [0, 1, 0x90, 1183, 1185, 32 * 1024] {
        let mut report = recorded.report.clone();
        report.resize(length, 0);
        kernel.driver().quoting = Box::new(move |_| report.clone());
        let error = platform_error(attester.attest(&asked).await.unwrap_err());
        let PlatformError::Size { actual, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(actual, length);
    }
}

#[tokio::test]
async fn the_launch_document_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let recorded = recorded();
    let (_kernel, attester) = open(dir.path(), recorded.report, r#"{"cpu_count":2}"#);
    let asked = recorded.whole.stack.report_data;
    let error = platform_error(attester.attest(&asked).await.unwrap_err());
    assert!(matches!(error, PlatformError::NoMrConfig), "{error}");
}
