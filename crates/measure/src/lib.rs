//! What an OS image measures to: MRTD, RTMR0 to RTMR2, the SEV-SNP launch digest
//! (measurements reference).
//!
//! [`ImageDir`] is an image directory; [`ImageDir::measure_tdx`] and
//! [`ImageDir::measure_snp`] compute what booting it leaves in the registers, from the
//! bytes of its files. Below them are pure functions over bytes: [`tdvf`] and [`sev`]
//! read firmware, [`kernel`] does to a kernel what QEMU and the firmware do.
//!
//! The documents that an image carries, and the proof of a quote from them, are in
//! [`bylaw_attest::image`], which every verifier links; this crate is for those that
//! have the files.

pub mod acpi;
mod directory;
mod firmware;
pub mod kernel;
mod metadata;
mod reader;
pub mod sev;
pub mod store;
pub mod tdvf;
mod tdx;

pub use directory::{ImageDir, ImageDirError};
pub use firmware::FirmwareError;
pub use metadata::{Metadata, MetadataError};
pub use tdx::{DocumentError, PRECOMPUTED_MEMORY, document};
