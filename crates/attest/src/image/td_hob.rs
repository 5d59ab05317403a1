//! The hand-off blocks that firmware measures first (measurements reference, 5.1).

const PAGE: u64 = 4096;
const MAX_RANGES: u64 = 64;
const MAX_PAGE: u64 = 1 << 40;
const LARGE_FROM: u64 = 0xB000_0000;
const LOW_END: u64 = 0x8000_0000;
const HIGH_START: u64 = 0x1_0000_0000;
const TYPE_MEMORY: u32 = 0;
const TYPE_UNACCEPTED: u32 = 7;

/// Memory sections that the firmware hands over accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdHobWitness {
    base_page: u64,
    hob_page: u64,
    /// Start page and page count, sorted, not overlapping.
    ranges: Vec<(u64, u64)>,
}

/// Bytes that are not a witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("td_hob: {0}")]
pub struct WitnessError(&'static str);

impl TdHobWitness {
    /// A witness from pages.
    ///
    /// # Errors
    /// Ranges must be sorted, not empty, not overlapping, and one must start at `hob_page`.
    pub fn new(
        base_page: u64,
        hob_page: u64,
        ranges: Vec<(u64, u64)>,
    ) -> Result<Self, WitnessError> {
        let mut end = base_page;
        for (start, count) in &ranges {
            if *count == 0 || *start < end || *start > MAX_PAGE || *count > MAX_PAGE {
                return Err(WitnessError(
                    "ranges must be sorted, not empty and not overlapping",
                ));
            }
            end = start + count;
        }
        if ranges
            .iter()
            .filter(|(start, _)| *start == hob_page)
            .count()
            != 1
        {
            return Err(WitnessError("exactly one range must start at the TD HOB"));
        }
        Ok(Self {
            base_page,
            hob_page,
            ranges,
        })
    }

    /// Parses unsigned LEB128 numbers; nothing may follow.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WitnessError> {
        let mut rest = bytes;
        let base = number(&mut rest)?;
        let hob = base + number(&mut rest)?;
        let count = number(&mut rest)?;
        if count > MAX_RANGES {
            return Err(WitnessError("too many ranges"));
        }
        let mut ranges = Vec::new();
        for _ in 0..count {
            ranges.push((base + number(&mut rest)?, number(&mut rest)?));
        }
        if rest.is_empty() {
            Self::new(base, hob, ranges)
        } else {
            Err(WitnessError("bytes follow it"))
        }
    }

    /// The LEB128 form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let count = self.ranges.len() as u64;
        let head = [self.base_page, self.hob_page - self.base_page, count];
        let ranges = self
            .ranges
            .iter()
            .flat_map(|(start, count)| [start - self.base_page, *count]);
        for mut value in head.into_iter().chain(ranges) {
            while value >= 0x80 {
                out.push(low_bits(value) | 0x80);
                value >>= 7;
            }
            out.push(low_bits(value));
        }
        out
    }

    /// The bytes that the firmware builds and measures for this much memory.
    pub fn hob(&self, memory_size: u64) -> Vec<u8> {
        let resources = self.resources(memory_size);
        let length = 56 + 48 * resources.len() as u64;
        let mut hob = Vec::new();
        hob.extend(1u16.to_le_bytes());
        hob.extend(56u16.to_le_bytes());
        hob.extend(0u32.to_le_bytes());
        hob.extend(9u32.to_le_bytes());
        hob.extend(0u32.to_le_bytes());
        hob.extend([0; 32]);
        hob.extend((self.hob_page * PAGE + length + 8).to_le_bytes());
        for (kind, start, size) in resources {
            hob.extend(3u16.to_le_bytes());
            hob.extend(48u16.to_le_bytes());
            hob.extend(0u32.to_le_bytes());
            hob.extend([0; 16]);
            hob.extend(kind.to_le_bytes());
            hob.extend(7u32.to_le_bytes());
            hob.extend(start.to_le_bytes());
            hob.extend(size.to_le_bytes());
        }
        hob
    }

    /// Type, start and length in bytes of each resource.
    fn resources(&self, memory_size: u64) -> Vec<(u32, u64, u64)> {
        let mut resources = Vec::new();
        let mut next = 0;
        for (start, count) in &self.ranges {
            let (start, size) = (start * PAGE, count * PAGE);
            if start > next {
                resources.push((TYPE_UNACCEPTED, next, start - next));
            }
            resources.push((TYPE_MEMORY, start, size));
            next = start + size;
        }
        if memory_size < LARGE_FROM {
            if memory_size > next {
                resources.push((TYPE_UNACCEPTED, next, memory_size - next));
            }
            return resources;
        }
        // Memory above 2 GiB continues at 4 GiB.
        if next < LOW_END {
            resources.push((TYPE_UNACCEPTED, next, LOW_END - next));
        }
        if memory_size > LOW_END {
            resources.push((TYPE_UNACCEPTED, HIGH_START, memory_size - LOW_END));
        }
        resources
    }
}

fn low_bits(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}

fn number(rest: &mut &[u8]) -> Result<u64, WitnessError> {
    let mut value = 0u64;
    for shift in (0..42).step_by(7) {
        let (byte, tail) = rest.split_first().ok_or(WitnessError("it is truncated"))?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            // The shortest form is the only one, so that one witness has one hash.
            let is_shortest = shift == 0 || *byte != 0;
            return if is_shortest {
                Ok(value)
            } else {
                Err(WitnessError("a number is padded"))
            };
        }
    }
    Err(WitnessError("a number is too large"))
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha384};

    use super::*;

    const EXAMPLE: &str = "801009040006090 20b021010";

    fn example() -> TdHobWitness {
        TdHobWitness::decode(&hex::decode(EXAMPLE.replace(' ', "")).unwrap()).unwrap()
    }

    #[test]
    fn the_worked_example_gives_its_digest() {
        let witness = example();
        assert_eq!(witness.base_page, 0x800);
        assert_eq!(
            witness.ranges,
            [(0x800, 6), (0x809, 2), (0x80b, 2), (0x810, 16)]
        );
        let hob = witness.hob(2 << 30);
        assert_eq!(hob.len(), 440);
        assert_eq!(
            hex::encode(Sha384::digest(hob)),
            "0b8772e5b0b41b83e6044a68397e02f49fb47066b4fbe4917ea2c45c64f323fdacbb37948f821ebaf8bc9c938ba8a749"
        );
    }

    #[test]
    fn large_memory_is_split_at_4_gib() {
        let resources = example().resources(4 << 30);
        assert_eq!(
            resources[resources.len() - 2],
            (7, 0x82_0000, 0x8000_0000 - 0x82_0000)
        );
        assert_eq!(
            resources[resources.len() - 1],
            (7, 0x1_0000_0000, (4 << 30) - 0x8000_0000)
        );
    }

    #[test]
    fn the_encoding_round_trips_and_bad_ones_are_refused() {
        let bytes = hex::decode(EXAMPLE.replace(' ', "")).unwrap();
        assert_eq!(example().encode(), bytes);
        for length in 0..bytes.len() {
            assert!(TdHobWitness::decode(&bytes[..length]).is_err());
        }
        for bad in [
            "80100904000609020b02101000",
            "800009",
            "801009020006050 2",
            "8010090100ff",
        ] {
            let bytes = hex::decode(bad.replace(' ', "")).unwrap();
            assert!(TdHobWitness::decode(&bytes).is_err(), "{bad}");
        }
    }
}
