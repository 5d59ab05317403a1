//! Messages of the software TEE's control socket.

use serde::{Deserialize, Serialize};

use crate::message::message;

/// Asks the simulator to launch a TD.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct LaunchArgs {
    /// Letters, digits and hyphens; names the socket.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Exact text of the manifest.
    #[prost(string, tag = "2")]
    pub app_compose: String,
    /// 20 bytes; empty takes the first of the compose hash.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "3")]
    pub app_id: Vec<u8>,
    /// Seed of the simulated OS image; empty is the default image.
    #[prost(string, tag = "4")]
    pub image: String,
    /// Bytes; 0 is 2 GiB.
    #[prost(uint64, tag = "5")]
    pub memory_size: u64,
    /// vCPUs; 0 is 2.
    #[prost(uint32, tag = "6")]
    pub cpu_count: u32,
    /// Boot to system-ready with a local key provider, as a KMS does; otherwise to boot-mr-done.
    #[prost(bool, tag = "7")]
    pub full_boot: bool,
    /// Launch with the debug attribute.
    #[prost(bool, tag = "8")]
    pub debug: bool,
    /// 20 bytes; empty keeps the one of this name.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "9")]
    pub instance_seed: Vec<u8>,
    /// Launch on a platform that lacks the newest TCB level, which was published on 2024-03-13.
    #[prost(bool, tag = "10")]
    pub outdated: bool,
    /// As if the measured system had attested this many GPUs.
    #[prost(uint32, tag = "11")]
    pub gpus: u32,
    /// Directory of a real OS image, which is measured as it lies there; empty simulates
    /// the image too. Then the guest extends every runtime event itself, `image`,
    /// `full_boot`, `gpus`, `app_id` and `instance_seed` are not used, and of the manifest,
    /// which may be empty, only the version of its events.
    #[prost(string, tag = "12")]
    pub image_dir: String,
    /// 48 bytes, with `image_dir`; empty is all zeros.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "13")]
    pub mr_config_id: Vec<u8>,
    /// JSON, with `image_dir`: what evidence repeats about the VM.
    #[prost(string, tag = "14")]
    pub vm_config: String,
    /// QEMU's `etc/table-loader`, with `image_dir`.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "15")]
    pub acpi_loader: Vec<u8>,
    /// QEMU's `etc/acpi/rsdp`, with `image_dir`.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "16")]
    pub acpi_rsdp: Vec<u8>,
    /// QEMU's `etc/acpi/tables`, with `image_dir`.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "17")]
    pub acpi_tables: Vec<u8>,
    /// `tdx`, which empty is too, or `sev-snp`. For the latter `memory_size`, `full_boot`,
    /// `gpus`, `mr_config_id` and what QEMU built are not used: its launch measures none of
    /// them. With `image_dir`, `mr_config` must be given.
    #[prost(string, tag = "18")]
    pub tee: String,
    /// Exact text of the document that an SEV-SNP launch is bound to; empty binds manifest,
    /// app and instance.
    #[prost(string, tag = "19")]
    pub mr_config: String,
    /// Hand the SEV-SNP guest a certificate table; otherwise verifiers ask the key service.
    #[prost(bool, tag = "20")]
    pub certificates: bool,
}
message!(LaunchArgs);

/// A launched TD.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct LaunchResponse {
    /// Where its attester answers.
    #[prost(string, tag = "1")]
    pub socket: String,
    /// JSON.
    #[prost(string, tag = "2")]
    pub vm_config: String,
    /// 32 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "3")]
    pub os_image_hash: Vec<u8>,
    /// 20 bytes or none.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "4")]
    pub instance_id: Vec<u8>,
    /// Where its attester answers over HTTP, for guests that share no file system with the
    /// simulator: `http://<listener of the guests>/td/<token>`. Whoever has it is the TD.
    #[prost(string, tag = "5")]
    pub url: String,
}
message!(LaunchResponse);

/// Asks the simulator to end a TD.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct StopArgs {
    /// Which.
    #[prost(string, tag = "1")]
    pub name: String,
}
message!(StopArgs);

/// The simulated machine.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct MachineInfo {
    /// Where its collateral is served.
    #[prost(string, tag = "1")]
    pub pccs_url: String,
    /// PEM of its root.
    #[prost(string, tag = "2")]
    pub root_ca: String,
    /// 32 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "3")]
    pub device_id: Vec<u8>,
    /// Names of running TDs.
    #[prost(string, repeated, tag = "4")]
    pub tds: Vec<String>,
}
message!(MachineInfo);

/// Asks the machine's sealing enclave for a quote.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct SgxQuoteArgs {
    /// Up to 64 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "1")]
    pub report_data: Vec<u8>,
}
message!(SgxQuoteArgs);

/// A quote of the sealing enclave.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct SgxQuoteResponse {
    /// SGX quote, version 3.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "1")]
    pub quote: Vec<u8>,
}
message!(SgxQuoteResponse);

/// The simulated sealing enclave's key. No secret: whoever reaches the control socket can
/// launch any TD.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct SgxKeyResponse {
    /// 16 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
}
message!(SgxKeyResponse);
