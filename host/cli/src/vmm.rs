//! What an operator asks a VMM: `ps`, `logs`, `stop` and the rest.

mod address;
mod client;
mod find;
mod life;
mod list;
mod logs;
mod spec;
mod view;

pub(crate) use address::VmmArgs;
pub(crate) use client::Vmm;
pub(crate) use find::{by_name, find};
pub(crate) use spec::{Disk, Gpus, Memory, Network, PortSpec};
pub(crate) use view::{urls, view};

pub(crate) use life::stop;
pub(crate) use life::{Remove, Resize, Start, Stop};
pub(crate) use list::{Gpus as ListGpus, Images, Inspect, List};
pub(crate) use logs::Logs;
pub(crate) use logs::tail;
