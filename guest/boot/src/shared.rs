//! What the host shares: copied once, within limits, then parsed without forgiveness.
//!
//! After [`copy`] the disk is gone: nothing the host changes later is looked at.

mod sys_config;

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bylaw_types::compose::MAX_LEN as MAX_COMPOSE;
use bylaw_types::file::{write_atomic, write_private};
use nix::mount::MsFlags;
use serde::Deserialize;
pub use sys_config::{Chain, SysConfig};

use crate::error::BootError;
use crate::{disk, mounts};

/// Serial number of the disk, and label of its file system.
pub const SERIAL: &str = "DSTACKSHR";
/// Where the copies are.
pub const DIRECTORY: &str = "/dstack/.host-shared";
const MOUNT_POINT: &str = "/run/bylaw/host-shared";

/// The app's manifest.
pub const APP_COMPOSE: &str = "app-compose.json";
/// The host's settings for this VM.
pub const SYS_CONFIG: &str = ".sys-config.json";
/// Who the VM was at its last start.
pub const INSTANCE_INFO: &str = ".instance_info";
/// Encrypted variables.
pub const ENCRYPTED_ENV: &str = ".encrypted-env";
/// Anything the app's owner passes on.
pub const USER_CONFIG: &str = ".user-config";
/// The software TEE of a VM without a hardware one.
pub const TEE_SIMULATOR: &str = ".tee-simulator.json";

/// A file that is taken over.
struct Entry {
    name: &'static str,
    /// Bytes.
    limit: u64,
    is_required: bool,
    /// Containers may be shown the others.
    is_private: bool,
}

const fn entry(name: &'static str, limit: u64, is_required: bool, is_private: bool) -> Entry {
    Entry {
        name,
        limit,
        is_required,
        is_private,
    }
}

const KIB: u64 = 1024;

/// Everything that is taken over; other files stay where they are (VMM API reference,
/// section 9).
const ENTRIES: &[Entry] = &[
    entry(APP_COMPOSE, MAX_COMPOSE as u64, true, false),
    entry(SYS_CONFIG, 128 * KIB, true, false),
    entry(INSTANCE_INFO, 10 * KIB, false, false),
    entry(ENCRYPTED_ENV, 256 * KIB, false, true),
    entry(USER_CONFIG, 50 * KIB * KIB, false, false),
    entry(TEE_SIMULATOR, 64 * KIB, false, false),
];

/// A file of the host's that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// It is not there.
    #[error("the host shares no {0}")]
    Missing(&'static str),
    /// It is too long.
    #[error("{name} has more than {limit} bytes")]
    TooLong {
        /// Which.
        name: &'static str,
        /// What is allowed.
        limit: u64,
    },
    /// A directory, a link, a device.
    #[error("{0} is not a plain file")]
    NotAFile(&'static str),
    /// It cannot be read.
    #[error("{name}: {source}")]
    Read {
        /// Which.
        name: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// It says something else than it may.
    #[error("{name} is refused: {reason}")]
    Refused {
        /// Which.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// The software TEE that a VM without a hardware one is given.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeeSimulator {
    /// Where it answers.
    pub endpoint: String,
    /// PEM of its root.
    pub root_ca: String,
}

/// Copies everything from the disk that the host attached.
///
/// # Errors
/// [`SharedError`], or that the disk cannot be mounted.
pub fn copy() -> Result<(), BootError> {
    let device = disk::by_serial(SERIAL)?;
    std::fs::create_dir_all(MOUNT_POINT).map_err(crate::error::file(Path::new(MOUNT_POINT)))?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mounts::mount_one(&device, MOUNT_POINT, "vfat", flags, "utf8")?;
    let copied = copy_between(Path::new(MOUNT_POINT), Path::new(DIRECTORY));
    mounts::unmount(MOUNT_POINT);
    Ok(copied?)
}

fn copy_between(from: &Path, to: &Path) -> Result<(), SharedError> {
    for entry in ENTRIES {
        let Some(bytes) = read_entry(entry, &from.join(entry.name))? else {
            if entry.is_required {
                return Err(SharedError::Missing(entry.name));
            }
            continue;
        };
        let path = to.join(entry.name);
        let written = match entry.is_private {
            true => write_private(&path, &bytes),
            false => write_atomic(&path, &bytes),
        };
        written.map_err(|source| SharedError::Read {
            name: entry.name,
            source,
        })?;
    }
    Ok(())
}

fn read_entry(entry: &Entry, path: &Path) -> Result<Option<Vec<u8>>, SharedError> {
    let failed = |source| SharedError::Read {
        name: entry.name,
        source,
    };
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK).bits())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32) => {
            return Err(SharedError::NotAFile(entry.name));
        }
        Err(error) => return Err(failed(error)),
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(SharedError::NotAFile(entry.name));
    }
    let mut bytes = Vec::new();
    file.take(entry.limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > entry.limit {
        return Err(SharedError::TooLong {
            name: entry.name,
            limit: entry.limit,
        });
    }
    Ok(Some(bytes))
}

