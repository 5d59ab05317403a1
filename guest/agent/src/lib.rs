//! The agent in a confidential VM: gets the app's keys at start, then serves the
//! app API on Unix sockets.
//!
//! [`handshake`] is how keys are obtained and from whom; [`app`] is what the API
//! answers; [`dstack`] and [`tappd`] are its two forms on the wire.

pub mod app;
pub mod certs;
pub mod config;
pub mod containers;
pub mod dstack;
pub mod handshake;
pub mod run;
pub mod system;
pub mod tappd;
