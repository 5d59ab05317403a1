//! One VM: what it is, whether it should run, and the process that runs it.

mod events;
mod journal;
mod status;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bylaw_rpc::message::vmm::GuestEvent;
use tokio::sync::Notify;

use crate::launch::{LAUNCH_FILE, Launch};
use crate::process::{LOCK_FILE, Process, find, lock_soon};
use crate::record::{InstanceInfo, Manifest, RecordError, State, WorkDir, shared};

pub use events::{NotifyError, RateLimit};
use journal::Journal;
pub use status::Status;

/// A VM.
#[derive(Debug)]
pub struct Vm {
    /// Its record.
    pub dir: WorkDir,
    /// Held by whoever starts, stops, changes or removes it.
    pub operation: tokio::sync::Mutex<()>,
    /// Told when anything of the view changes that the supervisor looks at.
    pub changed: Notify,
    view: Mutex<View>,
    /// What its guest said, on the disk.
    journal: Mutex<Journal>,
}

/// What is known of a VM; the record on disk is the same or older by one write.
#[derive(Debug)]
pub struct View {
    /// What it is made from.
    pub manifest: Manifest,
    /// Whether it should run.
    pub started: bool,
    /// Whether it is being removed, or was.
    pub removing: bool,
    /// Whether a start is under way.
    pub launching: bool,
    /// Its last start.
    pub launch: Option<Launch>,
    /// Its QEMU.
    pub process: Option<Arc<Process>>,
    /// How its last QEMU ended.
    pub ended: Option<Ended>,
    /// Starts in a row that did not last.
    pub restarts: u32,
    /// What the guest said, oldest first.
    pub events: VecDeque<GuestEvent>,
    /// What the guest said last.
    pub boot_progress: String,
    /// Why it does not boot.
    pub boot_error: String,
    /// What the guest said last.
    pub shutdown_progress: String,
    /// Who the guest is.
    pub instance_id: Option<String>,
    /// How often the guest may speak.
    pub limit: RateLimit,
}

/// An end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Unix milliseconds.
    pub at_ms: u64,
    /// None when it was not our child.
    pub code: Option<i32>,
}

impl Vm {
    /// A new VM, not running.
    pub fn new(dir: WorkDir, manifest: Manifest, state: State) -> Self {
        Self {
            journal: Mutex::new(Journal::new(&dir)),
            dir,
            operation: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            view: Mutex::new(View {
                manifest,
                started: state.started,
                removing: false,
                launching: false,
                launch: None,
                process: None,
                ended: None,
                restarts: 0,
                events: VecDeque::new(),
                boot_progress: String::new(),
                boot_error: String::new(),
                shutdown_progress: String::new(),
                instance_id: None,
                limit: RateLimit::default(),
            }),
        }
    }

    /// A VM from its record, with its process if one runs and the last `keep` events of its
    /// guest.
    ///
    /// # Errors
    /// [`RecordError`].
    pub async fn load(dir: WorkDir, keep: usize) -> Result<Self, RecordError> {
        let manifest = dir.manifest()?;
        let state = dir.state()?;
        let launch: Option<Launch> = match dir.file(LAUNCH_FILE).exists() {
            true => Some(dir.read(LAUNCH_FILE)?),
            false => None,
        };
        let io = |source| RecordError::Io {
            path: dir.path().to_owned(),
            source,
        };
        let mut process = find(&dir).await.map_err(io)?;
        if state.ending
            && let Some(process) = process.take()
        {
            process.end().await;
        }
        if process.is_none() {
            call_off(&dir).await.map_err(io)?;
        }
        let instance_id = dir
            .read_shared(shared::INSTANCE_INFO)?
            .and_then(|bytes| serde_json::from_slice::<InstanceInfo>(&bytes).ok())
            .map(|info| info.instance_id)
            .filter(|id| !id.is_empty());
        let removing = dir.is_removing();
        let vm = Self::new(dir, manifest, state);
        {
            let mut view = vm.view();
            view.launch = launch;
            view.process = process.map(Arc::new);
            view.instance_id = instance_id;
            view.removing = removing;
        }
        if let Err(error) = vm.recall(keep) {
            tracing::warn!(vm = vm.id(), %error, "what its guest said before cannot be read");
        }
        Ok(vm)
    }

    /// What is known; not to be held for long.
    pub fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its id.
    pub fn id(&self) -> String {
        self.view().manifest.id.clone()
    }

    /// Its QEMU, while one runs.
    pub fn process(&self) -> Option<Arc<Process>> {
        self.view().process.clone()
    }

    /// Records whether it should run.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn set_state(&self, state: State) -> Result<(), RecordError> {
        self.dir.set_state(state)?;
        self.view().started = state.started;
        self.changed.notify_one();
        Ok(())
    }

    /// Notes the end of this start's process; once.
    pub fn note_end(&self, nonce: &str, at_ms: u64) -> bool {
        let mut view = self.view();
        let current = view.launch.as_ref().is_some_and(|l| l.nonce == nonce);
        if !current || view.process.take().is_none() {
            return false;
        }
        let code = view.ended.and_then(|ended| ended.code);
        view.ended = Some(Ended { at_ms, code });
        drop(view);
        self.changed.notify_one();
        true
    }

    /// Notes how this start's process ended, when it was our child.
    pub fn note_code(&self, nonce: &str, at_ms: u64, code: Option<i32>) {
        let mut view = self.view();
        if view.launch.as_ref().is_some_and(|l| l.nonce == nonce) {
            let at_ms = view.ended.map_or(at_ms, |ended| ended.at_ms);
            view.ended = Some(Ended { at_ms, code });
        }
    }
}

/// Makes sure that a start which is still on its way comes to nothing; no process runs.
///
/// # Errors
/// The file system's.
pub async fn call_off(dir: &WorkDir) -> std::io::Result<()> {
    let _lock = lock_soon(&dir.file(LOCK_FILE)).await?;
    match std::fs::remove_file(dir.file(LAUNCH_FILE)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl View {
    /// Whether a QEMU runs or is about to.
    pub fn is_alive(&self) -> bool {
        self.launching || self.process.is_some()
    }

    fn begin(&mut self, launch: Launch) {
        self.launch = Some(launch);
        self.launching = true;
        self.ended = None;
        self.events.clear();
        self.boot_progress.clear();
        self.boot_error.clear();
        self.shutdown_progress.clear();
        self.limit = RateLimit::default();
    }
}
