//! The VMM through its command lines: ours always, dstack's vmm-cli.py where
//! `DSTACK_VMM_CLI` names the script (with a python3 that has cryptography, eth-keys and
//! eth-utils). VMs run QEMU with a kernel that does nothing, so that minutes of booting
//! are left to the tests of the image.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use bylaw_e2e::governance::cli_command;
use bylaw_e2e::host::from_inside;
use bylaw_e2e::{App, Kms, Process, World, program};
use bylaw_rpc::message::vmm::VersionResponse;
use bylaw_rpc::{Client, Empty};
use bylaw_types::AppCompose;
use bylaw_types::file::{write_atomic, write_private};
use serde_json::Value;

const TOKEN: &str = "a-token-of-the-vmm";
const USER: &str = "operator";
const PASSWORD: &str = "correct-horse";
/// bcrypt of the password, at the lowest cost.
const HTPASSWD: &str = "operator:$2b$04$abcdefghijklmnopqrstuuPoaPXzWjiVz4HaNq2LJXksWbO79E.S6\n";
const SECRET: &str = "a-value-the-host-must-not-read";
const READY: Duration = Duration::from_secs(30);
const YAML: &str = "services:\n  web:\n    image: nginx@sha256:aa\n    ports: ['80:80']\n";

/// A VMM, where it is, and what it keeps.
struct Node {
    url: String,
    dir: PathBuf,
    _process: Process,
}

