//! Starting, stopping and starting again.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bylaw_qemu::Qemu;
use bylaw_rpc::{Client, Empty};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::{Node, NodeError};
use crate::launch::{self, LAUNCH_FILE, Launch, QMP_SOCKET, Site, stop_simulated};
use crate::process::find;
use crate::qmp::Monitor;
use crate::record::State;
use crate::vm::{Vm, call_off};

/// How long QEMU may take until its monitor answers.
const COME_UP: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// What of QEMU's complaints goes into an error.
const COMPLAINT: usize = 2000;

impl Node {
    /// Starts a VM; one that runs already is fine.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn start(&self, id: &str) -> Result<(), NodeError> {
        let vm = self.vm(id)?;
        let _operation = vm.operation.lock().await;
        refuse_removing(&vm)?;
        let before = vm.dir.state()?;
        vm.view().restarts = 0;
        vm.set_state(State::STARTED)?;
        let result = self.launch(&vm).await;
        if result.is_err() {
            vm.set_state(before)?;
        }
        result
    }

    /// Ends a VM at once.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn stop(&self, id: &str) -> Result<(), NodeError> {
        let vm = self.vm(id)?;
        let _operation = vm.operation.lock().await;
        refuse_removing(&vm)?;
        vm.set_state(State::ENDING)?;
        let failed = |source| NodeError::Io {
            what: vm.dir.path().display().to_string(),
            source,
        };
        if let Some(process) = find(&vm.dir).await.map_err(failed)? {
            process.end().await;
        }
        call_off(&vm.dir).await.map_err(failed)?;
        self.after_end(&vm).await;
        Ok(vm.set_state(State::STOPPED)?)
    }

    /// Forgets the last start of a VM that does not run.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn forget_launch(&self, id: &str) -> Result<(), NodeError> {
        let vm = self.vm(id)?;
        let _operation = vm.operation.lock().await;
        if vm.view().is_alive() {
            return Err(NodeError::State(format!("process is running: {id}")));
        }
        let file = vm.dir.file(LAUNCH_FILE);
        match std::fs::remove_file(&file) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                let what = file.display().to_string();
                return Err(NodeError::Io { what, source });
            }
            _ => {}
        }
        vm.view().launch = None;
        Ok(())
    }

    /// Asks the guest to power off: its agent, or else its power button.
    ///
    /// # Errors
    /// [`NodeError::State`] when it does not run or nobody there listens.
    pub async fn shut_down(&self, id: &str) -> Result<(), NodeError> {
        let vm = self.vm(id)?;
        let launch = {
            let view = vm.view();
            view.launch.clone().filter(|_| view.is_alive())
        };
        let Some(launch) = launch else {
            // What shall not run again has nobody to ask.
            return vm.set_state(State::STOPPED).map_err(NodeError::from);
        };
        let agent = async {
            let client = Client::new(&launch.guest_api)?;
            client.call::<Empty, Empty>("Shutdown", &Empty {}).await
        };
        let patience = Duration::from_secs(10);
        let asked = match tokio::time::timeout(patience, agent).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {patience:?}")),
        };
        if let Err(reason) = asked {
            tracing::info!(
                vm = id,
                reason,
                "the guest's agent does not shut down; its power button is pressed"
            );
            let pressed = async {
                let mut monitor = Monitor::open(&vm.dir.file(QMP_SOCKET)).await?;
                monitor.command("system_powerdown").await
            };
            if let Err(error) = pressed.await {
                let text = format!(
                    "the guest cannot be asked to shut down: its agent says {reason}; QEMU says \
                     {error}. StopVm ends it at once"
                );
                return Err(NodeError::State(text));
            }
        }
        Ok(vm.set_state(State::STOPPED)?)
    }

    /// Starts QEMU for a VM that should run; the caller holds its operation.
    pub(super) async fn launch(&self, vm: &Arc<Vm>) -> Result<(), NodeError> {
        let failed = |source| NodeError::Io {
            what: vm.dir.path().display().to_string(),
            source,
        };
        if let Some(process) = find(&vm.dir).await.map_err(failed)? {
            vm.view().process.get_or_insert(Arc::new(process));
            vm.changed.notify_one();
            return Ok(());
        }
        // Its end was not noted yet.
        self.after_end(vm).await;
        let result = self.launch_now(vm).await;
        vm.view().launching = false;
        if let Err(error) = &result {
            vm.view().boot_error = error.to_string();
            self.after_end(vm).await;
        }
        vm.changed.notify_one();
        result
    }

    async fn launch_now(&self, vm: &Arc<Vm>) -> Result<(), NodeError> {
        let qemu = Qemu::detect(&self.config.cvm.qemu_path)?;
        let (launch, child) = {
            let _starting = self.starting.lock().await;
            let manifest = vm.view().manifest.clone();
            let busy = self.check_capacity(vm, manifest.vcpu, manifest.memory)?;
            let site = Site {
                config: &self.config,
                qemu: &qemu,
                vsock: self.vsock,
                cid: self.free_cid(vm)?,
                busy: &busy,
                now_ms: self.now_ms(),
            };
            let launch = launch::prepare(&site, &manifest, &vm.dir).await?;
            vm.dir.write(LAUNCH_FILE, &launch)?;
            let _ = std::fs::remove_file(vm.dir.file(QMP_SOCKET));
            let child = self.spawn(vm, &launch)?;
            vm.begin(launch.clone());
            (launch, child)
        };
        self.come_up(vm, &launch, child).await
    }

    fn spawn(&self, vm: &Vm, launch: &Launch) -> Result<Child, NodeError> {
        let failed = |source| NodeError::Io {
            what: self.launcher.display().to_string(),
            source,
        };
        let log = |name: &str| {
            OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(vm.dir.file(name))
                .map(Stdio::from)
                .map_err(failed)
        };
        Command::new(&self.launcher)
            .arg("vm-launcher")
            .arg(vm.dir.path())
            .arg(&launch.nonce)
            .stdin(Stdio::null())
            .stdout(log("stdout.log")?)
            .stderr(log("stderr.log")?)
            .spawn()
            .map_err(failed)
    }

    /// Waits until QEMU's monitor answers: from then on only the guest can fail.
    async fn come_up(
        &self,
        vm: &Arc<Vm>,
        launch: &Launch,
        mut child: Child,
    ) -> Result<(), NodeError> {
        let deadline = Instant::now() + COME_UP;
        let socket = vm.dir.file(QMP_SOCKET);
        while Monitor::open(&socket).await.is_err() {
            match child.try_wait() {
                Ok(None) if Instant::now() < deadline => sleep(POLL).await,
                Ok(None) => {
                    tracing::warn!(vm = vm.id(), "QEMU's monitor does not answer");
                    break;
                }
                _ => return Err(NodeError::Ended(complaint(&vm.dir.file("stderr.log")))),
            }
        }
        let process = find(&vm.dir).await.map_err(|source| NodeError::Io {
            what: vm.dir.path().display().to_string(),
            source,
        })?;
        let Some(process) = process else {
            return Err(NodeError::Ended(complaint(&vm.dir.file("stderr.log"))));
        };
        tracing::info!(
            vm = vm.id(),
            pid = process.pid(),
            cid = launch.cid,
            "started"
        );
        vm.view().process = Some(Arc::new(process));
        let (vm, nonce, clock) = (Arc::clone(vm), launch.nonce.clone(), self.clock.clone());
        tokio::spawn(async move {
            let code = child.wait().await.ok().and_then(|status| status.code());
            vm.note_code(&nonce, clock.now_unix().saturating_mul(1000), code);
        });
        Ok(())
    }

    /// Everything that goes with a process that has ended.
    pub(super) async fn after_end(&self, vm: &Vm) {
        let launch = vm.view().launch.clone();
        let Some(launch) = launch else { return };
        if !vm.note_end(&launch.nonce, self.now_ms()) {
            return;
        }
        tracing::info!(vm = vm.id(), "ended");
        if let (true, Some(simulator)) = (launch.simulated, &self.config.cvm.simulator) {
            stop_simulated(simulator, &vm.id()).await;
        }
    }

    /// Watches a VM for as long as it exists: notes ends, and starts again what should run.
    pub(super) async fn supervise(self: Arc<Self>, vm: Arc<Vm>) {
        let mut lasted = Instant::now();
        loop {
            if vm.view().removing {
                return;
            }
            if let Some(process) = vm.process() {
                tokio::select! {
                    () = process.ended() => {
                        let _operation = vm.operation.lock().await;
                        self.after_end(&vm).await;
                        vm.changed.notify_one();
                    }
                    () = vm.changed.notified() => {}
                }
                continue;
            }
            let Some(wait) = self.restart_in(&vm, lasted) else {
                vm.changed.notified().await;
                continue;
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = vm.changed.notified() => continue,
            }
            let _operation = vm.operation.lock().await;
            let due = {
                let view = vm.view();
                view.started && !view.removing && view.process.is_none()
            };
            if !due {
                continue;
            }
            vm.view().restarts += 1;
            lasted = Instant::now();
            if let Err(error) = self.launch(&vm).await {
                tracing::error!(vm = vm.id(), %error, "cannot be started again");
            }
        }
    }

    /// How long until a VM that ended is started again; none when it is not.
    fn restart_in(&self, vm: &Vm, last_restart: Instant) -> Option<Duration> {
        let rules = self.config.cvm.auto_restart?;
        let mut view = vm.view();
        if !view.started {
            return None;
        }
        if last_restart.elapsed() > rules.reset_window {
            view.restarts = 0;
        }
        match view.restarts {
            0 => Some(Duration::ZERO),
            n if n >= rules.max_retries => None,
            n => {
                let factor = 2u32.saturating_pow(n - 1);
                let wait = rules.initial_backoff.saturating_mul(factor);
                Some(wait.min(rules.max_backoff))
            }
        }
    }

    /// Devices that other VMs have, if there is room for one more VM.
    fn check_capacity(&self, vm: &Vm, vcpu: u32, memory: u32) -> Result<Vec<String>, NodeError> {
        let (mut vcpus, mut memories, mut busy) = (u64::from(vcpu), u64::from(memory), vec![]);
        for other in self.vms() {
            let view = other.view();
            let Some(launch) = view.launch.as_ref().filter(|_| view.is_alive()) else {
                continue;
            };
            if other.dir != vm.dir {
                vcpus += u64::from(launch.vcpu);
                memories += u64::from(launch.memory);
                busy.extend(launch.gpus.iter().cloned());
            }
        }
        for (what, wanted, most) in [
            ("vCPUs", vcpus, self.config.cvm.max_vcpu),
            ("MB of memory", memories, self.config.cvm.max_memory_mib),
        ] {
            if wanted > u64::from(most) {
                let text = format!(
                    "running VMs would have {wanted} {what} with this one; the node gives {most}"
                );
                return Err(NodeError::Exhausted(text));
            }
        }
        Ok(busy)
    }

    /// A context id that no other VM has.
    fn free_cid(&self, vm: &Vm) -> Result<u32, NodeError> {
        let mut used = std::collections::BTreeSet::new();
        for other in self.vms() {
            let view = other.view();
            if other.dir != vm.dir && view.is_alive() {
                used.extend(view.launch.as_ref().map(|launch| launch.cid));
            }
        }
        let cvm = &self.config.cvm;
        let mut pool = cvm.cid_start..cvm.cid_start.saturating_add(cvm.cid_pool_size);
        pool.find(|cid| !used.contains(cid)).ok_or_else(|| {
            let size = cvm.cid_pool_size;
            NodeError::Exhausted(format!(
                "{size} VMs run, as many as cvm.cid_pool_size allows"
            ))
        })
    }
}

pub(super) fn refuse_removing(vm: &Vm) -> Result<(), NodeError> {
    if vm.view().removing {
        let text = format!("VM is being removed: {}", vm.id());
        return Err(NodeError::State(text));
    }
    Ok(())
}

/// The end of what QEMU wrote.
fn complaint(log: &Path) -> String {
    let read = || -> io::Result<String> {
        let bytes = std::fs::read(log)?;
        let start = bytes.len().saturating_sub(COMPLAINT);
        Ok(String::from_utf8_lossy(bytes.get(start..).unwrap_or_default()).into_owned())
    };
    match read() {
        Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => format!("it said nothing; see {}", log.display()),
    }
}
