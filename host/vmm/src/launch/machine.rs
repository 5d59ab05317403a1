//! The hardware of a start.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use bylaw_attest::mr_config::{MrConfig, v3_digest};
use bylaw_qemu::network::{Backend, Mac, UserNetwork};
use bylaw_qemu::pci::{self, Device};
use bylaw_qemu::{
    Accel, Disk, DiskRole, Forward, Hugepages, Machine, Nic, Passthrough, Protocol, SnpLaunch,
    TdxLaunch, Tee, Vfio, host, numa,
};
use bylaw_rpc::message::vmm::NetworkInterfaceStatus;
use bylaw_types::compose::KeyProvider;
use bylaw_types::{AppCompose, InstanceId};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    CONSOLE_SOCKET, DATA_DISK, GUEST_API_PORT, LaunchError, QMP_SOCKET, SERIAL_LOG, SHARE_DISK,
    Site, instance, pci_address,
};
use crate::config::{self, NetMode, Platform};
use crate::images::Image;
use crate::record::{AttachMode, Manifest, Network, WorkDir};

/// Where the kernel keeps huge pages.
const HUGEPAGES: &str = "/dev/hugepages";

/// Devices of the host that a start takes.
#[derive(Debug, Default)]
pub(super) struct Devices {
    gpus: Vec<Vfio>,
    bridges: Vec<Vfio>,
}

impl Devices {
    pub(super) fn count(&self) -> (usize, usize) {
        (self.gpus.len(), self.bridges.len())
    }

    pub(super) fn slots(&self) -> Vec<String> {
        let all = self.gpus.iter().chain(&self.bridges);
        all.map(|device| device.address.to_string()).collect()
    }
}

/// Finds the devices, and makes sure that no other VM has them.
pub(super) fn devices(site: &Site<'_>, manifest: &Manifest) -> Result<Devices, LaunchError> {
    let Some(wanted) = &manifest.gpus else {
        return Ok(Devices::default());
    };
    let Some(rules) = &site.config.cvm.gpu else {
        return Err(LaunchError::Gpu("GPU is not enabled".to_owned()));
    };
    let host = pci::devices(Path::new("/"))?;
    let devices = match wanted.attach_mode {
        AttachMode::All => {
            let (gpus, bridges) = pci::all(&host)?;
            if gpus.is_empty() {
                let text = "all GPUs are asked for, and this machine has none";
                return Err(LaunchError::Gpu(text.to_owned()));
            }
            Devices { gpus, bridges }
        }
        AttachMode::Listed => {
            let mut slots = Vec::new();
            for gpu in &wanted.gpus {
                let address = pci_address(&gpu.slot)?;
                let device = host.iter().find(|device| device.address == address);
                if device.is_some_and(|device| !is_offered(rules, device)) {
                    let text = format!("GPU {} is not offered by this node", gpu.slot);
                    return Err(LaunchError::Gpu(text));
                }
                slots.push(address);
            }
            Devices {
                gpus: pci::chosen(&host, &slots)?,
                bridges: vec![],
            }
        }
    };
    match devices.slots().iter().find(|slot| site.busy.contains(slot)) {
        Some(slot) => Err(LaunchError::Gpu(format!("GPU {slot} is in use"))),
        None => Ok(devices),
    }
}

/// Whether the node's rules offer a device.
pub(crate) fn is_offered(rules: &config::Gpu, device: &Device) -> bool {
    let named = |list: &[String]| {
        let mut addresses = list.iter().filter_map(|slot| pci_address(slot).ok());
        addresses.any(|address| address == device.address)
    };
    let product = |id: &String| id.eq_ignore_ascii_case(&device.product_id);
    device.kind == pci::Kind::Gpu
        && rules.listing.iter().any(product)
        && !named(&rules.exclude)
        && (rules.include.is_empty() || named(&rules.include))
}

/// The TEE of a start, and what its launch is bound to.
#[derive(Debug)]
pub(super) struct BoundTee {
    pub(super) tee: Tee,
    /// Document of version 3.
    pub(super) mr_config: Option<String>,
    /// For a simulated TD.
    pub(super) mr_config_id: Option<[u8; 48]>,
}

