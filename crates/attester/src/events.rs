//! The runtime event log: which events were extended, in dstack's own form, so that
//! its tools and this crate write one log.
//!
//! One JSON object a line: `{"event":NAME,"payload":BASE64}`, with `"version":2` where
//! the digest is of the second form. A lock on the file makes "extend the register,
//! then append" one step for every process of the VM.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bylaw_attest::event_log::MAX_EVENTS;
use bylaw_attest::{EventVersion, RuntimeEvent};
use serde::{Deserialize, Serialize};

use crate::error::PlatformError;
use crate::kernel::Roots;
use crate::tsm::not_read;

/// Longest log, in bytes. Evidence holds every payload twice and must stay below
/// [`bylaw_attest::MAX_LEN`].
pub(crate) const MAX_LOG: usize = 4 * 1024 * 1024;
/// Most events this crate logs: verifiers count the firmware's among [`MAX_EVENTS`], too.
pub(crate) const MAX_RUNTIME_EVENTS: usize = MAX_EVENTS - 256;

/// A log that holds something else than events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Longer than 4 MiB.
    #[error("the event log is longer than {MAX_LOG} bytes")]
    TooLong,
    /// More events than a verifier reads.
    #[error("the event log has more than {MAX_EVENTS} events")]
    TooMany,
    /// A line that is torn, or of another form.
    #[error("line {number} is not a runtime event: {reason}")]
    Line {
        /// From 1.
        number: usize,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    event: String,
    payload: String,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    version: u32,
}

fn one() -> u32 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_one(version: &u32) -> bool {
    *version == 1
}

fn version(number: u32) -> Option<EventVersion> {
    match number {
        1 => Some(EventVersion::V1),
        2 => Some(EventVersion::V2),
        _ => None,
    }
}

/// Parses a log. The last line may lack its newline.
///
/// # Errors
/// [`LogError`] names the line.
pub fn parse(bytes: &[u8]) -> Result<Vec<RuntimeEvent>, LogError> {
    if bytes.len() > MAX_LOG {
        return Err(LogError::TooLong);
    }
    if bytes.is_empty() {
        return Ok(vec![]);
    }
    let lines = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut events = Vec::new();
    for (index, line) in lines.split(|byte| *byte == b'\n').enumerate() {
        if index == MAX_EVENTS {
            return Err(LogError::TooMany);
        }
        events.push(from_line(line).map_err(|reason| LogError::Line {
            number: index + 1,
            reason,
        })?);
    }
    Ok(events)
}

fn from_line(line: &[u8]) -> Result<RuntimeEvent, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let version = version(line.version)
        .ok_or_else(|| format!("event version {} is not 1 or 2", line.version))?;
    let payload = STANDARD
        .decode(&line.payload)
        .map_err(|error| format!("payload is not base64: {error}"))?;
    Ok(RuntimeEvent::new(&line.event, payload, version))
}

/// One event as its line, newline included.
pub fn to_line(event: &RuntimeEvent) -> String {
    let line = Line {
        event: event.event.clone(),
        payload: STANDARD.encode(&event.payload),
        version: event.version.number(),
    };
    // Two strings and a number always serialise.
    let mut text = serde_json::to_string(&line).unwrap_or_default();
    text.push('\n');
    text
}

/// Fixes the version of this boot's events, once, for every process of the VM.
///
/// # Errors
/// [`PlatformError::VersionFixed`] when another one was fixed.
pub fn fix_event_version(roots: &Roots, asked: EventVersion) -> Result<(), PlatformError> {
    let _lock = Log::exclusive(roots)?;
    let path = version_path(roots);
    match read_version(&path)? {
        None => {
            let text = asked.number().to_string();
            bylaw_types::file::write_atomic(&path, text.as_bytes())
                .map_err(|source| not_read(&path, source))
        }
        Some(fixed) if fixed == asked => Ok(()),
        Some(fixed) => Err(PlatformError::VersionFixed {
            path,
            fixed: fixed.number(),
            asked: asked.number(),
        }),
    }
}

/// The version of this boot's events; the first where none was fixed.
pub(crate) fn event_version(roots: &Roots) -> Result<EventVersion, PlatformError> {
    Ok(read_version(&version_path(roots))?.unwrap_or_default())
}

fn version_path(roots: &Roots) -> PathBuf {
    roots.log.join("runtime_event_version")
}

fn read_version(path: &Path) -> Result<Option<EventVersion>, PlatformError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(not_read(path, source)),
    };
    match text.trim().parse().ok().and_then(version) {
        Some(version) => Ok(Some(version)),
        None => Err(PlatformError::Attribute {
            path: path.to_owned(),
            value: text,
            expected: "1 or 2",
        }),
    }
}

/// The log, locked while this lives.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// For extending: nobody else extends or quotes meanwhile.
    pub(crate) fn exclusive(roots: &Roots) -> Result<Self, PlatformError> {
        Self::open(roots, File::lock)
    }

    /// For quoting: nobody extends meanwhile.
    pub(crate) fn shared(roots: &Roots) -> Result<Self, PlatformError> {
        Self::open(roots, File::lock_shared)
    }

    /// Makes an empty log where there is none, so that there is something to lock.
    fn open(
        roots: &Roots,
        lock: impl FnOnce(&File) -> io::Result<()>,
    ) -> Result<Self, PlatformError> {
        let path = roots.log.join("runtime_events.log");
        std::fs::create_dir_all(&roots.log).map_err(|source| not_read(&roots.log, source))?;
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .and_then(|file| lock(&file).map(|()| file))
            .map_err(|source| not_read(&path, source))?;
        Ok(Self { path, file })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The events so far.
    pub(crate) fn events(&mut self) -> Result<Vec<RuntimeEvent>, PlatformError> {
        parse(&self.bytes()?).map_err(|source| PlatformError::Log {
            path: self.path.clone(),
            source,
        })
    }

    /// Whether a further event fits; asked before the register is extended.
    pub(crate) fn has_room(
        &mut self,
        events: &[RuntimeEvent],
        next: &RuntimeEvent,
    ) -> Result<bool, PlatformError> {
        let length = self.bytes()?.len() + to_line(next).len() + 1;
        Ok(events.len() < MAX_RUNTIME_EVENTS && length <= MAX_LOG)
    }

    /// Appends in one write: whoever reads sees all of it or nothing.
    pub(crate) fn append(&mut self, event: &RuntimeEvent) -> Result<(), PlatformError> {
        self.write(&to_line(event))
            .map_err(|source| PlatformError::NotLogged {
                event: event.event.clone(),
                path: self.path.clone(),
                source,
            })
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        let unfinished = self.last_byte()?.is_some_and(|byte| byte != b'\n');
        let line = if unfinished {
            format!("\n{line}")
        } else {
            line.to_owned()
        };
        self.file.write_all(line.as_bytes())?;
        self.file.sync_data()
    }

    fn last_byte(&mut self) -> io::Result<Option<u8>> {
        if self.file.seek(SeekFrom::End(0))? == 0 {
            return Ok(None);
        }
        let mut byte = [0];
        self.file.seek(SeekFrom::End(-1))?;
        self.file.read_exact(&mut byte)?;
        Ok(Some(byte[0]))
    }

    fn bytes(&mut self) -> Result<Vec<u8>, PlatformError> {
        let mut read = || {
            let most = u64::try_from(MAX_LOG).unwrap_or(u64::MAX);
            let mut bytes = Vec::new();
            self.file.seek(SeekFrom::Start(0))?;
            (&self.file).take(most + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|source| not_read(&self.path, source))
    }
}

#[cfg(test)]
mod tests;
