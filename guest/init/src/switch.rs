//! From the initramfs onto the verified root.

use std::convert::Infallible;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_move};

const NEW_ROOT: &str = "/root";

/// Which step onto the new root failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SwitchError {
    #[error("cannot create {path}: {source}")]
    Directory {
        path: &'static str,
        source: io::Error,
    },
    #[error("cannot mount {path}: {source}")]
    Mount { path: &'static str, source: Errno },
    #[error("cannot make the verified root the root: {0}")]
    Root(#[source] Errno),
    #[error("cannot run {program}: {source}")]
    Run {
        program: &'static str,
        source: io::Error,
    },
}

/// Mounts what the kernel tells (`/proc`, `/sys`) and its device nodes (`/dev`).
pub(crate) fn mount_kernel_filesystems() -> Result<(), SwitchError> {
    let strict = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    for (path, kind, flags) in [
        ("/proc", "proc", strict),
        ("/sys", "sysfs", strict),
        ("/dev", "devtmpfs", MountFlags::NOSUID | MountFlags::NOEXEC),
    ] {
        std::fs::create_dir_all(path).map_err(|source| SwitchError::Directory { path, source })?;
        match mount(kind, path, kind, flags, None) {
            // The kernel may have mounted /dev by itself.
            Ok(()) | Err(Errno::BUSY) => {}
            Err(source) => return Err(SwitchError::Mount { path, source }),
        }
    }
    Ok(())
}

/// Mounts the verified `device`. The image has no set-user-id programs and no device nodes; none would work.
pub(crate) fn mount_root(device: &Path) -> Result<(), SwitchError> {
    std::fs::create_dir_all(NEW_ROOT).map_err(|source| SwitchError::Directory {
        path: NEW_ROOT,
        source,
    })?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    mount(device, NEW_ROOT, "squashfs", flags, None).map_err(|source| SwitchError::Mount {
        path: NEW_ROOT,
        source,
    })
}

/// Moves the mounts over, makes the verified root `/` and becomes `program`.
///
/// # Errors
/// Only if it fails: the program takes this process over.
pub(crate) fn enter(program: &'static str) -> Result<Infallible, SwitchError> {
    for (path, to) in [
        ("/proc", "/root/proc"),
        ("/sys", "/root/sys"),
        ("/dev", "/root/dev"),
    ] {
        mount_move(path, to).map_err(|source| SwitchError::Mount { path: to, source })?;
    }
    // The initramfs cannot be unmounted; its last file stays in memory, out of reach below the new root.
    let _ = std::fs::remove_file("/init");
    rustix::process::chdir(NEW_ROOT).map_err(SwitchError::Root)?;
    mount_move(".", "/").map_err(SwitchError::Root)?;
    rustix::process::chroot(".").map_err(SwitchError::Root)?;
    rustix::process::chdir("/").map_err(SwitchError::Root)?;
    // Nothing of the kernel command line reaches it as arguments or environment.
    let source = Command::new(program)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .exec();
    Err(SwitchError::Run { program, source })
}
