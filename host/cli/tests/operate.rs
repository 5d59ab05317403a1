//! The operator's commands against a VMM that only remembers what it was asked.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use assert_cmd::Command;
use bylaw_rpc::message::vmm::{
    GetInfoResponse, GuestEvent, Id, ImageInfo, ImageListResponse, ResizeVmRequest, StatusRequest,
    StatusResponse, UpdateVmRequest, VmConfiguration, VmInfo,
};
use bylaw_rpc::{Context, Empty, RpcError, Service, serve};
use serde_json::Value;
use tempfile::TempDir;

const YAML: &str = "services:\n  web:\n    image: nginx@sha256:aa\n    ports: ['8080:80']\n";

#[derive(Default)]
struct State {
    vms: Vec<VmInfo>,
    creates: usize,
    updates: Vec<UpdateVmRequest>,
    /// What guests report right after their start.
    boot_error: String,
}

type Shared = Arc<Mutex<State>>;

impl State {
    fn boot(&mut self, id: &str) {
        let error = self.boot_error.clone();
        let vm = self.vms.iter_mut().find(|vm| vm.id == id).unwrap();
        vm.status = "running".into();
        vm.boot_error = error;
        vm.boot_progress = "done".into();
        vm.events = vec![GuestEvent {
            event: "boot.progress".into(),
            body: "done".into(),
            timestamp: 1,
        }];
    }
}

async fn create(state: Shared, _: Context, vm: VmConfiguration) -> Result<Id, RpcError> {
    let mut state = state.lock().unwrap();
    state.creates += 1;
    let id = format!("{:04}-id", state.creates);
    let stopped = vm.stopped;
    state.vms.push(VmInfo {
        id: id.clone(),
        name: vm.name.clone(),
        app_id: vm.app_id.clone().unwrap_or("11".repeat(20)),
        status: "stopped".into(),
        configuration: Some(vm),
        ..VmInfo::default()
    });
    if !stopped {
        state.boot(&id);
    }
    Ok(Id { id })
}

async fn set(state: Shared, id: Id, status: &str) -> Result<Empty, RpcError> {
    let mut state = state.lock().unwrap();
    if status == "running" {
        state.boot(&id.id);
    } else {
        let vm = state.vms.iter_mut().find(|vm| vm.id == id.id).unwrap();
        vm.status = status.into();
    }
    Ok(Empty {})
}

struct Vmm {
    dir: TempDir,
    state: Shared,
    runtime: tokio::runtime::Runtime,
}

