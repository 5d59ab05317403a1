//! NVIDIA GPUs and NVSwitches of the host, from sysfs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::{QemuError, Vfio};

const NVIDIA: u16 = 0x10de;
const CLASS_VGA: u16 = 0x0300;
const CLASS_3D: u16 = 0x0302;
const CLASS_BRIDGE: u16 = 0x0680;

/// Products whose names help where the host has no PCI database.
const PRODUCTS: [(u16, &str); 12] = [
    (0x2321, "H100 NVL"),
    (0x2322, "H800 PCIe"),
    (0x2324, "H800 SXM5"),
    (0x2329, "H20"),
    (0x2330, "H100 SXM5 80GB"),
    (0x2331, "H100 PCIe"),
    (0x2335, "H200 SXM 141GB"),
    (0x2336, "H100 SXM5 96GB"),
    (0x2339, "H100 SXM5 94GB"),
    (0x233b, "H200 NVL"),
    (0x2901, "B200"),
    (0x22a3, "NVSwitch"),
];

/// Address of a PCI function, written `0000:17:00.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

impl FromStr for PciAddress {
    type Err = QemuError;

    /// The domain may be left out, as `lspci` does.
    fn from_str(text: &str) -> Result<Self, QemuError> {
        parse_address(text).ok_or_else(|| {
            let reason = format!("{text:?} is not the address of a PCI device as in 0000:17:00.0");
            QemuError::description("slot", reason)
        })
    }
}

fn parse_address(text: &str) -> Option<PciAddress> {
    let hex = |text: &str, digits: usize| {
        let hex = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.then(|| u32::from_str_radix(text, 16).ok())?
    };
    let (rest, function) = text.split_once('.')?;
    let mut parts = rest.rsplit(':');
    let device = hex(parts.next()?, 2)?;
    let bus = hex(parts.next()?, 2)?;
    let domain = match parts.next() {
        None => 0,
        Some(domain) => hex(domain, 4)
            .or_else(|| hex(domain, 5))
            .or_else(|| hex(domain, 8))?,
    };
    let function = hex(function, 1)?;
    if parts.next().is_some() || device > 0x1f || function > 7 {
        return None;
    }
    Some(PciAddress {
        domain,
        bus: u8::try_from(bus).ok()?,
        device: u8::try_from(device).ok()?,
        function: u8::try_from(function).ok()?,
    })
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            domain,
            bus,
            device,
            function,
        } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function:x}")
    }
}

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Computes.
    Gpu,
    /// Connects GPUs.
    Bridge,
}

/// An NVIDIA device of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where.
    pub address: PciAddress,
    /// What.
    pub kind: Kind,
    /// `10de:2335`.
    pub product_id: String,
    /// For people.
    pub description: String,
    /// The host's NUMA node it is attached to.
    pub numa_node: Option<u32>,
    /// The host's driver that holds it.
    pub driver: Option<String>,
    /// Devices that can only be given away together.
    pub iommu_group: Option<u32>,
}

impl Device {
    /// The device for a VM.
    ///
    /// # Errors
    /// [`QemuError::NotVfio`] says how to take it from the host's driver.
    pub fn vfio(&self) -> Result<Vfio, QemuError> {
        if self.driver.as_deref() != Some("vfio-pci") {
            return Err(QemuError::NotVfio {
                slot: self.address.to_string(),
                driver: self
                    .driver
                    .clone()
                    .unwrap_or_else(|| "no driver".to_owned()),
                command: format!("driverctl set-override {} vfio-pci", self.address),
            });
        }
        Ok(Vfio {
            address: self.address,
            numa_node: self.numa_node,
        })
    }
}

/// Which GPUs are offered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Product ids, `10de:2335`.
    pub products: Vec<String>,
    /// Addresses that are offered; empty is any.
    pub include: Vec<PciAddress>,
    /// Addresses that are never offered.
    pub exclude: Vec<PciAddress>,
}

impl Listing {
    /// Whether this GPU is offered.
    pub fn offers(&self, device: &Device) -> bool {
        let product = |id: &String| id.eq_ignore_ascii_case(&device.product_id);
        device.kind == Kind::Gpu
            && self.products.iter().any(product)
            && !self.exclude.contains(&device.address)
            && (self.include.is_empty() || self.include.contains(&device.address))
    }
}

/// NVIDIA's GPUs and NVSwitches below `root`, by address.
///
/// # Errors
/// [`QemuError::Read`] when sysfs cannot be read, [`QemuError::Unreadable`] for a file in
/// it that says something else than it should.
pub fn devices(root: &Path) -> Result<Vec<Device>, QemuError> {
    let folder = root.join("sys/bus/pci/devices");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        // No PCI at all.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(source) => {
            return Err(QemuError::Read {
                path: folder,
                source,
            });
        }
    };
    let names = PciNames::read(root);
    let mut devices = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(|source| QemuError::Read {
                path: folder.clone(),
                source,
            })?
            .path();
        devices.extend(device(&path, &names)?);
    }
    devices.sort_by_key(|device| device.address);
    Ok(devices)
}

