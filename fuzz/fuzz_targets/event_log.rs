//! Event logs: the JSON form and the firmware's binary form.
#![no_main]

use bylaw_attest::{ccel, event_log};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = ccel::parse(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(events) = event_log::from_json(text) {
        let again = event_log::from_json(&event_log::to_json(&events).to_string());
        assert_eq!(again.as_ref(), Ok(&events));
    }
});
