//! Modules and settings of the kernel, by the lists that the verified image carries.

use std::fs::File;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

/// Where the image keeps its lists.
pub const LISTS: &str = "/usr/lib/bylaw";

/// The kernel is not as the image wants it.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A list of the image.
    #[error("{}: {source}", path.display())]
    List {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of a list.
    #[error("{}: {line:?} is not of the form {form}", path.display())]
    Line {
        /// Which list.
        path: PathBuf,
        /// The line.
        line: String,
        /// What is.
        form: &'static str,
    },
    /// A module.
    #[error("kernel module {}: {source}", path.display())]
    Module {
        /// Which.
        path: PathBuf,
        /// Why.
        source: nix::Error,
    },
    /// A setting.
    #[error("kernel setting {key} = {value}: {source}")]
    Setting {
        /// Which.
        key: String,
        /// To what.
        value: String,
        /// Why.
        source: std::io::Error,
    },
}

impl KernelError {
    /// A kernel without a feature has nothing to restrict there.
    fn is_unknown(&self) -> bool {
        matches!(self, Self::Setting { source, .. }
            if source.kind() == std::io::ErrorKind::NotFound)
    }
}

/// Modules that are needed at one time.
#[derive(Debug, Clone, Copy)]
pub enum Stage {
    /// TEE, network card, the host's files.
    Early,
    /// Encryption.
    Disk,
    /// Containers and tunnels.
    Network,
}

impl Stage {
    fn list(self) -> PathBuf {
        Path::new(LISTS).join(match self {
            Self::Early => "modules.early",
            Self::Disk => "modules.disk",
            Self::Network => "modules.network",
        })
    }
}

/// A line of a module list.
#[derive(Debug, PartialEq, Eq)]
struct Module<'a> {
    path: &'a Path,
    /// Its hardware may be absent.
    is_optional: bool,
}

/// Loads a list in its order, which is the order of dependence.
///
/// # Errors
/// [`KernelError`] names the module.
pub fn load_modules(stage: Stage) -> Result<(), KernelError> {
    let path = stage.list();
    let text = read(&path)?;
    for module in parse_modules(&path, &text)? {
        let loaded = File::open(module.path)
            .map_err(|error| Errno::try_from(error).unwrap_or(Errno::EIO))
            .and_then(|file| finit_module(&file, c"", ModuleInitFlags::empty()));
        match loaded {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) if module.is_optional => {
                tracing::debug!(module = %module.path.display(), %error, "not loaded");
            }
            Err(source) => {
                return Err(KernelError::Module {
                    path: module.path.to_owned(),
                    source,
                });
            }
        }
    }
    Ok(())
}

/// No module is loaded any more until the next start.
///
/// # Errors
/// [`KernelError::Setting`].
pub fn seal_modules() -> Result<(), KernelError> {
    set(Path::new("/proc/sys"), "kernel.modules_disabled", "1")
}

/// Applies the image's settings.
///
/// # Errors
/// [`KernelError`] names the setting.
pub fn apply_settings() -> Result<(), KernelError> {
    let path = Path::new(LISTS).join("sysctl.conf");
    let text = read(&path)?;
    for (key, value, is_optional) in parse_settings(&path, &text)? {
        match set(Path::new("/proc/sys"), key, value) {
            Err(error) if is_optional || error.is_unknown() => tracing::warn!(%error, "not set"),
            result => result?,
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, KernelError> {
    std::fs::read_to_string(path).map_err(|source| KernelError::List {
        path: path.to_owned(),
        source,
    })
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn parse_modules<'a>(list: &Path, text: &'a str) -> Result<Vec<Module<'a>>, KernelError> {
    lines(text)
        .map(|line| {
            let (name, is_optional) = match line.strip_prefix('?') {
                Some(rest) => (rest.trim(), true),
                None => (line, false),
            };
            let path = Path::new(name);
            let is_module = path.is_absolute() && name.ends_with(".ko");
            is_module
                .then_some(Module { path, is_optional })
                .ok_or_else(|| bad_line(list, line, "[?]/path/to/module.ko"))
        })
        .collect()
}

fn parse_settings<'a>(
    list: &Path,
    text: &'a str,
) -> Result<Vec<(&'a str, &'a str, bool)>, KernelError> {
    lines(text)
        .map(|line| {
            let (rest, is_optional) = match line.strip_prefix('-') {
                Some(rest) => (rest, true),
                None => (line, false),
            };
            let (key, value) = rest
                .split_once('=')
                .ok_or_else(|| bad_line(list, line, "key = value"))?;
            let key = key.trim();
            let is_key = !key.is_empty()
                && !key.contains("..")
                && !key.starts_with('/')
                && key
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte));
            is_key
                .then_some((key, value.trim(), is_optional))
                .ok_or_else(|| bad_line(list, line, "key = value"))
        })
        .collect()
}

fn bad_line(list: &Path, line: &str, form: &'static str) -> KernelError {
    KernelError::Line {
        path: list.to_owned(),
        line: line.to_owned(),
        form,
    }
}

fn set(root: &Path, key: &str, value: &str) -> Result<(), KernelError> {
    use std::io::Write;
    let path = root.join(key.replace('.', "/"));
    // These are no files that could be replaced: the kernel acts on the write.
    std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|source| KernelError::Setting {
            key: key.to_owned(),
            value: value.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_lists_name_files_and_what_may_be_missing() {
        let text = "# net\n/m/a.ko\n\n?/m/b.ko\n";
        let modules = parse_modules(Path::new("l"), text).unwrap();
        assert_eq!(modules.len(), 2);
        assert!(!modules[0].is_optional && modules[1].is_optional);
        for bad in ["a.ko", "/m/a", "/m/a.ko extra=1"] {
            let error = parse_modules(Path::new("l"), bad).unwrap_err();
            assert!(error.to_string().contains("l:"), "{error}");
        }
    }

    #[test]
    fn settings_stay_below_their_root() {
        let text = "# c\nkernel.dmesg_restrict = 1\n-net.ipv4.ip_forward=1\n";
        assert_eq!(
            parse_settings(Path::new("l"), text).unwrap(),
            [
                ("kernel.dmesg_restrict", "1", false),
                ("net.ipv4.ip_forward", "1", true)
            ]
        );
        for bad in ["kernel", "../x = 1", "/etc/x = 1", "= 1", "a b = 1"] {
            assert!(parse_settings(Path::new("l"), bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_setting_that_the_kernel_lacks_is_named() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("kernel")).unwrap();
        bylaw_types::file::write_atomic(&root.path().join("kernel/a"), b"0").unwrap();
        set(root.path(), "kernel.a", "1").unwrap();
        assert_eq!(std::fs::read(root.path().join("kernel/a")).unwrap(), b"1");
        let error = set(root.path(), "kernel.b", "1").unwrap_err();
        assert!(error.to_string().contains("kernel.b = 1"), "{error}");
        assert!(error.is_unknown());
        std::fs::create_dir(root.path().join("kernel/c")).unwrap();
        assert!(!set(root.path(), "kernel.c", "1").unwrap_err().is_unknown());
    }
}
