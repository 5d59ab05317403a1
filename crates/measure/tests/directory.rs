//! Image directories: generating, proving, tampering.
#![allow(clippy::unwrap_used, reason = "it is test code")]

mod support;

use std::path::Path;

use bylaw_attest::image::snp::{launch_digest, prove_snp};
use bylaw_attest::image::{Document, Shape, boot, prove};
use bylaw_measure::{ImageDir, ImageDirError, PRECOMPUTED_MEMORY};
use bylaw_types::Register;
use bylaw_types::file::write_atomic;
use sha2::{Digest, Sha256};
use support::{metadata, write_image};

fn image() -> (tempfile::TempDir, ImageDir) {
    let directory = tempfile::tempdir().unwrap();
    write_image(directory.path());
    let image = ImageDir::open(directory.path()).unwrap();
    image.write_measurements().unwrap();
    (directory, image)
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    write_atomic(path, &bytes).unwrap();
}

#[test]
fn measurements_are_written_in_order_and_verify() {
    let (directory, image) = image();
    let checksums = std::fs::read_to_string(directory.path().join("sha256sum.txt")).unwrap();
    let names: Vec<_> = checksums.lines().map(|line| &line[66..]).collect();
    assert_eq!(
        names,
        [
            "ovmf.fd",
            "bzImage",
            "initramfs.cpio.gz",
            "metadata.json",
            "measurement.tdx.cbor",
            "measurement.snp.cbor"
        ]
    );
    let hash = image.verify().unwrap();
    assert_eq!(hash.as_bytes()[..], Sha256::digest(&checksums)[..]);
    assert_eq!(image.os_image_hash().unwrap(), hash);
    let digest = std::fs::read_to_string(directory.path().join("digest.txt")).unwrap();
    assert_eq!(digest.trim(), hash.to_string());
    assert_eq!(
        image.write_measurements().unwrap(),
        hash,
        "the same every time"
    );
}

#[test]
fn every_changed_file_is_found() {
    for name in [
        "ovmf.fd",
        "ovmf-sev.fd",
        "bzImage",
        "initramfs.cpio.gz",
        "metadata.json",
        "measurement.tdx.cbor",
        "measurement.snp.cbor",
        "sha256sum.txt",
        "digest.txt",
    ] {
        let (directory, image) = image();
        flip(&directory.path().join(name));
        assert!(image.verify().is_err(), "{name}");
    }
}

#[test]
fn a_changed_snp_firmware_is_found_although_it_is_not_listed() {
    let (directory, image) = image();
    flip(&directory.path().join("ovmf-sev.fd"));
    assert!(matches!(
        image.verify(),
        Err(ImageDirError::Snp(_) | ImageDirError::Measurement(_))
    ));
}

#[test]
fn a_td_that_boots_the_image_is_proven_by_its_material() {
    let (_directory, image) = image();
    let document = image.measure_tdx(PRECOMPUTED_MEMORY).unwrap();
    let shape = Shape {
        memory_size: 4 << 30,
        two_pass: false,
        acpi: [
            Register::new([1; 48]),
            Register::new([2; 48]),
            Register::new([3; 48]),
        ],
    };
    let (registers, log) = boot(&document, &shape).unwrap();
    let hash = image.os_image_hash().unwrap();
    let config = serde_json::json!({
        "os_image_hash": hash, "cpu_count": 2, "memory_size": 4u64 << 30,
        "tdx_attestation_variant": "lite", "tdx_measurement": image.tdx_material().unwrap(),
    });
    assert_eq!(prove(&config.to_string(), &registers, &log).unwrap(), hash);
    let written = std::fs::read(image.path_of("measurement.tdx.cbor")).unwrap();
    assert_eq!(Document::from_cbor(&written).unwrap(), document);
}

