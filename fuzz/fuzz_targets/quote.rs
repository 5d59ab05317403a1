//! TDX quotes, with every signature check that needs no collateral.
#![no_main]

use bylaw_attest::{TrustAnchors, tdx};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = tdx::report(bytes);
    let _ = tdx::collateral_key(bytes);
    let _ = tdx::verify_without_collateral(bytes, &TrustAnchors::vendor(), 1_780_000_000);
});
