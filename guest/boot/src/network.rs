//! Addresses: loopback, and DHCP on every network card.
//!
//! busybox's udhcpc does the protocol and calls this program back ([`apply`]); what it
//! says comes from the host and is parsed as addresses, nothing else.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bylaw_types::file::write_atomic;

use crate::command::{Command, CommandError};

/// Name under which udhcpc calls this program.
pub const CALLBACK: &str = "bylaw-dhcp-event";
const STATE: &str = "/run/bylaw";
const RESOLV_CONF: &str = "/run/resolv.conf";
/// How long the first card may take.
const DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
/// Name servers that resolvers look at.
const MAX_NAME_SERVERS: usize = 3;

/// No network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A program.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nobody leases an address.
    #[error("no DHCP server answered on {0} within {DEADLINE:?}; look at the VM's networks")]
    NoLease(String),
    /// The lease is not one.
    #[error("DHCP lease: {name} = {value:?} is not {form}")]
    Lease {
        /// Which variable.
        name: &'static str,
        /// What it says.
        value: String,
        /// What it must be.
        form: &'static str,
    },
}

/// Network cards by name; loopback and tunnels are none.
///
/// # Errors
/// When `/sys` cannot be read.
pub fn cards(sys: &Path) -> Result<BTreeSet<String>, NetworkError> {
    let path = sys.join("class/net");
    let failed = |source| NetworkError::File {
        path: path.clone(),
        source,
    };
    let mut cards = BTreeSet::new();
    for entry in std::fs::read_dir(&path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.path().join("device").exists()
            && let Ok(name) = entry.file_name().into_string()
        {
            cards.insert(name);
        }
    }
    Ok(cards)
}

/// Brings loopback up and makes the callback known.
///
/// # Errors
/// [`NetworkError`].
pub async fn prepare() -> Result<(), NetworkError> {
    ip(&["link", "set", "lo", "up"]).await?;
    let callback = callback();
    let failed = |source| NetworkError::File {
        path: callback.clone(),
        source,
    };
    let program = std::env::current_exe().map_err(failed)?;
    let _ = std::fs::remove_file(&callback);
    std::os::unix::fs::symlink(program, &callback).map_err(failed)?;
    write_atomic(Path::new(RESOLV_CONF), b"").map_err(failed)
}

fn callback() -> PathBuf {
    Path::new(STATE).join(CALLBACK)
}

