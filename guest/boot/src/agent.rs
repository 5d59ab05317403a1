//! The guest agent: configured, started, waited for.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use bylaw_types::file::{write_atomic, write_private};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixDatagram;
use tokio::process::{Child, ChildStderr};
use zeroize::{Zeroize, Zeroizing};

use crate::command::tail;
use crate::platform::Tee;
use crate::shared::{Chain, DIRECTORY, SYS_CONFIG, SysConfig};
use crate::supervise::{Program, Supervisor};

/// The program.
pub const PROGRAM: &str = "/usr/bin/bylaw-agent";
/// Its configuration.
pub const CONFIG: &str = "/run/bylaw/agent.toml";
const KEYS: &str = "/run/bylaw/appkeys.json";
const TRUST_ROOT: &str = "/run/bylaw/tdx-root-ca.pem";
const NOTIFY: &str = "/run/bylaw/notify.sock";
/// Lines of its log that are kept to explain an end.
const KEPT_LINES: usize = 40;
const DEFAULT_GUEST_API: &str = "vsock:any:8000";

/// The agent does not give the app its keys.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It ended before the app had its keys.
    #[error("no app keys: {0}")]
    Ended(String),
    /// Its key file is of another form.
    #[error("{KEYS} has no usable disk_crypt_key")]
    Keys,
}

fn file(path: &str) -> impl FnOnce(std::io::Error) -> AgentError + '_ {
    move |source| AgentError::File {
        path: PathBuf::from(path),
        source,
    }
}

/// `agent.toml`: what of the agent's settings differs in a VM.
#[derive(Debug, Serialize)]
struct Settings<'a> {
    compose_file: String,
    attester: &'a str,
    vm_config_file: String,
    keys_file: &'a str,
    storage_fs: &'a str,
    listen: Listen<'a>,
    kms: Kms<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chain: Option<&'a Chain>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trust: Option<Trust<'a>>,
    collateral: Collateral<'a>,
    environment: Environment,
    system: System<'a>,
}

#[derive(Debug, Serialize)]
struct Listen<'a> {
    guest_api: &'a str,
}

#[derive(Debug, Serialize)]
struct Kms<'a> {
    urls: &'a [String],
}

#[derive(Debug, Serialize)]
struct Trust<'a> {
    tdx_root_ca: &'a str,
}

#[derive(Debug, Serialize)]
struct Collateral<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amd_kds: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Environment {
    file: String,
}

