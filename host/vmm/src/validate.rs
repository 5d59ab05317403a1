//! What callers ask for, checked (VMM API reference, section 2), and turned into records.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use bylaw_rpc::message::vmm::{GpuConfig, GpuSpec, NetworkingConfig, PortMapping, VmConfiguration};
use bylaw_types::{AppCompose, AppId};

use crate::config::{Config, NetMode, Protocol};
use crate::images::{Image, ImageError};
use crate::record::{AttachMode, GpuSlot, Gpus, Manifest, Network, PortMap};

/// Longest encrypted environment, in bytes; guests read no more.
const MAX_ENCRYPTED_ENV: usize = 256 * 1024;
/// Longest user configuration, in bytes; guests read no more.
const MAX_USER_CONFIG: usize = 50 * 1024 * 1024;
/// Most network interfaces.
const MAX_NETWORKS: usize = 8;

/// A request that cannot be met.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// A character that names may not have.
    #[error("Invalid name: {0:?}; letters, digits and - _ . @ ~ ! $ ^ ( ) and spaces are allowed")]
    Name(String),
    /// The manifest of the app.
    #[error("Invalid compose file: {0}")]
    Compose(#[from] bylaw_types::compose::ComposeError),
    /// The app id.
    #[error("Invalid app id: {0}")]
    AppId(#[from] bylaw_types::ParseIdError),
    /// The image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A number outside its range.
    #[error("{0}")]
    Resources(String),
    /// A port mapping.
    #[error("{0}")]
    Port(String),
    /// An interface.
    #[error("{0}")]
    Network(String),
    /// Devices.
    #[error("{0}")]
    Gpu(String),
    /// The software TEE.
    #[error("{0}")]
    Tee(String),
    /// Too long.
    #[error("{what} is {actual} bytes; at most {most} are possible")]
    TooLong {
        /// Which field.
        what: &'static str,
        /// As given.
        actual: usize,
        /// Allowed.
        most: usize,
    },
}

/// Ports that other VMs have, with whose they are.
pub type Taken = Vec<(String, PortMap)>;

/// Checks a request and makes its manifest.
///
/// # Errors
/// [`Invalid`].
pub fn manifest(
    config: &Config,
    request: &VmConfiguration,
    id: String,
    created_at_ms: u64,
    taken: &Taken,
) -> Result<Manifest, Invalid> {
    let compose = compose(&request.name, &request.compose_file)?;
    let app_id = match request.app_id.as_deref() {
        None | Some("") => AppId::from_compose_hash(&compose.hash()),
        Some(text) => text.to_ascii_lowercase().parse()?,
    };
    resources(request.vcpu, request.memory, request.disk_size)?;
    Image::open(&config.image_path, &request.image)?;
    lengths(&request.encrypted_env, &request.user_config)?;
    let simulated_tee = simulated(config, request.simulated_tee.as_deref())?;
    let networks = match (request.networks.as_slice(), &request.networking) {
        ([], Some(one)) if !one.mode.is_empty() => networks(config, std::slice::from_ref(one))?,
        (several, _) => networks(config, several)?,
    };
    let port_map = ports(config, &request.ports, Blank::TakesDefault, taken)?;
    needs_user_network(config, &networks, &port_map)?;
    Ok(Manifest {
        id,
        name: request.name.clone(),
        app_id: app_id.to_string(),
        vcpu: request.vcpu,
        memory: request.memory,
        disk_size: request.disk_size,
        image: request.image.clone(),
        port_map,
        created_at_ms,
        hugepages: request.hugepages,
        pin_numa: request.pin_numa,
        gpus: gpus(config, request.gpus.as_ref())?,
        kms_urls: request.kms_urls.clone(),
        gateway_urls: request.gateway_urls.clone(),
        no_tee: request.no_tee || simulated_tee.is_some(),
        simulated_tee,
        networking: networks.first().cloned(),
        networks,
    })
}

/// The app's manifest; its text and the VM's name are checked.
///
/// # Errors
/// [`Invalid::Name`], [`Invalid::Compose`].
pub fn compose(name: &str, text: &str) -> Result<AppCompose, Invalid> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_. @~!$^()".contains(c);
    if !name.chars().all(allowed) {
        return Err(Invalid::Name(name.to_owned()));
    }
    Ok(AppCompose::parse(text.as_bytes())?)
}

