//! Cost of verifying a real quote with warm collateral, on one core.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a bench fails by panicking"
)]

use bylaw_attest::{Collateral, TrustAnchors, tdx};
use criterion::{Criterion, criterion_group, criterion_main};

const QUOTE: &[u8] = include_bytes!("../../../test/vectors/attest/tdx/dcapqvl-v4/quote.bin");
const COLLATERAL: &str =
    include_str!("../../../test/vectors/attest/tdx/dcapqvl-v4/collateral.json");
const IN_TIME: u64 = 1_750_414_563;

fn verify(criterion: &mut Criterion) {
    let collateral = Collateral::from_json(COLLATERAL, "bench").unwrap();
    let anchors = TrustAnchors::vendor();
    criterion.bench_function("verify TDX v4 quote, warm collateral", |bencher| {
        bencher.iter(|| tdx::verify(QUOTE, &anchors, &collateral, IN_TIME).unwrap());
    });
}

criterion_group!(benches, verify);
criterion_main!(benches);