/// The devices at these addresses, with every NVSwitch left out, ready for VFIO.
///
/// # Errors
/// [`QemuError::NoDevice`], [`QemuError::NotVfio`], or a description that names one twice.
pub fn chosen(devices: &[Device], slots: &[PciAddress]) -> Result<Vec<Vfio>, QemuError> {
    let mut found = Vec::new();
    for (index, slot) in slots.iter().enumerate() {
        if slots.iter().take(index).any(|earlier| earlier == slot) {
            return Err(QemuError::description(
                "gpus",
                format!("{slot} is given twice"),
            ));
        }
        let device = devices
            .iter()
            .find(|device| device.address == *slot && device.kind == Kind::Gpu)
            .ok_or_else(|| QemuError::NoDevice {
                slot: slot.to_string(),
            })?;
        found.push(device.vfio()?);
    }
    Ok(found)
}

/// Every GPU and every NVSwitch, ready for VFIO: one VM owns the whole board (PPCIE).
///
/// # Errors
/// [`QemuError::NotVfio`] for the first that is not.
pub fn all(devices: &[Device]) -> Result<(Vec<Vfio>, Vec<Vfio>), QemuError> {
    let of = |kind: Kind| -> Result<Vec<Vfio>, QemuError> {
        devices
            .iter()
            .filter(|device| device.kind == kind)
            .map(Device::vfio)
            .collect()
    };
    Ok((of(Kind::Gpu)?, of(Kind::Bridge)?))
}

fn device(path: &Path, names: &PciNames) -> Result<Option<Device>, QemuError> {
    if number(path, "vendor")? != u32::from(NVIDIA) {
        return Ok(None);
    }
    // Class, subclass and programming interface, a byte each.
    let kind = match u16::try_from(number(path, "class")? >> 8) {
        Ok(CLASS_3D | CLASS_VGA) => Kind::Gpu,
        Ok(CLASS_BRIDGE) => Kind::Bridge,
        _ => return Ok(None),
    };
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let id = number(path, "device")?;
    Ok(Some(Device {
        address: name.parse()?,
        kind,
        product_id: format!("{NVIDIA:04x}:{id:04x}"),
        description: names.describe(id),
        numa_node: numa_node(path)?,
        driver: link(path, "driver"),
        iommu_group: link(path, "iommu_group").and_then(|group| group.parse().ok()),
    }))
}

/// -1 means that the firmware did not say.
fn numa_node(path: &Path) -> Result<Option<u32>, QemuError> {
    let path = path.join("numa_node");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(QemuError::Read { path, source }),
    }
}

/// `0x10de`.
fn number(device: &Path, name: &str) -> Result<u32, QemuError> {
    let path: PathBuf = device.join(name);
    let text = std::fs::read_to_string(&path).map_err(|source| QemuError::Read {
        path: path.clone(),
        source,
    })?;
    text.trim()
        .strip_prefix("0x")
        .and_then(|hex| u32::from_str_radix(hex, 16).ok())
        .ok_or_else(|| QemuError::Unreadable {
            path,
            reason: format!("{text:?} is not a number as in 0x10de"),
        })
}

/// Name of what a link leads to.
fn link(device: &Path, name: &str) -> Option<String> {
    let target = std::fs::read_link(device.join(name)).ok()?;
    Some(target.file_name()?.to_str()?.to_owned())
}

/// NVIDIA's part of the PCI database, where the host has one.
struct PciNames(String);

impl PciNames {
    fn read(root: &Path) -> Self {
        let files = ["usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids"];
        let text = files
            .iter()
            .find_map(|file| std::fs::read_to_string(root.join(file)).ok())
            .unwrap_or_default();
        // A vendor's products are indented below it.
        let section = text
            .lines()
            .skip_while(|line| !line.starts_with("10de "))
            .skip(1)
            .take_while(|line| line.starts_with('\t') || line.starts_with('#'));
        Self(section.collect::<Vec<_>>().join("\n"))
    }

    fn describe(&self, id: u32) -> String {
        let prefix = format!("\t{id:04x}  ");
        let listed = self.0.lines().find_map(|line| line.strip_prefix(&prefix));
        let known = PRODUCTS.iter().find(|(known, _)| u32::from(*known) == id);
        match (listed, known) {
            (Some(name), _) => format!("NVIDIA {name}"),
            (None, Some((_, name))) => format!("NVIDIA {name}"),
            (None, None) => format!("NVIDIA device {id:04x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip_and_garbage_is_refused() {
        for text in ["0000:17:00.0", "ffff:ff:1f.7", "10000:01:00.0"] {
            assert_eq!(text.parse::<PciAddress>().unwrap().to_string(), text);
        }
        assert_eq!(
            "17:00.0".parse::<PciAddress>().unwrap().to_string(),
            "0000:17:00.0"
        );
        for wrong in [
            "",
            "17:00",
            "17.0",
            "0000:17:20.0",
            "0000:17:00.8",
            "0000:1:00.0",
            "0000:17:00.0,x=y",
            "a:0000:17:00.0",
            "0000:+7:00.0",
            "0000:17:00.",
        ] {
            assert!(wrong.parse::<PciAddress>().is_err(), "{wrong}");
        }
    }
}
