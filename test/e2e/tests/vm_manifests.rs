//! What an app-compose.json can choose, in virtual machines: where keys come from, scripts
//! in place of containers, swap, a true clock.
//!
//! Most of it shows before the container engine is up, so few of these VMs boot to the end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use bylaw_e2e::governance::cli_command;
use bylaw_e2e::host::{image, page};
use bylaw_e2e::{App, Host, TimeServer, World, program};
use bylaw_rpc::Empty;
use bylaw_rpc::message::guest_api::Id;
use bylaw_rpc::message::vmm::{ResizeVmRequest, UpdateVmRequest, VmInfo};
use bylaw_types::AppId;
use bylaw_types::clock::Clock;
use serde_json::{Value, json};

/// Runs with the disk there and no container engine: serves on port 80 what it finds.
const FIRST_SCRIPT: &str = r#"
W=/run/www
mkdir -p $W
test ! -S /run/docker.sock
echo start >> /dstack/persistent/starts
cp /dstack/persistent/starts /proc/swaps /proc/mounts $W
date +%s > $W/now
curl -sSf --unix-socket /run/dstack.sock --json '{"path":"a","purpose":"b"}' -o /run/key \
    http://dstack/GetKey
jq -er .key /run/key > /run/key.hex
sha256sum < /run/key.hex > $W/key
"#;
/// In the same shell as the first.
const SECOND_SCRIPT: &str = "echo init > $W/steps; busybox httpd -p 80 -h $W";

/// A manifest that needs no container image, with `more` in it.
fn manifest(name: &str, key_provider: &str, more: Value) -> String {
    let mut manifest = json!({
        "manifest_version": "3",
        "name": name,
        "runner": "bash",
        "bash_script": "echo main $FROM_PRE_LAUNCH >> /run/www/steps\n",
        "init_script": [FIRST_SCRIPT, SECOND_SCRIPT],
        "key_provider": key_provider,
        "secure_time": false,
    });
    let all = manifest.as_object_mut().unwrap();
    all.extend(more.as_object().unwrap().clone());
    manifest.to_string()
}

/// An app that no contract knows: its id is its manifest's.
fn unregistered(compose: String) -> App {
    let hash = bylaw_types::compose::compose_hash(compose.as_bytes());
    App {
        id: AppId::from_compose_hash(&hash),
        compose,
    }
}

/// Waits until the init scripts have run; what they served of the disk's starts.
async fn initialised(host: &Host, id: &str, port: u16) -> String {
    let over = |info: &VmInfo| {
        !info.boot_error.is_empty()
            || [
                "setting up docker",
                "pre-launch",
                "running main script",
                "done",
            ]
            .contains(&info.boot_progress.as_str())
    };
    let info = host.wait(id, "initialised", over).await.unwrap();
    assert_eq!(info.boot_error, "", "{}", host.console(id));
    page(port, "/starts").await.unwrap()
}

/// Starts a VM that must not open its disk; waits until it is off again.
async fn does_not_open(host: &Host, id: &str) {
    host.order("StartVm", id).await.unwrap();
    let refusal = host.refused(id).await.unwrap();
    assert!(
        refusal.contains("does not open with this app's key"),
        "{refusal}"
    );
    stopped(host, id).await;
}

/// Waits until a VM that gave up has switched itself off.
async fn stopped(host: &Host, id: &str) {
    host.wait(id, "stopped", |info| info.status == "stopped")
        .await
        .unwrap();
}

async fn resize_image(host: &Host, id: &str, image: &str) {
    let request = ResizeVmRequest {
        id: id.to_owned(),
        image: Some(image.to_owned()),
        ..ResizeVmRequest::default()
    };
    let _: Empty = host.call("ResizeVm", &request).await.unwrap();
}

async fn update_compose(host: &Host, id: &str, compose: &str) {
    let request = UpdateVmRequest {
        id: id.to_owned(),
        compose_file: compose.to_owned(),
        ..UpdateVmRequest::default()
    };
    let _: Id = host.call("UpdateVm", &request).await.unwrap();
}

