//! One VM, described.

use std::path::PathBuf;

use crate::network::Nic;
use crate::numa::CpuList;
use crate::pci::PciAddress;
use crate::{Product, Qemu};

/// The hardware of one VM. [`Machine::arguments`] turns it into QEMU's command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Name of the process and of the guest: letters, digits, `-`, `_`, `.`, 64 at most.
    pub name: String,
    /// The emulator.
    pub qemu: Qemu,
    /// Who runs the guest's instructions.
    pub accel: Accel,
    /// What protects the guest from this host.
    pub tee: Tee,
    /// Virtual CPUs, 1 to 512.
    pub cpus: u32,
    /// Memory, at least 64.
    pub memory_mib: u64,
    /// Firmware; `None` is QEMU's own. Confidential hardware needs one.
    pub firmware: Option<PathBuf>,
    /// Linux kernel.
    pub kernel: PathBuf,
    /// Its initial RAM disk.
    pub initrd: PathBuf,
    /// Its command line.
    pub cmdline: String,
    /// Disks, in any order; [`DiskRole`] fixes where each is plugged in.
    pub disks: Vec<Disk>,
    /// Network interfaces; the guest sees them in this order.
    pub nics: Vec<Nic>,
    /// Context id of the guest on the host's vsock, 3 or more.
    pub vsock_cid: Option<u32>,
    /// What the guest writes on its serial console is appended here.
    pub serial_log: PathBuf,
    /// Unix socket through which people type on the serial console.
    pub console_socket: Option<PathBuf>,
    /// Unix socket of QEMU's monitor.
    pub qmp_socket: Option<PathBuf>,
    /// Memory from huge pages, on chosen nodes.
    pub hugepages: Option<Hugepages>,
    /// Devices of the host.
    pub passthrough: Passthrough,
    /// Size of the window for large 64-bit BARs; `None` leaves it to QEMU.
    pub pci_hole64_mib: Option<u64>,
    /// No ACPI hot-plug of PCI devices.
    pub hotplug_off: bool,
    /// What SMBIOS tells the guest.
    pub product: Product,
    /// QEMU gives up its rights for this user's once it has opened its files.
    pub user: Option<String>,
    /// CPUs of the host this VM may use.
    pub pin: Option<CpuList>,
}

/// Who runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// The processor, by KVM.
    Kvm,
    /// QEMU, by translation: slow, works anywhere.
    Tcg,
}

/// What protects the guest from this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tee {
    /// Nothing.
    None,
    /// Nothing: evidence comes from a software TEE over the network.
    Simulated,
    /// Intel TDX.
    Tdx(TdxLaunch),
    /// AMD SEV-SNP.
    SevSnp(SnpLaunch),
}

/// How a TD is launched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxLaunch {
    /// MRCONFIGID; `None` leaves it zero.
    pub mr_config_id: Option<[u8; 48]>,
    /// Port of the quote generation service on the host's vsock (context id 2).
    pub qgs_port: Option<u32>,
    /// Whether the machine has a legacy interrupt controller; it shows in the ACPI
    /// tables, hence in RTMR0. [`QemuVersion::pic`](crate::QemuVersion::pic) is the rule.
    pub pic: bool,
}

/// How an SEV-SNP guest is launched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpLaunch {
    /// HOST_DATA.
    pub host_data: [u8; 32],
    /// Guest policy.
    pub policy: u64,
    /// Bit of a guest page table entry that marks encrypted memory
    /// ([`host::c_bit_position`](crate::host::c_bit_position)); 51 from Milan to Turin.
    pub c_bit_position: u32,
    /// By how many bits encryption narrows the guest's physical addresses: 1, whatever it
    /// costs the host.
    pub reduced_phys_bits: u32,
    /// CPU model; its signature is measured, so it is fixed and not the host's.
    pub cpu_model: String,
}

impl SnpLaunch {
    /// SMT allowed, nothing else: no debugging, no migration.
    pub const POLICY: u64 = 0x3_0000;
    /// The oldest model that has every feature of Milan, which QEMU knows everywhere.
    pub const CPU_MODEL: &str = "EPYC-v4";
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// What it is to the guest.
    pub role: DiskRole,
    /// Raw image.
    pub path: PathBuf,
}

/// What a disk is to the guest. Disks are plugged in in the order of the variants, with
/// network interfaces and vsock after the volumes: ACPI tables depend on it, and RTMR0 on
/// them (measurements reference, section 5.2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskRole {
    /// Writable, encrypted by the guest. Serial `data`.
    Data,
    /// A read-only verity volume. Serial `vol<n>`.
    Volume(u32),
    /// Files from the host, read-only. Serial `DSTACKSHR`.
    Share,
    /// The verified root, read-only. Serial `rootfs`.
    Root,
}

/// Memory from huge pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hugepages {
    /// Mount point of hugetlbfs.
    pub path: PathBuf,
    /// Nodes of the host that give memory, each its equal share; guest nodes are numbered
    /// in this order. At least one.
    pub host_nodes: Vec<u32>,
}

/// Devices of the host that the VM owns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passthrough {
    /// GPUs.
    pub gpus: Vec<Vfio>,
    /// NVSwitches.
    pub bridges: Vec<Vfio>,
    /// Size of the firmware's window for 64-bit BARs (`opt/ovmf/X-PciMmio64Mb`); `None`
    /// leaves it to the firmware.
    pub mmio64_mib: Option<u64>,
}

/// One device for VFIO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vfio {
    /// Where it is.
    pub address: PciAddress,
    /// The host's NUMA node it is attached to.
    pub numa_node: Option<u32>,
}
