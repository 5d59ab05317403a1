//! A simulated SEV-SNP guest: launch digest, HOST_DATA, signed reports.
//!
//! Its events go to a log that nothing measures, as on the hardware.

use std::sync::{Arc, Mutex, PoisonError};

use bylaw_attest::event_log::{EventVersion, RuntimeEvent};
use bylaw_attest::image::snp::{SnpMaterial, launch_digest};
use bylaw_attest::mr_config::v3_digest;
use bylaw_attest::snp::{Product, REPORT_LEN, table};
use bylaw_attest::{Attestation, Platform, Stack, StackKind};
use bylaw_measure::ImageDir;
use bylaw_types::{AppCompose, AppId, InstanceId, OsImageHash, Register, ReportData};
use serde_json::{Map, Value, json};

use crate::td::{check_name, unusable};
use crate::{Amd, Machine, SimError, SimImage};

/// Policy of an ordinary launch: SMT allowed, and the bit that must be one.
const POLICY: u64 = 0x30000;
const POLICY_DEBUG: u64 = 1 << 19;
/// QEMU's name of the CPU model that guests are launched with.
const VCPU_TYPE: &str = "EPYC-v4";
/// SNP active, nothing else.
const GUEST_FEATURES: u64 = 1;
const SIGNED_LEN: usize = 0x2a0;

/// What to launch.
#[derive(Debug, Clone)]
pub struct SnpLaunch {
    /// Letters, digits and hyphens.
    pub name: String,
    /// The image.
    pub image: SnpImage,
    /// vCPUs.
    pub cpu_count: u32,
    /// What the launch is bound to; its exact text.
    pub mr_config: String,
    /// Hand the guest a certificate table, as hosts may.
    pub certificates: bool,
    /// Allow debugging.
    pub debug: bool,
    /// On a platform whose firmware was updated after the launch.
    pub outdated: bool,
}

/// Where the launch digest comes from.
#[derive(Debug, Clone)]
pub enum SnpImage {
    /// A simulated image, by its seed.
    Seed(String),
    /// A real image, measured as it lies there, and what evidence repeats about the VM.
    Directory {
        /// The image.
        image: Box<ImageDir>,
        /// JSON.
        vm_config: String,
    },
}

/// The document that an ordinary launch of this manifest is bound to. Its instance is the
/// one that `seed` makes, if the manifest wants instances.
pub fn launch_document(compose: &AppCompose, app_id: &AppId, seed: Option<&[u8; 20]>) -> String {
    let manifest = compose.manifest();
    let mut members = Map::new();
    members.insert("version".into(), json!(3));
    members.insert("app_id".into(), json!(app_id));
    members.insert("compose_hash".into(), json!(compose.hash()));
    members.insert("key_provider".into(), json!(manifest.key_provider()));
    if !manifest.key_provider_id.is_empty() {
        members.insert("key_provider_id".into(), json!(manifest.key_provider_id));
    }
    if let Some(seed) = seed.filter(|_| !manifest.no_instance_id) {
        members.insert("instance_id".into(), json!(InstanceId::of(seed, app_id)));
    }
    Value::Object(members).to_string()
}

/// A running guest.
#[derive(Debug)]
pub struct SnpGuest {
    machine: Arc<Machine>,
    amd: Arc<Amd>,
    name: String,
    vm_config: String,
    os_image_hash: OsImageHash,
    instance_id: Option<InstanceId>,
    measurement: Register,
    mr_config: String,
    certificates: bool,
    policy: u64,
    launch_tcb: [u8; 8],
    events: Mutex<Vec<RuntimeEvent>>,
}

