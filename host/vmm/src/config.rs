//! Configuration: vmm.toml, checked as a whole before anything starts.
//!
//! dstack's vmm.toml is accepted as it is, with two differences: `cvm.accel` must be set,
//! and a setting that asks for something this VMM does not do is refused instead of
//! ignored. Ours beside dstack's: `cvm.accel`, `cvm.chain`, `cvm.tee_simulator`.

mod raw;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bylaw_qemu::Product;
use bylaw_rpc::serve::Listen;
use bylaw_service::Names;

pub use raw::{Chain, Protocol, Raw};

/// Environment overrides are `BYLAW_VMM_<SECTION>_<KEY>`, e.g. `BYLAW_VMM_GATEWAY_PORT`.
pub const NAMES: Names = Names {
    prefix: "BYLAW_VMM_",
    defaults: include_str!("../vmm.toml"),
};

/// Files that are read before `--config`, in this order, where they exist.
pub const FILES: [&str; 2] = ["/etc/vmm/vmm.toml", "vmm.toml"];

/// Everything the VMM needs to know, valid by construction.
#[derive(Debug, Clone)]
pub struct Config {
    /// API, console and logs.
    pub listen: Listen,
    /// KMS asked by `GetAppEnvEncryptPubKey`; none: not configured.
    pub kms_url: Option<String>,
    /// Where this VMM asks the chain what the console shows of an app's governance.
    pub chain_url: Option<String>,
    /// Events kept per VM.
    pub event_buffer_size: usize,
    /// For people.
    pub node_name: String,
    /// Work directories, one per VM.
    pub run_path: PathBuf,
    /// OS images, one folder each.
    pub image_path: PathBuf,
    /// OCI repository of images; none: not configured.
    pub registry: Option<String>,
    /// How VMs are made.
    pub cvm: Cvm,
    /// Where apps are served.
    pub gateway: Gateway,
    /// Who may use the listener; none: everybody who reaches it.
    pub auth: Option<Auth>,
    /// Where guests call.
    pub host_api: HostApi,
    /// TCP address of the sealing enclave of this machine.
    pub key_provider: Option<String>,
}

/// How VMs are made.
#[derive(Debug, Clone)]
pub struct Cvm {
    /// Who executes the guest's instructions.
    pub accel: Accel,
    /// Which TEE VMs get.
    pub platform: Platform,
    /// `qemu-system-x86_64`.
    pub qemu_path: PathBuf,
    /// As configured; none: asked of the program.
    pub qemu_version: Option<String>,
    /// Where guests ask for keys.
    pub kms_urls: Vec<String>,
    /// Where guests register.
    pub gateway_urls: Vec<String>,
    /// Where guests get collateral; may be empty.
    pub pccs_url: String,
    /// AMD's key service, or a mirror of it, for guests; empty: AMD's own.
    pub amd_kds_url: String,
    /// May be empty.
    pub nvidia_attestation_proxy_url: String,
    /// May be empty.
    pub docker_registry: String,
    /// First context id.
    pub cid_start: u32,
    /// How many of them.
    pub cid_pool_size: u32,
    /// Virtual processors of all running VMs.
    pub max_vcpu: u32,
    /// Memory of all running VMs.
    pub max_memory_mib: u32,
    /// Bind TDs to their compose hash.
    pub use_mrconfigid: bool,
    /// Part of what a TD measures to; none: QEMU's version decides.
    pub single_pass_add_pages: Option<bool>,
    /// Part of what a TD measures to; none: QEMU's version decides.
    pub pic: Option<bool>,
    /// Bytes.
    pub pci_hole64_size: u64,
    /// Part of what a TD measures to.
    pub hotplug_off: bool,
    /// Whether TDs are measured without ACPI tables.
    pub tdx_variant: TdxVariant,
    /// vsock port of the quote generation service.
    pub qgs_port: u16,
    /// SMBIOS.
    pub product: Product,
    /// The default of every interface.
    pub networking: Networking,
    /// Ports of the host.
    pub port_mapping: Option<PortMapping>,
    /// None: what ends stays ended.
    pub auto_restart: Option<AutoRestart>,
    /// Files that grow.
    pub log: LogLimits,
    /// None: no devices are given.
    pub gpu: Option<Gpu>,
    /// Governance that guests check their KMS against.
    pub chain: Option<Chain>,
    /// The software TEE.
    pub simulator: Option<Simulator>,
}

