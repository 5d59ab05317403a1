//! The VMs of this machine, and what is done with them.

mod change;
mod run;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bylaw_qemu::QemuError;
use bylaw_rpc::message::vmm::{StatusRequest, StatusResponse, VmConfiguration};
use bylaw_types::AppCompose;
use bylaw_types::clock::Clock;

use crate::config::Config;
use crate::images::Image;
use crate::launch::{LaunchError, random_hex};
use crate::process::{LOCK_FILE, find, lock_soon};
use crate::record::{InstanceInfo, RecordError, State, WorkDir, shared};
use crate::registry::{Registry, RegistryError};
use crate::validate::{self, Invalid, Taken};
use crate::vm::Vm;

/// Why something cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// No such VM.
    #[error("VM not found: {0}")]
    NotFound(String),
    /// The request.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The start.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// QEMU.
    #[error(transparent)]
    Qemu(#[from] QemuError),
    /// The registry of images.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// QEMU ended at once.
    #[error("QEMU did not come up: {0}")]
    Ended(String),
    /// The system.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Nothing left to give.
    #[error("{0}")]
    Exhausted(String),
    /// It is not in a state for this.
    #[error("{0}")]
    State(String),
}

/// This machine.
#[derive(Debug)]
pub struct Node {
    /// Settings.
    pub config: Config,
    /// Program that becomes QEMU: this one.
    launcher: PathBuf,
    /// Whether guests have vsock.
    pub vsock: bool,
    /// Where images come from; none: not configured.
    pub registry: Option<Registry>,
    clock: Clock,
    vms: Mutex<BTreeMap<String, Arc<Vm>>>,
    /// Held while something is checked against every VM and until it is recorded.
    admission: tokio::sync::Mutex<()>,
    /// Held while a start takes what only one VM can have.
    starting: tokio::sync::Mutex<()>,
}

/// The host's end of guests' vsock.
const VHOST_VSOCK: &str = "/dev/vhost-vsock";

