//! Every form of machine against the arguments it shall have, one a line.
//!
//! `BYLAW_BLESS=1` writes the files anew; the diff is then for a reviewer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use bylaw_qemu::network::{Backend, Mac, UserNetwork};
use bylaw_qemu::{
    Accel, Disk, DiskRole, Forward, Hugepages, Machine, Nic, Passthrough, Product, Protocol, Qemu,
    QemuVersion, SnpLaunch, TdxLaunch, Tee, Vfio,
};

fn user(forwards: Vec<Forward>) -> Backend {
    Backend::User(UserNetwork {
        subnet: "10.0.2.0/24".parse().unwrap(),
        dhcp_start: "10.0.2.10".parse().unwrap(),
        restrict: false,
        forwards,
    })
}

fn nic(index: usize, backend: Backend) -> Nic {
    Nic {
        mac: Mac::of_vm("6f1f3d1c-8f0e-4c59-9d8e-0d6f3c2b1a00", index, &[]).unwrap(),
        backend,
    }
}

fn disk(role: DiskRole, path: &str) -> Disk {
    Disk {
        role,
        path: path.into(),
    }
}

/// A VM as the VMM makes it on a host without anything special.
fn plain() -> Machine {
    let forwards = vec![
        Forward {
            protocol: Protocol::Tcp,
            address: "127.0.0.1".parse().unwrap(),
            host_port: 8080,
            vm_port: 80,
        },
        Forward {
            protocol: Protocol::Udp,
            address: "0.0.0.0".parse().unwrap(),
            host_port: 5353,
            vm_port: 53,
        },
    ];
    Machine {
        name: "web".to_owned(),
        qemu: Qemu {
            path: "/usr/bin/qemu-system-x86_64".into(),
            version: QemuVersion::new(10, 1, 0),
        },
        accel: Accel::Tcg,
        tee: Tee::None,
        cpus: 2,
        memory_mib: 2048,
        firmware: None,
        kernel: "/image/bzImage".into(),
        initrd: "/image/initramfs.cpio.gz".into(),
        cmdline: "console=ttyS0 dstack.rootfs_size=4096".to_owned(),
        disks: vec![
            disk(DiskRole::Root, "/image/rootfs.img.verity"),
            disk(DiskRole::Share, "/vm/a,b/shared.img"),
            disk(DiskRole::Data, "/vm/a,b/hda.img"),
        ],
        nics: vec![nic(0, user(forwards))],
        vsock_cid: None,
        serial_log: "/vm/a,b/serial.log".into(),
        console_socket: None,
        qmp_socket: Some("/vm/a,b/qmp.sock".into()),
        hugepages: None,
        passthrough: Passthrough::default(),
        pci_hole64_mib: None,
        hotplug_off: false,
        product: Product {
            sys_vendor: Some("dstack".to_owned()),
            product_name: Some("dstack".to_owned()),
            board_vendor: Some("Boards, Inc.".to_owned()),
            ..Product::default()
        },
        user: None,
        pin: None,
    }
}

fn tdx() -> Machine {
    let mut mr_config_id = [0; 48];
    mr_config_id[0] = 1;
    Machine {
        accel: Accel::Kvm,
        tee: Tee::Tdx(TdxLaunch {
            mr_config_id: Some(mr_config_id),
            qgs_port: Some(4050),
            pic: false,
        }),
        firmware: Some("/image/ovmf.fd".into()),
        vsock_cid: Some(1000),
        ..plain()
    }
}

fn snp() -> Machine {
    Machine {
        tee: Tee::SevSnp(SnpLaunch {
            host_data: [7; 32],
            policy: SnpLaunch::POLICY,
            c_bit_position: 51,
            reduced_phys_bits: 1,
            cpu_model: SnpLaunch::CPU_MODEL.to_owned(),
        }),
        firmware: Some("/image/ovmf-sev.fd".into()),
        ..tdx()
    }
}

fn gpu(address: &str, numa_node: Option<u32>) -> Vfio {
    Vfio {
        address: address.parse().unwrap(),
        numa_node,
    }
}