/// Who executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// The processor.
    Kvm,
    /// QEMU.
    Tcg,
}

/// Which TEE VMs get that ask for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// Whatever this machine has.
    Auto,
    /// Intel TDX.
    Tdx,
    /// AMD SEV-SNP.
    AmdSevSnp,
}

/// How TDs are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TdxVariant {
    /// As the manifest asks, else legacy.
    Auto,
    /// With ACPI tables.
    Legacy,
    /// Without.
    Lite,
}

/// Network of a VM that names none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networking {
    /// Kind.
    pub mode: NetMode,
    /// QEMU's user network, `address/bits`.
    pub net: String,
    /// First address given there.
    pub dhcp_start: String,
    /// No way out of QEMU's user network.
    pub restrict: bool,
    /// Of the host; may be empty.
    pub bridge: String,
    /// First bytes of hardware addresses, three at most.
    pub mac_prefix: Vec<u8>,
}

/// Kinds of network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetMode {
    /// QEMU's own.
    User,
    /// A bridge of the host.
    Bridge,
}

impl fmt::Display for NetMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Bridge => "bridge",
        })
    }
}

/// Which ports of the host VMs may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMapping {
    /// When a mapping names none.
    pub address: Ipv4Addr,
    /// Allowed: protocol, first and last port.
    pub ranges: Vec<(Protocol, u16, u16)>,
}

/// When a VM that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AutoRestart {
    /// Starts in a row that do not last `reset_window`.
    pub max_retries: u32,
    /// Wait before the second of them; doubles.
    pub initial_backoff: Duration,
    /// Longest wait.
    pub max_backoff: Duration,
    /// A VM that ran this long starts afresh.
    pub reset_window: Duration,
}

/// How far log files of a VM grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes of the current file.
    pub max_bytes: u64,
    /// Older ones.
    pub max_backups: u32,
    /// How often it is looked at.
    pub interval: Duration,
}

/// Which devices VMs may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// `vendor:device`.
    pub listing: Vec<String>,
    /// Addresses never given.
    pub exclude: Vec<String>,
    /// The only addresses given; empty: all.
    pub include: Vec<String>,
    /// Whether a VM may have all of them.
    pub allow_attach_all: bool,
}

/// The software TEE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulator {
    /// `unix:<path>`.
    pub control: String,
    /// The host as guests see it.
    pub guest_host: String,
}

/// Where apps are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Domain.
    pub base_domain: String,
    /// Public port.
    pub port: u16,
    /// Of the guest agent.
    pub agent_port: u16,
}

/// Who may use the listener.
#[derive(Clone, PartialEq, Eq)]
pub struct Auth {
    /// Any of them will do; none is empty.
    pub tokens: Vec<String>,
    /// `user:bcrypt` lines.
    pub htpasswd_file: Option<PathBuf>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Auth({} tokens)", self.tokens.len())
    }
}

/// Where guests call their host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostApi {
    /// Where the host has vsock, with TCP on the loopback address elsewhere.
    Vsock {
        /// Of the host.
        cid: u32,
        /// Port, for either.
        port: u16,
    },
    /// Always TCP.
    Tcp {
        /// Loopback: guests reach it as 10.0.2.2.
        address: IpAddr,
        /// Port.
        port: u16,
    },
}

impl HostApi {
    /// The address when vsock is not to be had.
    pub fn tcp(&self) -> (IpAddr, u16) {
        match self {
            Self::Vsock { port, .. } => (Ipv4Addr::LOCALHOST.into(), *port),
            Self::Tcp { address, port } => (*address, *port),
        }
    }
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{key} = {value:?}: {reason}")]
pub struct ConfigError {
    /// `section.key`.
    pub key: &'static str,
    /// As given.
    pub value: String,
    /// What is allowed.
    pub reason: String,
}

impl Config {
    /// The work directory of a VM.
    pub fn work_dir(&self, id: &str) -> PathBuf {
        self.run_path.join(id)
    }
}

/// `~/…` below the home directory.
fn expand(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests;
