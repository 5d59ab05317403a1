//! A host for virtual machines: the VMM with the guest image and a registry, and its VMs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bylaw_rpc::message::Message;
use bylaw_rpc::message::guest_api::{Id, SystemInfo};
use bylaw_rpc::message::vmm::{
    GetInfoResponse, PortMapping, VersionResponse, VmConfiguration, VmInfo,
};
use bylaw_rpc::{Client, Empty};
use bylaw_types::OsImageHash;

use crate::node::Kms;
use crate::process::{Process, free_port, program, repository};
use crate::registry::Registry;
use crate::world::{App, World};

const READY: Duration = Duration::from_secs(30);
/// A boot takes about 75 s here; a busy machine may need three times that.
const BOOT: Duration = Duration::from_secs(240);
/// This machine, as VMs on QEMU's user network see it.
pub(crate) const GATEWAY: &str = "10.0.2.2";

/// A running VMM.
#[derive(Debug)]
pub struct Host {
    /// Its management API.
    pub url: String,
    /// Its containers come from here.
    pub registry: Registry,
    /// Its configuration.
    pub config: PathBuf,
    run_path: PathBuf,
    images: PathBuf,
    /// Where it looks for a key provider.
    key_provider: u16,
    dir: PathBuf,
    process: Option<Process>,
}

/// The image that `bylaw image build` made.
///
/// # Errors
/// Says how to build it when it is not there.
pub fn image() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("BYLAW_IMAGE")
        .map_or_else(|| repository().join("target/image/bylaw"), PathBuf::from);
    if !path.join("metadata.json").is_file() {
        bail!(
            "no guest image at {}: run `bylaw image build --out target/image/bylaw`",
            path.display()
        );
    }
    Ok(path)
}

/// An address of this machine, as VMs reach it.
pub fn from_inside(url: &str) -> String {
    url.replace("127.0.0.1", GATEWAY)
        .replace("localhost", GATEWAY)
}

/// A manifest whose docker-compose.yaml runs the registry's image with a volume.
pub fn visits(name: &str, image: &str) -> String {
    serde_json::json!({
        "manifest_version": 2,
        "name": name,
        "runner": "docker-compose",
        "docker_compose_file": format!(
            "services:\n  web:\n    image: {image}\n    ports:\n      - \"80:80\"\n    \
             environment:\n      - GREETING\n    volumes:\n      - data:/data\n    \
             restart: unless-stopped\nvolumes:\n  data:\n"
        ),
        "key_provider": "kms",
        "storage_fs": "ext4",
        "allowed_envs": ["GREETING"],
        "public_logs": true,
        "public_sysinfo": true,
        // The simulated clock is the host's.
        "secure_time": false,
    })
    .to_string()
}

impl Host {
    /// Starts a VMM whose VMs get their keys from `kms`.
    ///
    /// # Errors
    /// With the log of what did not start.
    pub async fn start(world: &World, kms: &Kms) -> anyhow::Result<Self> {
        Self::start_with(world, Some(kms), Path::new("qemu-system-x86_64")).await
    }

    /// Starts a VMM, with or without a KMS, whose VMs `qemu` runs.
    ///
    /// # Errors
    /// With the log of what did not start.
    pub async fn start_with(world: &World, kms: Option<&Kms>, qemu: &Path) -> anyhow::Result<Self> {
        let registry = Registry::start().await?;
        let dir = world.directory().join("host");
        let images = dir.join("images");
        std::fs::create_dir_all(&images)?;
        std::os::unix::fs::symlink(image()?, images.join("bylaw"))?;
        let run_path = dir.join("vm");
        let config = dir.join("vmm.toml");
        let (port, host_api, key_provider) = (free_port()?, free_port()?, free_port()?);
        let kms_url = kms.map(|kms| kms.url.as_str()).unwrap_or_default();
        let kms_urls: Vec<String> = kms.iter().map(|kms| from_inside(&kms.url)).collect();
        let text = format!(
            r#"
address = "127.0.0.1:{port}"
run_path = {run_path:?}
kms_url = {kms_url:?}
[image]
path = {images:?}
[cvm]
accel = "tcg"
qemu_path = {qemu:?}
kms_urls = {kms_urls:?}
pccs_url = {pccs:?}
docker_registry = {registry:?}
max_allocable_vcpu = 64
[cvm.chain]
rpc_urls = [{rpc:?}]
chain_id = 31337
kms_auth = "{kms_auth}"
[cvm.tee_simulator]
control = "unix:{control}"
guest_host = "{GATEWAY}"
[cvm.port_mapping]
enabled = true
[[cvm.port_mapping.range]]
protocol = "tcp"
from = 1024
to = 65535
[host_api]
address = "127.0.0.1"
port = {host_api}
[key_provider]
port = {key_provider}
"#,
            pccs = from_inside(&world.pccs),
            registry = from_inside(&registry.url),
            rpc = from_inside(&world.rpc_url),
            kms_auth = world.kms_auth,
            control = world.control.display(),
        );
        bylaw_types::file::write_atomic(&config, text.as_bytes())?;
        let mut host = Self {
            url: format!("http://127.0.0.1:{port}"),
            registry,
            config,
            run_path,
            images,
            key_provider,
            dir,
            process: None,
        };
        host.start_vmm().await?;
        Ok(host)
    }

