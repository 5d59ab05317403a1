//! prpc over HTTP: protobuf services with a JSON form (RPC conventions reference).
//!
//! [`message`] holds the messages of every service, [`Service`] turns a table of
//! async functions into an axum router, [`serve`] puts a router on a socket, and
//! [`Client`] calls one. A method is a plain function from request to response;
//! JSON, protobuf, query strings, status codes and error forms are handled here.

mod body;
pub mod client;
mod context;
mod json;
mod listen;
pub mod message;
mod openapi;
pub mod serve;
mod service;

pub use client::{Client, ClientError, Connection};
pub use context::{Context, Peer, PeerCertificates, UnixPeer};
pub use message::{Empty, Message};
pub use service::{RpcError, Service, not_found};
