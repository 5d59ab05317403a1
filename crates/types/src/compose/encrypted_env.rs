//! Which encrypted environments an app opens, as its manifest says.

use serde::{Deserialize, Serialize};

use crate::SignerAddress;

/// Form of an encrypted environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum EnvVersion {
    /// Secret, but anybody may have made it: the host can replace it.
    Anonymous,
    /// Signed by one of the app's signers, for this app, with a revision.
    Signed,
}

impl TryFrom<u8> for EnvVersion {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            1 => Ok(Self::Anonymous),
            2 => Ok(Self::Signed),
            other => Err(format!(
                "version {other} is not 1 (anonymous) or 2 (signed)"
            )),
        }
    }
}

impl From<EnvVersion> for u8 {
    fn from(version: EnvVersion) -> Self {
        match version {
            EnvVersion::Anonymous => 1,
            EnvVersion::Signed => 2,
        }
    }
}

/// Which encrypted environments are opened; measured with the rest of the manifest.
///
/// A manifest that says nothing accepts what dstack's clients make: version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncryptedEnvRules {
    /// Accepted forms.
    pub versions: Vec<EnvVersion>,
    /// Whose signature counts.
    #[serde(default)]
    pub signers: Vec<SignerAddress>,
    /// Lowest revision that is opened.
    #[serde(default)]
    pub min_revision: u64,
}

impl Default for EncryptedEnvRules {
    fn default() -> Self {
        Self {
            versions: vec![EnvVersion::Anonymous],
            signers: vec![],
            min_revision: 0,
        }
    }
}

impl EncryptedEnvRules {
    /// Whether this form is opened.
    pub fn accepts(&self, version: EnvVersion) -> bool {
        self.versions.contains(&version)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.versions.is_empty() {
            return Err("versions must name 1, 2 or both".to_owned());
        }
        match (self.accepts(EnvVersion::Signed), self.signers.is_empty()) {
            (true, true) => Err("version 2 needs at least one signer".to_owned()),
            (false, false) => {
                Err("signers count only for version 2, which is not named".to_owned())
            }
            (false, true) if self.min_revision != 0 => {
                Err("min_revision counts only for version 2, which is not named".to_owned())
            }
            _ => Ok(()),
        }
    }
}
