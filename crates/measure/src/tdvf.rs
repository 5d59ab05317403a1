//! Firmware as TDX sees it: its sections, MRTD, what it hands over (measurements
//! reference, sections 4 and 5.1).

use bylaw_attest::image::{Mrtd, TdHobWitness};
use bylaw_types::Register;
use sha2::{Digest, Sha384};

use crate::firmware::{FirmwareError, descriptor, entry, guid};
use crate::reader::Reader;

const METADATA: [u8; 16] = guid(0xe47a_6535_984a_4798_865e_4685_a7bf_8ec2);
const PAGE: u64 = 4096;
const CHUNK: usize = 256;
const SECTION_LENGTH: usize = 32;
/// 256 MiB; OVMF has some 1100 pages.
const MAX_PAGES: u64 = 65_536;
const CONFIGURATION_VOLUME: u32 = 1;
const TD_HOB: u32 = 2;
const TEMPORARY_MEMORY: u32 = 3;
const EXTENDED: u32 = 1;
const AUGMENTED: u32 = 2;

/// Firmware and its sections.
#[derive(Clone)]
pub struct Tdvf<'a> {
    firmware: Reader<'a>,
    sections: Vec<Section>,
}

#[derive(Clone)]
struct Section {
    data_offset: usize,
    raw_size: usize,
    address: u64,
    pages: u64,
    kind: u32,
    attributes: u32,
}

impl std::fmt::Debug for Tdvf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tdvf")
            .field("size", &self.firmware.len())
            .field("sections", &self.sections.len())
            .finish()
    }
}

impl<'a> Tdvf<'a> {
    /// Finds and checks the TDX metadata.
    ///
    /// # Errors
    /// [`FirmwareError`] when there is none or it contradicts itself.
    pub fn parse(firmware: &'a [u8]) -> Result<Self, FirmwareError> {
        let firmware = Reader::new(firmware);
        let data = entry(firmware, METADATA)?.ok_or(FirmwareError::Missing("TDX metadata"))?;
        let (start, count) = descriptor(firmware, data, *b"TDVF")?;
        let mut sections = Vec::new();
        let mut pages = 0;
        for index in 0..count {
            let section = section(firmware, start + index * SECTION_LENGTH)?;
            pages += section.pages;
            if pages > MAX_PAGES {
                return Err(FirmwareError::Malformed(format!(
                    "its sections have more than {MAX_PAGES} pages"
                )));
            }
            sections.push(section);
        }
        Ok(Self { firmware, sections })
    }

    /// MRTD for both ways QEMU adds pages.
    ///
    /// # Errors
    /// [`FirmwareError::Truncated`] when a section lies outside the file.
    pub fn mrtd(&self) -> Result<Mrtd, FirmwareError> {
        Ok(Mrtd {
            single_pass: self.measure(false)?,
            two_pass: self.measure(true)?,
        })
    }

    fn measure(&self, two_pass: bool) -> Result<Register, FirmwareError> {
        let mut hash = Sha384::new();
        for section in &self.sections {
            for page in 0..section.pages {
                section.add(&mut hash, page);
                if !two_pass {
                    section.extend(&mut hash, self.firmware, page)?;
                }
            }
            if two_pass {
                for page in 0..section.pages {
                    section.extend(&mut hash, self.firmware, page)?;
                }
            }
        }
        Ok(Register::new(hash.finalize().into()))
    }

