//! Every quote in `test/vectors/attest`, real or broken, gets the verdict that
//! is known of it.

use super::*;
use crate::collateral::Collateral;

macro_rules! vector {
    ($path:literal) => {
        include_bytes!(concat!("../../../../test/vectors/attest/tdx/", $path)).as_slice()
    };
}

/// Within the validity of the sample collateral.
const IN_TIME: u64 = 1_750_414_563;
/// When every PCK certificate among the samples is valid.
const TODAY: u64 = 1_780_000_000;

fn collateral(bytes: &[u8]) -> Collateral {
    Collateral::from_json(std::str::from_utf8(bytes).unwrap(), "test").unwrap()
}

fn sample() -> Collateral {
    collateral(vector!("dcapqvl-v4/collateral.json"))
}

fn verify_at(quote: &[u8], collateral: &Collateral, now: u64) -> Result<VerifiedTd, QuoteError> {
    verify(quote, &TrustAnchors::vendor(), collateral, now)
}

#[test]
fn a_real_quote_with_its_collateral_is_up_to_date() {
    for now in [IN_TIME, 1_752_916_563] {
        let td = verify_at(vector!("dcapqvl-v4/quote.bin"), &sample(), now).unwrap();
        assert_eq!(td.tcb_status, TcbStatus::UpToDate);
        assert!(td.advisory_ids.is_empty());
        assert!(td.report.mrtd.to_string().starts_with("91eb2b44d141d4ec"));
    }
}

#[test]
fn collateral_counts_only_in_its_time() {
    let quote = vector!("dcapqvl-v4/quote.bin");
    for now in [1_753_006_563, TODAY] {
        let error = verify_at(quote, &sample(), now).unwrap_err();
        assert!(matches!(error, QuoteError::Collateral(_)), "{error:?}");
    }
    assert!(
        verify_at(quote, &sample(), 1_740_000_000).is_err(),
        "before it was issued"
    );
}

#[test]
fn a_platform_below_every_known_level_is_refused() {
    let quote = vector!("dcapqvl-outdated/quote.bin");
    let collateral = collateral(vector!("dcapqvl-outdated/collateral.json"));
    let now = collateral.expires_at().unwrap() - 60;
    let error = verify_at(quote, &collateral, now).unwrap_err();
    assert!(error.to_string().contains("TCB level"), "{error:?}");
}

#[test]
fn version_5_quotes_of_td_1_5_verify() {
    let genuine = verify_without_collateral(
        vector!("gotdx-v5/quote.bin"),
        &TrustAnchors::vendor(),
        TODAY,
    );
    assert_eq!(genuine.unwrap().tcb_status, TcbStatus::NotReported);
    let collateral = collateral(vector!("dcapqvl-td15ex/collateral.json"));
    let now = collateral.expires_at().unwrap() - 60;
    let td = verify_at(vector!("dcapqvl-td15ex/quote.bin"), &collateral, now).unwrap();
    assert_ne!(td.tcb_status, TcbStatus::NotReported);
}

#[test]
fn a_genuine_td_bound_to_a_service_td_is_refused() {
    let quote = vector!("trustee-v5/quote.bin");
    let verdict = verify_without_collateral(quote, &TrustAnchors::vendor(), TODAY);
    assert!(
        matches!(verdict, Err(QuoteError::Attributes(_))),
        "{verdict:?}"
    );
}

#[test]
fn every_real_quote_without_collateral_is_genuine_but_not_reported() {
    for (name, quote) in [
        ("trustee-v4", vector!("trustee-v4/quote.bin")),
        ("gotdx-v5", vector!("gotdx-v5/quote.bin")),
        ("gotdx-v4", vector!("gotdx-v4/quote.bin")),
        (
            "gotdx-cos, padded with zeros",
            vector!("gotdx-cos-ccel/quote.bin"),
        ),
        ("dcapqvl-v4", vector!("dcapqvl-v4/quote.bin")),
        ("a TD on Azure", vector!("azure-td-quote.bin")),
    ] {
        let td = verify_without_collateral(quote, &TrustAnchors::vendor(), TODAY)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(td.tcb_status, TcbStatus::NotReported, "{name}");
    }
}

