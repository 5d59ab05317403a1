//! The ACPI tables that QEMU builds for a machine (measurements reference, 5.2).
//!
//! They depend on QEMU's version and on nearly every argument, so nobody predicts them:
//! the same QEMU builds them for a paused machine with the same arguments, and they are
//! read where firmware would read them.

mod arguments;
mod qtest;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bylaw_types::Register;
use sha2::{Digest, Sha384};

use qtest::Qtest;

const DEADLINE: Duration = Duration::from_secs(20);
const MAX_BLOB: u32 = 4 << 20;

/// What QEMU hands to the firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcpiBlobs {
    /// `etc/table-loader`.
    pub loader: Vec<u8>,
    /// `etc/acpi/rsdp`.
    pub rsdp: Vec<u8>,
    /// `etc/acpi/tables`.
    pub tables: Vec<u8>,
}

/// Why the tables are not known.
#[derive(Debug, thiserror::Error)]
pub enum AcpiError {
    /// QEMU does not start.
    #[error("cannot run {qemu}: {source}")]
    Start {
        /// The program.
        qemu: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// QEMU refuses the arguments.
    #[error("{qemu} ended before it built ACPI tables: {said}")]
    Ended {
        /// The program.
        qemu: PathBuf,
        /// The end of what it wrote.
        said: String,
    },
    /// It took too long.
    #[error("{qemu} did not show its ACPI tables within {} s", DEADLINE.as_secs())]
    Deadline {
        /// The program.
        qemu: PathBuf,
    },
    /// It says something else than expected.
    #[error("{qemu}: {reason}")]
    Protocol {
        /// The program.
        qemu: PathBuf,
        /// What.
        reason: String,
    },
}

impl AcpiBlobs {
    /// What the firmware extends into RTMR0: digests of loader, RSDP and tables.
    pub fn digests(&self) -> [Register; 3] {
        [&self.loader, &self.rsdp, &self.tables]
            .map(|blob| Register::new(Sha384::digest(blob).into()))
    }
}

/// The tables of a machine with these QEMU arguments. Blocks for about a second, at most
/// 20.
///
/// The machine never runs. Arguments that do not shape it, or that would take something
/// from the host which only one QEMU can have (accelerator, sockets, network back ends,
/// passed-through devices), are left out or replaced by a device in the same slot.
///
/// # Errors
/// [`AcpiError`].
pub fn read_from_qemu(qemu: &Path, args: &[String]) -> Result<AcpiBlobs, AcpiError> {
    let failed = |source| AcpiError::Start {
        qemu: qemu.to_owned(),
        source,
    };
    let directory = tempfile::tempdir().map_err(failed)?;
    let socket = directory.path().join("qtest");
    let listener = qtest::listen(&socket).map_err(failed)?;
    let until = Instant::now() + DEADLINE;
    let mut command = Command::new(qemu);
    command
        // No instruction runs; a build without the first has the second.
        .args(["-accel", "tcg", "-accel", "qtest", "-S"])
        .args(["-nodefaults", "-display", "none"])
        .args(["-qtest-log", "/dev/null", "-qtest"])
        .arg(format!("unix:{}", socket.display()))
        .args(arguments::paused(args))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut process = Process(command.spawn().map_err(failed)?);
    let outcome = Qtest::accept(&listener, until, || process.has_ended())
        .and_then(|mut machine| read_all(&mut machine));
    match outcome {
        Ok(blobs) => Ok(blobs),
        // An end explains every other failure.
        Err(_) if process.has_ended() => Err(AcpiError::Ended {
            qemu: qemu.to_owned(),
            said: process.last_words(),
        }),
        Err(qtest::QtestError::Deadline) => Err(AcpiError::Deadline {
            qemu: qemu.to_owned(),
        }),
        Err(error) => Err(AcpiError::Protocol {
            qemu: qemu.to_owned(),
            reason: error.to_string(),
        }),
    }
}

/// `x.y.z` of this QEMU.
///
/// # Errors
/// [`AcpiError`].
pub fn version_of(qemu: &Path) -> Result<String, AcpiError> {
    let output = Command::new(qemu)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| AcpiError::Start {
            qemu: qemu.to_owned(),
            source,
        })?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.split_whitespace()
        .find(|word| {
            word.split('.').count() == 3 && word.split('.').all(|part| part.parse::<u32>().is_ok())
        })
        .map(str::to_owned)
        .ok_or_else(|| AcpiError::Protocol {
            qemu: qemu.to_owned(),
            reason: format!("--version says {said:?}"),
        })
}

fn read_all(machine: &mut Qtest) -> Result<AcpiBlobs, qtest::QtestError> {
    machine.place_as_firmware()?;
    let files = machine.firmware_files()?;
    let mut blob = |name: &'static str| {
        let file = files
            .iter()
            .find(|file| file.name == name)
            .ok_or(qtest::QtestError::Missing(name))?;
        if file.size > MAX_BLOB {
            return Err(qtest::QtestError::Answer(format!(
                "{name} has {} bytes",
                file.size
            )));
        }
        machine.read_firmware_file(file.selector, file.size)
    };
    Ok(AcpiBlobs {
        tables: blob("etc/acpi/tables")?,
        rsdp: blob("etc/acpi/rsdp")?,
        loader: blob("etc/table-loader")?,
    })
}

/// A QEMU that is gone with its owner.
struct Process(Child);

impl Process {
    fn has_ended(&mut self) -> bool {
        // A short wait: the socket closes a moment before the process is gone.
        for _ in 0..2 {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    fn last_words(&mut self) -> String {
        let mut said = Vec::new();
        if let Some(stderr) = self.0.stderr.take() {
            let _ = stderr.take(4096).read_to_end(&mut said);
        }
        String::from_utf8_lossy(&said).trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
