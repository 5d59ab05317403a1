//! A simulated TD: registers, event log, quotes, sealing.

use std::sync::{Arc, Mutex, PoisonError};

use bylaw_attest::event_log::{self, EventVersion, RuntimeEvent, TdxEvent};
use bylaw_attest::image::{self, Shape, VmConfig};
use bylaw_attest::mr_config::MrConfig;
use bylaw_attest::{Attestation, Platform, Stack, StackKind};
use bylaw_measure::ImageDir;
use bylaw_types::{
    AppCompose, AppId, InstanceId, KeyProviderInfo, OsImageHash, Register, ReportData,
};
use sha2::{Digest, Sha256, Sha384};

use crate::quote::Contents;
use crate::{Machine, SimError, SimImage};

/// What to launch.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Letters, digits and hyphens.
    pub name: String,
    /// The manifest.
    pub compose: AppCompose,
    /// `None` takes the first 20 bytes of the compose hash.
    pub app_id: Option<AppId>,
    /// Seed of the image.
    pub image: String,
    /// Bytes.
    pub memory_size: u64,
    /// vCPUs.
    pub cpu_count: u32,
    /// Boot to system-ready with a local key provider instead of to boot-mr-done.
    pub full_boot: bool,
    /// The debug attribute.
    pub debug: bool,
    /// On a platform that lacks the newest TCB level, which was published on 2024-03-13.
    pub outdated: bool,
    /// As if the system had attested this many GPUs; 0 measures nothing.
    pub gpus: u32,
    /// `None` keeps the seed of this name.
    pub instance_seed: Option<[u8; 20]>,
}

/// A real image to launch, as QEMU would start it.
#[derive(Debug, Clone)]
pub struct ImageLaunch {
    /// Letters, digits and hyphens.
    pub name: String,
    /// The image, measured as it lies there.
    pub image: ImageDir,
    /// Bytes.
    pub memory_size: u64,
    /// What QEMU built: loader, RSDP, tables.
    pub acpi: [Vec<u8>; 3],
    /// MRCONFIGID.
    pub mr_config_id: Register,
    /// What evidence repeats about the VM, JSON; the QEMU version in it selects how MRTD
    /// is computed.
    pub vm_config: String,
    /// How the guest's events are hashed.
    pub event_version: EventVersion,
    /// The debug attribute.
    pub debug: bool,
    /// On a platform that lacks the newest TCB level, which was published on 2024-03-13.
    pub outdated: bool,
}

/// A running TD.
#[derive(Debug)]
pub struct Td {
    machine: Arc<Machine>,
    name: String,
    vm_config: String,
    os_image_hash: OsImageHash,
    instance_id: Option<InstanceId>,
    version: EventVersion,
    mrtd: Register,
    mr_config_id: Register,
    debug: bool,
    outdated: bool,
    boot_log: Vec<TdxEvent>,
    rtmr: [Register; 3],
    /// RTMR3 follows from these, as the log proves.
    events: Mutex<Vec<RuntimeEvent>>,
}

impl Td {
    /// Launches a simulated image: boots it, then measures in the order of the reference
    /// (4.1).
    ///
    /// # Errors
    /// [`SimError::Launch`] when something of the request cannot be used.
    pub fn launch(machine: Arc<Machine>, launch: Launch) -> Result<Self, SimError> {
        check_name(&launch.name)?;
        let image = SimImage::new(&launch.image)?;
        let acpi = ["loader", "rsdp", "tables"].map(|name| {
            let text = format!("{name} {} {}", launch.cpu_count, launch.memory_size);
            sha384(text.as_bytes())
        });
        let shape = Shape {
            memory_size: launch.memory_size,
            two_pass: false,
            acpi,
        };
        let (registers, boot_log) = image::boot(image.document(), &shape).map_err(unusable)?;
        let vm_config = VmConfig {
            os_image_hash: image.os_image_hash().to_string(),
            cpu_count: launch.cpu_count,
            memory_size: launch.memory_size,
            qemu_version: Some("9.2.0".to_owned()),
            qemu_single_pass_add_pages: None,
            ovmf_variant: Some("pre202505".to_owned()),
            tdx_attestation_variant: Some("lite".to_owned()),
            tdx_measurement: Some(image.material()),
        };
        let hash = launch.compose.hash();
        let app_id = launch
            .app_id
            .unwrap_or_else(|| AppId::from_compose_hash(&hash));
        let manifest = launch.compose.manifest();
        let version = EventVersion::of_manifest(manifest.event_log_version);
        let instance_id = if manifest.no_instance_id {
            None
        } else {
            let seed = match launch.instance_seed {
                Some(seed) => seed,
                None => machine.instance_seed(&launch.name)?,
            };
            Some(InstanceId::of(&seed, &app_id))
        };
        let td = Self {
            name: launch.name,
            vm_config: serde_json::to_string(&vm_config).map_err(unusable)?,
            os_image_hash: image.os_image_hash(),
            instance_id,
            version,
            mrtd: registers.mrtd,
            mr_config_id: MrConfig::V1 {
                compose_hash: &hash,
            }
            .register(),
            debug: launch.debug,
            outdated: launch.outdated,
            boot_log,
            rtmr: [registers.rtmr0, registers.rtmr1, registers.rtmr2],
            events: Mutex::default(),
            machine,
        };
        td.extend("system-preparing", &[]);
        td.extend("app-id", app_id.as_ref());
        td.extend("compose-hash", hash.as_ref());
        for script in &manifest.init_script {
            td.extend("init-script-hash", &Sha256::digest(script));
        }
        td.extend(
            "instance-id",
            instance_id.as_ref().map_or(&[][..], AsRef::as_ref),
        );
        td.extend(event_log::BOOT_MR_DONE, &[]);
        if launch.gpus > 0 {
            let attested = format!(
                r#"{{"version":2,"provider":"nvidia","devices":{},"cc_mode":"on","devtools":false,"evidence_sha256":"{}"}}"#,
                launch.gpus,
                hex::encode(Sha256::digest(b"simulated"))
            );
            td.extend("gpu-attestation", attested.as_bytes());
        }
        if launch.full_boot {
            let id = hex::encode(td.machine.device_id());
            let provider = KeyProviderInfo {
                name: "local-sgx".to_owned(),
                id,
            };
            td.extend("key-provider", &provider.to_payload());
            td.extend("storage-fs", b"ext4");
            td.extend(event_log::SYSTEM_READY, &[]);
        }
        Ok(td)
    }

