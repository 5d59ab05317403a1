//! Creates, starts and watches confidential VMs.
//!
//! [`node::Node`] has the VMs; a VM is a [`record`] on the disk, a [`process`] that
//! outlives this one, and what its guest says. [`launch`] turns a record into a start.
//! [`service`] is the API, [`host_api`] is what guests may ask.

pub mod auth;
pub mod config;
pub mod console;
pub mod discovery;
pub mod governance;
pub mod guest;
pub mod host_api;
pub mod images;
pub mod key_provider;
pub mod kms;
pub mod launch;
pub mod launcher;
pub mod logs;
pub mod node;
pub mod process;
pub mod qmp;
pub mod record;
pub mod registry;
pub mod rotate;
pub mod run;
pub mod service;
pub mod validate;
pub mod vm;
