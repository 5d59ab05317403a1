//! The container engine: containerd and dockerd on the encrypted disk.

mod images;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bylaw_rpc::Client;
use bylaw_types::file::write_atomic;
use bylaw_types::{AppCompose, ComposeHash};
use serde_json::json;

use crate::error::{BootError, file};
use crate::host::Host;
use crate::supervise::{Program, Supervisor};

const CONFIG: &str = "/run/bylaw/docker.json";
const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
const SOCKET: &str = "unix:/run/docker.sock";
/// Records of the containers, on the data disk.
const RECORDS: &str = "/var/lib/docker/containers";
/// Which manifest they are of.
const RECORDS_OF: &str = "/dstack/persistent/.compose-hash";
const POLL: Duration = Duration::from_millis(100);
/// An emulated CPU takes half a minute.
const DEADLINE: Duration = Duration::from_secs(180);

/// dockerd's settings.
///
/// A mirror is the host's choice and answers for any name: it is used only where every
/// image is named by its digest, so that it can deliver nothing but what was measured.
fn settings(compose: &AppCompose, has_scripts: bool, mirror: &str) -> serde_json::Value {
    let mut settings = json!({
        "containerd": CONTAINERD_SOCKET,
        "userland-proxy": false,
        "log-driver": "json-file",
        "log-opts": { "max-size": "10m", "max-file": "3" },
    });
    let is_pinned = !has_scripts && images::all_pinned(compose);
    if mirror.is_empty() {
        return settings;
    }
    if !is_pinned {
        tracing::warn!(
            mirror,
            "the registry mirror is not used: not every image is named by its digest, or scripts \
             could pull others"
        );
        return settings;
    }
    let (scheme, rest) = mirror.split_once("://").unwrap_or(("https", mirror));
    let name = rest.split('/').next().unwrap_or_default();
    settings["registry-mirrors"] = json!([format!("{scheme}://{name}")]);
    if scheme == "http" {
        // Digests say what is right; TLS would only hide from the host what it serves.
        settings["insecure-registries"] = json!([name]);
    }
    settings
}

/// Starts containerd and dockerd; does not wait for them.
///
/// # Errors
/// [`BootError::File`].
pub fn start(
    compose: &AppCompose,
    has_scripts: bool,
    mirror: &str,
    supervisor: &mut Supervisor,
) -> Result<(), BootError> {
    forget_other_apps(Path::new(RECORDS), Path::new(RECORDS_OF), &compose.hash())?;
    let settings = settings(compose, has_scripts, mirror);
    let path = Path::new(CONFIG);
    write_atomic(path, settings.to_string().as_bytes()).map_err(file(path))?;
    supervisor.start(Program::new("containerd", ["containerd", "-l", "warn"]));
    let mut dockerd = Program::new(
        "dockerd",
        [
            "dockerd",
            "--config-file",
            CONFIG,
            "-H",
            "unix:///run/docker.sock",
            "-l",
            "warn",
        ],
    );
    // It stops containers itself.
    dockerd.patience = Duration::from_secs(30);
    supervisor.start(dockerd);
    Ok(())
}

/// dockerd starts containers of the last boot before anybody asks: those of another
/// manifest must not run beside this one's. Volumes and images stay.
fn forget_other_apps(
    records: &Path,
    records_of: &Path,
    hash: &ComposeHash,
) -> Result<(), BootError> {
    let hash = hash.to_string();
    if std::fs::read_to_string(records_of).is_ok_and(|last| last == hash) {
        return Ok(());
    }
    match std::fs::remove_dir_all(records) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(BootError::File {
                path: PathBuf::from(records),
                source: error,
            });
        }
        _ => {}
    }
    write_atomic(records_of, hash.as_bytes()).map_err(file(records_of))
}

/// Waits until dockerd answers.
///
/// # Errors
/// [`BootError::App`] after three minutes.
pub async fn wait_until_ready(host: &Host) -> Result<(), BootError> {
    let client = Client::new(SOCKET).map_err(crate::app::AppError::Engine)?;
    let answers = async {
        loop {
            let ping = async { client.connect().await?.get("/_ping").await };
            match ping.await {
                Ok(_) => return,
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    };
    match tokio::time::timeout(DEADLINE, answers).await {
        Ok(()) => Ok(()),
        Err(_) => {
            host.progress("dockerd does not answer").await;
            Err(crate::app::AppError::NoEngine(DEADLINE).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compose(file: &str) -> AppCompose {
        let text = json!({"manifest_version": 2, "name": "a", "runner": "docker-compose",
            "docker_compose_file": file});
        AppCompose::parse(text.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_mirror_serves_pinned_images_alone() {
        let digest = "ab".repeat(32);
        let pinned = compose(&format!("services:\n  a:\n    image: x@sha256:{digest}\n"));
        let tagged = compose("services:\n  a:\n    image: x:latest\n");
        let mirror = "http://10.0.2.2:5000/";
        let used = settings(&pinned, false, mirror);
        assert_eq!(used["registry-mirrors"][0], "http://10.0.2.2:5000");
        assert_eq!(used["insecure-registries"][0], "10.0.2.2:5000");
        let secure = settings(&pinned, false, "https://m.example");
        assert!(secure.get("insecure-registries").is_none());
        for unused in [
            settings(&tagged, false, mirror),
            settings(&pinned, true, mirror),
            settings(&pinned, false, ""),
        ] {
            assert!(unused.get("registry-mirrors").is_none(), "{unused}");
            assert!(unused.get("insecure-registries").is_none(), "{unused}");
        }
    }

    #[test]
    fn containers_of_another_manifest_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let (records, of) = (dir.path().join("containers"), dir.path().join("of"));
        let hash = |byte| ComposeHash::new([byte; 32]);
        forget_other_apps(&records, &of, &hash(1)).unwrap();
        std::fs::create_dir_all(records.join("x")).unwrap();
        forget_other_apps(&records, &of, &hash(1)).unwrap();
        assert!(records.join("x").exists(), "the same manifest keeps them");
        forget_other_apps(&records, &of, &hash(2)).unwrap();
        assert!(!records.exists());
    }
}
