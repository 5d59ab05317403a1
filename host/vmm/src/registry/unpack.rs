//! A layer as plain files below one folder, and nothing else.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use tar::{Archive, EntryType};

/// Bytes of all files of an image, unpacked. Real ones have some hundred MiB.
const MOST_BYTES: u64 = 16 << 30;
/// Files and folders of an image. Real ones have a dozen.
const MOST_ENTRIES: u32 = 10_000;

/// Why a layer is not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Compressed in another way, or no layer at all.
    #[error("layers of type {0} cannot be unpacked: push tar or tar+gzip")]
    MediaType(String),
    /// A path that leads elsewhere.
    #[error("the layer names {0:?}, which is not a path below the image")]
    Path(PathBuf),
    /// A link, a device, a whiteout.
    #[error("the layer has {path:?}, which is no plain file or folder ({kind})")]
    Kind {
        /// Which.
        path: PathBuf,
        /// What it is.
        kind: String,
    },
    /// More than any image.
    #[error("the image has more than {MOST_BYTES} bytes or {MOST_ENTRIES} files")]
    TooMuch,
    /// The archive, or the disk.
    #[error("unpacking {path:?}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
}

impl Encoding {
    pub(super) fn of(media_type: &str) -> Result<Self, UnpackError> {
        match media_type {
            "application/vnd.oci.image.layer.v1.tar"
            | "application/vnd.docker.image.rootfs.diff.tar" => Ok(Self::Plain),
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(Self::Gzip),
            other => Err(UnpackError::MediaType(other.to_owned())),
        }
    }
}

/// What an image may still take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    bytes: u64,
    entries: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            bytes: MOST_BYTES,
            entries: MOST_ENTRIES,
        }
    }
}

impl Budget {
    /// Whether a layer of this size can be among them.
    pub(super) fn announced(&self, size: i64) -> Result<(), UnpackError> {
        match u64::try_from(size) {
            Ok(size) if size <= self.bytes => Ok(()),
            _ => Err(UnpackError::TooMuch),
        }
    }

    fn take(&mut self, bytes: u64) -> Result<(), UnpackError> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or(UnpackError::TooMuch)?;
        self.entries = self.entries.checked_sub(1).ok_or(UnpackError::TooMuch)?;
        Ok(())
    }
}

/// Unpacks a layer over what earlier layers left in `folder`, where nothing else writes.
pub(super) fn unpack(
    blob: File,
    encoding: Encoding,
    folder: &Path,
    budget: &mut Budget,
) -> Result<(), UnpackError> {
    let blob = io::BufReader::new(blob);
    match encoding {
        Encoding::Plain => unpack_tar(blob, folder, budget),
        Encoding::Gzip => unpack_tar(GzDecoder::new(blob), folder, budget),
    }
}

fn unpack_tar(tar: impl Read, folder: &Path, budget: &mut Budget) -> Result<(), UnpackError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| UnpackError::Io { path, source }
    };
    let mut archive = Archive::new(tar);
    for entry in archive.entries().map_err(at(folder))? {
        let mut entry = entry.map_err(at(folder))?;
        let named = entry.path().map_err(at(folder))?.into_owned();
        let inside = below(&named).ok_or_else(|| UnpackError::Path(named.clone()))?;
        budget.take(entry.size())?;
        let path = folder.join(&inside);
        match entry.header().entry_type() {
            EntryType::Directory => std::fs::create_dir_all(&path).map_err(at(&named))?,
            EntryType::Regular | EntryType::Continuous if !is_whiteout(&inside) => {
                let parent = path.parent().unwrap_or(folder);
                std::fs::create_dir_all(parent).map_err(at(&named))?;
                let mut file = File::create(&path).map_err(at(&named))?;
                let written = io::copy(&mut entry, &mut file).map_err(at(&named))?;
                if written != entry.size() {
                    let source = io::ErrorKind::UnexpectedEof.into();
                    return Err(UnpackError::Io {
                        path: named,
                        source,
                    });
                }
                file.sync_all().map_err(at(&named))?;
            }
            other => {
                return Err(UnpackError::Kind {
                    path: named,
                    kind: format!("{other:?}"),
                });
            }
        }
    }
    Ok(())
}

/// The path without `.`; `None` when it leads out, or to the folder itself by a file's name.
fn below(path: &Path) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => inside.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(inside)
}

/// In a layer such a name removes a file of an earlier one.
fn is_whiteout(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().starts_with(".wh.") || name.is_empty()
}
