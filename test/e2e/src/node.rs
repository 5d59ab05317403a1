//! KMS nodes and app agents as values.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bylaw_ratls::tls::{ServerTrust, client};
use bylaw_rpc::message::guest::{AppInfo, GetKeyArgs, GetKeyResponse};
use bylaw_rpc::message::kms::{AttestationInfoResponse, GetMetaResponse};
use bylaw_rpc::message::simtee::LaunchResponse;
use bylaw_rpc::{Client, Empty};

use crate::process::{Process, program};

const READY: Duration = Duration::from_secs(30);

/// How a KMS differs from the usual one.
#[derive(Debug, Clone)]
pub struct KmsOptions {
    /// Names its build: another name is another measurement.
    pub build: String,
    /// Seed of its OS image.
    pub image: String,
    /// Trust the vendors instead of the software TEE.
    pub vendor_anchors: bool,
    /// Other endpoints than the chain's own.
    pub rpc_urls: Option<Vec<String>>,
    /// Another chain id.
    pub chain_id: Option<u64>,
    /// Release to SEV-SNP guests.
    pub sev_snp_key_release: bool,
}

impl Default for KmsOptions {
    fn default() -> Self {
        Self {
            build: "bylaw-kms".to_owned(),
            image: String::new(),
            vendor_anchors: false,
            rpc_urls: None,
            chain_id: None,
            sev_snp_key_release: false,
        }
    }
}

/// A KMS process.
#[derive(Debug)]
pub struct Kms {
    pub(crate) name: String,
    /// Main listener.
    pub url: String,
    /// Listener before it has keys.
    pub onboard_url: String,
    /// Admin listener.
    pub admin_url: String,
    /// Its TD.
    pub td: LaunchResponse,
    pub(crate) config: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) process: Option<Process>,
}

