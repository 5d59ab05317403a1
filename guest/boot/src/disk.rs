//! The data disk: found by serial number, encrypted and authenticated, mounted.

pub mod format;
mod grow;
pub mod integrity;
pub mod luks;
mod swap;

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bylaw_types::file::write_private;
use nix::mount::MsFlags;
pub use swap::enable as enable_swap;

use crate::command::{Command, CommandError};
use crate::error::BootError;
use crate::host::Host;
use crate::mounts;
use integrity::{Superblock, SuperblockError};
use luks::{DATA_OFFSET, HeaderError};

/// Serial number of the data disk.
pub const SERIAL: &str = "data";
/// Where it is mounted.
pub const MOUNT_POINT: &str = "/dstack/persistent";
/// Name of the opened volume.
const VOLUME: &str = "data";
const VOLUME_PATH: &str = "/dev/mapper/data";
/// The copy that is checked and used.
const HEADER_COPY: &str = "/run/bylaw/luks-header";
/// Shown below the mount point, and where programs look for it.
const BINDS: &[(&str, &str)] = &[
    ("var/lib/docker", "/var/lib/docker"),
    ("var/lib/containerd", "/var/lib/containerd"),
];
/// File system checks of a large disk take their time.
const PATIENCE: Duration = Duration::from_secs(1800);

/// The data disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Not attached, or twice.
    #[error("{count} disks have the serial number {serial:?}, and there must be one")]
    Count {
        /// Which serial number.
        serial: &'static str,
        /// How many.
        count: usize,
    },
    /// Reading or writing.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A program.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The header.
    #[error(
        "the data disk's header is refused, nothing was decrypted with it: {0}. If this disk is \
         not this VM's, attach the right one; an empty (all zero) disk is formatted"
    )]
    Header(#[from] HeaderError),
    /// What says where tags lie.
    #[error("the data disk is refused, nothing was decrypted from it: {0}")]
    Superblock(#[from] SuperblockError),
    /// The host attached less than it had.
    #[error(
        "the data disk was shrunk: {what} needs {needed} bytes and has {found}. Nothing was \
         changed; attach the whole disk again"
    )]
    Shrunk {
        /// Which part of it.
        what: &'static str,
        /// Bytes that it has.
        found: u64,
        /// Bytes that there must be.
        needed: u64,
    },
    /// What is decrypted is not what was made.
    #[error("the file system on the data disk is none of ours: {0}")]
    FileSystem(&'static str),
    /// The header is ours, the key is not.
    #[error(
        "the data disk does not open with this app's key: it belongs to another app or instance, \
         or its key slot was changed ({0})"
    )]
    WrongKey(CommandError),
    /// Too small.
    #[error("the data disk has {0} bytes; it needs at least {MIN_BYTES}")]
    TooSmall(u64),
}

/// Smallest disk: header, journal, tags and a file system.
const MIN_BYTES: u64 = 128 * 1024 * 1024;

fn io<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> DiskError + 'a {
    move |source| DiskError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

/// The one disk with this serial number.
///
/// # Errors
/// [`DiskError::Count`].
pub fn by_serial(serial: &'static str) -> Result<PathBuf, DiskError> {
    let names = with_serial(Path::new("/sys/block"), serial)?;
    match names.as_slice() {
        [name] => Ok(Path::new("/dev").join(name)),
        several => Err(DiskError::Count {
            serial,
            count: several.len(),
        }),
    }
}

fn with_serial(block: &Path, serial: &str) -> Result<Vec<String>, DiskError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(block).map_err(io("reading", block))? {
        let entry = entry.map_err(io("reading", block))?;
        let text = std::fs::read_to_string(entry.path().join("serial")).unwrap_or_default();
        if text.trim() == serial
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// What is on a disk.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    /// Nothing, or a format that did not come to its end.
    Blank,
    /// Something.
    Used,
}

