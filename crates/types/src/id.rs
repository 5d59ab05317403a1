//! Fixed-length identifiers.
//!
//! Each type is its own: an [`AppId`] never converts into an [`InstanceId`]
//! although both are 20 bytes. The text form is lower-case hexadecimal without
//! a prefix; input also accepts one `0x` prefix and either case. A value of any
//! other length is an error: nothing is padded and nothing is cut.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// Why a text or byte string is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// The value has another number of bytes than the type.
    #[error("{kind} must be {expected} bytes ({} hex digits), got {actual} bytes", expected * 2)]
    Length {
        /// Type being parsed.
        kind: &'static str,
        /// Bytes the type has.
        expected: usize,
        /// Bytes that were given.
        actual: usize,
    },
    /// The text is not hexadecimal.
    #[error("{kind} must be hexadecimal: {reason}")]
    Hex {
        /// Type being parsed.
        kind: &'static str,
        /// What is wrong with the text.
        reason: String,
    },
}

fn decode_hex(kind: &'static str, text: &str) -> Result<Vec<u8>, ParseIdError> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    hex::decode(digits).map_err(|error| ParseIdError::Hex {
        kind,
        reason: error.to_string(),
    })
}

macro_rules! fixed_bytes {
    ($($(#[$doc:meta])* $name:ident, $len:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Wraps exactly this many bytes.
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The bytes, by value.
            pub const fn to_bytes(self) -> [u8; $len] {
                self.0
            }

            /// Whether every byte is zero.
            pub fn is_zero(&self) -> bool {
                self.0.iter().all(|byte| *byte == 0)
            }
        }

        impl From<[u8; $len]> for $name {
            fn from(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = ParseIdError;

            fn try_from(bytes: &[u8]) -> Result<Self, ParseIdError> {
                bytes.try_into().map(Self).map_err(|_| ParseIdError::Length {
                    kind: stringify!($name),
                    expected: $len,
                    actual: bytes.len(),
                })
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                Self::try_from(decode_hex(stringify!($name), text)?.as_slice())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*

    #[cfg(test)]
    mod round_trips {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            $(
                #[test]
                #[allow(non_snake_case)]
                fn $name(bytes in proptest::collection::vec(any::<u8>(), $len)) {
                    let value = $name::try_from(bytes.as_slice()).unwrap();
                    let text = value.to_string();
                    prop_assert_eq!(text.parse::<$name>().unwrap(), value);
                    prop_assert_eq!(format!("0x{}", text.to_uppercase()).parse::<$name>().unwrap(), value);
                    let json = serde_json::to_string(&value).unwrap();
                    prop_assert_eq!(serde_json::from_str::<$name>(&json).unwrap(), value);
                    prop_assert!($name::try_from(&bytes[1..]).is_err());
                    prop_assert!((text + "00").parse::<$name>().is_err());
                }
            )*
        }
    }
    };
}

fixed_bytes! {
    /// An app: the address of its `AppAuth` contract (20 bytes).
    AppId, 20;
    /// One instance of an app (20 bytes); absent when the app asks for none.
    InstanceId, 20;
    /// SHA-256 of the exact bytes of an app-compose.json.
    ComposeHash, 32;
    /// SHA-256 of the platform's own identifier (PPID, CHIP_ID); 32 bytes on every platform.
    DeviceId, 32;
    /// SHA-256 of the image's `sha256sum.txt`.
    OsImageHash, 32;
    /// SHA-256 over every measured register (attestation reference, section 7).
    MrAggregated, 32;
    /// SHA-256 over the registers of the system, without the app (attestation reference, section 7).
    MrSystem, 32;
    /// A SHA-256 digest with no more particular meaning.
    Sha256Digest, 32;
    /// Identifies a set of trust anchors (design, invariant 4).
    TrustAnchorDigest, 32;
    /// A SHA-384 measurement register: MRTD, RTMR0..3, MRCONFIGID and their like.
    Register, 48;
    /// What an attester was challenged with (64 bytes).
    ReportData, 64;
    /// Address of a contract on an EVM chain (20 bytes).
    ContractAddress, 20;
    /// Address of an account that signs with a secp256k1 key (20 bytes).
    SignerAddress, 20;
    /// Hash of an EVM block (32 bytes).
    BlockHash, 32;
}

impl InstanceId {
    /// SHA-256 of seed and app, cut to 20 bytes (attestation reference, section 4.1).
    pub fn of(seed: &[u8; 20], app_id: &AppId) -> Self {
        let digest: [u8; 32] = Sha256::new()
            .chain_update(seed)
            .chain_update(app_id)
            .finalize()
            .into();
        let mut id = [0; 20];
        id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Self::new(id)
    }
}

impl ReportData {
    /// Zero-pads up to 64 bytes on the right; more than 64 is an error.
    ///
    /// # Errors
    /// [`ParseIdError::Length`] when `bytes` is longer than 64.
    pub fn padded(bytes: &[u8]) -> Result<Self, ParseIdError> {
        let mut padded = [0; 64];
        padded
            .get_mut(..bytes.len())
            .ok_or(ParseIdError::Length {
                kind: "ReportData",
                expected: 64,
                actual: bytes.len(),
            })?
            .copy_from_slice(bytes);
        Ok(Self(padded))
    }
}

impl AppId {
    /// The id an app has when it pins no other: the first 20 bytes of its compose hash.
    pub fn from_compose_hash(hash: &ComposeHash) -> Self {
        let mut id = [0; 20];
        id.copy_from_slice(&hash.as_bytes()[..20]);
        Self(id)
    }
}

/// EIP-155 chain id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub u64);

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_lengths_are_refused() {
        assert_eq!(
            "0x1234".parse::<AppId>(),
            Err(ParseIdError::Length {
                kind: "AppId",
                expected: 20,
                actual: 2
            })
        );
        assert!("".parse::<ComposeHash>().is_err());
    }

    #[test]
    fn a_second_prefix_is_not_hexadecimal() {
        let text = format!("0x0x{}", "11".repeat(20));
        assert!(matches!(
            text.parse::<AppId>(),
            Err(ParseIdError::Hex { .. })
        ));
    }

    #[test]
    fn report_data_is_padded_but_never_cut() {
        assert_eq!(ReportData::padded(b"ab").unwrap().as_bytes()[..3], *b"ab\0");
        assert!(ReportData::padded(&[1; 64]).is_ok());
        assert!(ReportData::padded(&[1; 65]).is_err());
    }
}
