//! Reading firmware and kernels, whose offsets and lengths are not to be believed.

/// A file's bytes; every access says where it would have read.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

/// Bytes that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{length} bytes at offset {offset:#x} lie outside its {size} bytes")]
pub struct OutOfBounds {
    offset: usize,
    length: usize,
    size: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn bytes(&self, offset: usize, length: usize) -> Result<&'a [u8], OutOfBounds> {
        offset
            .checked_add(length)
            .and_then(|end| self.0.get(offset..end))
            .ok_or(OutOfBounds {
                offset,
                length,
                size: self.0.len(),
            })
    }

    pub(crate) fn array<const N: usize>(&self, offset: usize) -> Result<[u8; N], OutOfBounds> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(offset, N)?);
        Ok(array)
    }

    pub(crate) fn u8(&self, offset: usize) -> Result<u8, OutOfBounds> {
        self.array(offset).map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&self, offset: usize) -> Result<u16, OutOfBounds> {
        self.array(offset).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&self, offset: usize) -> Result<u32, OutOfBounds> {
        self.array(offset).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&self, offset: usize) -> Result<u64, OutOfBounds> {
        self.array(offset).map(u64::from_le_bytes)
    }

    /// A u32 that is an offset or length in this file.
    pub(crate) fn size(&self, offset: usize) -> Result<usize, OutOfBounds> {
        // A number too large for this machine is outside every file on it.
        self.u32(offset)
            .map(|value| usize::try_from(value).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_the_bytes_is_read() {
        let reader = Reader::new(&[1, 2, 3, 4, 5]);
        assert_eq!(reader.u32(1), Ok(0x0504_0302));
        assert!(reader.u32(2).is_err());
        assert!(reader.bytes(usize::MAX, 2).is_err());
        assert!(reader.bytes(6, 0).is_err());
        assert_eq!(reader.bytes(5, 0), Ok(&[][..]));
    }
}
