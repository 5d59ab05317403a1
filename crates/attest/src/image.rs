//! Which OS image a TD booted, proven from its registers (measurements
//! reference, sections 1 to 7).
//!
//! The image commits to its expected measurements in `measurement.tdx.cbor`, which
//! `sha256sum.txt` lists, whose SHA-256 is the image hash. A verifier needs only
//! these two small files: it recomputes MRTD and RTMR0 to RTMR2 from them and the
//! VM's shape, and compares. What the VM claims about itself only selects the
//! expected values; a false claim selects values that do not match the quote.

mod document;
mod recomputed;
pub mod snp;
mod td_hob;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bylaw_types::{OsImageHash, ParseIdError, Register};
pub use document::{CHECKSUM_NAME, Document, ImageDigests, Mrtd, checksum_file};
pub use recomputed::{ImageSource, prove_with};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha384};
pub use td_hob::{TdHobWitness, WitnessError};

use crate::event_log::{ACPI_EVENTS, EventVersion, TdxEvent, extend};

/// Memory sizes for which the patched kernel is the same (section 6).
const TWO_GIB: u64 = 0x8000_0000;
const LARGE_FROM: u64 = 0xB000_0000;

/// Why an image is not proven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// vm_config is absent or has another form.
    #[error("vm_config is not usable: {0}")]
    Config(String),
    /// The image hash is not 32 bytes.
    #[error("vm_config os_image_hash: {0}")]
    Hash(#[from] ParseIdError),
    /// There is nothing to recompute registers from.
    #[error(
        "image {claimed} is claimed but not proven: vm_config carries no measurement document \
         (tdx_attestation_variant \"lite\" with tdx_measurement). Boot an image that has \
         measurement.tdx.cbor"
    )]
    NoMeasurement {
        /// What vm_config claims.
        claimed: OsImageHash,
    },
    /// Its files are not to be had, or do not give registers.
    #[error("image {claimed} is claimed but not proven: {reason}")]
    NotRecomputed {
        /// What vm_config claims.
        claimed: OsImageHash,
        /// What is missing.
        reason: String,
    },
    /// The document does not belong to the claimed image.
    #[error("image {claimed} does not commit to this measurement document: {reason}")]
    NotCommitted {
        /// What vm_config claims.
        claimed: OsImageHash,
        /// Which link is broken.
        reason: String,
    },
    /// The document has another form.
    #[error("measurement document: {0}")]
    Document(String),
    /// The VM's shape is outside what can be recomputed.
    #[error("this VM's measurements cannot be recomputed: {0}")]
    Shape(String),
    /// The registers are not those of the claimed image.
    #[error(
        "image {claimed} is claimed, but {register} is {actual} where that image gives {expected}"
    )]
    Mismatch {
        /// What vm_config claims.
        claimed: OsImageHash,
        /// MRTD or RTMR0 to RTMR2.
        register: &'static str,
        /// Recomputed.
        expected: Register,
        /// Quoted.
        actual: Register,
    },
}

/// The files that prove an image, as vm_config carries them: base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Material {
    /// `measurement.tdx.cbor`.
    pub measurement: String,
    /// `sha256sum.txt`; may list only that one file.
    pub checksum_file: String,
}

/// What of vm_config matters here. Unknown keys are ignored: they select nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmConfig {
    /// Claimed image.
    pub os_image_hash: String,
    /// vCPUs.
    #[serde(default)]
    pub cpu_count: u32,
    /// Bytes.
    #[serde(default)]
    pub memory_size: u64,
    /// Three numeric parts; 9.1.0 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qemu_version: Option<String>,
    /// Selects the two-pass MRTD despite its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qemu_single_pass_add_pages: Option<bool>,
    /// Only `pre202505` is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ovmf_variant: Option<String>,
    /// `lite`, or absent for `legacy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tdx_attestation_variant: Option<String>,
    /// The files that prove the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tdx_measurement: Option<Material>,
}

/// The registers that boot sets before any runtime event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootRegisters {
    /// Initial contents.
    pub mrtd: Register,
    /// Firmware configuration.
    pub rtmr0: Register,
    /// Kernel.
    pub rtmr1: Register,
    /// Command line and initrd.
    pub rtmr2: Register,
}

/// How a TD is launched, as far as its measurements depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bytes.
    pub memory_size: u64,
    /// QEMU adds all pages before it extends any.
    pub two_pass: bool,
    /// Digests of ACPI loader, RSDP and tables.
    pub acpi: [Register; 3],
}

