//! The measurement registers of a TD, as the kernel's TDX driver shows them since
//! 6.16 (`sysfs-devices-virtual-misc-tdx_guest`): reading gives the 48 bytes, writing
//! 48 bytes extends.

use std::io;
use std::path::PathBuf;

use bylaw_types::Register;

use crate::error::PlatformError;
use crate::kernel::{Kernel, Roots};
use crate::tsm::not_read;

/// A register of a TD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measurement {
    /// What the TD started with.
    Mrtd,
    /// Firmware and its configuration.
    Rtmr0,
    /// Boot loader and kernel.
    Rtmr1,
    /// Kernel command line and initial file system.
    Rtmr2,
    /// Runtime events.
    Rtmr3,
}

impl Measurement {
    /// Its file.
    fn file(self) -> &'static str {
        match self {
            Self::Mrtd => "mrtd:sha384",
            Self::Rtmr0 => "rtmr0:sha384",
            Self::Rtmr1 => "rtmr1:sha384",
            Self::Rtmr2 => "rtmr2:sha384",
            Self::Rtmr3 => "rtmr3:sha384",
        }
    }

    pub(crate) fn path(self, roots: &Roots) -> PathBuf {
        roots
            .sysfs
            .join("class/misc/tdx_guest/measurements")
            .join(self.file())
    }
}

/// Its value now.
pub(crate) fn read(
    kernel: &dyn Kernel,
    roots: &Roots,
    measurement: Measurement,
) -> Result<Register, PlatformError> {
    let path = measurement.path(roots);
    let bytes = match kernel.read(&path, Register::LEN) {
        Ok(bytes) => bytes,
        Err(source) => return Err(failed(path, source)),
    };
    Register::try_from(bytes.as_slice()).map_err(|_| PlatformError::Size {
        what: measurement.file(),
        actual: bytes.len(),
        expected: Register::LEN.to_string(),
    })
}

/// Extends RTMR3, the only one that is ours.
pub(crate) fn extend(
    kernel: &dyn Kernel,
    roots: &Roots,
    digest: &Register,
) -> Result<(), PlatformError> {
    let path = Measurement::Rtmr3.path(roots);
    kernel
        .write(&path, digest.as_bytes())
        .map_err(|source| failed(path, source))
}

fn failed(path: PathBuf, source: io::Error) -> PlatformError {
    if source.kind() == io::ErrorKind::NotFound {
        PlatformError::NoRegister { path }
    } else {
        not_read(&path, source)
    }
}
