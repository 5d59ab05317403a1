//! configfs-tsm: the kernel's report interface, the same for every TEE.
//!
//! A directory made below `tsm/report` is a request with attributes: `inblob` takes
//! the report data, reading `outblob` makes the driver quote it. Every write counts
//! up `generation`, so that a report made for somebody else's write is noticed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bylaw_types::ReportData;
use rustix::io::Errno;

use crate::error::PlatformError;
use crate::kernel::{Kernel, Roots};

/// Longest blob that is read, in bytes. Drivers give some kilobytes.
pub(crate) const MAX_BLOB: usize = 128 * 1024;
/// How often a disturbed request is made again.
const ATTEMPTS: u32 = 5;
/// Waited before the second attempt; doubled before each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// What to quote.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) report_data: &'a ReportData,
    /// `None` leaves the driver's own.
    pub(crate) privilege_level: Option<u8>,
}

/// What the driver gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// The quote or report.
    pub(crate) out: Vec<u8>,
    /// The host's certificates; empty where the driver has none.
    pub(crate) aux: Vec<u8>,
}

/// The driver behind the interface, e.g. `tdx_guest`.
pub(crate) fn provider(kernel: &dyn Kernel, roots: &Roots) -> Result<String, PlatformError> {
    Entry::new(kernel, roots)?.provider()
}

/// Has the driver, which must be `provider`, report.
pub(crate) fn report(
    kernel: &dyn Kernel,
    roots: &Roots,
    provider: &'static str,
    request: Request<'_>,
) -> Result<Report, PlatformError> {
    let entry = Entry::new(kernel, roots)?;
    let actual = entry.provider()?;
    if actual != provider {
        return Err(PlatformError::OtherProvider {
            expected: provider,
            actual,
        });
    }
    let mut attempt = 1;
    let mut pause = FIRST_PAUSE;
    loop {
        match entry.attempt(request, attempt) {
            Err(PlatformError::Busy { .. } | PlatformError::Generation { .. })
                if attempt < ATTEMPTS => {}
            result => return result,
        }
        std::thread::sleep(pause);
        pause *= 2;
        attempt += 1;
    }
}

/// One directory below `tsm/report`, gone when dropped.
struct Entry<'a> {
    kernel: &'a dyn Kernel,
    reports: PathBuf,
    path: PathBuf,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.kernel.remove_dir(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a report entry stays");
        }
    }
}

impl<'a> Entry<'a> {
    fn new(kernel: &'a dyn Kernel, roots: &Roots) -> Result<Self, PlatformError> {
        let reports = roots.configfs.join("tsm/report");
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(PlatformError::Random)?;
        // Nobody guesses it, so nobody writes to it by mistake.
        let path = reports.join(format!("bylaw-{}", hex::encode(name)));
        match kernel.make_dir(&path) {
            Ok(()) => Ok(Self {
                kernel,
                reports,
                path,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(PlatformError::NoTsm { path: reports })
            }
            Err(error) if errno(&error) == Some(Errno::NXIO) => {
                Err(PlatformError::NoProvider { path: reports })
            }
            Err(source) if denied(&source) => Err(PlatformError::NotPermitted {
                path: reports,
                source,
            }),
            Err(source) => Err(PlatformError::Driver { path, source }),
        }
    }

    fn provider(&self) -> Result<String, PlatformError> {
        const LONGEST: usize = 64;
        let bytes = self.read("provider", LONGEST, 1)?;
        let name = String::from_utf8_lossy(&bytes).trim().to_owned();
        if name.is_empty() || bytes.len() > LONGEST {
            return Err(PlatformError::Attribute {
                path: self.path.join("provider"),
                value: name,
                expected: "the name of a driver",
            });
        }
        Ok(name)
    }

    fn attempt(&self, request: Request<'_>, attempt: u32) -> Result<Report, PlatformError> {
        let mut expected = self.generation(attempt)?;
        if let Some(level) = request.privilege_level {
            self.write("privlevel", level.to_string().as_bytes(), attempt)?;
            expected = expected.wrapping_add(1);
        }
        self.write("inblob", request.report_data.as_bytes(), attempt)?;
        expected = expected.wrapping_add(1);
        let out = self.read("outblob", MAX_BLOB, attempt)?;
        let aux = self.optional("auxblob", attempt)?;
        let actual = self.generation(attempt)?;
        if actual != expected {
            return Err(PlatformError::Generation {
                attempts: attempt,
                expected,
                actual,
            });
        }
        for (what, blob) in [("outblob", &out), ("auxblob", &aux)] {
            if blob.len() > MAX_BLOB {
                return Err(PlatformError::Size {
                    what,
                    actual: blob.len(),
                    expected: format!("at most {MAX_BLOB}"),
                });
            }
        }
        Ok(Report { out, aux })
    }

    fn generation(&self, attempt: u32) -> Result<u64, PlatformError> {
        const LONGEST: usize = 32;
        let bytes = self.read("generation", LONGEST, attempt)?;
        let text = String::from_utf8_lossy(&bytes);
        text.trim().parse().map_err(|_| PlatformError::Attribute {
            path: self.path.join("generation"),
            value: text.trim().to_owned(),
            expected: "a number",
        })
    }

    /// Drivers without such a blob do not show the attribute.
    fn optional(&self, name: &str, attempt: u32) -> Result<Vec<u8>, PlatformError> {
        let path = self.path.join(name);
        match self.kernel.read(&path, MAX_BLOB) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
            result => result.map_err(|source| self.failed(path, source, attempt)),
        }
    }

    fn read(&self, name: &str, limit: usize, attempt: u32) -> Result<Vec<u8>, PlatformError> {
        let path = self.path.join(name);
        self.kernel
            .read(&path, limit)
            .map_err(|source| self.failed(path, source, attempt))
    }

    fn write(&self, name: &str, bytes: &[u8], attempt: u32) -> Result<(), PlatformError> {
        let path = self.path.join(name);
        self.kernel
            .write(&path, bytes)
            .map_err(|source| self.failed(path, source, attempt))
    }

    fn failed(&self, path: PathBuf, source: io::Error, attempts: u32) -> PlatformError {
        match errno(&source) {
            // The driver's module was unloaded.
            Some(Errno::NXIO) => PlatformError::NoProvider {
                path: self.reports.clone(),
            },
            Some(Errno::BUSY | Errno::AGAIN | Errno::INTR) => PlatformError::Busy {
                path,
                attempts,
                source,
            },
            _ if denied(&source) => PlatformError::NotPermitted { path, source },
            _ => PlatformError::Driver { path, source },
        }
    }
}

pub(crate) fn errno(error: &io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}

/// Whether another user, or another mount, could.
pub(crate) fn denied(error: &io::Error) -> bool {
    matches!(
        errno(error),
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS)
    )
}

/// As [`denied`], with the path said.
pub(crate) fn not_read(path: &Path, source: io::Error) -> PlatformError {
    let path = path.to_owned();
    if denied(&source) {
        PlatformError::NotPermitted { path, source }
    } else {
        PlatformError::File { path, source }
    }
}

#[cfg(test)]
mod tests;
