//! A host that hands its guest whatever it likes: no VMM, every file and disk chosen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bylaw_measure::ImageDir;
use bylaw_qemu::network::{Backend, Mac, UserNetwork};
use bylaw_qemu::{Accel, Disk, DiskRole, Machine, Nic, Passthrough, Product, Qemu, Tee, share};
use bylaw_rpc::message::simtee::{LaunchArgs, LaunchResponse};
use serde_json::{Value, json};

use crate::host::{from_inside, image};
use crate::node::Kms;
use crate::process::Process;
use crate::registry::Registry;
use crate::world::{App, World};

const MEMORY_MIB: u64 = 2048;
const CPUS: u32 = 2;
const BOOT: Duration = Duration::from_secs(300);

/// Files for a guest, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Everything such a host needs.
#[derive(Debug)]
pub struct Hostile<'a> {
    world: &'a World,
    image: ImageDir,
    qemu: Qemu,
    dir: PathBuf,
}

/// How a boot went.
#[derive(Debug)]
pub struct Boot {
    /// Everything on the serial console.
    pub console: String,
    /// The guest said that its containers run.
    pub is_up: bool,
    /// Why it does not boot, in its own words.
    pub refusal: Option<String>,
}

impl<'a> Hostile<'a> {
    /// A host in `world`.
    ///
    /// # Errors
    /// When there is no image or no QEMU.
    pub fn new(world: &'a World) -> anyhow::Result<Self> {
        let dir = world.directory().join("hostile");
        std::fs::create_dir_all(&dir)?;
        Ok(Self {
            image: ImageDir::open(&image()?)?,
            qemu: Qemu::detect(Path::new("qemu-system-x86_64"))?,
            world,
            dir,
        })
    }

    /// What an honest host would hand to a guest of `app`.
    ///
    /// # Errors
    /// When the image has no identity.
    pub fn honest(&self, app: &App, kms: &Kms, registry: &Registry) -> anyhow::Result<Files> {
        let world = self.world;
        let vm_config = json!({
            "spec_version": 1,
            "os_image_hash": self.image.os_image_hash()?.to_string(),
            "cpu_count": CPUS,
            "memory_size": MEMORY_MIB << 20,
            "qemu_version": "9.2.0",
            "pci_hole64_size": 0,
            "hugepages": false,
            "num_gpus": 0,
            "num_nvswitches": 0,
            "hotplug_off": false,
            "host_share_mode": "vhd",
            "ovmf_variant": "pre202505",
            "tdx_attestation_variant": "lite",
            "tdx_measurement": self.image.tdx_material()?,
        });
        let system = json!({
            "kms_urls": [from_inside(&kms.url)],
            "gateway_urls": [],
            "pccs_url": from_inside(&world.pccs),
            "docker_registry": from_inside(&registry.url),
            // Nobody listens there.
            "host_api_url": "http://10.0.2.2:1/api",
            "vm_config": vm_config.to_string(),
            "chain": {
                "rpc_urls": [from_inside(&world.rpc_url)],
                "chain_id": 31337,
                "kms_auth": world.kms_auth.to_string(),
            },
            "guest_api": "0.0.0.0:8000",
        });
        let instance = json!({
            "instance_id_seed": "11".repeat(20),
            "instance_id": "",
            "app_id": app.id.to_string(),
        });
        Ok(Files::from([
            ("app-compose.json".to_owned(), app.compose.clone().into()),
            (".sys-config.json".to_owned(), system.to_string().into()),
            (".instance_info".to_owned(), instance.to_string().into()),
        ]))
    }

