//! Drivers, and the disk that carries the root.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::io::Errno;

/// How often a disk is looked for, and how long between two looks: 20 s in all.
const LOOKS: u32 = 2_000;
const PAUSE: Duration = Duration::from_millis(10);

/// Why there is no disk to read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("the initramfs has no list of modules {path:?}: {source}")]
    List { path: PathBuf, source: io::Error },
    #[error("cannot load the module {name}: {source}")]
    Module { name: String, source: io::Error },
    #[error("no disk with the serial number {serial:?} within 20 s; the host must attach one")]
    Missing { serial: String },
    #[error("{count} disks have the serial number {serial:?}, one must")]
    Ambiguous { serial: String, count: usize },
}

/// Loads the modules that `directory/list` names, one file a line, in that order, and frees their files.
///
/// The list is in dependency order since the image was built, so nothing is resolved here.
///
/// # Errors
/// The first module that the kernel does not take.
pub(crate) fn load_modules(directory: &Path) -> Result<(), DiskError> {
    let path = directory.join("list");
    let list = fs::read_to_string(&path).map_err(|source| DiskError::List { path, source })?;
    for name in list.lines() {
        load(&directory.join(name)).map_err(|source| DiskError::Module {
            name: name.to_owned(),
            source,
        })?;
    }
    Ok(())
}

fn load(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    match rustix::system::finit_module(&file, c"", 0) {
        Ok(()) | Err(Errno::EXIST) => fs::remove_file(path),
        Err(error) => Err(error.into()),
    }
}

/// `major:minor` of the block device with this serial number; waits until the driver has found it.
///
/// # Errors
/// None in time, or more than one. (The number is the host's word. It only selects what is then verified.)
pub(crate) fn find(serial: &str) -> Result<String, DiskError> {
    for _ in 0..LOOKS {
        match with_serial(Path::new("/sys/block"), serial).as_slice() {
            [] => sleep(PAUSE),
            [device] => return Ok(device.clone()),
            several => {
                return Err(DiskError::Ambiguous {
                    serial: serial.to_owned(),
                    count: several.len(),
                });
            }
        }
    }
    Err(DiskError::Missing {
        serial: serial.to_owned(),
    })
}

/// Device numbers below `/sys/block`; a device that is only half there is looked at again later.
fn with_serial(sys_block: &Path, serial: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(sys_block) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            fs::read_to_string(entry.path().join("serial"))
                .is_ok_and(|text| text.trim_end() == serial)
        })
        .filter_map(|entry| fs::read_to_string(entry.path().join("dev")).ok())
        .map(|device| device.trim_end().to_owned())
        .collect()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a throw-away tree")]
mod tests {
    use super::*;

    fn tree(disks: &[(&str, Option<&str>, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, serial, device) in disks {
            let path = root.path().join(name);
            fs::create_dir(&path).unwrap();
            if let Some(serial) = serial {
                fs::write(path.join("serial"), serial).unwrap();
            }
            fs::write(path.join("dev"), format!("{device}\n")).unwrap();
        }
        root
    }

    #[test]
    fn the_disk_is_the_one_with_the_serial_number() {
        let tree = tree(&[
            ("loop0", None, "7:0"),
            ("vda", Some("data"), "254:0"),
            ("vdb", Some("rootfs"), "254:16"),
            ("vdc", Some("rootfs2"), "254:32"),
        ]);
        assert_eq!(with_serial(tree.path(), "rootfs"), ["254:16"]);
        assert!(with_serial(tree.path(), "root").is_empty());
    }

    #[test]
    fn two_disks_with_one_number_are_both_seen() {
        let tree = tree(&[
            ("vda", Some("rootfs"), "254:0"),
            ("vdb", Some("rootfs\n"), "254:16"),
        ]);
        assert_eq!(with_serial(tree.path(), "rootfs").len(), 2);
    }

    #[test]
    fn a_list_that_is_not_there_is_said() {
        let tree = tempfile::tempdir().unwrap();
        assert!(matches!(
            load_modules(tree.path()),
            Err(DiskError::List { .. })
        ));
    }

    #[test]
    fn a_module_that_is_not_there_is_named() {
        let tree = tempfile::tempdir().unwrap();
        fs::write(tree.path().join("list"), "one.ko\n").unwrap();
        let error = load_modules(tree.path()).unwrap_err();
        assert!(error.to_string().contains("one.ko"), "{error}");
    }
}
