//! Messages of `GuestApi` and `ProxiedGuestApi` (guest agent API reference, section 5).

use serde::{Deserialize, Serialize};

use crate::message::message;

/// Names a VM when its host forwards the call.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Id {
    /// As the host numbers its VMs.
    #[prost(string, tag = "1")]
    pub id: String,
}
message!(Id);

/// Who runs in this VM.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct GuestInfo {
    /// Of the agent.
    #[prost(string, tag = "1")]
    pub version: String,
    /// 20 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "2")]
    pub app_id: Vec<u8>,
    /// 20 bytes or none.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "3")]
    pub instance_id: Vec<u8>,
    /// PEM chain with evidence.
    #[prost(string, tag = "4")]
    pub app_cert: String,
    /// Measurements and event log, JSON text.
    #[prost(string, tag = "5")]
    pub tcb_info: String,
    /// 32 bytes.
    #[serde(with = "crate::json::bytes")]
    #[prost(bytes = "vec", tag = "6")]
    pub device_id: Vec<u8>,
}
message!(GuestInfo);

/// What the VM runs on and how busy it is; sizes in bytes.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct SystemInfo {
    /// Distribution.
    #[prost(string, tag = "1")]
    pub os_name: String,
    /// Of the distribution.
    #[prost(string, tag = "2")]
    pub os_version: String,
    /// Release.
    #[prost(string, tag = "3")]
    pub kernel_version: String,
    /// Of the first processor.
    #[prost(string, tag = "4")]
    pub cpu_model: String,
    /// Logical processors.
    #[prost(uint32, tag = "5")]
    pub num_cpus: u32,
    /// Memory.
    #[prost(uint64, tag = "6")]
    pub total_memory: u64,
    /// Free or reclaimable.
    #[prost(uint64, tag = "7")]
    pub available_memory: u64,
    /// Total less available.
    #[prost(uint64, tag = "8")]
    pub used_memory: u64,
    /// Holds nothing at all.
    #[prost(uint64, tag = "9")]
    pub free_memory: u64,
    /// Swap.
    #[prost(uint64, tag = "10")]
    pub total_swap: u64,
    /// Total less free.
    #[prost(uint64, tag = "11")]
    pub used_swap: u64,
    /// Free.
    #[prost(uint64, tag = "12")]
    pub free_swap: u64,
    /// Seconds since boot.
    #[prost(uint64, tag = "13")]
    pub uptime: u64,
    /// Over one minute, times 100.
    #[prost(uint32, tag = "14")]
    pub loadavg_one: u32,
    /// Over five minutes, times 100.
    #[prost(uint32, tag = "15")]
    pub loadavg_five: u32,
    /// Over fifteen minutes, times 100.
    #[prost(uint32, tag = "16")]
    pub loadavg_fifteen: u32,
    /// Data disks, by mount point.
    #[prost(message, repeated, tag = "17")]
    pub disks: Vec<DiskInfo>,
}
message!(SystemInfo);

/// A mounted file system; sizes in bytes.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskInfo {
    /// Device.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Where.
    #[prost(string, tag = "2")]
    pub mount_point: String,
    /// Size.
    #[prost(uint64, tag = "3")]
    pub total_size: u64,
    /// Left for programs.
    #[prost(uint64, tag = "5")]
    pub free_size: u64,
}
message!(DiskInfo);

/// How the VM is connected.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkInformation {
    /// Addresses.
    #[prost(string, repeated, tag = "1")]
    pub dns_servers: Vec<String>,
    /// Of default routes.
    #[prost(message, repeated, tag = "2")]
    pub gateways: Vec<Gateway>,
    /// Those towards the outside.
    #[prost(message, repeated, tag = "3")]
    pub interfaces: Vec<Interface>,
    /// What `wg` prints, or why it prints nothing.
    #[prost(string, tag = "4")]
    pub wg_info: String,
}
message!(NetworkInformation);

/// A router.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Gateway {
    /// Its address.
    #[prost(string, tag = "1")]
    pub address: String,
}
message!(Gateway);

/// A network interface and what went through it.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// As the kernel calls it.
    #[prost(string, tag = "1")]
    pub name: String,
    /// IPv4 and IPv6.
    #[prost(message, repeated, tag = "2")]
    pub addresses: Vec<IpAddress>,
    /// Received.
    #[prost(uint64, tag = "3")]
    pub rx_bytes: u64,
    /// Sent.
    #[prost(uint64, tag = "4")]
    pub tx_bytes: u64,
    /// Received.
    #[prost(uint64, tag = "5")]
    pub rx_errors: u64,
    /// Sent.
    #[prost(uint64, tag = "6")]
    pub tx_errors: u64,
}
message!(Interface);

/// An address with its network.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct IpAddress {
    /// IPv4 or IPv6.
    #[prost(string, tag = "1")]
    pub address: String,
    /// Bits of the network.
    #[prost(uint32, tag = "2")]
    pub prefix: u32,
}
message!(IpAddress);

/// Every container, running or not.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct ListContainersResponse {
    /// In the engine's order: newest first.
    #[prost(message, repeated, tag = "1")]
    pub containers: Vec<Container>,
}
message!(ListContainersResponse);

/// A container as its engine describes it.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Container {
    /// 64 hexadecimal digits.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Each with a leading slash.
    #[prost(string, repeated, tag = "2")]
    pub names: Vec<String>,
    /// As it was asked for.
    #[prost(string, tag = "3")]
    pub image: String,
    /// Digest.
    #[prost(string, tag = "4")]
    pub image_id: String,
    /// Unix seconds.
    #[prost(int64, tag = "6")]
    pub created: i64,
    /// `running`, `exited`, ...
    #[prost(string, tag = "7")]
    pub state: String,
    /// The same for people.
    #[prost(string, tag = "8")]
    pub status: String,
}
message!(Container);

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    /// Tags and wire types, as `protoc --encode` would write them.
    #[test]
    fn tags_skip_where_the_protocol_does() {
        let disk = DiskInfo {
            name: "a".into(),
            mount_point: "/".into(),
            total_size: 3,
            free_size: 2,
        };
        assert_eq!(hex::encode(disk.encode_to_vec()), "0a016112012f18032802");
        let container = Container {
            id: "i".into(),
            names: vec!["/n".into()],
            image: "m".into(),
            image_id: "d".into(),
            created: 5,
            state: "s".into(),
            status: "t".into(),
        };
        assert_eq!(
            hex::encode(container.encode_to_vec()),
            "0a016912022f6e1a016d22016430053a0173420174"
        );
        let system = SystemInfo {
            loadavg_fifteen: 7,
            disks: vec![disk],
            ..SystemInfo::default()
        };
        assert_eq!(
            hex::encode(system.encode_to_vec()),
            "8001078a010a0a016112012f18032802"
        );
    }

    #[test]
    fn json_has_the_protocols_names_and_plain_numbers() {
        let json = serde_json::to_value(NetworkInformation {
            interfaces: vec![Interface {
                name: "eth0".into(),
                addresses: vec![IpAddress {
                    address: "10.0.0.2".into(),
                    prefix: 24,
                }],
                rx_bytes: u64::MAX,
                ..Interface::default()
            }],
            ..NetworkInformation::default()
        })
        .unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "dns_servers": [], "gateways": [], "wg_info": "",
                "interfaces": [{
                    "name": "eth0", "addresses": [{"address": "10.0.0.2", "prefix": 24}],
                    "rx_bytes": u64::MAX, "tx_bytes": 0, "rx_errors": 0, "tx_errors": 0,
                }],
            })
        );
    }
}
