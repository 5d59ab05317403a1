use super::*;
use crate::config::Raw;

const COMPOSE: &str = r#"{"manifest_version":2,"name":"app","runner":"docker-compose"}"#;

fn config(dir: &std::path::Path, more: &str) -> Config {
    let image = dir.join("image/dstack-0.5.1");
    std::fs::create_dir_all(&image).unwrap();
    let metadata = br#"{"kernel":"k","initrd":"i"}"#;
    bylaw_types::file::write_atomic(&image.join("metadata.json"), metadata).unwrap();
    let file = dir.join("vmm.toml");
    let text = format!(
        "cvm.accel = \"tcg\"\nimage.path = \"{}\"\n{more}",
        dir.join("image").display()
    );
    bylaw_types::file::write_atomic(&file, text.as_bytes()).unwrap();
    let raw: Raw =
        bylaw_service::load(crate::config::NAMES, Some(&file), std::iter::empty()).unwrap();
    raw.try_into().unwrap()
}

fn request() -> VmConfiguration {
    VmConfiguration {
        name: "my vm (1)".into(),
        image: "dstack-0.5.1".into(),
        compose_file: COMPOSE.into(),
        vcpu: 1,
        memory: 512,
        disk_size: 1,
        ..VmConfiguration::default()
    }
}

fn check(more: &str, change: impl Fn(&mut VmConfiguration)) -> Result<Manifest, String> {
    let dir = tempfile::tempdir().unwrap();
    let mut request = request();
    change(&mut request);
    let taken = vec![("other".to_owned(), port_map("127.0.0.1", 9000))];
    manifest(&config(dir.path(), more), &request, "id".into(), 1, &taken)
        .map_err(|error| error.to_string())
}

fn port_map(address: &str, from: u16) -> PortMap {
    PortMap {
        address: address.parse().unwrap(),
        protocol: Protocol::Tcp,
        from,
        to: 80,
    }
}

fn port(protocol: &str, address: &str, host_port: u32, vm_port: u32) -> PortMapping {
    PortMapping {
        protocol: protocol.into(),
        host_port,
        vm_port,
        host_address: address.into(),
    }
}

const PORTS: &str = r#"
    [cvm.port_mapping]
    enabled = true
    address = "127.0.0.2"
    range = [{ protocol = "tcp", from = 8000, to = 9000 }]
"#;

#[test]
fn the_app_id_is_from_the_compose_hash_unless_given() {
    let manifest = check("", |_| {}).unwrap();
    let hash = bylaw_types::compose::compose_hash(COMPOSE.as_bytes()).to_string();
    assert_eq!(manifest.app_id, hash[..40]);
    let id = "AB".repeat(20);
    let manifest = check("", |r| r.app_id = Some(format!("0x{id}"))).unwrap();
    assert_eq!(manifest.app_id, id.to_lowercase());
    assert!(check("", |r| r.app_id = Some("abcd".into())).is_err());
}

#[test]
fn names_compose_and_sizes_are_checked() {
    type Change = fn(&mut VmConfiguration);
    for (change, why) in [
        ((|r| r.name = "a/b".into()) as Change, "Invalid name"),
        (|r| r.name = "é".into(), "Invalid name"),
        (|r| r.compose_file = "{}".into(), "Invalid compose file"),
        (|r| r.vcpu = 0, "vcpu"),
        (|r| r.memory = 0, "memory"),
        (|r| r.disk_size = 0, "disk_size"),
        (|r| r.image = "none".into(), "image not found: none"),
        (|r| r.image = "../image/dstack-0.5.1".into(), "one folder"),
        (
            |r| r.encrypted_env = vec![0; 256 * 1024 + 1],
            "encrypted_env",
        ),
        (
            |r| r.simulated_tee = Some("tdx".into()),
            "cvm.tee_simulator",
        ),
        (
            |r| {
                r.gpus = Some(GpuConfig {
                    attach_mode: "all".into(),
                    gpus: vec![],
                })
            },
            "GPU is not",
        ),
    ] {
        let error = check("", change).unwrap_err();
        assert!(error.contains(why), "{why}: {error}");
    }
}

#[test]
fn a_simulated_vm_has_no_tee() {
    let simulator = "cvm.tee_simulator.control = \"unix:/s\"";
    let manifest = check(simulator, |r| r.simulated_tee = Some("tdx".into())).unwrap();
    assert!(manifest.no_tee);
    let named = check(simulator, |r| r.simulated_tee = Some("dstack-tdx".into())).unwrap();
    assert_eq!(named.simulated_tee.as_deref(), Some("tdx"));
    assert!(check(simulator, |r| r.simulated_tee = Some("sgx".into())).is_err());
}

