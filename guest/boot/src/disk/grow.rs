//! The file system grows to what its volume has.
//!
//! Which step is next follows from sizes alone, so a crash at any point is made good by the
//! next start: the volume is opened at what the disk has room for, and the file system is
//! made as large as the volume while it is mounted, step by step through its own journal.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::command::Command;
use crate::disk::{DiskError, PATIENCE, VOLUME_PATH, io, size_of};

/// Bytes of a block.
const BLOCK: u64 = 4096;
const EMPTY: [u8; 4096] = [0; 4096];
/// Blocks of a group.
const GROUP: u64 = 32768;
/// Groups whose bitmaps lie together, at the start of the first.
const FLEX: u64 = 16;
/// Blocks at the start of a group that the kernel reads when it adds it: bitmaps of blocks
/// and of inodes, after a superblock and one block of descriptors where a group has those.
const READ: u64 = 2 * FLEX + 2;
/// A file system leaves out a last group that would hold little but tables.
const LEFT_OUT: u64 = 16 << 20;

/// What ext4's superblock says about sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileSystem {
    blocks: u64,
    /// Kept behind the descriptors of groups for those to come.
    reserved_descriptor_blocks: u64,
}

/// Bytes of the file system on `volume`, as its superblock says.
///
/// # Errors
/// [`DiskError::FileSystem`] where there is none of ours.
pub(super) fn bytes_on(volume: &Path) -> Result<u64, DiskError> {
    Ok(read(volume)?.blocks * BLOCK)
}

/// Whether the volume has room for more than its file system, whose journal is empty.
///
/// # Errors
/// [`DiskError`].
pub(super) fn has_room() -> Result<bool, DiskError> {
    let volume = Path::new(VOLUME_PATH);
    Ok(is_room(bytes_on(volume)?, size_of(volume)?))
}

fn is_room(file_system: u64, volume: u64) -> bool {
    file_system + LEFT_OUT <= volume
}

/// Before mounting: writes what the kernel reads while it grows the file system. The rest
/// of the new room stays as it is, and is an error until it is written.
///
/// # Errors
/// [`DiskError`].
pub(super) fn prepare() -> Result<(), DiskError> {
    let volume = Path::new(VOLUME_PATH);
    let file_system = read(volume)?;
    let blocks = size_of(volume)? / BLOCK;
    write_what_growing_reads(volume, file_system, blocks).map_err(io("preparing", volume))
}

/// After mounting: grows the file system to the volume.
///
/// # Errors
/// [`DiskError::Command`].
pub(super) async fn file_system() -> Result<(), DiskError> {
    let resize = Command::new("resize2fs", [VOLUME_PATH]);
    resize.within(PATIENCE).output().await?;
    Ok(())
}

fn read(volume: &Path) -> Result<FileSystem, DiskError> {
    let mut block = EMPTY;
    File::open(volume)
        .and_then(|file| file.read_exact_at(&mut block, 0))
        .map_err(io("reading", volume))?;
    parse(&block)
}

/// Parses the block that has the superblock.
fn parse(block: &[u8]) -> Result<FileSystem, DiskError> {
    let bad = DiskError::FileSystem;
    let u16_at = |at| array(block, at).map(u16::from_le_bytes);
    let u32_at = |at| array(block, at).map(u32::from_le_bytes);
    let must = |holds: bool, what| holds.then_some(()).ok_or(bad(what));
    must(u16_at(0x38)? == 0xef53, "it has another magic number")?;
    must(u32_at(0x18)? == 2, "its blocks have not 4096 bytes")?;
    must(
        u64::from(u32_at(0x20)?) == GROUP,
        "its groups have another size",
    )?;
    let flex = array::<1>(block, 0x174)?[0];
    must(flex <= 4, "more than 16 groups are together")?;
    must(u16_at(0xfe)? == 64, "its descriptors have not 64 bytes")?;
    let blocks = u64::from(u32_at(0x150)?) << 32 | u64::from(u32_at(0x4)?);
    must(blocks < 1 << 48, "it has more blocks than ext4 has")?;
    Ok(FileSystem {
        blocks,
        reserved_descriptor_blocks: u16_at(0xce)?.into(),
    })
}

/// Where the superblock is in its block.
const SUPERBLOCK: usize = 1024;

