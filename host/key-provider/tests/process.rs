//! The provider as a process, next to a software TEE that it reaches over its control socket.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bylaw_attest::collateral::Pccs;
use bylaw_attest::sgx;
use bylaw_key_provider::{AskError, ask};
use bylaw_rpc::serve;
use bylaw_simtee::Options;
use bylaw_simtee::pccs;
use bylaw_simtee::service::Simulator;
use bylaw_types::clock::Clock;
use support::World;
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(30);

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Control socket and PCCS of a machine; returns the PCCS.
async fn simulate(world: &World, socket: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = pccs::router(Arc::clone(&world.machine), Clock::system());
    tokio::spawn(serve::tcp(listener, routes, std::future::pending()));
    let simulator = Simulator::new(Arc::clone(&world.machine), url.clone(), String::new());
    let control = serve::bind_unix(socket, 0o600).unwrap();
    tokio::spawn(serve::unix(
        control,
        simulator.router(),
        std::future::pending(),
    ));
    url
}

fn provider(enclave: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bylaw-key-provider"));
    command
        .env("BYLAW_KEY_PROVIDER_LISTEN", "127.0.0.1:0")
        .env("BYLAW_KEY_PROVIDER_ENCLAVE", enclave)
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Starts it, and reads from its log where it listens and which enclave it is.
async fn start(socket: &Path) -> (Running, String, String) {
    let mut command = provider(&format!("simulator:unix:{}", socket.display()));
    let mut running = Running(command.spawn().unwrap());
    let log = BufReader::new(running.0.stderr.take().unwrap());
    let (found, serving) = tokio::sync::oneshot::channel();
    // Reads to the end: a log nobody reads would stop who writes it.
    std::thread::spawn(move || {
        let mut found = Some(found);
        for line in log.lines().map_while(Result::ok) {
            let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
            let field = |name: &str| Some(entry["fields"][name].as_str()?.to_owned());
            if let (Some(address), Some(measurement)) = (field("address"), field("mr_enclave"))
                && let Some(found) = found.take()
            {
                let _ = found.send((address, measurement));
            }
        }
    });
    let (address, measurement) = serving.await.unwrap();
    (running, address, measurement)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_td_gets_its_key_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let world = World::new(Options::default());
    let pccs_url = simulate(&world, &socket).await;

    let quote = world.quote(&world.td("a"), &world.report_data());
    let mut keys = Vec::new();
    for _ in 0..2 {
        let (_running, address, measurement) = start(&socket).await;
        assert_eq!(measurement, hex::encode(world.machine.mr_enclave()));
        let sealed = ask(&address, quote.clone(), PATIENCE).await.unwrap();
        let family = sgx::collateral_key(&sealed.provider_quote).unwrap();
        let pccs = Pccs::new(&pccs_url).unwrap();
        let collateral = pccs.enclave_collateral(&family).await.unwrap();
        let now = Clock::system().now_unix();
        sgx::verify(&sealed.provider_quote, &world.anchors, &collateral, now).unwrap();
        keys.push(world.secret.unseal(&sealed.encrypted_key).unwrap());

        let stranger = World::new(Options::default());
        let foreign = stranger.quote(&stranger.td("a"), &stranger.report_data());
        let error = ask(&address, foreign, PATIENCE).await.unwrap_err();
        assert!(matches!(error, AskError::Refused(_)), "{error}");
    }
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn without_its_enclave_it_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = format!("simulator:unix:{}/control.sock", folder.path().display());
    for (enclave, why) in [
        (nobody.as_str(), "software TEE"),
        ("gramine", "gramine-sgx"),
    ] {
        let output = provider(enclave).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains(why),
            "{enclave}: {said}"
        );
    }
}
