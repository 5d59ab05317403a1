//! Memory and kernel file systems over the read-only root.

use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::error::{BootError, file};

/// Kind, where, options, and whether programs, devices and set-uid files count there.
struct Mount {
    kind: &'static str,
    target: &'static str,
    data: &'static str,
    flags: MsFlags,
}

const PLAIN: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);
/// Scripts and tools of containers are run from these.
const RUNNABLE: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

const fn at(kind: &'static str, target: &'static str, data: &'static str, flags: MsFlags) -> Mount {
    Mount {
        kind,
        target,
        data,
        flags,
    }
}

/// In order. What the initramfs mounted already is left as it is.
const MOUNTS: &[Mount] = &[
    at("proc", "/proc", "", PLAIN),
    at("sysfs", "/sys", "", PLAIN),
    at("devtmpfs", "/dev", "mode=0755", MsFlags::MS_NOSUID),
    at(
        "devpts",
        "/dev/pts",
        "gid=5,mode=0620,ptmxmode=0666",
        MsFlags::MS_NOSUID,
    ),
    at("tmpfs", "/dev/shm", "mode=1777", PLAIN),
    at("mqueue", "/dev/mqueue", "", PLAIN),
    at("tmpfs", "/run", "mode=0755,size=25%", RUNNABLE),
    at("tmpfs", "/tmp", "mode=1777,size=50%", RUNNABLE),
    at("tmpfs", "/var", "mode=0755,size=25%", RUNNABLE),
    at("tmpfs", "/root", "mode=0700,size=25%", RUNNABLE),
    at("tmpfs", "/dstack", "mode=0755,size=50%", RUNNABLE),
    at("cgroup2", "/sys/fs/cgroup", "nsdelegate", PLAIN),
    at("bpf", "/sys/fs/bpf", "mode=0700", PLAIN),
];

/// What needs a module of the first list; reports of the TEE are asked for here.
const AFTER_MODULES: &[Mount] = &[at("configfs", "/sys/kernel/config", "", PLAIN)];

/// Mounts that a kernel may lack, or an image may have no place for.
const OPTIONAL: &[&str] = &["/sys/fs/bpf", "/sys/kernel/config", "/dev/mqueue", "/root"];

/// What programs expect below the empty file systems.
const DIRECTORIES: &[&str] = &[
    "/run/bylaw",
    "/run/dstack",
    "/run/lock",
    "/run/log/dstack",
    "/var/cache",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/log",
    "/var/spool",
    "/var/tmp",
    "/dstack/.host-shared",
    "/dstack/persistent",
];

const LINKS: &[(&str, &str)] = &[
    ("/run", "/var/run"),
    ("/run/lock", "/var/lock"),
    // Both places where clients of the app API look (guest agent API reference, section 1).
    ("/run/dstack.sock", "/run/dstack/dstack.sock"),
    ("/run/tappd.sock", "/run/dstack/tappd.sock"),
    ("/proc/self/fd", "/dev/fd"),
];

/// Mounts everything; the root stays read-only.
///
/// # Errors
/// [`BootError::Mount`] names what cannot be mounted.
pub fn mount_all() -> Result<(), BootError> {
    mount_each(MOUNTS)?;
    fill()
}

/// Mounts what needs the first modules.
///
/// # Errors
/// As [`mount_all`].
pub fn mount_after_modules() -> Result<(), BootError> {
    mount_each(AFTER_MODULES)
}

fn mount_each(entries: &[Mount]) -> Result<(), BootError> {
    for entry in entries {
        let optional = OPTIONAL.contains(&entry.target);
        if entry.target.starts_with("/dev/") {
            std::fs::create_dir_all(entry.target).map_err(file(Path::new(entry.target)))?;
        }
        let mounted = mount(
            Some(entry.kind),
            entry.target,
            Some(entry.kind),
            entry.flags,
            Some(entry.data),
        );
        match mounted {
            Ok(()) | Err(nix::Error::EBUSY) => {}
            Err(error) if optional => tracing::warn!(target = entry.target, %error, "not mounted"),
            Err(source) => {
                return Err(BootError::Mount {
                    target: entry.target.to_owned(),
                    source,
                });
            }
        }
    }
    Ok(())
}

/// Directories and links that programs expect.
fn fill() -> Result<(), BootError> {
    for directory in DIRECTORIES {
        std::fs::create_dir_all(directory).map_err(file(Path::new(directory)))?;
    }
    use std::os::unix::fs::PermissionsExt;
    for (path, mode) in [
        ("/run/bylaw", 0o700),
        ("/dstack/.host-shared", 0o755),
        ("/var/tmp", 0o1777),
    ] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .map_err(file(Path::new(path)))?;
    }
    for (original, link) in LINKS {
        if std::fs::symlink_metadata(link).is_err() {
            std::os::unix::fs::symlink(original, link).map_err(file(Path::new(link)))?;
        }
    }
    Ok(())
}

/// Mounts one more file system.
///
/// # Errors
/// [`BootError::Mount`].
pub fn mount_one(
    source: &Path,
    target: &str,
    kind: &str,
    flags: MsFlags,
    data: &str,
) -> Result<(), BootError> {
    mount(Some(source), target, Some(kind), flags, Some(data)).map_err(|source| BootError::Mount {
        target: target.to_owned(),
        source,
    })
}

/// Shows one directory at another place as well.
///
/// # Errors
/// [`BootError::Mount`].
pub fn bind(original: &str, target: &str) -> Result<(), BootError> {
    mount_one(
        Path::new(original),
        target,
        "",
        MsFlags::MS_BIND | MsFlags::MS_REC,
        "",
    )
}

/// Takes a mount away; lazily when something still uses it.
pub fn unmount(target: &str) {
    if umount2(target, MntFlags::empty()).is_err()
        && let Err(error) = umount2(target, MntFlags::MNT_DETACH)
        && error != nix::Error::EINVAL
    {
        tracing::warn!(target, %error, "not unmounted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_before_what_is_mounted_in_them() {
        let position = |target: &str| MOUNTS.iter().position(|entry| entry.target == target);
        for entry in MOUNTS {
            let mut parent = Path::new(entry.target).parent();
            while let Some(path) = parent.filter(|path| *path != Path::new("/")) {
                if let Some(earlier) = position(path.to_str().unwrap()) {
                    assert!(
                        earlier < position(entry.target).unwrap(),
                        "{}",
                        entry.target
                    );
                }
                parent = path.parent();
            }
        }
    }

    #[test]
    fn nothing_but_devices_has_devices_or_set_uid_files() {
        for entry in MOUNTS {
            assert!(entry.flags.contains(MsFlags::MS_NOSUID), "{}", entry.target);
            let is_dev = entry.target == "/dev" || entry.target == "/dev/pts";
            assert_ne!(
                entry.flags.contains(MsFlags::MS_NODEV),
                is_dev,
                "{}",
                entry.target
            );
        }
    }

    #[test]
    fn directories_and_links_are_below_what_is_writable() {
        let writable = ["/run", "/tmp", "/var", "/root", "/dstack", "/dev"];
        for path in DIRECTORIES.iter().chain(LINKS.iter().map(|(_, link)| link)) {
            assert!(
                writable
                    .iter()
                    .any(|root| path.starts_with(&format!("{root}/"))),
                "{path}"
            );
        }
    }
}
