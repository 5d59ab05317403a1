//! Kernels: what QEMU patches, what Authenticode covers.
#![allow(clippy::unwrap_used, reason = "it is test code")]

mod support;

use bylaw_measure::kernel::{KernelError, authenticode, authenticode_digest, certificates, patch};
use proptest::prelude::*;
use sha2::{Digest, Sha256, Sha384};
use support::kernel;

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

#[test]
fn authenticode_leaves_out_checksum_and_certificate_entry_and_pads() {
    let kernel = kernel();
    let expected = Sha384::new()
        .chain_update(&kernel[..0x58 + 64])
        .chain_update(&kernel[0x58 + 68..0x58 + 144])
        .chain_update(&kernel[0x58 + 152..])
        .chain_update([0; 5])
        .finalize();
    assert_eq!(authenticode(&kernel).unwrap().as_bytes()[..], expected[..]);
    let mut checksum = kernel.clone();
    checksum[0x58 + 64] = 1;
    assert_eq!(authenticode(&checksum), authenticode(&kernel));
    for offset in [0x10, 0x211, 0x500, 0x900, 0x1002] {
        let mut changed = kernel.clone();
        changed[offset] ^= 1;
        assert_ne!(authenticode(&changed), authenticode(&kernel), "{offset:#x}");
    }
}

#[test]
fn a_signature_is_not_covered_by_itself() {
    // Aligned to 8 as signing tools do, so the digest is of a file without padding.
    let mut unsigned = kernel();
    unsigned.resize(0x1008, 0);
    let mut signed = unsigned.clone();
    signed.extend([0xaa; 64]);
    signed[0x58 + 144..0x58 + 148].copy_from_slice(&0x1008u32.to_le_bytes());
    signed[0x58 + 148..0x58 + 152].copy_from_slice(&64u32.to_le_bytes());
    assert_eq!(
        authenticode_digest::<Sha256>(&signed).unwrap(),
        authenticode_digest::<Sha256>(&unsigned).unwrap()
    );
    assert_eq!(certificates(&signed).unwrap(), Some(0x1008..0x1048));
    assert_eq!(certificates(&unsigned).unwrap(), None);
    signed[0x58 + 148..0x58 + 152].copy_from_slice(&0x1000u32.to_le_bytes());
    assert!(authenticode(&signed).is_err());
    assert!(certificates(&signed).is_err());
}

#[test]
fn a_last_section_longer_than_the_file_is_allowed_and_one_outside_is_not() {
    let mut kernel = kernel();
    kernel[0x58 + 160 + 16..0x58 + 160 + 20].copy_from_slice(&0x9000u32.to_le_bytes());
    assert!(authenticode(&kernel).is_ok());
    kernel[0x58 + 160 + 20..0x58 + 160 + 24].copy_from_slice(&0x9000u32.to_le_bytes());
    assert!(authenticode(&kernel).is_err());
}

#[test]
fn the_setup_header_is_patched_as_qemu_does() {
    let patched = patch(&kernel(), 0x1234, 2 << 30).unwrap();
    assert_eq!(patched[0x210], 0xb0);
    assert_eq!(patched[0x211], 0x81);
    assert_eq!(u32_at(&patched, 0x224), 0xfe00);
    assert_eq!(u32_at(&patched, 0x228), 0x2_0000);
    // (2 GiB - 0x28000 - 1 - 0x1234) rounded down to a page.
    assert_eq!(u32_at(&patched, 0x218), 0x7ffd_6000);
    assert_eq!(u32_at(&patched, 0x21c), 0x1234);
    let unchanged = |offset: usize| patched[offset] == kernel()[offset];
    let touched = [0x210..0x212, 0x218..0x220, 0x224..0x22c];
    for offset in (0..patched.len()).filter(|at| !touched.iter().any(|part| part.contains(at))) {
        assert!(unchanged(offset), "{offset:#x}");
    }
}

#[test]
fn the_patched_kernel_is_the_same_for_2_gib_and_all_large_memory() {
    let at = |memory| patch(&kernel(), 5 << 20, memory).unwrap();
    let precomputed = at(bylaw_measure::PRECOMPUTED_MEMORY);
    for memory in [2 << 30, 2816 << 20, 4 << 30, 64 << 30] {
        assert_eq!(at(memory), precomputed, "{memory}");
    }
    for memory in [1 << 30, 2815 << 20] {
        assert_ne!(at(memory), precomputed, "{memory}");
    }
}

#[test]
fn old_protocols_have_lower_limits_and_other_fields() {
    let mut old = kernel();
    old[0x236] = 0;
    let address = |kernel: &[u8]| u32_at(&patch(kernel, 0x1000, 2 << 30).unwrap(), 0x218);
    assert_eq!(address(&old), 0x37ff_e000);
    old[0x206..0x208].copy_from_slice(&0x203u16.to_le_bytes());
    old[0x22c..0x230].copy_from_slice(&0x1fff_ffffu32.to_le_bytes());
    assert_eq!(address(&old), 0x1fff_e000);
    old[0x22c..0x230].fill(0);
    assert_eq!(address(&old), 0x37ff_e000);
    old[0x206..0x208].copy_from_slice(&0x201u16.to_le_bytes());
    old[0x211] = 0;
    let patched = patch(&old, 0, 2 << 30).unwrap();
    assert_eq!(patched[0x20..0x24], [0x3f, 0xa3, 0x00, 0xa0]);
    assert_eq!(u32_at(&patched, 0x224), 0x9e00);
    assert_eq!(patched[0x228..0x22c], old[0x228..0x22c]);
}

#[test]
fn what_is_no_kernel_or_does_not_fit_is_refused() {
    assert!(patch(b"MZ", 0, 2 << 30).is_err());
    assert!(authenticode(b"").is_err());
    for (offset, bytes) in [(0x202, &b"Hdr5"[..]), (0x206, &[])] {
        let mut bad = kernel();
        bad[offset..offset + bytes.len()].copy_from_slice(bytes);
        assert_eq!(patch(&bad, 0, 2 << 30).is_err(), !bytes.is_empty());
    }
    for (name, offset, byte) in [
        ("MZ", 0, 0),
        ("PE offset", 0x3f, 0xff),
        ("PE", 0x40, 0),
        ("magic", 0x58, 0),
        ("header size", 0x58 + 61, 0),
        ("header size outside", 0x58 + 63, 1),
    ] {
        let mut bad = kernel();
        bad[offset] = byte;
        assert!(authenticode(&bad).is_err(), "{name}");
    }
    assert!(matches!(
        patch(&kernel(), 3 << 30, 2 << 30),
        Err(KernelError::InitrdTooLarge { .. })
    ));
    assert!(matches!(
        patch(&kernel(), 1, 0x1000),
        Err(KernelError::InitrdTooLarge { .. })
    ));
}

proptest! {
    #[test]
    fn changed_headers_never_panic(
        changes in proptest::collection::vec((0usize..0x400, any::<u8>()), 1..20),
        length in 0usize..0x1003,
    ) {
        let mut kernel = kernel();
        for (offset, byte) in changes {
            kernel[offset] = byte;
        }
        for kernel in [&kernel[..], &kernel[..length]] {
            let _ = (authenticode(kernel), certificates(kernel), patch(kernel, 1, 1 << 31));
        }
    }
}
