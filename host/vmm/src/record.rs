//! The record of a VM: its work directory (VMM API reference, section 9).
//!
//! What is answered is on the disk. A directory appears whole, by rename; an update of
//! several files is complete or did not happen, by a redo folder; a removal once begun is
//! finished after a restart.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use bylaw_types::file::write_private;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::{NetMode, Protocol};

/// `vm-manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// UUID; the name of the directory.
    pub id: String,
    /// For people.
    pub name: String,
    /// 40 hex digits.
    pub app_id: String,
    /// Virtual processors.
    pub vcpu: u32,
    /// MiB.
    pub memory: u32,
    /// GiB.
    pub disk_size: u32,
    /// Folder below the image path.
    pub image: String,
    /// Ports of the host.
    #[serde(default)]
    pub port_map: Vec<PortMap>,
    /// Unix milliseconds.
    pub created_at_ms: u64,
    /// Back the memory by huge pages.
    #[serde(default)]
    pub hugepages: bool,
    /// Pin to the NUMA node of the devices.
    #[serde(default)]
    pub pin_numa: bool,
    /// Devices.
    #[serde(default)]
    pub gpus: Option<Gpus>,
    /// Instead of the node's.
    #[serde(default)]
    pub kms_urls: Vec<String>,
    /// Instead of the node's.
    #[serde(default)]
    pub gateway_urls: Vec<String>,
    /// Launch without a TEE.
    #[serde(default)]
    pub no_tee: bool,
    /// Variant of the software TEE.
    #[serde(default)]
    pub simulated_tee: Option<String>,
    /// Interfaces; empty takes the node's default.
    #[serde(default)]
    pub networks: Vec<Network>,
    /// The first of `networks`, where dstack's older VMMs look.
    #[serde(default)]
    pub networking: Option<Network>,
}

/// A port of the host that leads into the VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMap {
    /// On the host.
    pub address: Ipv4Addr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// On the host.
    pub from: u16,
    /// In the VM.
    pub to: u16,
}

/// Devices of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpus {
    /// Which.
    pub attach_mode: AttachMode,
    /// When listed.
    #[serde(default)]
    pub gpus: Vec<GpuSlot>,
}

/// Which devices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachMode {
    /// Those named.
    #[default]
    Listed,
    /// All of them, and the bridges between them.
    All,
}

/// A device by its PCI address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuSlot {
    /// `0000:01:00.0` or `01:00.0`.
    pub slot: String,
}

/// One network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Kind.
    pub mode: NetMode,
    /// Of the host; empty takes the node's.
    #[serde(default, rename = "bridge")]
    pub bridge_name: String,
}

/// `vm-state.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Whether it should run.
    pub started: bool,
    /// Whether its process is being ended, so that a VMM that is restarted meanwhile goes
    /// on with it. A guest that powers off by itself is left to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ending: bool,
}

impl State {
    /// It should run.
    pub const STARTED: Self = Self {
        started: true,
        ending: false,
    };
    /// It should not run; what still does ends by itself.
    pub const STOPPED: Self = Self {
        started: false,
        ending: false,
    };
    /// It shall end now.
    pub const ENDING: Self = Self {
        started: false,
        ending: true,
    };
}

/// `shared/.instance_info`: written by us with the app id alone, then as the guest says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceInfo {
    /// 20 bytes hex, or empty.
    #[serde(default)]
    pub instance_id_seed: String,
    /// 20 bytes hex, or empty.
    #[serde(default)]
    pub instance_id: String,
    /// 20 bytes hex.
    #[serde(default)]
    pub app_id: String,
}

impl InstanceInfo {
    /// Whether every field has its form; what guests say is not trusted to.
    pub fn is_valid(&self) -> bool {
        let hex20 = |text: &str| text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit());
        hex20(&self.app_id)
            && [&self.instance_id_seed, &self.instance_id]
                .iter()
                .all(|text| text.is_empty() || hex20(text))
    }
}

/// A record that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file system says no.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that is not what it should be.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> RecordError + '_ {
    |source| RecordError::Io {
        path: path.to_owned(),
        source,
    }
}

