//! A new volume: made with its header in memory, and only then put on the disk.
//!
//! Whatever happens before the last step, the disk still looks empty and is formatted
//! again at the next start; there is no disk with a header and no file system.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use crate::command::Command;
use crate::disk::luks::{self, CIPHER, DATA_OFFSET, SECTOR};
use crate::disk::{DiskError, HEADER_COPY, VOLUME_PATH, io, open_with, size_of, write_header};

/// Arguments of `cryptsetup` that every volume is made with, up to the disk.
///
/// The passphrase is a 256-bit key, so PBKDF2 with few iterations does: a slower
/// derivation would cost time at every start and add nothing.
pub fn options(header: &Path) -> Vec<String> {
    let offset = (DATA_OFFSET / 512).to_string();
    let sector = SECTOR.to_string();
    let header = header.display().to_string();
    [
        "luksFormat",
        "--type",
        "luks2",
        "--batch-mode",
        "--key-size",
        "512",
        "--hash",
        "sha256",
        "--sector-size",
        &sector,
        "--pbkdf",
        "pbkdf2",
        "--pbkdf-force-iterations",
        "1000",
        "--luks2-metadata-size",
        "16k",
        "--luks2-keyslots-size",
        "16352k",
        "--key-file=-",
        "--offset",
        &offset,
        "--header",
        &header,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Formats, opens, makes a file system, and puts the header on the disk.
///
/// # Errors
/// [`DiskError`].
pub(super) async fn new_volume(device: &Path, passphrase: &[u8]) -> Result<(), DiskError> {
    let header = Path::new(HEADER_COPY);
    let made = make(device, header, passphrase).await;
    let bytes = std::fs::read(header).map_err(io("reading", header));
    let _ = std::fs::remove_file(header);
    made?;
    let bytes = bytes?;
    // What could not be opened again must not be written.
    luks::validate(&bytes)?;
    write_header(device, &bytes)
}

async fn make(device: &Path, header: &Path, passphrase: &[u8]) -> Result<(), DiskError> {
    std::fs::File::create(header)
        .and_then(|file| file.set_len(DATA_OFFSET as u64))
        .map_err(io("making", header))?;
    let mut arguments = options(header);
    let device_name = device.display().to_string();
    // Tags of sectors that were never written are not valid, and nobody reads those.
    for argument in [
        "--cipher",
        CIPHER,
        "--integrity",
        "hmac-sha256",
        "--integrity-no-wipe",
    ] {
        arguments.push(argument.to_owned());
    }
    arguments.push(device_name);
    Command::new("cryptsetup", arguments)
        .input(passphrase)
        .within(Duration::from_secs(300))
        .output()
        .await?;
    open_with(header, device, passphrase).await?;
    let volume = Path::new(VOLUME_PATH);
    write_what_mkfs_reads(volume, size_of(volume)?).map_err(io("preparing", volume))?;
    let file_system = [
        "-q",
        "-F",
        "-b",
        "4096",
        "-m",
        "1",
        "-E",
        "nodiscard,lazy_itable_init=1",
        "-L",
        "data",
        VOLUME_PATH,
    ];
    Command::new("mkfs.ext4", file_system)
        .within(Duration::from_secs(600))
        .output()
        .await?;
    std::fs::File::open(volume)
        .and_then(|file| file.sync_all())
        .map_err(io("flushing", volume))
}

/// Bytes of a block group: superblocks, which are smaller than a sector, stand at the
/// start of one.
const GROUP: u64 = 128 * 1024 * 1024;
/// Where file systems and partition tables of all kinds have their signatures.
const EDGE: u64 = 1024 * 1024;

/// Reading a sector that was never written is an authentication error. mkfs.ext4 looks for
/// signatures of others at both ends, and writes superblocks by changing a part of a sector.
fn write_what_mkfs_reads(volume: &Path, size: u64) -> std::io::Result<()> {
    let file = std::fs::OpenOptions::new().write(true).open(volume)?;
    let edge = vec![0; 1024 * 1024];
    let (sector, _) = edge.split_at(4096);
    file.write_all_at(&edge, 0)?;
    let mut at = GROUP;
    while at + EDGE <= size {
        file.write_all_at(sector, at)?;
        at += GROUP;
    }
    let sectors = size / 4096 * 4096;
    if let Some(last) = sectors.checked_sub(EDGE) {
        file.write_all_at(&edge, last)?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_that_mkfs_reads_is_written_whole() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("volume");
        let size = 3 * GROUP + 5 * 4096;
        std::fs::File::create(&path).unwrap().set_len(size).unwrap();
        write_what_mkfs_reads(&path, size).unwrap();
        let file = std::fs::metadata(&path).unwrap();
        assert_eq!(file.len(), size, "nothing past the end");
        // Both edges and the groups between; the last edge covers the third group's start.
        let written = file.blocks() * 512;
        assert!(
            (2 * EDGE + 2 * 4096..2 * EDGE + 16 * 4096).contains(&written),
            "{written}"
        );
    }
}
