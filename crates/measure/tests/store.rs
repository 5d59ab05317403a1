//! The store: fetching, checking, measuring with the QEMU of this machine.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::get;
use bylaw_attest::image::{ImageError, ImageSource, Shape, VmConfig, boot_measured, prove_with};
use bylaw_measure::acpi::{read_from_qemu, version_of};
use bylaw_measure::store::{ArchiveError, ImageStore, StoreError, StoreSettings};
use bylaw_measure::{ImageDir, ImageDirError};
use bylaw_types::OsImageHash;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use tar::{Builder, EntryType, Header};

const QEMU: &str = "qemu-system-x86_64";
const FILES: [&str; 7] = [
    "ovmf.fd",
    "bzImage",
    "initramfs.cpio.gz",
    "metadata.json",
    "measurement.tdx.cbor",
    "measurement.snp.cbor",
    "sha256sum.txt",
];

fn image() -> (tempfile::TempDir, OsImageHash) {
    let directory = tempfile::tempdir().unwrap();
    support::write_image(directory.path());
    let hash = ImageDir::open(directory.path())
        .unwrap()
        .write_measurements()
        .unwrap();
    (directory, hash)
}

type Tar = Builder<GzEncoder<Vec<u8>>>;

fn archive(image: &Path, change: impl FnOnce(&mut Tar)) -> Vec<u8> {
    let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for name in FILES {
        tar.append_path_with_name(image.join(name), format!("./{name}"))
            .unwrap();
    }
    change(&mut tar);
    tar.into_inner().unwrap().finish().unwrap()
}

