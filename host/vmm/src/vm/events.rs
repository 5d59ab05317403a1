//! What guests tell their host (VMM API reference, section 3).
//!
//! A guest is not trusted: what it says is short, not too frequent, and changes nothing
//! but what people see of this VM, whether it is started again after it powered off, and
//! the file that says who it is.

use std::time::Duration;

use bylaw_rpc::message::vmm::GuestEvent;
use tokio::time::Instant;

use super::Vm;
use crate::record::{InstanceInfo, RecordError, State, shared};

/// Longest text, in bytes.
const MAX_BODY: usize = 4096;
/// Events in a row, and how long until one more is allowed.
const BURST: u32 = 100;
const REFILL: Duration = Duration::from_millis(100);

/// Why an event was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// Too many in a short time.
    #[error("too many events; at most one per {REFILL:?} in the long run")]
    TooMany,
    /// A name that means nothing.
    #[error("unknown event {0:?}")]
    Unknown(String),
    /// Text that is not what the event needs.
    #[error("{event}: {reason}")]
    Malformed {
        /// Which.
        event: String,
        /// What is wrong.
        reason: String,
    },
    /// The record.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// A bucket of permissions that fills slowly.
#[derive(Debug)]
pub struct RateLimit {
    left: u32,
    filled: Instant,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            left: BURST,
            filled: Instant::now(),
        }
    }
}

impl RateLimit {
    fn take(&mut self) -> bool {
        let intervals = self.filled.elapsed().as_millis() / REFILL.as_millis();
        let new = u32::try_from(intervals).unwrap_or(BURST).min(BURST);
        if new > 0 {
            self.left = (self.left + new).min(BURST);
            self.filled = Instant::now();
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

impl Vm {
    /// Takes an event; a text that is too long is ignored.
    ///
    /// # Errors
    /// [`NotifyError`].
    pub fn notify(
        &self,
        event: &str,
        body: &str,
        at_ms: u64,
        keep: usize,
    ) -> Result<(), NotifyError> {
        if !self.view().limit.take() {
            return Err(NotifyError::TooMany);
        }
        if body.len() > MAX_BODY {
            tracing::warn!(vm = self.id(), event, "an event is too long; ignored");
            return Ok(());
        }
        match event {
            "boot.progress" => body.clone_into(&mut self.view().boot_progress),
            "boot.error" => body.clone_into(&mut self.view().boot_error),
            "shutdown.progress" => {
                body.clone_into(&mut self.view().shutdown_progress);
                if body == "powering off" {
                    self.set_state(State::STOPPED)?;
                }
            }
            "instance.info" => self.identify(body)?,
            other => return Err(NotifyError::Unknown(other.chars().take(64).collect())),
        }
        let mut view = self.view();
        view.events.push_back(GuestEvent {
            event: event.to_owned(),
            body: body.to_owned(),
            timestamp: at_ms,
        });
        while view.events.len() > keep {
            view.events.pop_front();
        }
        Ok(())
    }

    fn identify(&self, body: &str) -> Result<(), NotifyError> {
        let malformed = |reason: &str| NotifyError::Malformed {
            event: "instance.info".to_owned(),
            reason: reason.to_owned(),
        };
        let info: InstanceInfo =
            serde_json::from_str(body).map_err(|error| malformed(&error.to_string()))?;
        if !info.is_valid() {
            return Err(malformed("every id is 40 hexadecimal digits or empty"));
        }
        if info.app_id != self.view().manifest.app_id {
            return Err(malformed("this is another app"));
        }
        // Guests say the same at every boot.
        if self.dir.read_shared(shared::INSTANCE_INFO)?.as_deref() != Some(body.as_bytes()) {
            self.dir
                .write_shared(shared::INSTANCE_INFO, body.as_bytes())?;
        }
        self.view().instance_id = Some(info.instance_id).filter(|id| !id.is_empty());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Manifest, WorkDir};

    fn vm(run: &std::path::Path) -> Vm {
        let manifest: Manifest = serde_json::from_value(serde_json::json!({
            "id": "a", "name": "n", "app_id": "ab".repeat(20), "vcpu": 1, "memory": 512,
            "disk_size": 1, "image": "i", "created_at_ms": 1,
        }))
        .unwrap();
        let state = State::STARTED;
        let dir = WorkDir::create(run, state, &manifest, &[]).unwrap();
        Vm::new(dir, manifest, state)
    }

    #[tokio::test]
    async fn the_last_events_are_kept() {
        let run = tempfile::tempdir().unwrap();
        let vm = vm(run.path());
        for step in 0..5 {
            vm.notify("boot.progress", &format!("step {step}"), step, 3)
                .unwrap();
        }
        let view = vm.view();
        let bodies: Vec<_> = view
            .events
            .iter()
            .map(|event| event.body.as_str())
            .collect();
        assert_eq!(bodies, ["step 2", "step 3", "step 4"]);
        assert_eq!(view.boot_progress, "step 4");
    }

    #[tokio::test]
    async fn powering_off_ends_what_should_run() {
        let run = tempfile::tempdir().unwrap();
        let vm = vm(run.path());
        vm.notify("shutdown.progress", "stopping containers", 1, 3)
            .unwrap();
        assert!(vm.view().started);
        vm.notify("shutdown.progress", "powering off", 1, 3)
            .unwrap();
        assert!(!vm.view().started);
        assert!(!vm.dir.state().unwrap().started, "on the disk too");
    }

    #[tokio::test]
    async fn a_guest_says_who_it_is_but_not_that_it_is_another_app() {
        let run = tempfile::tempdir().unwrap();
        let vm = vm(run.path());
        let (id, app) = ("cd".repeat(20), "ab".repeat(20));
        let good = format!(r#"{{"instance_id":"{id}","app_id":"{app}"}}"#);
        vm.notify("instance.info", &good, 1, 3).unwrap();
        assert_eq!(vm.view().instance_id.as_deref(), Some(id.as_str()));
        let file = vm.dir.read_shared(shared::INSTANCE_INFO).unwrap().unwrap();
        assert_eq!(file, good.as_bytes());
        for bad in [
            format!(r#"{{"instance_id":"{id}","app_id":"{id}"}}"#),
            format!(r#"{{"instance_id":"../x","app_id":"{app}"}}"#),
            "x".to_owned(),
        ] {
            assert!(vm.notify("instance.info", &bad, 1, 3).is_err(), "{bad}");
        }
        let file = vm.dir.read_shared(shared::INSTANCE_INFO).unwrap().unwrap();
        assert_eq!(file, good.as_bytes(), "unchanged");
    }

    #[tokio::test(start_paused = true)]
    async fn long_unknown_and_frequent_events_are_not_taken() {
        let run = tempfile::tempdir().unwrap();
        let vm = vm(run.path());
        vm.notify("boot.progress", &"x".repeat(MAX_BODY + 1), 1, 3)
            .unwrap();
        assert!(vm.view().events.is_empty());
        assert!(vm.notify("boot.other", "x", 1, 3).is_err());
        let taken = (0..200).filter(|_| vm.notify("boot.progress", "x", 1, 3).is_ok());
        assert_eq!(taken.count(), 98);
        tokio::time::advance(REFILL * 2).await;
        let taken = (0..200).filter(|_| vm.notify("boot.progress", "x", 1, 3).is_ok());
        assert_eq!(taken.count(), 2);
    }
}
