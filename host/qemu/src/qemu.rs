//! An installed QEMU.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use crate::{QemuError, Tee};

/// An installed QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    /// The program.
    pub path: PathBuf,
    /// What it says it is.
    pub version: QemuVersion,
}

impl Qemu {
    /// Asks the program for its version.
    ///
    /// # Errors
    /// [`QemuError::Qemu`] when it does not start or is not QEMU.
    pub fn detect(path: &Path) -> Result<Self, QemuError> {
        let text = run(path, &["--version"])?;
        let version = text
            .strip_prefix("QEMU emulator version ")
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|version| version.parse().ok())
            .ok_or_else(|| QemuError::Qemu {
                program: path.to_owned(),
                reason: format!("it is not QEMU: it says {:?}", text.lines().next()),
            })?;
        Ok(Self {
            path: path.to_owned(),
            version,
        })
    }

    /// Accelerators it was built with, as `-accel help` lists them.
    ///
    /// # Errors
    /// [`QemuError::Qemu`].
    pub fn accelerators(&self) -> Result<Vec<String>, QemuError> {
        Ok(listed(&run(&self.path, &["-accel", "help"])?))
    }

    /// Objects it can make, as `-object help` lists them: `tdx-guest`, `sev-snp-guest`,
    /// `iommufd` among them when it supports these.
    ///
    /// # Errors
    /// [`QemuError::Qemu`].
    pub fn objects(&self) -> Result<Vec<String>, QemuError> {
        Ok(listed(&run(&self.path, &["-object", "help"])?))
    }
}

/// The lines below a heading.
fn listed(text: &str) -> Vec<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.ends_with(':'))
        .map(str::to_owned)
        .collect()
}

fn run(program: &Path, arguments: &[&str]) -> Result<String, QemuError> {
    let fail = |reason: String| QemuError::Qemu {
        program: program.to_owned(),
        reason,
    };
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| fail(error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(fail(format!("{}: {}", output.status, said.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Version of QEMU: major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct QemuVersion {
    /// Major.
    pub major: u32,
    /// Minor.
    pub minor: u32,
    /// Patch.
    pub patch: u32,
}

impl QemuVersion {
    /// A version.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// Whether a TD has a legacy interrupt controller when nothing else is configured.
    pub fn pic(&self) -> bool {
        self.major < 9
    }

    /// Whether a TD's pages are all added before any is measured, which shows in MRTD.
    pub fn two_pass(&self) -> bool {
        self.major < 9
    }

    /// Since 9.1 the user is an option of `-run-with`; `-runas` went away later.
    pub(crate) fn has_run_with_user(&self) -> bool {
        *self >= Self::new(9, 1, 0)
    }

    /// Whether a build of this version may know the TEE. Distributions carry TDX as
    /// patches since 8.0; [`Qemu::objects`] is the build's own answer.
    pub fn supports(&self, tee: &Tee) -> bool {
        match tee {
            Tee::None | Tee::Simulated => true,
            Tee::Tdx(_) => *self >= Self::new(8, 0, 0),
            Tee::SevSnp(_) => *self >= Self::new(9, 1, 0),
        }
    }
}

impl FromStr for QemuVersion {
    type Err = QemuError;

    fn from_str(text: &str) -> Result<Self, QemuError> {
        let numbers: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some([major, minor, patch]) => Ok(Self::new(*major, *minor, *patch)),
            _ => Err(QemuError::description(
                "qemu",
                format!("{text:?} is not a version as in 9.2.0"),
            )),
        }
    }
}

impl fmt::Display for QemuVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_three_numbers_and_order() {
        let version = |text: &str| text.parse::<QemuVersion>().unwrap();
        assert_eq!(version("9.2.1").to_string(), "9.2.1");
        assert!(version("10.0.0") > version("9.2.1"));
        assert!(version("8.2.2").pic() && !version("9.0.0").pic());
        assert!(!version("9.0.9").has_run_with_user() && version("9.1.0").has_run_with_user());
        for wrong in ["", "9", "9.2", "9.2.1.0", "9.2.x", "+9.2.0.", "9.-2.0"] {
            assert!(wrong.parse::<QemuVersion>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_installed_qemu_says_what_it_is() {
        let qemu = Qemu::detect(Path::new("qemu-system-x86_64")).unwrap();
        assert!(qemu.version >= QemuVersion::new(7, 0, 0));
        assert!(qemu.accelerators().unwrap().contains(&"tcg".to_owned()));
        assert!(
            qemu.objects()
                .unwrap()
                .contains(&"memory-backend-ram".to_owned())
        );
    }

    #[test]
    fn what_is_not_qemu_is_refused_with_what_it_said() {
        let error = Qemu::detect(Path::new("/bin/echo"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("not QEMU") && error.contains("echo"),
            "{error}"
        );
        let error = Qemu::detect(Path::new("/nowhere/qemu")).unwrap_err();
        assert!(error.to_string().contains("cvm.qemu_path"));
    }
}
