//! A container registry with one image: a web server that remembers how often it started.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::process::{Process, free_port, program};

const READY: Duration = Duration::from_secs(20);
/// Its name in the registry.
const NAME: &str = "library/visits";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Adds a line to a file of its volume, then serves that volume on port 80.
const START: &str = "mkdir -p /data && echo start >> /data/starts && env > /data/environment \
                     && exec httpd -f -p 80 -h /data";

/// A running registry.
#[derive(Debug)]
pub struct Registry {
    /// Where it answers, on this machine.
    pub url: String,
    /// The image by digest, as a docker-compose.yaml names it.
    pub image: String,
    _process: Process,
    _dir: TempDir,
}

impl Registry {
    /// Starts Debian's registry and pushes the image.
    ///
    /// # Errors
    /// With the log of what failed.
    pub async fn start() -> anyhow::Result<Self> {
        let dir = TempDir::with_prefix("registry-")?;
        let port = free_port()?;
        let config = json!({
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": dir.path().join("data")}},
            "http": {"addr": format!("127.0.0.1:{port}")},
            "log": {"accesslog": {"disabled": false}},
        });
        let file = dir.path().join("config.yml");
        // JSON is YAML.
        bylaw_types::file::write_atomic(&file, config.to_string().as_bytes())?;
        let mut process = Process::start(
            "docker-registry",
            dir.path(),
            Command::new(program("docker-registry")?)
                .arg("serve")
                .arg(&file),
        )?;
        let url = format!("http://127.0.0.1:{port}");
        let deadline = Instant::now() + READY;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            process.check_alive()?;
            if Instant::now() > deadline {
                bail!("the registry does not listen on port {port}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let digest = push(&url, dir.path()).await?;
        Ok(Self {
            image: format!("visits@{digest}"),
            url,
            _process: process,
            _dir: dir,
        })
    }
}

/// Makes the image from busybox and pushes it; the digest of its manifest.
async fn push(url: &str, dir: &Path) -> anyhow::Result<String> {
    let layer = layer(dir)?;
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Cmd": ["/bin/sh", "-c", START],
            "Env": ["PATH=/bin"],
            "ExposedPorts": {"80/tcp": {}},
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    })
    .to_string()
    .into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "size": config.len(), "digest": digest(&config)},
        "layers": [{"mediaType": LAYER, "size": layer.len(), "digest": digest(&layer)}],
    })
    .to_string()
    .into_bytes();
    let http = bylaw_chain::http_client(READY)?;
    for blob in [layer, config] {
        let start = http
            .post(format!("{url}/v2/{NAME}/blobs/uploads/"))
            .send()
            .await?
            .error_for_status()?;
        let location = start
            .headers()
            .get("location")
            .and_then(|value| value.to_str().ok())
            .context("the registry names no place to upload to")?;
        http.put(format!("{location}&digest={}", digest(&blob)))
            .header("content-type", "application/octet-stream")
            .body(blob)
            .send()
            .await?
            .error_for_status()?;
    }
    let name = digest(&manifest);
    http.put(format!("{url}/v2/{NAME}/manifests/{name}"))
        .header("content-type", MANIFEST)
        .body(manifest)
        .send()
        .await?
        .error_for_status()?;
    Ok(name)
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// busybox and the names it goes by.
fn layer(dir: &Path) -> anyhow::Result<Vec<u8>> {
    let root = dir.join("root");
    std::fs::create_dir_all(root.join("bin"))?;
    let busybox = program("busybox").context("Debian's package busybox-static has it")?;
    std::fs::copy(&busybox, root.join("bin/busybox"))?;
    for applet in ["sh", "httpd", "mkdir", "echo", "env", "cat", "ls", "sleep"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
    }
    let archive = dir.join("layer.tar");
    let made = Command::new("tar")
        .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0"])
        .arg("-C")
        .arg(&root)
        .arg("-cf")
        .arg(&archive)
        .arg("bin")
        .status()?;
    if !made.success() {
        bail!("tar failed: {made}");
    }
    Ok(std::fs::read(&archive)?)
}
