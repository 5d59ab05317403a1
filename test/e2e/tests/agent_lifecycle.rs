//! An agent over time: restarts, a KMS that goes away, systemd, and variables that
//! arrive encrypted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use bylaw_e2e::process::program;
use bylaw_e2e::world::manifest;
use bylaw_e2e::{Agent, AgentOptions, App, KmsOptions, World};
use bylaw_ratls::RaTlsCert;
use bylaw_rpc::message::guest::{GetTlsKeyArgs, GetTlsKeyResponse, WorkerVersion};
use bylaw_rpc::{Client, Empty};

#[tokio::test(flavor = "multi_thread")]
async fn keys_survive_a_restart_and_certificates_a_kms() {
    let world = World::start().await.unwrap();
    let mut first = world.bootstrapped_kms().await.unwrap();
    let second = world
        .start_kms("kms-2", KmsOptions::default())
        .await
        .unwrap();
    second.attestation_info().await.unwrap();
    world.allow_kms(&second).await.unwrap();
    world.settle().await.unwrap();
    let request = bylaw_rpc::message::kms::OnboardRequest {
        source_url: first.url.clone(),
        domain: "localhost".into(),
    };
    let _: bylaw_rpc::message::kms::OnboardResponse =
        second.onboard_call("Onboard", &request).await.unwrap();
    second.finish().await.unwrap();
    second.wait_until_serving().await.unwrap();

    let app = world.create_app(&manifest("app")).await.unwrap();
    world.settle().await.unwrap();
    let options = AgentOptions {
        keeps_keys: true,
        kms_urls: Some(vec![first.url.clone(), second.url.clone()]),
        ..AgentOptions::default()
    };
    let mut agent = world
        .start_agent("app", &app, &first, options)
        .await
        .unwrap();
    let before = agent.key("wallet").await.unwrap();
    let tls = async |agent: &Agent| -> GetTlsKeyResponse {
        let request = GetTlsKeyArgs::default();
        agent
            .client()
            .unwrap()
            .call("GetTlsKey", &request)
            .await
            .unwrap()
    };
    let chain = tls(&agent).await.certificate_chain;

    // The node that gave the keys is gone: the other signs, under the same root.
    first.kill();
    let later = tls(&agent).await.certificate_chain;
    let root_key = |chain: &[String]| {
        let root = chain.last().unwrap();
        RaTlsCert::parse(root.as_bytes()).unwrap().spki_der
    };
    assert_eq!(root_key(&chain), root_key(&later), "the same root");
    let client = bylaw_chain::http_client(Duration::from_secs(10)).unwrap();
    let page = client.get(&agent.external).send().await.unwrap();
    let page = page.text().await.unwrap();
    assert!(page.contains(&second.url), "the page names who answered");

    // An agent that is killed goes on with its keys, without a handshake.
    agent.kill();
    agent.start().unwrap();
    let after = agent.key("wallet").await.unwrap();
    assert_eq!(before, after);
    let again = tls(&agent).await.certificate_chain;
    assert_eq!(root_key(&chain), root_key(&again));
    use std::os::unix::fs::PermissionsExt;
    let kept = agent.directory().join("appkeys.json");
    let mode = std::fs::metadata(&kept).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // What was measured at this boot cannot be measured otherwise: other keys need a reboot.
    agent.kill();
    let foreign = include_bytes!("../../vectors/simulator/appkeys.json");
    bylaw_types::file::write_private(&kept, foreign).unwrap();
    let error = format!("{:#}", agent.start().unwrap_err());
    assert!(error.contains("key-provider was measured"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_without_a_kms_keeps_its_keys_for_this_boot() {
    let world = World::start().await.unwrap();
    let kms = world.bootstrapped_kms().await.unwrap();
    let compose = manifest("app").replace("\"key_provider\":\"kms\"", "\"key_provider\":\"none\"");
    let app = world.create_app(&compose).await.unwrap();
    let options = AgentOptions {
        keeps_keys: true,
        ..AgentOptions::default()
    };
    let mut agent = world.start_agent("app", &app, &kms, options).await.unwrap();
    let before = agent.key("wallet").await.unwrap();
    assert_eq!(before.signature_chain[1], b"", "no root vouches for it");
    let request = GetTlsKeyArgs {
        with_app_info: true,
        usage_ra_tls: true,
        ..GetTlsKeyArgs::default()
    };
    let tls: GetTlsKeyResponse = agent
        .client()
        .unwrap()
        .call("GetTlsKey", &request)
        .await
        .unwrap();
    let leaf = RaTlsCert::parse(tls.certificate_chain[0].as_bytes()).unwrap();
    assert!(leaf.trust_anchors.is_some() && leaf.app_id.is_none());
    assert_eq!(leaf.app_info.unwrap().app_id, app.id);
    agent.kill();
    agent.start().unwrap();
    assert_eq!(agent.key("wallet").await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_may_pass_the_sockets_and_watch() {
    let world = World::start().await.unwrap();
    let kms = world.bootstrapped_kms().await.unwrap();
    let app = world.create_app(&manifest("app")).await.unwrap();
    world.settle().await.unwrap();
    let mut agent = world
        .start_agent("app", &app, &kms, AgentOptions::default())
        .await
        .unwrap();
    agent.kill();
    let dir = world.directory();
    let (dstack, tappd) = (
        dir.join("passed-dstack.sock"),
        dir.join("passed-tappd.sock"),
    );
    let listeners = [
        UnixListener::bind(&dstack).unwrap(),
        UnixListener::bind(&tappd).unwrap(),
    ];
    let notify = std::os::unix::net::UnixDatagram::bind(dir.join("notify.sock")).unwrap();
    notify
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();

    // A shell moves the sockets to where systemd passes them: descriptors 3 and 4.
    let mut command = Command::new("bash");
    let [first, second] = listeners.each_ref().map(std::os::fd::AsRawFd::as_raw_fd);
    for listener in &listeners {
        rustix::io::fcntl_setfd(listener, rustix::io::FdFlags::empty()).unwrap();
    }
    let moves =
        format!("exec 8<&{first} 9<&{second} 3<&8 4<&9 8<&- 9<&-; LISTEN_PID=$$ exec \"$@\"");
    command
        .args(["-c", &moves, "bash"])
        .arg(program("bylaw-agent").unwrap())
        .arg("--config")
        .arg(agent.config_file())
        .env("LISTEN_FDS", "2")
        .env("NOTIFY_SOCKET", dir.join("notify.sock"))
        .env("WATCHDOG_USEC", "400000")
        .process_group(0);
    let mut child = command.spawn().unwrap();
    let mut buffer = [0; 256];
    let mut heard = String::new();
    while !(heard.contains("READY=1") && heard.matches("WATCHDOG=1").count() >= 3) {
        let length = notify.recv(&mut buffer).unwrap();
        heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    for (path, prefix) in [(&dstack, ""), (&tappd, "prpc/Tappd.")] {
        let client = Client::new(&format!("unix:{}", path.display())).unwrap();
        let version: WorkerVersion = client
            .call(&format!("{prefix}Version"), &Empty {})
            .await
            .unwrap();
        assert!(!version.version.is_empty());
    }

    // An agent that hangs is not kept alive: stopped, it says nothing more.
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::STOP).unwrap();
    notify
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    while notify.recv(&mut buffer).is_ok() {}
    rustix::process::kill_process(process, rustix::process::Signal::CONT).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success(), "SIGTERM ends it cleanly");
    assert!(dstack.exists(), "a socket of systemd's is not removed");
}

/// Anybody's host could replace what it delivers; only a signer's file is opened.
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_environment_arrives_and_nothing_else_does() {
    let world = World::start().await.unwrap();
    let kms = world.bootstrapped_kms().await.unwrap();
    // The first two accounts of every development chain: the owner, and a stranger.
    let owner = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
    let owner_key = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    let stranger_key = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
    let rules = format!(
        r#""allowed_envs":["TOKEN","URL"],"encrypted_env":{{"versions":[2],"signers":["{owner}"],"min_revision":2}},"name""#
    );
    let compose = manifest("app").replace("\"name\"", &rules);
    let app = world.create_app(&compose).await.unwrap();
    let other = world.create_app(&compose).await.unwrap();
    world.settle().await.unwrap();
    let dir = world.directory();
    let manifest_file = dir.join("manifest.json");
    bylaw_types::file::write_atomic(&manifest_file, compose.as_bytes()).unwrap();
    let plain = dir.join("plain.env");
    bylaw_types::file::write_private(&plain, b"# comment\nTOKEN='a $b c'\nURL=x=y\n").unwrap();

    let encrypt = |app: &App, key: &str, more: &[&str]| -> Result<Vec<u8>, String> {
        let sealed = dir.join("sealed");
        let output = Command::new(program("bylaw").unwrap())
            .args(["env", "encrypt", &format!("0x{}", app.id)])
            .arg(&plain)
            .args(["--kms", &kms.url, "--output"])
            .arg(&sealed)
            .args(["--rpc-url", &world.rpc_url])
            .args(["--kms-contract", &format!("0x{}", world.kms_auth)])
            .args(more)
            .env("PRIVATE_KEY", key)
            .output()
            .unwrap();
        if output.status.success() {
            return Ok(std::fs::read(sealed).unwrap());
        }
        let code = output.status.code().unwrap_or_default();
        Err(format!(
            "{code}: {}",
            String::from_utf8_lossy(&output.stderr)
        ))
    };
    let compose_path = manifest_file.to_str().unwrap();

    // What the guest would refuse is refused before it is sent.
    let early = ["--revision", "3", "--compose", compose_path];
    let error = encrypt(&app, stranger_key, &early).unwrap_err();
    assert!(
        error.starts_with("3: ") && error.contains("not a signer"),
        "{error}"
    );
    let error = encrypt(&app, owner_key, &["--anonymous", "--compose", compose_path]).unwrap_err();
    assert!(error.contains("does not accept version 1"), "{error}");

    let start = async |sealed: Vec<u8>| -> Result<Agent, String> {
        // Each start is another launch of the same VM; its disk remembers the revision.
        let _ = world.stop("app").await;
        let options = AgentOptions {
            encrypted_env: Some(sealed),
            ..AgentOptions::default()
        };
        let agent = world.start_agent("app", &app, &kms, options).await;
        agent.map_err(|error| format!("{error:#}"))
    };
    let third = encrypt(&app, owner_key, &early).unwrap();
    let agent = start(third.clone()).await.unwrap();
    let variables = std::fs::read_to_string(agent.directory().join("env.json")).unwrap();
    assert_eq!(variables, r#"{"TOKEN":"a $b c","URL":"x=y"}"#);
    assert!(!agent.log_text().contains("a $b c"), "no value in the log");
    drop(agent);

    let second = encrypt(&app, owner_key, &["--revision", "2"]).unwrap();
    let first = encrypt(&app, owner_key, &["--revision", "1"]).unwrap();
    let foreign = encrypt(&app, stranger_key, &["--revision", "9"]).unwrap();
    let elsewhere = encrypt(&other, owner_key, &["--revision", "9"]).unwrap();
    let anonymous = encrypt(&app, owner_key, &["--anonymous"]).unwrap();
    let mut changed = third.clone();
    *changed.last_mut().unwrap() ^= 1;
    for (name, sealed, why) in [
        ("an older one", second, "older than 3"),
        ("one below the manifest's least", first, "older than 3"),
        ("a stranger's", foreign, "not by a signer"),
        ("another app's", elsewhere, "not by a signer"),
        ("an anonymous one", anonymous, "version 1"),
        ("a changed one", changed, "not by a signer"),
        ("half of one", third[..60].to_vec(), "too short"),
    ] {
        let error = start(sealed).await.unwrap_err();
        assert!(error.contains(why), "{name}: {error}");
    }
    assert!(start(third).await.is_ok(), "the right one still opens");
}
