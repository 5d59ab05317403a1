//! The sealing enclave of a machine: a key for a TD, from its quote (keys reference,
//! section 9).
//!
//! A TD asks through its host's API. The [`Provider`] verifies the TD's quote, checks that
//! it comes from this very machine, derives a key from the enclave's own sealing key and
//! everything the TD measured, and returns it in a box that only the TD opens, with a quote
//! of the enclave as its word. Nothing is stored: the same TD on the same machine gets the
//! same key, any other TD another one.
//!
//! * [`enclave`] is where the sealing key and quotes come from: SGX by Gramine, or the
//!   software TEE.
//! * [`mod@derive`] holds the formulas.
//! * [`protocol`] and [`serve()`] put it on the wire; [`ask`] is the client for a VMM.

pub mod config;
pub mod derive;
pub mod enclave;
pub mod protocol;
mod provider;
mod run;
mod server;

pub use protocol::{AskError, ask};
pub use provider::{Provider, Refusal};
pub use run::run;
pub use server::{Limits, serve};
