//! Full key releases over TLS against a running KMS: latency, rate, memory.
//!
//! Each release is a new TLS connection with a client certificate whose evidence
//! the KMS verifies, a decision at one block, and a record on disk. Load generator,
//! KMS, chain and software TEE share this machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bylaw_attest::report_data;
use bylaw_e2e::World;
use bylaw_e2e::world::manifest;
use bylaw_keys::P256Key;
use bylaw_ratls::tls::{Identity, ServerTrust, client};
use bylaw_ratls::{Cert, CertSpec, Issuer};
use bylaw_rpc::message::kms::{AppKeyResponse, GetAppKeyRequest, GetTempCaCertResponse};
use bylaw_rpc::{Client, Empty};
use bylaw_simtee::{Launch, Machine, Options, Td};
use bylaw_types::AppCompose;
use clap::Parser;

/// Measures releases of a KMS on this machine.
#[derive(Parser)]
struct Args {
    /// How long to measure.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Connections at once.
    #[arg(long, default_value_t = 8)]
    workers: usize,
    /// Different instances that ask in turn.
    #[arg(long, default_value_t = 32)]
    instances: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let world = World::start().await?;
    let mut kms = world.bootstrapped_kms().await?;
    let app = world.create_app(&manifest("bench")).await?;
    world.settle().await?;

    kms.kill();
    let started = Instant::now();
    kms.start()?;
    kms.wait_until_serving().await?;
    let start_time = started.elapsed();
    let idle = kms.resident_kib().context("resident memory")?;

    let requesters = requesters(&world, &kms.client()?, &kms.url, &app, args.instances).await?;
    // Warm collateral and policy.
    for (client, request) in requesters.iter() {
        let _: AppKeyResponse = client.call("GetAppKey", request).await?;
    }
    let (mut latencies, elapsed) = measure(requesters, args.workers, args.seconds).await?;
    latencies.sort_unstable();
    let at = |percent: usize| {
        latencies
            .get(latencies.len() * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    println!("releases      {}", latencies.len());
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    let rate = latencies.len() as f64 / elapsed.as_secs_f64();
    println!(
        "rate          {rate:.0} releases/s with {} workers",
        args.workers
    );
    println!("latency       p50 {:.1?}  p99 {:.1?}", at(50), at(99));
    println!("start         {start_time:.0?} to the first answer");
    let after = kms.resident_kib().context("resident memory")?;
    println!(
        "resident      {} MiB idle, {} MiB after the load",
        idle / 1024,
        after / 1024
    );
    Ok(())
}

type Requester = (Client, GetAppKeyRequest);

/// Clients of different instances, each with evidence for its own key.
async fn requesters(
    world: &World,
    kms: &Client,
    url: &str,
    app: &bylaw_e2e::App,
    count: usize,
) -> anyhow::Result<Arc<Vec<Requester>>> {
    let answer: GetTempCaCertResponse = kms.call("GetTempCaCert", &Empty {}).await?;
    let temp_key = P256Key::from_pkcs8_pem(&answer.temp_ca_key)?;
    let temp = Issuer::from_parts(Cert::from_pem(&answer.temp_ca_cert)?, &temp_key)?;
    let machine = Arc::new(Machine::open(
        &world.directory().join("tee"),
        Options::default(),
    )?);
    let mut requesters = Vec::new();
    for index in 0..count {
        let mut seed = [0; 20];
        seed[..8].copy_from_slice(&(index as u64).to_be_bytes());
        let launch = Launch {
            name: format!("bench-{index}"),
            compose: AppCompose::parse(app.compose.as_bytes())?,
            app_id: Some(app.id),
            image: String::new(),
            memory_size: 2 << 30,
            cpu_count: 2,
            full_boot: false,
            debug: false,
            outdated: false,
            gpus: 0,
            instance_seed: Some(seed),
        };
        let td = Td::launch(Arc::clone(&machine), launch)?;
        let key = P256Key::random()?;
        let spec = CertSpec {
            subject: "bench".to_owned(),
            client_auth: true,
            attestation: Some(td.attest(&report_data::ratls(&key.spki_der()))),
            ..CertSpec::default()
        };
        let now = bylaw_types::clock::Clock::system().now_unix();
        let cert = temp.issue(&spec, &key.spki_der(), now)?;
        let identity = Identity {
            chain: vec![cert.der],
            key: &key,
        };
        let tls = client(ServerTrust::FirstContact, Some(identity))?;
        let request = GetAppKeyRequest {
            api_version: 1,
            vm_config: td.vm_config().to_owned(),
        };
        requesters.push((Client::new(url)?.prpc().with_tls(tls), request));
    }
    Ok(Arc::new(requesters))
}

async fn measure(
    requesters: Arc<Vec<Requester>>,
    workers: usize,
    seconds: u64,
) -> anyhow::Result<(Vec<Duration>, Duration)> {
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let deadline = started + Duration::from_secs(seconds);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..workers {
        let (requesters, next) = (Arc::clone(&requesters), Arc::clone(&next));
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < deadline {
                let index = next.fetch_add(1, Ordering::Relaxed) % requesters.len();
                let Some((client, request)) = requesters.get(index) else {
                    break;
                };
                let asked = Instant::now();
                let _: AppKeyResponse = client.call("GetAppKey", request).await?;
                latencies.push(asked.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    let mut all = Vec::new();
    while let Some(latencies) = tasks.join_next().await {
        all.extend(latencies??);
    }
    Ok((all, started.elapsed()))
}