#[derive(Debug, Serialize)]
struct System<'a> {
    container_engine: &'a str,
    data_disks: [&'a str; 1],
    shutdown: [&'a str; 2],
    host_api: &'a str,
}

/// The agent's settings in this VM, TOML.
pub fn settings(tee: &Tee, host: &SysConfig) -> String {
    let shared = |name: &str| Path::new(DIRECTORY).join(name).display().to_string();
    let settings = Settings {
        compose_file: shared(crate::shared::APP_COMPOSE),
        attester: &tee.endpoint,
        vm_config_file: shared(SYS_CONFIG),
        keys_file: KEYS,
        storage_fs: "ext4",
        listen: Listen {
            guest_api: host.guest_api.as_deref().unwrap_or(DEFAULT_GUEST_API),
        },
        kms: Kms {
            urls: &host.kms_urls,
        },
        chain: host.chain.as_ref(),
        trust: tee.simulator_root.as_ref().map(|_| Trust {
            tdx_root_ca: TRUST_ROOT,
        }),
        collateral: Collateral {
            source: host.pccs(),
            amd_kds: host.amd_kds(),
        },
        environment: Environment {
            file: shared(crate::shared::ENCRYPTED_ENV),
        },
        system: System {
            container_engine: "/run/docker.sock",
            data_disks: [crate::disk::MOUNT_POINT],
            shutdown: ["/usr/lib/bylaw/bylaw-boot", "poweroff"],
            host_api: &host.host_api_url,
        },
    };
    // A struct of strings and numbers always serialises.
    toml::to_string(&settings).unwrap_or_default()
}

/// Writes the settings and starts the agent; returns once the app has its keys, with the
/// agent under supervision.
///
/// # Errors
/// [`AgentError::Ended`] with the agent's own words.
pub async fn start(
    tee: &Tee,
    host: &SysConfig,
    supervisor: &mut Supervisor,
) -> Result<(), AgentError> {
    if let Some(root) = &tee.simulator_root {
        write_atomic(Path::new(TRUST_ROOT), root.as_bytes()).map_err(file(TRUST_ROOT))?;
    }
    let text = settings(tee, host);
    write_private(Path::new(CONFIG), text.as_bytes()).map_err(file(CONFIG))?;
    let mut program = Program::new("agent", [PROGRAM, "--config", CONFIG]);
    program
        .variables
        .insert("NOTIFY_SOCKET".to_owned(), NOTIFY.to_owned());
    let child = wait_until_ready(&program, NOTIFY).await?;
    supervisor.adopt(program, child);
    Ok(())
}

async fn wait_until_ready(program: &Program, notify: &str) -> Result<Child, AgentError> {
    let _ = std::fs::remove_file(notify);
    let socket = UnixDatagram::bind(notify).map_err(file(notify))?;
    let mut child = program.spawn(Stdio::piped()).map_err(file(PROGRAM))?;
    let log = Log::follow(child.stderr.take());
    tokio::select! {
        ready = readiness(&socket) => {
            ready.map_err(file(notify))?;
            // Later words have nowhere to go, and the agent must not wait for a reader.
            tokio::spawn(async move { drain(socket).await });
            Ok(child)
        }
        status = child.wait() => {
            let status = status.map_err(file(PROGRAM))?;
            Err(AgentError::Ended(log.last_words(&status.to_string()).await))
        }
    }
}

async fn readiness(socket: &UnixDatagram) -> std::io::Result<()> {
    let mut message = [0; 512];
    loop {
        let length = socket.recv(&mut message).await?;
        let said = message.get(..length).unwrap_or_default();
        if said
            .split(|byte| *byte == b'\n')
            .any(|line| line == b"READY=1")
        {
            return Ok(());
        }
    }
}

async fn drain(socket: UnixDatagram) {
    let mut message = [0; 512];
    while socket.recv(&mut message).await.is_ok() {}
}

/// What the agent logs: passed on to the console, and its end remembered.
struct Log {
    lines: Arc<Mutex<VecDeque<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Log {
    fn follow(stderr: Option<ChildStderr>) -> Self {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&lines);
        let task = tokio::spawn(async move {
            let Some(stderr) = stderr else { return };
            let mut reader = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = reader.next_line().await {
                eprintln!("{line}");
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == KEPT_LINES {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
        });
        Self { lines, task }
    }

    /// The error it ended with: the last one, and what follows it.
    async fn last_words(self, status: &str) -> String {
        let _ = self.task.await;
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let from = lines.iter().rposition(|line| line.starts_with("Error:"));
        match from {
            Some(from) => tail(sentence(lines.iter().skip(from)).as_bytes()),
            None => format!(
                "bylaw-agent ended ({status}): {}",
                lines
                    .back()
                    .map(|line| tail(line.as_bytes()))
                    .unwrap_or_default()
            ),
        }
    }
}

/// `Error: a`, `Caused by:`, `0: b` as people write it: `a: b`.
fn sentence<'a>(lines: impl Iterator<Item = &'a String>) -> String {
    let mut sentence = String::new();
    let mut separator = "; ";
    for line in lines {
        let line = line.trim_start_matches("Error:").trim();
        if line == "Caused by:" {
            separator = ": ";
            continue;
        }
        let text = match line.split_once(": ") {
            Some((number, text)) if number.parse::<u8>().is_ok() => text,
            _ => line,
        };
        if !sentence.is_empty() && !text.is_empty() {
            sentence.push_str(separator);
        }
        sentence.push_str(text);
    }
    sentence
}

/// The passphrase of the data disk: the key's lower-case hex.
///
/// # Errors
/// [`AgentError::Keys`].
pub fn disk_passphrase() -> Result<Zeroizing<Vec<u8>>, AgentError> {
    let bytes = std::fs::read(KEYS)
        .map(Zeroizing::new)
        .map_err(file(KEYS))?;
    passphrase(&bytes)
}

#[derive(Deserialize)]
struct Keys {
    disk_crypt_key: String,
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.disk_crypt_key.zeroize();
    }
}

fn passphrase(file: &[u8]) -> Result<Zeroizing<Vec<u8>>, AgentError> {
    let keys: Keys = serde_json::from_slice(file).map_err(|_| AgentError::Keys)?;
    let key = Zeroizing::new(hex::decode(&keys.disk_crypt_key).map_err(|_| AgentError::Keys)?);
    if key.len() != 32 {
        return Err(AgentError::Keys);
    }
    Ok(Zeroizing::new(hex::encode(&key).into_bytes()))
}

#[cfg(test)]
mod tests {
    use bylaw_types::TeeVariant;

    use super::*;

    fn host(text: &str) -> SysConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn settings_say_what_differs_and_nothing_more() {
        let tee = Tee {
            endpoint: "simtee:http://10.0.2.2:1/td/x".to_owned(),
            variant: TeeVariant::Tdx,
            simulator_root: Some("pem".to_owned()),
        };
        let text = settings(
            &tee,
            &host(
                r#"{"vm_config":"{}","kms_urls":["https://k"],"pccs_url":"http://p",
                "collateral_urls":{"amd_kds":"http://a"},"guest_api":"0.0.0.0:8000","host_api_url":"http://h/api",
                "chain":{"rpc_urls":["http://c"],"chain_id":1,"kms_auth":"0x1"}}"#,
            ),
        );
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(
            table["attester"].as_str(),
            Some("simtee:http://10.0.2.2:1/td/x")
        );
        assert_eq!(table["trust"]["tdx_root_ca"].as_str(), Some(TRUST_ROOT));
        assert_eq!(table["listen"]["guest_api"].as_str(), Some("0.0.0.0:8000"));
        assert_eq!(table["chain"]["chain_id"].as_integer(), Some(1));
        assert!(table["chain"].get("finality").is_none());
        assert_eq!(table["collateral"]["source"].as_str(), Some("http://p"));
        assert_eq!(table["collateral"]["amd_kds"].as_str(), Some("http://a"));

        let hardware = Tee {
            endpoint: "linux:tdx".to_owned(),
            simulator_root: None,
            ..tee
        };
        let table: toml::Table = settings(&hardware, &host(r#"{"vm_config":"{}"}"#))
            .parse()
            .unwrap();
        assert_eq!(
            table["listen"]["guest_api"].as_str(),
            Some(DEFAULT_GUEST_API)
        );
        for absent in ["trust", "chain"] {
            assert!(table.get(absent).is_none(), "{absent}");
        }
        assert!(table["collateral"].as_table().unwrap().is_empty());
    }

    fn shell(script: &str) -> Program {
        Program::new("agent", ["sh", "-c", script])
    }

    #[tokio::test]
    async fn an_agent_that_ends_is_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let notify = dir.path().join("n").display().to_string();
        let script = r#"echo '{"level":"INFO"}' >&2
            printf 'Error: KMS denied\nand more\n\nCaused by:\n    0: image not allowed\n' >&2
            printf '    1: for a reason\n' >&2; exit 1"#;
        let error = wait_until_ready(&shell(script), &notify).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "no app keys: KMS denied; and more: image not allowed: for a reason"
        );
        let error = wait_until_ready(&shell("echo odd >&2; exit 3"), &notify).await;
        let text = error.unwrap_err().to_string();
        assert!(text.contains("odd") && text.contains('3'), "{text}");
    }

    #[tokio::test]
    async fn readiness_is_what_the_agent_says_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n");
        let notify = path.display().to_string();
        let waiting = tokio::spawn(async move {
            wait_until_ready(&shell("sleep 30"), &notify)
                .await
                .map(drop)
        });
        while !path.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(b"STATUS=x\nREADY=0", &path).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert!(!waiting.is_finished());
        sender.send_to(b"STATUS=y\nREADY=1\n", &path).await.unwrap();
        waiting.await.unwrap().unwrap();
    }

    #[test]
    fn the_passphrase_is_lower_case_hex_of_the_key() {
        let key = "AB".repeat(32);
        let text = format!(r#"{{"disk_crypt_key":"{key}","more":1}}"#);
        assert_eq!(
            *passphrase(text.as_bytes()).unwrap(),
            "ab".repeat(32).into_bytes()
        );
        for bad in [
            "{}",
            r#"{"disk_crypt_key":""}"#,
            r#"{"disk_crypt_key":"zz"}"#,
            "",
        ] {
            assert!(
                matches!(passphrase(bad.as_bytes()), Err(AgentError::Keys)),
                "{bad}"
            );
        }
    }
}
