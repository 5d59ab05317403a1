//! SEV-SNP reports, the certificates beside them, and the launch document.
#![no_main]

use bylaw_attest::mr_config::LaunchDocument;
use bylaw_attest::snp::{Endorsements, Material, REPORT_LEN, SnpReport, signer, table, verify};
use bylaw_attest::TrustAnchors;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (report, rest) = bytes.split_at(bytes.len().min(REPORT_LEN));
    let _ = SnpReport::parse(report);
    let _ = table::parse(rest);
    let _ = std::str::from_utf8(rest).map(LaunchDocument::parse);
    let (ask, vcek) = rest.split_at(rest.len() / 2);
    let _ = Endorsements::parse(&[ask.to_vec(), vcek.to_vec()]);
    let Ok(signer) = signer(report, &[rest.to_vec()]) else {
        return;
    };
    let given = |der: Option<Vec<u8>>| der.unwrap_or_default();
    let material = Material {
        product: signer.vcek.product,
        ask: &given(signer.given.ask),
        vcek: &given(signer.given.vcek),
        crl: Some(vcek),
    };
    let _ = verify(report, &material, &TrustAnchors::vendor(), 1_782_864_000);
});