#[test]
fn a_genuine_debug_td_is_refused() {
    let quote = vector!("trustee-v4-debug/quote.bin");
    let verdict = verify_without_collateral(quote, &TrustAnchors::vendor(), TODAY);
    assert_eq!(verdict, Err(QuoteError::Debug));
}

#[test]
fn every_broken_quote_is_refused_with_and_without_collateral() {
    type Fault = fn(&QuoteError) -> bool;
    let signature: Fault = |error| matches!(error, QuoteError::Signature(_));
    let form: Fault = |error| matches!(error, QuoteError::Malformed(_));
    let debug_or_signature: Fault =
        |error| matches!(error, QuoteError::Debug | QuoteError::Signature(_));
    for (name, quote, fault) in [
        ("sig-bitflip", vector!("broken/sig-bitflip.bin"), signature),
        (
            "report-data-bitflip",
            vector!("broken/report-data-bitflip.bin"),
            signature,
        ),
        (
            "mrtd-bitflip",
            vector!("broken/mrtd-bitflip.bin"),
            signature,
        ),
        (
            "qe-report-bitflip",
            vector!("broken/qe-report-bitflip.bin"),
            signature,
        ),
        ("ak-swapped", vector!("broken/ak-swapped.bin"), signature),
        (
            "debug-set",
            vector!("broken/debug-set.bin"),
            debug_or_signature,
        ),
        ("truncated", vector!("broken/truncated.bin"), form),
        ("version-6", vector!("broken/version-6.bin"), form),
        ("siglen-huge", vector!("broken/siglen-huge.bin"), form),
        ("empty", vector!("broken/empty.bin"), form),
    ] {
        let with = verify_at(quote, &sample(), IN_TIME).unwrap_err();
        assert!(fault(&with), "{name} with collateral: {with:?}");
        let without = verify_without_collateral(quote, &TrustAnchors::vendor(), IN_TIME);
        assert!(
            fault(without.as_ref().unwrap_err()),
            "{name} without: {without:?}"
        );
    }
}

#[test]
fn tampered_collateral_is_refused() {
    let quote = vector!("dcapqvl-v4/quote.bin");
    for (name, bytes) in [
        (
            "nextUpdate edited",
            vector!("broken/collateral-nextupdate-edited.json"),
        ),
        (
            "signature zeroed",
            vector!("broken/collateral-tcb-sig-zero.json"),
        ),
    ] {
        let error = verify_at(quote, &collateral(bytes), IN_TIME).unwrap_err();
        assert!(
            !matches!(error, QuoteError::Signature(_)),
            "{name}: {error:?}"
        );
    }
    let no_crl = std::str::from_utf8(vector!("broken/collateral-no-crl.json")).unwrap();
    let refused = match Collateral::from_json(no_crl, "test") {
        Err(_) => true,
        Ok(collateral) => verify_at(quote, &collateral, IN_TIME).is_err(),
    };
    assert!(refused);
}

#[test]
fn collateral_of_another_platform_is_refused() {
    let error = verify_at(vector!("trustee-v4/quote.bin"), &sample(), IN_TIME).unwrap_err();
    assert!(matches!(error, QuoteError::Collateral(_)), "{error:?}");
}

#[test]
fn quotes_are_refused_under_another_root() {
    let key = another_root();
    let quote = vector!("dcapqvl-v4/quote.bin");
    assert!(verify(quote, &key, &sample(), IN_TIME).is_err());
    let without = verify_without_collateral(quote, &key, IN_TIME);
    assert!(matches!(without, Err(QuoteError::Chain(_))), "{without:?}");
}

/// Some other self-signed root: AWS's, which signs no TDX quotes.
fn another_root() -> TrustAnchors {
    TrustAnchors::with_tdx_root(include_bytes!(
        "../../../../test/vectors/attest/AWS_NitroEnclaves_Root-G1.pem"
    ))
    .unwrap()
}

#[test]
fn the_key_of_the_needed_collateral_is_read_from_the_quote() {
    let key = collateral_key(vector!("dcapqvl-v4/quote.bin")).unwrap();
    assert_eq!(
        key,
        CollateralKey {
            fmspc: [0xb0, 0xc0, 0x6f, 0, 0, 0],
            ca: "platform"
        }
    );
    assert!(collateral_key(&[0; 100]).is_err());
    assert!(collateral_key(&vec![0; MAX_QUOTE_LEN + 1]).is_err());
}
