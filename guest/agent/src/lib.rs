//! The agent in a confidential VM: gets the app's keys at start, then serves the
//! app API on Unix sockets, a dashboard to everybody, and a view for the host.
//!
//! [`mod@start`] is how the app gets its keys: from whom ([`kms`]) and how ([`handshake`]).
//! [`app`] is what the API answers; [`dstack`], [`tappd`], [`worker`] and [`guest_api`]
//! are its forms on the wire, each for other callers; [`mod@run`] serves them.

pub mod app;
mod cache;
pub mod certs;
pub mod config;
pub mod containers;
pub mod dashboard;
pub mod dstack;
pub mod environment;
pub mod guest_api;
pub mod handshake;
pub mod keys_file;
pub mod kms;
pub mod run;
pub mod sealing;
pub mod start;
pub mod system;
pub mod tappd;
mod watchdog;
pub mod worker;
