//! Images built from the lock: the same bytes anywhere, and a root that only boots unchanged.
//!
//! Needs qemu-system-x86_64, unsquashfs and veritysetup, and the network or a filled package cache.
//! bylaw-boot and bylaw-agent are stand-ins here, so that a test says what the image does by itself.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::FileExt;

use bylaw_image::{Entry, Flavor, Manifest, VerifyError, diff, verify};
use bylaw_types::OsImageHash;
use support::{Machine, argument, dev, image, named, prod, without_word};

/// What the stand-in for bylaw-boot says when it runs on the root.
const REACHED: &str = "stand-in: running as 1";

#[test]
fn the_same_lock_gives_the_same_bytes_in_another_folder_at_another_time() {
    let first = prod();
    let elsewhere = tempfile::Builder::new()
        .prefix("elsewhere with spaces ")
        .tempdir()
        .unwrap();
    let second = image(Flavor::Prod, &elsewhere.path().join("some/where/else"));
    let names = |image: &bylaw_image::Built| -> Vec<String> {
        image.files.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(first), names(&second));
    assert!(names(first).len() >= 9, "{:?}", names(first));
    for name in names(first) {
        let read = |image: &bylaw_image::Built| std::fs::read(image.path.join(&name)).unwrap();
        assert!(read(first) == read(&second), "{name} differs");
    }
    assert_eq!(first.os_image_hash, second.os_image_hash);
    assert_eq!(diff(&first.path, &second.path).unwrap(), []);
}

#[test]
fn an_image_stays_below_its_size() {
    let total: u64 = prod().files.iter().map(|(_, size)| size).sum();
    assert!(total < 350_000_000, "{total} bytes");
}

#[test]
fn the_root_boots_and_every_module_loads() {
    let said = Machine::of(prod()).boot();
    assert!(said.contains(REACHED), "{said}");
    assert!(said.contains("stand-in: modules done"), "{said}");
    assert!(!said.contains("stand-in: cannot load"), "{said}");
    assert!(!said.contains("stand-in: cannot set"), "{said}");
    assert!(said.contains("stand-in: root is read-only"), "{said}");
    assert!(said.contains("stand-in: no shell"), "{said}");
}

#[test]
fn a_development_image_says_so_and_has_another_hash() {
    let (prod, dev) = (prod(), dev());
    assert_ne!(prod.os_image_hash, dev.os_image_hash);
    let differences = diff(&prod.path, &dev.path).unwrap();
    let of = |what: &str, name: &str| {
        differences
            .iter()
            .find(|difference| difference.what == what && difference.name == name)
    };
    assert_eq!(
        of("metadata", "is_dev").unwrap().after.as_deref(),
        Some("true")
    );
    assert!(
        of("file", "usr/lib/bylaw/console-shell")
            .unwrap()
            .before
            .is_none()
    );
    assert!(of("package", "strace").unwrap().before.is_none());
    assert!(of("command line", "dstack.rootfs_hash").is_some());
    assert!(of("measurement", "os_image_hash").is_some());
    assert!(of("measurement", "TDX").is_some() && of("measurement", "SEV-SNP").is_some());
    assert!(of("image file", "bzImage").is_none(), "one kernel for both");
    let said = Machine::of(dev).boot();
    assert!(said.contains("stand-in: a shell"), "{said}");
}

#[test]
fn production_has_no_way_to_log_in_and_nothing_with_more_rights() {
    let manifest = manifest();
    for path in manifest.files.keys() {
        let name = path.rsplit('/').next().unwrap();
        for forbidden in [
            "sshd",
            "login",
            "su",
            "sudo",
            "getty",
            "agetty",
            "systemd",
            "console-shell",
            "modprobe",
        ] {
            assert_ne!(name, forbidden, "{path}");
        }
        assert!(
            !path.starts_with("etc/shadow") && !path.contains("machine-id"),
            "{path}"
        );
    }
    assert!(
        matches!(&manifest.files["etc/resolv.conf"], Entry::Link { to } if to == "../run/resolv.conf")
    );
    for folder in [
        "proc",
        "sys",
        "dev",
        "run",
        "tmp",
        "var",
        "dstack",
        "etc/docker",
    ] {
        assert_eq!(manifest.files[folder], Entry::Folder, "{folder}");
    }
    // As the file system has them, not as the list says: links, folders and files with no special bit.
    let listed = support::run(
        "unsquashfs",
        &["-lls".as_ref(), named(prod(), "rootfs.img.verity").as_ref()],
    );
    let mut seen = 0;
    for line in listed.lines().filter(|line| line.contains("squashfs-root")) {
        let mode = line.split_whitespace().next().unwrap();
        assert!(
            ["lrwxrwxrwx", "drwxr-xr-x", "-rwxr-xr-x", "-rw-r--r--"].contains(&mode),
            "{line}"
        );
        seen += 1;
    }
    assert!(seen > manifest.files.len(), "{seen}");
}

