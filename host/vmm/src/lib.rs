//! Creates, starts and watches confidential VMs.
