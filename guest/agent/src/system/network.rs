//! How this VM is connected. Bridges of containers are nobody's business outside.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bylaw_rpc::message::guest_api::{Gateway, Interface, IpAddress, NetworkInformation};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use procfs_core::net::{InterfaceDeviceStatus, RouteEntries};
use tokio::process::Command;

use crate::system::{System, SystemError};

/// Longest wait for `wg`.
const WG: Duration = Duration::from_secs(5);
/// Flag of a route through a gateway (`RTF_GATEWAY`).
const VIA_GATEWAY: u16 = 2;

type Addresses = BTreeMap<String, Vec<IpAddress>>;

pub(super) async fn read(system: &System) -> Result<NetworkInformation, SystemError> {
    let addresses = addresses()?;
    Ok(NetworkInformation {
        dns_servers: dns_servers(system),
        gateways: gateways(system)?,
        interfaces: interfaces(system, addresses)?,
        wg_info: wg("wg").await,
    })
}

fn is_outward(name: &str) -> bool {
    name == "dstack-wg0" || name.starts_with("enp") || name.starts_with("eth")
}

fn interfaces(system: &System, mut addresses: Addresses) -> Result<Vec<Interface>, SystemError> {
    let InterfaceDeviceStatus(devices) = system.parsed("proc/net/dev")?;
    let mut interfaces: Vec<Interface> = devices
        .into_values()
        .filter(|device| is_outward(&device.name))
        .map(|device| Interface {
            addresses: addresses.remove(&device.name).unwrap_or_default(),
            name: device.name,
            rx_bytes: device.recv_bytes,
            tx_bytes: device.sent_bytes,
            rx_errors: device.recv_errs,
            tx_errors: device.sent_errs,
        })
        .collect();
    interfaces.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(interfaces)
}

/// By interface; `/proc` does not tell them.
fn addresses() -> Result<Addresses, SystemError> {
    let all = getifaddrs().map_err(|error| SystemError::Unreadable {
        path: "/proc/net".into(),
        reason: error.into(),
    })?;
    let mut addresses = Addresses::new();
    for interface in all {
        let ip = interface.address.as_ref().and_then(ip);
        let mask = interface.netmask.as_ref().and_then(ip_of_mask);
        if let (Some(ip), Some(prefix)) = (ip, mask) {
            addresses
                .entry(interface.interface_name)
                .or_default()
                .push(IpAddress {
                    address: ip.to_string(),
                    prefix,
                });
        }
    }
    Ok(addresses)
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
}

fn ip_of_mask(mask: &SockaddrStorage) -> Option<u32> {
    Some(match ip(mask)? {
        IpAddr::V4(mask) => mask.to_bits().count_ones(),
        IpAddr::V6(mask) => mask.to_bits().count_ones(),
    })
}

/// Of IPv4 default routes.
fn gateways(system: &System) -> Result<Vec<Gateway>, SystemError> {
    let RouteEntries(routes) = system.parsed("proc/net/route")?;
    let mut gateways = Vec::new();
    for route in routes {
        let is_default = route.destination.is_unspecified() && route.mask.is_unspecified();
        let gateway = Gateway {
            address: route.gateway.to_string(),
        };
        if is_default && route.flags & VIA_GATEWAY != 0 && !gateways.contains(&gateway) {
            gateways.push(gateway);
        }
    }
    Ok(gateways)
}

/// None where an image has no resolv.conf.
fn dns_servers(system: &System) -> Vec<String> {
    system
        .text("etc/resolv.conf")
        .unwrap_or_default()
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next())?
        })
        .map(str::to_owned)
        .collect()
}

