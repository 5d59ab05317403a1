//! What guests said, on the disk: a VMM that starts again still shows it.
//!
//! One line of JSON for each event of the last start, appended while the guest speaks and
//! read once when the record is. A VMM that dies leaves at most one torn line at the end,
//! which is dropped. Nothing is flushed to the platter: the VMs of a machine that crashes
//! end with it, and their next start begins a new file.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use bylaw_rpc::message::vmm::GuestEvent;
use bylaw_types::file::write_private;
use serde::{Deserialize, Serialize};

use crate::record::WorkDir;

/// Name of the file in the work directory.
const FILE: &str = "events.jsonl";
/// Bytes that are appended until the file is written anew with what is still shown. So the
/// file never has more than these and the events kept, each of which is short.
const ROOM: u64 = 256 * 1024;

#[derive(Serialize, Deserialize)]
struct Line {
    /// Nonce of the start that said it.
    start: String,
    #[serde(flatten)]
    event: GuestEvent,
}

/// The file of one VM.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    appended: u64,
}

impl Journal {
    pub(super) fn new(dir: &WorkDir) -> Self {
        Self {
            path: dir.file(FILE),
            appended: 0,
        }
    }

    /// What the guest of `start` said, oldest first; without one, that of the last start
    /// that said anything. The file has exactly these lines afterwards.
    pub(super) fn restore(&mut self, start: Option<&str>) -> io::Result<Vec<GuestEvent>> {
        let bytes = match std::fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            bytes => bytes?,
        };
        let mut lines: Vec<Line> = bytes
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        let last = lines.last().map(|line| line.start.clone());
        let wanted = start.map(str::to_owned).or(last).unwrap_or_default();
        lines.retain(|line| line.start == wanted);
        let events: Vec<GuestEvent> = lines.into_iter().map(|line| line.event).collect();
        self.write(&wanted, &events)?;
        Ok(events)
    }

    /// Adds an event, and says whether the file is due to be [written](Self::write) anew.
    pub(super) fn append(&mut self, start: &str, event: &GuestEvent) -> io::Result<bool> {
        let line = line(start, event)?;
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)?
            .write_all(&line)?;
        self.appended = self.appended.saturating_add(line.len() as u64);
        Ok(self.appended > ROOM)
    }

    /// Replaces the file by these events.
    pub(super) fn write(&mut self, start: &str, events: &[GuestEvent]) -> io::Result<()> {
        let lines: io::Result<Vec<_>> = events.iter().map(|event| line(start, event)).collect();
        write_private(&self.path, &lines?.concat())?;
        self.appended = 0;
        Ok(())
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.appended = 0;
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn line(start: &str, event: &GuestEvent) -> io::Result<Vec<u8>> {
    let line = Line {
        start: start.to_owned(),
        event: event.clone(),
    };
    let mut bytes = serde_json::to_vec(&line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(body: &str) -> GuestEvent {
        GuestEvent {
            event: "boot.progress".to_owned(),
            body: body.to_owned(),
            timestamp: 7,
        }
    }

    fn journal(dir: &std::path::Path) -> Journal {
        Journal::new(&WorkDir::at(dir.to_owned()))
    }

    #[test]
    fn a_torn_line_is_dropped_and_what_follows_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = journal(dir.path());
        assert!(first.restore(Some("a")).unwrap().is_empty());
        first.append("a", &event("one\nline")).unwrap();
        first.append("a", &event("two")).unwrap();
        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        // Cut anywhere in the second line.
        let first_line = 1 + whole.iter().position(|byte| *byte == b'\n').unwrap();
        for end in first_line..whole.len() - 1 {
            write_private(&path, &whole[..end]).unwrap();
            let mut again = journal(dir.path());
            assert_eq!(again.restore(Some("a")).unwrap(), [event("one\nline")]);
            again.append("a", &event("three")).unwrap();
            let events = again.restore(None).unwrap();
            assert_eq!(events, [event("one\nline"), event("three")], "{end}");
        }
    }

    #[test]
    fn another_starts_words_are_not_this_ones() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal(dir.path());
        journal.append("a", &event("of a")).unwrap();
        journal.append("b", &event("of b")).unwrap();
        let path = dir.path().join(FILE);
        let both = std::fs::read(&path).unwrap();
        assert_eq!(journal.restore(None).unwrap(), [event("of b")]);
        write_private(&path, &both).unwrap();
        assert!(journal.restore(Some("c")).unwrap().is_empty());
        assert!(std::fs::read(&path).unwrap().is_empty());
        journal.clear().unwrap();
        journal.clear().unwrap();
        assert!(!path.exists());
    }
}