/// What changes in a record, all of it or nothing; none keeps what is there.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// New manifest.
    pub manifest: Option<Manifest>,
    /// New files below `shared/`, by name.
    pub shared: Vec<(&'static str, Vec<u8>)>,
}

/// Names of files below `shared/`.
pub mod shared {
    /// The manifest of the app, as it was given.
    pub const APP_COMPOSE: &str = "app-compose.json";
    /// What the node tells its guests.
    pub const SYS_CONFIG: &str = ".sys-config.json";
    /// Who the guest is.
    pub const INSTANCE_INFO: &str = ".instance_info";
    /// As the client encrypted it.
    pub const ENCRYPTED_ENV: &str = ".encrypted-env";
    /// Handed to the app.
    pub const USER_CONFIG: &str = ".user-config";
    /// Of simulated VMs.
    pub const TEE_SIMULATOR: &str = ".tee-simulator.json";
}

const MANIFEST: &str = "vm-manifest.json";
const STATE: &str = "vm-state.json";
const REMOVING: &str = ".removing";
const REDO: &str = ".update";
const REDO_TMP: &str = ".update.tmp";
/// Folders of the run path that are no record (yet, or any more).
const CREATING: &str = ".creating-";
const REMOVED: &str = ".removed-";

/// The work directory of one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkDir(PathBuf);