impl Kms {
    /// Starts the process (again).
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(program("bylaw-kms")?);
        command.arg("--config").arg(&self.config);
        self.process = Some(Process::start("kms", &self.dir, &mut command)?);
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Replaces a line of its configuration, for the next start.
    ///
    /// # Errors
    /// When the line is not there.
    pub fn edit_config(&self, from: &str, to: &str) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(&self.config)?;
        if !text.contains(from) {
            bail!("{} has no {from:?}", self.config.display());
        }
        let changed = text.replace(from, to);
        Ok(bylaw_types::file::write_atomic(
            &self.config,
            changed.as_bytes(),
        )?)
    }

    /// Its directory: configuration, data, log.
    pub fn directory(&self) -> &Path {
        &self.dir
    }

    /// Everything it logged.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.dir.join("kms.log")).unwrap_or_default()
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> Option<u64> {
        self.process.as_ref()?.resident_kib()
    }

    /// Waits for the process to end by itself; its log.
    ///
    /// # Errors
    /// When it goes on.
    pub fn wait_for_end(&mut self) -> anyhow::Result<String> {
        let process = self.process.as_mut().context("not started")?;
        process.wait(READY)?;
        Ok(process.log_text())
    }

    pub(crate) fn onboarding(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&self.onboard_url)?.prpc())
    }

    /// Calls the onboarding service once it listens.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub async fn attestation_info(&self) -> anyhow::Result<AttestationInfoResponse> {
        let deadline = Instant::now() + READY;
        loop {
            match self
                .onboarding()?
                .call("GetAttestationInfo", &Empty {})
                .await
            {
                Ok(info) => return Ok(info),
                Err(error) if Instant::now() > deadline => {
                    bail!(
                        "{} does not onboard: {error}\n{}",
                        self.name,
                        self.log_text()
                    )
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Calls a method of the onboarding service.
    ///
    /// # Errors
    /// The KMS's reason.
    pub async fn onboard_call<Req: bylaw_rpc::Message, Res: bylaw_rpc::Message>(
        &self,
        method: &str,
        request: &Req,
    ) -> anyhow::Result<Res> {
        Ok(self.onboarding()?.call(method, request).await?)
    }

    /// Ends the onboarding phase.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn finish(&self) -> anyhow::Result<()> {
        let _: Empty = self.onboarding()?.call("Finish", &Empty {}).await?;
        Ok(())
    }

    /// A client of the main listener that trusts whoever answers; for looking only.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&self.url)?
            .prpc()
            .with_tls(client(ServerTrust::FirstContact, None)?))
    }

    /// Waits until `GetMeta` answers.
    ///
    /// # Errors
    /// With its log when it does not.
    pub async fn wait_until_serving(&self) -> anyhow::Result<GetMetaResponse> {
        let deadline = Instant::now() + READY;
        loop {
            match self.client()?.call("GetMeta", &Empty {}).await {
                Ok(meta) => return Ok(meta),
                Err(error) if Instant::now() > deadline => {
                    bail!("{} does not serve: {error}\n{}", self.name, self.log_text())
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

/// How an app's VM differs from the usual one.
#[derive(Debug, Clone, Default)]
pub struct AgentOptions {
    /// Seed of its OS image.
    pub image: String,
    /// Kind of TEE; empty is TDX.
    pub tee: String,
    /// Launch with the debug attribute.
    pub debug: bool,
    /// Launch on a platform that lacks the newest TCB level (published on 2024-03-13).
    pub outdated: bool,
    /// As if the system had attested this many GPUs.
    pub gpus: u32,
    /// Other KMS addresses than the KMS's own.
    pub kms_urls: Option<Vec<String>>,
    /// Keep the keys in a file for a restart of the agent.
    pub keeps_keys: bool,
    /// What the host delivers as the encrypted environment.
    pub encrypted_env: Option<Vec<u8>>,
    /// Socket of a container engine.
    pub container_engine: Option<PathBuf>,
}

/// An app's agent that has its keys.
#[derive(Debug)]
pub struct Agent {
    /// Current API.
    pub dstack: PathBuf,
    /// Legacy API.
    pub tappd: PathBuf,
    /// The host's view.
    pub guest_api: PathBuf,
    /// Base URL of the public listener.
    pub external: String,
    /// Its TD.
    pub td: LaunchResponse,
    pub(crate) config: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) process: Option<Process>,
}

impl Agent {
    /// Starts the process (again) and waits until it has its keys.
    ///
    /// # Errors
    /// With its log, which names why there are no keys.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(program("bylaw-agent")?);
        command.arg("--config").arg(&self.config);
        let (process, line) = Process::start_and_read_line("agent", &self.dir, &mut command)?;
        if line != "ready" {
            bail!("the agent says {line:?}");
        }
        self.process = Some(process);
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Everything it logged.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.dir.join("agent.log")).unwrap_or_default()
    }

    /// Its directory: configuration, sockets, log.
    pub fn directory(&self) -> &Path {
        &self.dir
    }

    /// Its configuration.
    pub fn config_file(&self) -> &Path {
        &self.config
    }

    /// Its process.
    pub fn process_id(&self) -> Option<u32> {
        Some(self.process.as_ref()?.id())
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> Option<u64> {
        self.process.as_ref()?.resident_kib()
    }

    /// A client of the current API.
    ///
    /// # Errors
    /// Never for a socket path.
    pub fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&format!("unix:{}", self.dstack.display()))?)
    }

    /// The key at `path`.
    ///
    /// # Errors
    /// The agent's reason.
    pub async fn key(&self, path: &str) -> anyhow::Result<GetKeyResponse> {
        let request = GetKeyArgs {
            path: path.to_owned(),
            ..GetKeyArgs::default()
        };
        Ok(self.client()?.call("GetKey", &request).await?)
    }

    /// Who the app is.
    ///
    /// # Errors
    /// The agent's reason.
    pub async fn info(&self) -> anyhow::Result<AppInfo> {
        Ok(self.client()?.call("Info", &Empty {}).await?)
    }
}
