//! vmm.toml as written; becomes a [`super::Config`] when it makes sense.

mod checked;

use std::fmt;
use std::path::PathBuf;

use bylaw_qemu::Product;
use serde::{Deserialize, Serialize};

/// The settings as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    address: String,
    port: u16,
    kms_url: String,
    chain_url: String,
    event_buffer_size: usize,
    node_name: String,
    run_path: PathBuf,
    image_path: PathBuf,
    #[serde(rename = "reuse")]
    _reuse: bool,
    #[serde(rename = "workers")]
    _workers: u32,
    image: RawImage,
    cvm: RawCvm,
    gateway: RawGateway,
    auth: RawAuth,
    host_api: RawHostApi,
    key_provider: RawKeyProvider,
    // Ours has no supervisor process: VMs outlive the VMM by themselves.
    #[serde(default, rename = "supervisor")]
    _supervisor: toml::Table,
    #[serde(default, rename = "netd")]
    _netd: toml::Table,
    // Settings of dstack's web framework that mean nothing here.
    #[serde(default, rename = "temp_dir")]
    _temp_dir: PathBuf,
    #[serde(default, rename = "keep_alive")]
    _keep_alive: u32,
    #[serde(default, rename = "log_level")]
    _log_level: String,
    #[serde(default, rename = "ident")]
    _ident: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawImage {
    path: PathBuf,
    registry: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCvm {
    accel: String,
    platform: String,
    qemu_path: PathBuf,
    kms_urls: Vec<String>,
    gateway_urls: Vec<String>,
    /// dstack's older name.
    #[serde(default)]
    tproxy_urls: Vec<String>,
    pccs_url: String,
    amd_kds_url: String,
    nvidia_attestation_proxy_url: String,
    docker_registry: String,
    volumes_dir: PathBuf,
    cid_start: u32,
    cid_pool_size: u32,
    max_allocable_vcpu: u32,
    max_allocable_memory_in_mb: u32,
    #[serde(rename = "qmp_socket")]
    _qmp_socket: bool,
    user: String,
    #[serde(rename = "instance_id")]
    _instance_id: String,
    use_mrconfigid: bool,
    qemu_single_pass_add_pages: Option<bool>,
    qemu_pic: Option<bool>,
    qemu_version: String,
    qemu_pci_hole64_size: u64,
    qemu_hotplug_off: bool,
    tdx_attestation_variant: String,
    host_share_mode: String,
    qgs_port: u16,
    tee_simulator: RawSimulator,
    product: Product,
    networking: RawNetworking,
    network_filter: RawNetworkFilter,
    port_mapping: RawPortMapping,
    auto_restart: RawAutoRestart,
    log: RawLog,
    gpu: RawGpu,
    chain: Option<Chain>,
}

/// Governance that guests check their KMS against; copied into `.sys-config.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// JSON-RPC endpoints, as guests reach them.
    pub rpc_urls: Vec<String>,
    /// EIP-155.
    pub chain_id: u64,
    /// Address of `KmsAuth`.
    pub kms_auth: String,
    /// `finalized` or `confirmations:<blocks>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finality: Option<String>,
    /// How many endpoints must agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<usize>,
    /// Oldest block a decision may rest on, e.g. `30m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_head_age: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSimulator {
    control: String,
    guest_host: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNetworking {
    mode: String,
    net: String,
    dhcp_start: String,
    restrict: bool,
    bridge: String,
    mac_prefix: String,
    #[serde(rename = "netdev")]
    _netdev: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNetworkFilter {
    mode: String,
    #[serde(rename = "filter")]
    _filter: String,
    #[serde(default, rename = "parameters")]
    _parameters: toml::Table,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPortMapping {
    enabled: bool,
    address: String,
    range: Vec<RawRange>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRange {
    protocol: Protocol,
    from: u16,
    to: u16,
}

/// Of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAutoRestart {
    enabled: bool,
    // Ends are noticed at once.
    #[serde(rename = "interval")]
    _interval: u64,
    max_retries: u32,
    initial_backoff: u64,
    max_backoff: u64,
    reset_window: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLog {
    max_bytes: Size,
    max_backups: u32,
    check_interval_secs: u64,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Size {
    Bytes(u64),
    Text(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGpu {
    enabled: bool,
    listing: Vec<String>,
    exclude: Vec<String>,
    include: Vec<String>,
    allow_attach_all: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGateway {
    base_domain: String,
    port: u16,
    agent_port: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAuth {
    enabled: bool,
    tokens: Vec<String>,
    htpasswd_file: PathBuf,
}

impl fmt::Debug for RawAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawAuth")
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHostApi {
    address: String,
    port: u16,
    #[serde(rename = "ident")]
    _ident: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKeyProvider {
    enabled: bool,
    address: String,
    port: u16,
}
