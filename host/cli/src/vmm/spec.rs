//! Ports, sizes, devices and networks as people write them.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::str::FromStr;

use bylaw_rpc::message::vmm::{GpuConfig, GpuSpec, NetworkingConfig, PortMapping};

/// A port of the host that leads into the VM: `80`, `8080:80`, `udp:53:53`,
/// `127.0.0.1:8080:80`, `tcp:127.0.0.1:8080:80`, `53:53/udp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortSpec {
    protocol: &'static str,
    /// Empty is the node's own.
    address: String,
    /// None picks a free one.
    host: Option<u16>,
    pub(crate) vm: u16,
}

impl PortSpec {
    /// A free port of the host for this one of the VM.
    pub(crate) fn any(vm: u16) -> Self {
        Self {
            protocol: "tcp",
            address: String::new(),
            host: None,
            vm,
        }
    }

    /// With a port of the host; a picked one is free on this machine and not in `taken`.
    pub(crate) fn resolve(&self, taken: &[u32]) -> Result<PortMapping, std::io::Error> {
        let host = match self.host {
            Some(port) => port,
            None => self.pick(taken)?,
        };
        Ok(PortMapping {
            protocol: self.protocol.to_owned(),
            host_port: host.into(),
            vm_port: self.vm.into(),
            host_address: self.address.clone(),
        })
    }

    fn pick(&self, taken: &[u32]) -> Result<u16, std::io::Error> {
        let address = self.address.parse().unwrap_or(IpAddr::from([127, 0, 0, 1]));
        let any = SocketAddr::new(address, 0);
        // Held until a good one is found, so that none is offered twice.
        let (mut tcp, mut udp) = (Vec::new(), Vec::new());
        loop {
            let port = if self.protocol == "udp" {
                udp.push(UdpSocket::bind(any)?);
                udp.last().map(UdpSocket::local_addr)
            } else {
                tcp.push(TcpListener::bind(any)?);
                tcp.last().map(TcpListener::local_addr)
            };
            if let Some(port) = port.transpose()?.map(|address| address.port())
                && !taken.contains(&port.into())
            {
                return Ok(port);
            }
        }
    }
}

impl FromStr for PortSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            format!(
                "{text:?} is not [tcp:|udp:][address:][host:]vm, such as 80, 8080:80 or udp:127.0.0.1:53:53"
            )
        };
        let (rest, suffix) = match text.rsplit_once('/') {
            Some((rest, "tcp")) => (rest, Some("tcp")),
            Some((rest, "udp")) => (rest, Some("udp")),
            Some(_) => return Err(form()),
            None => (text, None),
        };
        let (rest, prefix) = match rest.split_once(':') {
            Some(("tcp", rest)) => (rest, Some("tcp")),
            Some(("udp", rest)) => (rest, Some("udp")),
            _ => (rest, None),
        };
        let protocol = match (prefix, suffix) {
            (Some(_), Some(_)) => return Err(form()),
            (one, other) => one.or(other).unwrap_or("tcp"),
        };
        let (rest, vm) = rest.rsplit_once(':').unwrap_or(("", rest));
        let (address, host) = rest.rsplit_once(':').unwrap_or(("", rest));
        let address = address.trim_start_matches('[').trim_end_matches(']');
        if !address.is_empty() && address.parse::<IpAddr>().is_err() {
            return Err(form());
        }
        let port = |text: &str| match text.parse::<u16>() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(form()),
        };
        Ok(Self {
            protocol,
            address: address.to_owned(),
            host: match host {
                "" | "0" | "auto" => None,
                host => Some(port(host)?),
            },
            vm: port(vm)?,
        })
    }
}

/// Memory in MiB: `2048`, `2048M`, `2G`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory(pub(crate) u32);

impl FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        size(text, &[("", 1), ("M", 1), ("G", 1 << 10), ("T", 1 << 20)])
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a size such as 2048 (MiB), 2048M or 2G"))
    }
}

/// Disk in GiB: `20`, `20G`, `1T`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disk(pub(crate) u32);

impl FromStr for Disk {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        size(text, &[("", 1), ("G", 1), ("T", 1 << 10)])
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a size such as 20 (GiB), 20G or 1T"))
    }
}

