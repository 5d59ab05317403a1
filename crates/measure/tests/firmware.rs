//! Firmware against facts about Debian's real files.
#![allow(clippy::unwrap_used, reason = "it is test code")]

mod support;

use ::sev::measurement::snp::{SnpMeasurementArgs, calc_snp_ovmf_hash, snp_calc_launch_digest};
use ::sev::measurement::vmsa::{GuestFeatures, VMMType};
use ::sev::parser::ByteParser;
use bylaw_attest::image::snp::{firmware_digest, launch_digest};
use bylaw_measure::tdvf::Tdvf;
use bylaw_measure::{DocumentError, FirmwareError, document, sev};
use proptest::prelude::*;
use support::{facts, firmware, hollow_firmware, kernel};

const PACKAGES: [&str; 3] = ["ovmf 2025.02", "ovmf-inteltdx", "ovmf-amdsev"];

#[test]
fn mrtd_and_witness_are_those_of_another_program() {
    for package in PACKAGES {
        let facts = facts(package);
        let firmware = hollow_firmware(package);
        let tdvf = Tdvf::parse(&firmware).unwrap();
        let mrtd = tdvf.mrtd().unwrap();
        assert_eq!(mrtd.single_pass.to_string(), facts["hollow_single_pass"]);
        assert_eq!(mrtd.two_pass.to_string(), facts["hollow_two_pass"]);
        let witness = tdvf.witness().unwrap();
        assert_eq!(hex::encode(witness.encode()), facts["td_hob"]);
    }
}

#[test]
fn every_byte_of_code_and_tables_is_measured() {
    let good = hollow_firmware("ovmf 2025.02");
    let mrtd = |firmware: &[u8]| Tdvf::parse(firmware).unwrap().mrtd().unwrap();
    for offset in [0x8_4000, 0x20_0000, good.len() - 1] {
        let mut changed = good.clone();
        changed[offset] ^= 1;
        assert_ne!(mrtd(&changed).single_pass, mrtd(&good).single_pass);
        assert_ne!(mrtd(&changed).two_pass, mrtd(&good).two_pass);
    }
    // Variables are measured into RTMR0 instead.
    let mut changed = good.clone();
    changed[0x100] ^= 1;
    assert_eq!(mrtd(&changed), mrtd(&good));
    let volume = |firmware: &[u8]| Tdvf::parse(firmware).unwrap().configuration_volume();
    assert_ne!(volume(&changed), volume(&good));
}

#[test]
fn empty_variables_are_those_of_the_known_layout() {
    let firmware = firmware("ovmf 2025.02");
    let volume = Tdvf::parse(&firmware).unwrap().configuration_volume();
    let expected = facts("ovmf 2025.02")["configuration_volume"].clone();
    assert_eq!(volume.unwrap().to_string(), expected);
    assert!(document(&firmware, &kernel(), b"", "", 2 << 30).is_ok());
}

#[test]
fn firmware_with_other_variables_has_no_document() {
    let firmware = hollow_firmware("ovmf 2025.02");
    let refused = document(&firmware, &kernel(), b"", "", 2 << 30);
    assert!(matches!(refused, Err(DocumentError::Layout { .. })));
}

