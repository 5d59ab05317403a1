//! OS images on this node (VMM API reference, section 8).

use std::path::{Component, Path, PathBuf};

use bylaw_rpc::message::vmm::ImageInfo;
use bylaw_types::OsImageHash;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Oldest image that can be started.
const OLDEST: [u64; 3] = [0, 5, 0];

/// An image that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The name is none.
    #[error("image name {0:?} must be one folder below the image path")]
    Name(String),
    /// There is none.
    #[error("image not found: {0}")]
    NotFound(String),
    /// It cannot be read, or makes no sense.
    #[error("image {name}: {reason}")]
    Malformed {
        /// Its folder.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// `metadata.json`, as far as starting needs it.
#[derive(Debug, Clone, Deserialize)]
pub struct Metadata {
    /// File.
    pub kernel: String,
    /// File.
    pub initrd: String,
    /// Of the kernel, with the root's hash.
    #[serde(default)]
    pub cmdline: Option<String>,
    /// File: the verified root.
    #[serde(default)]
    pub rootfs: Option<String>,
    /// File: firmware for TDX and without a TEE.
    #[serde(default)]
    pub bios: Option<String>,
    /// File: firmware for SEV-SNP.
    #[serde(default, rename = "bios-sev")]
    pub bios_sev: Option<String>,
    /// `1.2.3`; empty is taken from the folder's name.
    #[serde(default)]
    pub version: String,
    /// Whether it has a shell.
    #[serde(default)]
    pub is_dev: bool,
    /// Variant of the firmware, measured.
    #[serde(default)]
    pub ovmf_variant: Option<String>,
}

/// An image.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its folder's name.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// Its description.
    pub metadata: Metadata,
    /// The same, as JSON text.
    pub description: String,
}

impl Image {
    /// Reads the image of this name.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn open(image_path: &Path, name: &str) -> Result<Self, ImageError> {
        let mut parts = Path::new(name).components();
        let single = matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(_)), None)
        );
        if !single || name.ends_with('/') {
            return Err(ImageError::Name(name.to_owned()));
        }
        let path = image_path.join(name);
        let file = path.join("metadata.json");
        let malformed = |reason: String| ImageError::Malformed {
            name: name.to_owned(),
            reason,
        };
        let text = std::fs::read_to_string(&file).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ImageError::NotFound(name.to_owned()),
            _ => malformed(format!("metadata.json: {error}")),
        })?;
        let mut metadata: Metadata = serde_json::from_str(&text)
            .map_err(|error| malformed(format!("metadata.json: {error}")))?;
        let named = [
            Some(&metadata.kernel),
            Some(&metadata.initrd),
            metadata.rootfs.as_ref(),
            metadata.bios.as_ref(),
            metadata.bios_sev.as_ref(),
        ];
        for file in named.into_iter().flatten() {
            let inside = |part| matches!(part, Component::Normal(_));
            if file.is_empty() || !Path::new(file).components().all(inside) {
                let reason = format!("metadata.json: {file:?} is not inside the image");
                return Err(malformed(reason));
            }
        }
        if metadata.version.is_empty() {
            metadata.version = version_in(name).unwrap_or_default();
        }
        if version_of(&metadata.version).is_some_and(|version| version < OLDEST) {
            let reason = format!("version {} is older than 0.5.0", metadata.version);
            return Err(malformed(reason));
        }
        let description = serde_json::from_str::<serde_json::Value>(&text)
            .map_or(text, |value| value.to_string());
        Ok(Self {
            name: name.to_owned(),
            path,
            metadata,
            description,
        })
    }

    /// Every usable image, by name.
    pub fn list(image_path: &Path) -> Vec<Self> {
        let Ok(entries) = std::fs::read_dir(image_path) else {
            return vec![];
        };
        let mut images: Vec<Self> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.'))
            .filter_map(|name| Self::open(image_path, &name).ok())
            .collect();
        images.sort_by(|left, right| left.name.cmp(&right.name));
        images
    }

    /// A file of the image.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// SHA-256 of `sha256sum.txt`; `digest.txt` where only that is there.
    ///
    /// # Errors
    /// [`ImageError::Malformed`] when neither is, or the digest is none.
    pub fn os_image_hash(&self) -> Result<OsImageHash, ImageError> {
        if let Ok(sums) = std::fs::read(self.file("sha256sum.txt")) {
            return Ok(OsImageHash::new(Sha256::digest(sums).into()));
        }
        let digest = std::fs::read_to_string(self.file("digest.txt"))
            .map_err(|error| error.to_string())
            .and_then(|text| text.trim().parse().map_err(|error| format!("{error}")));
        digest.map_err(|reason| ImageError::Malformed {
            name: self.name.clone(),
            reason: format!("it has neither sha256sum.txt nor a digest.txt: {reason}"),
        })
    }

    /// For `ListImages`.
    pub fn info(&self) -> ImageInfo {
        ImageInfo {
            name: self.name.clone(),
            description: self.description.clone(),
            version: self.metadata.version.clone(),
            is_dev: self.metadata.is_dev,
        }
    }
}

