//! A kernel as QEMU hands it to the firmware, and as the firmware measures it
//! (measurements reference, section 6).

use std::ops::Range;

use bylaw_types::Register;
use sha2::{Digest, Sha384};

use crate::reader::{OutOfBounds, Reader};

/// Bytes that are no kernel which QEMU boots directly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// It ends early.
    #[error("kernel: {0}")]
    Truncated(#[from] OutOfBounds),
    /// Not a bzImage with an EFI stub.
    #[error("kernel: {0}; use a bzImage with EFI stub")]
    Malformed(String),
    /// The initrd finds no place below the kernel's limit.
    #[error("an initrd of {size} bytes does not fit below {limit:#x}")]
    InitrdTooLarge {
        /// Bytes.
        size: u64,
        /// Last address that the kernel allows.
        limit: u64,
    },
}

fn malformed<T>(reason: impl Into<String>) -> Result<T, KernelError> {
    Err(KernelError::Malformed(reason.into()))
}

const LOW_MEMORY_SMALL: u64 = 0xB000_0000;
const LOW_MEMORY_LARGE: u64 = 0x8000_0000;
/// ACPI tables and what QEMU keeps with them, at the end of low memory.
const RESERVED: u64 = 0x28000;
const DEFAULT_INITRD_MAX: u64 = 0x37ff_ffff;

/// The kernel file after QEMU has written addresses into its setup header.
///
/// `memory_size` is the VM's, in bytes.
///
/// # Errors
/// [`KernelError`].
pub fn patch(kernel: &[u8], initrd_size: u64, memory_size: u64) -> Result<Vec<u8>, KernelError> {
    let header = Reader::new(kernel);
    if header.array(0x202)? != *b"HdrS" {
        return malformed("it has no Linux setup header");
    }
    let protocol = header.u16(0x206)?;
    let load_flags = header.u8(0x211)?;
    let (real_address, cmdline_address): (u32, u32) = if protocol < 0x200 || load_flags & 1 == 0 {
        (0x9_0000, 0x9_a000)
    } else {
        (0x1_0000, 0x2_0000)
    };
    let initrd_max = initrd_max(header, protocol)?;
    let initrd_address = initrd_address(initrd_size, initrd_max, memory_size)?;

    let mut patched = kernel.to_vec();
    let mut put = |offset: usize, bytes: &[u8]| {
        for (slot, byte) in patched.iter_mut().skip(offset).zip(bytes) {
            *slot = *byte;
        }
    };
    let heap = cmdline_address - real_address;
    if protocol >= 0x200 {
        put(0x210, &[0xb0]);
    }
    if protocol >= 0x201 {
        put(0x211, &[load_flags | 0x80]);
        put(0x224, &(heap - 0x200).to_le_bytes());
    }
    if protocol >= 0x202 {
        put(0x228, &cmdline_address.to_le_bytes());
    } else {
        put(0x20, &0xa33fu16.to_le_bytes());
        // QEMU stores the low 16 bits.
        let [low, high, ..] = heap.to_le_bytes();
        put(0x22, &[low, high]);
    }
    put(0x218, &initrd_address.to_le_bytes());
    let size = u32::try_from(initrd_size).map_err(|_| KernelError::InitrdTooLarge {
        size: initrd_size,
        limit: u64::from(u32::MAX),
    })?;
    put(0x21c, &size.to_le_bytes());
    Ok(patched)
}

fn initrd_max(header: Reader<'_>, protocol: u16) -> Result<u64, OutOfBounds> {
    if protocol >= 0x20c {
        let is_above_4g_allowed = header.u16(0x236)? & 0x40 != 0;
        return Ok(if is_above_4g_allowed {
            0xffff_ffff
        } else {
            DEFAULT_INITRD_MAX
        });
    }
    if protocol >= 0x203 {
        return Ok(match header.u32(0x22c)? {
            0 => DEFAULT_INITRD_MAX,
            stated => u64::from(stated),
        });
    }
    Ok(DEFAULT_INITRD_MAX)
}

fn initrd_address(size: u64, initrd_max: u64, memory_size: u64) -> Result<u32, KernelError> {
    let low_memory = if memory_size < LOW_MEMORY_SMALL {
        LOW_MEMORY_SMALL
    } else {
        LOW_MEMORY_LARGE
    };
    let below_4g = memory_size.min(low_memory);
    let available = below_4g.saturating_sub(RESERVED);
    let limit = initrd_max.min(available.saturating_sub(1));
    limit
        .checked_sub(size)
        .and_then(|address| u32::try_from(address & !0xfff).ok())
        .ok_or(KernelError::InitrdTooLarge { size, limit })
}

