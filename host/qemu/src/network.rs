//! Network interfaces of a VM.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::QemuError;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// Hardware address.
    pub mac: Mac,
    /// Where its packets go.
    pub backend: Backend,
}

/// Where packets go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// A network inside QEMU that reaches out as the host.
    User(UserNetwork),
    /// A bridge of the host.
    Bridge {
        /// Its name.
        name: String,
    },
}

/// A network inside QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserNetwork {
    /// Addresses.
    pub subnet: Subnet,
    /// First address given out.
    pub dhcp_start: Ipv4Addr,
    /// The guest reaches nothing; only forwarded ports work.
    pub restrict: bool,
    /// Ports of the host that lead into the guest.
    pub forwards: Vec<Forward>,
}

/// A port of the host that leads into the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Address of the host; `0.0.0.0` is every one.
    pub address: Ipv4Addr,
    /// Port of the host.
    pub host_port: u16,
    /// Port of the guest.
    pub vm_port: u16,
}

/// Transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// An IPv4 network, written `10.0.2.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    address: Ipv4Addr,
    prefix: u32,
}

impl Subnet {
    /// Whether an address is in it.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX << (32 - self.prefix);
        address.to_bits() & mask == self.address.to_bits()
    }
}

impl FromStr for Subnet {
    type Err = QemuError;

    fn from_str(text: &str) -> Result<Self, QemuError> {
        let parsed = text.split_once('/').and_then(|(address, prefix)| {
            let address: Ipv4Addr = address.parse().ok()?;
            let prefix: u32 = prefix.parse().ok()?;
            (8..=30)
                .contains(&prefix)
                .then_some(Self { address, prefix })
        });
        match parsed {
            Some(subnet) if subnet.contains(subnet.address) => Ok(subnet),
            _ => Err(QemuError::description(
                "network",
                format!("{text:?} is not a network as in 10.0.2.0/24, with 8 to 30 bits"),
            )),
        }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac([u8; 6]);

impl Mac {
    /// The address of a VM's interface: SHA-256 of `<vm id>` for the first, of
    /// `<vm id>:<index>` for the others. It stays the same as long as the VM exists.
    ///
    /// `prefix` (0 to 3 bytes) replaces its beginning; without one it is marked as locally
    /// administered and unicast.
    ///
    /// # Errors
    /// A prefix that is longer, or that marks a multicast address.
    pub fn of_vm(vm_id: &str, index: usize, prefix: &[u8]) -> Result<Self, QemuError> {
        let seed = match index {
            0 => vm_id.to_owned(),
            index => format!("{vm_id}:{index}"),
        };
        let mut mac = [0; 6];
        for (slot, byte) in mac.iter_mut().zip(Sha256::digest(seed)) {
            *slot = byte;
        }
        if prefix.len() > 3 || prefix.first().is_some_and(|byte| byte & 1 != 0) {
            let reason = format!("{prefix:02x?} must be 1 to 3 bytes, the first one even");
            return Err(QemuError::description("mac_prefix", reason));
        }
        if let (true, Some(first)) = (prefix.is_empty(), mac.first_mut()) {
            *first = *first & 0xfe | 0x02;
        }
        for (slot, byte) in mac.iter_mut().zip(prefix) {
            *slot = *byte;
        }
        Ok(Self(mac))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_are_stable_distinct_and_local() {
        let mac = |index, prefix: &[u8]| Mac::of_vm("vm", index, prefix).unwrap().to_string();
        assert_eq!(mac(0, &[]), mac(0, &[]));
        assert_ne!(mac(0, &[]), mac(1, &[]));
        assert!(mac(0, &[0x52, 0x54, 0]).starts_with("52:54:00:"));
        assert_eq!(mac(0, &[0x52])[3..], mac(0, &[])[3..]);
        for index in 0..64 {
            let Mac([first, ..]) = Mac::of_vm("vm", index, &[]).unwrap();
            assert_eq!(first & 3, 2, "locally administered, unicast");
        }
        assert!(Mac::of_vm("vm", 0, &[1]).is_err(), "multicast");
        assert!(Mac::of_vm("vm", 0, &[2; 4]).is_err(), "too long");
    }

    #[test]
    fn networks_have_no_host_bits() {
        let subnet: Subnet = "10.0.2.0/24".parse().unwrap();
        assert_eq!(subnet.to_string(), "10.0.2.0/24");
        assert!(subnet.contains(Ipv4Addr::new(10, 0, 2, 255)));
        assert!(!subnet.contains(Ipv4Addr::new(10, 0, 3, 0)));
        for wrong in [
            "10.0.2.1/24",
            "10.0.2.0",
            "10.0.2.0/31",
            "10.0.2.0/7",
            "x/24",
            "0.0.0.0/0",
        ] {
            assert!(wrong.parse::<Subnet>().is_err(), "{wrong}");
        }
    }
}
