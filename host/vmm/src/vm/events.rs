//! What guests tell their host (VMM API reference, section 3).
//!
//! A guest is not trusted: what it says is short, not too frequent, and changes nothing
//! but what people see of this VM, whether it is started again after it powered off, and
//! the file that says who it is.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use bylaw_rpc::message::vmm::GuestEvent;
use tokio::time::Instant;

use super::journal::Journal;
use super::{View, Vm};
use crate::launch::Launch;
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
            "boot.progress" | "boot.error" => {}
            "shutdown.progress" if body == "powering off" => self.set_state(State::STOPPED)?,
            "shutdown.progress" => {}
            "instance.info" => self.identify(body)?,
            other => return Err(NotifyError::Unknown(other.chars().take(64).collect())),
        }
        let event = GuestEvent {
            event: event.to_owned(),
            body: body.to_owned(),
            timestamp: at_ms,
        };
        // Held until both have it, so that they have it in the same order.
        let mut journal = self.journal();
        let start = self.start();
        let is_due = journal.append(&start, &event);
        self.view().hear(event, keep);
        let kept = is_due.and_then(|is_due| match is_due {
            true => journal.write(&start, &self.view().heard()),
            false => Ok(()),
        });
        if let Err(error) = kept {
            // People see it all the same, until the VMM ends.
            tracing::warn!(vm = self.id(), %error, "an event is not on the disk");
        }
        Ok(())
    }

    /// What its guest said to the VMM before this one.
    pub(super) fn recall(&self, keep: usize) -> std::io::Result<()> {
        let start = self
            .view()
            .launch
            .as_ref()
            .map(|launch| launch.nonce.clone());
        let events = self.journal().restore(start.as_deref())?;
        let mut view = self.view();
        for event in events {
            view.hear(event, keep);
        }
        Ok(())
    }

    /// A start: what the guest of the one before said is forgotten.
    pub fn begin(&self, launch: Launch) {
        if let Err(error) = self.journal().clear() {
            tracing::warn!(vm = self.id(), %error, "events of the last start stay on the disk");
        }
        self.view().begin(launch);
    }

    /// Nonce of the last start.
    fn start(&self) -> String {
        let view = self.view();
        let launch = view.launch.as_ref();
        launch
            .map(|launch| launch.nonce.clone())
            .unwrap_or_default()
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
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

impl View {
    /// Takes in what the guest said; of events, the last `keep` stay.
    fn hear(&mut self, event: GuestEvent, keep: usize) {
        if let Some(text) = self.text_of(&event.event) {
            text.clone_from(&event.body);
        }
        self.events.push_back(event);
        while self.events.len() > keep {
            self.events.pop_front();
        }
    }

    fn text_of(&mut self, event: &str) -> Option<&mut String> {
        match event {
            "boot.progress" => Some(&mut self.boot_progress),
            "boot.error" => Some(&mut self.boot_error),
            "shutdown.progress" => Some(&mut self.shutdown_progress),
            _ => None,
        }
    }

    /// The events whose hearing leads to this view.
    fn heard(&mut self) -> Vec<GuestEvent> {
        let timestamp = self.events.front().map_or(0, |event| event.timestamp);
        let mut events: Vec<GuestEvent> = Vec::new();
        // What is said last of each may be older than every event that is kept.
        for name in ["boot.progress", "boot.error", "shutdown.progress"] {
            let body = self.text_of(name).cloned().unwrap_or_default();
            if !body.is_empty() {
                events.push(GuestEvent {
                    event: name.to_owned(),
                    body,
                    timestamp,
                });
            }
        }
        events.retain(|old| self.events.iter().all(|event| event.event != old.event));
        events.extend(self.events.iter().cloned());
        events
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

    /// What people see.
    fn seen(vm: &Vm) -> (Vec<String>, String, String) {
        let view = vm.view();
        let bodies = view.events.iter().map(|event| event.body.clone());
        let (progress, error) = (view.boot_progress.clone(), view.boot_error.clone());
        (bodies.collect(), progress, error)
    }

    #[tokio::test]
    async fn what_was_said_is_known_after_a_restart() {
        let run = tempfile::tempdir().unwrap();
        let vm = vm(run.path());
        vm.notify("boot.progress", "booting", 1, 3).unwrap();
        vm.notify("boot.error", "no keys", 2, 3).unwrap();
        let again = Vm::load(vm.dir.clone(), 3).await.unwrap();
        assert_eq!(seen(&again), seen(&vm));
        assert_eq!(seen(&again).2, "no keys");
        again.notify("shutdown.progress", "stopping", 3, 3).unwrap();
        let third = Vm::load(vm.dir.clone(), 2).await.unwrap();
        let (bodies, _, error) = seen(&third);
        assert_eq!(bodies, ["no keys", "stopping"], "as many as are kept");
        assert_eq!(error, "no keys");
        assert_eq!(third.view().events[0].timestamp, 2);
    }

    #[tokio::test]
    async fn a_guest_that_talks_on_fills_no_disk() {
        let run = tempfile::tempdir().unwrap();
        let vm = vm(run.path());
        vm.notify("boot.error", "why", 0, 3).unwrap();
        // Every byte of it takes six on the disk.
        let long = "\u{1}".repeat(MAX_BODY);
        let mut largest = 0;
        for at in 1..200 {
            vm.view().limit = RateLimit::default();
            vm.notify("boot.progress", &long, at, 3).unwrap();
            let length = std::fs::metadata(vm.dir.file("events.jsonl"))
                .unwrap()
                .len();
            largest = largest.max(length);
        }
        assert!(largest < 400 * 1024, "{largest}");
        let again = Vm::load(vm.dir.clone(), 3).await.unwrap();
        assert_eq!(seen(&again), seen(&vm));
        assert_eq!(seen(&again).2, "why", "older than every event that is kept");
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
