//! The parts, in the order they depend on each other.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use alloy::signers::local::PrivateKeySigner;
use anyhow::{Context, bail};
use bylaw_chain::KmsInfo;
use bylaw_chain::contracts::Owner;
use bylaw_ratls::tls::{ServerTrust, client};
use bylaw_rpc::message::kms::{
    AttestationInfoResponse, BootstrapRequest, BootstrapResponse, GetMetaResponse,
};
use bylaw_rpc::message::simtee::{LaunchArgs, LaunchResponse};
use bylaw_rpc::{Client, Empty, Message};
use bylaw_types::{AppCompose, AppId, ContractAddress, OsImageHash};

use super::processes::Processes;
use crate::output::Output;

/// anvil's first account: public, worth nothing anywhere else.
const OWNER_KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const PATIENCE: Duration = Duration::from_secs(30);
const DEFAULT_APP: &str = r#"{"manifest_version":2,"name":"hello","runner":"docker-compose","docker_compose_file":"services:\n  web:\n    image: nginx\n","key_provider":"kms"}"#;

/// What runs, and where.
pub(super) struct System {
    pub(super) app_id: AppId,
    pub(super) kms_url: String,
    pub(super) rpc_url: String,
    pub(super) variables: BTreeMap<&'static str, String>,
}

struct Tee {
    control: Client,
    pccs: String,
    root_ca: String,
}

pub(super) async fn start(
    state: &Path,
    app: Option<&Path>,
    processes: &mut Processes,
    output: &Output,
) -> anyhow::Result<System> {
    let manifest = match app {
        Some(path) => std::fs::read_to_string(path).with_context(|| path.display().to_string())?,
        None => DEFAULT_APP.to_owned(),
    };
    let compose = AppCompose::parse(manifest.as_bytes())?;

    let rpc_url = start_anvil(processes).await?;
    let owner = Owner::new(&rpc_url, OWNER_KEY.parse::<PrivateKeySigner>()?)?;
    let kms_auth = owner.deploy_kms_auth().await?;
    output.say(&format!("contracts  KmsAuth 0x{kms_auth} on {rpc_url}"));
    let tee = start_tee(state, processes).await?;
    let kms_url = start_kms(state, processes, &tee, &owner, &kms_auth, &rpc_url).await?;
    output.say(&format!("kms        {kms_url}"));
    let app_id = owner
        .create_app(&kms_auth, Some(&compose.hash()), None, false)
        .await?;
    owner.wait_until_final().await?;
    let agent = start_agent(
        state, processes, &tee, &manifest, &app_id, &kms_auth, &kms_url, &rpc_url,
    )
    .await?;
    output.say(&format!("agent      app 0x{app_id} has its keys"));
    output.say(&format!("dashboard  {}", agent.dashboard));

    let text = |path: &Path| path.display().to_string();
    let variables = BTreeMap::from([
        ("ETH_RPC_URL", rpc_url.clone()),
        ("ETH_CHAIN_ID", "31337".to_owned()),
        ("PRIVATE_KEY", OWNER_KEY.to_owned()),
        ("KMS_CONTRACT_ADDR", format!("0x{kms_auth}")),
        ("APP_CONTRACT_ADDR", format!("0x{app_id}")),
        ("KMS_URL", kms_url.clone()),
        ("DSTACK_SIMULATOR_ENDPOINT", text(&agent.dstack)),
        ("TAPPD_SIMULATOR_ENDPOINT", text(&agent.tappd)),
        ("BYLAW_DASHBOARD", agent.dashboard.clone()),
        ("BYLAW_COLLATERAL", tee.pccs.clone()),
        ("BYLAW_ROOT_CA", tee.root_ca.clone()),
    ]);
    let env: String = variables
        .iter()
        .map(|(name, value)| format!("export {name}='{value}'\n"))
        .collect();
    bylaw_types::file::write_private(&state.join("env"), env.as_bytes())?;
    Ok(System {
        app_id,
        kms_url,
        rpc_url,
        variables,
    })
}

