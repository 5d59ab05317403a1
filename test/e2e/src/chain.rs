//! The chain, and the contracts on it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bylaw_types::ContractAddress;

use crate::process::{Process, free_port, program, repository};

/// anvil's first account; public, worth nothing.
pub(crate) const OWNER_KEY: &str =
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const READY: Duration = Duration::from_secs(30);

/// anvil, its blocks dated this far behind; the address of its JSON-RPC.
pub(crate) async fn start_anvil(dir: &Path, behind: Duration) -> anyhow::Result<(Process, String)> {
    let port = free_port()?;
    let genesis = bylaw_types::clock::Clock::system().now_unix() - behind.as_secs();
    let mut anvil = Process::start(
        "anvil",
        dir,
        Command::new(program("anvil")?)
            .args(["--silent", "--block-time", "1", "--slots-in-an-epoch", "1"])
            .args(["--timestamp", &genesis.to_string()])
            .args(["--port", &port.to_string()]),
    )?;
    let deadline = Instant::now() + READY;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        anvil.check_alive()?;
        if Instant::now() > deadline {
            bail!("anvil does not listen on port {port}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok((anvil, format!("http://127.0.0.1:{port}")))
}

/// `script/Deploy.s.sol:DeployScript`, as an operator would run it.
pub(crate) fn deploy_with_forge(rpc_url: &str) -> anyhow::Result<ContractAddress> {
    let output = Command::new(program("forge")?)
        .current_dir(repository())
        .env("PRIVATE_KEY", OWNER_KEY)
        .args([
            "script",
            "script/Deploy.s.sol:DeployScript",
            "--broadcast",
            "--slow",
        ])
        .args(["--rpc-url", rpc_url])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .find_map(|line| line.trim().strip_prefix("KmsAuth proxy deployed to: "))
        .and_then(|address| address.trim().parse().ok())
        .with_context(|| {
            format!(
                "forge did not deploy:\n{text}\n{}",
                String::from_utf8_lossy(&output.stderr)
            )
        })
}