impl VmConfig {
    /// Parses the JSON text.
    ///
    /// # Errors
    /// [`ImageError::Config`].
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        serde_json::from_str(text).map_err(|error| ImageError::Config(error.to_string()))
    }

    /// Whether this QEMU adds all pages of a section before it extends any.
    ///
    /// # Errors
    /// [`ImageError::Shape`] for a version that cannot launch TDs.
    pub fn two_pass(&self) -> Result<bool, ImageError> {
        if let Some(two_pass) = self.qemu_single_pass_add_pages {
            return Ok(two_pass);
        }
        let version = self.qemu_version.as_deref().unwrap_or("9.1.0");
        let parts: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
        match parts.as_deref() {
            Some([..8, _, _]) => Err(ImageError::Shape(format!("QEMU {version} is older than 8"))),
            Some([8, _, _]) => Ok(true),
            Some([_, _, _]) => Ok(false),
            _ => Err(ImageError::Shape(format!(
                "qemu_version {version:?} is not x.y.z"
            ))),
        }
    }
}

/// Proves which image booted and returns its hash.
///
/// `event_log` supplies only candidates for the three ACPI digests: they must
/// reproduce the quoted RTMR0.
///
/// # Errors
/// [`ImageError`] names the first thing that does not fit.
pub fn prove(
    vm_config: &str,
    quoted: &BootRegisters,
    event_log: &[TdxEvent],
) -> Result<OsImageHash, ImageError> {
    let config = VmConfig::parse(vm_config)?;
    let claimed: OsImageHash = config.os_image_hash.parse()?;
    let is_lite = config.tdx_attestation_variant.as_deref() == Some("lite");
    let (true, Some(material)) = (is_lite, &config.tdx_measurement) else {
        return Err(ImageError::NoMeasurement { claimed });
    };
    let document = committed_document(claimed, material)?;
    if config
        .ovmf_variant
        .as_ref()
        .is_some_and(|variant| *variant != document.ovmf)
    {
        return Err(ImageError::Shape(format!(
            "vm_config names firmware layout {:?}, the image {:?}",
            config.ovmf_variant, document.ovmf
        )));
    }
    let shape = Shape {
        memory_size: config.memory_size,
        two_pass: config.two_pass()?,
        acpi: acpi_digests(event_log)?,
    };
    let (expected, _) = boot(&document, &shape)?;
    compare(claimed, &expected, quoted)
}

fn compare(
    claimed: OsImageHash,
    expected: &BootRegisters,
    quoted: &BootRegisters,
) -> Result<OsImageHash, ImageError> {
    for (register, expected, actual) in [
        ("MRTD", expected.mrtd, quoted.mrtd),
        ("RTMR0", expected.rtmr0, quoted.rtmr0),
        ("RTMR1", expected.rtmr1, quoted.rtmr1),
        ("RTMR2", expected.rtmr2, quoted.rtmr2),
    ] {
        if expected != actual {
            return Err(ImageError::Mismatch {
                claimed,
                register,
                expected,
                actual,
            });
        }
    }
    Ok(claimed)
}

fn committed_document(claimed: OsImageHash, material: &Material) -> Result<Document, ImageError> {
    let decode = |name: &str, text: &str| {
        STANDARD
            .decode(text)
            .map_err(|error| ImageError::Document(format!("{name}: {error}")))
    };
    let checksums = decode("checksum_file", &material.checksum_file)?;
    let measurement = decode("measurement", &material.measurement)?;
    let not_committed = |reason: String| ImageError::NotCommitted { claimed, reason };
    if Sha256::digest(&checksums)[..] != claimed.as_bytes()[..] {
        return Err(not_committed(
            "SHA-256 of the checksum file is another".to_owned(),
        ));
    }
    document::committed(&checksums, CHECKSUM_NAME, &measurement).map_err(not_committed)?;
    Document::from_cbor(&measurement)
}

fn acpi_digests(event_log: &[TdxEvent]) -> Result<[Register; 3], ImageError> {
    let mut digests = [Register::new([0; 48]); 3];
    for (slot, name) in digests.iter_mut().zip(ACPI_EVENTS) {
        let mut found = event_log
            .iter()
            .filter(|event| event.imr == 0 && event.event == name);
        let (Some(event), None) = (found.next(), found.next()) else {
            return Err(ImageError::Shape(format!(
                "the event log must have exactly one {name} entry"
            )));
        };
        *slot = Register::try_from(event.digest.as_slice())
            .map_err(|error| ImageError::Shape(format!("{name}: {error}")))?;
    }
    Ok(digests)
}

/// What booting an image with this precomputed document leaves in the registers, and
/// its log.
///
/// # Errors
/// [`ImageError::Shape`] for memory sizes that the document does not cover.
pub fn boot(
    document: &Document,
    shape: &Shape,
) -> Result<(BootRegisters, Vec<TdxEvent>), ImageError> {
    let memory = shape.memory_size;
    if memory != TWO_GIB && memory < LARGE_FROM {
        return Err(ImageError::Shape(format!(
            "memory is {memory} bytes; it must be 2 GiB, or 2816 MiB and more"
        )));
    }
    Ok(boot_measured(document, shape))
}

