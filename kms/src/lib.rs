//! The KMS: verifies evidence, reads the contracts, derives keys.
//!
//! Start at [`release`]: the path from evidence to keys. [`store`] keeps the
//! sealed roots and the release [`log`], [`identity`] is what this KMS proves
//! about itself, [`service`] are its RPC methods, [`onboard`] is the phase before
//! it has keys.

pub mod admin;
pub mod config;
pub mod identity;
pub mod kms;
pub mod log;
pub mod metrics;
pub mod onboard;
pub mod release;
pub mod replicate;
pub mod run;
pub mod seal;
pub mod service;
pub mod store;
