//! A software TEE: the formats of Intel TDX and AMD SEV-SNP under root certificates of its
//! own.
//!
//! A [`Machine`] has a PCK chain, collateral and secrets that survive restarts; a
//! [`Td`] launched on it keeps MRTD and RTMR0 to RTMR3 like the hardware does,
//! quotes them, and derives sealing keys from them. An [`SnpGuest`] has a launch digest
//! and HOST_DATA, reported by a chip ([`Amd`]). Verifiers run the code they run in
//! production, given this machine's roots.
//!
//! It proves nothing about hardware. Keys that a KMS derives under its root are
//! unrelated to production keys.

mod amd;
mod collateral;
mod guest;
pub mod guests;
mod image;
pub mod kds;
mod machine;
pub mod pccs;
mod pck;
mod quote;
pub mod service;
mod sgx;
mod snp;
mod td;

pub use amd::Amd;
pub use image::SimImage;
pub use machine::{Machine, Options};
pub use snp::{SnpGuest, SnpImage, SnpLaunch, launch_document, sign_report};
pub use td::{ImageLaunch, Launch, Td};

/// The simulator cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A file of the state directory.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The state directory holds something else.
    #[error("simulator state: {0}")]
    State(String),
    /// A certificate could not be made.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The launch request cannot be used.
    #[error("{0}")]
    Launch(String),
}
