//! What is in a root file system: kept inside it, so that two images can be compared and an app can say what it
//! runs on.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::tree::{self, TreeError};
use crate::{Flavor, Package};

/// Where it is in the image.
pub(crate) const PATH: &str = "usr/lib/bylaw/manifest.json";

/// Why it cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file of the tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Not JSON of the expected form.
    #[error("the image's manifest is not valid")]
    Form(#[from] serde_json::Error),
    /// Something that is neither file, folder nor link.
    #[error("{0} is no file, folder or link; the image may hold nothing else")]
    Kind(String),
}

/// A file, folder or link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "kind")]
pub enum Entry {
    /// A folder.
    Folder,
    /// A file with its bytes' SHA-256 and whether it can be run.
    File {
        /// Lower-case hexadecimal.
        sha256: String,
        /// Bytes.
        size: u64,
        /// Mode 0755 rather than 0644.
        executable: bool,
    },
    /// A symbolic link.
    Link {
        /// Its text.
        to: String,
    },
}

/// What is in a root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The image's version.
    pub version: String,
    /// Its flavour.
    pub flavor: String,
    /// The kernel's release.
    pub kernel: String,
    /// Versions of the packages, kernel and firmware too, by name.
    pub packages: BTreeMap<String, String>,
    /// Every path from the root, without this file.
    pub files: BTreeMap<String, Entry>,
}

impl Manifest {
    /// Lists `root`.
    ///
    /// # Errors
    /// Unreadable files; anything but files, folders and links.
    pub(crate) fn of(
        root: &Path,
        version: &str,
        flavor: Flavor,
        kernel: &str,
        packages: &[&Package],
    ) -> Result<Self, ManifestError> {
        let mut files = BTreeMap::new();
        for path in tree::walk(root)? {
            let name = path.display().to_string();
            if name != PATH {
                files.insert(name, entry(&root.join(path))?);
            }
        }
        Ok(Self {
            version: version.to_owned(),
            flavor: flavor.to_string(),
            kernel: kernel.to_owned(),
            packages: packages
                .iter()
                .map(|package| (package.name.clone(), package.version.clone()))
                .collect(),
            files,
        })
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`ManifestError::Form`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        Ok(serde_json::from_slice(bytes)?)
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

fn entry(path: &Path) -> Result<Entry, ManifestError> {
    let failed = |source| TreeError::new(path, source);
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Ok(Entry::Folder);
    }
    if metadata.is_symlink() {
        let to = fs::read_link(path).map_err(failed)?;
        return Ok(Entry::Link {
            to: to.display().to_string(),
        });
    }
    if !metadata.is_file() {
        return Err(ManifestError::Kind(path.display().to_string()));
    }
    let mut file = fs::File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut hash).map_err(failed)?;
    Ok(Entry::File {
        sha256: hex::encode(hash.finalize()),
        size: metadata.len(),
        executable: metadata.permissions().mode() & 0o111 != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_lists_everything_and_reads_back() {
        let root = tempfile::tempdir().unwrap();
        tree::write(&root.path().join("etc/hosts"), b"x").unwrap();
        tree::write(&root.path().join(PATH), b"not listed").unwrap();
        tree::link(&root.path().join("bin"), "usr/bin").unwrap();
        let manifest = Manifest::of(root.path(), "1.0.0", Flavor::Prod, "7", &[]).unwrap();
        assert_eq!(
            manifest.files.keys().collect::<Vec<_>>(),
            ["bin", "etc", "etc/hosts", "usr", "usr/lib", "usr/lib/bylaw"]
        );
        assert!(matches!(
            &manifest.files["etc/hosts"],
            Entry::File {
                size: 1,
                executable: false,
                ..
            }
        ));
        assert_eq!(
            Manifest::parse(&manifest.to_bytes().unwrap()).unwrap(),
            manifest
        );
    }

    #[test]
    fn a_socket_has_no_place_in_an_image() {
        let root = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
        assert!(matches!(
            Manifest::of(root.path(), "1.0.0", Flavor::Prod, "7", &[]),
            Err(ManifestError::Kind(_))
        ));
    }

    #[test]
    fn unknown_fields_are_refused() {
        assert!(matches!(
            Manifest::parse(
                br#"{"version":"1","flavor":"prod","kernel":"7","packages":{},"files":{},"x":1}"#
            ),
            Err(ManifestError::Form(_))
        ));
    }
}
