//! Governing apps and the KMS by contract.
//!
//! [`Chain`] reads what holds, what waits and what happened. [`Authority`] says who
//! decides: an account, a Safe or a timelock. A [`Proposal`] is one call that waits
//! for those who decide; it is a file, can be read and signed without a network, and
//! is always described by what it does.

pub mod abi;
mod authority;
mod chain;
mod compose;
mod execute;
mod history;
mod policy;
mod proposal;
mod safe;
mod standing;
pub mod text;
mod timelock;
mod views;

pub use authority::Authority;
pub use chain::{At, Chain, GovError};
pub use compose::{DiffLine, diff, readable};
pub use execute::Executed;
pub use history::Event;
pub use proposal::{Proposal, ProposalError};
pub use safe::{SafeHashes, SafeTransaction, Signature};
pub use standing::{Launch, Standing, State};
pub use views::{
    AppView, Kind, KmsView, NodeView, OwnerView, PendingView, PolicyRule, VersionView,
};
