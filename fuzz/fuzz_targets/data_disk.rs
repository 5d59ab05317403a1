//! What the host may change at the start of a data disk: its header, and the superblock
//! that says where its tags lie.
#![no_main]

use bylaw_boot::disk::integrity::Superblock;
use bylaw_boot::disk::luks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = luks::validate(bytes);
    let Ok(superblock) = Superblock::parse(bytes) else {
        return;
    };
    // A disk that just has it has room for all of it, and one that has less has not.
    let disk = superblock.disk_bytes();
    assert!(superblock.capacity(disk) >= superblock.data_bytes());
    assert!(superblock.capacity(disk - 512) < superblock.data_bytes());
});
