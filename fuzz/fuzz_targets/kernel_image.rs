//! Kernels: the setup header that QEMU patches, the PE headers that Authenticode walks.
#![no_main]

use bylaw_measure::kernel::{authenticode, certificates, patch};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = (authenticode(bytes), certificates(bytes));
    for memory_size in [0, 2 << 30, 2816 << 20, u64::MAX] {
        if let Ok(patched) = patch(bytes, 0x1234, memory_size) {
            assert_eq!(patched.len(), bytes.len());
        }
    }
});