    /// Launches a real image: MRTD and RTMR0 to RTMR2 are computed from its files, not
    /// from the documents it carries. RTMR3 is the guest's.
    ///
    /// # Errors
    /// [`SimError::Launch`] when the image or something of the request cannot be used.
    pub fn launch_image(machine: Arc<Machine>, launch: ImageLaunch) -> Result<Self, SimError> {
        check_name(&launch.name)?;
        let config = VmConfig::parse(&launch.vm_config).map_err(unusable)?;
        let shape = Shape {
            memory_size: launch.memory_size,
            two_pass: config.two_pass().map_err(unusable)?,
            acpi: launch.acpi.map(|blob| sha384(&blob)),
        };
        let document = launch
            .image
            .measure_tdx(launch.memory_size)
            .map_err(unusable)?;
        let (registers, boot_log) = image::boot_measured(&document, &shape);
        Ok(Self {
            name: launch.name,
            vm_config: launch.vm_config,
            os_image_hash: launch.image.os_image_hash().map_err(unusable)?,
            instance_id: None,
            version: launch.event_version,
            mrtd: registers.mrtd,
            mr_config_id: launch.mr_config_id,
            debug: launch.debug,
            outdated: launch.outdated,
            boot_log,
            rtmr: [registers.rtmr0, registers.rtmr1, registers.rtmr2],
            events: Mutex::default(),
            machine,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its description of itself, JSON.
    pub fn vm_config(&self) -> &str {
        &self.vm_config
    }

    /// Hash of its image.
    pub fn os_image_hash(&self) -> OsImageHash {
        self.os_image_hash
    }

    /// Its instance id; a guest that boots a real image makes its own.
    pub fn instance_id(&self) -> Option<InstanceId> {
        self.instance_id
    }

    /// Extends a runtime event.
    pub fn extend(&self, name: &str, payload: &[u8]) {
        let event = RuntimeEvent::new(name, payload, self.version);
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event);
    }

    /// Runtime events so far.
    pub fn events(&self) -> Vec<RuntimeEvent> {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn registers(&self, events: &[RuntimeEvent]) -> [Register; 4] {
        let [rtmr0, rtmr1, rtmr2] = self.rtmr;
        [rtmr0, rtmr1, rtmr2, event_log::replay(events)]
    }

    /// Evidence for these bytes, with the whole log.
    pub fn attest(&self, report_data: &ReportData) -> Attestation {
        let runtime_events = self.events();
        let quote = self.machine.quote(&Contents {
            mrtd: &self.mrtd,
            rtmr: &self.registers(&runtime_events),
            mr_config_id: &self.mr_config_id,
            mr_signer_seam: &Register::new(self.machine.mr_signer_seam()),
            report_data,
            debug: self.debug,
            outdated: self.outdated,
        });
        let mut event_log = self.boot_log.clone();
        event_log.extend(runtime_events.iter().map(RuntimeEvent::to_tdx_event));
        Attestation {
            platform: Platform::Tdx { quote, event_log },
            stack: Stack {
                kind: StackKind::Plain,
                report_data: *report_data,
                runtime_events,
                config: self.vm_config.clone(),
            },
        }
    }

    /// A key bound to machine, measurements and context.
    pub fn sealing_key(&self, context: &str) -> [u8; 32] {
        let rtmr = self.registers(&self.events());
        let measurements: Vec<u8> = std::iter::once(&self.mrtd)
            .chain(&rtmr)
            .flat_map(|register| register.as_bytes().iter().copied())
            .collect();
        self.machine.sealing_key(&measurements, context)
    }
}

pub(crate) fn unusable(error: impl std::fmt::Display) -> SimError {
    SimError::Launch(error.to_string())
}

fn sha384(bytes: &[u8]) -> Register {
    Register::new(Sha384::digest(bytes).into())
}

pub(crate) fn check_name(name: &str) -> Result<(), SimError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
        Ok(())
    } else {
        Err(SimError::Launch(format!(
            "name {name:?} must be 1 to 64 letters, digits or hyphens"
        )))
    }
}
