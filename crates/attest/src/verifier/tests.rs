mod snp;

use bylaw_types::{OsImageHash, TcbStatus};

use super::*;
use crate::collateral::{Collateral, Directory, Fixed};
use crate::encoding::GetQuoteAnswer;
use crate::{IdentifyError, Mode};

const TODAY: u64 = 1_780_000_000;
const FULL: &[u8] = include_bytes!("../../../../test/vectors/attest/attestation-v0-full.bin");
const LITE: &str = include_str!("../../../../test/vectors/attest/tdx-lite-getquote.json");

fn without_collateral() -> Verifier {
    let nothing = Arc::new(Directory::new("/nonexistent"));
    Verifier::new(TrustAnchors::vendor(), nothing, Clock::fixed(TODAY))
}

fn lite() -> Attestation {
    let answer: GetQuoteAnswer = serde_json::from_str(LITE).unwrap();
    Attestation::try_from(answer).unwrap()
}

async fn appraised(evidence: &Attestation) -> Appraisal {
    without_collateral()
        .tolerating_missing_collateral()
        .appraise(evidence, Expect::Anything)
        .await
        .unwrap()
}

#[tokio::test]
async fn real_evidence_establishes_its_known_identity() {
    let appraisal = appraised(&lite()).await;
    assert_eq!(appraisal.tcb_status(), TcbStatus::NotReported);
    let full = appraisal.identify(Mode::Full, None).unwrap();
    assert_eq!(
        full.app_id.to_string(),
        "86b0e55f2fa8e4fb69d890f14f54d5612707646e"
    );
    assert_eq!(
        full.instance_id.unwrap().to_string(),
        "050bf89570575fe8fab4cb8f0a62a9e64efe8ead"
    );
    assert_eq!(
        full.device_id.to_string(),
        "318a579a74326db98e209c5ffd7fd1e51a73bb1979c6408298a827a90ed268d0"
    );
    assert_eq!(
        full.mr_system.to_string(),
        "118f754a080ecb8527df65656ee4e7e97b891cf488ad6a38886ff0dbca0c8f70"
    );
    assert_eq!(
        full.mr_aggregated.to_string(),
        "c758fa624b62536ca77504c4c52745e70880220a178a615a859c52f8b101d2ee"
    );
    let boot = appraisal.identify(Mode::BootTime, None).unwrap();
    assert_eq!(
        boot.mr_system.to_string(),
        "37a91fd6aac229d83a1850be9bf017455d1cf4815e8fcb77332119de7e1a52f7"
    );
    assert_eq!(
        boot.mr_aggregated.to_string(),
        "f4e6117e0fdea4b23b5f32a2a59e7b7b99b64df237a9536fb2cb5ca2a270145e"
    );
    assert!(boot.key_provider_info.is_empty());
}

#[tokio::test]
async fn the_other_real_evidence_has_its_known_measurements_but_no_proven_image() {
    let appraisal = appraised(&Attestation::decode(FULL).unwrap()).await;
    for (mode, provider, system, aggregated) in [
        (
            Mode::Full,
            true,
            "51ea38f8eee6dc72dbae9b74531ae6d6204295d265dabb4e6c34621a2a1a1197",
            "85334a62c97d0f8bf82d0245d31b539d17a2d7c258e2a13efc928aaea0e107cb",
        ),
        (
            Mode::BootTime,
            false,
            "ef6af583432288c877e412740aa7d8a844a18920ad98e9b1d95d42a07a3044c8",
            "787f9fe525fcb61e81f31a30225a86674412088f2f1b683a421a7e9cbcd40551",
        ),
    ] {
        let events = appraisal.runtime_events();
        let measured = crate::event_log::field(events, "key-provider").unwrap();
        let provider = if provider { measured } else { &[] };
        let Established::Tdx(td) = &appraisal.platform else {
            panic!("TDX");
        };
        assert_eq!(td.report.mr_system(provider).to_string(), system);
        assert_eq!(td.mr_aggregated(mode).to_string(), aggregated);
    }
    // The image it booted has no measurement document, so there is no identity.
    assert_eq!(
        appraisal.device_id().to_string(),
        "c07347d88ac7ef3d42d02ceb80a0e3ac66981cf7382f72d0692ec591ea58cf1f"
    );
    assert!(matches!(
        appraisal.identify(Mode::Full, None),
        Err(IdentifyError::Image(_))
    ));
}

#[tokio::test]
async fn a_third_real_log_replays_to_its_quote() {
    let answer: GetQuoteAnswer = serde_json::from_str(include_str!(
        "../../../../test/vectors/attest/tdx/dstack-v4-eventlog/getquote.json"
    ))
    .unwrap();
    let appraisal = appraised(&Attestation::try_from(answer).unwrap()).await;
    assert_eq!(appraisal.tcb_status(), TcbStatus::NotReported);
    assert!(matches!(
        appraisal.identify(Mode::Full, None),
        Err(IdentifyError::Image(_))
    ));
}

