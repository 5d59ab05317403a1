//! OS image claims: vm_config and the measurement document.
#![no_main]

use bylaw_attest::image::{BootRegisters, Document, prove};
use bylaw_types::Register;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(document) = Document::from_cbor(bytes) {
        assert_eq!(Document::from_cbor(&document.to_cbor()).as_ref(), Ok(&document));
    }
    let zero = Register::new([0; 48]);
    let quoted = BootRegisters { mrtd: zero, rtmr0: zero, rtmr1: zero, rtmr2: zero };
    let _ = prove(&String::from_utf8_lossy(bytes), &quoted, &[]);
});
