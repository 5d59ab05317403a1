//! The guest's programs of ours: built here, or given.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Progress;
use crate::tool::{self, ToolError};

/// Where `cargo build` puts what it builds for a named target.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Why a program of ours cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// Not in the folder.
    #[error("no {0}; build it with `cargo build --profile guest`, or leave --bin-dir out")]
    Missing(PathBuf),
    /// The build failed.
    #[error(transparent)]
    Build(#[from] ToolError),
    /// Not a place with our sources.
    #[error("{0} is no workspace of Bylaw: name a folder with built programs by --bin-dir")]
    NoSources(PathBuf),
}

/// The programs that go into an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// First process; statically linked.
    pub init: PathBuf,
    /// First process on the verified root.
    pub boot: PathBuf,
    /// The app API.
    pub agent: PathBuf,
}

impl Binaries {
    /// Those in `folder`, under their own names.
    ///
    /// # Errors
    /// [`BinaryError::Missing`] names the first that is not there.
    pub fn in_folder(folder: &Path) -> Result<Self, BinaryError> {
        Ok(Self {
            init: present(folder.join("bylaw-init"))?,
            boot: present(folder.join("bylaw-boot"))?,
            agent: present(folder.join("bylaw-agent"))?,
        })
    }

    /// Builds them from `sources`, the workspace, with its pinned compiler.
    ///
    /// The bytes do not depend on the folder: paths are written as `/bylaw` and `/cargo`, and the linker adds no
    /// build id.
    ///
    /// # Errors
    /// [`BinaryError`].
    pub fn build(sources: &Path, progress: Progress<'_>) -> Result<Self, BinaryError> {
        let init = Self::build_init(sources, progress)?;
        let sources = workspace(sources)?;
        progress("building bylaw-agent and bylaw-boot");
        let out = sources.join("target");
        tool::run(&mut cargo(
            &sources,
            &out,
            &["bylaw-agent", "bylaw-boot"],
            "",
        ))?;
        let built = out.join(TARGET).join("guest");
        Ok(Self {
            init,
            boot: present(built.join("bylaw-boot"))?,
            agent: present(built.join("bylaw-agent"))?,
        })
    }

    /// Builds `bylaw-init` alone and answers its path. See [`Binaries::build`].
    ///
    /// # Errors
    /// [`BinaryError`].
    pub fn build_init(sources: &Path, progress: Progress<'_>) -> Result<PathBuf, BinaryError> {
        let sources = workspace(sources)?;
        progress("building bylaw-init");
        // A folder of its own: with other flags, what it shares with the others would be
        // built anew by whoever comes next.
        let out = sources.join("target/static");
        let flags = "-Ctarget-feature=+crt-static";
        tool::run(&mut cargo(&sources, &out, &["bylaw-init"], flags))?;
        present(out.join(TARGET).join("guest/bylaw-init"))
    }
}

fn present(path: PathBuf) -> Result<PathBuf, BinaryError> {
    if path.is_file() {
        Ok(path)
    } else {
        Err(BinaryError::Missing(path))
    }
}

fn workspace(sources: &Path) -> Result<PathBuf, BinaryError> {
    sources
        .canonicalize()
        .ok()
        .filter(|folder| folder.join("guest/init/Cargo.toml").is_file())
        .ok_or_else(|| BinaryError::NoSources(sources.to_owned()))
}

fn cargo(sources: &Path, out: &Path, packages: &[&str], flags: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(sources)
        .args([
            "build",
            "--locked",
            "--profile",
            "guest",
            "--target",
            TARGET,
        ])
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_TARGET_DIR", out)
        // Words are separated by 0x1f here, so folders with spaces work.
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(sources, flags))
        .env_remove("RUSTFLAGS");
    for package in packages {
        command.args(["--package", package]);
    }
    command
}

fn rust_flags(sources: &Path, more: &str) -> String {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let mut flags = vec![format!("--remap-path-prefix={}=/bylaw", sources.display())];
    if let Some(home) = home {
        flags.push(format!("--remap-path-prefix={}=/cargo", home.display()));
    }
    flags.push("-Clink-arg=-Wl,--build-id=none".to_owned());
    if !more.is_empty() {
        flags.push(more.to_owned());
    }
    flags.join("\u{1f}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["bylaw-init", "bylaw-boot"] {
            crate::tree::write(&folder.path().join(name), b"x").unwrap();
        }
        assert!(matches!(
            Binaries::in_folder(folder.path()),
            Err(BinaryError::Missing(path)) if path.ends_with("bylaw-agent")
        ));
        crate::tree::write(&folder.path().join("bylaw-agent"), b"x").unwrap();
        assert!(Binaries::in_folder(folder.path()).is_ok());
    }

    #[test]
    fn a_folder_without_our_sources_builds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            Binaries::build(folder.path(), &|_| {}),
            Err(BinaryError::NoSources(_))
        ));
    }

    #[test]
    fn programs_name_no_folder_of_the_machine_that_built_them() {
        let flags = rust_flags(Path::new("/home/me/by law"), "-Cx");
        assert!(
            flags.starts_with("--remap-path-prefix=/home/me/by law=/bylaw\u{1f}"),
            "{flags}"
        );
        assert!(flags.ends_with("--build-id=none\u{1f}-Cx"), "{flags}");
    }
}