/// Opens the disk with the app's key and mounts it; formats it when it is empty, or when
/// its content ended with the last boot (`is_ephemeral`).
///
/// # Errors
/// [`DiskError`]; a disk that is neither empty nor ours is left as it is.
pub async fn open(passphrase: &[u8], is_ephemeral: bool, host: &Host) -> Result<(), BootError> {
    let device = by_serial(SERIAL)?;
    let size = size_of(&device)?;
    if size < MIN_BYTES {
        return Err(DiskError::TooSmall(size).into());
    }
    let is_new = is_ephemeral || content(&device)? == Content::Blank;
    if is_new {
        host.progress("initializing data disk").await;
        format::new_volume(&device, passphrase).await?;
    } else {
        host.progress("mounting data disk").await;
        existing_volume(&device, size, passphrase).await?;
    }
    let has_room = grow::has_room()?;
    if has_room {
        host.progress("growing data disk").await;
        grow::prepare()?;
    }
    mounts::mount_one(
        Path::new(VOLUME_PATH),
        MOUNT_POINT,
        "ext4",
        MsFlags::MS_NOATIME,
        "errors=remount-ro",
    )?;
    if has_room {
        grow::file_system().await?;
    }
    for (below, target) in BINDS {
        let original = format!("{MOUNT_POINT}/{below}");
        std::fs::create_dir_all(&original).map_err(io("making", Path::new(&original)))?;
        mounts::bind(&original, target)?;
    }
    Ok(())
}

fn content(device: &Path) -> Result<Content, DiskError> {
    let mut start = vec![0; 16 * 1024];
    File::open(device)
        .and_then(|file| file.read_exact_at(&mut start, 0))
        .map_err(io("reading", device))?;
    Ok(match start.iter().all(|byte| *byte == 0) {
        true => Content::Blank,
        false => Content::Used,
    })
}

fn size_of(device: &Path) -> Result<u64, DiskError> {
    File::open(device)
        .and_then(|mut file| file.seek(SeekFrom::End(0)))
        .map_err(io("measuring", device))
}

/// One read into memory, checked there, used from there.
async fn existing_volume(device: &Path, size: u64, passphrase: &[u8]) -> Result<(), DiskError> {
    let mut start = vec![0; DATA_OFFSET + integrity::LENGTH];
    File::open(device)
        .and_then(|mut file| file.read_exact(&mut start))
        .map_err(io("reading", device))?;
    let (header, superblock) = start.split_at(DATA_OFFSET);
    luks::validate(header)?;
    let superblock = Superblock::parse(superblock)?;
    at_least("its volume", size, superblock.disk_bytes())?;
    let copy = Path::new(HEADER_COPY);
    write_private(copy, header).map_err(io("writing", copy))?;
    let opened = open_whole(copy, device, superblock.capacity(size), passphrase).await;
    let _ = std::fs::remove_file(copy);
    opened?;
    let volume = Path::new(VOLUME_PATH);
    // The superblock is the host's to change; what the file system says is authenticated.
    at_least("its file system", size_of(volume)?, grow::bytes_on(volume)?)?;
    check_file_system().await
}

fn at_least(what: &'static str, found: u64, needed: u64) -> Result<(), DiskError> {
    match found < needed {
        true => Err(DiskError::Shrunk {
            what,
            found,
            needed,
        }),
        false => Ok(()),
    }
}

/// Opens the volume, and opens it again where the disk has room for more: at the first
/// opening on a larger disk the kernel only writes down the larger size.
async fn open_whole(
    header: &Path,
    device: &Path,
    capacity: u64,
    passphrase: &[u8],
) -> Result<(), DiskError> {
    let open = || open_with(header, device, passphrase);
    open().await.map_err(DiskError::WrongKey)?;
    if size_of(Path::new(VOLUME_PATH))? < capacity {
        Command::new("cryptsetup", ["close", VOLUME])
            .output()
            .await?;
        open().await.map_err(DiskError::WrongKey)?;
    }
    Ok(())
}

