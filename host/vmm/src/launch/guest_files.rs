//! What the guest is told: `.sys-config.json` and the `vm_config` in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bylaw_attest::image::snp::{SNP_CHECKSUM_NAME, SnpMaterial};
use bylaw_qemu::QemuVersion;
use bylaw_types::AppCompose;
use serde_json::{Value, json};

use super::machine::{Devices, effective_networks};
use super::{GUEST_API_PORT, LaunchError, Site};
use crate::config::TdxVariant;
use crate::images::Image;
use crate::record::Manifest;

/// The first QEMU whose launches can be recomputed.
const OLDEST_WITH_TDX: QemuVersion = QemuVersion::new(8, 2, 2);
/// Files of the image that prove it to a KMS.
const TDX_MEASUREMENT: &str = "measurement.tdx.cbor";
const CHECKSUMS: &str = "sha256sum.txt";
/// SEV_FEATURES of a guest that QEMU launches with nothing more asked for.
const SNP_ACTIVE: u64 = 1;

/// The shape of the VM, for whoever recomputes its measurements (measurements reference,
/// section 3).
pub(super) fn vm_config(
    site: &Site<'_>,
    manifest: &Manifest,
    image: &Image,
    compose: &AppCompose,
    devices: &Devices,
) -> Result<Value, LaunchError> {
    let cvm = &site.config.cvm;
    let (num_gpus, num_nvswitches) = devices.count();
    let version = match (&cvm.qemu_version, manifest.simulated_tee.is_some()) {
        (Some(configured), _) => configured.clone(),
        // What is simulated is a machine that has TDX: its QEMU would not be that old.
        (None, true) => site.qemu.version.max(OLDEST_WITH_TDX).to_string(),
        (None, false) => site.qemu.version.to_string(),
    };
    let mut config = json!({
        "spec_version": 1,
        "os_image_hash": image.os_image_hash().map(|hash| hash.to_string()).unwrap_or_default(),
        "cpu_count": manifest.vcpu,
        "memory_size": u64::from(manifest.memory) << 20,
        "qemu_version": version,
        "pci_hole64_size": cvm.pci_hole64_size,
        "hugepages": manifest.hugepages,
        "num_gpus": num_gpus,
        "num_nvswitches": num_nvswitches,
        "hotplug_off": cvm.hotplug_off,
        "image": image.name,
        "host_share_mode": "vhd",
    });
    let num_nics = effective_networks(site, manifest).len();
    if num_nics != 1 {
        config["num_nics"] = num_nics.into();
    }
    if let Some(single_pass) = cvm.single_pass_add_pages {
        config["qemu_single_pass_add_pages"] = single_pass.into();
    }
    if let Some(pic) = cvm.pic {
        config["pic"] = pic.into();
    }
    if let Some(variant) = &image.metadata.ovmf_variant {
        config["ovmf_variant"] = variant.as_str().into();
    }
    if let Some(measurement) = lite_measurement(site, image, compose)? {
        config["tdx_attestation_variant"] = "lite".into();
        config["tdx_measurement"] = measurement;
    }
    Ok(config)
}

/// The files that prove the image where the tables of the firmware are not recomputed.
///
/// Left to itself, the node uses them when the image has them, unless the app insists on
/// recomputed tables.
fn lite_measurement(
    site: &Site<'_>,
    image: &Image,
    compose: &AppCompose,
) -> Result<Option<Value>, LaunchError> {
    let requirements = compose.manifest().requirements.as_ref();
    let wanted = requirements.and_then(|requirements| requirements.tdx_measure_acpi_tables);
    let wanted = match site.config.cvm.tdx_variant {
        TdxVariant::Legacy => return Ok(None),
        TdxVariant::Auto if wanted == Some(true) => return Ok(None),
        TdxVariant::Auto => false,
        TdxVariant::Lite => true,
    };
    let read = |name: &str| std::fs::read(image.file(name)).ok();
    match (read(TDX_MEASUREMENT), read(CHECKSUMS)) {
        (Some(measurement), Some(checksums)) => Ok(Some(json!({
            "measurement": STANDARD.encode(measurement),
            "checksum_file": STANDARD.encode(checksums),
        }))),
        _ if wanted => Err(LaunchError::ImageLacks {
            image: image.name.clone(),
            what: "measurement.tdx.cbor (cvm.tdx_attestation_variant = \"lite\")",
        }),
        _ => Ok(None),
    }
}

