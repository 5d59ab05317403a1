//! Recorded hosts: what they offer, and what they are told to fix.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use bylaw_qemu::host::{Report, State, c_bit_position};
use bylaw_qemu::pci::{self, Kind, Listing, PciAddress};
use bylaw_qemu::{Qemu, QemuError, QemuVersion, numa};

fn tree(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../test/vectors/sysfs")
        .join(name)
}

fn slot(text: &str) -> PciAddress {
    text.parse().unwrap()
}

#[test]
fn gpus_and_switches_are_found_with_what_is_known_of_them() {
    let devices = pci::devices(&tree("board")).unwrap();
    let seen: Vec<_> = devices
        .iter()
        .map(|device| {
            (
                device.address.to_string(),
                device.kind,
                device.product_id.as_str(),
                device.description.as_str(),
                device.numa_node,
                device.driver.as_deref(),
                device.iommu_group,
            )
        })
        .collect();
    let vfio = Some("vfio-pci");
    assert_eq!(
        seen,
        [
            (
                "0000:07:00.0".to_owned(),
                Kind::Bridge,
                "10de:22a3",
                "NVIDIA NVSwitch",
                Some(0),
                vfio,
                Some(4)
            ),
            (
                "0000:08:00.0".to_owned(),
                Kind::Bridge,
                "10de:22a3",
                "NVIDIA NVSwitch",
                None,
                vfio,
                Some(5)
            ),
            (
                "0000:17:00.0".to_owned(),
                Kind::Gpu,
                "10de:2335",
                "NVIDIA GH100 [H200 SXM 141GB]",
                Some(0),
                vfio,
                Some(7)
            ),
            (
                "0000:b7:00.0".to_owned(),
                Kind::Gpu,
                "10de:2335",
                "NVIDIA GH100 [H200 SXM 141GB]",
                Some(1),
                Some("nvidia"),
                Some(9)
            ),
            (
                "0000:c1:00.0".to_owned(),
                Kind::Gpu,
                "10de:1eb8",
                "NVIDIA TU104GL [Tesla T4]",
                Some(1),
                None,
                None
            ),
        ]
    );
    assert_eq!(pci::devices(&tree("virtual")).unwrap(), []);
    let strange = pci::devices(&tree("strange")).unwrap_err().to_string();
    assert!(
        strange.contains("vendor") && strange.contains("NVIDIA"),
        "{strange}"
    );
}

#[test]
fn listings_offer_products_at_included_slots_less_excluded_ones() {
    let devices = pci::devices(&tree("board")).unwrap();
    let offered = |listing: Listing| -> Vec<String> {
        let offered = devices.iter().filter(|device| listing.offers(device));
        offered.map(|device| device.address.to_string()).collect()
    };
    let products = vec!["10DE:2335".to_owned(), "10de:22a3".to_owned()];
    let all = Listing {
        products,
        ..Listing::default()
    };
    assert_eq!(
        offered(all.clone()),
        ["0000:17:00.0", "0000:b7:00.0"],
        "a switch is never offered by itself"
    );
    assert_eq!(
        offered(Listing {
            exclude: vec![slot("b7:00.0")],
            ..all.clone()
        }),
        ["0000:17:00.0"]
    );
    let include = vec![slot("b7:00.0"), slot("c1:00.0")];
    assert_eq!(
        offered(Listing {
            include: include.clone(),
            ..all.clone()
        }),
        ["0000:b7:00.0"],
        "an included slot must be of a listed product as well"
    );
    assert!(
        offered(Listing {
            exclude: include.clone(),
            include,
            ..all
        })
        .is_empty()
    );
    assert!(offered(Listing::default()).is_empty());
}

#[test]
fn only_devices_given_to_vfio_are_passed_on_and_the_error_says_how() {
    let devices = pci::devices(&tree("board")).unwrap();
    let given = pci::chosen(&devices, &[slot("17:00.0")]).unwrap();
    assert_eq!(given[0].numa_node, Some(0));
    for (slots, why) in [
        (
            &["b7:00.0"][..],
            "driverctl set-override 0000:b7:00.0 vfio-pci",
        ),
        (&["c1:00.0"], "no driver"),
        (&["99:00.0"], "no NVIDIA device at 0000:99:00.0"),
        (&["07:00.0"], "no NVIDIA device"),
        (&["17:00.0", "17:00.0"], "twice"),
    ] {
        let slots: Vec<PciAddress> = slots.iter().map(|text| slot(text)).collect();
        let error = pci::chosen(&devices, &slots).unwrap_err().to_string();
        assert!(error.contains(why), "{slots:?}: {error}");
    }
    assert!(matches!(pci::all(&devices), Err(QemuError::NotVfio { .. })));

    let free: Vec<_> = devices
        .into_iter()
        .filter(|device| device.vfio().is_ok())
        .collect();
    let (gpus, bridges) = pci::all(&free).unwrap();
    assert_eq!((gpus.len(), bridges.len()), (1, 2));
}

