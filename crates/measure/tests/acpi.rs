//! ACPI tables from the QEMU of this machine.

#![allow(clippy::unwrap_used, reason = "it is test code")]

use std::path::Path;

use bylaw_measure::acpi::{AcpiBlobs, AcpiError, read_from_qemu, version_of};

const QEMU: &str = "qemu-system-x86_64";

fn tables(line: &str) -> Result<AcpiBlobs, AcpiError> {
    let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    read_from_qemu(Path::new(QEMU), &args)
}

const MACHINE: &str = "-accel tcg,thread=multi -machine q35,smm=off -cpu Nehalem -m 512M \
    -netdev user,id=n0 -device virtio-net-pci,netdev=n0";

#[test]
fn the_same_machine_has_the_same_tables_and_another_has_others() {
    let two = tables(&format!("{MACHINE} -smp 2")).unwrap();
    assert_eq!(tables(&format!("{MACHINE} -smp 2")).unwrap(), two);
    assert!(two.rsdp.starts_with(b"RSD PTR "));
    assert_eq!(two.rsdp.len(), 20);
    assert_eq!(two.loader.len(), 4096);
    let has = |name: &[u8]| two.tables.windows(4).any(|window| window == name);
    for name in [b"FACP", b"APIC", b"MCFG", b"WAET", b"DSDT"] {
        assert!(has(name), "{name:?}");
    }
    // Power management ports are where OVMF puts them: PM1a events at 0x600 (FACP + 56).
    let facp = two
        .tables
        .windows(4)
        .position(|name| name == b"FACP")
        .unwrap();
    assert_eq!(two.tables[facp + 56..facp + 60], 0x600u32.to_le_bytes());
    let four = tables(&format!("{MACHINE} -smp 4")).unwrap();
    assert_ne!(four.tables, two.tables);
    assert_ne!(four.digests()[2], two.digests()[2]);
    let more = tables(&format!("{MACHINE} -smp 2 -device pcie-root-port,id=p")).unwrap();
    assert_ne!(more.tables, two.tables);
}

#[test]
fn refused_arguments_are_reported_with_qemus_words() {
    match tables("-machine q35 -device no-such-device") {
        Err(AcpiError::Ended { said, .. }) => assert!(said.contains("no-such-device"), "{said}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_qemu_is_reported() {
    let missing = read_from_qemu(Path::new("/no/such/qemu"), &[]);
    assert!(matches!(missing, Err(AcpiError::Start { .. })));
    let other = read_from_qemu(Path::new("/bin/true"), &[]);
    assert!(matches!(other, Err(AcpiError::Ended { .. })));
    assert!(version_of(Path::new("/bin/true")).is_err());
    assert!(version_of(Path::new(QEMU)).unwrap().split('.').count() == 3);
}
