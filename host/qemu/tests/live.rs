//! The installed QEMU takes the arguments, and makes the machine that was described.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bylaw_qemu::network::{Backend, Mac, UserNetwork};
use bylaw_qemu::{
    Accel, Disk, DiskRole, Forward, Hugepages, Machine, Nic, Passthrough, Product, Protocol, Qemu,
    Tee,
};
use serde_json::{Value, json};

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Monitor(BufReader<UnixStream>);

impl Monitor {
    fn connect(socket: &Path, qemu: &mut Running) -> Self {
        let deadline = Instant::now() + Duration::from_secs(60);
        let stream = loop {
            if let Ok(stream) = UnixStream::connect(socket) {
                break stream;
            }
            let ended = qemu.0.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "QEMU: {ended:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        };
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let mut monitor = Self(BufReader::new(stream));
        let mut greeting = String::new();
        monitor.0.read_line(&mut greeting).unwrap();
        monitor.ask("qmp_capabilities", json!({}));
        monitor
    }

    fn ask(&mut self, command: &str, arguments: Value) -> Value {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.0.get_mut(), "{request}").unwrap();
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "QEMU went away");
            let mut answer: Value = serde_json::from_str(&line).unwrap();
            assert!(answer.get("error").is_none(), "{command}: {answer}");
            if answer.get("return").is_some() {
                return answer["return"].take();
            }
        }
    }

    fn property(&mut self, path: &str, property: &str) -> Value {
        self.ask("qom-get", json!({ "path": path, "property": property }))
    }
}

/// Enough of a Linux kernel for QEMU to load: header of boot protocol 2.12.
fn kernel() -> Vec<u8> {
    let mut bytes = vec![0; 64 * 1024];
    bytes[0x1f1] = 4;
    bytes[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    bytes[0x202..0x206].copy_from_slice(b"HdrS");
    bytes[0x206..0x208].copy_from_slice(&0x20cu16.to_le_bytes());
    bytes[0x211] = 1;
    bytes[0x22c..0x230].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
    bytes
}

fn file(path: &Path, bytes: &[u8]) {
    bylaw_types::file::write_atomic(path, bytes).unwrap();
}

fn machine(folder: &Path) -> Machine {
    let path = |name: &str| {
        let path = folder.join(name);
        file(&path, &vec![0; 1 << 20]);
        path
    };
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    file(&folder.join("kernel"), &kernel());
    Machine {
        name: "live".to_owned(),
        qemu: Qemu::detect(Path::new("qemu-system-x86_64")).unwrap(),
        accel: Accel::Tcg,
        tee: Tee::Simulated,
        cpus: 2,
        memory_mib: 256,
        firmware: None,
        kernel: folder.join("kernel"),
        initrd: path("initrd"),
        cmdline: "console=ttyS0".to_owned(),
        disks: vec![
            Disk {
                role: DiskRole::Root,
                path: path("root,fs"),
            },
            Disk {
                role: DiskRole::Share,
                path: path("shared.img"),
            },
            Disk {
                role: DiskRole::Data,
                path: path("hda.img"),
            },
        ],
        nics: (0..2)
            .map(|index| Nic {
                mac: Mac::of_vm("live", index, &[]).unwrap(),
                backend: Backend::User(UserNetwork {
                    subnet: "10.0.2.0/24".parse().unwrap(),
                    dhcp_start: "10.0.2.10".parse().unwrap(),
                    restrict: index == 1,
                    forwards: (index == 0)
                        .then_some(Forward {
                            protocol: Protocol::Tcp,
                            address: "127.0.0.1".parse().unwrap(),
                            host_port: port,
                            vm_port: 80,
                        })
                        .into_iter()
                        .collect(),
                }),
            })
            .collect(),
        vsock_cid: None,
        serial_log: folder.join("serial,log"),
        console_socket: Some(folder.join("console,sock")),
        qmp_socket: Some(folder.join("qmp,sock")),
        hugepages: None,
        passthrough: Passthrough::default(),
        pci_hole64_mib: Some(1 << 16),
        hotplug_off: true,
        product: Product {
            sys_vendor: Some("a, b".to_owned()),
            product_name: Some("dstack".to_owned()),
            ..Product::default()
        },
        user: None,
        pin: None,
    }
}

/// Starts it, stopped before its first instruction.
fn start(machine: &Machine) -> (Running, Monitor) {
    start_in(machine, &[])
}

/// The same by a program that prepares its surroundings.
fn start_in(machine: &Machine, surroundings: &[&str]) -> (Running, Monitor) {
    let (program, arguments) = machine.command().unwrap();
    let words = surroundings.iter().map(OsString::from);
    let mut words = words.chain([program]).chain(arguments);
    let child = Command::new(words.next().unwrap())
        .args(words)
        .arg("-S")
        .stdin(Stdio::null())
        .spawn();
    let mut qemu = Running(child.unwrap());
    let monitor = Monitor::connect(machine.qmp_socket.as_ref().unwrap(), &mut qemu);
    (qemu, monitor)
}

#[test]
fn qemu_makes_the_machine_described() {
    let folder = tempfile::tempdir().unwrap();
    let described = machine(folder.path());
    let (_qemu, mut monitor) = start(&described);

    let mut disks = Vec::new();
    for block in monitor.ask("query-block", json!({})).as_array().unwrap() {
        let path = block["qdev"]
            .as_str()
            .unwrap()
            .trim_end_matches("/virtio-backend");
        let serial = monitor.property(path, "serial");
        let file = block["inserted"]["image"]["filename"]
            .as_str()
            .unwrap()
            .to_owned();
        let read_only = block["inserted"]["ro"].as_bool().unwrap();
        disks.push((serial.as_str().unwrap().to_owned(), file, read_only));
    }
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    assert_eq!(
        disks,
        [
            ("data".to_owned(), at("hda.img"), false),
            ("DSTACKSHR".to_owned(), at("shared.img"), true),
            ("rootfs".to_owned(), at("root,fs"), true),
        ]
    );

    // Virtio devices in their slots: disk, two NICs, disk, disk.
    let buses = monitor.ask("query-pci", json!({}));
    let devices = buses[0]["devices"].as_array().unwrap();
    let virtio: Vec<i64> = devices
        .iter()
        .filter(|device| device["id"]["vendor"] == 0x1af4)
        .map(|device| device["id"]["device"].as_i64().unwrap())
        .collect();
    assert_eq!(virtio, [0x1001, 0x1000, 0x1000, 0x1001, 0x1001]);

    let cpus = monitor.ask("query-cpus-fast", json!({}));
    assert_eq!(cpus.as_array().unwrap().len(), 2);
    let memory = monitor.ask("query-memory-size-summary", json!({}));
    assert_eq!(memory["base-memory"], 256 << 20);
    assert_eq!(
        monitor.property("/machine/q35", "pci-hole64-size"),
        1u64 << 36
    );
    let chardevs = monitor.ask("query-chardev", json!({}));
    let serial = chardevs
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["label"] == "serial");
    assert!(serial.is_some(), "{chardevs}");
    assert!(folder.path().join("serial,log").exists());
    assert_eq!(
        monitor.ask("query-status", json!({}))["status"],
        "prelaunch"
    );

    // QEMU listens on the forwarded port.
    let Backend::User(network) = &described.nics[0].backend else {
        panic!("first NIC is a user network");
    };
    std::net::TcpStream::connect(("127.0.0.1", network.forwards[0].host_port)).unwrap();
}