#[test]
fn a_vm_is_placed_on_the_nodes_of_its_gpus() {
    let nodes = numa::nodes(&tree("board")).unwrap();
    assert_eq!(nodes.len(), 2);
    let placed = numa::plan(&nodes, [Some(1)]).unwrap();
    assert_eq!(placed.host_nodes, [1]);
    assert_eq!(placed.cpus.to_string(), "56-111,168-223");
    assert_eq!(numa::nodes(&tree("virtual")).unwrap(), []);
}

fn report(name: &str) -> Report {
    let qemu = Qemu::detect(Path::new("qemu-system-x86_64"));
    Report::read(&tree(name), &qemu).unwrap()
}

/// State and fix of a check.
fn check<'a>(report: &'a Report, name: &str) -> (State, &'a str) {
    let found = report
        .checks
        .iter()
        .find(|check| check.name == name)
        .unwrap();
    (found.state, found.fix.as_deref().unwrap_or_default())
}

#[test]
fn each_host_is_told_what_it_lacks() {
    let rows = [
        ("board", "kvm", State::Ready, ""),
        ("board", "tdx", State::Ready, ""),
        ("board", "qgs", State::Ready, ""),
        ("board", "vsock", State::Ready, ""),
        ("board", "iommu", State::Ready, ""),
        ("board", "sev-snp", State::NotApplicable, ""),
        ("board", "gpu 0000:17:00.0", State::Ready, ""),
        (
            "board",
            "gpu 0000:b7:00.0",
            State::Lacking,
            "driverctl set-override 0000:b7:00.0 vfio-pci",
        ),
        ("board", "nvswitch 0000:07:00.0", State::Ready, ""),
        ("board", "hugepages", State::Ready, ""),
        ("held", "kvm", State::Lacking, "modprobe kvm_intel"),
        ("held", "tdx", State::Lacking, "kvm_intel tdx=1"),
        ("held", "qgs", State::NotApplicable, ""),
        ("held", "iommu", State::Lacking, "intel_iommu=on"),
        ("held", "gpu 0000:17:00.0", State::Lacking, "vfio-pci"),
        ("amd", "tdx", State::NotApplicable, ""),
        ("amd", "sev-snp", State::Lacking, "kvm_amd sev_snp=1"),
        ("amd", "vsock", State::Lacking, "modprobe vhost_vsock"),
        ("amd", "qemu", State::Ready, ""),
        ("snp", "sev-snp", State::Ready, ""),
        ("virtual", "kvm", State::Lacking, "cvm.accel"),
        ("virtual", "tdx", State::Lacking, "firmware"),
        ("virtual", "iommu", State::NotApplicable, ""),
        ("virtual", "hugepages", State::NotApplicable, "nr_hugepages"),
    ];
    for (host, name, state, fix) in rows {
        let report = report(host);
        let (found, says) = check(&report, name);
        assert_eq!(found, state, "{host}: {name}");
        assert!(says.contains(fix), "{host}: {name}: {says}");
        assert_eq!(report.is_ready(name), state == State::Ready);
    }
    assert_eq!(report("board").processor, "Intel(R) Xeon(R) Platinum 8480C");
}

#[test]
fn an_emulator_that_cannot_start_the_hosts_guests_is_lacking() {
    // A version is not a promise: the build must know the object as well.
    let mut qemu = Qemu::detect(Path::new("qemu-system-x86_64")).unwrap();
    let old = qemu.version < QemuVersion::new(9, 1, 0);
    qemu.version = QemuVersion::new(7, 2, 0);
    let old_version = Report::read(&tree("snp"), &Ok(qemu)).unwrap();
    assert!(check(&old_version, "qemu").1.contains("9.1"));
    if old {
        assert!(check(&report("board"), "qemu").1.contains("10.1"));
    }
    let missing = Err(QemuError::Qemu {
        program: "/nowhere".into(),
        reason: "not found".to_owned(),
    });
    let none = Report::read(&tree("virtual"), &missing).unwrap();
    assert_eq!(check(&none, "qemu").0, State::Lacking);
}

#[test]
fn this_host_can_be_asked() {
    let qemu = Qemu::detect(Path::new("qemu-system-x86_64"));
    let report = Report::read(Path::new("/"), &qemu).unwrap();
    assert!(report.is_ready("qemu"));
    let json = serde_json::to_value(&report).unwrap();
    assert!(json["checks"][0]["state"].is_string(), "{json}");
    match c_bit_position() {
        Ok(bit) => assert!((32..64).contains(&bit)),
        Err(error) => assert!(error.to_string().contains("no SEV-SNP"), "{error}"),
    }
}
