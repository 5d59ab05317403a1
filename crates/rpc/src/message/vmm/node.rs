//! What the node offers.

use serde::{Deserialize, Serialize};

use crate::message::message;

/// An OS image on this node.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageInfo {
    /// Its folder.
    #[prost(string, tag = "1")]
    pub name: String,
    /// metadata.json.
    #[prost(string, tag = "2")]
    pub description: String,
    /// Of the image.
    #[prost(string, tag = "3")]
    pub version: String,
    /// Whether it has a shell.
    #[prost(bool, tag = "4")]
    pub is_dev: bool,
}
message!(ImageInfo);

/// Images on this node.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageListResponse {
    /// By name.
    #[prost(message, repeated, tag = "1")]
    pub images: Vec<ImageInfo>,
}
message!(ImageListResponse);

/// The node's KMS.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct KmsSettings {
    /// First of `urls`.
    #[prost(string, tag = "1")]
    pub url: String,
    /// Tried in order.
    #[prost(string, repeated, tag = "2")]
    pub urls: Vec<String>,
}
message!(KmsSettings);

/// The node's gateway.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewaySettings {
    /// First of `urls`.
    #[prost(string, tag = "1")]
    pub url: String,
    /// Below which apps are served.
    #[prost(string, tag = "2")]
    pub base_domain: String,
    /// Public port.
    #[prost(uint32, tag = "3")]
    pub port: u32,
    /// Of the guest agent.
    #[prost(uint32, tag = "4")]
    pub agent_port: u32,
    /// Tried in order.
    #[prost(string, repeated, tag = "5")]
    pub urls: Vec<String>,
}
message!(GatewaySettings);

/// What the node gives at most.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourcesSettings {
    /// VMs.
    #[prost(uint32, tag = "1")]
    pub max_cvm_number: u32,
    /// Virtual processors of all VMs.
    #[prost(uint32, tag = "2")]
    pub max_allocable_vcpu: u32,
    /// Memory of all VMs.
    #[prost(uint32, tag = "3")]
    pub max_allocable_memory_in_mb: u32,
}
message!(ResourcesSettings);

/// How VMs reach the network.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkingSettings {
    /// `user`, `bridge`.
    #[prost(string, repeated, tag = "1")]
    pub supported_modes: Vec<String>,
    /// When a VM names none.
    #[prost(string, tag = "2")]
    pub default_mode: String,
    /// When a VM names none.
    #[prost(string, tag = "4")]
    pub default_bridge: String,
}
message!(NetworkingSettings);

/// What this node offers.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetMetaResponse {
    /// KMS.
    #[prost(message, optional, tag = "1")]
    pub kms: Option<KmsSettings>,
    /// Gateway.
    #[prost(message, optional, tag = "2")]
    pub gateway: Option<GatewaySettings>,
    /// Limits.
    #[prost(message, optional, tag = "3")]
    pub resources: Option<ResourcesSettings>,
    /// Network.
    #[prost(message, optional, tag = "4")]
    pub networking: Option<NetworkingSettings>,
}
message!(GetMetaResponse);

/// What answers.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct VersionResponse {
    /// Of the VMM.
    #[prost(string, tag = "1")]
    pub version: String,
    /// Revision it was built from.
    #[prost(string, tag = "2")]
    pub rev: String,
}
message!(VersionResponse);

/// A device that VMs can have.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuInfo {
    /// PCI address.
    #[prost(string, tag = "1")]
    pub slot: String,
    /// `vendor:device`, hex.
    #[prost(string, tag = "2")]
    pub product_id: String,
    /// For people.
    #[prost(string, tag = "3")]
    pub description: String,
    /// Whether no VM has it.
    #[prost(bool, tag = "4")]
    pub is_free: bool,
}
message!(GpuInfo);

/// Devices that VMs can have.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct ListGpusResponse {
    /// By slot.
    #[prost(message, repeated, tag = "1")]
    pub gpus: Vec<GpuInfo>,
    /// Whether a VM may have all of them.
    #[prost(bool, tag = "2")]
    pub allow_attach_all: bool,
}
message!(ListGpusResponse);

/// What reading the work directories again changed.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct ReloadVmsResponse {
    /// New VMs.
    #[prost(uint32, tag = "1")]
    pub loaded: u32,
    /// Changed VMs.
    #[prost(uint32, tag = "2")]
    pub updated: u32,
    /// VMs that are gone.
    #[prost(uint32, tag = "3")]
    pub removed: u32,
}
message!(ReloadVmsResponse);

/// A supervised process.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct SvProcessInfo {
    /// Of its VM.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Of its VM.
    #[prost(string, tag = "2")]
    pub name: String,
    /// `running`, `stopped`, `exited(<code>)` or `error(<reason>)`.
    #[prost(string, tag = "3")]
    pub status: String,
    /// While it runs.
    #[prost(uint32, optional, tag = "4")]
    pub pid: Option<u32>,
    /// Program.
    #[prost(string, tag = "5")]
    pub command: String,
    /// For people.
    #[prost(string, tag = "6")]
    pub note: String,
}
message!(SvProcessInfo);

/// Supervised processes.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct SvListResponse {
    /// By id.
    #[prost(message, repeated, tag = "1")]
    pub processes: Vec<SvProcessInfo>,
}
message!(SvListResponse);

/// An OS image in the registry.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct RegistryImageInfo {
    /// There.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// Whether it is here.
    #[prost(bool, tag = "2")]
    pub local: bool,
    /// Whether it is coming.
    #[prost(bool, tag = "3")]
    pub pulling: bool,
    /// Why it did not come.
    #[prost(string, tag = "4")]
    pub error: String,
}
message!(RegistryImageInfo);

/// OS images in the registry.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct RegistryImageListResponse {
    /// By tag.
    #[prost(message, repeated, tag = "1")]
    pub images: Vec<RegistryImageInfo>,
}
message!(RegistryImageListResponse);

/// Which to fetch.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct PullRegistryImageRequest {
    /// In the registry.
    #[prost(string, tag = "1")]
    pub tag: String,
}
message!(PullRegistryImageRequest);
