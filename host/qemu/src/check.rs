//! Whether a machine can be had at all.

use crate::network::Backend;
use crate::{Accel, DiskRole, Machine, QemuError, Tee};

impl Machine {
    /// What QEMU could not honour, or would read as something else.
    pub(crate) fn check(&self) -> Result<(), QemuError> {
        let wrong = |field, reason: String| QemuError::description(field, reason);
        if !plain(&self.name, 64) {
            let reason = format!("{:?} must be 1 to 64 of letters, digits, - _ .", self.name);
            return Err(wrong("name", reason));
        }
        if !(1..=512).contains(&self.cpus) {
            return Err(wrong("cpus", format!("{} must be 1 to 512", self.cpus)));
        }
        if !(64..=1 << 26).contains(&self.memory_mib) {
            let reason = format!("{} MiB must be 64 MiB to 64 TiB", self.memory_mib);
            return Err(wrong("memory_mib", reason));
        }
        if self.cmdline.contains('\0') {
            return Err(wrong("cmdline", "it contains a NUL byte".into()));
        }
        if self.vsock_cid.is_some_and(|cid| cid < 3 || cid == u32::MAX) {
            return Err(wrong(
                "vsock_cid",
                "0, 1, 2 and -1 are not a guest's: use 3 or more".into(),
            ));
        }
        if self
            .pci_hole64_mib
            .is_some_and(|mib| mib == 0 || mib > 1 << 30)
        {
            return Err(wrong(
                "pci_hole64_mib",
                "it must be 1 MiB to 1 PiB; leave it out for QEMU's".into(),
            ));
        }
        if let Some(user) = &self.user
            && !plain(user, 32)
        {
            return Err(wrong("user", format!("{user:?} is no user name")));
        }
        self.check_tee()?;
        self.check_disks()?;
        self.check_nics()?;
        self.check_hugepages()
    }

    fn check_tee(&self) -> Result<(), QemuError> {
        let wrong = |field, reason: String| QemuError::description(field, reason);
        let hardware = match &self.tee {
            Tee::None | Tee::Simulated => return Ok(()),
            Tee::Tdx(_) => "TDX",
            Tee::SevSnp(launch) if !plain(&launch.cpu_model, 64) => {
                return Err(wrong(
                    "tee",
                    format!("{:?} is no CPU model", launch.cpu_model),
                ));
            }
            Tee::SevSnp(_) => "SEV-SNP",
        };
        if self.accel != Accel::Kvm {
            return Err(wrong("accel", format!("{hardware} needs kvm")));
        }
        if self.firmware.is_none() {
            let reason = format!("{hardware} needs firmware that supports it; the image has none");
            return Err(wrong("firmware", reason));
        }
        if !self.qemu.version.supports(&self.tee) {
            let reason = format!(
                "QEMU {} does not support {hardware}: TDX needs 8.0 with a distribution's patches or 10.1, SEV-SNP 9.1",
                self.qemu.version
            );
            return Err(wrong("qemu", reason));
        }
        Ok(())
    }

    fn check_disks(&self) -> Result<(), QemuError> {
        let mut roles: Vec<&DiskRole> = self.disks.iter().map(|disk| &disk.role).collect();
        roles.sort();
        match roles.windows(2).find(|pair| pair.first() == pair.last()) {
            Some(pair) => Err(QemuError::description(
                "disks",
                format!("two disks are {pair:?}"),
            )),
            None => Ok(()),
        }
    }

    fn check_nics(&self) -> Result<(), QemuError> {
        for nic in &self.nics {
            match &nic.backend {
                Backend::Bridge { name } if !plain(name, 15) => {
                    return Err(QemuError::description(
                        "nics",
                        format!(
                            "{name:?} is no name of a bridge: 1 to 15 of letters, digits, - _ ."
                        ),
                    ));
                }
                Backend::User(network) if !network.subnet.contains(network.dhcp_start) => {
                    return Err(QemuError::description(
                        "nics",
                        format!(
                            "dhcp_start {} is not in {}",
                            network.dhcp_start, network.subnet
                        ),
                    ));
                }
                Backend::Bridge { .. } | Backend::User(_) => {}
            }
        }
        Ok(())
    }

    fn check_hugepages(&self) -> Result<(), QemuError> {
        let Some(hugepages) = &self.hugepages else {
            return Ok(());
        };
        let nodes = &hugepages.host_nodes;
        let fits =
            usize::try_from(self.cpus).is_ok_and(|cpus| nodes.len() <= cpus) && nodes.len() <= 6;
        if nodes.is_empty() || !fits {
            let reason = format!(
                "{} NUMA nodes: there must be 1 to 6, and a CPU for each",
                nodes.len()
            );
            return Err(QemuError::description("hugepages", reason));
        }
        Ok(())
    }
}

/// Names that mean the same to QEMU's parser as to a reader.
fn plain(name: &str, longest: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=longest).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with('-')
}
