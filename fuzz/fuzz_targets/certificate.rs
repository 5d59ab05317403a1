//! RA-TLS certificates.
#![no_main]

use bylaw_ratls::RaTlsCert;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = RaTlsCert::parse(bytes);
});
