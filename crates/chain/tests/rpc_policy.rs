//! Decisions on a real chain, and every way an endpoint can mislead.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::signers::local::PrivateKeySigner;
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bylaw_chain::contracts::Owner;
use bylaw_chain::{Decision, Doubt, Finality, PolicySource, RpcConfig, RpcPolicy};
use bylaw_types::clock::Clock;
use bylaw_types::{
    AppId, BootInfo, ChainId, ComposeHash, ContractAddress, DeviceId, InstanceId, MrAggregated,
    MrSystem, OsImageHash, TcbStatus, TeeVariant,
};
use serde_json::{Value, json};

const OWNER: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
/// Selector of `isAppAllowed`.
const IS_APP_ALLOWED: &str = "0x1e079198";
const CHAIN: ChainId = ChainId(31337);

struct Anvil {
    child: Child,
    url: String,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn anvil_program() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let local = here
        .ancestors()
        .map(|up| up.join("node_modules/.bin/anvil"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|directory| directory.join("anvil"));
    local
        .chain(installed)
        .find(|candidate| candidate.is_file())
        .expect("anvil not found: run script/setup first")
}

impl Anvil {
    async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = Command::new(anvil_program())
            .args(["--silent", "--block-time", "1", "--slots-in-an-epoch", "1"])
            .args(["--port", &port.to_string()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
        }
    }
}

/// How a proxy misleads.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Lie {
    Nothing,
    ChainId,
    OldHead,
    Stall,
    Garbage,
    ServerError,
    BlockHash,
    BlockField,
    Answer,
}

#[derive(Clone)]
struct Proxy {
    upstream: String,
    client: Arc<reqwest::Client>,
    lie: Arc<Mutex<Lie>>,
}

async fn proxy(upstream: &str, lie: Lie) -> String {
    let tls = rustls::ClientConfig::builder_with_provider(
        rustls::crypto::ring::default_provider().into(),
    )
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(rustls::RootCertStore::empty())
    .with_no_client_auth();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .build()
        .unwrap();
    let state = Proxy {
        upstream: upstream.to_owned(),
        client: Arc::new(client),
        lie: Arc::new(Mutex::new(lie)),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(forward)).with_state(state);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn forward(State(proxy): State<Proxy>, body: String) -> (axum::http::StatusCode, String) {
    let lie = *proxy.lie.lock().unwrap();
    let mut request: Value = serde_json::from_str(&body).unwrap();
    let method = request["method"].as_str().unwrap().to_owned();
    match lie {
        Lie::Stall => tokio::time::sleep(Duration::from_secs(60)).await,
        Lie::Garbage => return (axum::http::StatusCode::OK, "<html>".into()),
        Lie::ServerError => {
            return (axum::http::StatusCode::INTERNAL_SERVER_ERROR, "{}".into());
        }
        Lie::OldHead if method == "eth_getBlockByNumber" => {
            request["params"][0] = json!("0x1");
        }
        _ => {}
    }
    let answer = proxy
        .client
        .post(&proxy.upstream)
        .body(request.to_string())
        .header("content-type", "application/json")
        .send()
        .await
        .unwrap();
    let mut answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let result = &mut answer["result"];
    match (lie, method.as_str()) {
        (Lie::ChainId, "eth_chainId") => *result = json!("0x1"),
        (Lie::BlockHash, "eth_getBlockByNumber") => {
            result["hash"] = json!(format!("0x{}", "11".repeat(32)));
        }
        (Lie::BlockField, "eth_getBlockByNumber") => {
            result["stateRoot"] = json!(format!("0x{}", "11".repeat(32)));
        }
        (Lie::Answer, "eth_call") if request["params"][0].to_string().contains(IS_APP_ALLOWED) => {
            // `(true, "")`
            let words = [
                format!("{:064x}", 1),
                format!("{:064x}", 64),
                format!("{:064x}", 0),
            ];
            *result = json!(format!("0x{}", words.concat()));
        }
        _ => {}
    }
    (axum::http::StatusCode::OK, answer.to_string())
}

fn config(urls: &[&str], agreement: usize, kms_auth: ContractAddress) -> RpcConfig {
    RpcConfig {
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        agreement,
        chain_id: CHAIN,
        kms_auth,
        finality: Finality::Finalized,
        max_head_age: Duration::from_secs(60),
        timeout: Duration::from_secs(2),
    }
}

fn policy(urls: &[&str], agreement: usize, kms_auth: ContractAddress) -> RpcPolicy {
    RpcPolicy::new(config(urls, agreement, kms_auth), Clock::system()).unwrap()
}

struct System {
    anvil: Anvil,
    owner: Owner,
    kms_auth: ContractAddress,
    app: AppId,
}

const COMPOSE: ComposeHash = ComposeHash::new([5; 32]);
const IMAGE: OsImageHash = OsImageHash::new([6; 32]);

fn boot_info(app_id: AppId) -> BootInfo {
    BootInfo {
        tee_variant: TeeVariant::Tdx,
        mr_aggregated: MrAggregated::new([1; 32]),
        os_image_hash: IMAGE,
        mr_system: MrSystem::new([2; 32]),
        app_id,
        compose_hash: COMPOSE,
        instance_id: Some(InstanceId::new([3; 20])),
        device_id: DeviceId::new([4; 32]),
        key_provider_info: vec![],
        tcb_status: TcbStatus::UpToDate,
        advisory_ids: vec!["INTEL-SA-1".into()],
    }
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(4200)).await;
}

