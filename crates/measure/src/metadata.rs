//! `metadata.json` of an image.

use serde::{Deserialize, Serialize};

/// What an image says about itself. File names are relative to its directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// x.y.z; older images have none and are named after it.
    #[serde(default)]
    pub version: String,
    /// An image with a shell, for development.
    #[serde(default)]
    pub is_dev: bool,
    /// The kernel.
    pub kernel: String,
    /// The initrd.
    pub initrd: String,
    /// Kernel command line, with `dstack.rootfs_hash` and `dstack.rootfs_size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
    /// A disk image instead of `rootfs`; only images of the past have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hda: Option<String>,
    /// The root file system, with its verity tree behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<String>,
    /// Root of the verity tree, 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootfs_hash: Option<String>,
    /// Firmware for TDX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bios: Option<String>,
    /// Firmware for SEV-SNP; an image without it does not support SEV-SNP.
    #[serde(default, rename = "bios-sev", skip_serializing_if = "Option::is_none")]
    pub bios_sev: Option<String>,
    /// The guest takes its files from the host read-only.
    #[serde(default)]
    pub shared_ro: bool,
    /// Only `pre202505` is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ovmf_variant: Option<String>,
    /// Of the sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_revision: Option<String>,
}

/// Metadata that contradicts itself.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// Not JSON, or unknown keys.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A file outside the image.
    #[error("{key} = {value:?} must name a file inside the image directory")]
    Path {
        /// Key.
        key: &'static str,
        /// As given.
        value: String,
    },
    /// Firmware whose log nobody can recompute.
    #[error("ovmf_variant is {0:?}; only \"pre202505\" is known")]
    Variant(String),
    /// The verified root is not the one that is measured.
    #[error("rootfs_hash is {stated:?}, but the command line has dstack.rootfs_hash={measured:?}")]
    RootHash {
        /// In the metadata.
        stated: String,
        /// On the command line.
        measured: String,
    },
}

impl Metadata {
    /// Parses and checks the JSON text.
    ///
    /// # Errors
    /// [`MetadataError`].
    pub fn parse(json: &[u8]) -> Result<Self, MetadataError> {
        let metadata: Self = serde_json::from_slice(json)?;
        for (key, value) in metadata.files() {
            if !is_plain(value) {
                return Err(MetadataError::Path {
                    key,
                    value: value.to_owned(),
                });
            }
        }
        match metadata.ovmf_variant.as_deref() {
            None | Some("pre202505") => {}
            Some(other) => return Err(MetadataError::Variant(other.to_owned())),
        }
        if let (Some(stated), Some(measured)) = (
            metadata.rootfs_hash.as_deref(),
            metadata.argument("dstack.rootfs_hash"),
        ) && stated != measured
        {
            return Err(MetadataError::RootHash {
                stated: stated.to_owned(),
                measured: measured.to_owned(),
            });
        }
        Ok(metadata)
    }

    /// The value of `name=value` on the kernel command line.
    pub fn argument(&self, name: &str) -> Option<&str> {
        self.cmdline
            .as_deref()?
            .split_whitespace()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    /// Every file it names, by key.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("kernel", Some(&self.kernel)),
            ("initrd", Some(&self.initrd)),
            ("hda", self.hda.as_ref()),
            ("rootfs", self.rootfs.as_ref()),
            ("bios", self.bios.as_ref()),
            ("bios-sev", self.bios_sev.as_ref()),
        ]
        .into_iter()
        .filter_map(|(key, name)| Some((key, name?.as_str())))
    }
}

/// One name without directories, as `sha256sum.txt` lists it.
pub(crate) fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && !name.contains(['/', '\0'])
        && !name.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "ca5adaef0ac3a36108035925763b48a5818f634e700fbaab561d419fd30d7121";

    fn example() -> String {
        format!(
            r#"{{"version":"0.6.0","is_dev":false,"kernel":"bzImage","initrd":"initramfs.cpio.gz",
            "cmdline":"console=ttyS0 dstack.rootfs_hash={HASH} dstack.rootfs_size=4096",
            "rootfs":"rootfs.img.verity","rootfs_hash":"{HASH}","bios":"ovmf.fd",
            "bios-sev":"ovmf-sev.fd","shared_ro":true,"ovmf_variant":"pre202505"}}"#
        )
    }

    #[test]
    fn a_whole_example_is_read_and_written_again() {
        let metadata = Metadata::parse(example().as_bytes()).unwrap();
        assert_eq!(metadata.argument("dstack.rootfs_size"), Some("4096"));
        assert_eq!(metadata.argument("dstack.rootfs"), None);
        let json = serde_json::to_vec(&metadata).unwrap();
        assert_eq!(Metadata::parse(&json).unwrap(), metadata);
    }

    #[test]
    fn what_is_not_understood_or_contradictory_is_refused() {
        for (from, to, reason) in [
            ("\"is_dev\"", "\"is_evil\"", "unknown field"),
            ("\"bzImage\"", "\"../bzImage\"", "kernel"),
            ("\"bzImage\"", "\"/bzImage\"", "kernel"),
            ("\"bzImage\"", "\"..\"", "kernel"),
            ("\"bzImage\"", "\"\"", "kernel"),
            ("\"ovmf-sev.fd\"", "\"a b\"", "bios-sev"),
            ("pre202505", "latest", "ovmf_variant"),
            (
                "\"rootfs_hash\":\"ca",
                "\"rootfs_hash\":\"cb",
                "rootfs_hash",
            ),
        ] {
            let text = example().replace(from, to);
            assert_ne!(text, example());
            let error = Metadata::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{to}: {error}");
        }
    }
}
