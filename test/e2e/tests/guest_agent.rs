//! The agent's listeners: what each caller gets, and what no caller can do to it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use bylaw_attest::{Attestation, event_log};
use bylaw_e2e::process::program;
use bylaw_e2e::world::manifest;
use bylaw_e2e::{Agent, AgentOptions, App, Kms, KmsOptions, World};
use bylaw_keys::{Algorithm, verify_data, verify_key_chain};
use bylaw_ratls::RaTlsCert;
use bylaw_rpc::message::guest::*;
use bylaw_rpc::message::guest_api::{GuestInfo, ListContainersResponse, SystemInfo};
use bylaw_rpc::{Client, Empty};
use sha2::{Digest, Sha512};

async fn get(url: &str) -> (u16, String, reqwest::header::HeaderMap) {
    let client = bylaw_chain::http_client(Duration::from_secs(10)).unwrap();
    let answer = client.get(url).send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, answer.text().await.unwrap(), headers)
}

/// Everything the manifest may open to the public.
fn open_manifest(name: &str) -> String {
    manifest(name).replace(
        "\"name\"",
        "\"public_logs\":true,\"public_sysinfo\":true,\"name\"",
    )
}

async fn start(world: &World, compose: &str, options: AgentOptions) -> (App, Agent, Kms) {
    let kms = world.bootstrapped_kms().await.unwrap();
    let app = world.create_app(compose).await.unwrap();
    world.settle().await.unwrap();
    let agent = world.start_agent("app", &app, &kms, options).await.unwrap();
    (app, agent, kms)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_caller_gets_what_is_meant_for_it() {
    let world = World::start().await.unwrap();
    let (app, agent, kms) = start(&world, &open_manifest("app"), AgentOptions::default()).await;
    let root = kms.wait_until_serving().await.unwrap().k256_pubkey;
    let dstack = agent.client().unwrap();
    let info: AppInfo = dstack.call("Info", &Empty {}).await.unwrap();

    // Everybody: identity, version, evidence for the signing key, metrics, a page.
    let worker = Client::new(&agent.external).unwrap().prpc();
    let public: AppInfo = worker.call("Worker.Info", &Empty {}).await.unwrap();
    assert_eq!(public, info, "public_tcbinfo is the default");
    let version: WorkerVersion = worker.call("Version", &Empty {}).await.unwrap();
    assert!(!version.version.is_empty());
    for algorithm in ["ed25519", "secp256k1", "k256"] {
        let request = GetAttestationForAppKeyRequest {
            algorithm: algorithm.into(),
        };
        let evidence: GetQuoteResponse = worker
            .call("GetAttestationForAppKey", &request)
            .await
            .unwrap();
        let signed: SignResponse = dstack
            .call(
                "Sign",
                &SignRequest {
                    algorithm: algorithm.into(),
                    data: b"x".to_vec(),
                },
            )
            .await
            .unwrap();
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&signed.public_key);
        let label = if algorithm == "ed25519" {
            "ed25519-pk"
        } else {
            "secp256k1c-pk"
        };
        let text = format!("dip1::{label}:{encoded}");
        assert!(evidence.report_data.starts_with(text.as_bytes()));
        let quoted = bylaw_attest::tdx::report_data(&evidence.quote).unwrap();
        assert_eq!(quoted.as_bytes()[..], evidence.report_data[..]);
    }
    for refused in ["", "secp256k1_prehashed", "rsa"] {
        let request = GetAttestationForAppKeyRequest {
            algorithm: refused.into(),
        };
        let answer: Result<GetQuoteResponse, _> =
            worker.call("GetAttestationForAppKey", &request).await;
        assert!(
            answer
                .unwrap_err()
                .to_string()
                .contains("Unsupported algorithm")
        );
    }
    let (status, page, headers) = get(&format!("{}/", agent.external)).await;
    assert_eq!(status, 200);
    assert!(page.contains(&app.id.to_string()) && page.contains("Simulated"));
    assert!(!page.contains("<script"));
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'"), "{policy}");
    assert_eq!(headers["x-app-version"], env!("CARGO_PKG_VERSION"));
    let (status, metrics, _) = get(&format!("{}/metrics", agent.external)).await;
    assert_eq!(status, 200);
    assert!(metrics.contains("system_num_cpus"), "{metrics}");
    let (status, text, _) = get(&format!("{}/evidence.json", agent.external)).await;
    assert_eq!(status, 200);
    let file = world.directory().join("evidence.json");
    bylaw_types::file::write_atomic(&file, text.as_bytes()).unwrap();
    let verified = Command::new(program("bylaw").unwrap())
        .arg("verify")
        .arg(&file)
        .args(["--root-ca", world.root_ca.to_str().unwrap()])
        .args(["--collateral", &world.pccs])
        .output()
        .unwrap();
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );

    // The app's keys are not for everybody, on any listener but the app's.
    let host = Client::new(&format!("unix:{}", agent.guest_api.display())).unwrap();
    for method in [
        "GetKey",
        "DstackGuest.GetKey",
        "Sign",
        "GetQuote",
        "GetTlsKey",
        "EmitEvent",
    ] {
        let outside: Result<GetKeyResponse, _> = worker.call(method, &GetKeyArgs::default()).await;
        let error = outside.unwrap_err().to_string();
        assert!(error.contains("Service not found"), "{error}");
        let host: Result<GetKeyResponse, _> = host
            .call(&format!("api/{method}"), &GetKeyArgs::default())
            .await;
        let error = host.unwrap_err().to_string();
        assert!(error.contains("Service not found"), "{error}");
    }

    // The host: who runs, how busy, and how to end it.
    let seen: GuestInfo = host.call("api/Info", &Empty {}).await.unwrap();
    assert_eq!(seen.app_id, info.app_id);
    let system: SystemInfo = host.call("api/SysInfo", &Empty {}).await.unwrap();
    assert!(system.num_cpus > 0 && system.total_memory > 0 && !system.disks.is_empty());
    let none: Result<ListContainersResponse, _> = host.call("api/ListContainers", &Empty {}).await;
    let error = none.unwrap_err().to_string();
    assert!(error.contains("container engine"), "{error}");
    let _: Empty = host.call("api/Shutdown", &Empty {}).await.unwrap();
    let marker = agent.directory().join("shut-down");
    for _ in 0..100 {
        if marker.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(marker.exists(), "the configured command ran");

    // Events: extended, seen at once, replayable; refused when ambiguous or too long.
    let emit = |event: &str, payload: Vec<u8>| {
        let request = EmitEventArgs {
            event: event.to_owned(),
            payload,
        };
        let client = dstack.clone();
        async move { client.call::<_, Empty>("EmitEvent", &request).await }
    };
    emit("app-started", b"v1".to_vec()).await.unwrap();
    let after: AppInfo = dstack.call("Info", &Empty {}).await.unwrap();
    let tcb: serde_json::Value = serde_json::from_str(&after.tcb_info).unwrap();
    let before: serde_json::Value = serde_json::from_str(&info.tcb_info).unwrap();
    assert_ne!(tcb["rtmr3"], before["rtmr3"]);
    assert_ne!(tcb["mr_aggregated"], before["mr_aggregated"]);
    let log = event_log::from_json(&tcb["event_log"].to_string()).unwrap();
    let runtime: Vec<_> = log
        .iter()
        .filter_map(event_log::TdxEvent::to_runtime_event)
        .collect();
    assert_eq!(runtime.last().unwrap().event, "app-started");
    assert_eq!(event_log::replay(&runtime).to_string(), tcb["rtmr3"]);
    assert!(emit("a:b", vec![]).await.is_err());
    assert!(emit("", vec![]).await.is_err());
    assert!(emit("long", vec![0; 65 * 1024]).await.is_err());

    // The GPU tool's output, word for word, once there is any.
    let gpu: GpuInfoResponse = dstack.call("GpuInfo", &Empty {}).await.unwrap();
    assert_eq!(gpu.attestation, "");
    bylaw_types::file::write_atomic(&agent.directory().join("gpu.json"), b"{\"a\": 1}\n").unwrap();
    let gpu: GpuInfoResponse = dstack.call("GpuInfo", &Empty {}).await.unwrap();
    assert_eq!(gpu.attestation, "{\"a\": 1}\n");

    // Signatures lead up to the root that the contract names.
    for (name, algorithm, data) in [
        ("ed25519", Algorithm::Ed25519, b"hello".to_vec()),
        ("secp256k1", Algorithm::Secp256k1, b"hello".to_vec()),
        ("k256", Algorithm::Secp256k1, b"hello".to_vec()),
        (
            "secp256k1_prehashed",
            Algorithm::Secp256k1Prehashed,
            vec![7; 32],
        ),
    ] {
        let request = SignRequest {
            algorithm: name.into(),
            data: data.clone(),
        };
        let signed: SignResponse = dstack.call("Sign", &request).await.unwrap();
        assert!(verify_data(algorithm, &data, &signed.signature, &signed.public_key).unwrap());
        let [own, chain @ ..] = signed.signature_chain.as_slice() else {
            panic!("a chain of three")
        };
        assert_eq!(own, &signed.signature);
        let chain = [&chain[0][..], &chain[1]];
        verify_key_chain(&root, &app.id, "signing", &signed.public_key, chain).unwrap();
        for (data, is_valid) in [(data.clone(), true), (vec![9; 32], false)] {
            let request = VerifyRequest {
                algorithm: name.into(),
                data,
                signature: signed.signature.clone(),
                public_key: signed.public_key.clone(),
            };
            let answer: VerifyResponse = dstack.call("Verify", &request).await.unwrap();
            assert_eq!(answer.valid, is_valid);
        }
    }

    // The legacy socket.
    let tappd = Client::new(&format!("unix:{}", agent.tappd.display()))
        .unwrap()
        .prpc();
    let key = |random_seed| DeriveKeyArgs {
        path: "/a".into(),
        random_seed,
        usage_ra_tls: true,
        ..DeriveKeyArgs::default()
    };
    let derive = async |random| -> GetTlsKeyResponse {
        tappd.call("Tappd.DeriveKey", &key(random)).await.unwrap()
    };
    assert_eq!(derive(false).await.key, derive(false).await.key);
    let random = derive(true).await;
    assert_ne!(random.key, derive(true).await.key);
    let leaf = RaTlsCert::parse(random.certificate_chain[0].as_bytes()).unwrap();
    assert!(leaf.attestation.is_some() && leaf.app_info.is_none());
    let quote: TdxQuoteResponse = tappd
        .call(
            "TdxQuote",
            &TdxQuoteArgs {
                report_data: b"hi".to_vec(),
                ..TdxQuoteArgs::default()
            },
        )
        .await
        .unwrap();
    let quoted = bylaw_attest::tdx::report_data(&quote.quote).unwrap();
    assert_eq!(quoted.as_bytes()[..], Sha512::digest(b"app-data:hi")[..]);
    assert_eq!(quote.hash_algorithm, "sha512");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_manifest_does_not_open_does_not_exist() {
    let world = World::start().await.unwrap();
    let closed = manifest("app").replace("\"name\"", "\"public_tcbinfo\":false,\"name\"");
    let (_, agent, _kms) = start(&world, &closed, AgentOptions::default()).await;
    for path in [
        "/metrics",
        "/logs/app",
        "/evidence.json",
        "/.env",
        "/logs/..%2fx",
    ] {
        assert_eq!(
            get(&format!("{}{path}", agent.external)).await.0,
            404,
            "{path}"
        );
    }
    let worker = Client::new(&agent.external).unwrap().prpc();
    let info: AppInfo = worker.call("Info", &Empty {}).await.unwrap();
    assert_eq!((info.tcb_info.as_str(), info.vm_config.as_str()), ("", ""));
    let (_, page, _) = get(&format!("{}/", agent.external)).await;
    assert!(page.contains("private") && !page.contains("RTMR3"));
    let inside = agent.info().await.unwrap();
    assert!(
        !inside.tcb_info.is_empty(),
        "the app itself sees everything"
    );
}

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
    let (_, page, _) = get(&format!("{}/", agent.external)).await;
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
    let (_, mut agent, _kms) = start(&world, &manifest("app"), AgentOptions::default()).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn evidence_in_every_form_says_the_same() {
    let world = World::start().await.unwrap();
    let (_, agent, _kms) = start(&world, &manifest("app"), AgentOptions::default()).await;
    let dstack = agent.client().unwrap();
    let request = RawQuoteArgs {
        report_data: vec![5; 40],
    };
    let quote: GetQuoteResponse = dstack.call("GetQuote", &request).await.unwrap();
    let attested: AttestResponse = dstack.call("Attest", &request).await.unwrap();
    let evidence = Attestation::decode(&attested.attestation).unwrap();
    assert_eq!(quote.report_data[..40], [5; 40]);
    assert_eq!(quote.report_data[40..], [0; 24]);
    assert_eq!(quote.report_data, evidence.stack.report_data.as_bytes());
    assert!(quote.attestation.is_empty());
    let log = event_log::from_json(&quote.event_log).unwrap();
    let runtime: Vec<_> = log
        .iter()
        .filter_map(event_log::TdxEvent::to_runtime_event)
        .collect();
    assert_eq!(runtime, evidence.stack.runtime_events);
    assert!(
        log.iter().all(|event| event.digest.len() == 48),
        "no digest is left out"
    );
    let long = RawQuoteArgs {
        report_data: vec![0; 65],
    };
    let error = dstack
        .call::<_, GetQuoteResponse>("GetQuote", &long)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("Report data is too long"));
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
