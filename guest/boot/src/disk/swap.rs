//! Swap: a file on the encrypted, authenticated disk, made anew at every start.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{FallocateFlags, fallocate};

use crate::command::Command;
use crate::disk::{DiskError, io};

const FILE: &str = "/dstack/persistent/.swap";

/// Swaps to `bytes` bytes; nothing for none.
///
/// The kernel writes to the file's blocks directly, so every page passes the disk's own
/// encryption. A mapping of its own on a loop device would add a random key, and with it a
/// deadlock when memory runs out while the loop device needs some.
///
/// # Errors
/// [`DiskError`].
pub async fn enable(bytes: u64) -> Result<(), DiskError> {
    let path = Path::new(FILE);
    let _ = std::fs::remove_file(path);
    if bytes == 0 {
        return Ok(());
    }
    reserve(path, bytes).map_err(io("making swap in", path))?;
    for program in ["mkswap", "swapon"] {
        Command::new(program, [FILE])
            .within(Duration::from_secs(120))
            .output()
            .await?;
    }
    Ok(())
}

/// No holes: the kernel refuses to swap into those.
fn reserve(path: &Path, bytes: u64) -> std::io::Result<()> {
    let file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let length = i64::try_from(bytes & !0xfff)
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
    fallocate(&file, FallocateFlags::empty(), 0, length)?;
    file.sync_all()
}

/// Gives it back, so that the disk can be taken away.
pub(super) async fn disable() {
    if Path::new(FILE).exists()
        && let Err(error) = Command::new("swapoff", ["-a"]).output().await
    {
        tracing::warn!(%error, "swap stays on");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_file_has_no_holes_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("swap");
        reserve(&path, (1 << 20) + 7).unwrap();
        let file = std::fs::metadata(&path).unwrap();
        assert_eq!(file.len(), 1 << 20);
        assert!(file.blocks() * 512 >= 1 << 20);
        assert_eq!(file.mode() & 0o777, 0o600);
        assert!(reserve(&path, 4096).is_err(), "never over another file");
    }
}
