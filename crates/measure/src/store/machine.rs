//! From vm_config to the machine that QEMU built (measurements reference, 3 and 5.2).

use serde::Deserialize;

const DEFAULT_QEMU: &str = "9.1.0";
/// Slots of the root bus that devices can have.
const MAX_DEVICES: u32 = 28;
const MAX_VCPUS: u32 = 1024;
const MIB: u64 = 1 << 20;

/// What of vm_config shapes the ACPI tables. Unknown keys are ignored: they shape nothing.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct MachineShape {
    cpu_count: u32,
    memory_size: u64,
    qemu_version: Option<String>,
    pic: Option<bool>,
    #[serde(default)]
    pci_hole64_size: u64,
    #[serde(default)]
    hugepages: bool,
    #[serde(default)]
    num_gpus: u32,
    #[serde(default)]
    num_nvswitches: u32,
    #[serde(default = "one")]
    num_nics: u32,
    #[serde(default)]
    num_verity_volumes: u32,
    #[serde(default)]
    swtpm: bool,
    #[serde(default)]
    hotplug_off: bool,
}

fn one() -> u32 {
    1
}

/// A shape whose tables are not rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MachineError {
    /// vm_config lacks something or is no JSON.
    #[error("vm_config does not describe the VM: {0}")]
    Malformed(String),
    /// Numbers outside of what a machine can have.
    #[error("vm_config: {0}")]
    Size(String),
    /// Hardware whose place on the bus vm_config does not say.
    #[error(
        "a VM with {0} cannot be rebuilt from vm_config; boot it with \
         tdx_attestation_variant \"lite\""
    )]
    Unknown(&'static str),
}

impl MachineShape {
    pub(super) fn parse(vm_config: &str) -> Result<Self, MachineError> {
        serde_json::from_str(vm_config).map_err(|error| MachineError::Malformed(error.to_string()))
    }

    pub(super) fn qemu_version(&self) -> &str {
        self.qemu_version.as_deref().unwrap_or(DEFAULT_QEMU)
    }

    /// The arguments that shape the tables. What sits in a slot does not show in them, only
    /// that something does: data disk, volumes, network, vsock, share, root disk.
    pub(super) fn qemu_arguments(&self) -> Result<Vec<String>, MachineError> {
        for (is_there, what) in [
            (self.hugepages, "huge pages"),
            (self.num_gpus > 0, "GPUs"),
            (self.num_nvswitches > 0, "NVSwitches"),
            (self.swtpm, "a TPM"),
        ] {
            if is_there {
                return Err(MachineError::Unknown(what));
            }
        }
        if !(1..=MAX_VCPUS).contains(&self.cpu_count) {
            return Err(MachineError::Size(format!(
                "{} vCPUs; 1 to {MAX_VCPUS} are possible",
                self.cpu_count
            )));
        }
        if self.memory_size == 0 || !self.memory_size.is_multiple_of(MIB) {
            return Err(MachineError::Size(format!(
                "memory of {} bytes is not whole MiB",
                self.memory_size
            )));
        }
        let devices = 4u32
            .saturating_add(self.num_verity_volumes)
            .saturating_add(self.num_nics);
        if devices > MAX_DEVICES {
            return Err(MachineError::Size(format!(
                "{devices} devices; {MAX_DEVICES} have a slot"
            )));
        }
        let on = |flag: bool| if flag { "on" } else { "off" };
        let pic = self
            .pic
            .unwrap_or_else(|| self.qemu_version().starts_with("8."));
        let mut args = vec![
            "-cpu".to_owned(),
            "qemu64".to_owned(),
            "-smp".to_owned(),
            self.cpu_count.to_string(),
            "-m".to_owned(),
            format!("{}M", self.memory_size / MIB),
            "-machine".to_owned(),
            format!("q35,hpet=off,smm=off,pic={}", on(pic)),
        ];
        for _ in 0..devices {
            args.extend(["-device".to_owned(), "virtio-rng-pci".to_owned()]);
        }
        if self.hotplug_off {
            let option = "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off";
            args.extend(["-global".to_owned(), option.to_owned()]);
        }
        if self.pci_hole64_size > 0 {
            let option = format!("q35-pcihost.pci-hole64-size={:#x}", self.pci_hole64_size);
            args.extend(["-global".to_owned(), option]);
        }
        Ok(args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(more: &str) -> Result<String, MachineError> {
        let text = format!(r#"{{"cpu_count":2,"memory_size":2147483648{more}}}"#);
        Ok(MachineShape::parse(&text)?.qemu_arguments()?.join(" "))
    }

    #[test]
    fn the_shape_becomes_arguments() {
        let plain = arguments("").unwrap();
        assert!(
            plain.starts_with("-cpu qemu64 -smp 2 -m 2048M -machine q35,"),
            "{plain}"
        );
        assert!(plain.contains("pic=off"));
        assert_eq!(plain.matches("virtio-rng-pci").count(), 5);
        let more = arguments(r#","num_nics":2,"num_verity_volumes":1"#).unwrap();
        assert_eq!(more.matches("virtio-rng-pci").count(), 7);
        assert!(
            arguments(r#","qemu_version":"8.2.2""#)
                .unwrap()
                .contains("pic=on")
        );
        assert!(arguments(r#","pic":true"#).unwrap().contains("pic=on"));
        assert!(
            arguments(r#","hotplug_off":true"#)
                .unwrap()
                .contains("ICH9-LPC")
        );
        assert!(
            arguments(r#","pci_hole64_size":4096"#)
                .unwrap()
                .ends_with("=0x1000")
        );
    }

    #[test]
    fn what_cannot_be_rebuilt_is_refused() {
        for more in [
            r#","hugepages":true"#,
            r#","num_gpus":1"#,
            r#","num_nvswitches":1"#,
            r#","swtpm":true"#,
        ] {
            assert!(
                matches!(arguments(more), Err(MachineError::Unknown(_))),
                "{more}"
            );
        }
        assert!(matches!(
            arguments(r#","num_nics":4294967295"#),
            Err(MachineError::Size(_))
        ));
        for text in ["", "{}", r#"{"cpu_count":-1,"memory_size":1}"#] {
            assert!(MachineShape::parse(text).is_err(), "{text}");
        }
        for text in [
            r#"{"cpu_count":0,"memory_size":1048576}"#,
            r#"{"cpu_count":1,"memory_size":1048577}"#,
            r#"{"cpu_count":1,"memory_size":0}"#,
        ] {
            let shape = MachineShape::parse(text).unwrap();
            assert!(
                matches!(shape.qemu_arguments(), Err(MachineError::Size(_))),
                "{text}"
            );
        }
    }
}
