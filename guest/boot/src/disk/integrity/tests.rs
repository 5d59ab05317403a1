use proptest::prelude::*;

use super::*;

/// Superblocks that Linux 7.3 wrote, and the bytes of disk and volume that it stated.
/// The grown ones are those of a smaller disk after one opening on the larger.
const REAL: &[(&[u8], u64, u64)] = &[
    (
        include_bytes!("../../../../../test/vectors/disk/integrity-128mib.bin"),
        134_217_728,
        115_572_736,
    ),
    (
        include_bytes!("../../../../../test/vectors/disk/integrity-1gib.bin"),
        1_073_741_824,
        1_040_322_560,
    ),
    (
        include_bytes!("../../../../../test/vectors/disk/integrity-1gib-grown-to-2gib.bin"),
        2_147_483_648,
        2_105_806_848,
    ),
    (
        include_bytes!("../../../../../test/vectors/disk/integrity-1tib.bin"),
        1_099_511_627_776,
        1_090_904_977_408,
    ),
    (
        include_bytes!(
            "../../../../../test/vectors/disk/integrity-1tib-grown-to-1100000004096.bin"
        ),
        1_100_000_004_096,
        1_091_389_681_664,
    ),
];

#[test]
fn sizes_are_those_that_the_kernel_states() {
    for (bytes, disk, volume) in REAL {
        let superblock = Superblock::parse(bytes).unwrap();
        assert_eq!(superblock.data_bytes(), *volume);
        assert_eq!(superblock.capacity(*disk), *volume);
        assert!(superblock.disk_bytes() <= *disk);
        // Not one block more fits.
        assert!(superblock.end_of(superblock.data_sectors + BLOCK) * KERNEL_SECTOR > *disk);
    }
}

#[test]
fn a_volume_grows_to_what_the_kernel_makes_of_the_larger_disk() {
    for pair in [(1, 2), (3, 4)] {
        let (small, _, _) = REAL[pair.0];
        let (large, disk, volume) = REAL[pair.1];
        let superblock = Superblock::parse(small).unwrap();
        assert_eq!(superblock.capacity(disk), volume);
        let grown = Superblock::parse(large).unwrap();
        assert_eq!(grown.journal_sections, superblock.journal_sections);
    }
}

#[test]
fn a_disk_that_lost_its_end_has_no_room_for_its_volume() {
    let (bytes, disk, volume) = REAL[2];
    let superblock = Superblock::parse(bytes).unwrap();
    assert!(superblock.disk_bytes() > disk - 4096);
    assert!(superblock.capacity(disk - 4096) < volume);
    assert_eq!(superblock.capacity(0), 0);
}

#[test]
fn every_field_is_ours_or_refused_by_name() {
    let change = |at: usize, new: &[u8]| {
        let mut bytes = REAL[1].0.to_vec();
        bytes[at..at + new.len()].copy_from_slice(new);
        Superblock::parse(&bytes).unwrap_err().to_string()
    };
    let cases: &[(usize, &[u8], &str)] = &[
        (0, b"I", "there"),
        (8, &[5], "version is 5"),
        (9, &[0], "log2_interleave_sectors is 0"),
        (10, &[16, 0], "integrity_tag_size is 16"),
        (12, &[0; 4], "journal_sections is 0"),
        (12, &[0xff; 4], "journal_sections is 4294967295"),
        (16, &[0; 8], "provided_data_sectors is 0"),
        (
            16,
            &[0xff; 8],
            "provided_data_sectors is 18446744073709551615",
        ),
        (16, &[1], "the superblock of its tags has bytes"),
        // A journal MAC, recalculation, a dirty bitmap, the MAC's repair, tags inline.
        (24, &[9], "flags is 9"),
        (24, &[10], "flags is 10"),
        (24, &[12], "flags is 12"),
        (24, &[0x18], "flags is 24"),
        (24, &[0x28], "flags is 40"),
        (24, &[0], "flags is 0"),
        (28, &[0], "log2_sectors_per_block is 0"),
        (29, &[64], "log2_blocks_per_bitmap_bit is 64"),
        (32, &[1], "the superblock of its tags has bytes"),
        (48, &[1], "the superblock of its tags has bytes"),
        (511, &[1], "the superblock of its tags has bytes"),
    ];
    for (at, new, refusal) in cases {
        let error = change(*at, new);
        let (field, value) = refusal.split_once(" is ").unwrap_or((refusal, ""));
        assert!(error.starts_with(field), "{at}: {error}");
        assert!(
            value.is_empty() || error.contains(&format!(" is {value},")),
            "{at}: {error}"
        );
    }
    let short = &REAL[1].0[..LENGTH - 1];
    assert_eq!(Superblock::parse(short), Err(SuperblockError::Short));
    assert_eq!(
        Superblock::parse(&[0; LENGTH]),
        Err(SuperblockError::Absent)
    );
}

proptest! {
    #[test]
    fn what_fits_fits_and_nothing_more(
        journal_sections in 1..=SECTIONS,
        data in 1..=MAX_SECTORS / BLOCK,
        more in 0..1_u64 << 20,
    ) {
        let superblock = Superblock { journal_sections, data_sectors: data * BLOCK };
        let disk = superblock.disk_bytes() + more;
        let room = superblock.capacity(disk);
        prop_assert!(room >= superblock.data_bytes());
        prop_assert!(superblock.end_of(room / KERNEL_SECTOR) * KERNEL_SECTOR <= disk);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), disk: u64) {
        let mut hostile = REAL[1].0.to_vec();
        let end = bytes.len().min(hostile.len());
        hostile[8..end.max(8)].copy_from_slice(&bytes[..end.max(8) - 8]);
        for bytes in [&bytes, &hostile] {
            if let Ok(superblock) = Superblock::parse(bytes) {
                superblock.capacity(disk);
                superblock.disk_bytes();
            }
        }
    }
}
