//! Changing what a VM is made from; it takes effect when the VM starts next.

use std::sync::Arc;

use bylaw_rpc::message::vmm::{ReloadVmsResponse, ResizeVmRequest, UpdateVmRequest};
use bylaw_types::compose::compose_hash;

use super::run::refuse_removing;
use super::{Node, NodeError, blocking};
use crate::images::Image;
use crate::record::{Change, Manifest, WorkDir, shared};
use crate::validate::{self, Blank, Invalid};
use crate::vm::{Status, Vm};

/// New sizes; none keeps what is there.
#[derive(Debug, Default)]
struct Sizes {
    vcpu: Option<u32>,
    memory: Option<u32>,
    disk_size: Option<u32>,
    image: Option<String>,
}

impl Sizes {
    fn is_empty(&self) -> bool {
        self.vcpu.is_none()
            && self.memory.is_none()
            && self.disk_size.is_none()
            && self.image.is_none()
    }
}

impl Node {
    /// Gives a VM that does not run other resources.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn resize(&self, request: ResizeVmRequest) -> Result<(), NodeError> {
        let vm = self.vm(&request.id)?;
        let sizes = Sizes {
            vcpu: request.vcpu,
            memory: request.memory,
            disk_size: request.disk_size,
            image: request.image,
        };
        if sizes.is_empty() {
            let text = "at least one of vcpu, memory, disk_size and image must be given";
            return Err(Invalid::Resources(text.to_owned()).into());
        }
        let _operation = vm.operation.lock().await;
        refuse_removing(&vm)?;
        let manifest = self.resized(&vm, sizes)?;
        let change = Change {
            manifest: Some(manifest),
            shared: vec![],
        };
        apply(&vm, change).await
    }

    fn resized(&self, vm: &Vm, sizes: Sizes) -> Result<Manifest, NodeError> {
        let view = vm.view();
        let mut manifest = view.manifest.clone();
        if sizes.is_empty() {
            return Ok(manifest);
        }
        if !matches!(view.status(), Status::Stopped | Status::Exited) {
            let text = format!("vm should be stopped before resize: {}", manifest.id);
            return Err(NodeError::State(text));
        }
        if let Some(disk_size) = sizes.disk_size {
            if disk_size < manifest.disk_size {
                return Err(Invalid::Resources("Cannot shrink disk size".to_owned()).into());
            }
            manifest.disk_size = disk_size;
        }
        manifest.vcpu = sizes.vcpu.unwrap_or(manifest.vcpu);
        manifest.memory = sizes.memory.unwrap_or(manifest.memory);
        validate::resources(manifest.vcpu, manifest.memory, manifest.disk_size)?;
        if let Some(image) = sizes.image {
            Image::open(&self.config.image_path, &image).map_err(Invalid::from)?;
            manifest.image = image;
        }
        Ok(manifest)
    }

    /// Changes a VM; what the request leaves out stays. Returns the first 40 hex digits of
    /// the new compose hash, or nothing when the manifest of the app stays.
    ///
    /// # Errors
    /// [`NodeError`]; nothing has changed then.
    pub async fn update(&self, request: UpdateVmRequest) -> Result<String, NodeError> {
        let vm = self.vm(&request.id)?;
        let _admission = self.admission.lock().await;
        let _operation = vm.operation.lock().await;
        refuse_removing(&vm)?;
        validate::lengths(&request.encrypted_env, &request.user_config)?;
        let sizes = Sizes {
            vcpu: request.vcpu,
            memory: request.memory,
            disk_size: request.disk_size,
            image: request.image.clone(),
        };
        let mut manifest = self.resized(&vm, sizes)?;
        if request.update_ports {
            let taken = self.taken_ports(Some(&request.id));
            manifest.port_map =
                validate::ports(&self.config, &request.ports, Blank::IsInvalid, &taken)?;
        }
        if request.update_networking {
            // QEMU has the interfaces it was started with.
            let is_running = vm.view().is_alive();
            if is_running {
                let text = format!(
                    "vm should be stopped before its networks change: {}",
                    request.id
                );
                return Err(NodeError::State(text));
            }
            manifest.networks = validate::networks(&self.config, &request.networks)?;
            manifest.networking = manifest.networks.first().cloned();
        }
        if request.update_ports || request.update_networking {
            let (networks, ports) = (&manifest.networks, &manifest.port_map);
            validate::needs_user_network(&self.config, networks, ports)?;
        }
        if request.update_kms_urls {
            manifest.kms_urls.clone_from(&request.kms_urls);
        }
        if request.update_gateway_urls {
            manifest.gateway_urls.clone_from(&request.gateway_urls);
        }
        if request.gpus.is_some() {
            manifest.gpus = validate::gpus(&self.config, request.gpus.as_ref())?;
        }
        if let Some(no_tee) = request.no_tee {
            manifest.no_tee = no_tee || manifest.simulated_tee.is_some();
        }
        let mut files = Vec::new();
        let mut id = String::new();
        if !request.compose_file.is_empty() {
            validate::compose("", &request.compose_file)?;
            let hash = compose_hash(request.compose_file.as_bytes()).to_string();
            id = hash.chars().take(40).collect();
            files.push((shared::APP_COMPOSE, request.compose_file.into_bytes()));
        }
        if !request.encrypted_env.is_empty() {
            files.push((shared::ENCRYPTED_ENV, request.encrypted_env));
        }
        if !request.user_config.is_empty() {
            files.push((shared::USER_CONFIG, request.user_config.into_bytes()));
        }
        let change = Change {
            manifest: Some(manifest),
            shared: files,
        };
        apply(&vm, change).await?;
        Ok(id)
    }

    /// Reads the work directories again: somebody else may have changed them.
    ///
    /// # Errors
    /// [`NodeError::Record`] when the run path cannot be read; single records that cannot
    /// be are left as they are.
    pub async fn reload(self: &Arc<Self>) -> Result<ReloadVmsResponse, NodeError> {
        let _admission = self.admission.lock().await;
        let mut response = ReloadVmsResponse::default();
        let records = WorkDir::list(&self.config.run_path)?;
        for vm in self.vms() {
            let gone = !records.contains(&vm.dir) && !vm.dir.path().exists();
            if gone && !vm.view().is_alive() && !vm.view().removing {
                vm.view().removing = true;
                vm.changed.notify_one();
                self.table().remove(&vm.id());
                response.removed += 1;
            }
        }
        for dir in records {
            let name = dir.path().file_name().unwrap_or_default().to_string_lossy();
            let known = self.vm(&name);
            match known {
                Ok(vm) => {
                    let _operation = vm.operation.lock().await;
                    let (Ok(manifest), Ok(state)) = (dir.manifest(), dir.state()) else {
                        tracing::error!(path = %dir.path().display(), "the record cannot be read");
                        continue;
                    };
                    let mut view = vm.view();
                    if view.manifest != manifest || view.started != state.started {
                        view.manifest = manifest;
                        view.started = state.started;
                        response.updated += 1;
                        vm.changed.notify_one();
                    }
                }
                Err(_) => match Vm::load(dir, self.config.event_buffer_size).await {
                    Ok(vm) => {
                        self.adopt(vm);
                        response.loaded += 1;
                    }
                    Err(error) => tracing::error!(%error, "a VM's record cannot be read"),
                },
            }
        }
        Ok(response)
    }
}

async fn apply(vm: &Arc<Vm>, change: Change) -> Result<(), NodeError> {
    let dir = vm.dir.clone();
    let change = blocking(move || dir.apply(&change).map(|()| change)).await??;
    if let Some(manifest) = change.manifest {
        vm.view().manifest = manifest;
    }
    Ok(())
}
