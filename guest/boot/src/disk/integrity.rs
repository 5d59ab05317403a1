//! dm-integrity's superblock, which follows the header: where data and tags lie, and for
//! how much data there is room.
//!
//! The kernel lays the volume out in areas of 32768 sectors of data, each after the tags
//! of its own sectors. A larger disk has more areas behind the others, and nothing moves:
//! when the kernel opens the volume on a larger disk it writes the larger size into the
//! superblock, and the next opening has it. (Linux, `drivers/md/dm-integrity.c`.)
//!
//! Nothing here is authenticated, and nothing needs to be. dm-crypt checks every sector
//! with a tag over its number and content, so a superblock that lies about places and sizes
//! leads to sectors that do not verify. It is checked so that what is wrong has a name.

use std::ops::RangeInclusive;

use crate::disk::luks::{DATA_OFFSET, SECTOR};

/// Bytes of the superblock.
pub const LENGTH: usize = 512;

const KERNEL_SECTOR: u64 = 512;
/// Sectors of a block, which is what has a tag.
const BLOCK: u64 = SECTOR as u64 / KERNEL_SECTOR;
/// Bytes of a tag: HMAC-SHA-256.
const TAG: u64 = 32;
/// Sectors of data in an area, as a power of two.
const AREA_LOG: u64 = 15;
/// Sectors of the tags of an area.
const TAGS: u64 = ((1 << AREA_LOG) / BLOCK) * TAG / KERNEL_SECTOR;
/// Sectors that are kept for the superblock.
const RESERVED: u64 = 8;
/// Sectors of a journal section: 8 of entries, 4 entries in each, a block for every entry.
const SECTION: u64 = 8 + 8 * 4 * BLOCK;
/// The kernel's longest journal has 131072 sectors.
const SECTIONS: u64 = 131_072 / SECTION;
/// More sectors than any disk has; sums of them do not overflow.
const MAX_SECTORS: u64 = (1 << 54) - BLOCK;

/// A superblock that this system's kernel does not write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SuperblockError {
    /// Cut off.
    #[error("the superblock of its tags is cut off")]
    Short,
    /// Something else.
    #[error("there is no superblock of its tags")]
    Absent,
    /// A field.
    #[error("{field} in the superblock of its tags is {found}, and must be {expected}")]
    Field {
        /// Its name in the kernel.
        field: &'static str,
        /// What it says.
        found: u64,
        /// What we have it written as.
        expected: String,
    },
    /// Bytes that mean nothing.
    #[error("the superblock of its tags has bytes where there must be none")]
    Padding,
}

/// How a volume lies on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    journal_sections: u64,
    data_sectors: u64,
}

impl Superblock {
    /// Reads the first [`LENGTH`] bytes after the header.
    ///
    /// # Errors
    /// [`SuperblockError`] names the field that is not as in a volume of ours: a journal
    /// and no bitmap, no tags computed by dm-integrity itself, nothing to recompute.
    pub fn parse(bytes: &[u8]) -> Result<Self, SuperblockError> {
        let mut reader = Reader(bytes.get(..LENGTH).ok_or(SuperblockError::Short)?);
        if reader.array::<8>()? != *b"integrt\0" {
            return Err(SuperblockError::Absent);
        }
        reader.number::<1>("version", 4..=4)?;
        reader.number::<1>("log2_interleave_sectors", AREA_LOG..=AREA_LOG)?;
        reader.number::<2>("integrity_tag_size", TAG..=TAG)?;
        let journal_sections = reader.number::<4>("journal_sections", 1..=SECTIONS)?;
        let data_sectors = reader.number::<8>("provided_data_sectors", BLOCK..=MAX_SECTORS)?;
        // Padding without waste, and nothing else: no recalculation, no dirty bitmap.
        reader.number::<4>("flags", 8..=8)?;
        let block_log = u64::from(BLOCK.ilog2());
        reader.number::<1>("log2_sectors_per_block", block_log..=block_log)?;
        // Of a bitmap, which there is none of.
        reader.number::<1>("log2_blocks_per_bitmap_bit", 0..=63)?;
        let has_padding = reader.0.iter().any(|byte| *byte != 0);
        if has_padding || !data_sectors.is_multiple_of(BLOCK) {
            return Err(SuperblockError::Padding);
        }
        Ok(Self {
            journal_sections,
            data_sectors,
        })
    }

    /// Bytes of data that the volume has when it is opened.
    pub fn data_bytes(&self) -> u64 {
        self.data_sectors * KERNEL_SECTOR
    }

    /// Bytes that a disk must have for it.
    pub fn disk_bytes(&self) -> u64 {
        self.end_of(self.data_sectors) * KERNEL_SECTOR
    }

    /// Bytes of data for which a disk of `disk` bytes has room; the kernel's own number.
    pub fn capacity(&self, disk: u64) -> u64 {
        let disk = disk / KERNEL_SECTOR;
        let mut sectors = 0;
        for bit in (BLOCK.ilog2()..=MAX_SECTORS.ilog2()).rev() {
            let more = sectors | 1 << bit;
            if self.end_of(more) <= disk {
                sectors = more;
            }
        }
        sectors * KERNEL_SECTOR
    }

    /// The sector of the disk after the last of `data` sectors, of which there is one at least.
    fn end_of(&self, data: u64) -> u64 {
        let last = data.saturating_sub(1);
        let tags = ((last >> AREA_LOG) + 1) * TAGS;
        let journal = SECTION * self.journal_sections;
        DATA_OFFSET as u64 / KERNEL_SECTOR + RESERVED + journal + tags + last + 1
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], SuperblockError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(SuperblockError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// The next `N` bytes, little-endian, which must be in `range`.
    fn number<const N: usize>(
        &mut self,
        field: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<u64, SuperblockError> {
        let bytes = self.array::<N>()?;
        let found = bytes
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u64::from(*byte));
        if range.contains(&found) {
            return Ok(found);
        }
        let (start, end) = range.into_inner();
        let expected = match start == end {
            true => start.to_string(),
            false => format!("{start} to {end}"),
        };
        Err(SuperblockError::Field {
            field,
            found,
            expected,
        })
    }
}

#[cfg(test)]
mod tests;
