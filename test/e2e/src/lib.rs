//! A whole Bylaw system as values: anvil, contracts, software TEE, KMS nodes, app
//! agents. Everything is a real process on free ports and is gone when dropped.

pub mod process;
pub mod world;

pub use process::{Process, program, repository};
pub use world::{Agent, AgentOptions, App, Kms, KmsOptions, World};
