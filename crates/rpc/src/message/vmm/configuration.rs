//! What a VM is made from, and changes to it.

use serde::{Deserialize, Serialize};

use crate::message::message;

/// How one network interface is attached.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkingConfig {
    /// `user` or `bridge`; empty takes the node's default.
    #[prost(string, tag = "1")]
    pub mode: String,
    /// Of the host's bridge; empty takes the node's.
    #[prost(string, tag = "2")]
    pub bridge_name: String,
}
message!(NetworkingConfig);

/// One device.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuSpec {
    /// PCI address, as `ListGpus` names it.
    #[prost(string, tag = "1")]
    pub slot: String,
}
message!(GpuSpec);

/// Devices handed to the VM.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuConfig {
    /// Which, when `attach_mode` is `listed`.
    #[prost(message, repeated, tag = "1")]
    pub gpus: Vec<GpuSpec>,
    /// `listed` or `all`; empty is `listed`.
    #[prost(string, tag = "2")]
    pub attach_mode: String,
}
message!(GpuConfig);

/// A port of the host that leads into the VM.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct PortMapping {
    /// `tcp` or `udp`.
    #[prost(string, tag = "1")]
    pub protocol: String,
    /// On the host.
    #[prost(uint32, tag = "2")]
    pub host_port: u32,
    /// In the VM.
    #[prost(uint32, tag = "3")]
    pub vm_port: u32,
    /// Address it listens on; empty takes the node's, but not in an update.
    #[prost(string, tag = "4")]
    pub host_address: String,
}
message!(PortMapping);

/// Everything a VM is made from.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct VmConfiguration {
    /// For people.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Folder below the node's image path.
    #[prost(string, tag = "2")]
    pub image: String,
    /// Exact text of app-compose.json.
    #[prost(string, tag = "3")]
    pub compose_file: String,
    /// Virtual processors.
    #[prost(uint32, tag = "4")]
    pub vcpu: u32,
    /// MiB.
    #[prost(uint32, tag = "5")]
    pub memory: u32,
    /// GiB.
    #[prost(uint32, tag = "6")]
    pub disk_size: u32,
    /// Ports of the host.
    #[prost(message, repeated, tag = "7")]
    pub ports: Vec<PortMapping>,
    /// As the guest reads it.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "8")]
    pub encrypted_env: Vec<u8>,
    /// 40 hex digits; none takes the first of the compose hash.
    #[prost(string, optional, tag = "9")]
    pub app_id: Option<String>,
    /// Handed to the app as it is.
    #[prost(string, tag = "10")]
    pub user_config: String,
    /// Back the memory by huge pages.
    #[prost(bool, tag = "11")]
    pub hugepages: bool,
    /// Pin to the NUMA node of the devices.
    #[prost(bool, tag = "12")]
    pub pin_numa: bool,
    /// Devices.
    #[prost(message, optional, tag = "13")]
    pub gpus: Option<GpuConfig>,
    /// Instead of the node's.
    #[prost(string, repeated, tag = "14")]
    pub kms_urls: Vec<String>,
    /// Instead of the node's.
    #[prost(string, repeated, tag = "15")]
    pub gateway_urls: Vec<String>,
    /// Create without starting.
    #[prost(bool, tag = "16")]
    pub stopped: bool,
    /// Launch without a TEE.
    #[prost(bool, tag = "17")]
    pub no_tee: bool,
    /// One interface; `networks` wins.
    #[prost(message, optional, tag = "18")]
    pub networking: Option<NetworkingConfig>,
    /// Interfaces; empty takes the node's default.
    #[prost(message, repeated, tag = "19")]
    pub networks: Vec<NetworkingConfig>,
    /// Variant of the software TEE, `tdx`; implies `no_tee`.
    #[prost(string, optional, tag = "21")]
    pub simulated_tee: Option<String>,
}
message!(VmConfiguration);

/// What to change; what is absent stays.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateVmRequest {
    /// Of the VM.
    #[prost(string, tag = "1")]
    pub id: String,
    /// New app-compose.json; empty keeps it.
    #[prost(string, tag = "2")]
    pub compose_file: String,
    /// New environment; empty keeps it.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "3")]
    pub encrypted_env: Vec<u8>,
    /// New text; empty keeps it.
    #[prost(string, tag = "4")]
    pub user_config: String,
    /// Whether `ports` replaces.
    #[prost(bool, tag = "5")]
    pub update_ports: bool,
    /// Every port.
    #[prost(message, repeated, tag = "7")]
    pub ports: Vec<PortMapping>,
    /// Whether `kms_urls` replaces.
    #[prost(bool, tag = "8")]
    pub update_kms_urls: bool,
    /// Every KMS.
    #[prost(string, repeated, tag = "9")]
    pub kms_urls: Vec<String>,
    /// Whether `gateway_urls` replaces.
    #[prost(bool, tag = "10")]
    pub update_gateway_urls: bool,
    /// Every gateway.
    #[prost(string, repeated, tag = "11")]
    pub gateway_urls: Vec<String>,
    /// Every device.
    #[prost(message, optional, tag = "13")]
    pub gpus: Option<GpuConfig>,
    /// Virtual processors.
    #[prost(uint32, optional, tag = "14")]
    pub vcpu: Option<u32>,
    /// MiB.
    #[prost(uint32, optional, tag = "15")]
    pub memory: Option<u32>,
    /// GiB; never smaller.
    #[prost(uint32, optional, tag = "16")]
    pub disk_size: Option<u32>,
    /// Folder below the node's image path.
    #[prost(string, optional, tag = "17")]
    pub image: Option<String>,
    /// Launch without a TEE.
    #[prost(bool, optional, tag = "18")]
    pub no_tee: Option<bool>,
    /// Whether `networks` replaces.
    #[prost(bool, tag = "19")]
    pub update_networking: bool,
    /// Every interface; empty takes the node's default.
    #[prost(message, repeated, tag = "20")]
    pub networks: Vec<NetworkingConfig>,
}
message!(UpdateVmRequest);

/// New resources of a stopped VM.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct ResizeVmRequest {
    /// Of the VM.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Virtual processors.
    #[prost(uint32, optional, tag = "2")]
    pub vcpu: Option<u32>,
    /// MiB.
    #[prost(uint32, optional, tag = "3")]
    pub memory: Option<u32>,
    /// GiB; never smaller.
    #[prost(uint32, optional, tag = "4")]
    pub disk_size: Option<u32>,
    /// Folder below the node's image path.
    #[prost(string, optional, tag = "5")]
    pub image: Option<String>,
}
message!(ResizeVmRequest);

/// Identity of an app-compose.json.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct ComposeHash {
    /// SHA-256, hex.
    #[prost(string, tag = "1")]
    pub hash: String,
}
message!(ComposeHash);

/// Names an app.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct AppId {
    /// 20 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "1")]
    pub app_id: Vec<u8>,
}
message!(AppId);