#[test]
fn each_node_gives_its_share_of_memory_and_cpus() {
    let folder = tempfile::tempdir().unwrap();
    let mut described = machine(folder.path());
    described.memory_mib = 257;
    // Any folder will do where there are no huge pages; one node of the host serves twice.
    described.hugepages = Some(Hugepages {
        path: folder.path().to_owned(),
        host_nodes: vec![0, 0],
    });
    let (_qemu, mut monitor) = start(&described);
    let mut memory: Vec<(String, u64)> = Vec::new();
    for one in monitor.ask("query-memdev", json!({})).as_array().unwrap() {
        assert_eq!(
            (&one["policy"], &one["host-nodes"]),
            (&json!("bind"), &json!([0]))
        );
        let id = one["id"].as_str().unwrap().to_owned();
        memory.push((id, one["size"].as_u64().unwrap() >> 20));
    }
    memory.sort();
    assert_eq!(memory, [("mem0".to_owned(), 129), ("mem1".to_owned(), 128)]);
    let cpus = monitor.ask("query-cpus-fast", json!({}));
    let nodes: Vec<i64> = cpus
        .as_array()
        .unwrap()
        .iter()
        .map(|cpu| cpu["props"]["node-id"].as_i64().unwrap())
        .collect();
    assert_eq!(nodes, [0, 1]);
}

#[test]
fn a_vm_runs_on_the_cpus_it_is_pinned_to_as_another_user() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mut described = machine(folder.path());
    described.pin = Some("0".parse().unwrap());
    described.user = Some("nobody".to_owned());
    // Files are opened with the rights QEMU was started with.
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(folder.path().join("hda.img"), private).unwrap();
    let (qemu, mut monitor) = start(&described);
    assert_eq!(
        monitor.ask("query-status", json!({}))["status"],
        "prelaunch"
    );
    let status = std::fs::read_to_string(format!("/proc/{}/status", qemu.0.id())).unwrap();
    let line = |name: &str| {
        status
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_default()
    };
    assert_eq!(line("Cpus_allowed_list:"), "Cpus_allowed_list:\t0");
    assert_eq!(line("Uid:"), "Uid:\t65534\t65534\t65534\t65534");
    assert_eq!(line("Seccomp:"), "Seccomp:\t2");
}

/// A bridge of its own, in namespaces of its own; the helper is allowed to use it.
const BRIDGED: &str = r#"
set -e
mount -t tmpfs none "$1"
mkdir "$1/etc" "$1/work" "$1/etc/qemu"
echo "allow br-live" > "$1/etc/qemu/bridge.conf"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/etc,workdir=$1/work" /etc
ip link add br-live type bridge
ip link set br-live up
shift
exec "$@"
"#;

#[test]
fn an_interface_joins_the_bridge() {
    let folder = tempfile::tempdir().unwrap();
    let room = tempfile::tempdir().unwrap();
    let mut described = machine(folder.path());
    described.nics.truncate(1);
    described.nics[0].backend = Backend::Bridge {
        name: "br-live".to_owned(),
    };
    let room = room.path().to_str().unwrap();
    let surroundings = [
        "unshare",
        "--map-root-user",
        "--net",
        "--mount",
        "sh",
        "-c",
        BRIDGED,
        "sh",
        room,
    ];
    let (qemu, mut monitor) = start_in(&described, &surroundings);
    assert_eq!(
        monitor.ask("query-status", json!({}))["status"],
        "prelaunch"
    );
    let links = Command::new("nsenter")
        .args(["--user", "--preserve-credentials", "--net", "--target"])
        .arg(qemu.0.id().to_string())
        .args(["ip", "-json", "link", "show", "master", "br-live"])
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&links.stderr);
    let links: Value = serde_json::from_slice(&links.stdout)
        .unwrap_or_else(|error| panic!("{error}: {complaint}"));
    assert_eq!(links.as_array().unwrap().len(), 1, "{links}");
}
