//! A real chain that every test shares, and proxies before it that mislead.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use alloy::primitives::{Address, Bytes, hex};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{SolCall, SolValue};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bylaw_chain::contracts::Owner;
use bylaw_chain::{
    Allowance, Decision, Denial, Doubt, Finality, KmsInfo, PolicySource, RpcConfig, RpcPolicy,
};
use bylaw_types::clock::Clock;
use bylaw_types::{
    AppId, BootInfo, ChainId, ComposeHash, ContractAddress, DeviceId, InstanceId, MrAggregated,
    MrSystem, OsImageHash, PlatformFacts, TcbStatus, TeeVariant,
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

alloy::sol! {
    function registerApp(address app);
    function setGatewayAppId(string appId);
}

/// anvil's accounts; public, worth nothing. Tests run at once, so each that sends
/// transactions has its own: two would race for nonces.
pub(crate) const KMS_OWNER: &str =
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
pub(crate) const ACCOUNT_1: &str =
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
pub(crate) const ACCOUNT_2: &str =
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a";
pub(crate) const ACCOUNT_3: &str =
    "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6";
pub(crate) const ACCOUNT_4: &str =
    "47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a";

pub(crate) const ACCOUNT_5: &str =
    "8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba";

pub(crate) const CHAIN_ID: ChainId = ChainId(31337);
pub(crate) const COMPOSE: ComposeHash = ComposeHash::new([5; 32]);
pub(crate) const IMAGE: OsImageHash = OsImageHash::new([6; 32]);
pub(crate) const DEVICE: DeviceId = DeviceId::new([4; 32]);
pub(crate) const GATEWAY: &str = "gateway.example";
/// Nothing listens there.
pub(crate) const DEAD: &str = "http://127.0.0.1:1";
/// Longest wait for a change to become final: two blocks of a second, with room for a busy machine.
const SETTLED: Duration = Duration::from_secs(15);
/// Selector of `isAppAllowed`.
const IS_APP_ALLOWED: &str = "0x1e079198";
/// Selector of `decide`.
const DECIDE: &str = "0xca3073ce";

/// A chain with `KmsAuth` and an app that is allowed to run.
pub(crate) struct Chain {
    pub(crate) url: String,
    pub(crate) kms_auth: ContractAddress,
    pub(crate) app: AppId,
    _anvil: Child,
}

static CHAIN: OnceCell<Chain> = OnceCell::const_new();

/// The chain; the first test to ask starts it.
pub(crate) async fn chain() -> &'static Chain {
    CHAIN.get_or_init(Chain::start).await
}

fn anvil_program() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let local = here
        .ancestors()
        .map(|up| up.join("node_modules/.bin/anvil"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|directory| directory.join("anvil"));
    let named = std::env::var_os("ANVIL").map(PathBuf::from);
    named
        .into_iter()
        .chain(local)
        .chain(installed)
        .find(|candidate| candidate.is_file())
        .expect("anvil not found: run script/setup first")
}