impl Vmm {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = Shared::default();
        let service = Service::new("Vmm", &["Teepod"], state.clone())
            .method("CreateVm", create)
            .method("StartVm", |state: Shared, _: Context, id: Id| {
                set(state, id, "running")
            })
            .method("StopVm", |state: Shared, _: Context, id: Id| {
                set(state, id, "stopped")
            })
            .method("ShutdownVm", |state: Shared, _: Context, id: Id| {
                set(state, id, "stopped")
            })
            .method("RemoveVm", |state: Shared, _: Context, id: Id| async move {
                state.lock().unwrap().vms.retain(|vm| vm.id != id.id);
                Ok::<_, RpcError>(Empty {})
            })
            .method(
                "ResizeVm",
                |_: Shared, _: Context, _: ResizeVmRequest| async { Ok::<_, RpcError>(Empty {}) },
            )
            .method(
                "UpgradeApp",
                |state: Shared, _: Context, request: UpdateVmRequest| async move {
                    state.lock().unwrap().updates.push(request);
                    Ok::<_, RpcError>(Id::default())
                },
            )
            .method("GetInfo", |state: Shared, _: Context, id: Id| async move {
                let info = state
                    .lock()
                    .unwrap()
                    .vms
                    .iter()
                    .find(|vm| vm.id == id.id)
                    .cloned();
                Ok::<_, RpcError>(GetInfoResponse {
                    found: info.is_some(),
                    info,
                })
            })
            .method(
                "Status",
                |state: Shared, _: Context, _: StatusRequest| async move {
                    let vms = state.lock().unwrap().vms.clone();
                    Ok::<_, RpcError>(StatusResponse {
                        vms,
                        ..StatusResponse::default()
                    })
                },
            )
            .method("ListImages", |_: Shared, _: Context, _: Empty| async {
                let image = ImageInfo {
                    name: "bylaw-0.1".into(),
                    description: r#"{"version":"0.1"}"#.into(),
                    version: "0.1".into(),
                    is_dev: false,
                };
                Ok::<_, RpcError>(ImageListResponse {
                    images: vec![image],
                })
            });
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let logs = axum::routing::get(|| async { "a line of the console\n" });
        let router = axum::Router::new()
            .route("/logs", logs)
            .merge(service.into_router("/prpc"));
        let socket = dir.path().join("vmm.sock");
        let _guard = runtime.enter();
        let listener = serve::bind_unix(&socket, 0o600).unwrap();
        runtime.spawn(async move { serve::unix(listener, router, std::future::pending()).await });
        Self {
            dir,
            state,
            runtime,
        }
    }

    fn bylaw(&self, line: &[&str]) -> Command {
        let mut command = bylaw(line);
        command
            .env(
                "BYLAW_VMM",
                format!("unix:{}", self.dir.path().join("vmm.sock").display()),
            )
            .current_dir(self.dir.path());
        command
    }

    fn json(&self, line: &[&str]) -> Value {
        let output = self.bylaw(&[&["--json"], line].concat()).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Something that answers HTTP where a mapped port would.
    fn an_app(&self) -> (String, u16) {
        let _guard = self.runtime.enter();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let router = axum::Router::new();
        self.runtime
            .spawn(async move { serve::tcp(listener, router, std::future::pending()).await });
        (format!("http://127.0.0.1:{port}"), port)
    }

    fn write(&self, name: &str, text: &str) {
        write(self.dir.path(), name, text);
    }
}

fn write(dir: &Path, name: &str, text: &str) {
    bylaw_types::file::write_atomic(&dir.join(name), text.as_bytes()).unwrap();
}

fn bylaw(line: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bylaw"));
    // Nothing of the machine's own settings.
    command.env_clear().env("HOME", "/nonexistent").args(line);
    command
}

const DEPLOY: &[&str] = &[
    "deploy",
    "c.yaml",
    "--name",
    "web",
    "--key-provider",
    "none",
    "--no-ports",
];

#[test]
fn deploying_twice_makes_one_vm() {
    let vmm = Vmm::start();
    vmm.write("c.yaml", YAML);
    let first = vmm.json(DEPLOY);
    assert_eq!(first["name"], "web");
    assert_eq!(first["status"], "running");
    assert_eq!(first["boot_progress"], "done");
    let again = vmm.json(DEPLOY);
    assert_eq!(again["vm_id"], first["vm_id"]);
    assert_eq!(again["compose_hash"], first["compose_hash"]);
    assert_eq!(vmm.state.lock().unwrap().creates, 1);
    let manifest = std::fs::read(vmm.dir.path().join("web.app-compose.json")).unwrap();
    let hash = bylaw_types::compose::compose_hash(&manifest).to_string();
    assert_eq!(first["compose_hash"], hash.as_str());
    // The file it wrote is the same manifest.
    let line = ["deploy", "web.app-compose.json", "--no-ports"];
    assert_eq!(vmm.json(&line)["vm_id"], first["vm_id"]);
}

#[test]
fn a_stopped_vm_of_the_same_manifest_is_started() {
    let vmm = Vmm::start();
    vmm.write("c.yaml", YAML);
    let created = vmm.json(&[DEPLOY, &["--stopped"]].concat());
    assert_eq!(created["status"], "stopped");
    assert_eq!(vmm.json(DEPLOY)["status"], "running");
    assert_eq!(vmm.state.lock().unwrap().creates, 1);
}

