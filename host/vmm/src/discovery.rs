//! A file by which clients of the same machine find this VMM.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use bylaw_rpc::serve::Listen;
use bylaw_types::file::write_atomic;
use serde::Serialize;

use crate::config::Config;

/// What the file says.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    id: &'a str,
    pid: u32,
    /// `unix:<path>`, maybe relative to `working_dir`, or `host:port`.
    address: String,
    working_dir: PathBuf,
    config_file: PathBuf,
    image_path: &'a Path,
    run_path: &'a Path,
    node_name: &'a str,
    version: &'static str,
    /// Unix seconds.
    started_at: u64,
}

/// The file, gone when this is dropped.
#[derive(Debug)]
pub struct Discovery(PathBuf);

impl Discovery {
    /// Writes the file below `runtime_dir`, named after `id`.
    ///
    /// # Errors
    /// The file system's.
    pub fn announce(
        runtime_dir: &Path,
        id: &str,
        config: &Config,
        config_file: &Path,
        started_at: u64,
    ) -> io::Result<Self> {
        let folder = runtime_dir.join("dstack-vmm");
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let entry = Entry {
            id,
            pid: std::process::id(),
            address: match &config.listen {
                Listen::Unix(path) => format!("unix:{}", path.display()),
                other => other.to_string(),
            },
            working_dir: std::env::current_dir()?,
            config_file: config_file.to_owned(),
            image_path: &config.image_path,
            run_path: &config.run_path,
            node_name: &config.node_name,
            version: env!("CARGO_PKG_VERSION"),
            started_at,
        };
        let path = folder.join(format!("{id}.json"));
        write_atomic(&path, &serde_json::to_vec_pretty(&entry)?)?;
        Ok(Self(path))
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// `$XDG_RUNTIME_DIR`, or where it usually is.
pub fn runtime_dir() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if !dir.is_empty() => dir.into(),
        _ => format!("/run/user/{}", rustix::process::getuid().as_raw()).into(),
    }
}