    /// Starts the VMM, or starts it again.
    ///
    /// # Errors
    /// With its log when it does not answer.
    pub async fn start_vmm(&mut self) -> anyhow::Result<()> {
        let mut process = Process::start(
            "vmm",
            &self.dir,
            Command::new(program("bylaw-vmm")?)
                .arg("--config")
                .arg(&self.config),
        )?;
        let deadline = Instant::now() + READY;
        while self
            .call::<_, VersionResponse>("Version", &Empty {})
            .await
            .is_err()
        {
            process.check_alive()?;
            if Instant::now() > deadline {
                bail!("the VMM does not answer:\n{}", process.log_text());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.process = Some(process);
        Ok(())
    }

    /// Starts the key provider of this machine with the enclave of the software TEE; it
    /// runs as long as the value lives.
    ///
    /// # Errors
    /// With its log when it does not answer.
    pub fn start_key_provider(&self, world: &World) -> anyhow::Result<Process> {
        let enclave = format!("simulator:unix:{}", world.control.display());
        let listen = format!("127.0.0.1:{}", self.key_provider);
        let mut process = Process::start(
            "key-provider",
            &self.dir,
            Command::new(program("bylaw-key-provider")?)
                .env("BYLAW_KEY_PROVIDER_LISTEN", &listen)
                .env("BYLAW_KEY_PROVIDER_ENCLAVE", enclave),
        )?;
        let deadline = Instant::now() + READY;
        while std::net::TcpStream::connect(&listen).is_err() {
            process.check_alive()?;
            if Instant::now() > deadline {
                bail!("the key provider does not listen:\n{}", process.log_text());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(process)
    }

    /// Where another image has to be for VMs to be made of it.
    pub fn image_path(&self, name: &str) -> PathBuf {
        self.images.join(name)
    }

    /// SIGKILL to the VMM; its VMs go on.
    pub fn kill_vmm(&mut self) {
        self.process = None;
    }

    /// The VMM's process id and resident memory in KiB.
    pub fn memory(&self) -> Option<u64> {
        self.process.as_ref()?.resident_kib()
    }

    /// Calls the management API.
    ///
    /// # Errors
    /// The VMM's reason.
    pub async fn call<Req: Message, Res: Message>(
        &self,
        method: &str,
        request: &Req,
    ) -> anyhow::Result<Res> {
        Ok(Client::new(&self.url)?.prpc().call(method, request).await?)
    }

    /// Bytes of the file system on a VM's data disk, as the guest's agent says.
    ///
    /// # Errors
    /// When the guest does not answer, or has no data disk.
    pub async fn data_bytes(&self, id: &str) -> anyhow::Result<u64> {
        let request = Id { id: id.to_owned() };
        let guest = Client::new(&format!("{}/guest", self.url))?;
        let system: SystemInfo = guest.call("SysInfo", &request).await?;
        let disk = system.disks.first().context("no data disk")?;
        Ok(disk.total_size)
    }

    /// A VM of `app` with the software TEE, port 80 mapped to a free one.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn configuration(&self, name: &str, app: &App) -> anyhow::Result<(VmConfiguration, u16)> {
        let port = free_port()?;
        let configuration = VmConfiguration {
            name: name.to_owned(),
            image: "bylaw".to_owned(),
            compose_file: app.compose.clone(),
            vcpu: 2,
            memory: 2048,
            disk_size: 4,
            app_id: Some(app.id.to_string()),
            ports: vec![PortMapping {
                protocol: "tcp".to_owned(),
                host_port: port.into(),
                vm_port: 80,
                host_address: "127.0.0.1".to_owned(),
            }],
            simulated_tee: Some("tdx".to_owned()),
            ..VmConfiguration::default()
        };
        Ok((configuration, port))
    }

    /// Creates a VM; its id.
    ///
    /// # Errors
    /// The VMM's reason.
    pub async fn create(&self, configuration: &VmConfiguration) -> anyhow::Result<String> {
        let answer: Id = self.call("CreateVm", configuration).await?;
        Ok(answer.id)
    }

    /// A call that names a VM and answers nothing.
    ///
    /// # Errors
    /// The VMM's reason.
    pub async fn order(&self, method: &str, id: &str) -> anyhow::Result<()> {
        let request = Id { id: id.to_owned() };
        let _: Empty = self.call(method, &request).await?;
        Ok(())
    }

    /// How a VM is.
    ///
    /// # Errors
    /// When it is unknown.
    pub async fn info(&self, id: &str) -> anyhow::Result<VmInfo> {
        let request = Id { id: id.to_owned() };
        let answer: GetInfoResponse = self.call("GetInfo", &request).await?;
        answer.info.with_context(|| format!("no VM {id}"))
    }

    /// Waits until `done` says so; prints what the guest says meanwhile.
    ///
    /// # Errors
    /// With the end of the VM's console when it takes too long.
    pub async fn wait(
        &self,
        id: &str,
        what: &str,
        done: impl Fn(&VmInfo) -> bool,
    ) -> anyhow::Result<VmInfo> {
        let started = Instant::now();
        let mut said = String::new();
        loop {
            let info = self.info(id).await?;
            if info.boot_progress != said {
                said.clone_from(&info.boot_progress);
                println!(
                    "    {:>5.1}s  {}: {said}",
                    started.elapsed().as_secs_f64(),
                    info.name
                );
            }
            if done(&info) {
                return Ok(info);
            }
            if started.elapsed() > BOOT {
                bail!(
                    "{} is not {what} after {BOOT:?} ({}, {:?}, {:?}):\n{}",
                    info.name,
                    info.status,
                    info.boot_progress,
                    info.boot_error,
                    self.console(id)
                );
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Waits until a VM's containers run.
    ///
    /// # Errors
    /// With the reason when it does not boot.
    pub async fn booted(&self, id: &str) -> anyhow::Result<VmInfo> {
        let over = |info: &VmInfo| info.boot_progress == "done" || !info.boot_error.is_empty();
        let info = self.wait(id, "booted", over).await?;
        if !info.boot_error.is_empty() {
            bail!("{}\n{}", info.boot_error, self.console(id));
        }
        Ok(info)
    }

    /// Waits until a VM says why it does not boot; the reason.
    ///
    /// # Errors
    /// When it boots.
    pub async fn refused(&self, id: &str) -> anyhow::Result<String> {
        let over = |info: &VmInfo| info.boot_progress == "done" || !info.boot_error.is_empty();
        let info = self.wait(id, "refused", over).await?;
        if info.boot_error.is_empty() {
            bail!("{} booted:\n{}", info.name, self.console(id));
        }
        Ok(info.boot_error)
    }

    /// Shuts a VM down through its agent and waits until it is off.
    ///
    /// # Errors
    /// When it does not go.
    pub async fn shut_down(&self, id: &str) -> anyhow::Result<()> {
        self.order("ShutdownVm", id).await?;
        self.wait(id, "stopped", |info| info.status == "stopped")
            .await?;
        Ok(())
    }

    /// Waits until a VM is no more.
    ///
    /// # Errors
    /// When it stays.
    pub async fn wait_gone(&self, id: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY;
        while self.info(id).await.is_ok() {
            if Instant::now() > deadline {
                bail!("VM {id} is still there");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// The identity of the image.
    ///
    /// # Errors
    /// When the image has none.
    pub fn os_image_hash(&self) -> anyhow::Result<OsImageHash> {
        let path = image()?.join("digest.txt");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(text.trim().parse()?)
    }

    /// Work directory of a VM.
    pub fn work_directory(&self, id: &str) -> PathBuf {
        self.run_path.join(id)
    }

    /// Whether the host finds `text` on a VM's data disk or among the files it gave it.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn finds_on_disk(&self, id: &str, text: &str) -> anyhow::Result<bool> {
        let directory = self.work_directory(id);
        // It skips the holes of a sparse file.
        let searched = Command::new("grep")
            .args(["-r", "-q", "-a", "-F", "-e", text])
            .arg(directory.join("hda.img"))
            .arg(directory.join("shared"))
            .status()?;
        match searched.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => bail!("grep: {searched}"),
        }
    }

    /// The last lines of a VM's serial console.
    pub fn console(&self, id: &str) -> String {
        tail(&self.work_directory(id).join("serial.log"), 60)
    }
}

fn tail(path: &Path, lines: usize) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..)
        .unwrap_or_default()
        .join("\n")
}

/// What `path` of a web server answers.
///
/// # Errors
/// When it does not answer 200 within a minute.
pub async fn page(port: u16, path: &str) -> anyhow::Result<String> {
    let http = bylaw_chain::http_client(Duration::from_secs(5))?;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = async {
            let response = http
                .get(format!("http://127.0.0.1:{port}{path}"))
                .send()
                .await?;
            response.error_for_status()?.text().await
        };
        match answer.await {
            Ok(text) => return Ok(text),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Its VMs outlive it by design: end what runs below this directory.
        self.kill_vmm();
        let below = self.run_path.display().to_string();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(id) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&command).contains(&below)
                && let Some(process) = rustix::process::Pid::from_raw(id)
            {
                // Already gone is what is wanted.
                let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
            }
        }
    }
}