/// Sizes of a VM: vCPUs, MiB, GiB.
///
/// # Errors
/// [`Invalid::Resources`].
pub fn resources(vcpu: u32, memory: u32, disk_size: u32) -> Result<(), Invalid> {
    let refuse = |text: &str| Err(Invalid::Resources(text.to_owned()));
    if !(1..=512).contains(&vcpu) {
        return refuse("vcpu must be 1 to 512");
    }
    if memory < 64 {
        return refuse("memory must be 64 MB or more");
    }
    if !(1..=65536).contains(&disk_size) {
        return refuse("disk_size must be 1 to 65536 GB");
    }
    Ok(())
}

/// What guests refuse to read is not stored.
///
/// # Errors
/// [`Invalid::TooLong`].
pub fn lengths(encrypted_env: &[u8], user_config: &str) -> Result<(), Invalid> {
    for (what, actual, most) in [
        ("encrypted_env", encrypted_env.len(), MAX_ENCRYPTED_ENV),
        ("user_config", user_config.len(), MAX_USER_CONFIG),
    ] {
        if actual > most {
            return Err(Invalid::TooLong { what, actual, most });
        }
    }
    Ok(())
}

fn simulated(config: &Config, variant: Option<&str>) -> Result<Option<String>, Invalid> {
    let Some(variant) = variant.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if config.cvm.simulator.is_none() {
        let text = "simulated_tee requires cvm.tee_simulator, which this node has not";
        return Err(Invalid::Tee(text.to_owned()));
    }
    // dstack's command line names variants as evidence does.
    if !["tdx", "dstack-tdx"].contains(&variant) {
        let text = format!("simulated_tee {variant:?} is not supported; \"tdx\" is");
        return Err(Invalid::Tee(text));
    }
    Ok(Some("tdx".to_owned()))
}

/// Interfaces as asked for; none takes the node's default when the VM starts.
///
/// # Errors
/// [`Invalid::Network`].
pub fn networks(config: &Config, asked: &[NetworkingConfig]) -> Result<Vec<Network>, Invalid> {
    if asked.len() > MAX_NETWORKS {
        let text = format!(
            "{} networks; at most {MAX_NETWORKS} are possible",
            asked.len()
        );
        return Err(Invalid::Network(text));
    }
    let default = &config.cvm.networking;
    let parse = |one: &NetworkingConfig| {
        let mode = match one.mode.as_str() {
            "" => default.mode,
            "user" => NetMode::User,
            "bridge" => NetMode::Bridge,
            other => {
                let text = format!("networking mode {other:?} is not \"user\" or \"bridge\"");
                return Err(Invalid::Network(text));
            }
        };
        let name_is_valid = |name: &str| {
            name.len() <= 15
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        if !name_is_valid(&one.bridge_name) {
            let text = format!("bridge {:?} is no name of an interface", one.bridge_name);
            return Err(Invalid::Network(text));
        }
        if mode == NetMode::Bridge && one.bridge_name.is_empty() && default.bridge.is_empty() {
            let text = "bridge networking needs a bridge: name one, or set cvm.networking.bridge";
            return Err(Invalid::Network(text.to_owned()));
        }
        Ok(Network {
            mode,
            bridge_name: one.bridge_name.clone(),
        })
    };
    asked.iter().map(parse).collect()
}

/// Ports are forwarded by QEMU's user network.
///
/// # Errors
/// [`Invalid::Port`].
pub fn needs_user_network(
    config: &Config,
    networks: &[Network],
    ports: &[PortMap],
) -> Result<(), Invalid> {
    let default = [config.cvm.networking.mode];
    let mut modes: Vec<NetMode> = networks.iter().map(|network| network.mode).collect();
    if modes.is_empty() {
        modes.extend(default);
    }
    if ports.is_empty() || modes.contains(&NetMode::User) {
        return Ok(());
    }
    let text = "port mappings need a network of mode \"user\"";
    Err(Invalid::Port(text.to_owned()))
}

/// What an empty host address means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blank {
    /// The node's.
    TakesDefault,
    /// Nothing.
    IsInvalid,
}

