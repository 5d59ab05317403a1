//! The table of GUIDs at the end of OVMF, by which it says what it needs.

use crate::reader::{OutOfBounds, Reader};

/// The table ends this far before the end of the file.
const AFTER_TABLE: usize = 32;
/// A GUID and a u16 length end each entry.
const ENTRY_END: usize = 18;
const TABLE_GUID: [u8; 16] = guid(0x96b5_82de_1fb2_45f7_baea_a366_c55a_082d);

/// Firmware that cannot be measured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FirmwareError {
    /// It ends early.
    #[error("firmware: {0}")]
    Truncated(#[from] OutOfBounds),
    /// It is not OVMF, or was built without this platform.
    #[error("firmware has no {0}; use a build of OVMF for this platform")]
    Missing(&'static str),
    /// Its description of itself makes no sense.
    #[error("firmware: {0}")]
    Malformed(String),
}

/// A GUID as it lies in memory: the first three fields little-endian.
pub(crate) const fn guid(text: u128) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = text.to_be_bytes();
    let [i, j, k, l, m, n, o, p] = rest;
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}

/// The data of this entry of the table, `None` where the firmware has none.
pub(crate) fn entry<'a>(
    firmware: Reader<'a>,
    wanted: [u8; 16],
) -> Result<Option<&'a [u8]>, FirmwareError> {
    let missing = || FirmwareError::Missing("table of GUIDs at its end");
    let end = firmware
        .len()
        .checked_sub(AFTER_TABLE + ENTRY_END)
        .ok_or_else(missing)?;
    if firmware.array(end + 2)? != TABLE_GUID {
        return Err(missing());
    }
    let length = usize::from(firmware.u16(end)?);
    let start = (end + ENTRY_END).checked_sub(length).ok_or_else(|| {
        FirmwareError::Malformed(format!(
            "its table of GUIDs of {length} bytes starts before it"
        ))
    })?;
    let mut end = end;
    while end > start {
        let (Some(id), Some(size)) = (end.checked_sub(16), end.checked_sub(ENTRY_END)) else {
            break;
        };
        let length = usize::from(firmware.u16(size)?);
        let data_start = end.checked_sub(length).filter(|from| *from >= start);
        let (Some(data_start), Some(data_length)) = (data_start, length.checked_sub(ENTRY_END))
        else {
            return Err(FirmwareError::Malformed(format!(
                "entry of {length} bytes in its table of GUIDs"
            )));
        };
        if firmware.array(id)? == wanted {
            return Ok(Some(firmware.bytes(data_start, data_length)?));
        }
        end = data_start;
    }
    Ok(None)
}

/// The descriptor to which an entry's u32 points, counted from the end of the file:
/// where its sections start, and how many there are.
pub(crate) fn descriptor(
    firmware: Reader<'_>,
    data: &[u8],
    signature: [u8; 4],
) -> Result<(usize, usize), FirmwareError> {
    const MAX_SECTIONS: usize = 64;
    let malformed = |reason: String| FirmwareError::Malformed(reason);
    let name = String::from_utf8_lossy(&signature).into_owned();
    let last = data
        .len()
        .checked_sub(4)
        .ok_or_else(|| malformed(format!("its {name} entry is too short")))?;
    let from_end = Reader::new(data).size(last)?;
    let start = firmware
        .len()
        .checked_sub(from_end)
        .ok_or_else(|| malformed(format!("its {name} descriptor lies before it")))?;
    if firmware.array(start)? != signature {
        return Err(malformed(format!("its {name} descriptor is not there")));
    }
    let version = firmware.u32(start + 8)?;
    if version != 1 {
        return Err(malformed(format!(
            "its {name} descriptor has version {version}, not 1"
        )));
    }
    let count = firmware.size(start + 12)?;
    if count > MAX_SECTIONS {
        return Err(malformed(format!(
            "its {name} descriptor has {count} sections, more than {MAX_SECTIONS}"
        )));
    }
    Ok((start + 16, count))
}
