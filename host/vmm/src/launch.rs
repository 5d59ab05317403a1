//! From a record to a start: everything QEMU and the guest are given.
//!
//! [`prepare`] writes the files of this start into the work directory and returns the
//! [`Launch`], which is recorded before QEMU runs. Nothing is decided later than here.

mod guest_files;
mod instance;
mod machine;
mod simulator;

use std::io;
use std::path::{Path, PathBuf};

use bylaw_measure::acpi::{self, AcpiBlobs};
use bylaw_qemu::pci::PciAddress;
use bylaw_qemu::{Machine, Qemu, QemuError, Tee, share};
use bylaw_rpc::message::vmm::NetworkInterfaceStatus;
use bylaw_types::AppCompose;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::images::{Image, ImageError};
use crate::record::{Manifest, RecordError, WorkDir, shared};

pub(crate) use machine::is_offered;
pub use simulator::stop as stop_simulated;

/// The record of a start.
pub const LAUNCH_FILE: &str = "launch.json";
/// QEMU's monitor.
pub const QMP_SOCKET: &str = "qmp.sock";
/// The guest's console.
pub const SERIAL_LOG: &str = "serial.log";
/// Where people type on it, in development images alone: no other listens.
const CONSOLE_SOCKET: &str = "console.sock";
/// The guest's disk.
const DATA_DISK: &str = "hda.img";
/// The disk of files from the host.
const SHARE_DISK: &str = "shared.img";
/// Where the guest agent listens for the host.
const GUEST_API_PORT: u16 = 8000;
/// Files of `shared/` that guests read.
const SHARED_FILES: [&str; 6] = [
    shared::APP_COMPOSE,
    shared::SYS_CONFIG,
    shared::INSTANCE_INFO,
    shared::ENCRYPTED_ENV,
    shared::USER_CONFIG,
    shared::TEE_SIMULATOR,
];

/// One start of a VM: what it was given.
#[derive(Clone, Serialize, Deserialize)]
pub struct Launch {
    /// Tells this start from others of the same VM.
    pub nonce: String,
    /// Unix milliseconds.
    pub started_at_ms: u64,
    /// QEMU, or what runs it.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Context id.
    pub cid: u32,
    /// Base URL of the guest's API for its host.
    pub guest_api: String,
    /// Last part of the URL under which this guest calls its host without vsock.
    pub host_secret: String,
    /// Whether a simulated TEE was launched along with it.
    pub simulated: bool,
    /// Version of the image.
    pub image_version: String,
    /// Virtual processors.
    pub vcpu: u32,
    /// MiB.
    pub memory: u32,
    /// Devices of the host.
    pub gpus: Vec<String>,
    /// Interfaces.
    pub interfaces: Vec<NetworkInterfaceStatus>,
}

impl std::fmt::Debug for Launch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launch")
            .field("nonce", &self.nonce)
            .finish_non_exhaustive()
    }
}

/// What this machine and its other VMs leave for a start.
#[derive(Debug)]
pub struct Site<'a> {
    /// Settings.
    pub config: &'a Config,
    /// The emulator.
    pub qemu: &'a Qemu,
    /// Whether guests have vsock.
    pub vsock: bool,
    /// A free context id.
    pub cid: u32,
    /// Devices that other VMs have.
    pub busy: &'a [String],
    /// Unix milliseconds.
    pub now_ms: u64,
}

/// Why a VM cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A file of the image that is missing.
    #[error("image {image}: metadata.json names no {what}, which this VM needs")]
    ImageLacks {
        /// Which.
        image: String,
        /// What.
        what: &'static str,
    },
    /// The app's manifest.
    #[error("app-compose.json: {0}")]
    Compose(#[from] bylaw_types::compose::ComposeError),
    /// QEMU or the machine.
    #[error(transparent)]
    Qemu(#[from] QemuError),
    /// A file that cannot be made.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The machine has no TEE.
    #[error(
        "this machine has neither TDX nor SEV-SNP (or its kernel has not enabled it); create the \
         VM with no_tee, or set cvm.platform when this is wrong"
    )]
    NoTee,
    /// No way between guest and host.
    #[error(
        "this machine has no vsock (/dev/vhost-vsock), so a VM needs a network of mode \"user\" \
         to reach its host"
    )]
    NoHostPath,
    /// Devices.
    #[error("{0}")]
    Gpu(String),
    /// What QEMU would tell the firmware is not known.
    #[error("the ACPI tables of this machine: {0}")]
    Acpi(String),
    /// The software TEE.
    #[error("the simulated TEE at {control}: {reason}")]
    Simulator {
        /// Its socket.
        control: String,
        /// What went wrong.
        reason: String,
    },
    /// A path that is not text.
    #[error("{0:?} is not UTF-8 text; use another run or image path")]
    NotText(PathBuf),
    /// What is kept of the guest's instance.
    #[error(".instance_info of this VM is not usable: {0}")]
    Instance(String),
    /// No randomness.
    #[error("the system gives no randomness: {0}")]
    Random(getrandom::Error),
}

