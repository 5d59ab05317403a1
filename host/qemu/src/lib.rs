//! A VM's hardware as QEMU arguments, and what this host has to give it.
//!
//! * [`Machine`] describes one VM; [`Machine::arguments`] writes it down for QEMU. The
//!   builder is pure: it looks at no file, so a golden file fixes each form.
//! * [`Qemu`] is an installed QEMU and its version.
//! * [`pci`] finds GPUs and NVSwitches in sysfs, [`numa`] nodes and their CPUs.
//! * [`host`] says what the host lacks for confidential VMs, and how to get it.
//! * [`share`] writes the disk that carries the host's files to the guest.
//!
//! Readers take the root under which `/sys`, `/proc` and `/dev` lie, so that tests use
//! recorded trees.

mod arguments;
mod check;
mod error;
pub mod host;
mod machine;
pub mod network;
pub mod numa;
pub mod pci;
mod qemu;
pub mod share;
mod smbios;

pub use error::QemuError;
pub use machine::{
    Accel, Disk, DiskRole, Hugepages, Machine, Passthrough, SnpLaunch, TdxLaunch, Tee, Vfio,
};
pub use network::{Forward, Nic, Protocol};
pub use qemu::{Qemu, QemuVersion};
pub use smbios::Product;
