//! Creates, starts and watches confidential VMs.

pub mod registry;