/// Writes the files of a start, and says what it is.
///
/// # Errors
/// [`LaunchError`]; QEMU does not run then.
pub async fn prepare(
    site: &Site<'_>,
    manifest: &Manifest,
    dir: &WorkDir,
) -> Result<Launch, LaunchError> {
    let image = Image::open(&site.config.image_path, &manifest.image)?;
    let compose = dir.read_shared(shared::APP_COMPOSE)?.unwrap_or_default();
    let compose = AppCompose::parse(&compose)?;
    let devices = machine::devices(site, manifest)?;
    let tee = machine::tee(site, manifest, dir, &image, &compose)?;
    let ports = machine::HostPorts::choose(site, manifest)?;
    data_disk(&dir.file(DATA_DISK), manifest.disk_size)?;
    let mut vm_config = guest_files::vm_config(site, manifest, &image, &compose, &devices)?;
    if let Tee::SevSnp(launch) = &tee.tee {
        let measurement = guest_files::snp_measurement(&image, manifest.vcpu, &launch.cpu_model)?;
        vm_config["sev_snp_measurement"] = measurement.into();
    }
    let machine = machine::machine(site, manifest, dir, &image, &devices, tee.tee, &ports)?;
    let (program, arguments) = command(&machine)?;

    let simulated = match (&manifest.simulated_tee, &site.config.cvm.simulator) {
        (Some(_), Some(simulator)) => {
            // It must be there when the machine is looked at; its content is not.
            share_disk(dir, false)?;
            let td = simulator::Start {
                manifest,
                image: &image,
                compose: &compose,
                mr_config_id: tee.mr_config_id,
                vm_config: vm_config.to_string(),
                acpi: acpi_tables(&machine).await?,
            };
            Some(td.launch(simulator).await?)
        }
        _ => None,
    };
    if let Some(document) = &tee.mr_config {
        vm_config["mr_config"] = document.as_str().into();
    }
    let host_secret = random_hex::<32>()?;
    let files = guest_files::SysConfig {
        site,
        manifest,
        vm_config: vm_config.to_string(),
        mr_config: tee.mr_config.clone(),
        host_secret: &host_secret,
        pccs_url: simulated.as_ref().map(|td| td.pccs_url.as_str()),
    };
    dir.write_shared(shared::SYS_CONFIG, files.to_json().to_string().as_bytes())?;
    if let Some(td) = &simulated {
        dir.write_shared(shared::TEE_SIMULATOR, td.to_json().to_string().as_bytes())?;
    }
    share_disk(dir, simulated.is_some())?;
    Ok(Launch {
        nonce: random_hex::<16>()?,
        started_at_ms: site.now_ms,
        program,
        arguments,
        cid: site.cid,
        guest_api: ports.guest_api_url(site),
        host_secret,
        simulated: simulated.is_some(),
        image_version: image.metadata.version,
        vcpu: manifest.vcpu,
        memory: manifest.memory,
        gpus: devices.slots(),
        interfaces: machine::interfaces(&machine),
    })
}

/// Program and arguments, as text that a record can hold.
fn command(machine: &Machine) -> Result<(String, Vec<String>), LaunchError> {
    let text = |part: std::ffi::OsString| {
        part.into_string()
            .map_err(|part| LaunchError::NotText(part.into()))
    };
    let (program, arguments) = machine.command()?;
    let arguments = arguments.into_iter().map(text).collect::<Result<_, _>>()?;
    Ok((text(program)?, arguments))
}

/// The tables that QEMU builds for this machine: a simulated TD measures them.
async fn acpi_tables(machine: &Machine) -> Result<AcpiBlobs, LaunchError> {
    let qemu = machine.qemu.path.clone();
    let text = |part: std::ffi::OsString| part.to_string_lossy().into_owned();
    let arguments: Vec<String> = machine.arguments()?.into_iter().map(text).collect();
    tokio::task::spawn_blocking(move || acpi::read_from_qemu(&qemu, &arguments))
        .await
        .map_err(|error| LaunchError::Acpi(error.to_string()))?
        .map_err(|error| LaunchError::Acpi(error.to_string()))
}

/// The disk of files from the host; what the guest does not know would stop it.
fn share_disk(dir: &WorkDir, simulated: bool) -> Result<(), LaunchError> {
    let mut files = Vec::new();
    for name in SHARED_FILES {
        if name == shared::TEE_SIMULATOR && !simulated {
            continue;
        }
        if let Some(bytes) = dir.read_shared(name)? {
            files.push((name, bytes));
        }
    }
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (*n, b.as_slice())).collect();
    let path = dir.file(SHARE_DISK);
    share::write(&path, &files).map_err(|source| LaunchError::Io { path, source })
}

/// The guest's disk: sparse, never smaller than it was.
fn data_disk(path: &Path, gib: u32) -> Result<(), LaunchError> {
    use std::os::unix::fs::OpenOptionsExt;
    let grow = || {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)?;
        let wanted = u64::from(gib) << 30;
        if file.metadata()?.len() < wanted {
            file.set_len(wanted)?;
            file.sync_all()?;
        }
        Ok(())
    };
    grow().map_err(|source| LaunchError::Io {
        path: path.to_owned(),
        source,
    })
}

/// The address a caller means by `01:00.0`.
pub(crate) fn pci_address(slot: &str) -> Result<PciAddress, LaunchError> {
    slot.parse()
        .map_err(|error| LaunchError::Gpu(format!("{slot:?}: {error}")))
}

pub(crate) fn random_hex<const N: usize>() -> Result<String, LaunchError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(LaunchError::Random)?;
    Ok(hex::encode(bytes))
}
