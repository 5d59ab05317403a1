//! The disk that carries the host's files to the guest: FAT32, labelled `DSTACKSHR`.
//!
//! The same files give the same bytes: volume id and times are fixed.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};

/// Label by which guests find the disk, padded as FAT wants.
const LABEL: [u8; 11] = *b"DSTACKSHR  ";
const VOLUME_ID: u32 = 0x6279_6c77;
const CLUSTER: u32 = 512;
const BLOCK: usize = 4096;
/// Below 65,525 clusters a file system is FAT16 to every reader.
const SMALLEST: u64 = 40 << 20;
/// Two tables of four bytes a cluster, directories, and what rounding takes.
const OVERHEAD_SHIFT: u32 = 5;
/// The guest refuses more than this long before.
const LARGEST: u64 = 256 << 20;

/// Writes a disk with these files to `path`, readable by its owner alone.
///
/// The file is sparse and replaces what was there in one step.
///
/// # Errors
/// The file system's, and `InvalidInput` for names that FAT cannot hold or more than 256
/// MiB.
pub fn write(path: &Path, files: &[(&str, &[u8])]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut image = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o600))
        .prefix(".tmp-")
        .tempfile_in(folder)?;
    let bytes = disk(files)?;
    write_sparse(image.as_file_mut(), &bytes)?;
    image.as_file().sync_all()?;
    image.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// The disk in memory, where a file system of small clusters is quickly made.
fn disk(files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let length = usize::try_from(size(files)?).map_err(io::Error::other)?;
    let mut disk = Cursor::new(vec![0; length]);
    fill(&mut disk, files)?;
    Ok(disk.into_inner())
}

/// Leaves out what is zero anyway.
fn write_sparse(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    for (block, at) in bytes.chunks(BLOCK).zip((0u64..).step_by(BLOCK)) {
        if block.iter().any(|byte| *byte != 0) {
            file.seek(SeekFrom::Start(at))?;
            file.write_all(block)?;
        }
    }
    file.set_len(u64::try_from(bytes.len()).map_err(io::Error::other)?)
}

fn size(files: &[(&str, &[u8])]) -> io::Result<u64> {
    let mut content = 0u64;
    for (_, bytes) in files {
        content = content.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    }
    let size = SMALLEST
        .saturating_add(content)
        .saturating_add(content >> OVERHEAD_SHIFT)
        .next_multiple_of(1 << 20);
    if size > LARGEST {
        let reason = format!("{content} bytes of files are too many for a guest to read");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    Ok(size)
}

fn fill<T: Read + Write + Seek>(mut disk: T, files: &[(&str, &[u8])]) -> io::Result<()> {
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(CLUSTER)
        .volume_id(VOLUME_ID)
        .volume_label(LABEL);
    fatfs::format_volume(&mut disk, options)?;
    disk.rewind()?;
    let volume = FileSystem::new(&mut disk, FsOptions::new())?;
    for (name, bytes) in files {
        if name.contains(['/', '\\']) {
            let reason = format!("{name:?} is not the name of a file");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let mut file = volume.root_dir().create_file(name)?;
        file.truncate()?;
        file.write_all(bytes)?;
        file.flush()?;
    }
    volume.unmount()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn mtools(program: &str, image: &Path, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new(program)
            .arg("-i")
            .arg(image)
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
        output.stdout
    }

    #[test]
    fn other_tools_read_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("shared.img");
        let large: Vec<u8> = (0u32..3_000_000).map(|n| (n % 251) as u8).collect();
        let files: [(&str, &[u8]); 4] = [
            ("app-compose.json", &large),
            (".sys-config.json", b"{}"),
            (".encrypted-env", &[0xff; 513]),
            (".user-config", b""),
        ];
        write(&image, &files).unwrap();
        for (name, bytes) in files {
            assert_eq!(
                mtools("mcopy", &image, &[&format!("::{name}"), "-"]),
                bytes,
                "{name}"
            );
        }
        let listing = String::from_utf8(mtools("mdir", &image, &["-a", "::"])).unwrap();
        assert!(listing.contains("DSTACKSHR"), "{listing}");
        assert!(listing.contains("4 files"), "{listing}");

        let checked = Command::new("fsck.vfat")
            .arg("-n")
            .arg(&image)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(checked.status.success(), "{said}");
        let kind = Command::new("blkid")
            .args(["-p", "-o", "export"])
            .arg(&image)
            .output()
            .unwrap();
        let kind = String::from_utf8_lossy(&kind.stdout).into_owned();
        assert!(
            kind.contains("VERSION=FAT32") && kind.contains("LABEL=DSTACKSHR"),
            "{kind}"
        );
    }

    #[test]
    fn the_same_files_are_the_same_bytes_private_and_sparse() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let files: [(&str, &[u8]); 1] = [("app-compose.json", b"{}")];
        let images = ["a", "b"].map(|name| {
            let path = folder.path().join(name);
            // Replaces what was there.
            older(&path);
            write(&path, &files).unwrap();
            path
        });
        let [a, b] = images.each_ref().map(|path| std::fs::read(path).unwrap());
        assert!(a == b);
        let metadata = std::fs::metadata(&images[0]).unwrap();
        assert_eq!(metadata.mode() & 0o777, 0o600);
        assert!(
            metadata.blocks() * 512 < 2 << 20,
            "{} blocks",
            metadata.blocks()
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    fn older(path: &Path) {
        File::create(path).unwrap().write_all(b"older").unwrap();
    }

    #[test]
    fn names_of_folders_and_too_many_bytes_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shared.img");
        for name in ["a/b", "..\\x", "", "a\0b"] {
            assert!(write(&path, &[(name, b"")]).is_err(), "{name:?}");
        }
        let large = vec![0; 220 << 20];
        let error = write(&path, &[("a", &large)]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(!path.exists());
    }
}
