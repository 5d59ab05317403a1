//! Calls of the app API over its Unix socket: rate, latency, memory, descriptors.
//!
//! Agent and load generator share this machine. Connections are kept open, as the
//! SDKs keep them; each has one call under way.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bylaw_e2e::world::manifest;
use bylaw_e2e::{Agent, AgentOptions, World};
use bylaw_rpc::Client;
use bylaw_rpc::message::guest::WorkerVersion;
use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

/// Measures the app API on this machine.
#[derive(Parser)]
struct Args {
    /// How long to measure each call.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Connections at once.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Connections that are opened and dropped in the middle of a request.
    #[arg(long, default_value_t = 10_000)]
    dropped: usize,
}

/// One kind of call.
struct Call {
    name: &'static str,
    method: &'static str,
    /// Request number `n`.
    body: fn(usize) -> String,
}

const CALLS: [Call; 5] = [
    Call {
        name: "GetKey, the same path",
        method: "GetKey",
        body: |_| r#"{"path":"wallet","purpose":"ethereum"}"#.to_owned(),
    },
    Call {
        name: "GetKey, ever new paths",
        method: "GetKey",
        body: |n| format!(r#"{{"path":"user/{n}","purpose":"ethereum"}}"#),
    },
    Call {
        name: "Info",
        method: "Info",
        body: |_| "{}".to_owned(),
    },
    Call {
        name: "Sign, ed25519",
        method: "Sign",
        body: |n| format!(r#"{{"algorithm":"ed25519","data":"{n:016x}"}}"#),
    },
    Call {
        name: "Sign, secp256k1",
        method: "Sign",
        body: |n| format!(r#"{{"algorithm":"secp256k1","data":"{n:016x}"}}"#),
    },
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let world = World::start().await?;
    let kms = world.bootstrapped_kms().await?;
    let app = world.create_app(&manifest("bench")).await?;
    world.settle().await?;
    let agent = world
        .start_agent("bench", &app, &kms, AgentOptions::default())
        .await?;
    println!("resident      {}", resident(&agent)?);
    for call in CALLS {
        let (mut latencies, elapsed) =
            measure(&agent.dstack, &call, args.connections, args.seconds).await?;
        latencies.sort_unstable();
        let at = |thousandth: usize| {
            let index = latencies.len() * thousandth / 1000;
            latencies.get(index).copied().unwrap_or_default()
        };
        #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
        let rate = latencies.len() as f64 / elapsed.as_secs_f64();
        println!(
            "{:24} {rate:>7.0}/s  p50 {:>8.1?}  p99 {:>8.1?}  p99.9 {:>8.1?}",
            call.name,
            at(500),
            at(990),
            at(999)
        );
    }
    println!("resident      {}", resident(&agent)?);
    drop_in_the_middle(&agent, args.dropped).await?;
    println!("resident      {}", resident(&agent)?);
    Ok(())
}

fn resident(agent: &Agent) -> anyhow::Result<String> {
    let kib = agent.resident_kib().context("resident memory")?;
    Ok(format!("{} MiB", kib / 1024))
}

async fn connect(socket: &Path) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = UnixStream::connect(socket).await?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn measure(
    socket: &Path,
    call: &Call,
    connections: usize,
    seconds: u64,
) -> anyhow::Result<(Vec<Duration>, Duration)> {
    let started = Instant::now();
    let until = started + Duration::from_secs(seconds);
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..connections {
        let mut sender = connect(socket).await?;
        let (method, body) = (call.method, call.body);
        workers.spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < until {
                let number = latencies.len() * connections + worker;
                let request = hyper::Request::post(format!("/{method}"))
                    .header("host", "dstack")
                    .header("content-type", "application/json")
                    .body(Full::from(body(number)))?;
                let sent = Instant::now();
                let answer = sender.send_request(request).await?;
                let status = answer.status();
                let body = answer.into_body().collect().await?.to_bytes();
                if !status.is_success() {
                    bail!("{method}: {status}: {}", String::from_utf8_lossy(&body));
                }
                latencies.push(sent.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    let mut all = Vec::new();
    while let Some(latencies) = workers.join_next().await {
        all.extend(latencies??);
    }
    Ok((all, started.elapsed()))
}

/// Waits while the kernel's queue of the socket is full: this opens faster than any
/// server accepts.
async fn connect_patiently(socket: &Path) -> std::io::Result<UnixStream> {
    loop {
        match UnixStream::connect(socket).await {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            connected => return connected,
        }
    }
}

/// Callers that vanish in the middle of their request: no descriptor may stay open.
async fn drop_in_the_middle(agent: &Agent, count: usize) -> anyhow::Result<()> {
    let process = agent.process_id().context("the agent's process")?;
    let open = || -> anyhow::Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{process}/fd"))?.count())
    };
    let before = open()?;
    let started = Instant::now();
    let socket = Arc::new(agent.dstack.clone());
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..16 {
        let socket = Arc::clone(&socket);
        workers.spawn(async move {
            for number in (worker..count).step_by(16) {
                let mut stream = connect_patiently(&socket).await?;
                let request =
                    b"POST /GetKey HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{\"pa";
                // Each is cut somewhere else.
                let length = 1 + number % request.len();
                stream
                    .write_all(request.get(..length).unwrap_or(request))
                    .await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = workers.join_next().await {
        done??;
    }
    let opened = started.elapsed();
    let client = Client::new(&format!("unix:{}", agent.dstack.display()))?;
    let _: WorkerVersion = client.call("Version", &bylaw_rpc::Empty {}).await?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while open()? > before {
        if Instant::now() > deadline {
            bail!("{} descriptors stay open, {before} were before", open()?);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!(
        "dropped       {count} connections in {opened:.1?}; {} descriptors, as before",
        open()?
    );
    Ok(())
}