#[tokio::test]
async fn without_collateral_nothing_may_be_released() {
    let error = without_collateral()
        .appraise(&lite(), Expect::Anything)
        .await
        .unwrap_err();
    assert!(
        matches!(error, AppraisalError::CollateralMissing(_)),
        "{error:?}"
    );
}

#[tokio::test]
async fn evidence_for_another_key_or_challenge_is_refused() {
    let verifier = without_collateral().tolerating_missing_collateral();
    let signed = lite().stack.report_data;
    verifier
        .appraise(&lite(), Expect::ReportData(&signed))
        .await
        .unwrap();
    let mut other = signed.to_bytes();
    other[63] ^= 1;
    for expected in [
        Expect::ReportData(&ReportData::new(other)),
        Expect::RaTlsKey(b"some key"),
    ] {
        let error = verifier.appraise(&lite(), expected).await.unwrap_err();
        assert!(
            matches!(error, AppraisalError::ReportData { .. }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_stated_challenge_that_was_not_signed_is_refused() {
    let verifier = without_collateral().tolerating_missing_collateral();
    let mut evidence = lite();
    let mut other = evidence.stack.report_data.to_bytes();
    other[0] ^= 1;
    evidence.stack.report_data = ReportData::new(other);
    let error = verifier
        .appraise(&evidence, Expect::Anything)
        .await
        .unwrap_err();
    assert!(
        matches!(error, AppraisalError::ReportData { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_changed_event_log_does_not_replay() {
    let verifier = without_collateral().tolerating_missing_collateral();
    for change in 0..4 {
        let mut evidence = lite();
        let events = &mut evidence.stack.runtime_events;
        match change {
            0 => events[1].payload[0] ^= 1,
            1 => events.swap(1, 2),
            2 => drop(events.pop()),
            _ => events[0].event.push('x'),
        }
        let error = verifier
            .appraise(&evidence, Expect::Anything)
            .await
            .unwrap_err();
        assert!(
            matches!(error, AppraisalError::EventLog { .. }),
            "{change}: {error:?}"
        );
    }
}

#[tokio::test]
async fn an_event_cannot_be_hidden_by_moving_the_colon() {
    let verifier = without_collateral().tolerating_missing_collateral();
    let mut evidence = lite();
    let events = &mut evidence.stack.runtime_events;
    let provider = events
        .iter_mut()
        .find(|event| event.event == "key-provider")
        .unwrap();
    let text = String::from_utf8(provider.payload.clone()).unwrap();
    let (head, tail) = text.split_once(':').unwrap();
    provider.event = format!("key-provider:{head}");
    provider.payload = tail.as_bytes().to_vec();
    let error = verifier
        .appraise(&evidence, Expect::Anything)
        .await
        .unwrap_err();
    assert!(matches!(error, AppraisalError::EventName(_)), "{error:?}");
}

#[tokio::test]
async fn another_claimed_image_is_refused() {
    let appraisal = appraised(&lite()).await;
    let real = appraisal.vm_config().to_owned();
    let other = OsImageHash::new([9; 32]).to_string();
    let forged = real.replace(
        "e6f5cfec20c02e7b97baa213d0f718020b55e040172d90ccbcb946d56c8b09db",
        &other,
    );
    assert!(appraisal.identify(Mode::Full, Some(&real)).is_ok());
    assert!(matches!(
        appraisal.identify(Mode::Full, Some(&forged)),
        Err(IdentifyError::Image(_))
    ));
}

#[tokio::test]
async fn other_platforms_are_named_not_guessed() {
    let bytes = include_bytes!("../../../../test/vectors/attest/nitro_attestation.bin");
    let evidence = Attestation::decode(bytes).unwrap();
    let error = without_collateral()
        .appraise(&evidence, Expect::Anything)
        .await
        .unwrap_err();
    assert_eq!(error, AppraisalError::UnsupportedPlatform("nitro-enclave"));
}

#[tokio::test]
async fn a_quote_alone_verifies_with_its_collateral() {
    let quote = include_bytes!("../../../../test/vectors/attest/tdx/dcapqvl-v4/quote.bin");
    let collateral = include_str!("../../../../test/vectors/attest/tdx/dcapqvl-v4/collateral.json");
    let source = Arc::new(Fixed::new(
        Collateral::from_json(collateral, "test").unwrap(),
    ));
    let verifier = Verifier::new(TrustAnchors::vendor(), source, Clock::fixed(1_750_414_563));
    let td = verifier.verify_quote(quote, None).await.unwrap();
    assert_eq!(td.tcb_status, TcbStatus::UpToDate);
    verifier
        .verify_quote(quote, Some(&td.report.report_data))
        .await
        .unwrap();
    let other = ReportData::new([1; 64]);
    assert!(verifier.verify_quote(quote, Some(&other)).await.is_err());
    // As evidence it replays (nothing was extended), but nothing says who it is.
    let evidence = Attestation::from_tdx_quote(quote, td.report.report_data);
    let appraisal = verifier
        .appraise(&evidence, Expect::Anything)
        .await
        .unwrap();
    assert!(appraisal.identify(Mode::Full, None).is_err());
}
