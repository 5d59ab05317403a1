//! The sockets: one to control the machine, one in each TD.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use bylaw_attest::event_log::EventVersion;
use bylaw_measure::ImageDir;
use bylaw_rpc::message::guest::{
    AppInfo, AttestResponse, EmitEventArgs, GetKeyArgs, GetKeyResponse, RawQuoteArgs,
};
use bylaw_rpc::message::simtee::{
    LaunchArgs, LaunchResponse, MachineInfo, SgxKeyResponse, SgxQuoteArgs, SgxQuoteResponse,
    StopArgs,
};
use bylaw_rpc::{Context, Empty, RpcError, Service, serve};
use bylaw_types::{AppCompose, AppId, Register, ReportData};
use tokio::sync::{Mutex, oneshot};

use crate::guest::Guest;
use crate::guests::Token;
use crate::{ImageLaunch, Launch, Machine, SnpGuest, SnpImage, SnpLaunch, Td, launch_document};

const TWO_GIB: u64 = 2 << 30;

/// The running simulator.
#[derive(Debug)]
pub struct Simulator {
    machine: Arc<Machine>,
    pccs_url: String,
    /// Where guests reach `guests::router`.
    guests_url: String,
    tds: Mutex<BTreeMap<String, Running>>,
}

#[derive(Debug)]
struct Running {
    token: Token,
    router: Router,
    /// Dropping it ends the TD's socket.
    _stop: oneshot::Sender<()>,
}

impl Simulator {
    /// A simulator without TDs.
    pub fn new(machine: Arc<Machine>, pccs_url: String, guests_url: String) -> Arc<Self> {
        Arc::new(Self {
            machine,
            pccs_url,
            guests_url,
            tds: Mutex::default(),
        })
    }

    /// The control service.
    pub fn router(self: &Arc<Self>) -> Router {
        Service::new("SimTee", &[], Arc::clone(self))
            .method("Launch", |simulator: Arc<Self>, _: Context, request: LaunchArgs| async move {
                simulator.launch(request).await
            })
            .method("Stop", |simulator: Arc<Self>, _: Context, request: StopArgs| async move {
                simulator.stop(&request.name).await
            })
            .method("Info", |simulator: Arc<Self>, _: Context, _: Empty| async move {
                Ok(simulator.info().await)
            })
            .method("SgxQuote", |simulator: Arc<Self>, _: Context, request: SgxQuoteArgs| async move {
                let report_data =
                    ReportData::padded(&request.report_data).map_err(RpcError::bad_request)?;
                let quote = simulator.machine.sgx_quote(&report_data);
                Ok(SgxQuoteResponse { quote })
            })
            .method("SgxKey", |simulator: Arc<Self>, _: Context, _: Empty| async move {
                let key = simulator.machine.sgx_sealing_key().to_vec();
                Ok(SgxKeyResponse { key })
            })
            .into_router("")
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.machine.directory().join(format!("{name}.sock"))
    }

    /// The methods of the TD that has this token.
    pub(crate) async fn td_with(&self, token: &str) -> Option<Router> {
        let tds = self.tds.lock().await;
        // Every one is compared, whichever it is.
        let mut found = None;
        for td in tds.values() {
            if td.token.is(token) {
                found = Some(td.router.clone());
            }
        }
        found
    }

