//! The runtime event log that every process of a VM appends to.
#![no_main]

use bylaw_attester::{event_log_line, parse_event_log};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(events) = parse_event_log(bytes) {
        let again: String = events.iter().map(event_log_line).collect();
        assert_eq!(parse_event_log(again.as_bytes()), Ok(events));
    }
});
