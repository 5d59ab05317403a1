//! The agent's listeners: what each caller gets, and what no caller can do to it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;
use std::time::Duration;

use bylaw_attest::{Attestation, event_log};
use bylaw_e2e::process::program;
use bylaw_e2e::world::manifest;
use bylaw_e2e::{Agent, AgentOptions, App, Kms, World};
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