fn array<const N: usize>(block: &[u8], at: usize) -> Result<[u8; N], DiskError> {
    block
        .get(SUPERBLOCK + at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or(DiskError::FileSystem("it is cut off"))
}

/// Reading a block that was never written is an authentication error, and the kernel reads
/// bitmaps of new groups before it knows that they are new, and the last block to see that
/// it is there. Nothing before the file system's end is written.
fn write_what_growing_reads(
    volume: &Path,
    file_system: FileSystem,
    blocks: u64,
) -> std::io::Result<()> {
    let Some(last) = blocks
        .checked_sub(1)
        .filter(|last| *last >= file_system.blocks)
    else {
        return Ok(());
    };
    let file = OpenOptions::new().write(true).open(volume)?;
    let first_group = file_system.blocks.div_ceil(GROUP);
    // Behind the first new group's superblock may come all descriptors, and those reserved.
    let descriptors = (blocks.div_ceil(GROUP) * 64).div_ceil(BLOCK);
    let mut count = READ + descriptors + file_system.reserved_descriptor_blocks;
    for group in first_group..blocks.div_ceil(GROUP) {
        let start = group * GROUP;
        for block in start..blocks.min(start + count) {
            file.write_all_at(&EMPTY, block * BLOCK)?;
        }
        count = READ;
    }
    file.write_all_at(&EMPTY, last * BLOCK)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file system as `format` makes it, in a file.
    fn made(bytes: u64) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("volume");
        File::create(&path).unwrap().set_len(bytes).unwrap();
        let made = std::process::Command::new("/usr/sbin/mkfs.ext4")
            .args(["-q", "-F", "-b", "4096", "-m", "1"])
            .args(["-E", "nodiscard,lazy_itable_init=1"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        (dir, path)
    }

    #[test]
    fn sizes_are_those_that_mkfs_made() {
        let (_dir, path) = made(300 << 20);
        let file_system = read(&path).unwrap();
        assert_eq!(file_system.blocks, 300 * 256);
        assert!(file_system.reserved_descriptor_blocks > 0);
        assert_eq!(bytes_on(&path).unwrap(), 300 << 20);
    }

    #[test]
    fn a_rest_that_no_file_system_takes_is_no_room() {
        assert!(is_room(64 << 20, 80 << 20));
        assert!(!is_room(64 << 20, (80 << 20) - 4096));
        assert!(!is_room(64 << 20, 1 << 20));
    }

    #[test]
    fn what_is_none_of_ours_is_refused_by_name() {
        let (_dir, path) = made(64 << 20);
        let mut good = vec![0; 4096];
        let file = File::open(&path).unwrap();
        file.read_exact_at(&mut good, 0).unwrap();
        for (at, refusal) in [
            (0x38, "magic"),
            (0x18, "4096"),
            (0x20, "groups have another size"),
            (0x174, "16 groups"),
            (0xfe, "64 bytes"),
            (0x153, "more blocks"),
        ] {
            let mut block = good.clone();
            block[SUPERBLOCK + at] ^= 0x80;
            let error = parse(&block).unwrap_err().to_string();
            assert!(error.contains(refusal), "{error}");
        }
        for length in [0, 1024, SUPERBLOCK + 0x174] {
            let error = parse(&good[..length]).unwrap_err().to_string();
            assert!(error.contains("cut off"), "{error}");
        }
    }

    #[test]
    fn every_block_that_growing_reads_is_written_and_nothing_of_the_file_system() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("volume");
        let (old, new) = (2 * GROUP + 100, 5 * GROUP + 7);
        let file = OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        file.write_all_at(&[7; 4096], (old - 1) * BLOCK).unwrap();
        file.set_len(new * BLOCK).unwrap();
        let file_system = FileSystem {
            blocks: old,
            reserved_descriptor_blocks: 500,
        };
        let before = file.metadata().unwrap().blocks();
        write_what_growing_reads(&path, file_system, new).unwrap();
        let after = file.metadata().unwrap();
        assert_eq!(after.len(), new * BLOCK, "nothing past the end");
        // Groups 3 and 4, and the seven blocks of the last.
        assert_eq!(
            after.blocks() - before,
            (READ + 1 + 500 + READ + 7) * (BLOCK / 512)
        );
        let mut kept = [0; 4096];
        file.read_exact_at(&mut kept, (old - 1) * BLOCK).unwrap();
        assert_eq!(kept, [7; 4096]);
        // Nothing to do is nothing done, and a file system that is too large is left alone.
        for blocks in [0, old, old - 1] {
            write_what_growing_reads(&path, file_system, blocks).unwrap();
        }
        assert_eq!(file.metadata().unwrap().len(), new * BLOCK);
    }
}
