//! The TDX measurement document from an image's files.

use bylaw_attest::image::{Document, ImageDigests};
use bylaw_types::Register;
use sha2::{Digest, Sha384};

use crate::firmware::FirmwareError;
use crate::kernel::{self, KernelError};
use crate::tdvf::Tdvf;

/// Memory for which an image states the digest of its patched kernel: the same for
/// every larger size, and for 2 GiB (measurements reference, section 6).
pub const PRECOMPUTED_MEMORY: u64 = 0xB000_0000;

/// An image that has no TDX measurement document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The firmware.
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Firmware whose RTMR0 nobody can recompute.
    #[error(
        "firmware has configuration volume {actual}, but only the empty one of layout \
         {LAYOUT} ({expected}) can be recomputed; use OVMF before 202505 without enrolled \
         keys, as in Debian 13's package ovmf (OVMF.fd)"
    )]
    Layout {
        /// That of the known layout.
        expected: Register,
        /// Of this firmware.
        actual: Register,
    },
}

const LAYOUT: &str = "pre202505";

/// The document of an image with these files, for a VM with this much memory in bytes.
///
/// # Errors
/// [`DocumentError`].
pub fn document(
    firmware: &[u8],
    kernel: &[u8],
    initrd: &[u8],
    cmdline: &str,
    memory_size: u64,
) -> Result<Document, DocumentError> {
    let tdvf = Tdvf::parse(firmware)?;
    let (expected, actual) = (
        bylaw_attest::image::configuration_volume(),
        tdvf.configuration_volume()?,
    );
    if actual != expected {
        return Err(DocumentError::Layout { expected, actual });
    }
    let patched = kernel::patch(kernel, initrd.len() as u64, memory_size)?;
    Ok(Document {
        image: ImageDigests {
            cmdline_sha384: cmdline_digest(cmdline),
            kernel_authenticode: kernel::authenticode(&patched)?,
            initrd_sha384: Register::new(Sha384::digest(initrd).into()),
        },
        ovmf: LAYOUT.to_owned(),
        mrtd: tdvf.mrtd()?,
        td_hob: tdvf.witness()?,
    })
}

/// The firmware loads the initrd by name, so the name is part of the line.
fn cmdline_digest(cmdline: &str) -> Register {
    let mut hash = Sha384::new();
    for unit in format!("{cmdline} initrd=initrd\0").encode_utf16() {
        hash.update(unit.to_le_bytes());
    }
    Register::new(hash.finalize().into())
}
