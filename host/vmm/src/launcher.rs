//! What runs between the VMM's decision to start a VM and QEMU's first instruction.
//!
//! `bylaw-vmm vm-launcher <work directory> <nonce>` is a short-lived form of the VMM's own
//! program. It becomes QEMU in the end; until then it makes sure that this VM shall (still)
//! run, that no other process of it does, and that the VMM finds it again.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bylaw_types::file::write_private;
use rustix::io::{FdFlags, fcntl_setfd};

use crate::launch::{LAUNCH_FILE, Launch};
use crate::process::{Identity, LOCK_FILE, PID_FILE, lock};
use crate::record::WorkDir;

/// Why QEMU was not started.
#[derive(Debug, thiserror::Error)]
pub enum LauncherError {
    /// A process of this VM runs.
    #[error("the VM runs already")]
    Runs,
    /// The VMM decided otherwise since.
    #[error("this start was called off")]
    CalledOff,
    /// The file system or the kernel says no.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

fn failed(what: impl ToString) -> impl FnOnce(io::Error) -> LauncherError {
    let what = what.to_string();
    |source| LauncherError::Io { what, source }
}

/// Becomes QEMU; returns only when it cannot.
///
/// # Errors
/// [`LauncherError`].
pub fn exec(directory: &Path, nonce: &str) -> Result<std::convert::Infallible, LauncherError> {
    // Signals to the VMM's terminal or process group are not meant for VMs.
    rustix::process::setsid().map_err(|error| failed("setsid")(error.into()))?;
    let dir = WorkDir::at(directory.to_owned());
    let path = dir.file(LOCK_FILE);
    let held = take(&path)?;
    // The lock may be of a directory that was removed in between.
    let same = |held: &File, path: &PathBuf| {
        Some(held.metadata().ok()?.ino() == std::fs::metadata(path).ok()?.ino())
    };
    if same(&held, &path) != Some(true) || dir.is_removing() {
        return Err(LauncherError::CalledOff);
    }
    let launch: Launch = dir
        .read(LAUNCH_FILE)
        .map_err(|_| LauncherError::CalledOff)?;
    if launch.nonce != nonce {
        return Err(LauncherError::CalledOff);
    }
    let pid = i32::try_from(std::process::id()).unwrap_or_default();
    let identity = Identity::of(pid).map_err(failed("/proc/self"))?;
    write_private(&dir.file(PID_FILE), identity.to_text().as_bytes())
        .map_err(failed(dir.file(PID_FILE).display()))?;
    // The lock goes on with QEMU.
    fcntl_setfd(&held, FdFlags::empty()).map_err(|error| failed("fcntl")(error.into()))?;
    let error = Command::new(&launch.program).args(&launch.arguments).exec();
    Err(failed(&launch.program)(error))
}

/// The VMM looks at the lock now and then: it is taken a moment later.
fn take(path: &Path) -> Result<File, LauncherError> {
    for _ in 0..100 {
        if let Some(file) = lock(path).map_err(failed(path.display()))? {
            return Ok(file);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(LauncherError::Runs)
}
