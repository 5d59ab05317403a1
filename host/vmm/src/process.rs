//! QEMU processes: started so that they survive the VMM, and found again by it.
//!
//! A VM's process is started through [`launcher`](crate::launcher): the same process,
//! before it becomes QEMU, leaves the VMM's session, takes a lock on `qemu.lock` that
//! lasts as long as the process, and writes down who it is. So there is never a second
//! QEMU of one VM, whenever the VMM was killed; and a number that the system gave to
//! somebody else since is not taken for the VM.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use procfs_core::FromRead;
use procfs_core::process::Stat;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::record::WorkDir;

/// Names the process.
pub const PID_FILE: &str = "qemu.pid";
/// Held by the process as long as it lives.
pub const LOCK_FILE: &str = "qemu.lock";
/// How long a process that was just started may take to say who it is.
const ANNOUNCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
/// How long QEMU may take to end by itself when it is told to.
const TERMINATE: Duration = Duration::from_secs(5);

/// A process, for good: unlike its number, this never means another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its number.
    pub pid: i32,
    /// When it started, in ticks since boot.
    pub start_ticks: u64,
    /// Which boot.
    pub boot_id: String,
}

impl Identity {
    /// The running process of this number.
    ///
    /// # Errors
    /// There is none, or `/proc` is not what it should be.
    pub fn of(pid: i32) -> io::Result<Self> {
        let stat = File::open(format!("/proc/{pid}/stat"))?;
        let stat = Stat::from_read(stat).map_err(|error| io::Error::other(error.to_string()))?;
        if matches!(stat.state, 'Z' | 'X') {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it has ended"));
        }
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Ok(Self {
            pid,
            start_ticks: stat.starttime,
            boot_id: boot_id.trim().to_owned(),
        })
    }

    /// First line the number, as other tools expect; then the rest.
    pub fn to_text(&self) -> String {
        format!("{}\n{} {}\n", self.pid, self.start_ticks, self.boot_id)
    }

    /// Reads what [`Identity::to_text`] wrote.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        Some(Self {
            pid: words.next()?.parse().ok()?,
            start_ticks: words.next()?.parse().ok()?,
            boot_id: words.next()?.to_owned(),
        })
    }
}

/// A running QEMU.
#[derive(Debug)]
pub struct Process {
    identity: Identity,
    fd: AsyncFd<OwnedFd>,
}

impl Process {
    /// Holds on to a process; none when it has ended. Must be called inside a runtime.
    fn open(identity: Identity) -> Option<Self> {
        let pid = Pid::from_raw(identity.pid)?;
        let fd = pidfd_open(pid, PidfdFlags::NONBLOCK).ok()?;
        // Checked after the handle is there: it cannot become another's any more.
        if Identity::of(identity.pid).ok()? != identity {
            return None;
        }
        #[expect(
            deprecated,
            reason = "its replacement is unsafe; an OwnedFd is what it needs"
        )]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE).ok()?;
        Some(Self { identity, fd })
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.identity.pid
    }

    /// Waits for its end.
    pub async fn ended(&self) {
        // An error means that the handle is useless, and so is waiting.
        let _ = self.fd.readable().await;
    }

    /// Ends it: politely first, so that QEMU completes what it writes.
    pub async fn end(&self) {
        for (signal, patience) in [(Signal::TERM, TERMINATE), (Signal::KILL, ANNOUNCE)] {
            if pidfd_send_signal(&self.fd, signal).is_err() {
                return;
            }
            if tokio::time::timeout(patience, self.ended()).await.is_ok() {
                return;
            }
        }
        tracing::error!(pid = self.pid(), "does not end, not even when killed");
    }
}

/// The process of a VM, if one runs; waits for one that was just started to say who it is.
///
/// # Errors
/// Something holds the lock but says not who it is.
pub async fn find(dir: &WorkDir) -> io::Result<Option<Process>> {
    let deadline = tokio::time::Instant::now() + ANNOUNCE;
    loop {
        let text = std::fs::read_to_string(dir.file(PID_FILE)).unwrap_or_default();
        if let Some(process) = Identity::from_text(&text).and_then(Process::open) {
            return Ok(Some(process));
        }
        if lock(&dir.file(LOCK_FILE))?.is_some() {
            return Ok(None);
        }
        if tokio::time::Instant::now() > deadline {
            let text = format!(
                "{} is held by a process that {} does not name; find it with fuser and end it",
                dir.file(LOCK_FILE).display(),
                dir.file(PID_FILE).display()
            );
            return Err(io::Error::other(text));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Takes the lock of a VM; none while its process lives.
///
/// # Errors
/// The file system's.
pub fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Waits until the lock of a VM is free, and takes it.
///
/// # Errors
/// The file system's, or [`io::ErrorKind::TimedOut`].
pub async fn lock_soon(path: &Path) -> io::Result<File> {
    let deadline = tokio::time::Instant::now() + ANNOUNCE;
    loop {
        if let Some(file) = lock(path)? {
            return Ok(file);
        }
        if tokio::time::Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_read_as_written() {
        let own = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert_eq!(Identity::from_text(&own.to_text()), Some(own.clone()));
        for bad in ["", "1", "1\n2", "x\n2 b"] {
            assert_eq!(Identity::from_text(bad), None, "{bad:?}");
        }
        assert!(Identity::of(i32::MAX).is_err());
    }

    #[tokio::test]
    async fn a_number_that_is_somebody_elses_now_is_not_the_vm() {
        let run = tempfile::tempdir().unwrap();
        let dir = WorkDir::at(run.path().to_owned());
        assert!(find(&dir).await.unwrap().is_none(), "no file");
        let own = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let older = Identity {
            start_ticks: own.start_ticks - 1,
            ..own.clone()
        };
        let before_reboot = Identity {
            boot_id: "other".into(),
            ..own.clone()
        };
        for (identity, found) in [(older, false), (before_reboot, false), (own, true)] {
            let file = dir.file(PID_FILE);
            bylaw_types::file::write_private(&file, identity.to_text().as_bytes()).unwrap();
            assert_eq!(find(&dir).await.unwrap().is_some(), found, "{identity:?}");
        }
    }

    #[tokio::test]
    async fn ends_are_noticed_and_made() {
        let mut child = tokio::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        let process = Process::open(Identity::of(pid).unwrap()).unwrap();
        let short = Duration::from_millis(50);
        assert!(tokio::time::timeout(short, process.ended()).await.is_err());
        process.end().await;
        process.ended().await;
        child.wait().await.unwrap();
        assert!(Identity::of(pid).is_err());
    }

    #[test]
    fn a_lock_has_one_holder() {
        let run = tempfile::tempdir().unwrap();
        let path = run.path().join(LOCK_FILE);
        let held = lock(&path).unwrap();
        assert!(held.is_some());
        assert!(lock(&path).unwrap().is_none());
        drop(held);
        assert!(lock(&path).unwrap().is_some());
    }
}
