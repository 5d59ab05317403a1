//! app-compose.json.
#![no_main]

use bylaw_types::AppCompose;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(compose) = AppCompose::parse(bytes) {
        assert_eq!(compose.raw().as_bytes(), bytes);
        let _ = compose.manifest().key_provider();
    }
});