impl SnpGuest {
    /// Launches it.
    ///
    /// # Errors
    /// [`SimError::Launch`] when something of the request cannot be used.
    pub fn launch(machine: Arc<Machine>, launch: SnpLaunch) -> Result<Self, SimError> {
        check_name(&launch.name)?;
        let amd = machine.amd()?;
        let document =
            bylaw_attest::mr_config::LaunchDocument::parse(&launch.mr_config).map_err(unusable)?;
        let (measured, os_image_hash, vm_config) = match launch.image {
            SnpImage::Seed(seed) => {
                let image = SimImage::new(&seed)?;
                let hash = image.os_image_hash();
                let config = vm_config(
                    &hash,
                    &image.snp_material(launch.cpu_count, VCPU_TYPE, GUEST_FEATURES),
                );
                (image.snp_document().clone(), hash, config)
            }
            SnpImage::Directory { image, vm_config } => {
                let document = image.measure_snp().map_err(unusable)?;
                let document = document
                    .ok_or_else(|| SimError::Launch("the image has no SEV-SNP firmware".into()))?;
                (
                    document,
                    image.os_image_hash().map_err(unusable)?,
                    vm_config,
                )
            }
        };
        let measurement = launch_digest(&measured, launch.cpu_count, VCPU_TYPE, GUEST_FEATURES)
            .map_err(unusable)?;
        let mut launch_tcb = amd.tcb();
        if launch.outdated {
            // Microcode, the last byte on every product.
            let [.., microcode] = &mut launch_tcb;
            *microcode -= 1;
        }
        Ok(Self {
            name: launch.name,
            vm_config,
            os_image_hash,
            instance_id: document.instance_id,
            measurement,
            mr_config: launch.mr_config,
            certificates: launch.certificates,
            policy: POLICY | if launch.debug { POLICY_DEBUG } else { 0 },
            launch_tcb,
            events: Mutex::default(),
            machine,
            amd,
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

    /// Its instance id, where its launch document names one.
    pub fn instance_id(&self) -> Option<InstanceId> {
        self.instance_id
    }

    /// Logs an event, which nothing measures.
    pub fn extend(&self, name: &str, payload: &[u8]) {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(RuntimeEvent::new(name, payload, EventVersion::V1));
    }

    /// Evidence for these bytes.
    pub fn attest(&self, report_data: &ReportData) -> Attestation {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let cert_chain = if self.certificates {
            vec![table::encode(&[
                (table::EntryKind::Vcek, self.amd.vcek()),
                (table::EntryKind::Ask, self.amd.ask()),
            ])]
        } else {
            vec![]
        };
        Attestation {
            platform: Platform::SevSnp {
                report: self.report(report_data),
                cert_chain,
                mr_config: self.mr_config.clone(),
            },
            stack: Stack {
                kind: StackKind::Plain,
                report_data: *report_data,
                runtime_events: events.clone(),
                config: self.vm_config.clone(),
            },
        }
    }

    fn report(&self, report_data: &ReportData) -> Vec<u8> {
        let tcb = self.amd.tcb();
        let mut fields = Fields(vec![0; REPORT_LEN]);
        fields.put(0x000, &3u32.to_le_bytes());
        fields.put(0x008, &self.policy.to_le_bytes());
        fields.put(0x034, &1u32.to_le_bytes());
        fields.put(0x038, &tcb);
        // SMT is on, as the policy allows.
        fields.put(0x040, &1u64.to_le_bytes());
        fields.put(0x050, report_data.as_bytes());
        fields.put(0x090, self.measurement.as_bytes());
        fields.put(0x0c0, &v3_digest(self.mr_config.as_bytes()));
        fields.put(0x180, &tcb);
        fields.put(0x188, &cpuid(self.amd.product()));
        fields.put(0x1a0, &self.amd.chip_id());
        fields.put(0x1e0, &tcb);
        fields.put(0x1f0, &self.launch_tcb);
        sign_report(&self.amd, fields.0)
    }

    /// A key bound to chip, launch and context.
    pub fn sealing_key(&self, context: &str) -> [u8; 32] {
        let host_data = v3_digest(self.mr_config.as_bytes());
        let measurements = [self.measurement.as_bytes().as_slice(), &host_data].concat();
        self.machine.sealing_key(&measurements, context)
    }
}

/// Signs a report as the chip does, in place of the signature it has.
pub fn sign_report(amd: &Amd, mut report: Vec<u8>) -> Vec<u8> {
    report.resize(REPORT_LEN, 0);
    let (signed, signature) = report.split_at_mut(SIGNED_LEN);
    signature.fill(0);
    let both = amd.sign(signed);
    for (number, place) in both.chunks(48).zip(signature.chunks_mut(72)) {
        for (slot, byte) in place.iter_mut().zip(number.iter().rev()) {
            *slot = *byte;
        }
    }
    report
}

struct Fields(Vec<u8>);

impl Fields {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        for (slot, byte) in self.0.iter_mut().skip(at).zip(bytes) {
            *slot = *byte;
        }
    }
}

/// Family, model and stepping.
fn cpuid(product: Product) -> [u8; 3] {
    match product {
        Product::Milan => [0x19, 0x01, 1],
        Product::Genoa => [0x19, 0x11, 1],
        Product::Turin => [0x1a, 0x02, 1],
    }
}

fn vm_config(image: &OsImageHash, material: &SnpMaterial) -> String {
    // Texts and numbers always serialise.
    let measurement = serde_json::to_string(material).unwrap_or_default();
    json!({
        "os_image_hash": image,
        "cpu_count": material.vcpus,
        "sev_snp_measurement": measurement,
    })
    .to_string()
}
