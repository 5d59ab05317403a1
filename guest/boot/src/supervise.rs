//! Programs that must keep running: started again with growing pauses, stopped in the
//! reverse of the order they were started in.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::command::{HOME, PATH};

/// Pause before the first restart.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A program that ran this long has recovered.
const RECOVERED: Duration = Duration::from_secs(60);

/// A program and how it is run.
#[derive(Debug, Clone)]
pub struct Program {
    /// For the log.
    pub name: &'static str,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Its environment beyond path and home.
    pub variables: BTreeMap<String, String>,
    /// How long it may take to end.
    pub patience: Duration,
}

impl Program {
    /// One with an ordinary environment and ten seconds to end.
    pub fn new<S: Into<String>>(name: &'static str, command: impl IntoIterator<Item = S>) -> Self {
        Self {
            name,
            command: command.into_iter().map(Into::into).collect(),
            variables: BTreeMap::new(),
            patience: Duration::from_secs(10),
        }
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn spawn(&self, stderr: Stdio) -> std::io::Result<Child> {
        let (program, arguments) = self
            .command
            .split_first()
            .ok_or(std::io::ErrorKind::InvalidInput)?;
        Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", HOME)
            .envs(&self.variables)
            .stdin(Stdio::null())
            .stderr(stderr)
            .spawn()
    }
}

#[derive(Debug)]
struct Running {
    name: &'static str,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Everything that keeps running.
#[derive(Debug, Default)]
pub struct Supervisor(Vec<Running>);

impl Supervisor {
    /// Starts a program and keeps it running.
    pub fn start(&mut self, program: Program) {
        self.keep(program, None);
    }

    /// Keeps a program running that was started already.
    pub fn adopt(&mut self, program: Program, child: Child) {
        self.keep(program, Some(child));
    }

    fn keep(&mut self, program: Program, child: Option<Child>) {
        let (stop, stopped) = watch::channel(false);
        self.0.push(Running {
            name: program.name,
            stop,
            task: tokio::spawn(keep_running(program, child, stopped)),
        });
    }

    /// Stops one program.
    pub async fn stop(&mut self, name: &str) {
        if let Some(at) = self.0.iter().position(|running| running.name == name) {
            let running = self.0.remove(at);
            let _ = running.stop.send(true);
            let _ = running.task.await;
        }
    }

    /// Stops everything, the latest first.
    pub async fn stop_all(&mut self) {
        while let Some(running) = self.0.pop() {
            let _ = running.stop.send(true);
            let _ = running.task.await;
        }
    }
}

async fn keep_running(
    program: Program,
    mut adopted: Option<Child>,
    mut stop: watch::Receiver<bool>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let started = Instant::now();
        let child = match adopted.take() {
            Some(child) => Ok(child),
            None => program.spawn(Stdio::inherit()),
        };
        match child {
            Ok(mut child) => tokio::select! {
                status = child.wait() => {
                    tracing::warn!(program = program.name, ?status, "ended, and is started again");
                }
                () = told(&mut stop) => {
                    end(&program, child).await;
                    return;
                }
            },
            Err(error) => tracing::error!(program = program.name, %error, "does not start"),
        }
        if started.elapsed() > RECOVERED {
            pause = FIRST_PAUSE;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = told(&mut stop) => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn told(stop: &mut watch::Receiver<bool>) {
    // A supervisor that is gone wants nobody to run either.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Asks it to end, and ends it.
async fn end(program: &Program, mut child: Child) {
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
        let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
    }
    if tokio::time::timeout(program.patience, child.wait())
        .await
        .is_err()
    {
        tracing::warn!(program = program.name, "did not end in time, and is killed");
        let _ = child.kill().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(path: &std::path::Path, count: usize) -> String {
        for _ in 0..200 {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            if text.lines().count() >= count {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{} has no {count} lines", path.display());
    }

    fn shell(script: String) -> Program {
        Program::new("test", ["sh".to_owned(), "-c".to_owned(), script])
    }

    #[tokio::test]
    async fn a_program_that_ends_is_started_again() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut supervisor = Supervisor::default();
        supervisor.start(shell(format!("echo run >> {}", log.display())));
        lines(&log, 2).await;
        supervisor.stop_all().await;
        let count = std::fs::read_to_string(&log).unwrap().len();
        tokio::time::sleep(FIRST_PAUSE * 3).await;
        assert_eq!(
            std::fs::read_to_string(&log).unwrap().len(),
            count,
            "it stays stopped"
        );
    }

    #[tokio::test]
    async fn stopping_is_asked_first_and_forced_then() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut supervisor = Supervisor::default();
        let file = log.display();
        supervisor.start(shell(format!(
            "trap 'echo term >> {file}; exit' TERM; echo up >> {file}; while :; do sleep 0.02; done"
        )));
        lines(&log, 1).await;
        supervisor.stop("test").await;
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "up\nterm\n");

        let mut deaf = shell(format!(
            "trap '' TERM; echo deaf >> {file}; while :; do sleep 0.02; done"
        ));
        deaf.patience = Duration::from_millis(100);
        supervisor.start(deaf);
        lines(&log, 3).await;
        let start = Instant::now();
        supervisor.stop_all().await;
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
