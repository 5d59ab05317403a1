//! Images from a real registry: `docker-registry`, filled by plain HTTP.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bylaw_vmm::registry::{Registry, RegistryError};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const PATIENCE: Duration = Duration::from_secs(60);

/// A registry, and a folder to pull to.
struct World {
    process: Child,
    url: String,
    http: reqwest::Client,
    folder: tempfile::TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl World {
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        for name in ["storage", "images"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let config = folder.path().join("registry.yml");
        let text = json!({
            "version": "0.1",
            "log": { "level": "error" },
            "storage": { "filesystem": { "rootdirectory": folder.path().join("storage") } },
            "http": { "addr": address.to_string() },
        });
        // JSON is YAML.
        bylaw_types::file::write_atomic(&config, text.to_string().as_bytes()).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let world = Self {
            process,
            url: format!("http://{address}/v2"),
            http: reqwest::Client::new(),
            folder,
        };
        let deadline = Instant::now() + PATIENCE;
        while world
            .http
            .get(format!("{}/", world.url))
            .send()
            .await
            .is_err()
        {
            assert!(Instant::now() < deadline, "docker-registry does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        world
    }

    fn registry(&self) -> Registry {
        let address = self.url.trim_end_matches("/v2");
        Registry::new(&format!("{address}/org/images"), &self.images()).unwrap()
    }

    fn images(&self) -> std::path::PathBuf {
        self.folder.path().join("images")
    }

    /// Names in the image path.
    fn local(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.images())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    async fn put_blob(&self, bytes: &[u8]) -> String {
        let begun = self
            .http
            .post(format!("{}/org/images/blobs/uploads/", self.url))
            .send()
            .await
            .unwrap();
        let location = begun.headers()["location"].to_str().unwrap().to_owned();
        let digest = digest(bytes);
        let put = self
            .http
            .put(format!("{location}&digest={digest}"))
            .header("content-type", "application/octet-stream")
            .body(bytes.to_vec())
            .send()
            .await
            .unwrap();
        assert!(put.status().is_success(), "{}", put.status());
        digest
    }

    /// Pushes an image of these layers, and returns their digests.
    async fn push(&self, tag: &str, media_type: &str, layers: &[Vec<u8>]) -> Vec<String> {
        let config = self.put_blob(b"{}").await;
        let mut digests = Vec::new();
        let mut descriptors = Vec::new();
        for layer in layers {
            let digest = self.put_blob(layer).await;
            descriptors
                .push(json!({ "mediaType": media_type, "digest": digest, "size": layer.len() }));
            digests.push(digest);
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2 },
            "layers": descriptors,
        });
        let put = self
            .http
            .put(format!("{}/org/images/manifests/{tag}", self.url))
            .header("content-type", MANIFEST)
            .body(manifest.to_string())
            .send()
            .await
            .unwrap();
        assert!(put.status().is_success(), "{}", put.text().await.unwrap());
        digests
    }

    /// Pulls and waits; the error, empty when it came.
    async fn pull(&self, registry: &Registry, tag: &str) -> String {
        registry.pull(tag).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let images = registry.list().await.unwrap();
            let image = images.iter().find(|image| image.tag == tag).unwrap();
            if !image.pulling {
                assert_eq!(image.local, image.error.is_empty(), "{image:?}");
                return image.error.clone();
            }
            assert!(Instant::now() < deadline, "still pulling {tag}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Appends an entry whose name is written as it is, whatever it says.
fn entry(tar: &mut tar::Builder<Vec<u8>>, kind: EntryType, name: &str, bytes: &[u8], link: &str) {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_ustar_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    tar.append(&header, bytes).unwrap();
}

fn layer(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        entry(&mut tar, EntryType::Regular, name, bytes, "");
    }
    gzip(&tar.into_inner().unwrap())
}

const METADATA: &[u8] =
    br#"{"kernel":"bzImage","initrd":"initrd","version":"0.5.5","is_dev":false}"#;

/// The files of an image, with their checksums; `wrong` lists another hash for the kernel.
fn image(prefix: &str, wrong: bool) -> Vec<u8> {
    let kernel = if wrong { b"another" } else { b"kernel!" };
    let sums: String = [
        ("metadata.json", METADATA),
        ("bzImage", kernel),
        ("initrd", b"initrd"),
    ]
    .iter()
    .map(|(name, bytes)| format!("{}  {name}\n", hex::encode(Sha256::digest(bytes))))
    .collect();
    let name = |file: &str| format!("{prefix}{file}");
    layer(&[
        (&name("metadata.json"), METADATA),
        (&name("bzImage"), b"kernel!"),
        (&name("initrd"), b"initrd"),
        (&name("sha256sum.txt"), sums.as_bytes()),
    ])
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[tokio::test]
async fn images_are_listed_pulled_and_then_local() {
    let world = World::new().await;
    world.push("0.5.5", GZIP, &[image("", false)]).await;
    world
        .push("dstack-dev-0.5.5", GZIP, &[image("./dstack-0.5.5/", false)])
        .await;
    // A later layer replaces files of an earlier one.
    world
        .push(
            "layers",
            GZIP,
            &[image("", true), layer(&[("bzImage", b"another")])],
        )
        .await;
    let signature = format!("sha256-{}.sig", "0".repeat(64));
    world
        .push(&signature, GZIP, &[layer(&[("sig", b"")])])
        .await;

    let registry = world.registry();
    let tags = |images: Vec<bylaw_rpc::message::vmm::RegistryImageInfo>| -> Vec<(String, bool)> {
        images
            .into_iter()
            .map(|image| (image.tag, image.local))
            .collect()
    };
    let expected =
        |local: bool| ["0.5.5", "dstack-dev-0.5.5", "layers"].map(|tag| (tag.to_owned(), local));
    assert_eq!(tags(registry.list().await.unwrap()), expected(false));
    for (tag, name) in [
        ("0.5.5", "dstack-0.5.5"),
        ("dstack-dev-0.5.5", "dstack-dev-0.5.5"),
        ("layers", "dstack-layers"),
    ] {
        assert_eq!(world.pull(&registry, tag).await, "");
        assert_eq!(read(&world.images().join(name).join("initrd")), b"initrd");
        let again = registry.pull(tag).unwrap_err();
        assert!(matches!(again, RegistryError::Local(_)), "{again}");
    }
    assert_eq!(
        read(&world.images().join("dstack-layers/bzImage")),
        b"another"
    );
    assert_eq!(tags(registry.list().await.unwrap()), expected(true));
    assert_eq!(
        world.local(),
        ["dstack-0.5.5", "dstack-dev-0.5.5", "dstack-layers"]
    );
}

#[tokio::test]
async fn one_pull_at_a_time_and_names_that_are_none_are_refused_at_once() {
    let world = World::new().await;
    world.push("a", GZIP, &[image("", false)]).await;
    let registry = world.registry();
    registry.pull("a").unwrap();
    assert!(matches!(
        registry.clone().pull("a"),
        Err(RegistryError::Pulling(_))
    ));
    for tag in ["", "../a", "a/b", ".", "-a"] {
        assert!(
            matches!(registry.pull(tag), Err(RegistryError::Tag(_))),
            "{tag}"
        );
    }
}

#[tokio::test]
async fn layers_that_are_no_plain_files_leave_nothing_behind() {
    let world = World::new().await;
    let registry = world.registry();
    let outside = world.folder.path().join("outside");
    let absolute = outside.to_str().unwrap().to_owned();
    let evil: [(&str, EntryType, &str, &str, &str); 9] = [
        (
            "parent",
            EntryType::Regular,
            "../../outside",
            "",
            "not a path below",
        ),
        (
            "inner",
            EntryType::Regular,
            "a/../../../outside",
            "",
            "not a path below",
        ),
        (
            "absolute",
            EntryType::Regular,
            &absolute,
            "",
            "not a path below",
        ),
        (
            "symlink",
            EntryType::Symlink,
            "bzImage",
            "/etc/passwd",
            "Symlink",
        ),
        (
            "hardlink",
            EntryType::Link,
            "bzImage",
            "/etc/passwd",
            "Link",
        ),
        ("device", EntryType::Block, "bzImage", "", "Block"),
        ("fifo", EntryType::Fifo, "bzImage", "", "Fifo"),
        ("whiteout", EntryType::Regular, ".wh.bzImage", "", ".wh."),
        ("self", EntryType::Regular, ".", "", "no plain file"),
    ];
    for (tag, kind, name, link, why) in evil {
        let mut tar = tar::Builder::new(Vec::new());
        entry(&mut tar, kind, name, b"", link);
        let bad = gzip(&tar.into_inner().unwrap());
        world.push(tag, GZIP, &[image("", false), bad]).await;
        let error = world.pull(&registry, tag).await;
        assert!(error.contains(why), "{tag}: {error}");
    }
    assert!(!outside.exists());
    assert_eq!(world.local(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_no_image_says_so_and_can_be_tried_again() {
    let world = World::new().await;
    let registry = world.registry();
    let truncated = {
        let whole = image("", false);
        whole[..whole.len() / 2].to_vec()
    };
    let rows: [(&str, &str, Vec<u8>, &str); 7] = [
        ("empty", GZIP, layer(&[]), "no metadata.json"),
        (
            "other",
            GZIP,
            layer(&[("a", b""), ("b", b"")]),
            "no metadata.json",
        ),
        (
            "broken",
            GZIP,
            layer(&[("metadata.json", b"{")]),
            "metadata.json",
        ),
        (
            "lacking",
            GZIP,
            layer(&[("metadata.json", METADATA)]),
            "bzImage",
        ),
        ("changed", GZIP, image("", true), "sha256sum.txt lists"),
        ("truncated", GZIP, truncated, "unpacking"),
        (
            "zstd",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            image("", false),
            "tar+gzip",
        ),
    ];
    for (tag, media_type, bytes, why) in rows {
        world.push(tag, media_type, &[bytes]).await;
        let error = world.pull(&registry, tag).await;
        assert!(error.contains(why), "{tag}: {error}");
    }
    world.push("changed", GZIP, &[image("", false)]).await;
    assert_eq!(world.pull(&registry, "changed").await, "");
    assert_eq!(world.local(), ["dstack-changed"]);
}

#[tokio::test]
async fn a_blob_that_is_not_what_the_manifest_says_is_refused() {
    let world = World::new().await;
    let digests = world.push("0.5.5", GZIP, &[image("", false)]).await;
    let hash = digests[0].strip_prefix("sha256:").unwrap();
    let blob = world
        .folder
        .path()
        .join("storage/docker/registry/v2/blobs/sha256")
        .join(&hash[..2])
        .join(hash)
        .join("data");
    // What an attacker would put there: a layer that is fine by itself.
    let other = image("", false)
        .iter()
        .copied()
        .chain([0])
        .collect::<Vec<u8>>();
    bylaw_types::file::write_atomic(&blob, &other).unwrap();
    let error = world.pull(&world.registry(), "0.5.5").await;
    assert!(
        error.contains("registry") && error.contains(hash),
        "{error}"
    );
    assert_eq!(world.local(), Vec::<String>::new());
}

#[tokio::test]
async fn unknown_tags_and_silent_registries_are_named() {
    let world = World::new().await;
    world.push("here", GZIP, &[image("", false)]).await;
    let registry = world.registry();
    registry.pull("there").unwrap();
    let deadline = Instant::now() + PATIENCE;
    // Not in the registry's list, so only a second try shows that the first has ended.
    while registry.pull("there").is_err() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(registry.list().await.unwrap().len(), 1);

    let empty = Registry::new(
        &format!("{}/org/none", world.url.trim_end_matches("/v2")),
        &world.images(),
    );
    let error = empty.unwrap().list().await.unwrap_err().to_string();
    assert!(error.contains("org/none"), "{error}");
    let silent = Registry::new("localhost:1/org/images", &world.images()).unwrap();
    let error = silent.list().await.unwrap_err().to_string();
    assert!(error.contains("localhost:1/org/images"), "{error}");
}
