//! Programs of the image: run with a deadline, understood when they fail.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process;

/// Where programs are; the environment of PID 1 is nobody's to choose.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Home of programs that want one: in memory.
pub const HOME: &str = "/root";
/// Longest excerpt of a program's complaint, in bytes.
const MAX_COMPLAINT: usize = 3000;

/// A program that did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It cannot be run.
    #[error("cannot run {program}: {source}")]
    Start {
        /// Which.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// It says no.
    #[error("{program} failed ({status}): {complaint}")]
    Failed {
        /// Which.
        program: String,
        /// Exit status.
        status: String,
        /// What it wrote last.
        complaint: String,
    },
    /// It does not end.
    #[error("{program} did not end within {limit:?}")]
    TooSlow {
        /// Which.
        program: String,
        /// How long it had.
        limit: Duration,
    },
}

/// A program with arguments, input and a deadline.
#[derive(Debug)]
pub struct Command<'a> {
    program: &'a str,
    inner: process::Command,
    input: Option<&'a [u8]>,
    limit: Duration,
}

impl<'a> Command<'a> {
    /// One minute, no input, and nothing in the environment but a path and a home.
    pub fn new<S: AsRef<OsStr>>(program: &'a str, arguments: impl IntoIterator<Item = S>) -> Self {
        let mut inner = process::Command::new(program);
        inner
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", HOME)
            .kill_on_drop(true);
        Self {
            program,
            inner,
            input: None,
            limit: Duration::from_secs(60),
        }
    }

    /// What it reads. The way for secrets: arguments are seen by every process.
    #[must_use]
    pub fn input(mut self, bytes: &'a [u8]) -> Self {
        self.input = Some(bytes);
        self
    }

    /// How long it may take.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Further variables.
    #[must_use]
    pub fn variables(mut self, variables: &BTreeMap<String, String>) -> Self {
        self.inner.envs(variables);
        self
    }

    /// Its working directory.
    #[must_use]
    pub fn directory(mut self, directory: &str) -> Self {
        self.inner.current_dir(directory);
        self
    }

    /// Runs it; its standard output is the answer.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn output(mut self) -> Result<Vec<u8>, CommandError> {
        self.inner.stdout(Stdio::piped()).stderr(Stdio::piped());
        let (output, program) = self.finish().await?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let complaint = match output.stderr.is_empty() {
            true => tail(&output.stdout),
            false => tail(&output.stderr),
        };
        Err(CommandError::Failed {
            program,
            status: output.status.to_string(),
            complaint,
        })
    }

    /// Runs it with its output on the console, where it takes long and people watch.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn on_console(self) -> Result<(), CommandError> {
        let (output, program) = self.finish().await?;
        if output.status.success() {
            return Ok(());
        }
        Err(CommandError::Failed {
            program,
            status: output.status.to_string(),
            complaint: "see the log of this VM".to_owned(),
        })
    }

    async fn finish(mut self) -> Result<(std::process::Output, String), CommandError> {
        let program = self.program.to_owned();
        let start = |source| CommandError::Start {
            program: program.clone(),
            source,
        };
        self.inner.stdin(match self.input {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        });
        let mut child = self.inner.spawn().map_err(start)?;
        let pipe = child.stdin.take();
        let whole = async {
            if let (Some(mut pipe), Some(input)) = (pipe, self.input) {
                // One that does not read its input says so itself.
                let _ = pipe.write_all(input).await;
            }
            child.wait_with_output().await
        };
        match tokio::time::timeout(self.limit, whole).await {
            Ok(output) => Ok((output.map_err(start)?, program)),
            Err(_) => Err(CommandError::TooSlow {
                program,
                limit: self.limit,
            }),
        }
    }
}

/// The last lines of what a program wrote, as one line of printable text.
pub fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let joined: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let mut line = joined.join("; ");
    line.retain(|character| !character.is_control());
    let excess = line.len().saturating_sub(MAX_COMPLAINT);
    let from = (excess..=line.len())
        .find(|at| line.is_char_boundary(*at))
        .unwrap_or_default();
    line.split_off(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_input_and_a_clean_environment() {
        let output = Command::new("sh", ["-c", "cat; env"])
            .input(b"in\n")
            .variables(&BTreeMap::from([("A".to_owned(), "1".to_owned())]))
            .output()
            .await
            .unwrap();
        let text = String::from_utf8(output).unwrap();
        assert!(text.starts_with("in\n"), "{text}");
        assert!(text.contains("A=1\n") && !text.contains("CARGO"), "{text}");
    }

    #[tokio::test]
    async fn failures_say_what_the_program_said() {
        let error = Command::new("sh", ["-c", "echo no such thing >&2; exit 3"])
            .output()
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("no such thing") && text.contains('3'),
            "{text}"
        );
        let error = Command::new("/nowhere/x", [""; 0])
            .output()
            .await
            .unwrap_err();
        assert!(matches!(error, CommandError::Start { .. }), "{error}");
        let endless = Command::new("true", [""; 0]).within(Duration::MAX);
        endless.output().await.unwrap();
        let error = Command::new("sleep", ["60"])
            .within(Duration::from_millis(50))
            .output()
            .await
            .unwrap_err();
        assert!(matches!(error, CommandError::TooSlow { .. }), "{error}");
    }

    #[test]
    fn a_complaint_is_one_short_printable_line() {
        assert_eq!(tail(b"a\n\n \x1b[31mb\n"), "a; [31mb");
        let long = tail("ä".repeat(5000).as_bytes());
        assert!(long.len() <= MAX_COMPLAINT && long.ends_with('ä'));
    }
}