    /// Boots with these files, and `disk` as the data disk, until the guest is up or off.
    ///
    /// # Errors
    /// With the console when it does neither in time.
    pub async fn boot(&self, name: &str, files: &Files, disk: &Path) -> anyhow::Result<Boot> {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir)?;
        let config = files.get(".sys-config.json").context("a sys-config")?;
        let config: Value = serde_json::from_slice(config).unwrap_or_default();
        let launched: LaunchResponse = self
            .world
            .launch(LaunchArgs {
                name: name.to_owned(),
                image_dir: self.image.path().display().to_string(),
                memory_size: MEMORY_MIB << 20,
                cpu_count: CPUS,
                vm_config: config["vm_config"].as_str().unwrap_or_default().to_owned(),
                acpi_loader: b"loader".to_vec(),
                acpi_rsdp: b"rsdp".to_vec(),
                acpi_tables: b"tables".to_vec(),
                ..LaunchArgs::default()
            })
            .await?;
        let mut files = files.clone();
        files
            .entry(".tee-simulator.json".to_owned())
            .or_insert_with(|| {
                let root = std::fs::read_to_string(&self.world.root_ca).unwrap_or_default();
                let simulator = json!({"endpoint": from_inside(&launched.url), "root_ca": root});
                simulator.to_string().into()
            });
        let shared = dir.join("shared.img");
        let given: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(name, content)| (name.as_str(), content.as_slice()))
            .collect();
        share::write(&shared, &given)?;
        let console = dir.join("serial.log");
        let _ = std::fs::remove_file(&console);
        let machine = self.machine(name, &console, &shared, disk)?;
        let (program, arguments) = machine.command()?;
        let started = Process::start("qemu", &dir, Command::new(program).args(arguments))?;
        let over = watch(started, &console).await;
        self.world.stop(name).await?;
        over
    }

    fn machine(
        &self,
        name: &str,
        console: &Path,
        shared: &Path,
        disk: &Path,
    ) -> anyhow::Result<Machine> {
        let metadata = self.image.metadata();
        let file = |name: &str| self.image.path_of(name);
        let disk_of = |role, path: &Path| Disk {
            role,
            path: path.to_owned(),
        };
        let rootfs = metadata.rootfs.as_deref().context("an image has a root")?;
        Ok(Machine {
            name: name.to_owned(),
            qemu: self.qemu.clone(),
            accel: Accel::Tcg,
            tee: Tee::Simulated,
            cpus: CPUS,
            memory_mib: MEMORY_MIB,
            firmware: None,
            kernel: file(&metadata.kernel),
            initrd: file(&metadata.initrd),
            cmdline: metadata.cmdline.clone().unwrap_or_default(),
            disks: vec![
                disk_of(DiskRole::Root, &file(rootfs)),
                disk_of(DiskRole::Data, disk),
                disk_of(DiskRole::Share, shared),
            ],
            nics: vec![Nic {
                mac: Mac::of_vm(name, 0, &[])?,
                backend: Backend::User(UserNetwork {
                    subnet: "10.0.2.0/24".parse()?,
                    dhcp_start: [10, 0, 2, 15].into(),
                    restrict: false,
                    forwards: vec![],
                }),
            }],
            vsock_cid: None,
            serial_log: console.to_owned(),
            console_socket: None,
            qmp_socket: None,
            hugepages: None,
            passthrough: Passthrough::default(),
            pci_hole64_mib: None,
            hotplug_off: false,
            product: Product::default(),
            user: None,
            pin: None,
        })
    }
}

/// Reads the console until the guest is up or QEMU has ended.
async fn watch(mut qemu: Process, console: &Path) -> anyhow::Result<Boot> {
    let deadline = Instant::now() + BOOT;
    loop {
        let ended = qemu.check_alive().is_err();
        let bytes = std::fs::read(console).unwrap_or_default();
        let console = String::from_utf8_lossy(&bytes).into_owned();
        let is_up = console.contains(UP);
        let refusal = console
            .lines()
            .find_map(|line| line.split_once(REFUSED))
            .map(|(_, why)| why.trim_matches('"').to_owned());
        if is_up || ended || refusal.is_some() {
            return Ok(Boot {
                console,
                is_up,
                refusal,
            });
        }
        if Instant::now() > deadline {
            bail!("the guest is neither up nor off:\n{console}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What the guest prints when its containers run.
const UP: &str = "boot progress=\"done\"";
/// What it prints before the reason when it gives up.
const REFUSED: &str = "boot error=";

/// An empty data disk of 4 GiB.
///
/// # Errors
/// The file system's.
pub fn empty_disk(path: &Path) -> anyhow::Result<()> {
    let file = std::fs::File::create(path)?;
    Ok(file.set_len(4 << 30)?)
}
