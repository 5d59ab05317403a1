//! Background processes that can be ended later, by anyone, without mistaking
//! another process for them.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// A process that was started; the start time tells it from a later one with its number.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    name: String,
    pid: i32,
    start_time: u64,
}

/// What was started under one state directory.
#[derive(Debug)]
pub(crate) struct Processes {
    path: PathBuf,
    entries: Vec<Entry>,
}

/// Clock ticks since boot at which the process started; `None` when it is gone.
fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces; fields count from after it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

impl Processes {
    pub(crate) fn new(state: &Path) -> Self {
        Self {
            path: state.join("processes.json"),
            entries: vec![],
        }
    }

    /// What an earlier run recorded.
    pub(crate) fn load(state: &Path) -> anyhow::Result<Self> {
        let mut processes = Self::new(state);
        if let Ok(text) = std::fs::read(&processes.path) {
            processes.entries = serde_json::from_slice(&text)
                .with_context(|| processes.path.display().to_string())?;
        }
        Ok(processes)
    }

    /// Starts `command` in a process group of its own, its output in `<name>.log`;
    /// recorded before anything else happens.
    pub(crate) fn start(&mut self, name: &str, command: &mut Command) -> anyhow::Result<PathBuf> {
        let log = self.path.with_file_name(format!("{name}.log"));
        let output = File::create(&log)?;
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {name}: {}", command.get_program().display()))?;
        let pid = i32::try_from(child.id())?;
        let start_time = start_time(pid).with_context(|| format!("{name} ended at once"))?;
        self.entries.push(Entry {
            name: name.to_owned(),
            pid,
            start_time,
        });
        let json = serde_json::to_vec(&self.entries)?;
        bylaw_types::file::write_atomic(&self.path, &json)?;
        Ok(log)
    }

    /// Whether the process of this name still runs.
    pub(crate) fn is_alive(&self, name: &str) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.name == name && start_time(entry.pid) == Some(entry.start_time))
    }

    /// Ends everything, the last started first; names of what was running.
    pub(crate) fn end_all(&mut self) -> Vec<String> {
        let mut ended = Vec::new();
        for entry in self.entries.drain(..).rev() {
            let runs = || start_time(entry.pid) == Some(entry.start_time);
            let Some(pid) = Pid::from_raw(entry.pid).filter(|_| runs()) else {
                continue;
            };
            let _ = kill_process(pid, Signal::TERM);
            for _ in 0..60 {
                if !runs() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            if runs() {
                let _ = kill_process(pid, Signal::KILL);
            }
            ended.push(entry.name);
        }
        let _ = std::fs::remove_file(&self.path);
        ended
    }
}
