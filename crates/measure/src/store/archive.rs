//! Unpacking the archive of an image: from outside, so nothing in it is believed before
//! its hash is.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use bylaw_types::OsImageHash;
use flate2::read::GzDecoder;
use tar::{Archive, EntryType};

use crate::directory::{CHECKSUMS, parse_checksums};
use crate::metadata::is_plain;
use crate::{ImageDir, ImageDirError};

/// Longest image, bytes.
const MAX_IMAGE: u64 = 4 << 30;
const MAX_ENTRIES: usize = 256;

/// An archive that is not the image.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It does not read as tar.gz, or cannot be written.
    #[error("unpacking: {0}")]
    Io(#[from] std::io::Error),
    /// An entry that no image has.
    #[error("its entry {name:?} is {what}; only plain files are unpacked")]
    Entry {
        /// Path as given.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// It is too long.
    #[error("it unpacks to more than {MAX_IMAGE} bytes or {MAX_ENTRIES} files")]
    TooLarge,
    /// Its files are not those of the image.
    #[error(transparent)]
    Image(#[from] ImageDirError),
    /// It is another image.
    #[error("it holds image {0}")]
    Other(OsImageHash),
}

/// Unpacks `archive` below `parent` and moves it to `path` once it is proven to be `hash`.
pub(super) fn unpack(
    mut archive: File,
    parent: &Path,
    hash: OsImageHash,
    path: &Path,
) -> Result<(), ArchiveError> {
    archive.rewind()?;
    let directory = tempfile::Builder::new()
        .prefix(".unpacking-")
        .tempdir_in(parent)?;
    write_files(archive, directory.path())?;
    remove_unlisted(directory.path())?;
    let found = ImageDir::open_measured(directory.path())?.verify_listed()?;
    if found != hash {
        return Err(ArchiveError::Other(found));
    }
    std::fs::rename(directory.path(), path)?;
    File::open(parent)?.sync_all()?;
    // It has another name now, so there is nothing left to remove.
    let _ = directory.keep();
    Ok(())
}

fn write_files(archive: File, directory: &Path) -> Result<(), ArchiveError> {
    let mut archive = Archive::new(GzDecoder::new(archive));
    let mut left = MAX_IMAGE;
    for (count, entry) in archive.entries()?.enumerate() {
        let entry = entry?;
        if count >= MAX_ENTRIES {
            return Err(ArchiveError::TooLarge);
        }
        let given = entry.path()?.into_owned();
        let Some(name) = plain_name(&given, entry.header().entry_type())? else {
            continue;
        };
        let mut file = File::create_new(directory.join(name))?;
        let written = std::io::copy(&mut entry.take(left + 1), &mut file)?;
        left = left.checked_sub(written).ok_or(ArchiveError::TooLarge)?;
        file.sync_all()?;
    }
    Ok(())
}

/// The file to write for an entry; `None` for directories and what lies in them, which
/// no manifest lists.
fn plain_name(given: &Path, kind: EntryType) -> Result<Option<PathBuf>, ArchiveError> {
    let refuse = |what| {
        Err(ArchiveError::Entry {
            name: given.display().to_string(),
            what,
        })
    };
    let mut names = Vec::new();
    for part in given.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::Normal(name) => names.push(name),
            _ => return refuse("outside the archive"),
        }
    }
    match kind {
        EntryType::Directory => return Ok(None),
        EntryType::Regular => {}
        _ => return refuse("a link or a device"),
    }
    match names.as_slice() {
        [name] if name.to_str().is_some_and(is_plain) => Ok(Some(PathBuf::from(name))),
        [_] | [] => refuse("a file without a plain name"),
        _ => Ok(None),
    }
}

fn remove_unlisted(directory: &Path) -> Result<(), ArchiveError> {
    let path = directory.join(CHECKSUMS);
    let text = std::fs::read(&path).map_err(|source| ImageDirError::File {
        path: path.clone(),
        source,
    })?;
    let listed =
        parse_checksums(&text).map_err(|reason| ImageDirError::Checksums { path, reason })?;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_listed =
            |name: &str| name == CHECKSUMS || listed.iter().any(|(_, known)| *known == name);
        if !name.to_str().is_some_and(is_listed) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
