//! Which OS image a SEV-SNP guest booted, proven from its launch digest
//! (measurements reference, section 8).
//!
//! The digest covers firmware, kernel, initrd, command line and the state of every
//! vCPU. The image commits to the first four in `measurement.snp.cbor`; count and
//! kind of the vCPUs come from the host, which a false claim does not help: the
//! digest computed from it is not the one in the report.

mod document;
mod launch;
mod vmsa;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bylaw_types::{OsImageHash, Register};
pub use document::{SNP_CHECKSUM_NAME, Section, SnpDocument, SnpDocumentError};
pub use launch::{LaunchError, firmware_digest, launch_digest};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::document::committed;

/// `sev_snp_measurement` of vm_config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpMaterial {
    /// `sha256sum.txt`, base64; may list only that one file.
    pub checksum_file: String,
    /// `measurement.snp.cbor`, base64.
    pub measurement: String,
    /// vCPUs.
    pub vcpus: u32,
    /// QEMU's name of the CPU model, e.g. `EPYC-v4`.
    pub vcpu_type: String,
    /// SEV_FEATURES of the guest.
    pub guest_features: u64,
}

/// Why a launch digest proves no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnpImageError {
    /// `sev_snp_measurement` has another form.
    #[error("sev_snp_measurement is not usable: {0}")]
    Material(String),
    /// There is nothing to recompute the launch digest from.
    #[error(
        "no image is proven: vm_config carries no sev_snp_measurement. Boot an image that has \
         measurement.snp.cbor"
    )]
    NoMeasurement,
    /// vm_config has another form.
    #[error("vm_config is not usable: {0}")]
    Config(String),
    /// The checksum file does not list the document.
    #[error("image {image} does not commit to this measurement document: {reason}")]
    NotCommitted {
        /// SHA-256 of the checksum file.
        image: OsImageHash,
        /// Which link is broken.
        reason: String,
    },
    /// The document has another form.
    #[error(transparent)]
    Document(#[from] SnpDocumentError),
    /// The claimed vCPUs cannot be measured.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// Another image, or other vCPUs, were launched.
    #[error(
        "image {image} is claimed, but MEASUREMENT is {actual} where that image gives {expected}"
    )]
    Mismatch {
        /// SHA-256 of the checksum file.
        image: OsImageHash,
        /// Recomputed.
        expected: Register,
        /// Reported.
        actual: Register,
    },
}

/// What of vm_config matters here. Unknown keys are ignored: they select nothing.
#[derive(Deserialize)]
struct SnpVmConfig {
    sev_snp_measurement: Option<String>,
}

/// Proves which image a guest with this MEASUREMENT and vm_config booted.
///
/// # Errors
/// As [`prove_snp`], and for a vm_config without `sev_snp_measurement`.
pub fn prove_snp_vm(vm_config: &str, measurement: &Register) -> Result<OsImageHash, SnpImageError> {
    let config: SnpVmConfig = serde_json::from_str(vm_config)
        .map_err(|error| SnpImageError::Config(error.to_string()))?;
    let material = config
        .sev_snp_measurement
        .ok_or(SnpImageError::NoMeasurement)?;
    prove_snp(&material, measurement)
}

/// Proves which image a guest with this MEASUREMENT booted.
///
/// `material` is the JSON text of `sev_snp_measurement`.
///
/// # Errors
/// [`SnpImageError`] names the first thing that does not fit.
pub fn prove_snp(material: &str, measurement: &Register) -> Result<OsImageHash, SnpImageError> {
    let bad = |error: &dyn std::fmt::Display| SnpImageError::Material(error.to_string());
    let material: SnpMaterial = serde_json::from_str(material).map_err(|error| bad(&error))?;
    let decode = |text: &str| STANDARD.decode(text).map_err(|error| bad(&error));
    let checksums = decode(&material.checksum_file)?;
    let document = decode(&material.measurement)?;
    let image = OsImageHash::new(Sha256::digest(&checksums).into());
    committed(&checksums, SNP_CHECKSUM_NAME, &document)
        .map_err(|reason| SnpImageError::NotCommitted { image, reason })?;
    let expected = launch_digest(
        &SnpDocument::from_cbor(&document)?,
        material.vcpus,
        &material.vcpu_type,
        material.guest_features,
    )?;
    if expected == *measurement {
        Ok(image)
    } else {
        Err(SnpImageError::Mismatch {
            image,
            expected,
            actual: *measurement,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
