//! Certificate requests of both versions.
#![no_main]

use bylaw_ratls::csr::Csr;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (signature, csr) = bytes.split_at(bytes.len().min(72));
    let _ = Csr::verify(1, csr, signature);
    let _ = Csr::verify(2, csr, signature);
});