/// The same with a document measured for exactly this memory size.
pub fn boot_measured(document: &Document, shape: &Shape) -> (BootRegisters, Vec<TdxEvent>) {
    let hob = document.td_hob.hob(shape.memory_size);
    let [loader, rsdp, tables] = shape.acpi;
    let [
        configuration,
        secure_boot,
        pk,
        kek,
        db,
        dbx,
        boot_order,
        boot_0000,
    ] = FIXED;
    let log = [
        (0, 0x8000_000b, "", sha384(&hob)),
        (0, 0x8000_000a, "", fixed(configuration)),
        (0, 0x8000_0001, "", fixed(secure_boot)),
        (0, 0x8000_0001, "", fixed(pk)),
        (0, 0x8000_0001, "", fixed(kek)),
        (0, 0x8000_0001, "", fixed(db)),
        (0, 0x8000_0001, "", fixed(dbx)),
        (0, 4, "", sha384(&SEPARATOR)),
        (0, 10, ACPI_EVENTS[0], loader),
        (0, 10, ACPI_EVENTS[1], rsdp),
        (0, 10, ACPI_EVENTS[2], tables),
        (1, 0x8000_0003, "", document.image.kernel_authenticode),
        (0, 0x8000_0002, "", fixed(boot_order)),
        (0, 0x8000_0002, "", fixed(boot_0000)),
        (
            1,
            0x8000_0007,
            "",
            sha384(b"Calling EFI Application from Boot Option"),
        ),
        (1, 4, "", sha384(&SEPARATOR)),
        (2, 6, "", document.image.cmdline_sha384),
        (2, 6, "", document.image.initrd_sha384),
        (1, 0x8000_0007, "", sha384(b"Exit Boot Services Invocation")),
        (
            1,
            0x8000_0007,
            "",
            sha384(b"Exit Boot Services Returned with Success"),
        ),
    ];
    let replay = |imr: u32| {
        log.iter()
            .filter(|(register, ..)| *register == imr)
            .fold(Register::new([0; 48]), |value, (.., digest)| {
                extend(&value, digest.as_bytes())
            })
    };
    let registers = BootRegisters {
        mrtd: if shape.two_pass {
            document.mrtd.two_pass
        } else {
            document.mrtd.single_pass
        },
        rtmr0: replay(0),
        rtmr1: replay(1),
        rtmr2: replay(2),
    };
    let events = log
        .into_iter()
        .map(|(imr, event_type, name, digest)| TdxEvent {
            imr,
            event_type,
            digest: digest.as_bytes().to_vec(),
            event: name.to_owned(),
            event_payload: if name.is_empty() {
                vec![]
            } else {
                b"ACPI DATA".to_vec()
            },
            version: EventVersion::V1,
            preimage: None,
        })
        .collect();
    (registers, events)
}

/// Digest of the empty variables of firmware layout `pre202505`.
pub fn configuration_volume() -> Register {
    let [configuration, ..] = FIXED;
    fixed(configuration)
}

const SEPARATOR: [u8; 4] = [0; 4];

/// Digests that firmware layout `pre202505` always gives (section 5): CFV,
/// SecureBoot, PK, KEK, db, dbx, BootOrder, Boot0000.
const FIXED: [&str; 8] = [
    "344bc51c980ba621aaa00da3ed7436f7d6e549197dfe699515dfa2c6583d95e6412af21c097d473155875ffd561d6790",
    "9dc3a1f80bcec915391dcda5ffbb15e7419f77eab462bbf72b42166fb70d50325e37b36f93537a863769bcf9bedae6fb",
    "6f2e3cbc14f9def86980f5f66fd85e99d63e69a73014ed8a5633ce56eca5b64b692108c56110e22acadcef58c3250f1b",
    "d607c0efb41c0d757d69bca0615c3a9ac0b1db06c557d992e906c6b7dee40e0e031640c7bfd7bcd35844ef9edeadc6f9",
    "08a74f8963b337acb6c93682f934496373679dd26af1089cb4eaf0c30cf260a12e814856385ab8843e56a9acea19e127",
    "18cc6e01f0c6ea99aa23f8a280423e94ad81d96d0aeb5180504fc0f7a40cb3619dd39bd6a95ec1680a86ed6ab0f9828d",
    "1dd6f7b457ad880d840d41c961283bab688e94e4b59359ea45686581e90feccea3c624b1226113f824f315eb60ae0a7c",
    "23ada07f5261f12f34a0bd8e46760962d6b4d576a416f1fea1c64bc656b1d28eacf7047ae6e967c58fd2a98bfa74c298",
];

fn fixed(text: &str) -> Register {
    // The constants above; the test of the real quote fails if one is mistyped.
    text.parse().unwrap_or(Register::new([0; 48]))
}

fn sha384(bytes: &[u8]) -> Register {
    Register::new(Sha384::digest(bytes).into())
}

#[cfg(test)]
mod tests;