fn append(tar: &mut Tar, name: &str, kind: EntryType, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    if kind == EntryType::Symlink {
        header.set_link_name("/etc/passwd").unwrap();
    }
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

/// Serves the archive under any path; counts.
async fn serve(archive: Vec<u8>) -> (String, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let routes = Router::new().route(
        "/{name}",
        get(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            async move { archive.clone() }
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://{}/mr_{{OS_IMAGE_HASH}}.tar.gz",
        listener.local_addr().unwrap()
    );
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (url, count)
}

fn store(cache: &Path, download_url: Option<String>) -> ImageStore {
    ImageStore::new(StoreSettings {
        cache_dir: cache.to_owned(),
        download_url,
        qemu: QEMU.into(),
    })
    .unwrap()
}

#[tokio::test]
async fn an_image_is_fetched_once_without_what_is_not_listed() {
    let (image, hash) = image();
    let bytes = archive(image.path(), |tar| {
        append(tar, "ovmf-sev.fd", EntryType::Regular, b"unlisted");
        append(tar, "more/", EntryType::Directory, b"");
        append(tar, "more/bzImage", EntryType::Regular, b"nested");
    });
    let (url, count) = serve(bytes).await;
    let cache = tempfile::tempdir().unwrap();
    let store = store(cache.path(), Some(url));
    let fetched = store.image(hash).await.unwrap();
    assert_eq!(fetched.os_image_hash().unwrap(), hash);
    store.image(hash).await.unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let mut names: Vec<_> = std::fs::read_dir(fetched.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut expected = FILES.to_vec();
    expected.sort_unstable();
    assert_eq!(names, expected);
    let left = std::fs::read_dir(cache.path().join("images")).unwrap();
    assert_eq!(left.count(), 1, "nothing half unpacked stays");
}

#[tokio::test]
async fn archives_that_are_not_the_image_are_refused_and_leave_nothing() {
    let (image, hash) = image();
    let path = image.path();
    let other = OsImageHash::new([9; 32]);
    let mut truncated = archive(path, |_| {});
    truncated.truncate(truncated.len() / 2);
    type Check = fn(&ArchiveError) -> bool;
    let cases: [(&str, Vec<u8>, OsImageHash, Check); 8] = [
        ("another image", archive(path, |_| {}), other, |error| {
            matches!(error, ArchiveError::Other(_))
        }),
        ("truncated", truncated, hash, |error| {
            matches!(error, ArchiveError::Io(_))
        }),
        ("no archive", b"no".to_vec(), hash, |error| {
            matches!(error, ArchiveError::Io(_))
        }),
        (
            "link",
            archive(path, |tar| append(tar, "l", EntryType::Symlink, b"")),
            hash,
            |error| matches!(error, ArchiveError::Entry { .. }),
        ),
        (
            "outside",
            archive(path, |tar| append(tar, "../x", EntryType::Regular, b"x")),
            hash,
            |error| matches!(error, ArchiveError::Entry { .. }),
        ),
        (
            "absolute",
            archive(path, |tar| append(tar, "/tmp/x", EntryType::Regular, b"x")),
            hash,
            |error| matches!(error, ArchiveError::Entry { .. }),
        ),
        (
            "a file twice",
            archive(path, |tar| append(tar, "bzImage", EntryType::Regular, b"x")),
            hash,
            |error| matches!(error, ArchiveError::Io(_)),
        ),
        (
            "changed",
            {
                let kernel = path.join("bzImage");
                let good = std::fs::read(&kernel).unwrap();
                let mut bad = good.clone();
                bad[0x900] ^= 1;
                bylaw_types::file::write_atomic(&kernel, &bad).unwrap();
                let bytes = archive(path, |_| {});
                bylaw_types::file::write_atomic(&kernel, &good).unwrap();
                bytes
            },
            hash,
            |error| matches!(error, ArchiveError::Image(ImageDirError::Changed { .. })),
        ),
    ];
    for (name, bytes, hash, is_expected) in cases {
        let (url, _) = serve(bytes).await;
        let cache = tempfile::tempdir().unwrap();
        match store(cache.path(), Some(url)).image(hash).await {
            Err(StoreError::Archive { source, .. }) => {
                assert!(is_expected(&source), "{name}: {source:?}");
            }
            other => panic!("{name}: {other:?}"),
        }
        let left = std::fs::read_dir(cache.path().join("images")).unwrap();
        assert_eq!(left.count(), 0, "{name}");
    }
}

#[tokio::test]
async fn an_image_that_is_nowhere_is_reported() {
    let cache = tempfile::tempdir().unwrap();
    let hash = OsImageHash::new([1; 32]);
    let without = store(cache.path(), None).image(hash).await;
    assert!(matches!(without, Err(StoreError::Absent { .. })));
    let (url, _) = serve(vec![]).await;
    let missing = url.replace("/mr_", "/no/such/");
    let unreachable = "http://127.0.0.1:1/{OS_IMAGE_HASH}".to_owned();
    for url in [missing, unreachable] {
        let failed = store(cache.path(), Some(url)).image(hash).await;
        assert!(matches!(failed, Err(StoreError::Download { .. })));
    }
    for url in ["ftp://x/{OS_IMAGE_HASH}", "http://x/"] {
        let settings = StoreSettings {
            cache_dir: cache.path().to_owned(),
            download_url: Some(url.to_owned()),
            qemu: QEMU.into(),
        };
        assert!(matches!(ImageStore::new(settings), Err(StoreError::Url(_))));
    }
}

#[tokio::test]
async fn an_image_that_rots_on_disk_is_not_used() {
    let (image, hash) = image();
    let cache = tempfile::tempdir().unwrap();
    let store = store(cache.path(), None);
    let place = cache.path().join("images").join(hash.to_string());
    std::fs::create_dir_all(&place).unwrap();
    for name in FILES {
        std::fs::copy(image.path().join(name), place.join(name)).unwrap();
    }
    store.image(hash).await.unwrap();
    bylaw_types::file::write_atomic(&place.join("bzImage"), b"other").unwrap();
    assert!(matches!(
        store.image(hash).await,
        Err(StoreError::Image(ImageDirError::Changed { .. }))
    ));
}

/// A legacy boot, whose QEMU is the one of this machine.
///
/// QEMU 7 launches no TDs, so MRTD is selected by the explicit switch.
#[tokio::test]
async fn a_legacy_boot_is_proven_and_each_claim_matters() {
    let (image, hash) = image();
    let cache = tempfile::tempdir().unwrap();
    let (url, _) = serve(archive(image.path(), |_| {})).await;
    let store = store(cache.path(), Some(url));
    let memory: u64 = 1 << 30;
    let version = version_of(Path::new(QEMU)).unwrap();
    let config = json!({
        "os_image_hash": hash, "cpu_count": 2, "memory_size": memory,
        "qemu_version": version, "qemu_single_pass_add_pages": true, "num_nics": 1,
    });

    let mut args = "-cpu qemu64 -smp 2 -m 1024M -machine q35,hpet=off,smm=off,pic=off".to_owned();
    args.push_str(&" -device virtio-rng-pci".repeat(5));
    let args: Vec<String> = args.split(' ').map(str::to_owned).collect();
    let acpi = read_from_qemu(Path::new(QEMU), &args).unwrap();
    let document = ImageDir::open(image.path())
        .unwrap()
        .measure_tdx(memory)
        .unwrap();
    let shape = Shape {
        memory_size: memory,
        two_pass: true,
        acpi: acpi.digests(),
    };
    let (registers, log) = boot_measured(&document, &shape);

    let proven = prove_with(&config.to_string(), &registers, &log, &store).await;
    assert_eq!(proven.unwrap(), hash);
    for (key, value, register) in [
        ("cpu_count", json!(3), "RTMR0"),
        ("memory_size", json!(2u64 << 30), "RTMR0"),
        ("num_nics", json!(2), "RTMR0"),
        ("qemu_single_pass_add_pages", json!(false), "MRTD"),
    ] {
        let mut false_claim = config.clone();
        false_claim[key] = value;
        match prove_with(&false_claim.to_string(), &registers, &log, &store).await {
            Err(ImageError::Mismatch {
                register: named, ..
            }) => assert_eq!(named, register, "{key}"),
            other => panic!("{key}: {other:?}"),
        }
    }
    let mut newer = config.clone();
    newer["qemu_version"] = json!("99.0.0");
    let refused = prove_with(&newer.to_string(), &registers, &log, &store).await;
    let error = refused.unwrap_err().to_string();
    assert!(
        error.contains("99.0.0") && error.contains(&version),
        "{error}"
    );
    assert!(VmConfig::parse(&newer.to_string()).is_ok());
    assert!(store.registers(hash, "{}").await.is_err());
}