/// Port mappings, each allowed and free.
///
/// # Errors
/// [`Invalid::Port`].
pub fn ports(
    config: &Config,
    asked: &[PortMapping],
    blank: Blank,
    taken: &Taken,
) -> Result<Vec<PortMap>, Invalid> {
    let refuse = |text: String| Err(Invalid::Port(text));
    if asked.is_empty() {
        return Ok(vec![]);
    }
    let Some(rules) = &config.cvm.port_mapping else {
        return refuse("Port mapping is disabled".to_owned());
    };
    let mut ports: Vec<PortMap> = Vec::new();
    for one in asked {
        let protocol = match one.protocol.as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => return refuse(format!("Invalid protocol: {other:?}; tcp or udp")),
        };
        let number = |port: u32| {
            let port = u16::try_from(port).ok().filter(|port| *port != 0);
            port.ok_or_else(|| Invalid::Port("Invalid port: 1 to 65535 are possible".to_owned()))
        };
        let (from, to) = (number(one.host_port)?, number(one.vm_port)?);
        let address = match (one.host_address.as_str(), blank) {
            ("", Blank::TakesDefault) => rules.address,
            (text, _) => match text.parse::<Ipv4Addr>() {
                Ok(address) => address,
                Err(_) => return refuse(format!("Invalid host address: {text:?}")),
            },
        };
        let allowed = rules
            .ranges
            .iter()
            .any(|(p, first, last)| *p == protocol && (*first..=*last).contains(&from));
        if !allowed {
            return refuse(format!("Port mapping is not allowed for {protocol}:{from}"));
        }
        let port = PortMap {
            address,
            protocol,
            from,
            to,
        };
        if ports.iter().any(|other| conflict(other, &port)) {
            return refuse(format!("Port {protocol}:{address}:{from} is mapped twice"));
        }
        if let Some((owner, _)) = taken.iter().find(|(_, other)| conflict(other, &port)) {
            return refuse(format!(
                "Port {protocol}:{address}:{from} is already mapped by VM {owner}"
            ));
        }
        ports.push(port);
    }
    Ok(ports)
}

/// A wildcard address conflicts with every other.
fn conflict(left: &PortMap, right: &PortMap) -> bool {
    let wild = left.address.is_unspecified() || right.address.is_unspecified();
    left.protocol == right.protocol
        && left.from == right.from
        && (wild || left.address == right.address)
}

/// Devices as asked for; `None` is none.
///
/// # Errors
/// [`Invalid::Gpu`].
pub fn gpus(config: &Config, asked: Option<&GpuConfig>) -> Result<Option<Gpus>, Invalid> {
    let refuse = |text: String| Err(Invalid::Gpu(text));
    let Some(asked) = asked else { return Ok(None) };
    let attach_mode = match asked.attach_mode.as_str() {
        "" | "listed" => AttachMode::Listed,
        "all" => AttachMode::All,
        other => return refuse(format!("Invalid attach mode: {other:?}; listed or all")),
    };
    if attach_mode == AttachMode::Listed && asked.gpus.is_empty() {
        return Ok(None);
    }
    let Some(rules) = &config.cvm.gpu else {
        return refuse("GPU is not enabled".to_owned());
    };
    if attach_mode == AttachMode::All && !rules.allow_attach_all {
        return refuse("Attaching all GPUs is not allowed".to_owned());
    }
    let slots: Vec<String> = asked
        .gpus
        .iter()
        .map(|GpuSpec { slot }| slot.clone())
        .collect();
    if slots.iter().collect::<BTreeSet<_>>().len() != slots.len() {
        return refuse("a GPU is listed twice".to_owned());
    }
    let gpus = match attach_mode {
        AttachMode::Listed => slots.into_iter().map(|slot| GpuSlot { slot }).collect(),
        AttachMode::All => vec![],
    };
    Ok(Some(Gpus { attach_mode, gpus }))
}

#[cfg(test)]
mod tests;