/// Parses a copied JSON file; `None` when the host shared none.
///
/// # Errors
/// [`SharedError::Refused`] with the place and the field.
pub fn parse<T: serde::de::DeserializeOwned>(
    directory: &Path,
    name: &'static str,
) -> Result<Option<T>, SharedError> {
    let bytes = match std::fs::read(directory.join(name)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SharedError::Read { name, source }),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| SharedError::Refused {
            name,
            reason: error.to_string(),
        })
}

/// Everything the host shared, parsed.
#[derive(Debug)]
pub struct Shared {
    /// Exact bytes of the manifest.
    pub app_compose: Vec<u8>,
    /// The host's settings.
    pub sys_config: SysConfig,
    /// Who the VM was.
    pub instance_info: crate::instance::InstanceInfo,
    /// The owner's settings, as bytes.
    pub user_config: Vec<u8>,
    /// The software TEE.
    pub tee_simulator: Option<TeeSimulator>,
}

impl Shared {
    /// Reads the copies.
    ///
    /// # Errors
    /// [`SharedError`].
    pub fn read(directory: &Path) -> Result<Self, SharedError> {
        let bytes = |name: &'static str| match std::fs::read(directory.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SharedError::Read { name, source }),
        };
        let sys_config: SysConfig =
            parse(directory, SYS_CONFIG)?.ok_or(SharedError::Missing(SYS_CONFIG))?;
        sys_config.check().map_err(|reason| SharedError::Refused {
            name: SYS_CONFIG,
            reason,
        })?;
        let tee_simulator: Option<TeeSimulator> = parse(directory, TEE_SIMULATOR)?;
        if let Some(simulator) = &tee_simulator
            && !simulator.endpoint.starts_with("http://")
        {
            return Err(SharedError::Refused {
                name: TEE_SIMULATOR,
                reason: "endpoint must be an http:// URL".to_owned(),
            });
        }
        Ok(Self {
            app_compose: bytes(APP_COMPOSE)?.ok_or(SharedError::Missing(APP_COMPOSE))?,
            sys_config,
            instance_info: parse(directory, INSTANCE_INFO)?.unwrap_or_default(),
            user_config: bytes(USER_CONFIG)?.unwrap_or_default(),
            tee_simulator,
        })
    }
}

/// Links that upstream's apps and scripts expect in `/dstack`.
///
/// # Errors
/// [`BootError::File`].
pub fn link_for_apps(work: &Path) -> Result<(), BootError> {
    for (name, link) in [(APP_COMPOSE, APP_COMPOSE), (USER_CONFIG, "user_config")] {
        let original = PathBuf::from(".host-shared").join(name);
        let path = work.join(link);
        if std::fs::symlink_metadata(&path).is_err() {
            std::os::unix::fs::symlink(original, &path).map_err(crate::error::file(&path))?;
        }
    }
    let user_config = Path::new(DIRECTORY).join(USER_CONFIG);
    if user_config.exists() {
        std::fs::set_permissions(&user_config, std::fs::Permissions::from_mode(0o644))
            .map_err(crate::error::file(&user_config))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
