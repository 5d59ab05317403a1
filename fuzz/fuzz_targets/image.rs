//! OS image claims: vm_config and the measurement document.
#![no_main]

use bylaw_attest::image::{BootRegisters, Document, Shape, boot, prove};
use bylaw_types::Register;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let zero = Register::new([0; 48]);
    if let Ok(document) = Document::from_cbor(bytes) {
        assert_eq!(Document::from_cbor(&document.to_cbor()).as_ref(), Ok(&document));
        // The memory size is the prover's to choose.
        for memory_size in [0, 2 << 30, 2816 << 20, 1 << 40, u64::MAX] {
            let _ = boot(&document, &Shape { memory_size, two_pass: false, acpi: [zero; 3] });
        }
    }
    let quoted = BootRegisters { mrtd: zero, rtmr0: zero, rtmr1: zero, rtmr2: zero };
    let _ = prove(&String::from_utf8_lossy(bytes), &quoted, &[]);
});