pub(super) fn tee(
    site: &Site<'_>,
    manifest: &Manifest,
    dir: &WorkDir,
    image: &Image,
    compose: &AppCompose,
) -> Result<BoundTee, LaunchError> {
    let plain = |tee| BoundTee {
        tee,
        mr_config: None,
        mr_config_id: None,
    };
    if manifest.simulated_tee.is_some() {
        let (mr_config, id) = td_binding(site, manifest, compose);
        return Ok(BoundTee {
            tee: Tee::Simulated,
            mr_config,
            mr_config_id: id,
        });
    }
    if manifest.no_tee {
        return Ok(plain(Tee::None));
    }
    let lacks = |what| LaunchError::ImageLacks {
        image: image.name.clone(),
        what,
    };
    match platform(site.config.cvm.platform) {
        Some(Platform::Tdx) => {
            image.metadata.bios.as_ref().ok_or_else(|| lacks("bios"))?;
            let (mr_config, mr_config_id) = td_binding(site, manifest, compose);
            let launch = TdxLaunch {
                mr_config_id,
                qgs_port: Some(u32::from(site.config.cvm.qgs_port)).filter(|port| *port != 0),
                pic: site.config.cvm.pic.unwrap_or(site.qemu.version.pic()),
            };
            Ok(BoundTee {
                tee: Tee::Tdx(launch),
                mr_config,
                mr_config_id,
            })
        }
        Some(Platform::AmdSevSnp) => {
            let firmware = image.metadata.bios_sev.as_ref();
            firmware.ok_or_else(|| lacks("bios-sev"))?;
            let instance = instance::settle(dir, manifest, compose)?;
            let document = mr_config_document(manifest, compose, instance);
            let launch = SnpLaunch {
                host_data: v3_digest(document.as_bytes()),
                policy: SnpLaunch::POLICY,
                c_bit_position: host::c_bit_position()?,
                reduced_phys_bits: 1,
                cpu_model: SnpLaunch::CPU_MODEL.to_owned(),
            };
            Ok(BoundTee {
                tee: Tee::SevSnp(launch),
                mr_config: Some(document),
                mr_config_id: None,
            })
        }
        _ => Err(LaunchError::NoTee),
    }
}

/// What this machine has, unless the configuration says it.
fn platform(configured: Platform) -> Option<Platform> {
    if configured != Platform::Auto {
        return Some(configured);
    }
    let enabled = |parameter: &str| {
        std::fs::read_to_string(parameter).is_ok_and(|text| matches!(text.trim(), "Y" | "1"))
    };
    if enabled("/sys/module/kvm_intel/parameters/tdx") {
        Some(Platform::Tdx)
    } else if enabled("/sys/module/kvm_amd/parameters/sev_snp") {
        Some(Platform::AmdSevSnp)
    } else {
        None
    }
}

/// Version 1, or 3 where the app insists on a key provider (attestation reference, section 8).
fn td_binding(
    site: &Site<'_>,
    manifest: &Manifest,
    compose: &AppCompose,
) -> (Option<String>, Option<[u8; 48]>) {
    if !site.config.cvm.use_mrconfigid {
        return (None, None);
    }
    if compose.manifest().key_provider_id.is_empty() {
        let compose_hash = &compose.hash();
        let id = MrConfig::V1 { compose_hash }.register();
        return (None, Some(*id.as_bytes()));
    }
    let document = mr_config_document(manifest, compose, None);
    let id = MrConfig::V3 {
        document: document.as_bytes(),
    };
    let id = *id.register().as_bytes();
    (Some(document), Some(id))
}