impl Node {
    /// On a Unix socket for everybody who reaches it, or over HTTP for who is known.
    async fn start(world: &World, kms: &Kms, name: &str, over_http: bool) -> Self {
        let dir = world.directory().join(name);
        write_image(&dir.join("images/tiny"));
        write_private(&dir.join("htpasswd"), HTPASSWD.as_bytes()).unwrap();
        let socket = dir.join("vmm.sock");
        let (address, url) = if over_http {
            let address = format!("127.0.0.1:{}", free_port());
            (address.clone(), format!("http://{address}"))
        } else {
            let address = format!("unix:{}", socket.display());
            (address.clone(), address)
        };
        let text = format!(
            r#"
address = {address:?}
run_path = {run_path:?}
kms_url = {kms:?}
[image]
path = {images:?}
[cvm]
accel = "tcg"
kms_urls = [{kms_inside:?}]
max_allocable_vcpu = 64
[cvm.chain]
rpc_urls = [{rpc:?}]
chain_id = 31337
kms_auth = "{kms_auth}"
[cvm.port_mapping]
enabled = true
[[cvm.port_mapping.range]]
protocol = "tcp"
from = 1024
to = 65535
[host_api]
address = "127.0.0.1"
port = {host_api}
[key_provider]
enabled = false
[auth]
enabled = {over_http}
tokens = [{TOKEN:?}]
htpasswd_file = {htpasswd:?}
"#,
            run_path = dir.join("vm"),
            kms = kms.url,
            images = dir.join("images"),
            kms_inside = from_inside(&kms.url),
            rpc = from_inside(&world.rpc_url),
            kms_auth = world.kms_auth,
            host_api = free_port(),
            htpasswd = dir.join("htpasswd"),
        );
        let config = dir.join("vmm.toml");
        write_atomic(&config, text.as_bytes()).unwrap();
        let mut command = Command::new(program("bylaw-vmm").unwrap());
        // Not where the VMMs of this machine make themselves known.
        command
            .arg("--config")
            .arg(&config)
            .env("XDG_RUNTIME_DIR", &dir);
        let mut process = Process::start("vmm", &dir, &mut command).unwrap();
        let client = Client::new(&url)
            .unwrap()
            .with_bearer(TOKEN)
            .unwrap()
            .prpc();
        let deadline = Instant::now() + READY;
        while client
            .call::<_, VersionResponse>("Version", &Empty {})
            .await
            .is_err()
        {
            process.check_alive().unwrap();
            assert!(Instant::now() < deadline, "{}", process.log_text());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self {
            url,
            dir,
            _process: process,
        }
    }

    fn shared(&self, id: &str, file: &str) -> Vec<u8> {
        std::fs::read(self.dir.join("vm").join(id).join("shared").join(file)).unwrap_or_default()
    }
}

/// A kernel that halts at its first instruction, and what else an image must have.
fn write_image(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let mut kernel = vec![0_u8; 16 << 10];
    kernel[0x1f1] = 4;
    kernel[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    // At 0x200: jmp 0x268; there: cli, hlt, jmp back.
    kernel[0x200..0x202].copy_from_slice(&[0xeb, 0x66]);
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x206..0x208].copy_from_slice(&[0x0c, 0x02]);
    kernel[0x211] = 1;
    // The initrd may be anywhere below 2 GiB.
    kernel[0x22c..0x230].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    kernel[0x268..0x26c].copy_from_slice(&[0xfa, 0xf4, 0xeb, 0xfd]);
    let metadata = serde_json::json!({
        "version": "0.6.0", "is_dev": false, "kernel": "bzImage", "initrd": "initramfs.cpio.gz",
        "cmdline": "console=ttyS0", "rootfs": "rootfs.img.verity", "rootfs_hash": "00".repeat(32),
        "shared_ro": true,
    });
    for (name, bytes) in [
        ("bzImage", kernel),
        ("initramfs.cpio.gz", vec![0; 512]),
        ("rootfs.img.verity", vec![0; 8192]),
        ("metadata.json", metadata.to_string().into_bytes()),
        ("digest.txt", "11".repeat(32).into_bytes()),
    ] {
        write_atomic(&dir.join(name), &bytes).unwrap();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// What a command printed; it must have succeeded.
fn done(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command complained about; it must have failed.
fn complaint(output: &Output) -> String {
    assert!(
        !output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asks again until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + READY;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {READY:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Our own command line.
struct Ours<'a> {
    node: &'a Node,
    world: &'a World,
}

impl Ours<'_> {
    fn run(&self, line: &[&str]) -> Output {
        let owner = self.world.keystore(0).unwrap();
        let mut command = cli_command(self.world, Some(&owner)).unwrap();
        command
            .env("BYLAW_VMM", &self.node.url)
            .env("BYLAW_TOKEN", TOKEN)
            .env_remove("APP_CONTRACT_ADDR")
            .current_dir(&self.node.dir)
            .args(line);
        command.output().unwrap()
    }

    fn json(&self, line: &[&str]) -> Value {
        serde_json::from_str(&done(&self.run(line))).unwrap()
    }

    fn status(&self, name: &str) -> Value {
        self.json(&["inspect", name])["status"].clone()
    }

    /// From a docker-compose.yaml to a VM that is gone again.
    fn drive(&self) {
        let dir = &self.node.dir;
        write_atomic(&dir.join("dc.yaml"), YAML.as_bytes()).unwrap();
        write_private(&dir.join("vars"), format!("TOKEN={SECRET}\n").as_bytes()).unwrap();
        assert_eq!(self.json(&["lsimage"])[0]["name"], "tiny");
        assert_eq!(self.json(&["lsgpu"])["gpus"], serde_json::json!([]));

        let port = format!("{}:80", free_port());
        let deploy = [
            "deploy",
            "dc.yaml",
            "--name",
            "ours",
            "--create-app",
            "--no-tee",
            "--env-file",
            "vars",
            "--memory",
            "256M",
            "--vcpu",
            "1",
            "--disk",
            "1G",
            "-p",
            &port,
            "--stopped",
        ];
        let created = self.json(&deploy);
        let id = created["vm_id"].as_str().unwrap();
        assert_eq!(created["status"], "stopped");
        // A second run, as after an interruption, finds app and VM.
        let again = self.json(&deploy);
        assert_eq!(
            (&again["vm_id"], &again["app_id"]),
            (&created["vm_id"], &created["app_id"])
        );
        let hash = AppCompose::parse(&self.node.shared(id, "app-compose.json"))
            .unwrap()
            .hash();
        assert_eq!(created["compose_hash"], hash.to_string().as_str());
        let sealed = self.node.shared(id, ".encrypted-env");
        assert!(sealed.len() > 60 && !holds(&sealed, SECRET));

        self.json(&["start", "ours"]);
        until("it runs", || self.status("ours") == "running");
        done(&self.run(&["logs", "ours", "-n", "5"]));
        done(&self.run(&["logs", "ours", "--stderr"]));
        assert!(complaint(&self.run(&["resize", "ours", "--vcpu", "2"])).contains("bylaw stop"));
        // Nobody in there answers: asking fails, ending works.
        complaint(&self.run(&["stop", "ours", "--timeout", "1s"]));
        self.json(&["stop", "-f", "ours"]);
        self.json(&[
            "resize", "ours", "--vcpu", "2", "--memory", "300M", "--disk", "2G",
        ]);
        assert!(complaint(&self.run(&["resize", "ours", "--disk", "1G"])).contains("shrink"));
        let info = self.json(&["inspect", "ours"]);
        assert_eq!(
            (&info["vcpu"], &info["memory_mib"], &info["disk_gib"]),
            (&2.into(), &300.into(), &2.into())
        );

        // The same names with other values: another file, the same manifest.
        write_private(&dir.join("vars"), b"TOKEN=another\n").unwrap();
        let same = self.json(&["upgrade", "ours", "--env-file", "vars"]);
        assert_eq!(same["compose_hash"], created["compose_hash"]);
        assert_ne!(self.node.shared(id, ".encrypted-env"), sealed);
        // Another manifest waits for the contract's owner.
        write_atomic(&dir.join("dc.yaml"), YAML.replace("aa", "bb").as_bytes()).unwrap();
        let refused = self.run(&["upgrade", "ours", "dc.yaml"]);
        assert_eq!(refused.status.code(), Some(3), "{}", complaint(&refused));
        let next = self.json(&["upgrade", "ours", "dc.yaml", "--allow"]);
        assert_ne!(next["compose_hash"], created["compose_hash"]);
        assert_eq!(next["app_id"], created["app_id"]);
        let other = free_port();
        self.json(&["upgrade", "ours", "-p", &format!("{other}:80")]);
        assert_eq!(
            self.json(&["inspect", "ours"])["ports"][0]["host_port"],
            other
        );

        self.json(&["rm", "-y", "ours"]);
        assert_eq!(self.json(&["ps"]), serde_json::json!([]));

        // A guest that never reports: told with what to do next, and the VM stays.
        let silent = [
            "deploy",
            "dc.yaml",
            "--name",
            "silent",
            "--key-provider",
            "none",
            "--no-tee",
            "--memory",
            "256M",
            "--no-ports",
            "--timeout",
            "2s",
        ];
        let failed = self.run(&silent);
        assert_eq!(failed.status.code(), Some(1));
        assert!(complaint(&failed).contains("next: bylaw logs silent"));
        assert_eq!(self.json(&["ps"]).as_array().unwrap().len(), 1);
        complaint(&self.run(&silent));
        assert_eq!(self.json(&["ps"]).as_array().unwrap().len(), 1);
        self.json(&["rm", "-y", "silent"]);
    }
}

/// dstack's vmm-cli.py, unmodified.
struct Upstream<'a> {
    script: PathBuf,
    node: &'a Node,
    credentials: &'a [&'a str],
}

impl Upstream<'_> {
    fn run(&self, line: &[&str]) -> Output {
        let mut command = Command::new("python3");
        command
            .arg(&self.script)
            .args(["--url", &self.node.url])
            .args(self.credentials)
            .args(line);
        command
            .current_dir(&self.node.dir)
            .env("HOME", &self.node.dir);
        command.output().unwrap()
    }

    fn json(&self, line: &[&str]) -> Value {
        serde_json::from_str(&done(&self.run(&[line, &["--json"]].concat()))).unwrap()
    }

    fn info(&self, id: &str) -> Value {
        self.json(&["info", id])
    }

    fn until_status(&self, id: &str, status: &str) {
        until(status, || self.info(id)["status"] == status);
    }

    /// Writes a manifest as the script does.
    fn compose(&self) -> String {
        let dir = &self.node.dir;
        write_atomic(&dir.join("dc.yaml"), YAML.as_bytes()).unwrap();
        write_private(&dir.join("vars"), format!("TOKEN={SECRET}\n").as_bytes()).unwrap();
        let printed = done(&self.run(&[
            "compose",
            "--name",
            "theirs",
            "--docker-compose",
            "dc.yaml",
            "--kms",
            "--env-file",
            "vars",
            "--output",
            "app-compose.json",
        ]));
        let text = std::fs::read_to_string(dir.join("app-compose.json")).unwrap();
        let hash = AppCompose::parse(text.as_bytes()).unwrap().hash();
        assert!(printed.contains(&hash.to_string()), "{printed}");
        text
    }

    /// Everything the script can ask of one VM.
    fn drive(&self, app: &App, kms: &Kms) {
        assert_eq!(self.json(&["lsimage"])[0]["name"], "tiny");
        assert_eq!(self.json(&["lsgpu"]), serde_json::json!([]));
        let (app_id, port) = (app.id.to_string(), free_port());
        let port = format!("tcp:127.0.0.1:{port}:80");
        let machine = [
            "deploy",
            "--name",
            "theirs",
            "--image",
            "tiny",
            "--compose",
            "app-compose.json",
            "--app-id",
            &app_id,
            "--memory",
            "256M",
            "--disk",
            "1G",
            "--no-tee",
        ];
        let rest = [
            "--stopped",
            "--env-file",
            "vars",
            "--kms-url",
            &kms.url,
            "--port",
            &port,
        ];
        let id = created(&done(&self.run(&[&machine[..], &rest].concat())));
        let info = self.info(&id);
        assert_eq!(info["status"], "stopped");
        assert_eq!(info["app_id"], app_id.as_str());
        let sealed = self.node.shared(&id, ".encrypted-env");
        assert!(sealed.len() > 60 && !holds(&sealed, SECRET));
        assert_eq!(
            self.node.shared(&id, "app-compose.json"),
            app.compose.as_bytes()
        );
        let table = done(&self.run(&["lsvm", "-v"]));
        assert!(table.contains(&id) && table.contains("256MB"), "{table}");
        assert!(done(&self.run(&["info", &id])).contains("Status:        stopped"));

        done(&self.run(&["start", &id]));
        self.until_status(&id, "running");
        assert!(!done(&self.run(&["logs", &id, "-n", "5"])).contains("Failed"));
        let unknown = "00000000-0000-4000-8000-000000000000";
        assert!(done(&self.run(&["logs", unknown])).contains("VM not found"));
        assert!(
            complaint(&self.run(&["resize", &id, "--vcpu", "2"])).contains("should be stopped")
        );
        done(&self.run(&["stop", "-f", &id]));
        self.until_status(&id, "stopped");

        done(&self.run(&[
            "resize", &id, "--vcpu", "2", "--memory", "300", "--disk", "2",
        ]));
        let configuration = self.info(&id)["configuration"].clone();
        assert_eq!(
            (&configuration["vcpu"], &configuration["memory"]),
            (&2.into(), &300.into())
        );
        let shrunk = complaint(&self.run(&["resize", &id, "--disk", "1"]));
        assert!(shrunk.contains("Cannot shrink disk size"), "{shrunk}");

        write_private(&self.node.dir.join("vars"), b"TOKEN=other\nMORE=1\n").unwrap();
        done(&self.run(&[
            "update-env",
            &id,
            "--env-file",
            "vars",
            "--kms-url",
            &kms.url,
        ]));
        assert_ne!(self.node.shared(&id, ".encrypted-env"), sealed);
        let changed = AppCompose::parse(&self.node.shared(&id, "app-compose.json")).unwrap();
        assert_eq!(changed.manifest().allowed_envs, ["TOKEN", "MORE"]);
        done(&self.run(&["update-app-compose", &id, "app-compose.json"]));
        assert_eq!(
            self.node.shared(&id, "app-compose.json"),
            app.compose.as_bytes()
        );
        write_atomic(&self.node.dir.join("config"), b"{\"a\": 1}").unwrap();
        done(&self.run(&["update-user-config", &id, "config"]));
        assert_eq!(self.node.shared(&id, ".user-config"), b"{\"a\": 1}");
        let other = free_port();
        done(&self.run(&["update-ports", &id, "--port", &format!("tcp:{other}:80")]));
        let ports = || self.info(&id)["configuration"]["ports"].clone();
        assert_eq!(ports()[0]["host_port"], other);
        let line = [
            "update",
            &id,
            "--vcpu",
            "1",
            "--no-ports",
            "--net",
            "user",
            "--swap",
            "1G",
        ];
        done(&self.run(&line));
        assert_eq!(ports(), serde_json::json!([]));
        let text = self.node.shared(&id, "app-compose.json");
        let manifest: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(manifest["swap_size"], 1 << 30);
        self.remove(&id);

        // Without --stopped it runs at once.
        let id = created(&done(&self.run(&machine)));
        self.until_status(&id, "running");
        done(&self.run(&["stop", "-f", &id]));
        self.until_status(&id, "stopped");
        self.remove(&id);
        let no_image = [
            &machine[..2],
            &["x", "--image", "none", "--compose", "app-compose.json"],
        ];
        complaint(&self.run(&no_image.concat()));
    }

    fn remove(&self, id: &str) {
        done(&self.run(&["remove", id]));
        until("it is gone", || {
            self.json(&["lsvm"]) == serde_json::json!([])
        });
    }
}

fn created(printed: &str) -> String {
    let id = printed.rsplit("Created VM with ID: ").next().unwrap();
    id.trim().to_owned()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn our_command_line_drives_a_vmm() {
    let world = World::start().await.unwrap();
    let kms = world.bootstrapped_kms().await.unwrap();
    for (name, over_http) in [("unix", false), ("http", true)] {
        let node = Node::start(&world, &kms, name, over_http).await;
        let ours = Ours {
            node: &node,
            world: &world,
        };
        tokio::task::block_in_place(|| ours.drive());
        if over_http {
            let mut command = cli_command(&world, None).unwrap();
            let stranger = command
                .env("BYLAW_VMM", &node.url)
                .arg("ps")
                .output()
                .unwrap();
            assert!(complaint(&stranger).contains("wants a token"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dstacks_command_line_drives_a_vmm() {
    let Some(script) = std::env::var_os("DSTACK_VMM_CLI") else {
        eprintln!("NOT RUN: set DSTACK_VMM_CLI to dstack's vmm-cli.py to drive the VMM with it");
        return;
    };
    let world = World::start().await.unwrap();
    let kms = world.bootstrapped_kms().await.unwrap();
    let basic = ["--auth-user", USER, "--auth-password", PASSWORD];
    let bearer = ["--token", TOKEN];
    for (name, over_http, credentials) in [
        ("unix", false, &[][..]),
        ("bearer", true, &bearer),
        ("basic", true, &basic),
    ] {
        let node = Node::start(&world, &kms, name, over_http).await;
        let script = PathBuf::from(&script);
        let upstream = Upstream {
            script: script.clone(),
            node: &node,
            credentials,
        };
        let text = upstream.compose();
        let app = world.create_app(&text).await.unwrap();
        world.settle().await.unwrap();
        tokio::task::block_in_place(|| upstream.drive(&app, &kms));
        if over_http {
            let wrong = ["--auth-user", USER, "--auth-password", "guess"];
            for credentials in [&[][..], &["--token", "guess"], &wrong] {
                let stranger = Upstream {
                    script: script.clone(),
                    node: &node,
                    credentials,
                };
                assert!(complaint(&stranger.run(&["lsvm"])).contains("API call failed"));
            }
        }
    }
}