impl Node {
    /// The node, with every VM found on the disk and every process that still runs.
    ///
    /// A record that cannot be read is left alone, and told.
    ///
    /// # Errors
    /// When the run path cannot be made or read.
    pub async fn load(
        config: Config,
        launcher: PathBuf,
        clock: Clock,
    ) -> Result<Arc<Self>, NodeError> {
        let made = private_dir(&config.run_path)
            .and_then(|()| std::fs::create_dir_all(&config.image_path));
        made.map_err(|source| NodeError::Io {
            what: config.run_path.display().to_string(),
            source,
        })?;
        let registry = match &config.registry {
            Some(address) => Some(Registry::new(address, &config.image_path)?),
            None => None,
        };
        WorkDir::clean(&config.run_path)?;
        let records = WorkDir::list(&config.run_path)?;
        let node = Arc::new(Self {
            vsock: Path::new(VHOST_VSOCK).exists()
                && matches!(config.host_api, crate::config::HostApi::Vsock { .. }),
            config,
            launcher,
            registry,
            clock,
            vms: Mutex::default(),
            admission: tokio::sync::Mutex::default(),
            starting: tokio::sync::Mutex::default(),
        });
        for dir in records {
            let path = dir.path().to_owned();
            match Vm::load(dir, node.config.event_buffer_size).await {
                Ok(vm) => node.adopt(vm),
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "a VM's record cannot be read; it is left alone");
                }
            }
        }
        Ok(node)
    }

    fn adopt(self: &Arc<Self>, vm: Vm) {
        let vm = Arc::new(vm);
        let (removing, pid) = {
            let view = vm.view();
            (view.removing, view.process.as_ref().map(|p| p.pid()))
        };
        if let Some(pid) = pid {
            tracing::info!(vm = vm.id(), pid, "runs already");
        }
        self.table().insert(vm.id(), Arc::clone(&vm));
        if removing {
            let node = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = node.finish_removal(&vm).await {
                    tracing::error!(vm = vm.id(), %error, "cannot be removed");
                }
            });
        } else {
            tokio::spawn(Arc::clone(self).supervise(vm));
        }
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Vm>>> {
        self.vms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every VM, oldest first.
    pub fn vms(&self) -> Vec<Arc<Vm>> {
        let mut vms: Vec<_> = self.table().values().cloned().collect();
        vms.sort_by_key(|vm| {
            let view = vm.view();
            (view.manifest.created_at_ms, view.manifest.id.clone())
        });
        vms
    }

    /// A VM.
    ///
    /// # Errors
    /// [`NodeError::NotFound`].
    pub fn vm(&self, id: &str) -> Result<Arc<Vm>, NodeError> {
        let found = self.table().get(id).cloned();
        found.ok_or_else(|| NodeError::NotFound(id.to_owned()))
    }

    /// The running VM of a context id.
    pub fn vm_of_cid(&self, cid: u32) -> Option<Arc<Vm>> {
        self.vms().into_iter().find(|vm| {
            let view = vm.view();
            view.is_alive() && view.launch.as_ref().is_some_and(|l| l.cid == cid)
        })
    }

    /// Unix milliseconds, to the clock's second.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_unix().saturating_mul(1000)
    }

    /// Later than every other, so that VMs keep their order within a second.
    fn creation_time(&self) -> u64 {
        let vms = self.vms();
        let last = vms.last().map_or(0, |vm| vm.view().manifest.created_at_ms);
        self.now_ms().max(last.saturating_add(1))
    }

    /// How VMs are, oldest first.
    ///
    /// # Errors
    /// [`NodeError::Record`].
    pub fn status(&self, request: &StatusRequest) -> Result<StatusResponse, NodeError> {
        let now_ms = self.now_ms();
        let keyword = request.keyword.to_lowercase();
        let matches = |vm: &Arc<Vm>| {
            let view = vm.view();
            let manifest = &view.manifest;
            let fields = [
                &manifest.name,
                &manifest.id,
                &manifest.app_id,
                &manifest.image,
            ];
            let found = fields
                .iter()
                .any(|field| field.to_lowercase().contains(&keyword));
            let state = request.status.is_empty() || view.status().as_str() == request.status;
            found && state && (request.ids.is_empty() || request.ids.contains(&manifest.id))
        };
        let vms: Vec<_> = self.vms().into_iter().filter(matches).collect();
        let total = u32::try_from(vms.len()).unwrap_or(u32::MAX);
        let (page, size) = (request.page as usize, request.page_size as usize);
        let page: Vec<_> = if page == 0 || size == 0 {
            vms
        } else {
            let skipped = (page - 1).saturating_mul(size);
            vms.into_iter().skip(skipped).take(size).collect()
        };
        let infos = page.iter().filter_map(|vm| {
            match vm.info(&self.config, now_ms, request.brief) {
                // Its directory went in between.
                Err(_) if vm.view().removing => None,
                other => Some(other),
            }
        });
        Ok(StatusResponse {
            vms: infos.collect::<Result<_, _>>()?,
            port_mapping_enabled: self.config.cvm.port_mapping.is_some(),
            total,
        })
    }

    /// Makes a VM, and starts it unless it shall be stopped. Its record is on the disk when
    /// this returns; a VM that cannot be started leaves nothing behind.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn create(self: &Arc<Self>, request: VmConfiguration) -> Result<String, NodeError> {
        let (vm, start) = {
            let _admission = self.admission.lock().await;
            let id = new_id()?;
            let taken = self.taken_ports(None);
            let created = self.creation_time();
            let manifest = validate::manifest(&self.config, &request, id, created, &taken)?;
            let info = InstanceInfo {
                app_id: manifest.app_id.clone(),
                ..InstanceInfo::default()
            };
            let mut files = vec![
                (shared::APP_COMPOSE, request.compose_file.into_bytes()),
                // Three texts always serialise.
                (
                    shared::INSTANCE_INFO,
                    serde_json::to_vec(&info).unwrap_or_default(),
                ),
            ];
            if !request.encrypted_env.is_empty() {
                files.push((shared::ENCRYPTED_ENV, request.encrypted_env));
            }
            if !request.user_config.is_empty() {
                files.push((shared::USER_CONFIG, request.user_config.into_bytes()));
            }
            let state = match request.stopped {
                true => State::STOPPED,
                false => State::STARTED,
            };
            let run_path = self.config.run_path.clone();
            let (dir, manifest) = blocking(move || {
                WorkDir::create(&run_path, state, &manifest, &files).map(|dir| (dir, manifest))
            })
            .await??;
            let vm = Arc::new(Vm::new(dir, manifest, state));
            self.table().insert(vm.id(), Arc::clone(&vm));
            (vm, state.started)
        };
        let id = vm.id();
        if start {
            let operation = vm.operation.lock().await;
            let started = self.launch(&vm).await;
            drop(operation);
            if let Err(error) = started {
                if let Err(leftover) = self.remove_vm(&vm).await {
                    tracing::error!(vm = id, error = %leftover, "cannot be removed");
                }
                return Err(error);
            }
        }
        tracing::info!(vm = id, start, "created");
        tokio::spawn(Arc::clone(self).supervise(vm));
        Ok(id)
    }

    /// Removes a VM with everything it has; nothing of it runs when this returns.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn remove(self: &Arc<Self>, id: &str) -> Result<(), NodeError> {
        let vm = self.vm(id)?;
        self.remove_vm(&vm).await
    }

    async fn remove_vm(&self, vm: &Arc<Vm>) -> Result<(), NodeError> {
        {
            let _operation = vm.operation.lock().await;
            if vm.view().removing {
                let text = format!("VM is being removed: {}", vm.id());
                return Err(NodeError::State(text));
            }
            vm.dir.begin_removal()?;
            vm.view().removing = true;
        }
        self.finish_removal(vm).await
    }

    async fn finish_removal(&self, vm: &Arc<Vm>) -> Result<(), NodeError> {
        let _operation = vm.operation.lock().await;
        vm.changed.notify_one();
        let failed = |source| NodeError::Io {
            what: vm.dir.path().display().to_string(),
            source,
        };
        if let Some(process) = find(&vm.dir).await.map_err(failed)? {
            process.end().await;
        }
        // With the lock in our hands no late start gets through any more.
        let lock = lock_soon(&vm.dir.file(LOCK_FILE)).await.map_err(failed)?;
        self.after_end(vm).await;
        let dir = vm.dir.clone();
        blocking(move || dir.remove()).await??;
        drop(lock);
        self.table().remove(&vm.id());
        vm.changed.notify_one();
        tracing::info!(vm = vm.id(), "removed");
        Ok(())
    }

    /// Ports of every VM but this one.
    fn taken_ports(&self, but: Option<&str>) -> Taken {
        let mut taken = Taken::new();
        for vm in self.vms() {
            let view = vm.view();
            if but != Some(view.manifest.id.as_str()) && !view.removing {
                let ports = view.manifest.port_map.iter();
                taken.extend(ports.map(|port| (view.manifest.id.clone(), port.clone())));
            }
        }
        taken
    }

    /// The registry of images.
    ///
    /// # Errors
    /// [`NodeError::State`] when none is configured.
    pub fn registry(&self) -> Result<&Registry, NodeError> {
        let text = "Registry is not configured (image.registry)";
        let configured = self.registry.as_ref();
        configured.ok_or_else(|| NodeError::State(text.to_owned()))
    }

    /// Deletes an image that no VM uses.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn delete_image(&self, name: &str) -> Result<(), NodeError> {
        // No VM is made of it meanwhile.
        let _admission = self.admission.lock().await;
        let image = Image::open(&self.config.image_path, name).map_err(Invalid::from)?;
        let user = self
            .vms()
            .into_iter()
            .find(|vm| vm.view().manifest.image == name);
        if let Some(vm) = user {
            let text = format!("image {name} is used by VM {}", vm.id());
            return Err(NodeError::State(text));
        }
        // Gone at once, also for whoever lists images while files are deleted.
        let gone = self.config.image_path.join(format!(".deleted-{name}"));
        let deleted = blocking(move || {
            let _ = std::fs::remove_dir_all(&gone);
            std::fs::rename(&image.path, &gone)?;
            std::fs::remove_dir_all(&gone)
        });
        deleted.await?.map_err(|source| NodeError::Io {
            what: format!("image {name}"),
            source,
        })
    }

    /// The app's manifest of a VM.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn compose(&self, vm: &Vm) -> Result<AppCompose, NodeError> {
        let bytes = vm.dir.read_shared(shared::APP_COMPOSE)?.unwrap_or_default();
        Ok(AppCompose::parse(&bytes).map_err(Invalid::from)?)
    }
}

fn new_id() -> Result<String, NodeError> {
    let random = random_hex::<16>()?;
    let mut bytes = [0; 16];
    // Sixteen bytes just made into hexadecimal.
    let _ = hex::decode_to_slice(random, &mut bytes);
    Ok(uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .to_string())
}

/// Runs work of the file system where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NodeError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| NodeError::Io {
            what: "a task of the file system".to_owned(),
            source: std::io::Error::other(error),
        })
}

/// Work directories hold secrets of launches.
fn private_dir(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}
