//! Whether an image directory is what it says.

use std::path::Path;
use std::process::Command;

use bylaw_measure::{ImageDir, ImageDirError};
use bylaw_types::OsImageHash;

use crate::tool::{self, ToolError};

/// What is wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file, a checksum or a measurement document.
    #[error(transparent)]
    Directory(#[from] ImageDirError),
    /// The metadata does not name a verified root.
    #[error("the image's metadata has no {0}: its root file system is not verified")]
    Unverified(&'static str),
    /// The root file system is not the one whose hash is measured.
    #[error("the root file system does not have the root hash {expected}")]
    Root {
        /// From the command line.
        expected: String,
        /// What veritysetup said.
        source: ToolError,
    },
    /// Another image than the one asked for.
    #[error("this image is {actual}, not {expected}")]
    Other {
        /// Asked for.
        expected: OsImageHash,
        /// Found.
        actual: OsImageHash,
    },
}

/// Checks every file of an image directory against its hash list, the measurement documents against the files,
/// and the root file system block by block against the root hash of the measured command line.
///
/// Runs `veritysetup` of this machine.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(path: &Path, expected: Option<OsImageHash>) -> Result<OsImageHash, VerifyError> {
    let image = ImageDir::open(path)?;
    let actual = image.verify()?;
    if let Some(expected) = expected.filter(|expected| *expected != actual) {
        return Err(VerifyError::Other { expected, actual });
    }
    let metadata = image.metadata();
    let argument = |name| metadata.argument(name).ok_or(VerifyError::Unverified(name));
    let (hash, size) = (
        argument("dstack.rootfs_hash")?,
        argument("dstack.rootfs_size")?,
    );
    let root = metadata
        .rootfs
        .as_deref()
        .ok_or(VerifyError::Unverified("rootfs"))?;
    let root = image.path_of(root);
    tool::run(
        Command::new("veritysetup")
            .env("LC_ALL", "C")
            .arg("verify")
            .arg(format!("--hash-offset={size}"))
            .args([&root, &root])
            .arg(hash),
    )
    .map_err(|source| VerifyError::Root {
        expected: hash.to_owned(),
        source,
    })?;
    Ok(actual)
}