/// Beside this program, else on the PATH, else from npm above this program or this directory.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe().unwrap_or_default();
    let here = std::env::current_dir().unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beside = exe.parent().map(|directory| directory.join(name));
    let on_path = std::env::split_paths(&path).map(|directory| directory.join(name));
    let from_npm = exe
        .ancestors()
        .chain(here.ancestors())
        .map(|directory| directory.join("node_modules/.bin").join(name));
    beside
        .into_iter()
        .chain(on_path)
        .chain(from_npm)
        .find(|file| file.is_file())
        .with_context(|| {
            format!(
                "{name} not found beside bylaw, on the PATH or in node_modules: script/setup \
                 installs anvil, `cargo build --workspace --bins` builds the others"
            )
        })
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

async fn start_anvil(processes: &mut Processes) -> anyhow::Result<String> {
    let port = free_port()?;
    let log = processes.start(
        "anvil",
        Command::new(program("anvil")?)
            .args(["--silent", "--block-time", "1", "--slots-in-an-epoch", "1"])
            .args(["--port", &port.to_string()]),
    )?;
    wait("anvil", &log, processes, async || {
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .ok()
            .map(drop)
    })
    .await?;
    Ok(format!("http://127.0.0.1:{port}"))
}

/// Asks until there is an answer, the process ends, or patience does.
async fn wait<T>(
    name: &str,
    log: &Path,
    processes: &Processes,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return Ok(answer);
        }
        if !processes.is_alive(name) || Instant::now() > deadline {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let last: Vec<&str> = text.lines().rev().take(5).collect();
            bail!(
                "{name} is not ready: {}",
                last.into_iter().rev().collect::<Vec<_>>().join("\n")
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn start_tee(state: &Path, processes: &mut Processes) -> anyhow::Result<Tee> {
    let directory = state.join("tee");
    let mut command = Command::new(program("bylaw-simtee")?);
    command.arg("serve").arg("--state").arg(&directory);
    let log = processes.start("simtee", &mut command)?;
    let ready: serde_json::Value = wait("simtee", &log, processes, async || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.lines()
            .find_map(|line| serde_json::from_str(line).ok())
    })
    .await?;
    let text = |name: &str| ready[name].as_str().unwrap_or_default().to_owned();
    Ok(Tee {
        control: Client::new(&format!("unix:{}", text("control")))?,
        pccs: text("pccs"),
        root_ca: text("root_ca"),
    })
}

async fn launch(tee: &Tee, request: LaunchArgs) -> anyhow::Result<LaunchResponse> {
    Ok(tee.control.call("Launch", &request).await?)
}

fn chain_section(rpc_url: &str, kms_auth: &ContractAddress) -> String {
    format!("[chain]\nrpc_urls = [{rpc_url:?}]\nchain_id = 31337\nkms_auth = \"{kms_auth}\"\n")
}

fn trust_section(tee: &Tee) -> String {
    format!(
        "[trust]\ntdx_root_ca = {:?}\n[collateral]\nsource = {:?}\n",
        tee.root_ca, tee.pccs
    )
}

async fn start_kms(
    state: &Path,
    processes: &mut Processes,
    tee: &Tee,
    owner: &Owner,
    kms_auth: &ContractAddress,
    rpc_url: &str,
) -> anyhow::Result<String> {
    let td = launch(
        tee,
        LaunchArgs {
            name: "kms".to_owned(),
            app_compose: r#"{"manifest_version":2,"name":"bylaw-kms","runner":"docker-compose"}"#
                .to_owned(),
            full_boot: true,
            ..LaunchArgs::default()
        },
    )
    .await?;
    let data = state.join("kms-data");
    // Every run has its own chain, so roots of an earlier one would not be named on it.
    let _ = std::fs::remove_dir_all(&data);
    let (rpc, onboard) = (free_port()?, free_port()?);
    let config = state.join("kms.toml");
    let text = format!(
        "data_dir = {data:?}\n[rpc]\nlisten = \"127.0.0.1:{rpc}\"\n\
         [onboard]\nlisten = \"127.0.0.1:{onboard}\"\n\
         [attester]\nendpoint = \"simtee:{}\"\n{}{}",
        td.socket,
        trust_section(tee),
        chain_section(rpc_url, kms_auth),
    );
    bylaw_types::file::write_private(&config, text.as_bytes())?;
    let mut command = Command::new(program("bylaw-kms")?);
    command.arg("--config").arg(&config);
    let log = processes.start("kms", &mut command)?;

    let onboarding = Client::new(&format!("http://127.0.0.1:{onboard}"))?.prpc();
    let info: AttestationInfoResponse = wait("kms", &log, processes, async || {
        onboarding.call("GetAttestationInfo", &Empty {}).await.ok()
    })
    .await?;
    let image = OsImageHash::try_from(info.os_image_hash.as_slice())?;
    owner.set_os_image(kms_auth, &image, true).await?;
    let mr = info.mr_aggregated.as_slice().try_into()?;
    owner
        .allow_kms(kms_auth, &mr, &info.device_id.as_slice().try_into()?)
        .await?;
    owner.wait_until_final().await?;
    let roots: BootstrapResponse = call(
        &onboarding,
        "Bootstrap",
        &BootstrapRequest {
            domain: "localhost".to_owned(),
        },
    )
    .await?;
    let info = KmsInfo {
        k256_public: roots.k256_pubkey,
        ca_spki_der: roots.ca_pubkey,
    };
    owner.set_kms_info(kms_auth, &info).await?;
    let _: Empty = call(&onboarding, "Finish", &Empty {}).await?;

    let url = format!("https://127.0.0.1:{rpc}");
    let main = Client::new(&url)?
        .prpc()
        .with_tls(client(ServerTrust::FirstContact, None)?);
    wait("kms", &log, processes, async || {
        main.call::<_, GetMetaResponse>("GetMeta", &Empty {})
            .await
            .ok()
    })
    .await?;
    Ok(url)
}

async fn call<Req: Message, Res: Message>(
    client: &Client,
    method: &str,
    request: &Req,
) -> anyhow::Result<Res> {
    Ok(client.call(method, request).await?)
}

/// Where the agent answers.
struct AgentEndpoints {
    dstack: PathBuf,
    tappd: PathBuf,
    dashboard: String,
}

#[expect(
    clippy::too_many_arguments,
    reason = "each is another part that the agent talks to"
)]
async fn start_agent(
    state: &Path,
    processes: &mut Processes,
    tee: &Tee,
    manifest: &str,
    app_id: &AppId,
    kms_auth: &ContractAddress,
    kms_url: &str,
    rpc_url: &str,
) -> anyhow::Result<AgentEndpoints> {
    let td = launch(
        tee,
        LaunchArgs {
            name: "app".to_owned(),
            app_compose: manifest.to_owned(),
            app_id: app_id.as_bytes().to_vec(),
            ..LaunchArgs::default()
        },
    )
    .await?;
    let compose_file = state.join("app-compose.json");
    bylaw_types::file::write_atomic(&compose_file, manifest.as_bytes())?;
    let (dstack, tappd) = (state.join("dstack.sock"), state.join("tappd.sock"));
    let external = format!("127.0.0.1:{}", free_port()?);
    let config = state.join("agent.toml");
    let text = format!(
        "compose_file = {compose_file:?}\nattester = \"simtee:{}\"\nkeys_file = \"\"\n\
         [listen]\ndstack = {dstack:?}\ntappd = {tappd:?}\nexternal = {external:?}\n\
         guest_api = {:?}\n[system]\nshutdown = []\n[kms]\nurls = [{kms_url:?}]\n{}{}",
        td.socket,
        format!("unix:{}", state.join("guest.sock").display()),
        trust_section(tee),
        chain_section(rpc_url, kms_auth),
    );
    bylaw_types::file::write_private(&config, text.as_bytes())?;
    let mut command = Command::new(program("bylaw-agent")?);
    command.arg("--config").arg(&config);
    let log = processes.start("agent", &mut command)?;
    wait("agent", &log, processes, async || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.lines().any(|line| line == "ready").then_some(())
    })
    .await?;
    Ok(AgentEndpoints {
        dstack,
        tappd,
        dashboard: format!("http://{external}/"),
    })
}
