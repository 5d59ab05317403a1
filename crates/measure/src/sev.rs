//! Firmware as SEV-SNP sees it (measurements reference, section 8).

use bylaw_attest::image::snp::{LaunchError, Section, SnpDocument, firmware_digest};
use bylaw_types::Sha256Digest;
use sha2::{Digest, Sha256};

use crate::firmware::{FirmwareError, descriptor, entry, guid};
use crate::reader::Reader;

const HASHES_TABLE: [u8; 16] = guid(0x7255_371f_3a3b_4b04_927b_1da6_efa8_d454);
const RESET: [u8; 16] = guid(0x00f7_71de_1a7e_4fcb_890e_68c7_7e2f_b44e);
const METADATA: [u8; 16] = guid(0xdc88_6566_984a_4798_a75e_5585_a7bf_67cc);
const SECTION_LENGTH: usize = 12;

/// An image that has no SEV-SNP measurement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnpError {
    /// The firmware.
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    /// What the firmware asks for.
    #[error(transparent)]
    Launch(#[from] LaunchError),
}

/// The document of an image with these files.
///
/// # Errors
/// [`SnpError`] when the firmware was not built for SEV-SNP with direct kernel boot.
pub fn document(
    firmware: &[u8],
    kernel: &[u8],
    initrd: &[u8],
    cmdline: &str,
) -> Result<SnpDocument, SnpError> {
    let reader = Reader::new(firmware);
    let sha256 = |bytes: &[u8]| Sha256Digest::new(Sha256::digest(bytes).into());
    let number = |id, name| -> Result<u32, FirmwareError> {
        let data = entry(reader, id)?.ok_or(FirmwareError::Missing(name))?;
        let value = Reader::new(data).u32(0)?;
        if value == 0 {
            return Err(FirmwareError::Missing(name));
        }
        Ok(value)
    };
    Ok(SnpDocument {
        cmdline: cmdline.to_owned(),
        ovmf_hash: firmware_digest(firmware)?,
        kernel_hash: sha256(kernel),
        initrd_hash: sha256(initrd),
        hashes_table_gpa: number(HASHES_TABLE, "table for the hashes of kernel and initrd")?,
        reset_eip: number(RESET, "reset address for further vCPUs")?,
        sections: sections(reader)?,
    })
}

fn sections(firmware: Reader<'_>) -> Result<Vec<Section>, FirmwareError> {
    let data = entry(firmware, METADATA)?.ok_or(FirmwareError::Missing("SEV metadata"))?;
    let (start, count) = descriptor(firmware, data, *b"ASEV")?;
    (0..count)
        .map(|index| {
            let at = start + index * SECTION_LENGTH;
            Ok(Section {
                gpa: firmware.u32(at)?,
                size: firmware.u32(at + 4)?,
                kind: firmware.u32(at + 8)?,
            })
        })
        .collect()
}
