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
fn the_whole_command_line_of_a_vm_is_taken() {
    let disk = tempfile::NamedTempFile::new().unwrap();
    disk.as_file().set_len(1 << 20).unwrap();
    let line = format!(
        "-name vm,process=vm -no-user-config -nodefaults -display none -no-reboot \
         -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny \
         -runas nobody -accel kvm -cpu host -smp 2 -m 256M \
         -chardev file,id=serial,path=/no/such/directory/log -serial chardev:serial \
         -qmp unix:/no/such/directory/qmp,server=on,wait=off \
         -kernel /no/such/kernel -append console=ttyS0 \
         -drive id=rootfs,file={},if=none,format=raw,readonly=on \
         -device virtio-blk-pci,drive=rootfs,serial=rootfs \
         -netdev user,id=net0,hostfwd=tcp:127.0.0.1:1-:80 \
         -device virtio-net-pci,netdev=net0,romfile= \
         -object {{\"qom-type\":\"tdx-guest\",\"id\":\"tdx\"}} \
         -device vhost-vsock-pci,guest-cid=3 \
         -machine q35,kernel-irqchip=split,confidential-guest-support=tdx,hpet=off,smm=off",
        disk.path().display()
    );
    let whole = tables(&line).unwrap();
    let shape = "-machine q35,hpet=off,smm=off -smp 2 -m 256M".to_owned();
    let bare = tables(&(shape + &" -device virtio-rng-pci".repeat(3))).unwrap();
    // The kind of a device does not show, its slot does.
    assert_eq!(whole, bare);
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