#[test]
fn another_manifest_under_the_same_name_is_left_to_upgrade() {
    let vmm = Vmm::start();
    vmm.write("c.yaml", YAML);
    vmm.json(DEPLOY);
    vmm.write("c.yaml", &YAML.replace("aa", "bb"));
    let refused = vmm.bylaw(DEPLOY).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("bylaw upgrade"), "{text}");
    assert_eq!(vmm.state.lock().unwrap().creates, 1);

    let upgraded = vmm.json(&["upgrade", "web", "c.yaml"]);
    let state = vmm.state.lock().unwrap();
    let [update] = &state.updates[..] else {
        panic!("{} updates", state.updates.len())
    };
    assert!(update.compose_file.contains("sha256:bb"));
    assert!(!update.update_ports);
    let hash = bylaw_types::compose::compose_hash(update.compose_file.as_bytes());
    assert_eq!(upgraded["compose_hash"], hash.to_string().as_str());
    assert_eq!(upgraded["status"], "running");
}

#[test]
fn a_boot_that_fails_says_why_and_what_next() {
    let vmm = Vmm::start();
    vmm.write("c.yaml", YAML);
    vmm.state.lock().unwrap().boot_error = "key release denied".into();
    let failed = vmm.bylaw(DEPLOY).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
    let text = String::from_utf8_lossy(&failed.stderr).into_owned();
    for says in [
        "key release denied",
        "a line of the console",
        "next: bylaw logs web",
    ] {
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn a_dry_run_asks_nobody_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "c.yaml", YAML);
    let app = format!("0x{}", "22".repeat(20));
    let output = bylaw(&[
        "--json",
        "deploy",
        "c.yaml",
        "--name",
        "web",
        "--app",
        &app,
        "--dry-run",
    ])
    .current_dir(dir.path())
    .output()
    .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["dry_run"], true);
    assert_eq!(plan["app_id"], app.as_str());
    assert_eq!(plan["vm"]["ports"][0]["vm_port"], 8080);
    assert_eq!(plan["vm"]["app_id"], "22".repeat(20).as_str());
    let hash = bylaw_types::compose::compose_hash(plan["app_compose"].as_str().unwrap().as_bytes());
    assert_eq!(plan["compose_hash"], hash.to_string().as_str());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn vms_are_listed_looked_at_stopped_and_removed() {
    let vmm = Vmm::start();
    vmm.write("c.yaml", YAML);
    let (url, port) = vmm.an_app();
    let port = format!("{port}:8080");
    let line = [
        "deploy",
        "c.yaml",
        "--name",
        "web",
        "--key-provider",
        "none",
        "-p",
        &port,
    ];
    assert_eq!(vmm.json(&line)["answers"], url.as_str());
    let all = vmm.json(&["ps"]);
    assert_eq!(all[0]["name"], "web");
    assert_eq!(all[0]["urls"][0], url.as_str());
    let plain = vmm.bylaw(&["ps"]).output().unwrap();
    let plain = String::from_utf8(plain.stdout).unwrap();
    assert!(plain.starts_with("web\t0001-id\trunning\t"), "{plain:?}");
    assert_eq!(vmm.json(&["inspect", "0001"])["events"][0]["body"], "done");
    assert_eq!(vmm.json(&["lsimage"])[0]["metadata"]["version"], "0.1");
    vmm.bylaw(&["logs", "web"])
        .assert()
        .success()
        .stdout("a line of the console\n");
    vmm.bylaw(&["resize", "web", "--vcpu", "4"])
        .assert()
        .code(1);
    assert_eq!(vmm.json(&["stop", "web"])["done"], "stopped");
    assert_eq!(
        vmm.json(&["resize", "web", "--vcpu", "4"])["done"],
        "resized"
    );
    assert_eq!(vmm.json(&["start", "web"])["done"], "started");
    vmm.bylaw(&["rm", "web"]).assert().code(2);
    assert_eq!(vmm.json(&["rm", "-y", "web"])["done"], "removed");
    assert_eq!(vmm.json(&["ps"]).as_array().unwrap().len(), 0);
    vmm.bylaw(&["inspect", "web"]).assert().code(2);
}

