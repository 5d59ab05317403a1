//! How a VM is, for callers.

use std::time::Duration;

use bylaw_rpc::message::vmm::{
    GpuConfig, GpuSpec, NetworkingConfig, PortMapping, SvProcessInfo, VmConfiguration, VmInfo,
};

use super::{View, Vm};
use crate::config::Config;
use crate::images::Image;
use crate::record::{AttachMode, Manifest, Network, RecordError, shared};

/// States of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Should run, and does.
    Running,
    /// Should run, but its process is gone.
    Exited,
    /// Should not run, but still does.
    Stopping,
    /// Should not run.
    Stopped,
    /// Will not be for long.
    Removing,
}

impl Status {
    /// On the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Removing => "removing",
        }
    }
}

impl View {
    /// How it is.
    pub fn status(&self) -> Status {
        match (self.removing, self.started, self.is_alive()) {
            (true, _, _) => Status::Removing,
            (_, true, true) => Status::Running,
            (_, true, false) => Status::Exited,
            (_, false, true) => Status::Stopping,
            (_, false, false) => Status::Stopped,
        }
    }
}

impl Vm {
    /// Everything callers may know; without the configuration when brief.
    ///
    /// # Errors
    /// [`RecordError`] when the record cannot be read.
    pub fn info(&self, config: &Config, now_ms: u64, brief: bool) -> Result<VmInfo, RecordError> {
        let compose = self
            .dir
            .read_shared(shared::APP_COMPOSE)?
            .unwrap_or_default();
        let gateway = serde_json::from_slice::<serde_json::Value>(&compose)
            .is_ok_and(|value| uses_gateway(&value));
        let view = self.view();
        let manifest = &view.manifest;
        let alive_since = view.launch.as_ref().filter(|_| view.is_alive());
        let configuration = if brief {
            None
        } else {
            Some(VmConfiguration {
                compose_file: String::from_utf8_lossy(&compose).into_owned(),
                encrypted_env: self
                    .dir
                    .read_shared(shared::ENCRYPTED_ENV)?
                    .unwrap_or_default(),
                user_config: self
                    .dir
                    .read_shared(shared::USER_CONFIG)?
                    .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                    .unwrap_or_default(),
                stopped: !view.started,
                ..configuration(manifest)
            })
        };
        let image_version = view
            .launch
            .as_ref()
            .map(|launch| launch.image_version.clone());
        let mut interfaces = vec![];
        if let Some(launch) = alive_since {
            interfaces.clone_from(&launch.interfaces);
        }
        Ok(VmInfo {
            id: manifest.id.clone(),
            name: manifest.name.clone(),
            status: view.status().as_str().to_owned(),
            uptime: alive_since.map_or_else(never, |l| since(l.started_at_ms, now_ms)),
            app_url: view
                .instance_id
                .as_ref()
                .filter(|_| gateway)
                .map(|instance| app_url(config, manifest, instance)),
            app_id: manifest.app_id.clone(),
            instance_id: view.instance_id.clone(),
            configuration,
            exited_at: Some(view.ended.map_or_else(never, |e| since(e.at_ms, now_ms))),
            boot_progress: view.boot_progress.clone(),
            boot_error: view.boot_error.clone(),
            shutdown_progress: view.shutdown_progress.clone(),
            image_version: match image_version {
                Some(version) if view.is_alive() => version,
                _ => Image::open(&config.image_path, &manifest.image)
                    .map(|image| image.metadata.version)
                    .unwrap_or_default(),
            },
            events: view.events.iter().cloned().collect(),
            interfaces,
            running: view.process.is_some(),
        })
    }

    /// Its process; none when it never had one.
    pub fn supervised(&self) -> Option<SvProcessInfo> {
        let view = self.view();
        let launch = view.launch.as_ref()?;
        let status = match (&view.process, view.ended) {
            (Some(_), _) => "running".to_owned(),
            _ if view.launching => "running".to_owned(),
            (None, Some(ended)) if view.started => match ended.code {
                Some(code) => format!("exited({code})"),
                None => "exited(unknown)".to_owned(),
            },
            _ => "stopped".to_owned(),
        };
        Some(SvProcessInfo {
            id: view.manifest.id.clone(),
            name: view.manifest.name.clone(),
            status,
            pid: view
                .process
                .as_ref()
                .and_then(|process| u32::try_from(process.pid()).ok()),
            command: launch.program.clone(),
            note: format!("cid {}", launch.cid),
        })
    }
}

fn uses_gateway(compose: &serde_json::Value) -> bool {
    let flag = |key: &str| compose.get(key).and_then(serde_json::Value::as_bool) == Some(true);
    let features = compose
        .get("features")
        .and_then(serde_json::Value::as_array);
    let feature = features.is_some_and(|list| list.iter().any(|one| one == "tproxy-net"));
    flag("gateway_enabled") || flag("tproxy_enabled") || feature
}

/// The record as it was asked for; without the files.
fn configuration(manifest: &Manifest) -> VmConfiguration {
    let network = |network: &Network| NetworkingConfig {
        mode: network.mode.to_string(),
        bridge_name: network.bridge_name.clone(),
    };
    VmConfiguration {
        name: manifest.name.clone(),
        image: manifest.image.clone(),
        vcpu: manifest.vcpu,
        memory: manifest.memory,
        disk_size: manifest.disk_size,
        ports: manifest
            .port_map
            .iter()
            .map(|port| PortMapping {
                protocol: port.protocol.to_string(),
                host_port: port.from.into(),
                vm_port: port.to.into(),
                host_address: port.address.to_string(),
            })
            .collect(),
        app_id: Some(manifest.app_id.clone()),
        hugepages: manifest.hugepages,
        pin_numa: manifest.pin_numa,
        gpus: manifest.gpus.as_ref().map(|gpus| GpuConfig {
            attach_mode: match gpus.attach_mode {
                AttachMode::Listed => "listed".to_owned(),
                AttachMode::All => "all".to_owned(),
            },
            gpus: gpus
                .gpus
                .iter()
                .map(|gpu| GpuSpec {
                    slot: gpu.slot.clone(),
                })
                .collect(),
        }),
        kms_urls: manifest.kms_urls.clone(),
        gateway_urls: manifest.gateway_urls.clone(),
        no_tee: manifest.no_tee,
        networking: manifest.networking.as_ref().map(network),
        networks: manifest.networks.iter().map(network).collect(),
        simulated_tee: manifest.simulated_tee.clone(),
        ..VmConfiguration::default()
    }
}

/// Where the gateway serves an instance; a gateway of the VM's own has its own host.
fn app_url(config: &Config, manifest: &Manifest, instance: &str) -> String {
    let own = manifest
        .gateway_urls
        .first()
        .and_then(|url| url.parse::<http::Uri>().ok())
        .and_then(|uri| Some((uri.host()?.to_owned(), uri.port_u16().unwrap_or(443))));
    let gateway = &config.gateway;
    let (domain, port) = own.unwrap_or_else(|| (gateway.base_domain.clone(), gateway.port));
    let port = match port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    format!("https://{instance}-{}.{domain}{port}", gateway.agent_port)
}

fn never() -> String {
    "never".to_owned()
}

/// Whole seconds in words, e.g. `2h 3m 4s`.
fn since(then_ms: u64, now_ms: u64) -> String {
    let elapsed = Duration::from_secs(now_ms.saturating_sub(then_ms) / 1000);
    humantime::format_duration(elapsed).to_string()
}