#[test]
fn ports_are_allowed_free_and_distinct() {
    let one = |port: PortMapping| move |r: &mut VmConfiguration| r.ports = vec![port.clone()];
    let error = check("", one(port("tcp", "", 8000, 80))).unwrap_err();
    assert_eq!(error, "Port mapping is disabled");
    let manifest = check(PORTS, one(port("tcp", "", 8000, 80))).unwrap();
    assert_eq!(manifest.port_map[0].address.to_string(), "127.0.0.2");
    // Another address of a port that is taken is free; the wildcard is not.
    check(PORTS, one(port("tcp", "127.0.0.2", 9000, 80))).unwrap();
    for (bad, why) in [
        (port("icmp", "", 8000, 80), "Invalid protocol"),
        (port("tcp", "", 0, 80), "Invalid port"),
        (port("tcp", "", 65536 + 8000, 80), "Invalid port"),
        (port("tcp", "", 8000, 65536), "Invalid port"),
        (port("tcp", "localhost", 8000, 80), "Invalid host address"),
        (port("tcp", "", 7999, 80), "not allowed"),
        (port("udp", "", 8000, 80), "not allowed"),
        (
            port("tcp", "127.0.0.1", 9000, 80),
            "already mapped by VM other",
        ),
        (
            port("tcp", "0.0.0.0", 9000, 80),
            "already mapped by VM other",
        ),
    ] {
        let error = check(PORTS, one(bad)).unwrap_err();
        assert!(error.contains(why), "{why}: {error}");
    }
    let twice = |r: &mut VmConfiguration| {
        r.ports = vec![
            port("tcp", "127.0.0.1", 8000, 80),
            port("tcp", "0.0.0.0", 8000, 81),
        ];
    };
    assert!(check(PORTS, twice).unwrap_err().contains("mapped twice"));
}

#[test]
fn an_update_must_name_the_address() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), PORTS);
    let asked = [port("tcp", "", 8000, 80)];
    assert!(ports(&config, &asked, Blank::IsInvalid, &vec![]).is_err());
    assert!(ports(&config, &asked, Blank::TakesDefault, &vec![]).is_ok());
}

#[test]
fn networks_are_user_or_bridge() {
    let networking = |mode: &str, bridge: &str| NetworkingConfig {
        mode: mode.into(),
        bridge_name: bridge.into(),
    };
    let manifest = check("", |r| {
        r.networking = Some(networking("user", ""));
        r.networks = vec![networking("bridge", "br0"), networking("", "")];
    })
    .unwrap();
    let modes: Vec<_> = manifest
        .networks
        .iter()
        .map(|network| network.mode)
        .collect();
    assert_eq!(modes, [NetMode::Bridge, NetMode::User]);
    assert_eq!(manifest.networking, manifest.networks.first().cloned());
    for (mode, bridge, why) in [
        ("custom", "", "custom"),
        ("bridge", "", "needs a bridge"),
        ("bridge", "br0,script=x", "no name"),
    ] {
        let error = check("", |r| r.networks = vec![networking(mode, bridge)]).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let error = check(PORTS, |r| {
        r.networks = vec![networking("bridge", "br0")];
        r.ports = vec![port("tcp", "", 8000, 80)];
    });
    assert!(error.unwrap_err().contains("mode \"user\""));
}

#[test]
fn gpus_follow_the_nodes_rules() {
    let listed = |slots: &[&str]| {
        let gpus = slots.iter().map(|slot| GpuSpec {
            slot: (*slot).into(),
        });
        Some(GpuConfig {
            gpus: gpus.collect(),
            attach_mode: "listed".into(),
        })
    };
    let enabled = "cvm.gpu.enabled = true";
    let manifest = check(enabled, |r| r.gpus = listed(&["01:00.0"])).unwrap();
    assert_eq!(manifest.gpus.unwrap().gpus[0].slot, "01:00.0");
    // Listed and empty is none, also where there are no GPUs.
    assert_eq!(check("", |r| r.gpus = listed(&[])).unwrap().gpus, None);
    assert!(check(enabled, |r| r.gpus = listed(&["a", "a"])).is_err());
    let all = |r: &mut VmConfiguration| {
        r.gpus = Some(GpuConfig {
            attach_mode: "all".into(),
            gpus: vec![],
        });
    };
    assert!(check(enabled, all).is_ok());
    let never = "cvm.gpu = { enabled = true, allow_attach_all = false }";
    assert!(check(never, all).unwrap_err().contains("not allowed"));
    let other = |r: &mut VmConfiguration| {
        r.gpus = Some(GpuConfig {
            attach_mode: "some".into(),
            gpus: vec![],
        });
    };
    assert!(
        check(enabled, other)
            .unwrap_err()
            .contains("Invalid attach mode")
    );
}
