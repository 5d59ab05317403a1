//! `measurement.snp.cbor`.

use bylaw_types::{Register, Sha256Digest};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Name under which the checksum file lists the document.
pub const SNP_CHECKSUM_NAME: &str = "measurement.snp.cbor";
const VERSION: u32 = 3;

/// What an image commits to for SEV-SNP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpDocument {
    /// The kernel command line.
    pub cmdline: String,
    /// Launch digest after the firmware's own pages.
    pub ovmf_hash: Register,
    /// SHA-256 of the kernel file.
    pub kernel_hash: Sha256Digest,
    /// SHA-256 of the initrd file.
    pub initrd_hash: Sha256Digest,
    /// Guest physical address of the hashes of kernel, initrd and command line.
    pub hashes_table_gpa: u32,
    /// Where every vCPU but the first starts.
    pub reset_eip: u32,
    /// In the firmware's order.
    pub sections: Vec<Section>,
}

/// Memory that the firmware wants prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Guest physical address, bytes.
    pub gpa: u32,
    /// Bytes.
    pub size: u32,
    /// 1 SEC memory, 2 secrets, 3 CPUID, 4 SVSM area, 0x10 kernel hashes.
    #[serde(rename = "type")]
    pub kind: u32,
}

/// Bytes that are not a measurement document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("SEV-SNP measurement document: {0}")]
pub struct SnpDocumentError(String);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    version: u32,
    cmdline: String,
    ovmf_hash: ByteBuf,
    kernel_hash: ByteBuf,
    initrd_hash: ByteBuf,
    hashes_table_gpa: u32,
    reset_eip: u32,
    ovmf_sections: Vec<Section>,
}

impl SnpDocument {
    /// Parses the CBOR form.
    ///
    /// # Errors
    /// [`SnpDocumentError`] for another version, unknown fields, lengths or
    /// trailing bytes.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, SnpDocumentError> {
        let malformed = |error: &dyn std::fmt::Display| SnpDocumentError(error.to_string());
        let mut rest = bytes;
        let wire: Wire = ciborium::from_reader(&mut rest).map_err(|error| malformed(&error))?;
        if !rest.is_empty() {
            return Err(malformed(&format!("{} bytes follow it", rest.len())));
        }
        if wire.version != VERSION {
            let reason = format!("version is {}, not {VERSION}", wire.version);
            return Err(malformed(&reason));
        }
        let hash = |bytes: &ByteBuf| {
            Sha256Digest::try_from(bytes.as_slice()).map_err(|error| malformed(&error))
        };
        Ok(Self {
            ovmf_hash: Register::try_from(wire.ovmf_hash.as_slice())
                .map_err(|error| malformed(&error))?,
            kernel_hash: hash(&wire.kernel_hash)?,
            initrd_hash: hash(&wire.initrd_hash)?,
            cmdline: wire.cmdline,
            hashes_table_gpa: wire.hashes_table_gpa,
            reset_eip: wire.reset_eip,
            sections: wire.ovmf_sections,
        })
    }

    /// The CBOR form, keys in their order.
    pub fn to_cbor(&self) -> Vec<u8> {
        let wire = Wire {
            version: VERSION,
            cmdline: self.cmdline.clone(),
            ovmf_hash: ByteBuf::from(self.ovmf_hash.as_bytes().to_vec()),
            kernel_hash: ByteBuf::from(self.kernel_hash.as_bytes().to_vec()),
            initrd_hash: ByteBuf::from(self.initrd_hash.as_bytes().to_vec()),
            hashes_table_gpa: self.hashes_table_gpa,
            reset_eip: self.reset_eip,
            ovmf_sections: self.sections.clone(),
        };
        let mut out = Vec::new();
        // Writing plain data to memory cannot fail.
        let _ = ciborium::into_writer(&wire, &mut out);
        out
    }
}
