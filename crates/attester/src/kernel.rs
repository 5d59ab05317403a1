//! The kernel's files, as this crate uses them.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Where the kernel's file systems and the event log are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// `/sys/kernel/config`.
    pub configfs: PathBuf,
    /// `/sys`.
    pub sysfs: PathBuf,
    /// `/run/log/dstack`: the runtime event log. It has to vanish with the
    /// registers, so it lies on a file system that does not survive a reboot.
    pub log: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self::under(Path::new("/"))
    }
}

impl Roots {
    /// The usual places below another root.
    pub fn under(root: &Path) -> Self {
        Self {
            configfs: root.join("sys/kernel/config"),
            sysfs: root.join("sys"),
            log: root.join("run/log/dstack"),
        }
    }
}

/// What is asked of the kernel, one method a system call. The real one is
/// [`HostKernel`]; tests put a driver behind the same calls.
pub(crate) trait Kernel: fmt::Debug + Send + Sync {
    fn make_dir(&self, path: &Path) -> io::Result<()>;

    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// The whole file; of one longer than `limit` bytes, `limit + 1` bytes.
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>>;

    /// All of `bytes` in one write to an attribute that exists.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
}

/// The kernel this process runs on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostKernel;

impl Kernel for HostKernel {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        let mut bytes = Vec::new();
        File::open(path)?.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut attribute = OpenOptions::new().write(true).open(path)?;
        // Attributes take a value whole or not at all.
        let written = attribute.write(bytes)?;
        if written == bytes.len() {
            Ok(())
        } else {
            Err(io::Error::new(
                io::ErrorKind::WriteZero,
                format!("the kernel took {written} of {} bytes", bytes.len()),
            ))
        }
    }
}

/// A short text attribute without its newline; `None` where there is none.
pub(crate) fn text(kernel: &dyn Kernel, path: &Path) -> Option<String> {
    const LONGEST: usize = 4096;
    let bytes = kernel.read(path, LONGEST).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_end_one_byte_past_the_limit_and_writes_create_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("attribute");
        let missing = HostKernel.write(&path, b"x").unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert!(!path.exists());
        bylaw_types::file::write_atomic(&path, &[7; 100]).unwrap();
        assert_eq!(HostKernel.read(&path, 100).unwrap().len(), 100);
        assert_eq!(HostKernel.read(&path, 99).unwrap().len(), 100);
        assert_eq!(HostKernel.read(&path, 50).unwrap().len(), 51);
    }
}
