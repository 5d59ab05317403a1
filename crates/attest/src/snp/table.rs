//! The certificate table that a host hands its guests beside a report (`auxblob` of
//! configfs-tsm): entries of GUID, offset and length, an entry of zeros, then the
//! certificates.

use super::SnpError;

/// Longest table that is read, in bytes. Real ones have three certificates of about 1,500.
pub const MAX_TABLE_LEN: usize = 64 * 1024;
/// Entries that are read.
const MAX_ENTRIES: usize = 16;
const ENTRY_LEN: usize = 24;

/// What an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// Key of the chip.
    Vcek,
    /// Key of a cloud provider.
    Vlek,
    /// Issuer of VCEKs.
    Ask,
    /// AMD's root.
    Ark,
    /// Revocation list.
    Crl,
    /// Something else, which is ignored.
    Other([u8; 16]),
}

const KINDS: [(EntryKind, u128); 5] = [
    (EntryKind::Vcek, 0x63da758d_e664_4564_adc5_f4b93be8accd),
    (EntryKind::Vlek, 0xa8074bc2_a25a_483e_aae6_39c045a0b8a1),
    (EntryKind::Ask, 0x4ab7b379_bbac_4fe4_a02f_05aef327c782),
    (EntryKind::Ark, 0xc0b406a4_a803_4952_9743_3fb6014cd0ae),
    (EntryKind::Crl, 0x92f81bc3_5811_4d3d_97ff_d19f88dc67ea),
];

impl EntryKind {
    /// The order of bytes is that of the text, not of Microsoft's GUID structure.
    fn from_guid(guid: [u8; 16]) -> Self {
        KINDS
            .into_iter()
            .find(|(_, known)| known.to_be_bytes() == guid)
            .map_or(Self::Other(guid), |(kind, _)| kind)
    }

    fn guid(self) -> [u8; 16] {
        match self {
            Self::Other(guid) => guid,
            known => KINDS
                .into_iter()
                .find(|(kind, _)| *kind == known)
                .map_or([0; 16], |(_, guid)| guid.to_be_bytes()),
        }
    }
}

/// An entry and what it points to.
pub type Entry<'a> = (EntryKind, &'a [u8]);

/// Reads a table.
///
/// # Errors
/// [`SnpError::Endorsements`] for one that is too long, does not end, points outside itself
/// or has two entries of a kind.
pub fn parse(table: &[u8]) -> Result<Vec<Entry<'_>>, SnpError> {
    let bad = |reason: String| SnpError::Endorsements(format!("certificate table: {reason}"));
    if table.len() > MAX_TABLE_LEN {
        let reason = format!("{} bytes; the limit is {MAX_TABLE_LEN}", table.len());
        return Err(bad(reason));
    }
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let (headers, _) = table.as_chunks::<ENTRY_LEN>();
    for header in headers {
        if *header == [0; ENTRY_LEN] {
            return Ok(entries);
        }
        if entries.len() == MAX_ENTRIES {
            return Err(bad(format!("more than {MAX_ENTRIES} entries")));
        }
        let [guid @ .., o0, o1, o2, o3, l0, l1, l2, l3] = *header;
        let kind = EntryKind::from_guid(guid);
        let place = |bytes: [u8; 4]| usize::try_from(u32::from_le_bytes(bytes)).ok();
        let data = place([o0, o1, o2, o3])
            .zip(place([l0, l1, l2, l3]))
            .and_then(|(offset, length)| table.get(offset..offset.checked_add(length)?))
            .ok_or_else(|| bad(format!("entry {kind:?} points outside of it")))?;
        if entries.iter().any(|(other, _)| *other == kind) {
            return Err(bad(format!("two entries {kind:?}")));
        }
        entries.push((kind, data));
    }
    Err(bad("no entry of zeros ends it".to_owned()))
}

/// Writes a table, as a host does.
pub fn encode(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut offset = (entries.len() + 1) * ENTRY_LEN;
    let mut table = Vec::new();
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    for (kind, data) in entries {
        table.extend(kind.guid());
        table.extend(number(offset));
        table.extend(number(data.len()));
        offset += data.len();
    }
    table.extend([0; ENTRY_LEN]);
    for (_, data) in entries {
        table.extend(*data);
    }
    table
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(contents in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..2000), 0..5)) {
            let entries: Vec<Entry<'_>> = KINDS
                .iter()
                .zip(&contents)
                .map(|((kind, _), data)| (*kind, data.as_slice()))
                .collect();
            let table = encode(&entries);
            prop_assert_eq!(parse(&table).unwrap(), entries);
            // Hosts pad to whole pages.
            let mut padded = table.clone();
            padded.resize(table.len() + 100, 0);
            prop_assert!(parse(&padded).is_ok());
        }

        #[test]
        fn no_bytes_panic(table in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&table);
        }
    }

    #[test]
    fn what_is_wrong_with_a_table_is_said() {
        let good = encode(&[(EntryKind::Vcek, b"one"), (EntryKind::Ask, b"two")]);
        let refused = |table: &[u8], reason: &str| {
            let error = parse(table).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        };
        refused(&[], "ends it");
        refused(&good[..ENTRY_LEN * 2], "points outside");
        refused(&good[..good.len() - 1], "points outside");
        for at in [16, 20] {
            let mut outside = good.clone();
            outside[at..at + 4].fill(0xff);
            refused(&outside, "Vcek points outside");
        }
        let twice = encode(&[(EntryKind::Vcek, b"one"), (EntryKind::Vcek, b"two")]);
        refused(&twice, "two entries Vcek");
        let many: Vec<Entry<'_>> = (0..17)
            .map(|n| (EntryKind::Other([n + 1; 16]), &b""[..]))
            .collect();
        refused(&encode(&many), "more than 16");
        refused(&vec![0; MAX_TABLE_LEN + 1], "the limit");
    }
}
