//! Bytes that are wiped, cannot be printed and cannot be copied.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::KeyError;

/// 32 secret bytes on the heap, wiped on drop.
///
/// No `Clone`, `Display` or `Serialize`; [`Secret::expose`] is the only reader.
pub struct Secret(Box<[u8; 32]>);

impl Secret {
    /// Fills a new secret in place.
    ///
    /// # Errors
    /// What `fill` returns; the buffer is wiped then too.
    pub fn fill<E>(fill: impl FnOnce(&mut [u8; 32]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self(Box::new([0; 32]));
        fill(&mut secret.0)?;
        Ok(secret)
    }

    /// From the operating system.
    ///
    /// # Errors
    /// [`KeyError::Randomness`].
    pub fn random() -> Result<Self, KeyError> {
        Self::fill(|bytes| getrandom::fill(bytes).map_err(|_| KeyError::Randomness))
    }

    /// Takes over bytes and wipes the original.
    pub fn take(bytes: &mut [u8; 32]) -> Self {
        let secret = Self(Box::new(*bytes));
        bytes.zeroize();
        secret
    }

    /// A copy of a slice of exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 32] = bytes.try_into().ok()?;
        Some(Self(Box::new(*bytes)))
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_print_and_takes_its_source() {
        let mut bytes = [7; 32];
        let secret = Secret::take(&mut bytes);
        assert_eq!(bytes, [0; 32]);
        assert_eq!(format!("{secret:?}"), "Secret");
        assert_eq!(secret.expose(), &[7; 32]);
        assert!(Secret::from_slice(&[7; 31]).is_none());
        assert_eq!(secret, Secret::from_slice(&[7; 32]).unwrap());
        assert_ne!(Secret::random().unwrap(), Secret::random().unwrap());
    }
}