/// Canonical JSON: keys sorted, no whitespace; every value is ASCII text or a small number.
fn mr_config_document(
    manifest: &Manifest,
    compose: &AppCompose,
    instance: Option<InstanceId>,
) -> String {
    let fields = compose.manifest();
    let provider = match fields.key_provider() {
        KeyProvider::None => "none",
        KeyProvider::Kms => "kms",
        KeyProvider::Local => "local",
        KeyProvider::Tpm => "tpm",
    };
    let mut document = Map::new();
    document.insert("version".into(), json!(3));
    document.insert("app_id".into(), json!(manifest.app_id));
    document.insert("compose_hash".into(), json!(compose.hash().to_string()));
    document.insert("key_provider".into(), json!(provider));
    if !fields.key_provider_id.is_empty() {
        let id = fields.key_provider_id.to_ascii_lowercase();
        document.insert("key_provider_id".into(), json!(id));
    }
    if let Some(id) = instance {
        document.insert("instance_id".into(), json!(id));
    }
    if fields.manifest_version.number >= 3 && !fields.init_script.is_empty() {
        let hash = |script: &String| hex::encode(Sha256::digest(script));
        let hashes: Vec<String> = fields.init_script.iter().map(hash).collect();
        document.insert("init_script_hashes".into(), json!(hashes));
    }
    // Sorted by construction of the map unless a feature of serde_json keeps the order.
    serde_json_canonicalizer::to_string(&Value::Object(document)).unwrap_or_default()
}

/// Ways between guest and host without vsock.
#[derive(Debug)]
pub(super) struct HostPorts {
    /// Leads to the guest's API.
    guest_api: Option<u16>,
}