/// `1.2.3` at the end of `dstack-dev-1.2.3`.
fn version_in(name: &str) -> Option<String> {
    let last = name.rsplit('-').find(|part| version_of(part).is_some())?;
    Some(last.trim_start_matches('v').to_owned())
}

fn version_of(text: &str) -> Option<[u64; 3]> {
    let core = text.trim_start_matches('v').split(['-', '+']).next()?;
    let mut numbers = core.split('.').map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    let version = [next()?, next()?, next()?];
    numbers.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, metadata: &str) {
        let folder = dir.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("metadata.json");
        bylaw_types::file::write_atomic(&file, metadata.as_bytes()).unwrap();
    }

    const GOOD: &str = r#"{"kernel":"bzImage","initrd":"initrd","bios":"ovmf.fd"}"#;

    #[test]
    fn usable_images_are_listed_by_name() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "b-0.5.1", GOOD);
        write(dir.path(), "a", GOOD);
        write(dir.path(), ".hidden", GOOD);
        write(dir.path(), "old-0.4.9", GOOD);
        write(dir.path(), "bad", "{}");
        let images = Image::list(dir.path());
        let names: Vec<_> = images.iter().map(|image| image.name.as_str()).collect();
        assert_eq!(names, ["a", "b-0.5.1"]);
        let info = images[1].info();
        assert_eq!(info.version, "0.5.1");
        assert!(info.description.contains("bzImage"));
        assert!(Image::list(&dir.path().join("none")).is_empty());
    }

    #[test]
    fn nothing_outside_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "out", r#"{"kernel":"../k","initrd":"i"}"#);
        write(dir.path(), "abs", r#"{"kernel":"k","initrd":"/i"}"#);
        for name in ["out", "abs"] {
            let error = Image::open(dir.path(), name).unwrap_err().to_string();
            assert!(error.contains("not inside"), "{error}");
        }
        for name in ["", ".", "..", "a/b", "/etc", "a/"] {
            let error = Image::open(dir.path(), name).unwrap_err();
            assert!(matches!(error, ImageError::Name(_)), "{name}");
        }
        let error = Image::open(dir.path(), "none").unwrap_err().to_string();
        assert_eq!(error, "image not found: none");
    }

    #[test]
    fn the_hash_is_over_the_list_of_sums() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a", GOOD);
        let image = Image::open(dir.path(), "a").unwrap();
        assert!(image.os_image_hash().is_err());
        let digest = "ab".repeat(32);
        let file = image.file("digest.txt");
        bylaw_types::file::write_atomic(&file, format!("{digest}\n").as_bytes()).unwrap();
        assert_eq!(image.os_image_hash().unwrap().to_string(), digest);
        bylaw_types::file::write_atomic(&image.file("sha256sum.txt"), b"x").unwrap();
        let hash = image.os_image_hash().unwrap();
        assert_eq!(hash.as_bytes()[..], Sha256::digest(b"x")[..]);
    }

    #[test]
    fn versions_are_three_numbers() {
        assert_eq!(version_of("v0.5.1-dev"), Some([0, 5, 1]));
        for text in ["", "1.2", "1.2.3.4", "a.b.c"] {
            assert_eq!(version_of(text), None);
        }
        assert_eq!(version_in("dstack-dev-0.5.3"), Some("0.5.3".into()));
        assert_eq!(version_in("dstack"), None);
    }
}