    async fn launch(self: &Arc<Self>, request: LaunchArgs) -> Result<LaunchResponse, RpcError> {
        let mut tds = self.tds.lock().await;
        if tds.contains_key(&request.name) {
            return Err(RpcError::new(
                "running",
                format!("TD {} already runs", request.name),
            ));
        }
        let machine = Arc::clone(&self.machine);
        // Measuring a real image reads and hashes all of it.
        let td = tokio::task::spawn_blocking(move || launch_guest(machine, request))
            .await
            .map_err(|error| RpcError::new("launch", error))??;
        let path = self.socket(td.name());
        let listener = serve::bind_unix(&path, 0o600)
            .map_err(|error| RpcError::new("socket", format!("{}: {error}", path.display())))?;
        let token = Token::random().map_err(|error| RpcError::new("launch", error))?;
        let response = LaunchResponse {
            socket: path.display().to_string(),
            vm_config: td.vm_config().to_owned(),
            os_image_hash: td.os_image_hash().as_bytes().to_vec(),
            instance_id: td
                .instance_id()
                .map(|id| id.as_bytes().to_vec())
                .unwrap_or_default(),
            url: format!("{}{}", self.guests_url, token.path()),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let name = td.name().to_owned();
        let router = td_router(Arc::new(td));
        let running = Running {
            token,
            router: router.clone(),
            _stop: stop,
        };
        tds.insert(name, running);
        tokio::spawn(async move {
            let ended = async {
                // Either told to stop, or the simulator is gone.
                let _ = stopped.await;
            };
            serve::unix(listener, router, ended).await;
        });
        Ok(response)
    }

    async fn stop(&self, name: &str) -> Result<Empty, RpcError> {
        match self.tds.lock().await.remove(name) {
            Some(_) => {
                // Before the name is free again: a late removal would take the next one's socket.
                let _ = std::fs::remove_file(self.socket(name));
                Ok(Empty {})
            }
            None => Err(RpcError::new(
                "not_running",
                format!("TD {name:?} does not run"),
            )),
        }
    }

    async fn info(&self) -> MachineInfo {
        MachineInfo {
            pccs_url: self.pccs_url.clone(),
            root_ca: self.machine.root_pem().to_owned(),
            device_id: self.machine.device_id().as_bytes().to_vec(),
            tds: self.tds.lock().await.keys().cloned().collect(),
        }
    }
}

fn launch_guest(machine: Arc<Machine>, request: LaunchArgs) -> Result<Guest, RpcError> {
    let launched = match (request.tee.as_str(), request.image_dir.is_empty()) {
        ("" | "tdx", true) => Td::launch(machine, launch_of(request)?).map(Guest::Td),
        ("" | "tdx", false) => Td::launch_image(machine, image_launch_of(request)?).map(Guest::Td),
        ("sev-snp", _) => {
            let launch = snp_launch_of(&machine, request)?;
            SnpGuest::launch(machine, launch).map(Guest::Snp)
        }
        (other, _) => {
            let text = format!("tee is {other:?}; it may be `tdx` or `sev-snp`");
            return Err(RpcError::bad_request(text));
        }
    };
    launched.map_err(|error| RpcError::new("launch", error))
}

fn app_id_of(request: &LaunchArgs) -> Result<Option<AppId>, RpcError> {
    match request.app_id.as_slice() {
        [] => Ok(None),
        bytes => AppId::try_from(bytes)
            .map(Some)
            .map_err(RpcError::bad_request),
    }
}

fn instance_seed_of(request: &LaunchArgs) -> Result<Option<[u8; 20]>, RpcError> {
    match request.instance_seed.as_slice() {
        [] => Ok(None),
        bytes => bytes
            .try_into()
            .map(Some)
            .map_err(|_| RpcError::bad_request("instance_seed must be 20 bytes")),
    }
}

fn snp_launch_of(machine: &Machine, request: LaunchArgs) -> Result<SnpLaunch, RpcError> {
    let mr_config = if request.mr_config.is_empty() {
        let compose =
            AppCompose::parse(request.app_compose.as_bytes()).map_err(RpcError::bad_request)?;
        let app_id =
            app_id_of(&request)?.unwrap_or_else(|| AppId::from_compose_hash(&compose.hash()));
        let seed = match instance_seed_of(&request)? {
            Some(seed) => seed,
            None => machine
                .instance_seed(&request.name)
                .map_err(|error| RpcError::new("launch", error))?,
        };
        launch_document(&compose, &app_id, Some(&seed))
    } else {
        request.mr_config
    };
    let image = if request.image_dir.is_empty() {
        SnpImage::Seed(request.image)
    } else {
        SnpImage::Directory {
            image: ImageDir::open(Path::new(&request.image_dir))
                .map(Box::new)
                .map_err(RpcError::bad_request)?,
            vm_config: request.vm_config,
        }
    };
    Ok(SnpLaunch {
        name: request.name,
        image,
        cpu_count: if request.cpu_count == 0 {
            2
        } else {
            request.cpu_count
        },
        mr_config,
        certificates: request.certificates,
        debug: request.debug,
        outdated: request.outdated,
    })
}

fn launch_of(request: LaunchArgs) -> Result<Launch, RpcError> {
    let bad = |error: &dyn std::fmt::Display| RpcError::bad_request(error);
    let compose = AppCompose::parse(request.app_compose.as_bytes()).map_err(|error| bad(&error))?;
    let app_id = app_id_of(&request)?;
    let instance_seed = instance_seed_of(&request)?;
    Ok(Launch {
        name: request.name,
        compose,
        app_id,
        image: request.image,
        memory_size: if request.memory_size == 0 {
            TWO_GIB
        } else {
            request.memory_size
        },
        cpu_count: if request.cpu_count == 0 {
            2
        } else {
            request.cpu_count
        },
        full_boot: request.full_boot,
        debug: request.debug,
        outdated: request.outdated,
        gpus: request.gpus,
        instance_seed,
    })
}

fn image_launch_of(request: LaunchArgs) -> Result<ImageLaunch, RpcError> {
    let bad = |error: &dyn std::fmt::Display| RpcError::bad_request(error);
    let image = ImageDir::open(Path::new(&request.image_dir)).map_err(|error| bad(&error))?;
    let event_version = if request.app_compose.is_empty() {
        EventVersion::V1
    } else {
        let compose =
            AppCompose::parse(request.app_compose.as_bytes()).map_err(|error| bad(&error))?;
        EventVersion::of_manifest(compose.manifest().event_log_version)
    };
    let mr_config_id = match request.mr_config_id.as_slice() {
        [] => Register::new([0; 48]),
        bytes => Register::try_from(bytes).map_err(|error| bad(&error))?,
    };
    let acpi = [request.acpi_loader, request.acpi_rsdp, request.acpi_tables];
    if acpi.iter().any(Vec::is_empty) {
        return Err(bad(
            &"acpi_loader, acpi_rsdp and acpi_tables must be what QEMU built for the VM",
        ));
    }
    Ok(ImageLaunch {
        name: request.name,
        image,
        memory_size: request.memory_size,
        acpi,
        mr_config_id,
        vm_config: request.vm_config,
        event_version,
        debug: request.debug,
        outdated: request.outdated,
    })
}

/// What processes inside a TD may ask: the part of the guest API that needs the TEE.
fn td_router(td: Arc<Guest>) -> Router {
    Service::new("Td", &[], td)
        .method(
            "Attest",
            |td: Arc<Guest>, _: Context, request: RawQuoteArgs| async move {
                let report_data =
                    ReportData::padded(&request.report_data).map_err(RpcError::bad_request)?;
                Ok(AttestResponse {
                    attestation: td.attest(&report_data).encode(),
                })
            },
        )
        .method(
            "EmitEvent",
            |td: Arc<Guest>, _: Context, request: EmitEventArgs| async move {
                td.extend(&request.event, &request.payload);
                Ok(Empty {})
            },
        )
        .method(
            "GetKey",
            |td: Arc<Guest>, _: Context, request: GetKeyArgs| async move {
                let key = td.sealing_key(&request.path).to_vec();
                Ok(GetKeyResponse {
                    key,
                    signature_chain: vec![],
                })
            },
        )
        .method("Info", |td: Arc<Guest>, _: Context, _: Empty| async move {
            Ok(AppInfo {
                vm_config: td.vm_config().to_owned(),
                key_provider_info: r#"{"name":"local-sgx","id":""}"#.to_owned(),
                ..AppInfo::default()
            })
        })
        .into_router("")
}