/// The same image with one more word on its measured command line.
fn write_altered_image(to: &Path) {
    let from = image().unwrap();
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(&from).unwrap() {
        let name = entry.unwrap().file_name();
        std::fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
    let text = std::fs::read(from.join("metadata.json")).unwrap();
    let mut metadata: Value = serde_json::from_slice(&text).unwrap();
    let cmdline = format!("{} altered=1", metadata["cmdline"].as_str().unwrap());
    metadata["cmdline"] = cmdline.into();
    bylaw_types::file::write_atomic(&to.join("metadata.json"), metadata.to_string().as_bytes())
        .unwrap();
    let measured = Command::new(program("bylaw").unwrap())
        .args(["image", "measure"])
        .arg(to)
        .output()
        .unwrap();
    assert!(measured.status.success(), "{measured:?}");
    let digest = |image: &Path| std::fs::read_to_string(image.join("digest.txt")).unwrap();
    assert_ne!(digest(to), digest(&from));
}

/// What `bylaw ARGUMENTS` prints about the VMs of `host`.
fn cli(world: &World, host: &Host, arguments: &[&str]) -> String {
    let output = cli_command(world, None)
        .unwrap()
        .args(arguments)
        .args(["--vmm", &host.url])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Keys of the machine's enclave open the disk for what was measured and for nothing else;
/// without an enclave the operator reads what to start. Scripts and swap on the way.
async fn keys_of_the_machine(world: &World, host: &Host) {
    let more = json!({
        "pre_launch_script": "test -S /run/docker.sock; export FROM_PRE_LAUNCH=after-pre-launch",
        "swap_size": "64M",
    });
    let app = unregistered(manifest("sealed", "local", more));
    let (configuration, port) = host.configuration("sealed", &app).unwrap();

    // Nobody has started the key provider.
    let id = host.create(&configuration).await.unwrap();
    let refusal = host.refused(&id).await.unwrap();
    assert!(refusal.contains("start bylaw-key-provider"), "{refusal}");
    let seen = cli(world, host, &["ps", "sealed"]);
    assert!(seen.contains("start bylaw-key-provider"), "{seen}");
    let seen = cli(world, host, &["logs", &id]);
    assert!(seen.contains("start bylaw-key-provider"), "{seen}");
    stopped(host, &id).await;

    let provider = host.start_key_provider(world).unwrap();
    host.order("StartVm", &id).await.unwrap();
    let first = host.booted(&id).await.unwrap();
    assert_eq!(page(port, "/starts").await.unwrap(), "start\n");
    let steps = page(port, "/steps").await.unwrap();
    assert_eq!(steps, "init\nmain after-pre-launch\n");
    let swaps = page(port, "/swaps").await.unwrap();
    assert!(swaps.contains("/dstack/persistent/.swap"), "{swaps}");
    assert!(swaps.contains("65532"), "{swaps}");
    let mounts = page(port, "/mounts").await.unwrap();
    assert!(mounts.contains("/dev/mapper/data /dstack/persistent ext4"));
    let key = page(port, "/key").await.unwrap();
    host.shut_down(&id).await.unwrap();

    // The same VM, with the same disk, of another image and of another manifest.
    write_altered_image(&host.image_path("altered"));
    resize_image(host, &id, "altered").await;
    does_not_open(host, &id).await;
    resize_image(host, &id, "bylaw").await;
    update_compose(host, &id, &app.compose.replace("64M", "65M")).await;
    does_not_open(host, &id).await;
    update_compose(host, &id, &app.compose).await;

    // As it was: another process of the same enclave gives the same keys.
    drop(provider);
    let _provider = host.start_key_provider(world).unwrap();
    host.order("StartVm", &id).await.unwrap();
    assert_eq!(initialised(host, &id, port).await, "start\nstart\n");
    assert_eq!(page(port, "/key").await.unwrap(), key);
    let second = host.info(&id).await.unwrap();
    assert_eq!(second.instance_id, first.instance_id);
    host.order("RemoveVm", &id).await.unwrap();
}

/// Without a key provider each boot is another instance with other keys and an empty disk.
async fn keys_of_nobody(host: &Host) {
    let app = unregistered(manifest("ephemeral", "none", json!({})));
    let (mut configuration, port) = host.configuration("ephemeral", &app).unwrap();
    configuration.stopped = true;
    let id = host.create(&configuration).await.unwrap();
    let mut boots = Vec::new();
    for _ in 0..2 {
        host.order("StartVm", &id).await.unwrap();
        assert_eq!(initialised(host, &id, port).await, "start\n");
        let instance = host.info(&id).await.unwrap().instance_id.unwrap();
        boots.push((instance, page(port, "/key").await.unwrap()));
        host.order("StopVm", &id).await.unwrap();
    }
    assert_ne!(boots[0].0, boots[1].0);
    assert_ne!(boots[0].1, boots[1].1);
    host.order("RemoveVm", &id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_from_the_machine_or_from_nobody() {
    let world = World::start().await.unwrap();
    let qemu = Path::new("qemu-system-x86_64");
    let host = Host::start_with(&world, None, qemu).await.unwrap();
    tokio::join!(keys_of_the_machine(&world, &host), keys_of_nobody(&host));
}

/// A host whose VMs believe that it is an hour earlier.
fn write_lying_qemu(path: &Path) {
    let text = "#!/bin/sh\nexec qemu-system-x86_64 \"$@\" -rtc \
                base=\"$(date -u -d '1 hour ago' +%Y-%m-%dT%H:%M:%S)\"\n";
    bylaw_types::file::write_atomic(path, text.as_bytes()).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// With `secure_time` the servers that the image names say what time it is: not the host's
/// clock, and nobody under another root. Keys come from the first KMS that gives them.
#[tokio::test(flavor = "multi_thread")]
async fn a_secure_clock_is_not_the_hosts() {
    let world = World::start().await.unwrap();
    let kms = world.bootstrapped_kms().await.unwrap();
    let qemu = world.directory().join("lying-qemu");
    write_lying_qemu(&qemu);
    let host = Host::start_with(&world, Some(&kms), &qemu).await.unwrap();
    let time = TimeServer::new(world.directory()).unwrap();
    let timed = host.image_path("timed");
    time.build_image("ours", &timed).unwrap();
    let digest = std::fs::read_to_string(timed.join("digest.txt")).unwrap();
    let hash = digest.trim().parse().unwrap();
    world
        .owner
        .set_os_image(&world.kms_auth, &hash, true)
        .await
        .unwrap();
    let compose = manifest("timed", "kms", json!({"secure_time": true}));
    let app = world.create_app(&compose).await.unwrap();
    world.settle().await.unwrap();

    let (mut configuration, port) = host.configuration("timed", &app).unwrap();
    configuration.image = "timed".to_owned();
    // One that is not there, one that says nothing, and the one that gives keys.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = |port: u16| format!("https://10.0.2.2:{port}");
    configuration.kms_urls = vec![
        url(1),
        url(silent.local_addr().unwrap().port()),
        bylaw_e2e::host::from_inside(&kms.url),
    ];

    let impostor = time.serve("theirs").unwrap();
    let id = host.create(&configuration).await.unwrap();
    let refusal = host.refused(&id).await.unwrap();
    assert!(
        refusal.contains("none of the image's time servers"),
        "{refusal}"
    );
    stopped(&host, &id).await;
    drop(impostor);

    let _server = time.serve("ours").unwrap();
    host.order("StartVm", &id).await.unwrap();
    assert_eq!(initialised(&host, &id, port).await, "start\n");
    let inside: u64 = page(port, "/now").await.unwrap().trim().parse().unwrap();
    let now = Clock::system().now_unix();
    assert!(now.abs_diff(inside) < 300, "{inside}, {now}");
    let console = std::fs::read(host.work_directory(&id).join("serial.log")).unwrap();
    let console = String::from_utf8_lossy(&console);
    for url in &configuration.kms_urls[..2] {
        assert!(console.contains(url), "{url} was not asked:\n{console}");
    }
}