    /// The memory that the firmware finds accepted, as the measurement document has it.
    ///
    /// # Errors
    /// [`FirmwareError::Malformed`] unless there is exactly one TD HOB and nothing overlaps.
    pub fn witness(&self) -> Result<TdHobWitness, FirmwareError> {
        let mut ranges: Vec<(u64, u64)> = self
            .sections
            .iter()
            .filter(|section| matches!(section.kind, TD_HOB | TEMPORARY_MEMORY))
            .map(|section| (section.address / PAGE, section.pages))
            .collect();
        ranges.sort_unstable();
        let mut hobs = self
            .sections
            .iter()
            .filter(|section| section.kind == TD_HOB);
        let (Some(hob), None) = (hobs.next(), hobs.next()) else {
            return Err(FirmwareError::Malformed(
                "it must have exactly one TD HOB section".to_owned(),
            ));
        };
        let base = ranges.first().map_or(0, |(start, _)| *start);
        TdHobWitness::new(base, hob.address / PAGE, ranges)
            .map_err(|error| FirmwareError::Malformed(error.to_string()))
    }

    /// Digest that the firmware extends into RTMR0 for its variables.
    ///
    /// # Errors
    /// [`FirmwareError`] unless there is exactly one such section inside the file.
    pub fn configuration_volume(&self) -> Result<Register, FirmwareError> {
        let mut found = self
            .sections
            .iter()
            .filter(|section| section.kind == CONFIGURATION_VOLUME);
        let (Some(section), None) = (found.next(), found.next()) else {
            return Err(FirmwareError::Malformed(
                "it must have exactly one configuration volume".to_owned(),
            ));
        };
        let bytes = self.firmware.bytes(section.data_offset, section.raw_size)?;
        Ok(Register::new(Sha384::digest(bytes).into()))
    }
}

fn section(firmware: Reader<'_>, at: usize) -> Result<Section, FirmwareError> {
    let raw_size = firmware.size(at + 4)?;
    let address = firmware.u64(at + 8)?;
    let memory_size = firmware.u64(at + 16)?;
    let section = Section {
        data_offset: firmware.size(at)?,
        raw_size,
        address,
        pages: memory_size / PAGE,
        kind: firmware.u32(at + 24)?,
        attributes: firmware.u32(at + 28)?,
    };
    let refuse = |reason: &str| {
        Err(FirmwareError::Malformed(format!(
            "its section at {address:#x} of {memory_size:#x} bytes {reason}"
        )))
    };
    if !address.is_multiple_of(PAGE) || !memory_size.is_multiple_of(PAGE) {
        return refuse("is not whole pages");
    }
    if address.checked_add(memory_size).is_none() {
        return refuse("exceeds the address space");
    }
    if raw_size as u64 > memory_size {
        return refuse("has more data than memory");
    }
    // What an extended page without data would hold is nobody's promise.
    if section.attributes & EXTENDED != 0 && (raw_size as u64) < memory_size {
        return refuse("is measured but has less data than memory");
    }
    Ok(section)
}

impl Section {
    fn add(&self, hash: &mut Sha384, page: u64) {
        if self.attributes & AUGMENTED == 0 {
            hash.update(block(b"MEM.PAGE.ADD", self.address + page * PAGE));
        }
    }

    fn extend(
        &self,
        hash: &mut Sha384,
        firmware: Reader<'_>,
        page: u64,
    ) -> Result<(), FirmwareError> {
        if self.attributes & EXTENDED == 0 {
            return Ok(());
        }
        // At most MAX_PAGES pages: below 2^28.
        let offset = usize::try_from(page * PAGE).unwrap_or(usize::MAX);
        let start = self.data_offset.saturating_add(offset);
        let bytes = firmware.bytes(start, 4096)?;
        let mut address = self.address + page * PAGE;
        for chunk in bytes.chunks(CHUNK) {
            hash.update(block(b"MR.EXTEND", address));
            hash.update(chunk);
            address += CHUNK as u64;
        }
        Ok(())
    }
}

/// A name at 0 and an address at 16, in 128 bytes.
fn block(name: &[u8], address: u64) -> [u8; 128] {
    let mut block = [0; 128];
    for (slot, byte) in block.iter_mut().zip(name) {
        *slot = *byte;
    }
    for (slot, byte) in block.iter_mut().skip(16).zip(address.to_le_bytes()) {
        *slot = byte;
    }
    block
}