impl HostPorts {
    pub(super) fn choose(site: &Site<'_>, manifest: &Manifest) -> Result<Self, LaunchError> {
        if site.vsock {
            return Ok(Self { guest_api: None });
        }
        let user = |network: &Network| network.mode == NetMode::User;
        if !effective_networks(site, manifest).iter().any(user) {
            return Err(LaunchError::NoHostPath);
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .map_err(|source| LaunchError::Io {
                path: "127.0.0.1:0".into(),
                source,
            })?;
        Ok(Self {
            guest_api: Some(port.port()),
        })
    }

    pub(super) fn guest_api_url(&self, site: &Site<'_>) -> String {
        match self.guest_api {
            None => format!("vsock://{}:{GUEST_API_PORT}/api", site.cid),
            Some(port) => format!("http://127.0.0.1:{port}/api"),
        }
    }
}

/// Interfaces of the VM, or the node's default.
pub(super) fn effective_networks(site: &Site<'_>, manifest: &Manifest) -> Vec<Network> {
    if manifest.networks.is_empty() {
        let default = manifest.networking.clone();
        return vec![default.unwrap_or_else(|| Network {
            mode: site.config.cvm.networking.mode,
            bridge_name: String::new(),
        })];
    }
    manifest.networks.clone()
}

pub(super) fn machine(
    site: &Site<'_>,
    manifest: &Manifest,
    dir: &WorkDir,
    image: &Image,
    devices: &Devices,
    tee: Tee,
    ports: &HostPorts,
) -> Result<Machine, LaunchError> {
    let cvm = &site.config.cvm;
    let lacks = |what| LaunchError::ImageLacks {
        image: image.name.clone(),
        what,
    };
    let firmware = match &tee {
        Tee::None | Tee::Simulated => None,
        Tee::Tdx(_) => image.metadata.bios.as_ref(),
        Tee::SevSnp(_) => image.metadata.bios_sev.as_ref(),
    };
    let mut disks = vec![
        Disk {
            role: DiskRole::Data,
            path: dir.file(DATA_DISK),
        },
        Disk {
            role: DiskRole::Share,
            path: dir.file(SHARE_DISK),
        },
    ];
    disks.extend(image.metadata.rootfs.as_ref().map(|rootfs| Disk {
        role: DiskRole::Root,
        path: image.file(rootfs),
    }));
    let placement = if manifest.pin_numa || manifest.hugepages {
        let used = devices.gpus.iter().map(|gpu| gpu.numa_node);
        numa::plan(&numa::nodes(Path::new("/"))?, used)
    } else {
        None
    };
    let cmdline = image.metadata.cmdline.clone();
    Ok(Machine {
        name: manifest.id.clone(),
        qemu: site.qemu.clone(),
        accel: match cvm.accel {
            config::Accel::Kvm => Accel::Kvm,
            config::Accel::Tcg => Accel::Tcg,
        },
        tee,
        cpus: manifest.vcpu,
        memory_mib: manifest.memory.into(),
        firmware: firmware.map(|file| image.file(file)),
        kernel: image.file(&image.metadata.kernel),
        initrd: image.file(&image.metadata.initrd),
        cmdline: cmdline.ok_or_else(|| lacks("cmdline"))?,
        disks,
        nics: nics(site, manifest, ports)?,
        vsock_cid: site.vsock.then_some(site.cid),
        serial_log: dir.file(SERIAL_LOG),
        console_socket: image.metadata.is_dev.then(|| dir.file(CONSOLE_SOCKET)),
        qmp_socket: Some(dir.file(QMP_SOCKET)),
        hugepages: manifest.hugepages.then(|| Hugepages {
            path: HUGEPAGES.into(),
            host_nodes: placement
                .as_ref()
                .map_or(vec![0], |placement| placement.host_nodes.clone()),
        }),
        passthrough: Passthrough {
            gpus: devices.gpus.clone(),
            bridges: devices.bridges.clone(),
            mmio64_mib: None,
        },
        pci_hole64_mib: Some(cvm.pci_hole64_size >> 20).filter(|mib| *mib != 0),
        hotplug_off: cvm.hotplug_off,
        product: cvm.product.clone(),
        user: None,
        pin: placement
            .filter(|_| manifest.pin_numa)
            .map(|placement| placement.cpus),
    })
}

/// Ports lead into the first interface of mode `user`.
fn nics(site: &Site<'_>, manifest: &Manifest, ports: &HostPorts) -> Result<Vec<Nic>, LaunchError> {
    let defaults = &site.config.cvm.networking;
    let invalid =
        |what: &str| LaunchError::Gpu(format!("cvm.networking.{what} is no address; see vmm.toml"));
    let mut forwards: Vec<Forward> = manifest
        .port_map
        .iter()
        .map(|port| Forward {
            protocol: match port.protocol {
                config::Protocol::Tcp => Protocol::Tcp,
                config::Protocol::Udp => Protocol::Udp,
            },
            address: port.address,
            host_port: port.from,
            vm_port: port.to,
        })
        .collect();
    forwards.extend(ports.guest_api.map(|host_port| Forward {
        protocol: Protocol::Tcp,
        address: Ipv4Addr::LOCALHOST,
        host_port,
        vm_port: GUEST_API_PORT,
    }));
    let mut nics = Vec::new();
    for (index, network) in effective_networks(site, manifest).iter().enumerate() {
        let backend = match network.mode {
            NetMode::User => Backend::User(UserNetwork {
                subnet: defaults.net.parse()?,
                dhcp_start: defaults
                    .dhcp_start
                    .parse()
                    .map_err(|_| invalid("dhcp_start"))?,
                restrict: defaults.restrict,
                forwards: std::mem::take(&mut forwards),
            }),
            NetMode::Bridge => Backend::Bridge {
                name: if network.bridge_name.is_empty() {
                    defaults.bridge.clone()
                } else {
                    network.bridge_name.clone()
                },
            },
        };
        let mac = Mac::of_vm(&manifest.id, index, &defaults.mac_prefix)?;
        nics.push(Nic { mac, backend });
    }
    Ok(nics)
}

/// For `VmInfo`.
pub(super) fn interfaces(machine: &Machine) -> Vec<NetworkInterfaceStatus> {
    let describe = |(index, nic): (usize, &Nic)| {
        let (mode, backend, bridge_name) = match &nic.backend {
            Backend::User(_) => ("user", "slirp", None),
            Backend::Bridge { name } => ("bridge", "tap_bridge", Some(name.clone())),
        };
        NetworkInterfaceStatus {
            mode: mode.to_owned(),
            backend: backend.to_owned(),
            mac: nic.mac.to_string(),
            bridge_name,
            netdev_id: Some(format!("net{index}")),
        }
    };
    machine.nics.iter().enumerate().map(describe).collect()
}
