//! A software TEE: the formats of Intel TDX under a root certificate of its own.
//!
//! A [`Machine`] has a PCK chain, collateral and secrets that survive restarts; a
//! [`Td`] launched on it keeps MRTD and RTMR0 to RTMR3 like the hardware does,
//! quotes them, and derives sealing keys from them. Verifiers run the code they
//! run in production, given this machine's root.
//!
//! It proves nothing about hardware. Keys that a KMS derives under its root are
//! unrelated to production keys.

mod collateral;
pub mod guests;
mod image;
mod machine;
pub mod pccs;
mod pck;
mod quote;
pub mod service;
mod sgx;
mod td;

pub use image::SimImage;
pub use machine::{Machine, Options};
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
