//! What this host has for confidential VMs, what it lacks, and how to get it.
//!
//! Everything is read, nothing is changed and nothing is tried out: the report is safe to
//! ask for while VMs run.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::pci::{self, Device, Kind};
use crate::{Qemu, QemuError, SnpLaunch, Tee};

/// One thing a host has or lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `kvm`, `tdx`, `sev-snp`, `qgs`, `vsock`, `iommu`, `gpu <address>`, `hugepages`, `qemu`.
    pub name: String,
    /// Whether it is there.
    pub state: State,
    /// What was found, in words.
    pub found: String,
    /// What to do, where something can be done.
    pub fix: Option<String>,
}

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Usable now.
    Ready,
    /// The host could have it; `fix` says how.
    Lacking,
    /// The host cannot have it or does not need it.
    NotApplicable,
}

/// What the host has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The processor, as the kernel names it.
    pub processor: String,
    /// Every check, in the order in which to fix them.
    pub checks: Vec<Check>,
}

impl Report {
    /// Looks at the host below `root`, and at its QEMU.
    ///
    /// # Errors
    /// [`QemuError::Read`] when `/proc/cpuinfo` or sysfs cannot be read at all. What is
    /// merely missing is not an error but a check that says so.
    pub fn read(root: &Path, qemu: &Result<Qemu, QemuError>) -> Result<Self, QemuError> {
        let host = Host::read(root)?;
        let devices = pci::devices(root)?;
        let mut checks = vec![host.kvm(), host.tdx(), host.qgs(), host.snp()];
        checks.push(host.qemu(qemu));
        checks.push(host.vsock());
        checks.push(host.iommu(&devices));
        checks.extend(devices.iter().map(gpu));
        checks.push(host.hugepages());
        Ok(Self {
            processor: host.model,
            checks,
        })
    }

    /// Whether a check of this name found what it looked for.
    pub fn is_ready(&self, name: &str) -> bool {
        let ready = |check: &Check| check.name == name && check.state == State::Ready;
        self.checks.iter().any(ready)
    }
}

/// The bit of a page table entry that marks encrypted memory, on this processor: what
/// [`SnpLaunch`] wants to know.
///
/// # Errors
/// [`QemuError::Description`] on a processor without SEV-SNP.
pub fn c_bit_position() -> Result<u32, QemuError> {
    raw_cpuid::CpuId::new()
        .get_memory_encryption_info()
        .filter(raw_cpuid::MemoryEncryptionInfo::has_sev_snp)
        .map(|info| u32::from(info.c_bit_position()))
        .ok_or_else(|| {
            QemuError::description("tee", "this processor has no SEV-SNP, so no SEV-SNP guest")
        })
}

/// A TEE of this kind, to ask a QEMU version about.
fn any_snp() -> Tee {
    Tee::SevSnp(SnpLaunch {
        host_data: [0; 32],
        policy: SnpLaunch::POLICY,
        c_bit_position: 0,
        reduced_phys_bits: 0,
        cpu_model: SnpLaunch::CPU_MODEL.to_owned(),
    })
}

struct Host {
    root: PathBuf,
    model: String,
    vendor: Vendor,
    flags: Vec<String>,
}

#[derive(PartialEq, Eq)]
enum Vendor {
    Intel,
    Amd,
    Other,
}

