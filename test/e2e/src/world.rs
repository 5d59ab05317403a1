//! The system and the steps that build it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use alloy::providers::{Provider, ProviderBuilder};
use alloy::signers::local::PrivateKeySigner;
use anyhow::Context;
use bylaw_chain::KmsInfo;
use bylaw_chain::contracts::Owner;
use bylaw_rpc::message::kms::{BootstrapRequest, BootstrapResponse};
use bylaw_rpc::message::simtee::{LaunchArgs, LaunchResponse, StopArgs};
use bylaw_rpc::{Client, Empty};
use bylaw_types::{AppCompose, AppId, ComposeHash, ContractAddress, OsImageHash};
use tempfile::TempDir;

use crate::chain::{OWNER_KEY, deploy_with_forge, start_anvil};
use crate::node::{Agent, AgentOptions, Kms, KmsOptions};
use crate::process::{Process, free_port, program};

const CHAIN_ID: u64 = 31337;
const READY: Duration = Duration::from_secs(30);

/// Chain, contracts and software TEE.
#[derive(Debug)]
pub struct World {
    /// JSON-RPC of the chain.
    pub rpc_url: String,
    /// `KmsAuth`.
    pub kms_auth: ContractAddress,
    /// Its owner, and the owner of every app.
    pub owner: Owner,
    /// Control socket of the software TEE.
    pub control: PathBuf,
    /// Where its collateral is served.
    pub pccs: String,
    /// PEM of its root.
    pub root_ca: PathBuf,
    /// PEM of its SEV-SNP root; empty without `--snp`.
    pub amd_root_ca: PathBuf,
    /// The one machine that everything runs on, hex.
    pub device_id: String,
    behind: Duration,
    _simtee: Process,
    _anvil: Process,
    dir: TempDir,
}

/// A manifest with its registered contract.
#[derive(Debug, Clone)]
pub struct App {
    /// The contract.
    pub id: AppId,
    /// The manifest.
    pub compose: String,
}

impl App {
    /// Hash of the manifest.
    ///
    /// # Errors
    /// When the manifest is not valid.
    pub fn compose_hash(&self) -> anyhow::Result<ComposeHash> {
        Ok(AppCompose::parse(self.compose.as_bytes())?.hash())
    }
}

/// A manifest called `name` whose keys come from a KMS.
pub fn manifest(name: &str) -> String {
    format!(
        r#"{{"manifest_version":2,"name":"{name}","runner":"docker-compose","docker_compose_file":"services:\n  web:\n    image: nginx\n","key_provider":"kms","storage_fs":"ext4"}}"#
    )
}