impl WorkDir {
    /// The directory at this path, which may not exist.
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Makes a record: everything is on the disk when this returns, or nothing.
    ///
    /// # Errors
    /// [`RecordError::Io`], also when there is one already.
    pub fn create(
        run_path: &Path,
        state: State,
        manifest: &Manifest,
        shared: &[(&'static str, Vec<u8>)],
    ) -> Result<Self, RecordError> {
        let new = Self(run_path.join(format!("{CREATING}{}", manifest.id)));
        let made = (|| {
            std::fs::create_dir_all(new.shared()).map_err(at(&new.0))?;
            new.write(MANIFEST, manifest)?;
            new.write(STATE, &state)?;
            for (name, bytes) in shared {
                let path = new.shared().join(name);
                write_private(&path, bytes).map_err(at(&path))?;
            }
            sync(&new.0)?;
            let place = run_path.join(&manifest.id);
            std::fs::rename(&new.0, &place).map_err(at(&place))?;
            sync(run_path)?;
            Ok(Self(place))
        })();
        if made.is_err() {
            let _ = std::fs::remove_dir_all(&new.0);
        }
        made
    }

    /// Deletes what interrupted creations and removals left; none may be under way.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn clean(run_path: &Path) -> Result<(), RecordError> {
        for entry in std::fs::read_dir(run_path).map_err(at(run_path))? {
            let entry = entry.map_err(at(run_path))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(CREATING) || name.starts_with(REMOVED) {
                remove_dir(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Every record below the run path.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn list(run_path: &Path) -> Result<Vec<Self>, RecordError> {
        let mut records = Vec::new();
        for entry in std::fs::read_dir(run_path).map_err(at(run_path))? {
            let path = entry.map_err(at(run_path))?.path();
            let name = path.file_name().map(|name| name.to_string_lossy());
            let hidden = name.is_none_or(|name| name.starts_with('.'));
            if !hidden && path.join(MANIFEST).is_file() {
                records.push(Self(path));
            }
        }
        records.sort_by(|left, right| left.0.cmp(&right.0));
        Ok(records)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// `shared/`.
    pub fn shared(&self) -> PathBuf {
        self.0.join("shared")
    }

    /// A file of this directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Reads a file below `shared/`; none when there is none.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn read_shared(&self, name: &str) -> Result<Option<Vec<u8>>, RecordError> {
        let path = self.shared().join(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// Writes a file below `shared/`.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn write_shared(&self, name: &str, bytes: &[u8]) -> Result<(), RecordError> {
        let path = self.shared().join(name);
        write_private(&path, bytes).map_err(at(&path))
    }

    /// The manifest, after finishing an update that was interrupted.
    ///
    /// # Errors
    /// [`RecordError`]; also when the manifest names another id than the directory.
    pub fn manifest(&self) -> Result<Manifest, RecordError> {
        self.redo()?;
        let manifest: Manifest = self.read(MANIFEST)?;
        let path = self.0.join(MANIFEST);
        if self.0.file_name().and_then(|name| name.to_str()) != Some(manifest.id.as_str()) {
            let reason = format!("its id {:?} is not the directory's", manifest.id);
            return Err(RecordError::Malformed { path, reason });
        }
        Ok(manifest)
    }

    /// Whether the VM should run; a directory without the file is stopped.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn state(&self) -> Result<State, RecordError> {
        if !self.0.join(STATE).exists() {
            return Ok(State::STOPPED);
        }
        self.read(STATE)
    }

    /// Records whether the VM should run.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn set_state(&self, state: State) -> Result<(), RecordError> {
        self.write(STATE, &state)
    }

    /// Makes a change: all of it is on the disk when this returns, and after a crash all
    /// of it or nothing.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn apply(&self, change: &Change) -> Result<(), RecordError> {
        let staged = self.0.join(REDO_TMP);
        remove_dir(&staged)?;
        std::fs::create_dir(&staged).map_err(at(&staged))?;
        if let Some(manifest) = &change.manifest {
            Self(staged.clone()).write(MANIFEST, manifest)?;
        }
        for (name, bytes) in &change.shared {
            let path = staged.join(name);
            write_private(&path, bytes).map_err(at(&path))?;
        }
        let redo = self.0.join(REDO);
        std::fs::rename(&staged, &redo).map_err(at(&redo))?;
        sync(&self.0)?;
        self.redo()
    }

    /// Moves what a complete update left into place.
    fn redo(&self) -> Result<(), RecordError> {
        remove_dir(&self.0.join(REDO_TMP))?;
        let redo = self.0.join(REDO);
        if !redo.exists() {
            return Ok(());
        }
        for entry in std::fs::read_dir(&redo).map_err(at(&redo))? {
            let entry = entry.map_err(at(&redo))?;
            let target = if entry.file_name() == MANIFEST {
                self.0.join(MANIFEST)
            } else {
                self.shared().join(entry.file_name())
            };
            std::fs::rename(entry.path(), &target).map_err(at(&target))?;
        }
        sync(&self.0)?;
        sync(&self.shared())?;
        remove_dir(&redo)
    }

    /// Whether removal has begun.
    pub fn is_removing(&self) -> bool {
        self.0.join(REMOVING).exists()
    }

    /// Begins removal: from here on the VM is not started again.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn begin_removal(&self) -> Result<(), RecordError> {
        let path = self.0.join(REMOVING);
        write_private(&path, b"").map_err(at(&path))
    }

    /// Removes the record; nothing of the VM may run any more.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn remove(&self) -> Result<(), RecordError> {
        let (Some(run_path), Some(name)) = (self.0.parent(), self.0.file_name()) else {
            return Ok(());
        };
        let gone = run_path.join(format!("{REMOVED}{}", name.to_string_lossy()));
        std::fs::rename(&self.0, &gone).map_err(at(&self.0))?;
        sync(run_path)?;
        std::fs::remove_dir_all(&gone).map_err(at(&gone))
    }

    /// Reads a JSON file of this directory.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T, RecordError> {
        let path = self.0.join(name);
        let bytes = std::fs::read(&path).map_err(at(&path))?;
        serde_json::from_slice(&bytes).map_err(|error| RecordError::Malformed {
            path,
            reason: error.to_string(),
        })
    }

    /// Writes a JSON file of this directory so that it survives a crash.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), RecordError> {
        let path = self.0.join(name);
        let json = serde_json::to_vec_pretty(value).map_err(|error| RecordError::Malformed {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        write_private(&path, &json).map_err(at(&path))
    }
}

fn sync(directory: &Path) -> Result<(), RecordError> {
    File::open(directory)
        .and_then(|opened| opened.sync_all())
        .map_err(at(directory))
}

fn remove_dir(path: &Path) -> Result<(), RecordError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
