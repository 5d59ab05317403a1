//! Which roots a verifier trusts, as one value (design, invariant 4).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::TrustAnchorDigest;

/// A set of trust anchors, known by its digest.
///
/// Keys derived under [`TrustAnchorSet::Vendor`] equal the reference bit for
/// bit; under any other set they are unrelated, whatever the root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "digest", rename_all = "lowercase")]
pub enum TrustAnchorSet {
    /// The roots of the TEE vendors, built into the verifier.
    Vendor(TrustAnchorDigest),
    /// Any other set, such as a simulator's root.
    Other(TrustAnchorDigest),
}

impl TrustAnchorSet {
    /// The digest of the set.
    pub fn digest(&self) -> &TrustAnchorDigest {
        match self {
            Self::Vendor(digest) | Self::Other(digest) => digest,
        }
    }

    /// Whether these are the vendors' roots and nothing else.
    pub fn is_vendor(&self) -> bool {
        matches!(self, Self::Vendor(_))
    }
}

impl fmt::Display for TrustAnchorSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vendor(digest) => write!(f, "vendor {digest}"),
            Self::Other(digest) => write!(f, "NOT VENDOR {digest}"),
        }
    }
}