async fn open_with(header: &Path, device: &Path, passphrase: &[u8]) -> Result<(), CommandError> {
    let header = header.display().to_string();
    let device = device.display().to_string();
    let arguments = [
        "open",
        "--type",
        "luks2",
        "--batch-mode",
        "--key-file=-",
        "--header",
        &header,
        &device,
        VOLUME,
    ];
    Command::new("cryptsetup", arguments)
        .input(passphrase)
        .within(Duration::from_secs(120))
        .output()
        .await?;
    Ok(())
}

/// 0 is clean and 1 is repaired.
///
/// Without reading ahead: what lies around a block may never have been written, and then
/// the page that has both is an error.
const CHECK: &str = "ahead=$(blockdev --getra /dev/mapper/data) && \
    blockdev --setra 0 /dev/mapper/data || exit; \
    e2fsck -p /dev/mapper/data; status=$?; \
    blockdev --setra $ahead /dev/mapper/data && test $status -le 1";

async fn check_file_system() -> Result<(), DiskError> {
    let check = Command::new("sh", ["-c", CHECK]);
    check.within(PATIENCE).output().await?;
    Ok(())
}

/// Writes a header so that a crash leaves a disk that is either empty or ours.
fn write_header(device: &Path, header: &[u8]) -> Result<(), DiskError> {
    let written = || {
        let mut file = OpenOptions::new().write(true).open(device)?;
        let (first, rest) = header.split_at_checked(16 * 1024).unwrap_or((header, &[]));
        file.seek(SeekFrom::Start(first.len() as u64))?;
        file.write_all(rest)?;
        file.sync_all()?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(first)?;
        file.sync_all()
    };
    written().map_err(io("writing the header of", device))
}

/// Takes everything away again.
pub async fn close() {
    for (_, target) in BINDS {
        mounts::unmount(target);
    }
    swap::disable().await;
    mounts::unmount(MOUNT_POINT);
    if Path::new(VOLUME_PATH).exists()
        && let Err(error) = Command::new("cryptsetup", ["close", VOLUME]).output().await
    {
        tracing::warn!(%error, "the data volume stays open");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_found_by_their_serial_number() {
        let block = tempfile::tempdir().unwrap();
        for (name, serial) in [
            ("vda", "rootfs"),
            ("vdb", "data\n"),
            ("vdc", "data2"),
            ("dm-0", ""),
        ] {
            let path = block.path().join(name);
            std::fs::create_dir(&path).unwrap();
            bylaw_types::file::write_atomic(&path.join("serial"), serial.as_bytes()).unwrap();
        }
        assert_eq!(with_serial(block.path(), "data").unwrap(), ["vdb"]);
        assert!(with_serial(block.path(), "none").unwrap().is_empty());
    }

    #[test]
    fn a_header_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        File::create(&disk).unwrap().set_len(64 << 20).unwrap();
        assert_eq!(content(&disk).unwrap(), Content::Blank);
        let header = vec![7; DATA_OFFSET];
        // A crash before the last write leaves the first 16 KiB as they were.
        let partly = OpenOptions::new().write(true).open(&disk).unwrap();
        partly
            .write_all_at(&header[16 * 1024..], 16 * 1024)
            .unwrap();
        assert_eq!(content(&disk).unwrap(), Content::Blank);
        write_header(&disk, &header).unwrap();
        assert_eq!(content(&disk).unwrap(), Content::Used);
        let mut read = vec![0; DATA_OFFSET];
        File::open(&disk).unwrap().read_exact(&mut read).unwrap();
        assert_eq!(read, header);
    }

    #[test]
    fn a_shrunk_disk_is_one_clear_error() {
        at_least("its volume", 4096, 4096).unwrap();
        let error = at_least("its volume", 4095, 4096).unwrap_err().to_string();
        assert!(error.contains("was shrunk"), "{error}");
        assert!(error.contains("needs 4096 bytes and has 4095"), "{error}");
    }
}