fn size(text: &str, units: &[(&str, u32)]) -> Option<u32> {
    let upper = text.to_ascii_uppercase();
    let digits = upper.trim_end_matches("IB").trim_end_matches('B');
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    let (number, unit) = digits.split_at_checked(end)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number
        .parse::<u32>()
        .ok()?
        .checked_mul(*factor)
        .filter(|size| *size > 0)
}

/// A network interface: `user`, `bridge`, `bridge:br0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Network(pub(crate) NetworkingConfig);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mode, bridge) = text.split_once(':').unwrap_or((text, ""));
        let usable = match mode {
            "user" => !text.contains(':'),
            "bridge" => !text.ends_with(':'),
            _ => false,
        };
        if !usable {
            return Err(format!("{text:?} is not user, bridge or bridge:<name>"));
        }
        Ok(Self(NetworkingConfig {
            mode: mode.to_owned(),
            bridge_name: bridge.to_owned(),
        }))
    }
}

/// Devices for a VM.
#[derive(clap::Args, Clone)]
pub(crate) struct Gpus {
    /// GPU by its slot (`bylaw lsgpu`), or `all`; repeat it.
    #[arg(long, value_name = "SLOT|all")]
    gpu: Vec<String>,
    /// All GPUs and switches in protected PCIe mode.
    #[arg(long, conflicts_with = "gpu")]
    ppcie: bool,
}

impl Gpus {
    /// None when none were asked for.
    pub(crate) fn config(&self) -> Option<GpuConfig> {
        if self.ppcie || self.gpu.iter().any(|slot| slot == "all") {
            return Some(GpuConfig {
                gpus: vec![],
                attach_mode: "all".to_owned(),
            });
        }
        let gpus: Vec<GpuSpec> = self
            .gpu
            .iter()
            .map(|slot| GpuSpec { slot: slot.clone() })
            .collect();
        (!gpus.is_empty()).then(|| GpuConfig {
            gpus,
            attach_mode: "listed".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_every_spelling() {
        for (text, protocol, address, host, vm) in [
            ("80", "tcp", "", None, 80),
            ("8080:80", "tcp", "", Some(8080), 80),
            (":80", "tcp", "", None, 80),
            ("auto:80", "tcp", "", None, 80),
            ("udp:53:5353", "udp", "", Some(53), 5353),
            ("53:53/udp", "udp", "", Some(53), 53),
            ("127.0.0.1:0:80", "tcp", "127.0.0.1", None, 80),
            ("tcp:0.0.0.0:80:80", "tcp", "0.0.0.0", Some(80), 80),
            ("[::1]:80:80", "tcp", "::1", Some(80), 80),
        ] {
            let expected = PortSpec {
                protocol,
                address: address.into(),
                host,
                vm,
            };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "0",
            "65536",
            "80:",
            "a:80",
            "sctp:1:2",
            "1:2/sctp",
            "tcp:1:2/udp",
            "host:1:2",
            "1:2:3",
        ] {
            assert!(text.parse::<PortSpec>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_free_port_is_none_that_is_taken() {
        let spec = PortSpec::any(80);
        let first = spec.resolve(&[]).unwrap();
        let second = spec.resolve(&[first.host_port]).unwrap();
        assert_ne!(first.host_port, second.host_port);
        assert_ne!(second.host_port, 0);
        assert_eq!(second.vm_port, 80);
    }

    #[test]
    fn sizes_have_their_units() {
        for (text, mib) in [
            ("512", 512),
            ("512M", 512),
            ("2g", 2048),
            ("2GiB", 2048),
            ("1T", 1 << 20),
        ] {
            assert_eq!(text.parse(), Ok(Memory(mib)), "{text}");
        }
        assert_eq!("20".parse(), Ok(Disk(20)));
        assert_eq!("1TB".parse(), Ok(Disk(1024)));
        for text in ["", "0", "-1", "2X", "1.5G", "G", "5000000T"] {
            assert!(text.parse::<Memory>().is_err(), "{text}");
            assert!(text.parse::<Disk>().is_err(), "{text}");
        }
        assert!("20M".parse::<Disk>().is_err(), "a disk has gigabytes");
    }

    #[test]
    fn networks() {
        let bridge: Network = "bridge:br0".parse().unwrap();
        assert_eq!(
            (bridge.0.mode.as_str(), bridge.0.bridge_name.as_str()),
            ("bridge", "br0")
        );
        for text in ["custom", "user:x", "bridge:", ""] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
