//! How VMs are.

use super::VmConfiguration;
use crate::message::message;
use serde::{Deserialize, Serialize};

/// Which VMs to describe.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusRequest {
    /// Empty is all.
    #[prost(string, repeated, tag = "1")]
    pub ids: Vec<String>,
    /// Leave out the configuration.
    #[prost(bool, tag = "2")]
    pub brief: bool,
    /// Found in name, id, app id or image.
    #[prost(string, tag = "3")]
    pub keyword: String,
    /// From 1; 0 is everything.
    #[prost(uint32, tag = "4")]
    pub page: u32,
    /// 0 is everything.
    #[prost(uint32, tag = "5")]
    pub page_size: u32,
    /// Only VMs of this status; empty is all.
    #[prost(string, tag = "6")]
    pub status: String,
}
message!(StatusRequest);

/// VMs by age.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusResponse {
    /// This page.
    #[prost(message, repeated, tag = "1")]
    pub vms: Vec<VmInfo>,
    /// Whether the node maps ports.
    #[prost(bool, tag = "2")]
    pub port_mapping_enabled: bool,
    /// On every page together.
    #[prost(uint32, tag = "3")]
    pub total: u32,
}
message!(StatusResponse);

/// A VM and how it is.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct VmInfo {
    /// UUID.
    #[prost(string, tag = "1")]
    pub id: String,
    /// For people.
    #[prost(string, tag = "2")]
    pub name: String,
    /// `running`, `exited`, `stopping`, `stopped` or `removing`.
    #[prost(string, tag = "3")]
    pub status: String,
    /// A duration in words, or `never`.
    #[prost(string, tag = "4")]
    pub uptime: String,
    /// Where the gateway serves it.
    #[prost(string, optional, tag = "5")]
    pub app_url: Option<String>,
    /// 40 hex digits.
    #[prost(string, tag = "6")]
    pub app_id: String,
    /// 40 hex digits, once the guest has one.
    #[prost(string, optional, tag = "7")]
    pub instance_id: Option<String>,
    /// None when brief.
    #[prost(message, optional, tag = "8")]
    pub configuration: Option<VmConfiguration>,
    /// A duration in words, or `never`.
    #[prost(string, optional, tag = "9")]
    pub exited_at: Option<String>,
    /// What the guest said last.
    #[prost(string, tag = "10")]
    pub boot_progress: String,
    /// Why the guest could not boot.
    #[prost(string, tag = "11")]
    pub boot_error: String,
    /// What the guest said last.
    #[prost(string, tag = "12")]
    pub shutdown_progress: String,
    /// Of the image.
    #[prost(string, tag = "13")]
    pub image_version: String,
    /// What the guest said, oldest first.
    #[prost(message, repeated, tag = "14")]
    pub events: Vec<GuestEvent>,
    /// As the VM runs.
    #[prost(message, repeated, tag = "15")]
    pub interfaces: Vec<NetworkInterfaceStatus>,
    /// Whether a QEMU process exists right now.
    #[prost(bool, tag = "16")]
    pub running: bool,
}
message!(VmInfo);

/// Something the guest said.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GuestEvent {
    /// E.g. `boot.progress`.
    #[prost(string, tag = "1")]
    pub event: String,
    /// A sentence.
    #[prost(string, tag = "2")]
    pub body: String,
    /// Unix milliseconds.
    #[prost(uint64, tag = "3")]
    pub timestamp: u64,
}
message!(GuestEvent);

/// A network interface as QEMU has it.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkInterfaceStatus {
    /// `user`, `bridge` or `custom`.
    #[prost(string, tag = "1")]
    pub mode: String,
    /// `slirp`, `tap_bridge` or `custom`.
    #[prost(string, tag = "2")]
    pub backend: String,
    /// Hardware address.
    #[prost(string, tag = "3")]
    pub mac: String,
    /// Of the host's bridge.
    #[prost(string, optional, tag = "4")]
    pub bridge_name: Option<String>,
    /// `net<i>`.
    #[prost(string, optional, tag = "5")]
    pub netdev_id: Option<String>,
}
message!(NetworkInterfaceStatus);

/// One VM.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GetInfoResponse {
    /// Whether there is one.
    #[prost(bool, tag = "1")]
    pub found: bool,
    /// It.
    #[prost(message, optional, tag = "2")]
    pub info: Option<VmInfo>,
}
message!(GetInfoResponse);
