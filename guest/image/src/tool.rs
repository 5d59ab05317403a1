//! Programs that the build runs: from the pinned packages where the result depends on them.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::tree::TreeError;

/// A program that could not be run, or failed.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not there.
    #[error("cannot run {program} ({hint})")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// It said no.
    #[error("{program} failed ({status}): {stderr}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        stderr: String,
    },
}

/// Runs a command to its end and answers what it printed.
///
/// # Errors
/// [`ToolError`].
pub(crate) fn run(command: &mut Command) -> Result<String, ToolError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| ToolError::Start {
            program: program.clone(),
            source,
            hint: "it is part of a Debian system; script/setup installs what is missing",
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = stderr.trim().lines().rev().take(4).collect();
    Err(ToolError::Failed {
        program,
        status: output.status.to_string(),
        stderr: last.into_iter().rev().collect::<Vec<_>>().join(" | "),
    })
}

/// Unpacks a .deb's files into `to`; none of its scripts runs.
///
/// # Errors
/// [`ToolError`].
pub(crate) fn unpack(deb: &Path, to: &Path) -> Result<(), ToolError> {
    run(Command::new("dpkg-deb")
        .env("LC_ALL", "C")
        .arg("--extract")
        .arg(deb)
        .arg(to))
    .map(drop)
}

/// The pinned programs, unpacked in a folder of their own.
///
/// Each runs through the dynamic loader of that folder with its libraries, so the machine's own programs and
/// libraries do not matter.
#[derive(Debug)]
pub struct Tools {
    root: PathBuf,
}

impl Tools {
    /// Unpacks `debs` into `root`, an empty folder.
    ///
    /// # Errors
    /// [`ToolError`].
    pub(crate) fn unpack(debs: &[PathBuf], root: PathBuf) -> Result<Self, ToolError> {
        for deb in debs {
            unpack(deb, &root)?;
        }
        Ok(Self { root })
    }

    /// The program `name`, with nothing of this process's environment.
    pub(crate) fn command(&self, name: &str) -> Command {
        let program = ["usr/bin", "usr/sbin"]
            .iter()
            .map(|folder| self.root.join(folder).join(name))
            .find(|path| path.exists())
            // Not there: running it says so, with this path.
            .unwrap_or_else(|| self.root.join("usr/bin").join(name));
        let mut command = Command::new(self.root.join("usr/lib64/ld-linux-x86-64.so.2"));
        command
            .env_clear()
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .arg("--library-path")
            .arg(self.root.join("usr/lib/x86_64-linux-gnu"))
            .arg(program);
        command
    }

    /// Runs one whose output goes to a file.
    ///
    /// # Errors
    /// [`ToolError`].
    pub(crate) fn run_into(
        &self,
        command: &mut Command,
        input: Option<&Path>,
        output: &Path,
    ) -> Result<(), crate::ImageError> {
        let opened =
            std::fs::File::create(output).map_err(|source| TreeError::new(output, source))?;
        let stdin = match input {
            None => Stdio::null(),
            Some(path) => {
                let file =
                    std::fs::File::open(path).map_err(|source| TreeError::new(path, source))?;
                Stdio::from(file)
            }
        };
        let program = format!("{command:?}");
        let done = command
            .stdin(stdin)
            .stdout(opened)
            .stderr(Stdio::piped())
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .map_err(|source| ToolError::Start {
                program: program.clone(),
                source,
                hint: "it is one of the set `tools`",
            })?;
        if done.status.success() {
            return Ok(());
        }
        Err(ToolError::Failed {
            program,
            status: done.status.to_string(),
            stderr: String::from_utf8_lossy(&done.stderr).trim().to_owned(),
        }
        .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_is_named_with_what_it_said() {
        let error =
            run(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("sh failed") && text.contains("no such thing"),
            "{text}"
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run(&mut Command::new("bylaw-no-such-program")).unwrap_err();
        assert!(
            error.to_string().contains("bylaw-no-such-program"),
            "{error}"
        );
    }
}
