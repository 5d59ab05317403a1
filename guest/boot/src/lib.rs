//! Measured start-up of a confidential VM.
//!
//! [`sequence::boot`] is the whole of it, top to bottom, one module a step. [`init`] is
//! PID 1 around it: it reaps and forwards signals, so that the sequence can wait for its
//! own children in peace. What comes from the host is parsed in [`shared`] and nowhere
//! else; what the disk says about itself is parsed in [`disk::luks`].

pub mod agent;
pub mod app;
pub mod binding;
pub mod clock;
pub mod command;
pub mod containers;
pub mod disk;
pub mod environment;
pub mod error;
pub mod host;
pub mod init;
pub mod instance;
pub mod kernel;
pub mod measure;
pub mod mounts;
pub mod network;
pub mod platform;
pub mod requirements;
pub mod sequence;
pub mod shared;
pub mod shutdown;
pub mod supervise;

pub use error::BootError;