async fn system() -> System {
    let anvil = Anvil::start().await;
    let owner = Owner::new(&anvil.url, OWNER.parse::<PrivateKeySigner>().unwrap()).unwrap();
    let kms_auth = owner.deploy_kms_auth().await.unwrap();
    let app = owner
        .create_app(&kms_auth, Some(&COMPOSE), None, false)
        .await
        .unwrap();
    owner.set_os_image(&kms_auth, &IMAGE, true).await.unwrap();
    settle().await;
    System {
        anvil,
        owner,
        kms_auth,
        app,
    }
}

async fn denial(policy: &RpcPolicy, info: BootInfo) -> String {
    match policy.decide_app(info).await.unwrap() {
        Decision::Deny(denial) => denial.to_string(),
        Decision::Allow(_) => panic!("allowed"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_decides_and_says_why() {
    let System {
        anvil,
        owner,
        kms_auth,
        app,
    } = system().await;
    let policy = policy(&[&anvil.url], 1, kms_auth);
    let Decision::Allow(allowance) = policy.decide_app(boot_info(app)).await.unwrap() else {
        panic!("denied");
    };
    assert_eq!(allowance.boot_info(), &boot_info(app));
    assert!(allowance.block().number > 0);

    let other = ComposeHash::new([9; 32]);
    let text = denial(
        &policy,
        BootInfo {
            compose_hash: other,
            ..boot_info(app)
        },
    )
    .await;
    assert!(
        text.contains("Compose hash not allowed") && text.contains(&other.to_string()),
        "{text}"
    );
    let text = denial(&policy, boot_info(AppId::new([9; 20]))).await;
    assert!(text.contains("App not registered"), "{text}");
    let image = OsImageHash::new([9; 32]);
    let text = denial(
        &policy,
        BootInfo {
            os_image_hash: image,
            ..boot_info(app)
        },
    )
    .await;
    assert!(text.contains("OS image is not allowed"), "{text}");

    let decision = policy.decide_kms(boot_info(app)).await.unwrap();
    assert!(
        matches!(decision, Decision::Deny(denial) if denial.reason == "Aggregated MR not allowed")
    );
    owner
        .allow_kms(
            &kms_auth,
            &MrAggregated::new([1; 32]),
            &DeviceId::new([4; 32]),
        )
        .await
        .unwrap();
    owner.set_compose_hash(&app, &COMPOSE, false).await.unwrap();
    settle().await;
    assert!(matches!(
        policy.decide_kms(boot_info(app)).await.unwrap(),
        Decision::Allow(_)
    ));
    assert!(
        denial(&policy, boot_info(app))
            .await
            .contains("Compose hash not allowed")
    );

    let settings = policy.app_settings(&boot_info(app)).await.unwrap();
    let rules = settings.rules.unwrap();
    assert!(settings.registered && settings.os_image_allowed && !rules.compose_allowed);
    assert_eq!(rules.owner, owner.address());
    assert!(policy.is_registered(&app).await.unwrap().0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_lie_of_a_single_endpoint_denies_and_is_named() {
    let System {
        anvil,
        kms_auth,
        app,
        ..
    } = system().await;
    let ask = async |lie: Lie| {
        let url = proxy(&anvil.url, lie).await;
        policy(&[&url], 1, kms_auth)
            .decide_app(boot_info(app))
            .await
    };
    assert!(matches!(ask(Lie::Nothing).await, Ok(Decision::Allow(_))));
    let wrong = ask(Lie::ChainId).await.unwrap_err();
    assert!(
        matches!(
            wrong,
            Doubt::WrongChainId {
                actual: ChainId(1),
                ..
            }
        ),
        "{wrong:?}"
    );
    let stalled = ask(Lie::Stall).await.unwrap_err();
    assert!(
        matches!(stalled, Doubt::Timeout { .. } | Doubt::Unreachable { .. }),
        "{stalled:?}"
    );
    for lie in [Lie::Garbage, Lie::ServerError] {
        let doubt = ask(lie).await.unwrap_err();
        assert!(
            matches!(doubt, Doubt::Unreachable { .. }),
            "{lie:?}: {doubt:?}"
        );
    }
    for lie in [Lie::BlockHash, Lie::BlockField] {
        let doubt = ask(lie).await.unwrap_err();
        assert!(
            matches!(doubt, Doubt::MalformedAnswer { .. }),
            "{lie:?}: {doubt:?}"
        );
    }
    let dead = policy(&["http://127.0.0.1:1"], 1, kms_auth);
    let doubt = dead.decide_app(boot_info(app)).await.unwrap_err();
    assert!(matches!(doubt, Doubt::Unreachable { .. }), "{doubt:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_and_future_blocks_deny() {
    let System {
        anvil,
        kms_auth,
        app,
        ..
    } = system().await;
    let now = Clock::system().now_unix();
    let at = |now| RpcPolicy::new(config(&[&anvil.url], 1, kms_auth), Clock::fixed(now)).unwrap();
    let late = at(now + 3600).decide_app(boot_info(app)).await.unwrap_err();
    assert!(
        matches!(late, Doubt::HeadTooOld { max: 60, .. }),
        "{late:?}"
    );
    let early = at(now - 3600).decide_app(boot_info(app)).await.unwrap_err();
    assert!(matches!(early, Doubt::HeadInFuture { .. }), "{early:?}");

    // An endpoint that keeps showing an old block: by its age.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let url = proxy(&anvil.url, Lie::OldHead).await;
    let mut short = config(&[&url], 1, kms_auth);
    short.max_head_age = Duration::from_secs(4);
    let stale = RpcPolicy::new(short, Clock::system()).unwrap();
    let doubt = stale.decide_app(boot_info(app)).await.unwrap_err();
    assert!(matches!(doubt, Doubt::HeadTooOld { .. }), "{doubt:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_liar_among_peers_is_outvoted_or_denies() {
    let System {
        anvil,
        kms_auth,
        app,
        ..
    } = system().await;
    let denied = BootInfo {
        compose_hash: ComposeHash::new([9; 32]),
        ..boot_info(app)
    };
    let honest = anvil.url.as_str();
    let liar = proxy(honest, Lie::Answer).await;
    // Alone it is believed: one endpoint is one endpoint.
    let alone = policy(&[&liar], 1, kms_auth);
    assert!(matches!(
        alone.decide_app(denied.clone()).await,
        Ok(Decision::Allow(_))
    ));
    // With one honest peer the two disagree; with two it is outvoted.
    let doubt = policy(&[&liar, honest], 2, kms_auth)
        .decide_app(denied.clone())
        .await
        .unwrap_err();
    assert!(
        matches!(
            doubt,
            Doubt::Disagreement {
                agreeing: 1,
                needed: 2,
                ..
            }
        ),
        "{doubt:?}"
    );
    let three = policy(&[&liar, honest, honest], 2, kms_auth);
    assert!(
        denial(&three, denied)
            .await
            .contains("Compose hash not allowed")
    );
    // One dead or stalling of three does not stop the others.
    for lie in [Lie::Stall, Lie::ChainId, Lie::BlockHash] {
        let bad = proxy(honest, lie).await;
        let policy = policy(&[&bad, honest, honest], 2, kms_auth);
        assert!(
            matches!(
                policy.decide_app(boot_info(app)).await,
                Ok(Decision::Allow(_))
            ),
            "{lie:?}"
        );
    }
    let bad = proxy(honest, Lie::ChainId).await;
    let doubt = policy(&[&bad, honest], 2, kms_auth)
        .decide_app(boot_info(app))
        .await
        .unwrap_err();
    assert!(
        matches!(
            doubt,
            Doubt::TooFew {
                answering: 1,
                needed: 2,
                ..
            }
        ),
        "{doubt:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn other_doubts() {
    let System {
        anvil,
        app,
        kms_auth,
        ..
    } = system().await;
    let nowhere = policy(&[&anvil.url], 1, ContractAddress::new([0x77; 20]));
    let doubt = nowhere.decide_app(boot_info(app)).await.unwrap_err();
    assert!(matches!(doubt, Doubt::NoContract(_)), "{doubt:?}");
    // Another contract than KmsAuth reverts.
    let wrong = policy(&[&anvil.url], 1, ContractAddress::new(app.to_bytes()));
    let doubt = wrong.kms_settings().await.unwrap_err();
    assert!(matches!(doubt, Doubt::Reverted(_)), "{doubt:?}");
    let mut shallow = config(&[&anvil.url], 1, kms_auth);
    shallow.finality = Finality::Confirmations(1);
    let shallow = RpcPolicy::new(shallow, Clock::system()).unwrap();
    assert!(matches!(
        shallow.decide_app(boot_info(app)).await,
        Ok(Decision::Allow(_))
    ));
    assert!(RpcPolicy::new(config(&[&anvil.url], 2, kms_auth), Clock::system()).is_err());
    assert!(RpcPolicy::new(config(&["nonsense"], 1, kms_auth), Clock::system()).is_err());
}
