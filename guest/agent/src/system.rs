//! What this VM runs on: system, disks, network, from the kernel's own files.

pub mod metrics;
mod network;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bylaw_rpc::message::guest_api::{DiskInfo, NetworkInformation, SystemInfo};
use nix::sys::statvfs::statvfs;
use procfs_core::{CpuInfo, FromRead, LoadAverage, Meminfo, MountEntry, Uptime};

/// A file of the kernel that is missing or not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// It cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// It cannot be understood.
    #[error("{} is not what it should be: {reason}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: procfs_core::ProcError,
    },
}

/// Where to look.
#[derive(Debug, Clone)]
pub struct System {
    root: PathBuf,
    data_disks: BTreeSet<PathBuf>,
}

impl System {
    /// This VM; disks are told about when they are mounted on one of `data_disks`.
    pub fn new(data_disks: impl IntoIterator<Item = PathBuf>) -> Self {
        Self {
            root: PathBuf::from("/"),
            data_disks: data_disks.into_iter().collect(),
        }
    }

    /// With `/proc` and `/etc` under another directory. Sizes of disks and addresses of
    /// interfaces are this VM's all the same.
    #[must_use]
    pub fn with_root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = root.into();
        self
    }

    /// System, memory, load and disks.
    ///
    /// # Errors
    /// [`SystemError`].
    pub fn info(&self) -> Result<SystemInfo, SystemError> {
        let (os_name, os_version) = self.distribution();
        let cpus: CpuInfo = self.parsed("proc/cpuinfo")?;
        let memory: Meminfo = self.parsed("proc/meminfo")?;
        let uptime: Uptime = self.parsed("proc/uptime")?;
        let load: LoadAverage = self.parsed("proc/loadavg")?;
        let available = memory.mem_available.unwrap_or(memory.mem_free);
        Ok(SystemInfo {
            os_name,
            os_version,
            kernel_version: self.text("proc/sys/kernel/osrelease")?.trim().to_owned(),
            // Not every architecture names its processors.
            cpu_model: cpus.model_name(0).unwrap_or_default().to_owned(),
            num_cpus: u32::try_from(cpus.num_cores()).unwrap_or(u32::MAX),
            total_memory: memory.mem_total,
            available_memory: available,
            used_memory: memory.mem_total.saturating_sub(available),
            free_memory: memory.mem_free,
            total_swap: memory.swap_total,
            used_swap: memory.swap_total.saturating_sub(memory.swap_free),
            free_swap: memory.swap_free,
            uptime: uptime.uptime_duration().as_secs(),
            loadavg_one: hundredths(load.one),
            loadavg_five: hundredths(load.five),
            loadavg_fifteen: hundredths(load.fifteen),
            disks: self.disks()?,
        })
    }

    /// Interfaces towards the outside, gateways, name servers.
    ///
    /// # Errors
    /// [`SystemError`].
    pub async fn network(&self) -> Result<NetworkInformation, SystemError> {
        network::read(self).await
    }

    /// `NAME` and `VERSION_ID` of os-release; empty where an image has none.
    fn distribution(&self) -> (String, String) {
        let text = self
            .text("etc/os-release")
            .or_else(|_| self.text("usr/lib/os-release"))
            .unwrap_or_default();
        let field = |key: &str| {
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .unwrap_or_default()
                .trim();
            ['"', '\'']
                .iter()
                .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
                .unwrap_or(value)
                .to_owned()
        };
        (field("NAME"), field("VERSION_ID"))
    }

    fn disks(&self) -> Result<Vec<DiskInfo>, SystemError> {
        let mounts: Vec<MountEntry> = self.parsed("proc/mounts")?;
        let mut disks = Vec::new();
        for mount_point in &self.data_disks {
            // The last mount on a directory is the one that is seen.
            let mounted = mounts
                .iter()
                .rev()
                .find(|mount| Path::new(&mount.fs_file) == mount_point);
            let Some(mount) = mounted else { continue };
            let size = statvfs(mount_point).map_err(|error| SystemError::Unreadable {
                path: mount_point.clone(),
                reason: error.into(),
            })?;
            let bytes = |blocks: u64| blocks.saturating_mul(size.fragment_size());
            disks.push(DiskInfo {
                name: mount.fs_spec.clone(),
                mount_point: mount.fs_file.clone(),
                total_size: bytes(size.blocks()),
                free_size: bytes(size.blocks_available()),
            });
        }
        Ok(disks)
    }

    fn text(&self, path: &str) -> Result<String, SystemError> {
        let path = self.root.join(path);
        std::fs::read_to_string(&path).map_err(|reason| SystemError::Unreadable { path, reason })
    }

    fn parsed<T: FromRead>(&self, path: &str) -> Result<T, SystemError> {
        let text = self.text(path)?;
        T::from_read(text.as_bytes()).map_err(|reason| SystemError::Malformed {
            path: self.root.join(path),
            reason,
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a load is small and not negative, and `as` saturates"
)]
fn hundredths(load: f32) -> u32 {
    (load * 100.0).round() as u32
}

/// `/metrics` of this VM.
pub fn router(system: System) -> Router {
    Router::new()
        .route("/metrics", get(metrics_route))
        .with_state(system)
}

/// `GET /metrics`: [`System::info`] for Prometheus.
pub async fn metrics_route(State(system): State<System>) -> Response {
    match system.info() {
        Ok(info) => (
            [(CONTENT_TYPE, metrics::CONTENT_TYPE)],
            metrics::render(&info),
        )
            .into_response(),
        Err(error) => {
            tracing::warn!(%error, "no metrics");
            (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