/// The files that prove the image to a KMS, and the vCPUs that the launch digest covers;
/// JSON text in vm_config.
pub(super) fn snp_measurement(
    image: &Image,
    vcpus: u32,
    cpu_model: &str,
) -> Result<String, LaunchError> {
    let read = |name: &str| std::fs::read(image.file(name)).ok();
    let (Some(measurement), Some(checksums)) = (read(SNP_CHECKSUM_NAME), read(CHECKSUMS)) else {
        return Err(LaunchError::ImageLacks {
            image: image.name.clone(),
            what: "measurement.snp.cbor, which proves it to a KMS on SEV-SNP",
        });
    };
    let material = SnpMaterial {
        checksum_file: STANDARD.encode(checksums),
        measurement: STANDARD.encode(measurement),
        vcpus,
        vcpu_type: cpu_model.to_owned(),
        guest_features: SNP_ACTIVE,
    };
    // Texts and numbers always serialise.
    Ok(serde_json::to_string(&material).unwrap_or_default())
}

/// `.sys-config.json`.
#[derive(Debug)]
pub(super) struct SysConfig<'a> {
    pub(super) site: &'a Site<'a>,
    pub(super) manifest: &'a Manifest,
    pub(super) vm_config: String,
    pub(super) mr_config: Option<String>,
    pub(super) host_secret: &'a str,
    /// Of a simulated TEE.
    pub(super) pccs_url: Option<&'a str>,
}

impl SysConfig<'_> {
    pub(super) fn to_json(&self) -> Value {
        let config = self.site.config;
        let own = |custom: &Vec<String>, node: &Vec<String>| {
            if custom.is_empty() {
                node.clone()
            } else {
                custom.clone()
            }
        };
        let pccs_url = self.pccs_url.unwrap_or(&config.cvm.pccs_url);
        let (_, port) = config.host_api.tcp();
        let (host_api_url, guest_api) = if self.site.vsock {
            let url = format!("vsock://2:{port}/api");
            (url, format!("vsock:any:{GUEST_API_PORT}"))
        } else {
            let (id, secret) = (&self.manifest.id, self.host_secret);
            // The host, as QEMU's user network shows it.
            let url = format!("http://10.0.2.2:{port}/vm/{id}/{secret}/api");
            (url, format!("0.0.0.0:{GUEST_API_PORT}"))
        };
        let mut json = json!({
            "kms_urls": own(&self.manifest.kms_urls, &config.cvm.kms_urls),
            "gateway_urls": own(&self.manifest.gateway_urls, &config.cvm.gateway_urls),
            "pccs_url": pccs_url,
            "collateral_urls": { "pccs": pccs_url },
            "nvidia_attestation_proxy_url": config.cvm.nvidia_attestation_proxy_url,
            "docker_registry": config.cvm.docker_registry,
            "host_api_url": host_api_url,
            "vm_config": self.vm_config,
            "guest_api": guest_api,
        });
        if let Some(document) = &self.mr_config {
            json["mr_config"] = document.as_str().into();
        }
        if !config.cvm.amd_kds_url.is_empty() {
            json["collateral_urls"]["amd_kds"] = config.cvm.amd_kds_url.as_str().into();
        }
        if let Some(chain) = &config.cvm.chain {
            // Text and numbers always serialise.
            json["chain"] = serde_json::to_value(chain).unwrap_or_default();
        }
        json
    }
}

#[cfg(test)]
mod tests {
    use bylaw_types::file::write_atomic;

    use super::*;

    #[test]
    fn the_files_of_an_image_prove_its_snp_launch() {
        let dir = tempfile::tempdir().unwrap();
        let image = Image {
            name: "i".into(),
            path: dir.path().to_owned(),
            metadata: serde_json::from_str(r#"{"kernel":"k","initrd":"i","cmdline":""}"#).unwrap(),
            description: String::new(),
        };
        let lacking = snp_measurement(&image, 4, "EPYC-v4").unwrap_err();
        assert!(
            lacking.to_string().contains("measurement.snp.cbor"),
            "{lacking}"
        );
        write_atomic(&dir.path().join(SNP_CHECKSUM_NAME), b"document").unwrap();
        write_atomic(&dir.path().join(CHECKSUMS), b"list").unwrap();
        let text = snp_measurement(&image, 4, "EPYC-v4").unwrap();
        let material: SnpMaterial = serde_json::from_str(&text).unwrap();
        assert_eq!((material.vcpus, material.guest_features), (4, 1));
        assert_eq!(STANDARD.decode(material.measurement).unwrap(), b"document");
    }
}