async fn start_anvil() -> (Child, String) {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    // A static is never dropped. The shell sees its pipe close when this process
    // ends, however it ends, and takes anvil along.
    let mut child = Command::new("sh")
        .args(["-c", r#""$@" & read -r _; kill $!"#, "sh"])
        .arg(anvil_program())
        .args(["--silent", "--block-time", "1", "--slots-in-an-epoch", "1"])
        .args(["--port", &port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let listens = async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(SETTLED, listens).await.is_err() {
        drop(child.stdin.take());
        let mut said = String::new();
        let _ = child.stderr.take().unwrap().read_to_string(&mut said);
        panic!("anvil does not listen on port {port}: {said}");
    }
    (child, format!("http://127.0.0.1:{port}"))
}

impl Chain {
    async fn start() -> Self {
        let (anvil, url) = start_anvil().await;
        let owner = Owner::new(&url, signer(KMS_OWNER)).unwrap();
        let kms_auth = owner.deploy_kms_auth().await.unwrap();
        let app = owner
            .create_app(&kms_auth, Some(&COMPOSE), None, false)
            .await
            .unwrap();
        owner.set_os_image(&kms_auth, &IMAGE, true).await.unwrap();
        owner.set_kms_info(&kms_auth, &kms_info()).await.unwrap();
        let chain = Self {
            url,
            kms_auth,
            app,
            _anvil: anvil,
        };
        let gateway = setGatewayAppIdCall {
            appId: GATEWAY.to_owned(),
        };
        chain.send_to_kms(KMS_OWNER, gateway).await;
        owner.wait_until_final().await.unwrap();
        chain
    }

    pub(crate) fn owner(&self, key: &str) -> Owner {
        Owner::new(&self.url, signer(key)).unwrap()
    }

    pub(crate) fn config(&self, urls: &[&str], agreement: usize) -> RpcConfig {
        RpcConfig {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            agreement,
            chain_id: CHAIN_ID,
            kms_auth: self.kms_auth,
            finality: Finality::Finalized,
            max_head_age: Duration::from_secs(60),
            timeout: Duration::from_secs(2),
        }
    }

    /// A policy that has not asked anything yet.
    pub(crate) fn policy(&self, urls: &[&str], agreement: usize) -> RpcPolicy {
        RpcPolicy::new(self.config(urls, agreement), Clock::system()).unwrap()
    }

    /// What a fresh policy decides about the allowed app.
    pub(crate) async fn ask(&self, urls: &[&str], agreement: usize) -> Result<Decision, Doubt> {
        let policy = self.policy(urls, agreement);
        policy
            .decide_app(boot_info(self.app), PlatformFacts::default())
            .await
    }

    /// One proxy in front of this chain.
    pub(crate) async fn proxy(&self, lie: Lie) -> String {
        let state = Proxy {
            upstream: self.url.clone(),
            client: client(),
            lie,
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/", post(forward)).with_state(state);
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    /// Answer of anvil to one request.
    pub(crate) async fn rpc(&self, method: &str, params: Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut answer = request_json(&client(), &self.url, &request).await;
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].take()
    }

    pub(crate) async fn final_number(&self) -> u64 {
        let block = self
            .rpc("eth_getBlockByNumber", json!(["finalized", false]))
            .await;
        let digits = block["number"].as_str().unwrap().trim_start_matches("0x");
        u64::from_str_radix(digits, 16).unwrap()
    }

    pub(crate) async fn block_number(&self) -> u64 {
        let number = self.rpc("eth_blockNumber", json!([])).await;
        let digits = number.as_str().unwrap().trim_start_matches("0x");
        u64::from_str_radix(digits, 16).unwrap()
    }

    pub(crate) async fn send_to_kms(&self, key: &str, call: impl SolCall) -> Value {
        let to = Address::from(self.kms_auth.to_bytes());
        let data = Bytes::from(call.abi_encode());
        self.send(json!({ "from": signer(key).address(), "to": to, "data": data }))
            .await
    }

    /// Puts a contract with this runtime code on the chain and registers it as an app.
    pub(crate) async fn register_code(&self, key: &str, runtime: [u8; 3]) -> AppId {
        let [a, b, c] = runtime;
        // PUSH3 runtime, PUSH0, MSTORE, then the word's last three bytes are returned.
        let init = [0x62, a, b, c, 0x5f, 0x52, 0x60, 3, 0x60, 29, 0xf3];
        let data = hex::encode_prefixed(init);
        let from = signer(key).address();
        let receipt = self.send(json!({ "from": from, "data": data })).await;
        let app: Address = receipt["contractAddress"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        self.send_to_kms(key, registerAppCall { app }).await;
        AppId::new(app.into_array())
    }

    async fn send(&self, transaction: Value) -> Value {
        let hash = self.rpc("eth_sendTransaction", json!([transaction])).await;
        let receipt = until("a receipt", async || {
            let receipt = self.rpc("eth_getTransactionReceipt", json!([hash])).await;
            (!receipt.is_null()).then_some(receipt)
        })
        .await;
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        receipt
    }
}

fn signer(key: &str) -> PrivateKeySigner {
    key.parse().unwrap()
}

pub(crate) fn kms_info() -> KmsInfo {
    KmsInfo {
        k256_public: vec![2; 33],
        ca_spki_der: vec![0x30, 0x03, 1, 2, 3],
    }
}

/// An identity of the app that its contract allows.
pub(crate) fn boot_info(app_id: AppId) -> BootInfo {
    BootInfo {
        tee_variant: TeeVariant::Tdx,
        mr_aggregated: MrAggregated::new([1; 32]),
        os_image_hash: IMAGE,
        mr_system: MrSystem::new([2; 32]),
        app_id,
        compose_hash: COMPOSE,
        instance_id: Some(InstanceId::new([3; 20])),
        device_id: DEVICE,
        key_provider_info: vec![],
        tcb_status: TcbStatus::UpToDate,
        advisory_ids: vec!["INTEL-SA-1".into()],
    }
}

/// The same with a compose hash that nobody allowed.
pub(crate) fn unknown_compose(app_id: AppId) -> BootInfo {
    BootInfo {
        compose_hash: ComposeHash::new([9; 32]),
        ..boot_info(app_id)
    }
}

/// Asks until there is an answer.
pub(crate) async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SETTLED, found)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {SETTLED:?}"))
}

pub(crate) fn allowed(decision: Result<Decision, Doubt>) -> Allowance {
    match decision {
        Ok(Decision::Allow(allowance)) => allowance,
        other => panic!("not allowed: {other:?}"),
    }
}

pub(crate) fn denied(decision: Result<Decision, Doubt>) -> Denial {
    match decision {
        Ok(Decision::Deny(denial)) => denial,
        other => panic!("not denied: {other:?}"),
    }
}

/// How a proxy misleads.
#[derive(Debug, Clone)]
pub(crate) enum Lie {
    /// Not at all.
    Nothing,
    /// Answers another chain id.
    ChainId(u64),
    /// Says that block 1 is the final one.
    OldHead,
    /// Says that the final block is the newest one.
    HidesNewest,
    /// Accepts requests and never answers.
    Stall,
    /// Breaks off in the middle of each answer.
    Drop,
    /// Answers this text with status 200.
    Garbage(&'static str),
    /// Answers status 500.
    ServerError,
    /// Knows no block.
    NoBlock,
    /// Replaces one member of blocks, `hash` or any other.
    Field(&'static str, String),
    /// Serves blocks of another history, whose hashes are right.
    Fork,
    /// Answers this to `isAppAllowed`.
    Call(Vec<u8>),
}

impl Lie {
    /// Answers `isAppAllowed` with this.
    pub(crate) fn verdict(is_allowed: bool, reason: &str) -> Self {
        Self::Call((is_allowed, reason.to_owned()).abi_encode_params())
    }
}

#[derive(Clone)]
struct Proxy {
    upstream: String,
    client: reqwest::Client,
    lie: Lie,
}

fn client() -> reqwest::Client {
    let tls = rustls::ClientConfig::builder_with_provider(
        rustls::crypto::ring::default_provider().into(),
    )
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(rustls::RootCertStore::empty())
    .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .build()
        .unwrap()
}

async fn request_json(client: &reqwest::Client, url: &str, request: &Value) -> Value {
    let answer = client.post(url).json(request).send().await.unwrap();
    answer.json().await.unwrap()
}

async fn forward(State(proxy): State<Proxy>, body: String) -> Response {
    let mut request: Value = serde_json::from_str(&body).unwrap();
    let method = request["method"].as_str().unwrap().to_owned();
    match &proxy.lie {
        Lie::Stall => std::future::pending().await,
        Lie::Drop => {
            let cut = std::io::Error::other("cut");
            let parts = [Ok(r#"{"jsonrpc""#), Err(cut)];
            return Body::from_stream(futures::stream::iter(parts)).into_response();
        }
        Lie::Garbage(text) => return text.into_response(),
        Lie::ServerError => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Lie::OldHead if request["params"][0] == "finalized" => request["params"][0] = json!("0x1"),
        Lie::HidesNewest if request["params"][0] == "latest" => {
            request["params"][0] = json!("finalized");
        }
        _ => {}
    }
    let mut answer = request_json(&proxy.client, &proxy.upstream, &request).await;
    let result = &mut answer["result"];
    match (&proxy.lie, method.as_str()) {
        (Lie::ChainId(id), "eth_chainId") => *result = json!(format!("{id:#x}")),
        (Lie::NoBlock, "eth_getBlockByNumber") => *result = Value::Null,
        (Lie::Field(name, value), "eth_getBlockByNumber") => result[name] = json!(value),
        (Lie::Fork, "eth_getBlockByNumber") => {
            let mut block: alloy::rpc::types::Block =
                serde_json::from_value(result.take()).unwrap();
            block.header.inner.extra_data = Bytes::from_static(b"fork");
            block.header.hash = block.header.inner.hash_slow();
            *result = serde_json::to_value(block).unwrap();
        }
        (Lie::Call(data), "eth_call") => {
            let input = request["params"][0]["input"].as_str().unwrap();
            if input.starts_with(IS_APP_ALLOWED) || input.starts_with(DECIDE) {
                *result = json!(hex::encode_prefixed(data));
            }
        }
        _ => {}
    }
    answer.to_string().into_response()
}