#[test]
fn tables_that_contradict_themselves_are_refused() {
    let good = hollow_firmware("ovmf 2025.02");
    let size = good.len();
    // Where the TDX descriptor lies: 0x9c0 before the end.
    let descriptor = size - 0x9c0;
    assert_eq!(good[descriptor..descriptor + 4], *b"TDVF");
    let first = descriptor + 16;
    for (name, offset, bytes) in [
        ("footer", size - 48, &[0; 4][..]),
        ("table length", size - 50, &[0, 0]),
        ("signature", descriptor, b"TDVX"),
        ("version", descriptor + 8, &[2]),
        ("too many sections", descriptor + 12, &[65]),
        ("sections outside", descriptor + 12, &[64, 0, 0, 1]),
        ("address not a page", first + 8, &[1]),
        ("memory not pages", first + 16, &[1]),
        ("more data than memory", first + 4, &[0, 0, 0, 1]),
        ("measured without data", first + 4, &[0, 0, 0, 0]),
        ("too much memory", first + 32 + 20, &[1]),
        (
            "address overflow",
            first + 8,
            &[0, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ),
    ] {
        let mut bad = good.clone();
        bad[offset..offset + bytes.len()].copy_from_slice(bytes);
        assert!(Tdvf::parse(&bad).is_err(), "{name}");
    }
    let mut outside = good.clone();
    outside[first..first + 4].copy_from_slice(&0x40_0000u32.to_le_bytes());
    assert!(Tdvf::parse(&outside).unwrap().mrtd().is_err());
    let mut two_hobs = good.clone();
    two_hobs[first + 5 * 32 + 24] = 2;
    assert!(Tdvf::parse(&two_hobs).unwrap().witness().is_err());
    assert!(Tdvf::parse(&good[..40]).is_err());
    assert!(Tdvf::parse(&[]).is_err());
}

#[test]
fn firmware_without_a_place_for_kernel_hashes_is_no_snp_firmware() {
    for package in ["ovmf 2025.02", "ovmf-inteltdx"] {
        let refused = sev::document(&hollow_firmware(package), b"", b"", "");
        assert!(matches!(
            refused,
            Err(sev::SnpError::Firmware(FirmwareError::Missing(_)))
        ));
    }
}

#[test]
fn launch_digests_are_those_of_another_program() {
    let firmware = hollow_firmware("ovmf-amdsev");
    let document = sev::document(&firmware, b"a kernel", b"an initrd", "console=ttyS0").unwrap();
    let facts = facts("ovmf-amdsev");
    let digests = facts["hollow_launch"]["digests"].as_array().unwrap();
    assert_eq!(digests.len(), 2);
    for fact in digests {
        let vcpus = u32::try_from(fact["vcpus"].as_u64().unwrap()).unwrap();
        let kind = fact["vcpu_type"].as_str().unwrap();
        let digest = launch_digest(&document, vcpus, kind, 1).unwrap();
        assert_eq!(digest.to_string(), fact["digest"], "{kind}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The `sev` crate measures files; a KMS has only the document that an image commits to.
    #[test]
    fn launch_digests_are_those_of_the_sev_crate(
        kernel in proptest::collection::vec(any::<u8>(), 1..300),
        initrd in proptest::collection::vec(any::<u8>(), 0..300),
        cmdline in "[a-z=. ]{0,80}",
        vcpus in 1u32..9,
        vcpu_type in proptest::sample::select(vec![
            "EPYC", "EPYC-v4", "EPYC-Rome", "EPYC-Milan-v2", "EPYC-Genoa-v1", "epyc-turin",
        ]),
        guest_features in 1u64..(1 << 16),
    ) {
        let firmware = hollow_firmware("ovmf-amdsev");
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            bylaw_types::file::write_atomic(&path, bytes).unwrap();
            path
        };
        let document = sev::document(&firmware, &kernel, &initrd, &cmdline).unwrap();
        let digest = launch_digest(&document, vcpus, vcpu_type, guest_features).unwrap();
        let other = snp_calc_launch_digest(SnpMeasurementArgs {
            vcpus,
            vcpu_type: vcpu_type.try_into().unwrap(),
            ovmf_file: file("firmware", &firmware),
            guest_features: GuestFeatures::from_bytes(&guest_features.to_le_bytes()).unwrap(),
            kernel_file: Some(file("kernel", &kernel)),
            initrd_file: Some(file("initrd", &initrd)),
            append: Some(cmdline.trim()),
            ovmf_hash_str: Some(&document.ovmf_hash.to_string()),
            vmm_type: Some(VMMType::QEMU),
        }).unwrap();
        prop_assert_eq!(digest.to_string(), other.get_hex_ld());
    }
}

#[test]
fn the_firmwares_own_digest_is_that_of_the_sev_crate() {
    let firmware = hollow_firmware("ovmf-amdsev");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("firmware");
    bylaw_types::file::write_atomic(&path, &firmware).unwrap();
    let other = calc_snp_ovmf_hash(path).unwrap().get_hex_ld();
    assert_eq!(firmware_digest(&firmware).unwrap().to_string(), other);
}

proptest! {
    #[test]
    fn changed_tables_never_panic(
        changes in proptest::collection::vec((0usize..4096, any::<u8>()), 1..20)
    ) {
        let mut firmware = hollow_firmware("ovmf-amdsev");
        let tail = firmware.len() - 4096;
        for (offset, byte) in changes {
            firmware[tail + offset] = byte;
        }
        if let Ok(tdvf) = Tdvf::parse(&firmware) {
            let _ = (tdvf.witness(), tdvf.configuration_volume());
        }
        let _ = sev::document(&firmware[tail..], b"", b"", "");
    }
}