fn manifest() -> Manifest {
    let text = support::run(
        "unsquashfs",
        &[
            "-cat".as_ref(),
            named(prod(), "rootfs.img.verity").as_ref(),
            "usr/lib/bylaw/manifest.json".as_ref(),
        ],
    );
    Manifest::parse(text.as_bytes()).unwrap()
}

/// A copy of the root with one byte flipped.
fn tampered(offset: u64) -> tempfile::NamedTempFile {
    let copy = tempfile::NamedTempFile::new().unwrap();
    std::fs::copy(named(prod(), "rootfs.img.verity"), copy.path()).unwrap();
    let mut byte = [0];
    copy.as_file().read_exact_at(&mut byte, offset).unwrap();
    copy.as_file().write_all_at(&[byte[0] ^ 1], offset).unwrap();
    copy
}

#[test]
fn a_root_with_one_byte_changed_does_not_boot() {
    // The squashfs superblock's time of making: no driver would mind another.
    let time = tampered(8);
    let said = Machine::of(prod()).root(time.path()).boot();
    assert!(!said.contains(REACHED), "{said}");
    assert!(said.contains("dm-verity device corrupted"), "{said}");
}

#[test]
fn a_hash_tree_with_one_byte_changed_does_not_boot() {
    // The tree's first node lies one block behind the data.
    let size: u64 = argument(prod(), "dstack.rootfs_size").parse().unwrap();
    let tree = tampered(size + 4096);
    let said = Machine::of(prod()).root(tree.path()).boot();
    assert!(!said.contains(REACHED), "{said}");
    assert!(said.contains("dm-verity device corrupted"), "{said}");
}

#[test]
fn another_images_root_does_not_boot() {
    let other = named(dev(), "rootfs.img.verity");
    let said = Machine::of(prod()).root(&other).boot();
    assert!(!said.contains(REACHED), "{said}");
}

#[test]
fn a_command_line_with_another_hash_does_not_boot() {
    let hash = argument(prod(), "dstack.rootfs_hash");
    let said = Machine::of(prod())
        .command_line(|line| line.replace(&hash, &hash.chars().rev().collect::<String>()))
        .boot();
    assert!(!said.contains(REACHED), "{said}");
    assert!(said.contains("dm-verity device corrupted"), "{said}");
}

#[test]
fn a_command_line_that_names_no_root_or_two_powers_off() {
    for (change, expected) in [
        (
            (|line: &str| without_word(line, "dstack.rootfs_hash=")) as fn(&str) -> String,
            "has 0 words dstack.rootfs_hash=",
        ),
        (
            |line: &str| format!("{line} dstack.rootfs_hash={}", "0".repeat(64)),
            "has 2 words dstack.rootfs_hash=",
        ),
        (
            |line: &str| {
                format!(
                    "{} dstack.rootfs_size=4095",
                    without_word(line, "dstack.rootfs_size=")
                )
            },
            "dstack.rootfs_size is not",
        ),
    ] {
        let said = Machine::of(prod()).command_line(change).boot();
        assert!(!said.contains(REACHED), "{said}");
        assert!(
            said.contains(expected) && said.contains("powering off"),
            "{said}"
        );
    }
}

#[test]
fn two_disks_that_claim_to_be_the_root_power_off() {
    let said = Machine::of(prod()).second_root().boot();
    assert!(!said.contains(REACHED), "{said}");
    assert!(said.contains("2 disks have the serial number"), "{said}");
}

#[test]
fn no_words_for_other_programs_open_another_way_in() {
    // What a distribution's initramfs would obey.
    let said = Machine::of(prod())
        .command_line(|line| format!("{line} break=top rescue single rd.break root=/dev/vda init=/bin/sh systemd.debug-shell"))
        .boot();
    assert!(said.contains(REACHED), "{said}");
}

#[test]
fn verify_names_what_was_changed() {
    assert_eq!(verify(&prod().path, None).unwrap(), prod().os_image_hash);
    let other = OsImageHash::new([7; 32]);
    assert!(matches!(
        verify(&prod().path, Some(other)),
        Err(VerifyError::Other { expected, .. }) if expected == other
    ));
    for name in [
        "bzImage",
        "initramfs.cpio.gz",
        "ovmf.fd",
        "ovmf-sev.fd",
        "metadata.json",
        "measurement.snp.cbor",
        "digest.txt",
    ] {
        let copy = support::copy(prod());
        let path = copy.path().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        // Inside a number, a hash or code: what is read from the file stays readable where that can be.
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bylaw_types::file::write_atomic(&path, &bytes).unwrap();
        assert!(
            matches!(verify(copy.path(), None), Err(VerifyError::Directory(_))),
            "{name}"
        );
    }
    let copy = support::copy(prod());
    let root = copy.path().join("rootfs.img.verity");
    std::fs::copy(tampered(8).path(), &root).unwrap();
    assert!(matches!(
        verify(copy.path(), None),
        Err(VerifyError::Root { .. })
    ));
}
