//! Firmware with Debian's real tables and variables but no code, a small kernel, and
//! image directories made of them.
#![allow(clippy::unwrap_used, reason = "it is test code")]
#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::Path;

use bylaw_types::file::write_atomic;
use serde_json::Value;

pub(crate) const ROOT_HASH: &str =
    "ca5adaef0ac3a36108035925763b48a5818f634e700fbaab561d419fd30d7121";

pub(crate) fn vector() -> Value {
    serde_json::from_str(include_str!("../../../../test/vectors/measure/debian.json")).unwrap()
}

/// The facts about the firmware of this package.
pub(crate) fn facts(package: &str) -> Value {
    vector()["firmware"]
        .as_array()
        .unwrap()
        .iter()
        .find(|facts| facts["package"].as_str().unwrap().starts_with(package))
        .unwrap()
        .clone()
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

/// Zeros, then the last 4096 bytes of the real file.
pub(crate) fn hollow_firmware(package: &str) -> Vec<u8> {
    let facts = facts(package);
    let tail = hex::decode(facts["tail"].as_str().unwrap()).unwrap();
    let mut firmware = vec![0; number(&facts["size"]) - tail.len()];
    firmware.extend(tail);
    firmware
}

/// The same with the real empty variables at its start.
pub(crate) fn firmware(package: &str) -> Vec<u8> {
    let mut firmware = hollow_firmware(package);
    let facts = facts("ovmf 2025.02");
    let size = number(&facts["configuration_volume_size"]);
    firmware[..size].fill(0xff);
    for piece in facts["configuration_volume_pieces"].as_array().unwrap() {
        let bytes = hex::decode(piece[1].as_str().unwrap()).unwrap();
        let offset = number(&piece[0]);
        firmware[offset..offset + bytes.len()].copy_from_slice(&bytes);
    }
    firmware
}

/// A bzImage with two sections, unsigned, of 0x1003 bytes.
pub(crate) fn kernel() -> Vec<u8> {
    let mut kernel = vec![0; 0x1003];
    for (index, byte) in kernel.iter_mut().enumerate().skip(0x400) {
        *byte = u8::try_from(index % 251).unwrap();
    }
    let mut put = |offset: usize, bytes: &[u8]| {
        kernel[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    put(0, b"MZ");
    put(0x3c, &0x40u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x46, &2u16.to_le_bytes()); // sections
    put(0x54, &160u16.to_le_bytes()); // size of the optional header
    put(0x58, &0x20bu16.to_le_bytes());
    put(0x58 + 60, &0x400u32.to_le_bytes()); // size of headers
    put(0x58 + 108, &6u32.to_le_bytes()); // directories
    // Stated in another order than they lie in the file.
    put(0x58 + 160 + 16, &0x800u32.to_le_bytes());
    put(0x58 + 160 + 20, &0x800u32.to_le_bytes());
    put(0x58 + 200 + 16, &0x400u32.to_le_bytes());
    put(0x58 + 200 + 20, &0x400u32.to_le_bytes());
    put(0x202, b"HdrS");
    put(0x206, &0x20fu16.to_le_bytes());
    put(0x211, &[1]);
    put(0x236, &[0x7f, 0]);
    kernel
}

pub(crate) fn metadata() -> Value {
    serde_json::json!({
        "version": "0.6.0", "is_dev": false, "shared_ro": true,
        "kernel": "bzImage", "initrd": "initramfs.cpio.gz",
        "rootfs": "rootfs.img.verity", "rootfs_hash": ROOT_HASH,
        "bios": "ovmf.fd", "bios-sev": "ovmf-sev.fd",
        "cmdline": format!("console=ttyS0 dstack.rootfs_hash={ROOT_HASH} dstack.rootfs_size=4096"),
    })
}

/// Everything but the measurements.
pub(crate) fn write_image(directory: &Path) {
    for (name, content) in [
        ("ovmf.fd", firmware("ovmf 2025.02")),
        ("ovmf-sev.fd", firmware("ovmf-amdsev")),
        ("bzImage", kernel()),
        ("initramfs.cpio.gz", b"an initrd".to_vec()),
        ("rootfs.img.verity", vec![0; 4096]),
        ("metadata.json", metadata().to_string().into_bytes()),
    ] {
        write_atomic(&directory.join(name), &content).unwrap();
    }
}