#[test]
fn a_snp_guest_that_boots_the_image_is_proven_by_its_material() {
    let (_directory, image) = image();
    let document = image.measure_snp().unwrap().unwrap();
    let digest = launch_digest(&document, 4, "EPYC-Milan", 1).unwrap();
    let material = image.snp_material(4, "EPYC-Milan", 1).unwrap().unwrap();
    let json = serde_json::to_string(&material).unwrap();
    assert_eq!(
        prove_snp(&json, &digest).unwrap(),
        image.os_image_hash().unwrap()
    );
}

#[test]
fn every_boot_file_changes_the_document() {
    let (directory, image) = image();
    let good = image.measure_tdx(PRECOMPUTED_MEMORY).unwrap();
    for name in ["ovmf.fd", "bzImage", "initramfs.cpio.gz"] {
        let path = directory.path().join(name);
        flip(&path);
        assert_ne!(
            image.measure_tdx(PRECOMPUTED_MEMORY).unwrap(),
            good,
            "{name}"
        );
        flip(&path);
    }
    assert_eq!(image.measure_tdx(PRECOMPUTED_MEMORY).unwrap(), good);
    let mut other = metadata();
    other["cmdline"] = format!("{} x", other["cmdline"].as_str().unwrap()).into();
    write_atomic(
        &image.path_of("metadata.json"),
        other.to_string().as_bytes(),
    )
    .unwrap();
    let other = ImageDir::open(directory.path()).unwrap();
    assert_ne!(other.measure_tdx(PRECOMPUTED_MEMORY).unwrap(), good);
}

#[test]
fn an_image_without_snp_firmware_has_no_snp_measurement() {
    let directory = tempfile::tempdir().unwrap();
    write_image(directory.path());
    let mut plain = metadata();
    plain.as_object_mut().unwrap().remove("bios-sev");
    write_atomic(
        &directory.path().join("metadata.json"),
        plain.to_string().as_bytes(),
    )
    .unwrap();
    let image = ImageDir::open(directory.path()).unwrap();
    image.write_measurements().unwrap();
    image.verify().unwrap();
    assert_eq!(image.snp_material(1, "EPYC", 1).unwrap(), None);
    assert!(image.tdx_material().unwrap().is_some());
}

#[test]
fn images_that_cannot_be_measured_or_opened_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(
        ImageDir::open(directory.path()),
        Err(ImageDirError::File { .. })
    ));
    write_image(directory.path());
    let rewrite = |change: fn(&mut serde_json::Value)| {
        let mut changed = metadata();
        change(&mut changed);
        let path = directory.path().join("metadata.json");
        write_atomic(&path, changed.to_string().as_bytes()).unwrap();
        ImageDir::open(directory.path())
    };
    let unbound = rewrite(|metadata| metadata["cmdline"] = "console=ttyS0".into());
    assert!(matches!(
        unbound.unwrap().write_measurements(),
        Err(ImageDirError::Incomplete { .. })
    ));
    let missing = rewrite(|metadata| metadata["kernel"] = "vmlinuz".into());
    assert!(matches!(missing, Err(ImageDirError::File { .. })));
    let outside = rewrite(|metadata| metadata["kernel"] = "../bzImage".into());
    assert!(matches!(outside, Err(ImageDirError::Metadata { .. })));
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
    let linked = rewrite(|metadata| metadata["initrd"] = "link".into());
    assert!(matches!(linked, Err(ImageDirError::NotPlain(path)) if path == link));
}

#[test]
fn checksum_files_that_say_something_else_are_refused() {
    let (directory, image) = image();
    let path = directory.path().join("sha256sum.txt");
    let good = std::fs::read_to_string(&path).unwrap();
    let first = good.lines().next().unwrap();
    for (name, bad) in [
        ("twice", format!("{good}{first}\n")),
        ("not listed", good.replace(&format!("{first}\n"), "")),
        ("outside", good.replace("bzImage", "../bzImage")),
        ("another form", format!("{good}nonsense\n")),
        ("binary mode", good.replace("  bzImage", " *bzImage")),
    ] {
        write_atomic(&path, bad.as_bytes()).unwrap();
        assert!(image.verify().is_err(), "{name}");
    }
}