/// SHA-384 over what Authenticode covers, as the firmware computes it.
///
/// # Errors
/// [`KernelError`] when the bytes are no PE file.
pub fn authenticode(pe: &[u8]) -> Result<Register, KernelError> {
    Ok(Register::new(authenticode_digest::<Sha384>(pe)?.into()))
}

/// The same with any hash: signatures on kernels are over SHA-256.
///
/// # Errors
/// [`KernelError`] when the bytes are no PE file.
pub fn authenticode_digest<D: Digest>(pe: &[u8]) -> Result<sha2::digest::Output<D>, KernelError> {
    let reader = Reader::new(pe);
    let mut hash = D::new();
    for range in covered(reader)? {
        hash.update(reader.bytes(range.start, range.len())?);
    }
    let padding = pe.len().next_multiple_of(8) - pe.len();
    hash.update(vec![0; padding]);
    Ok(hash.finalize())
}

/// Where the certificates of a signed PE file lie, `None` for an unsigned one.
///
/// # Errors
/// [`KernelError`] when the bytes are no PE file.
pub fn certificates(pe: &[u8]) -> Result<Option<Range<usize>>, KernelError> {
    let reader = Reader::new(pe);
    match headers(reader)?.certificate_entry {
        Some(entry) => {
            let (start, length) = (reader.size(entry)?, reader.size(entry + 4)?);
            reader.bytes(start, length)?;
            Ok((length > 0).then_some(start..start + length))
        }
        None => Ok(None),
    }
}

struct Headers {
    checksum: usize,
    /// Offset of the certificate table's directory entry.
    certificate_entry: Option<usize>,
    size: usize,
    section_table: usize,
    section_count: usize,
}

fn headers(pe: Reader<'_>) -> Result<Headers, KernelError> {
    if pe.array(0)? != *b"MZ" {
        return malformed("it does not start with MZ");
    }
    let start = pe.size(0x3c)?;
    let Some(optional) = start.checked_add(24) else {
        return malformed("its PE header lies outside");
    };
    if pe.array(start)? != *b"PE\0\0" {
        return malformed("it has no PE header");
    }
    let section_count = usize::from(pe.u16(start + 6)?);
    let optional_size = usize::from(pe.u16(start + 20)?);
    let directories = match pe.u16(optional)? {
        0x10b => optional + 96,
        0x20b => optional + 112,
        magic => return malformed(format!("its optional header has magic {magic:#x}")),
    };
    let directory_count = pe.u32(directories - 4)?;
    Ok(Headers {
        checksum: optional + 64,
        certificate_entry: (directory_count > 4).then_some(directories + 32),
        size: pe.size(optional + 60)?,
        section_table: optional + optional_size,
        section_count,
    })
}

/// Parts of the file that are hashed, in order.
fn covered(pe: Reader<'_>) -> Result<Vec<Range<usize>>, KernelError> {
    let headers = headers(pe)?;
    let after_checksum = headers.checksum + 4;
    let (mut parts, certificate_size) = match headers.certificate_entry {
        Some(entry) => {
            let parts = vec![
                0..headers.checksum,
                after_checksum..entry,
                entry + 8..headers.size,
            ];
            (parts, pe.size(entry + 4)?)
        }
        None => (vec![0..headers.checksum, after_checksum..headers.size], 0),
    };
    if parts.iter().any(|part| part.start > part.end) {
        return malformed("its headers end before their fields");
    }

    let mut sections = Vec::new();
    for index in 0..headers.section_count {
        let section = headers.section_table + index * 40;
        let (size, offset) = (pe.size(section + 16)?, pe.size(section + 20)?);
        if size > 0 {
            sections.push((offset, size));
        }
    }
    sections.sort_unstable();
    let mut hashed = headers.size;
    for (offset, size) in sections {
        // The last section of a bzImage may be stated longer than the file.
        let end = offset.saturating_add(size).min(pe.len());
        if offset > end {
            return malformed(format!("a section starts at {offset:#x}, outside the file"));
        }
        parts.push(offset..end);
        hashed = hashed.saturating_add(end - offset);
    }
    // What follows the sections, up to the certificates, is covered too.
    let end = pe.len().checked_sub(certificate_size);
    match end {
        Some(end) if hashed <= end => parts.push(hashed..end),
        _ if hashed == pe.len() => {}
        _ => return malformed("its sections and certificates overlap"),
    }
    Ok(parts)
}