#[test]
fn unusable_lines_are_refused_before_anybody_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "c.yaml", YAML);
    write(dir.path(), "tag.yaml", "services: {web: {image: nginx}}");
    write(dir.path(), "build.yaml", "services: {web: {build: .}}");
    write(dir.path(), "env", "A=b\n");
    for (line, says) in [
        (&["deploy", "c.yaml"][..], "--app"),
        (&["deploy", "missing.yaml"], "missing.yaml"),
        (
            &["deploy", "tag.yaml", "--key-provider", "none", "--strict"],
            "digest",
        ),
        (
            &["deploy", "build.yaml", "--key-provider", "none"],
            "built from source",
        ),
        (
            &["deploy", "c.yaml", "--key-provider", "none", "-p", "x"],
            "[tcp:|udp:]",
        ),
        (
            &[
                "deploy",
                "c.yaml",
                "--key-provider",
                "none",
                "--memory",
                "1X",
            ],
            "2G",
        ),
        (
            &[
                "deploy",
                "c.yaml",
                "--key-provider",
                "none",
                "--name",
                "a/b",
            ],
            "no name for a VM",
        ),
        (
            &["deploy", "c.yaml", "--create-app", "--env-file", "env"],
            "--kms-contract",
        ),
        (&["deploy", "c.yaml", "--sign-env", "k"], "--env-file"),
        (&["upgrade", "web"], "required"),
        (&["resize", "web"], "required"),
        (&["logs", "web", "--since", "1h"], "--container"),
        (
            &["logs", "web", "--serial", "--stdout"],
            "cannot be used with",
        ),
        (&["ps", "--vmm", "ftp://x"], "unix:"),
    ] {
        let output = bylaw(line).current_dir(dir.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{line:?}: {text}");
        assert!(text.contains(says), "{line:?}: {text}");
    }
    bylaw(&["ps", "--vmm", "unix:/nonexistent/vmm.sock"])
        .assert()
        .code(5);
}

#[test]
fn every_command_shows_an_example() {
    let help = |line: &[&str]| {
        let output = bylaw(&[line, &["--help"]].concat()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for name in [
        "deploy", "upgrade", "ps", "inspect", "logs", "start", "stop", "rm", "resize", "lsimage",
        "lsgpu", "doctor",
    ] {
        let text = help(&[name]);
        assert!(
            text.contains(&format!("bylaw {name}")) && text.contains("Example"),
            "{text}"
        );
    }
    let output = bylaw(&["ps", "--help"])
        .env("BYLAW_TOKEN", "planted-secret")
        .output()
        .unwrap();
    assert!(
        !String::from_utf8(output.stdout)
            .unwrap()
            .contains("planted-secret")
    );
}

#[test]
fn the_doctor_names_what_is_missing() {
    let empty = tempfile::tempdir().unwrap();
    let qemu = empty.path().join("qemu");
    let line = [
        "--json",
        "doctor",
        "--need",
        "qemu",
        "--qemu",
        qemu.to_str().unwrap(),
    ];
    let output = bylaw(&line).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ready"], false);
    assert_eq!(report["missing"], serde_json::json!(["qemu"]));
    let checks = report["checks"].as_array().unwrap();
    let fix = |name: &str| {
        let check = checks.iter().find(|check| check["name"] == name).unwrap();
        check["fix"].as_str().unwrap_or_default().to_owned()
    };
    assert!(fix("qemu").contains("install"));
    assert!(fix("vmm").contains("--vmm"));
    bylaw(&["doctor", "--need", "typo"]).assert().code(2);

    let vmm = Vmm::start();
    let report = vmm.json(&["doctor", "--need", "vmm"]);
    assert_eq!(report["ready"], true);
}