/// Arguments of the DHCP client of a card: it stays and renews.
pub fn client(card: &str) -> Vec<String> {
    let callback = callback().display().to_string();
    [
        "busybox", "udhcpc", "-f", "-i", card, "-s", &callback, "-t", "8", "-T", "1", "-A", "2",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Waits until the first card has its address; the others may come later.
///
/// # Errors
/// [`NetworkError::NoLease`].
pub async fn wait_for_lease(cards: &BTreeSet<String>) -> Result<(), NetworkError> {
    let Some(first) = cards.first() else {
        tracing::warn!("this VM has no network card");
        return Ok(());
    };
    let lease = lease_file(first);
    let appears = async {
        while !lease.exists() {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(DEADLINE, appears)
        .await
        .map_err(|_| NetworkError::NoLease(first.clone()))
}

fn lease_file(card: &str) -> PathBuf {
    Path::new(STATE).join(format!("lease.{card}"))
}

/// A lease, as far as it is used.
#[derive(Debug, PartialEq, Eq)]
struct Lease {
    card: String,
    address: Ipv4Addr,
    prefix: u8,
    routers: Vec<Ipv4Addr>,
    name_servers: Vec<Ipv4Addr>,
}

impl Lease {
    fn parse(variable: impl Fn(&str) -> Option<String>) -> Result<Self, NetworkError> {
        let text = |name: &'static str| variable(name).unwrap_or_default();
        let bad = |name, form| move |value: String| NetworkError::Lease { name, value, form };
        let address = |name, value: &str| {
            value
                .parse::<Ipv4Addr>()
                .map_err(|_| bad(name, "an IPv4 address")(value.to_owned()))
        };
        let addresses = |name| {
            text(name)
                .split_whitespace()
                .map(|value| address(name, value))
                .collect::<Result<Vec<_>, _>>()
        };
        let prefix = text("mask");
        let mut name_servers = addresses("dns")?;
        name_servers.truncate(MAX_NAME_SERVERS);
        Ok(Self {
            card: card_name(text("interface"))?,
            address: address("ip", &text("ip"))?,
            prefix: match prefix.parse() {
                Ok(bits @ 1..=32) => bits,
                _ => return Err(bad("mask", "a prefix length")(prefix)),
            },
            routers: addresses("router")?,
            name_servers,
        })
    }
}

fn card_name(name: String) -> Result<String, NetworkError> {
    let is_name = (1..16).contains(&name.len())
        && !name.starts_with('-')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !name.starts_with('.');
    match is_name {
        true => Ok(name),
        false => Err(NetworkError::Lease {
            name: "interface",
            value: name,
            form: "a network card",
        }),
    }
}

/// What udhcpc calls: `event` is its first argument, the lease is in the environment.
///
/// # Errors
/// [`NetworkError`].
pub async fn apply(
    event: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(), NetworkError> {
    match event {
        "deconfig" => {
            let card = card_name(variable("interface").unwrap_or_default())?;
            let _ = std::fs::remove_file(lease_file(&card));
            ip(&["link", "set", &card, "up"]).await?;
            ip(&["-4", "addr", "flush", "dev", &card]).await
        }
        "bound" | "renew" => {
            let lease = Lease::parse(variable)?;
            let address = format!("{}/{}", lease.address, lease.prefix);
            ip(&["-4", "addr", "replace", &address, "dev", &lease.card]).await?;
            if let Some(router) = lease.routers.first() {
                let router = router.to_string();
                ip(&[
                    "-4",
                    "route",
                    "replace",
                    "default",
                    "via",
                    &router,
                    "dev",
                    &lease.card,
                ])
                .await?;
            }
            let servers: String = lease
                .name_servers
                .iter()
                .map(|server| format!("nameserver {server}\n"))
                .collect();
            let write = |path: PathBuf, text: &str| {
                write_atomic(&path, text.as_bytes())
                    .map_err(|source| NetworkError::File { path, source })
            };
            if !servers.is_empty() {
                write(PathBuf::from(RESOLV_CONF), &servers)?;
            }
            write(lease_file(&lease.card), &address)
        }
        // leasefail and nak: udhcpc tries again by itself.
        _ => Ok(()),
    }
}

async fn ip(arguments: &[&str]) -> Result<(), NetworkError> {
    Command::new("ip", arguments).output().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn lease(changes: &[(&str, &str)]) -> Result<Lease, String> {
        let mut variables = BTreeMap::from([
            ("interface", "eth0"),
            ("ip", "10.0.2.15"),
            ("mask", "24"),
            ("router", "10.0.2.2 10.0.2.9"),
            ("dns", "10.0.2.3"),
        ]);
        variables.extend(changes.iter().copied());
        Lease::parse(|name| variables.get(name).map(|value| (*value).to_owned()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_lease_is_addresses_and_nothing_else() {
        let plain = lease(&[]).unwrap();
        assert_eq!(plain.routers[0], Ipv4Addr::new(10, 0, 2, 2));
        assert!(
            lease(&[("router", ""), ("dns", "")])
                .unwrap()
                .routers
                .is_empty()
        );
        let many = lease(&[("dns", "1.1.1.1 1.1.1.2 1.1.1.3 1.1.1.4")]).unwrap();
        assert_eq!(many.name_servers.len(), MAX_NAME_SERVERS);
        for (name, value) in [
            ("ip", ""),
            ("ip", "10.0.2.15;reboot"),
            ("ip", "fe80::1"),
            ("mask", "33"),
            ("mask", "0"),
            ("mask", "255.255.255.0"),
            ("router", "10.0.2.2 -x"),
            ("dns", "evil\nsearch x"),
            ("interface", "../etc"),
            ("interface", "-4"),
            ("interface", ""),
            ("interface", "a b"),
            ("interface", "sixteen-letters-"),
        ] {
            let error = lease(&[(name, value)]).unwrap_err();
            assert!(error.contains(name), "{name}={value:?}: {error}");
        }
    }

    #[test]
    fn cards_have_a_device() {
        let sys = tempfile::tempdir().unwrap();
        for path in ["lo", "eth0/device", "eth1/device", "wg0"] {
            std::fs::create_dir_all(sys.path().join("class/net").join(path)).unwrap();
        }
        let cards = cards(sys.path()).unwrap();
        assert_eq!(cards.into_iter().collect::<Vec<_>>(), ["eth0", "eth1"]);
    }
}