/// What the program prints, or why it prints nothing. It shows no private key.
async fn wg(program: &str) -> String {
    let run = Command::new(program).kill_on_drop(true).output();
    match tokio::time::timeout(WG, run).await {
        Err(_) => format!("{program} does not end within {WG:?}"),
        Ok(Err(error)) => format!("cannot run {program}: {error}"),
        Ok(Ok(output)) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned(),
        Ok(Ok(output)) => {
            let reason = String::from_utf8_lossy(&output.stderr);
            format!("{program} failed ({}): {}", output.status, reason.trim())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::tests::Tree;

    const DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth1: 1076342070 1533426    3    0    0     0          0         0 18446744073709551615 1533426    4    0    0     0       0          0
enp0s1:       1       1    1    1    1     1          1         1        2       2    2    2    2     2       2          2
docker0:      9       9    9    9    9     9          9         9        9       9    9    9    9     9       9          9
veth12ab:     9       9    9    9    9     9          9         9        9       9    9    9    9     9       9          9
dstack-wg0:   5       0    6    0    0     0          0         0        7       0    8    0    0     0       0          0
br-eth0:      9       9    9    9    9     9          9         9        9       9    9    9    9     9       9          9
";

    #[test]
    fn only_interfaces_towards_the_outside_are_told() {
        let tree = Tree::new(&[("proc/net/dev", DEV)]);
        let address = IpAddress {
            address: "10.0.0.2".into(),
            prefix: 24,
        };
        let addresses = ["eth1", "docker0"]
            .map(|name| (name.to_owned(), vec![address.clone()]))
            .into();
        let interfaces = interfaces(&tree.system(), addresses).unwrap();
        let expected = [
            ("dstack-wg0", vec![], [5, 7, 6, 8]),
            ("enp0s1", vec![], [1, 2, 1, 2]),
            ("eth1", vec![address], [1_076_342_070, u64::MAX, 3, 4]),
        ]
        .map(
            |(name, addresses, [rx_bytes, tx_bytes, rx_errors, tx_errors])| Interface {
                name: name.to_owned(),
                addresses,
                rx_bytes,
                tx_bytes,
                rx_errors,
                tx_errors,
            },
        );
        assert_eq!(interfaces, expected);
    }

    #[test]
    fn gateways_are_those_of_default_routes() {
        let tree = Tree::new(&[(
            "proc/net/route",
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
             eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
             eth1\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
             wg0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n\
             eth0\t0000000A\t0100000A\t0003\t0\t0\t0\t000000FF\t0\t0\t0\n\
             eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
        )]);
        let gateways = gateways(&tree.system()).unwrap();
        assert_eq!(gateways.len(), 1, "{gateways:?}");
        assert_eq!(gateways[0].address, "192.0.2.1");
    }

    #[test]
    fn name_servers_are_read_and_comments_are_not() {
        let tree = Tree::new(&[(
            "etc/resolv.conf",
            "# nameserver 1.1.1.1\nnameserver 10.0.0.53\nsearch x\n  nameserver\t2001:db8::1 # y\n\
             nameservers 9.9.9.9\nnameserver\n",
        )]);
        assert_eq!(dns_servers(&tree.system()), ["10.0.0.53", "2001:db8::1"]);
        assert!(dns_servers(&Tree::new(&[]).system()).is_empty());
    }

    #[test]
    fn files_that_are_not_the_kernels_are_refused_by_name() {
        let tree = Tree::new(&[
            ("proc/net/route", "Iface\neth0\tnonsense\n"),
            ("proc/net/dev", "a\nb\neth0: 1 2\n"),
        ]);
        let error = gateways(&tree.system()).unwrap_err().to_string();
        assert!(
            error.contains("proc/net/route is not what it should be"),
            "{error}"
        );
        let error = interfaces(&tree.system(), Addresses::new()).unwrap_err();
        assert!(error.to_string().contains("proc/net/dev"), "{error}");
    }

    #[test]
    fn loopback_has_its_addresses() {
        let addresses = addresses().unwrap();
        assert!(addresses["lo"].contains(&IpAddress {
            address: "127.0.0.1".into(),
            prefix: 8,
        }));
    }

    #[tokio::test]
    async fn wg_says_what_it_prints_or_why_not() {
        assert_eq!(
            wg("/bin/pwd").await,
            std::env::current_dir().unwrap().display().to_string()
        );
        assert!(
            wg("/nonexistent/wg")
                .await
                .starts_with("cannot run /nonexistent/wg: ")
        );
        assert_eq!(
            wg("/bin/false").await,
            "/bin/false failed (exit status: 1): "
        );
    }
}
