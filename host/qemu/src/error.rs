//! What can be wrong with a machine's description, or with the host.

use std::path::PathBuf;

/// Why a VM cannot be described to QEMU, or the host not be read.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// The description contradicts itself or leaves QEMU's limits.
    #[error("{field}: {reason}")]
    Description {
        /// Field of [`Machine`](crate::Machine).
        field: &'static str,
        /// What is wrong, with the value and what is allowed.
        reason: String,
    },
    /// A file of the host cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// File or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of the host says something that is not understood.
    #[error("{path}: {reason}")]
    Unreadable {
        /// File.
        path: PathBuf,
        /// What it says and what was expected.
        reason: String,
    },
    /// QEMU does not start.
    #[error("cannot run {program}: {reason}; install qemu-system-x86 or set cvm.qemu_path")]
    Qemu {
        /// The program.
        program: PathBuf,
        /// Why, or what it printed.
        reason: String,
    },
    /// No such PCI device.
    #[error("the host has no NVIDIA device at {slot}; `lsgpu` lists what it has")]
    NoDevice {
        /// Address asked for.
        slot: String,
    },
    /// The host's own driver still holds the device.
    #[error("{slot} is bound to {driver}, not to vfio-pci: run `{command}`")]
    NotVfio {
        /// Its address.
        slot: String,
        /// Driver that holds it, or `no driver`.
        driver: String,
        /// What binds it.
        command: String,
    },
}

impl QemuError {
    pub(crate) fn description(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Description {
            field,
            reason: reason.into(),
        }
    }
}
