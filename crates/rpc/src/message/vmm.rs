//! Messages of `Vmm` (VMM API reference, section 2).

mod configuration;
mod node;
mod status;

pub use configuration::*;
pub use node::*;
pub use status::*;

pub use super::guest_api::Id;
pub use super::kms::PublicKeyResponse;
