//! Log files of VMs do not grow for ever.
//!
//! QEMU keeps its files open and appends, so a file is copied and cut, not renamed.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::LogLimits;
use crate::node::Node;

const FILES: [&str; 3] = ["serial.log", "stdout.log", "stderr.log"];

/// Looks at the files of every VM now and then, for ever.
pub async fn keep_small(node: Arc<Node>) {
    let limits = node.config.cvm.log;
    loop {
        tokio::time::sleep(limits.interval).await;
        for vm in node.vms() {
            let dir = vm.dir.clone();
            let rotated = tokio::task::spawn_blocking(move || {
                FILES
                    .iter()
                    .try_for_each(|name| rotate(&dir.file(name), &limits))
            });
            if let Ok(Err(error)) = rotated.await {
                tracing::warn!(vm = vm.id(), %error, "its logs cannot be rotated");
            }
        }
    }
}

fn rotate(path: &Path, limits: &LogLimits) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > limits.max_bytes => {}
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => return Ok(()),
    }
    let older = |index: u32| -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{index}"));
        name.into()
    };
    for index in (1..limits.max_backups).rev() {
        match fs::rename(older(index), older(index + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    if limits.max_backups > 0 {
        fs::copy(path, older(1))?;
    }
    OpenOptions::new().write(true).open(path)?.set_len(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    #[test]
    fn as_many_older_files_as_allowed_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serial.log");
        let mut writer = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        let limits = |max_backups| LogLimits {
            max_bytes: 4,
            max_backups,
            interval: Duration::from_secs(1),
        };
        for text in ["first", "second", "third", "4th"] {
            writer.write_all(text.as_bytes()).unwrap();
            rotate(&path, &limits(2)).unwrap();
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        assert_eq!(read("serial.log"), "4th", "small enough");
        assert_eq!(read("serial.log.1"), "third");
        assert_eq!(read("serial.log.2"), "second");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
        writer.write_all(b"more").unwrap();
        rotate(&path, &limits(0)).unwrap();
        assert_eq!(read("serial.log"), "");
        assert_eq!(read("serial.log.1"), "third", "untouched");
        rotate(&dir.path().join("none"), &limits(1)).unwrap();
    }
}
