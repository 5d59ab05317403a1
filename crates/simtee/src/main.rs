//! `bylaw-simtee`: a software TEE on this machine, for development and tests.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use bylaw_rpc::message::simtee::{LaunchArgs, LaunchResponse, MachineInfo, StopArgs};
use bylaw_rpc::{Client, Empty, serve};
use bylaw_simtee::service::Simulator;
use bylaw_simtee::{Machine, Options, SimImage, guests, kds, pccs};
use bylaw_types::clock::Clock;
use clap::{Args, Parser, Subcommand};
use tokio::net::TcpListener;

/// A software TEE. It proves nothing about hardware.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the machine; prints one line of JSON when it is ready.
    Serve(Serve),
    /// Launches a guest and prints where its attester answers.
    Launch(Launch),
    /// Ends a TD.
    Stop {
        /// Control socket.
        #[arg(long)]
        control: PathBuf,
        /// Which TD.
        name: String,
    },
    /// Prints the machine: PCCS, device id, running TDs.
    Info {
        /// Control socket.
        #[arg(long)]
        control: PathBuf,
    },
    /// Prints the hash of a simulated OS image.
    Image {
        /// Seed; empty is the default image.
        #[arg(default_value = "")]
        seed: String,
    },
}

#[derive(Args)]
struct Serve {
    /// Keys and sockets live here.
    #[arg(long)]
    state: PathBuf,
    /// Where collateral is served, Intel's and AMD's.
    #[arg(long, default_value = "127.0.0.1:0")]
    pccs: String,
    /// Where guests in virtual machines reach their TD, over HTTP.
    #[arg(long, default_value = "127.0.0.1:0")]
    guests: String,
    /// TCB status that the collateral states.
    #[arg(long, default_value = "UpToDate")]
    tcb_status: String,
    /// Advisories that the collateral states.
    #[arg(long)]
    advisory: Vec<String>,
    /// Put the machine's certificate on the revocation list.
    #[arg(long)]
    revoke_pck: bool,
    /// Make the SEV-SNP hierarchy at once, and name its root in the line of JSON; otherwise
    /// it is made when it is first wanted.
    #[arg(long)]
    snp: bool,
    /// Put AMD's intermediate on its revocation list.
    #[arg(long)]
    revoke_ask: bool,
}

#[derive(Args)]
struct Launch {
    /// Control socket.
    #[arg(long)]
    control: PathBuf,
    /// Name of the TD.
    #[arg(long)]
    name: String,
    /// app-compose.json.
    #[arg(long)]
    compose: PathBuf,
    /// App id, hex; default is the first 20 bytes of the compose hash.
    #[arg(long)]
    app_id: Option<bylaw_types::AppId>,
    /// Seed of the image.
    #[arg(long, default_value = "")]
    image: String,
    /// Boot to system-ready, as a KMS does.
    #[arg(long)]
    full_boot: bool,
    /// Set the debug attribute.
    #[arg(long)]
    debug: bool,
    /// Kind of TEE: tdx or sev-snp.
    #[arg(long, default_value = "tdx")]
    tee: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    match Cli::parse().command {
        Command::Serve(options) => run(options).await,
        Command::Launch(launch) => {
            let compose = std::fs::read_to_string(&launch.compose)
                .with_context(|| launch.compose.display().to_string())?;
            let request = LaunchArgs {
                name: launch.name,
                app_compose: compose,
                app_id: launch
                    .app_id
                    .map(|id| id.as_bytes().to_vec())
                    .unwrap_or_default(),
                image: launch.image,
                full_boot: launch.full_boot,
                debug: launch.debug,
                tee: launch.tee,
                ..LaunchArgs::default()
            };
            let response: LaunchResponse =
                control(&launch.control)?.call("Launch", &request).await?;
            println!("{}", serde_json::to_string(&response)?);
            Ok(())
        }
        Command::Stop {
            control: path,
            name,
        } => {
            let _: Empty = control(&path)?.call("Stop", &StopArgs { name }).await?;
            Ok(())
        }
        Command::Info { control: path } => {
            let info: MachineInfo = control(&path)?.call("Info", &Empty {}).await?;
            println!("{}", serde_json::to_string_pretty(&info)?);
            Ok(())
        }
        Command::Image { seed } => {
            println!("{}", SimImage::new(&seed)?.os_image_hash());
            Ok(())
        }
    }
}

fn control(path: &std::path::Path) -> anyhow::Result<Client> {
    Ok(Client::new(&format!("unix:{}", path.display()))?)
}

async fn run(serve_options: Serve) -> anyhow::Result<()> {
    eprintln!("SIMULATED TEE: proves nothing about hardware");
    let options = Options {
        tcb_status: serve_options.tcb_status,
        advisory_ids: serve_options.advisory,
        revoke_pck: serve_options.revoke_pck,
        revoke_ask: serve_options.revoke_ask,
        ..Options::default()
    };
    let machine = Arc::new(Machine::open(&serve_options.state, options)?);
    let listener = TcpListener::bind(&serve_options.pccs)
        .await
        .with_context(|| format!("cannot listen on {}", serve_options.pccs))?;
    let pccs_url = format!("http://{}", listener.local_addr()?);
    let control_path = serve_options.state.join("control.sock");
    let control = serve::bind_unix(&control_path, 0o600)
        .with_context(|| control_path.display().to_string())?;
    let guests_listener = TcpListener::bind(&serve_options.guests)
        .await
        .with_context(|| format!("cannot listen on {}", serve_options.guests))?;
    let guests_url = format!("http://{}", guests_listener.local_addr()?);
    let simulator = Simulator::new(Arc::clone(&machine), pccs_url.clone(), guests_url.clone());

    let amd_root_ca = serve_options
        .snp
        .then(|| machine.amd().map(|amd| amd.root_path().to_owned()))
        .transpose()?;
    let ready = serde_json::json!({
        "pccs": pccs_url,
        "control": control_path,
        "guests": guests_url,
        "root_ca": machine.root_path(),
        "amd_root_ca": amd_root_ca,
        "device_id": machine.device_id(),
    });
    println!("{ready}");
    let routes = pccs::router(Arc::clone(&machine), Clock::system())
        .merge(kds::router(machine, Clock::system()));
    tokio::join!(
        serve::tcp(listener, routes, stop_signal()),
        serve::tcp(
            guests_listener,
            guests::router(Arc::clone(&simulator)),
            stop_signal()
        ),
        serve::unix(control, simulator.router(), stop_signal()),
    );
    let _ = std::fs::remove_file(control_path);
    Ok(())
}

async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