fn check(name: &str, machine: &Machine) {
    let (program, arguments) = machine.command().unwrap();
    let mut text = String::new();
    for argument in std::iter::once(program).chain(arguments) {
        let argument = argument.into_string().unwrap();
        // An option and its value share a line.
        let value = !argument.starts_with('-')
            && text
                .rsplit('\n')
                .next()
                .is_some_and(|line| line.starts_with('-') && !line.contains(' '));
        if !text.is_empty() {
            text.push(if value { ' ' } else { '\n' });
        }
        text.push_str(&argument);
    }
    text.push('\n');
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.txt"));
    if std::env::var_os("BYLAW_BLESS").is_some() {
        bylaw_types::file::write_atomic(&file, text.as_bytes()).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(text, expected, "{}", file.display());
}

#[test]
fn plain_under_tcg_and_kvm() {
    check("plain-tcg", &plain());
    check(
        "plain-kvm",
        &Machine {
            accel: Accel::Kvm,
            ..plain()
        },
    );
    assert_eq!(
        plain().arguments().unwrap(),
        Machine {
            tee: Tee::Simulated,
            ..plain()
        }
        .arguments()
        .unwrap(),
        "the software TEE needs no hardware"
    );
}

#[test]
fn tdx_with_and_without_gpus() {
    check("tdx", &tdx());
    let one = Passthrough {
        gpus: vec![gpu("0000:17:00.0", Some(1))],
        ..Passthrough::default()
    };
    check(
        "tdx-gpu",
        &Machine {
            passthrough: one,
            pci_hole64_mib: Some(1 << 20),
            hotplug_off: true,
            ..tdx()
        },
    );
    check(
        "tdx-board",
        &Machine {
            cpus: 16,
            memory_mib: 65537,
            passthrough: Passthrough {
                gpus: vec![gpu("0000:17:00.0", Some(0)), gpu("0000:b7:00.0", Some(1))],
                bridges: vec![gpu("0000:07:00.0", Some(0)), gpu("0000:08:00.0", None)],
                mmio64_mib: Some(1 << 20),
            },
            hugepages: Some(Hugepages {
                path: "/dev/hugepages".into(),
                host_nodes: vec![0, 1],
            }),
            pin: Some("0-15".parse().unwrap()),
            ..tdx()
        },
    );
}

#[test]
fn sev_snp() {
    check("snp", &snp());
}

#[test]
fn bridges_volumes_and_another_user() {
    let mut machine = plain();
    machine.qemu.version = QemuVersion::new(7, 2, 22);
    machine.user = Some("vmm".to_owned());
    machine.disks.insert(0, disk(DiskRole::Volume(1), "/v/1"));
    machine.disks.insert(0, disk(DiskRole::Volume(0), "/v/0"));
    check("volumes-runas", &machine);
    machine.nics.push(nic(
        1,
        Backend::Bridge {
            name: "br0".to_owned(),
        },
    ));
    check("bridge", &machine);
}

#[test]
fn what_qemu_could_not_honour_is_refused_by_field() {
    type Change = fn(&mut Machine);
    let changes: [(&str, Change); 19] = [
        ("name", |m| m.name = "a,process=b".to_owned()),
        ("name", |m| m.name = String::new()),
        ("cpus", |m| m.cpus = 0),
        ("cpus", |m| m.cpus = 513),
        ("memory_mib", |m| m.memory_mib = 63),
        ("cmdline", |m| m.cmdline = "a\0b".to_owned()),
        ("vsock_cid", |m| m.vsock_cid = Some(2)),
        ("pci_hole64_mib", |m| m.pci_hole64_mib = Some(u64::MAX)),
        ("user", |m| m.user = Some("-x".to_owned())),
        ("accel", |m| m.accel = Accel::Tcg),
        ("firmware", |m| m.firmware = None),
        ("qemu", |m| m.qemu.version = QemuVersion::new(7, 2, 0)),
        ("tee", |m| {
            if let Tee::SevSnp(launch) = &mut m.tee {
                launch.cpu_model = "EPYC,x=y".to_owned();
            }
        }),
        ("disks", |m| m.disks.push(disk(DiskRole::Data, "/other"))),
        ("nics", |m| {
            m.nics.push(nic(
                1,
                Backend::Bridge {
                    name: "br0,helper=/x".to_owned(),
                },
            ))
        }),
        ("nics", |m| {
            if let Backend::User(network) = &mut m.nics[0].backend {
                network.dhcp_start = "10.0.3.1".parse().unwrap();
            }
        }),
        ("hugepages", |m| m.hugepages = Some(hugepages(&[]))),
        ("hugepages", |m| m.hugepages = Some(hugepages(&[0, 1, 2]))),
        ("hugepages", |m| {
            m.cpus = 16;
            m.hugepages = Some(hugepages(&[0, 1, 2, 3, 4, 5, 6]));
        }),
    ];
    for (field, change) in changes {
        let mut machine = snp();
        machine.arguments().unwrap();
        change(&mut machine);
        let error = machine.arguments().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{field}: ")), "{field}: {error}");
    }
}

fn hugepages(host_nodes: &[u32]) -> Hugepages {
    Hugepages {
        path: PathBuf::from("/dev/hugepages"),
        host_nodes: host_nodes.to_vec(),
    }
}