impl World {
    /// Starts chain and TEE and deploys the contracts with forge.
    ///
    /// # Errors
    /// With the log of what did not start.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(&[]).await
    }

    /// As [`World::start`], with more arguments for the software TEE.
    ///
    /// # Errors
    /// With the log of what did not start.
    pub async fn start_with(simtee: &[&str]) -> anyhow::Result<Self> {
        Self::start_in(simtee, Duration::ZERO).await
    }

    /// A world whose chain is behind by this much, so that its time can be moved on
    /// without ever being ahead of the services' clocks.
    ///
    /// # Errors
    /// With the log of what did not start.
    pub async fn start_behind(behind: Duration) -> anyhow::Result<Self> {
        Self::start_in(&[], behind).await
    }

    /// A world whose contracts speak dstack's interface and nothing more.
    ///
    /// # Errors
    /// With the log of what did not start.
    pub async fn start_with_dstack_contracts() -> anyhow::Result<Self> {
        let mut world = Self::start().await?;
        world.kms_auth = world.deploy_dstack_contracts().await?;
        Ok(world)
    }

    async fn start_in(simtee: &[&str], behind: Duration) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("bylaw-").tempdir()?;
        let (anvil, rpc_url) = start_anvil(dir.path(), behind).await?;
        let state = dir.path().join("tee");
        let (simtee, line) = Process::start_and_read_line(
            "simtee",
            dir.path(),
            Command::new(program("bylaw-simtee")?)
                .arg("serve")
                .arg("--state")
                .arg(&state)
                .args(simtee),
        )?;
        let ready: serde_json::Value = serde_json::from_str(&line).context(line)?;
        let text = |name: &str| ready[name].as_str().unwrap_or_default().to_owned();
        let kms_auth = deploy_with_forge(&rpc_url)?;
        Ok(Self {
            owner: Owner::new(&rpc_url, OWNER_KEY.parse::<PrivateKeySigner>()?)?,
            rpc_url,
            kms_auth,
            control: text("control").into(),
            pccs: text("pccs"),
            root_ca: text("root_ca").into(),
            amd_root_ca: text("amd_root_ca").into(),
            device_id: text("device_id"),
            behind,
            _simtee: simtee,
            _anvil: anvil,
            dir,
        })
    }

    /// The line of a configuration that lets a service work on a chain that is behind.
    fn max_head_age(&self) -> String {
        if self.behind.is_zero() {
            return String::new();
        }
        format!("max_head_age = \"{}s\"", self.behind.as_secs() + 1800)
    }

    /// Moves the chain's time on.
    ///
    /// # Errors
    /// When the chain does not answer.
    pub async fn advance(&self, by: Duration) -> anyhow::Result<()> {
        let provider = ProviderBuilder::new()
            .connect_reqwest(bylaw_chain::http_client(READY)?, self.rpc_url.parse()?);
        let client = provider.client();
        let _: serde_json::Value = client.request("evm_increaseTime", (by.as_secs(),)).await?;
        let _: serde_json::Value = client.request("evm_mine", ()).await?;
        self.settle().await
    }

    /// A directory for this world's files.
    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    fn control_client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&format!("unix:{}", self.control.display()))?)
    }

    /// Launches a simulated TD.
    ///
    /// # Errors
    /// The simulator's reason.
    pub async fn launch(&self, request: LaunchArgs) -> anyhow::Result<LaunchResponse> {
        Ok(self.control_client()?.call("Launch", &request).await?)
    }

    /// Ends a simulated TD.
    ///
    /// # Errors
    /// The simulator's reason.
    pub async fn stop(&self, name: &str) -> anyhow::Result<()> {
        let request = StopArgs {
            name: name.to_owned(),
        };
        let _: Empty = self.control_client()?.call("Stop", &request).await?;
        Ok(())
    }

    /// Waits until what was just mined is final.
    ///
    /// # Errors
    /// When the chain stands still.
    pub async fn settle(&self) -> anyhow::Result<()> {
        Ok(self.owner.wait_until_final().await?)
    }

    /// Registers an app that allows `compose`.
    ///
    /// # Errors
    /// The transaction's reason.
    pub async fn create_app(&self, compose: &str) -> anyhow::Result<App> {
        let hash = AppCompose::parse(compose.as_bytes())?.hash();
        let id = self
            .owner
            .create_app(&self.kms_auth, Some(&hash), None, false)
            .await?;
        Ok(App {
            id,
            compose: compose.to_owned(),
        })
    }

    /// A KMS that is bootstrapped, allowed, named on chain, and serving.
    ///
    /// # Errors
    /// With the log of what failed.
    pub async fn bootstrapped_kms(&self) -> anyhow::Result<Kms> {
        self.bootstrapped_kms_with(KmsOptions::default()).await
    }

    /// As [`World::bootstrapped_kms`], other than the usual one.
    ///
    /// # Errors
    /// With the log of what failed.
    pub async fn bootstrapped_kms_with(&self, options: KmsOptions) -> anyhow::Result<Kms> {
        let kms = self.start_kms("kms-1", options).await?;
        self.allow_kms(&kms).await?;
        self.settle().await?;
        self.bootstrap(&kms).await?;
        self.settle().await?;
        kms.finish().await?;
        kms.wait_until_serving().await?;
        Ok(kms)
    }

    /// Launches a TD for a KMS and starts it; without keys it waits for onboarding.
    ///
    /// # Errors
    /// With the log of what failed.
    pub async fn start_kms(&self, name: &str, options: KmsOptions) -> anyhow::Result<Kms> {
        let compose = format!(
            r#"{{"manifest_version":2,"name":"{}","runner":"docker-compose"}}"#,
            options.build
        );
        let td = self
            .launch(LaunchArgs {
                name: name.to_owned(),
                app_compose: compose,
                full_boot: true,
                image: options.image.clone(),
                ..LaunchArgs::default()
            })
            .await?;
        let dir = self.dir.path().join(name);
        std::fs::create_dir_all(&dir)?;
        let config = dir.join("kms.toml");
        let (rpc, onboard, admin) = (free_port()?, free_port()?, free_port()?);
        let (root_ca, amd_root_ca) = if options.vendor_anchors {
            (PathBuf::new(), PathBuf::new())
        } else {
            (self.root_ca.clone(), self.amd_root_ca.clone())
        };
        let token = dir.join("token");
        bylaw_types::file::write_private(&token, b"admin-token\n")?;
        let rpc_urls = options
            .rpc_urls
            .clone()
            .unwrap_or_else(|| vec![self.rpc_url.clone()]);
        let text = format!(
            r#"
data_dir = {data:?}
sev_snp_key_release = {sev_snp_key_release}
[rpc]
listen = "127.0.0.1:{rpc}"
[onboard]
listen = "127.0.0.1:{onboard}"
[admin]
enabled = true
listen = "127.0.0.1:{admin}"
token_file = {token:?}
[attester]
endpoint = "simtee:{socket}"
[trust]
tdx_root_ca = {root_ca:?}
amd_root_ca = {amd_root_ca:?}
[collateral]
source = {pccs:?}
amd_kds = {pccs:?}
[chain]
rpc_urls = {rpc_urls:?}
chain_id = {chain_id}
kms_auth = "{kms_auth}"
timeout = "2s"
{max_head_age}
"#,
            data = dir.join("data"),
            sev_snp_key_release = options.sev_snp_key_release,
            socket = td.socket,
            pccs = self.pccs,
            chain_id = options.chain_id.unwrap_or(CHAIN_ID),
            kms_auth = self.kms_auth,
            max_head_age = self.max_head_age(),
        );
        bylaw_types::file::write_atomic(&config, text.as_bytes())?;
        let mut kms = Kms {
            name: name.to_owned(),
            url: format!("https://127.0.0.1:{rpc}"),
            onboard_url: format!("http://127.0.0.1:{onboard}"),
            admin_url: format!("http://127.0.0.1:{admin}"),
            td,
            config,
            dir,
            process: None,
        };
        kms.start()?;
        Ok(kms)
    }

    /// Allows image, build and machine of this KMS.
    ///
    /// # Errors
    /// The transaction's reason.
    pub async fn allow_kms(&self, kms: &Kms) -> anyhow::Result<()> {
        let info = kms.attestation_info().await?;
        let image = OsImageHash::try_from(info.os_image_hash.as_slice())?;
        self.owner
            .set_os_image(&self.kms_auth, &image, true)
            .await?;
        self.owner
            .allow_kms(
                &self.kms_auth,
                &info.mr_aggregated.as_slice().try_into()?,
                &info.device_id.as_slice().try_into()?,
            )
            .await?;
        Ok(())
    }

    /// Bootstraps and names the root keys on chain.
    ///
    /// # Errors
    /// The KMS's reason.
    pub async fn bootstrap(&self, kms: &Kms) -> anyhow::Result<BootstrapResponse> {
        let request = BootstrapRequest {
            domain: "localhost".to_owned(),
        };
        let answer: BootstrapResponse = kms.onboarding()?.call("Bootstrap", &request).await?;
        let info = KmsInfo {
            k256_public: answer.k256_pubkey.clone(),
            ca_spki_der: answer.ca_pubkey.clone(),
        };
        self.owner.set_kms_info(&self.kms_auth, &info).await?;
        Ok(answer)
    }

    /// Launches a TD for `app` and starts its agent; waits until it has its keys.
    ///
    /// # Errors
    /// With the agent's log, which names why there are no keys.
    pub async fn start_agent(
        &self,
        name: &str,
        app: &App,
        kms: &Kms,
        options: AgentOptions,
    ) -> anyhow::Result<Agent> {
        let td = self
            .launch(LaunchArgs {
                name: name.to_owned(),
                app_compose: app.compose.clone(),
                app_id: app.id.as_bytes().to_vec(),
                image: options.image.clone(),
                debug: options.debug,
                outdated: options.outdated,
                gpus: options.gpus,
                tee: options.tee.clone(),
                ..LaunchArgs::default()
            })
            .await?;
        let dir = self.dir.path().join(name);
        std::fs::create_dir_all(&dir)?;
        // Logs are appended to: what an earlier VM of this name said is not this one's reason.
        let _ = std::fs::remove_file(dir.join("agent.log"));
        let compose_file = dir.join("app-compose.json");
        bylaw_types::file::write_atomic(&compose_file, app.compose.as_bytes())?;
        let config = dir.join("agent.toml");
        let external = free_port()?;
        if let Some(sealed) = &options.encrypted_env {
            bylaw_types::file::write_atomic(&dir.join("encrypted-env"), sealed)?;
        }
        // A VM that is launched has none of the memory of an earlier one.
        let _ = std::fs::remove_file(dir.join("appkeys.json"));
        let text = format!(
            r#"
compose_file = {compose_file:?}
attester = "simtee:{socket}"
keys_file = {keys_file:?}
[listen]
dstack = {dstack:?}
tappd = {tappd:?}
external = "127.0.0.1:{external}"
guest_api = "unix:{guest_api}"
[environment]
file = {sealed_env:?}
output = {env:?}
revision_file = {revision:?}
[system]
container_engine = {engine:?}
data_disks = ["/"]
gpu_attestation = {gpu:?}
shutdown = ["touch", {shutdown:?}]
[kms]
urls = {urls:?}
[chain]
rpc_urls = [{rpc:?}]
chain_id = {CHAIN_ID}
kms_auth = "{kms_auth}"
{max_head_age}
[trust]
tdx_root_ca = {root:?}
amd_root_ca = {amd_root:?}
[collateral]
source = {pccs:?}
amd_kds = {pccs:?}
"#,
            socket = td.socket,
            keys_file = if options.keeps_keys {
                dir.join("appkeys.json")
            } else {
                PathBuf::new()
            },
            dstack = dir.join("dstack.sock"),
            tappd = dir.join("tappd.sock"),
            guest_api = dir.join("guest.sock").display(),
            sealed_env = dir.join("encrypted-env"),
            env = dir.join("env.json"),
            revision = dir.join("revision"),
            engine = options
                .container_engine
                .clone()
                .unwrap_or_else(|| dir.join("no-engine.sock")),
            gpu = dir.join("gpu.json"),
            shutdown = dir.join("shut-down"),
            urls = options
                .kms_urls
                .clone()
                .unwrap_or_else(|| vec![kms.url.clone()]),
            rpc = self.rpc_url,
            kms_auth = self.kms_auth,
            max_head_age = self.max_head_age(),
            root = self.root_ca,
            amd_root = self.amd_root_ca,
            pccs = self.pccs,
        );
        bylaw_types::file::write_atomic(&config, text.as_bytes())?;
        let mut agent = Agent {
            dstack: dir.join("dstack.sock"),
            tappd: dir.join("tappd.sock"),
            guest_api: dir.join("guest.sock"),
            external: format!("http://127.0.0.1:{external}"),
            td,
            config,
            dir,
            process: None,
        };
        if let Err(error) = agent.start() {
            self.stop(name).await?;
            return Err(error);
        }
        Ok(agent)
    }
}