impl Host {
    fn read(root: &Path) -> Result<Self, QemuError> {
        let path = root.join("proc/cpuinfo");
        let text =
            std::fs::read_to_string(&path).map_err(|source| QemuError::Read { path, source })?;
        let field = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(key, _)| key.trim() == name)
                .map_or("", |(_, value)| value.trim())
        };
        Ok(Self {
            root: root.to_owned(),
            model: field("model name").to_owned(),
            vendor: match field("vendor_id") {
                "GenuineIntel" => Vendor::Intel,
                "AuthenticAMD" => Vendor::Amd,
                _ => Vendor::Other,
            },
            flags: field("flags")
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
        })
    }

    fn kvm(&self) -> Check {
        let virtualises = ["vmx", "svm"].iter().any(|flag| self.has_flag(flag));
        let module = if self.vendor == Vendor::Amd {
            "kvm_amd"
        } else {
            "kvm_intel"
        };
        match self.open("dev/kvm") {
            Ok(()) => ready("kvm", "/dev/kvm can be used"),
            Err(ErrorKind::PermissionDenied) => lacking(
                "kvm",
                "/dev/kvm belongs to others",
                "add this user to the group of /dev/kvm: `usermod -aG kvm $USER`, and log in again",
            ),
            Err(_) if virtualises => lacking(
                "kvm",
                "no /dev/kvm",
                &format!("load its module: `modprobe {module}`"),
            ),
            Err(_) => lacking(
                "kvm",
                "no /dev/kvm, and the processor offers no virtualisation",
                "switch VT-x or SVM on in the firmware; inside a VM, ask for nested virtualisation; \
                 until then use cvm.accel = \"tcg\"",
            ),
        }
    }

    fn tdx(&self) -> Check {
        if self.vendor != Vendor::Intel {
            return not_applicable("tdx", "not an Intel processor");
        }
        if self.parameter("kvm_intel", "tdx") {
            return ready("tdx", "the kernel runs TDs");
        }
        if self.has_flag("tdx_host_platform") {
            return lacking(
                "tdx",
                "the firmware enables TDX, the kernel does not use it",
                "put `options kvm_intel tdx=1` in /etc/modprobe.d/tdx.conf and restart; \
                 kernels since 6.16 can",
            );
        }
        lacking(
            "tdx",
            "TDX is off, or the processor is older than the fourth Xeon Scalable generation",
            "in the firmware switch on memory encryption (TME, TME-MT), TDX, the SEAM loader and SGX, \
             and keep TDX keys above 0; then `options kvm_intel tdx=1` in /etc/modprobe.d/tdx.conf",
        )
    }

    /// The quote generation service; it listens on vsock, where it cannot be seen, so its
    /// process is looked for.
    fn qgs(&self) -> Check {
        if !self.parameter("kvm_intel", "tdx") {
            return not_applicable("qgs", "signs quotes of TDs; this host runs none");
        }
        if self.open("dev/sgx_enclave").is_err() {
            return lacking(
                "qgs",
                "no /dev/sgx_enclave, in which the quoting enclave runs",
                "switch SGX on in the firmware; kernels since 5.11 have the driver",
            );
        }
        if self.runs("qgs") {
            return ready("qgs", "qgsd runs");
        }
        lacking(
            "qgs",
            "no quote generation service runs, so TDs cannot attest",
            "install Intel's tdx-qgs, set `port = 4050` in /etc/qgs.conf, \
             register the platform with PCKIDRetrievalTool, `systemctl enable --now qgsd`",
        )
    }

    fn snp(&self) -> Check {
        if self.vendor != Vendor::Amd {
            return not_applicable("sev-snp", "not an AMD processor");
        }
        if self.parameter("kvm_amd", "sev_snp") && self.open("dev/sev").is_ok() {
            return ready("sev-snp", "the kernel runs SEV-SNP guests");
        }
        if self.has_flag("sev_snp") {
            return lacking(
                "sev-snp",
                "the processor has SEV-SNP, the kernel does not use it",
                "in the firmware switch on SMEE, SEV-SNP memory coverage (RMP) and the IOMMU; \
                 put `options kvm_amd sev_snp=1` in /etc/modprobe.d/sev.conf; kernels since 6.11 can",
            );
        }
        lacking(
            "sev-snp",
            "SEV-SNP is off, or the processor is older than Milan",
            "in the firmware switch on SMEE, SEV-ES ASID space, SEV-SNP and the IOMMU",
        )
    }

    fn qemu(&self, qemu: &Result<Qemu, QemuError>) -> Check {
        let qemu = match qemu {
            Ok(qemu) => qemu,
            Err(error) => {
                let fix = "install qemu-system-x86 or set cvm.qemu_path";
                return lacking("qemu", &error.to_string(), fix);
            }
        };
        let objects = qemu.objects().unwrap_or_default();
        let knows = |object: &str| objects.iter().any(|known| known == object);
        let found = format!("{} {}", qemu.path.display(), qemu.version);
        if self.parameter("kvm_intel", "tdx") && !knows("tdx-guest") {
            let fix = "install QEMU 10.1 or later, or your distribution's build with TDX";
            return lacking("qemu", &format!("{found} cannot start TDs"), fix);
        }
        let snp = qemu.version.supports(&any_snp()) && knows("sev-snp-guest");
        if self.parameter("kvm_amd", "sev_snp") && !snp {
            let fix = "install QEMU 9.1 or later";
            return lacking("qemu", &format!("{found} cannot start SEV-SNP guests"), fix);
        }
        ready("qemu", &found)
    }

    fn vsock(&self) -> Check {
        match self.open("dev/vhost-vsock") {
            Ok(()) => ready("vsock", "/dev/vhost-vsock can be used"),
            Err(ErrorKind::PermissionDenied) => lacking(
                "vsock",
                "/dev/vhost-vsock belongs to others",
                "add this user to its group (kvm on most systems)",
            ),
            Err(_) => lacking(
                "vsock",
                "no /dev/vhost-vsock: guests are reached over forwarded ports, \
                 and TDX quotes cannot be fetched",
                "`modprobe vhost_vsock`, and its name in /etc/modules-load.d/vsock.conf",
            ),
        }
    }

    fn iommu(&self, devices: &[Device]) -> Check {
        if devices.is_empty() {
            return not_applicable("iommu", "no NVIDIA device to pass through");
        }
        let groups = std::fs::read_dir(self.root.join("sys/kernel/iommu_groups"));
        if !groups.is_ok_and(|mut groups| groups.next().is_some()) {
            return lacking(
                "iommu",
                "the IOMMU is off, so devices cannot be passed through",
                "switch VT-d or AMD-Vi on in the firmware, and add intel_iommu=on iommu=pt \
                 to the kernel's command line",
            );
        }
        match self.open("dev/iommu") {
            Ok(()) => ready("iommu", "on, with iommufd"),
            Err(_) => lacking(
                "iommu",
                "on, but /dev/iommu cannot be used",
                "`modprobe iommufd vfio-pci`; kernels since 6.6 have it",
            ),
        }
    }

    /// Pages of 2 MiB and 1 GiB that are set apart.
    fn hugepages(&self) -> Check {
        let count = |size: &str| -> u64 {
            let path = format!("sys/kernel/mm/hugepages/hugepages-{size}/nr_hugepages");
            let text = std::fs::read_to_string(self.root.join(path)).unwrap_or_default();
            text.trim().parse().unwrap_or(0)
        };
        let mib = count("2048kB") * 2 + count("1048576kB") * 1024;
        if mib > 0 {
            return ready("hugepages", &format!("{mib} MiB are set apart"));
        }
        Check {
            fix: Some(
                "for VMs with --hugepages: `sysctl vm.nr_hugepages=<pages of 2 MiB>`".to_owned(),
            ),
            ..not_applicable("hugepages", "none are set apart")
        }
    }

    fn has_flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|known| known == flag)
    }

    /// Whether a module was loaded with this switched on.
    fn parameter(&self, module: &str, name: &str) -> bool {
        let path = format!("sys/module/{module}/parameters/{name}");
        let text = std::fs::read_to_string(self.root.join(path)).unwrap_or_default();
        matches!(text.trim(), "Y" | "1")
    }

    /// Whether this process could use a device.
    fn open(&self, device: &str) -> Result<(), ErrorKind> {
        let path = self.root.join(device);
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        options.open(path).map(drop).map_err(|error| error.kind())
    }

    fn runs(&self, program: &str) -> bool {
        let Ok(processes) = std::fs::read_dir(self.root.join("proc")) else {
            return false;
        };
        processes.flatten().any(|process| {
            let name = std::fs::read_to_string(process.path().join("comm"));
            name.is_ok_and(|name| name.trim() == program)
        })
    }
}

fn gpu(device: &Device) -> Check {
    let name = match device.kind {
        Kind::Gpu => format!("gpu {}", device.address),
        Kind::Bridge => format!("nvswitch {}", device.address),
    };
    match device.vfio() {
        Ok(_) => ready(&name, &format!("{}, bound to vfio-pci", device.description)),
        Err(QemuError::NotVfio {
            driver, command, ..
        }) => lacking(
            &name,
            &format!("{}, held by {driver}", device.description),
            &format!("stop what uses it, then `{command}`"),
        ),
        Err(other) => lacking(&name, &other.to_string(), "see the message"),
    }
}

fn ready(name: &str, found: &str) -> Check {
    Check {
        name: name.to_owned(),
        state: State::Ready,
        found: found.to_owned(),
        fix: None,
    }
}

fn lacking(name: &str, found: &str, fix: &str) -> Check {
    Check {
        state: State::Lacking,
        fix: Some(fix.to_owned()),
        ..ready(name, found)
    }
}

fn not_applicable(name: &str, found: &str) -> Check {
    Check {
        state: State::NotApplicable,
        ..ready(name, found)
    }
}
