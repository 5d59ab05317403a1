//! A whole Bylaw system as values: anvil, contracts, software TEE, KMS nodes, app
//! agents. Everything is a real process on free ports and is gone when dropped.

mod chain;
pub mod docker;
pub mod governance;
pub mod host;
pub mod hostile;
pub mod node;
pub mod process;
pub mod registry;
pub mod time_server;
pub mod world;

pub use docker::Docker;
pub use governance::{Safe, cli, cli_as};
pub use host::Host;
pub use node::{Agent, AgentOptions, Kms, KmsOptions};
pub use process::{Process, program, repository};
pub use registry::Registry;
pub use time_server::TimeServer;
pub use world::{App, World};
