//! `bylaw-agent`: parse, build, serve.

use bylaw_agent::config::{Config, NAMES, Raw};
use bylaw_agent::run::run;
use bylaw_service::ServiceArgs;
use clap::Parser;

/// The agent in a confidential VM: gets the app's keys, serves the app API.
///
/// Environment variables `BYLAW_AGENT_<SECTION>_<KEY>` override the file. Sockets that
/// systemd passes are used in the order dstack, tappd.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  bylaw-agent --config agent.toml --check-config"
)]
struct Cli {
    #[command(flatten)]
    service: ServiceArgs,
}

fn main() -> anyhow::Result<()> {
    let Some(config) = Cli::parse().service.start::<Raw, Config, _>(NAMES)? else {
        return Ok(());
    };
    // One line on standard output says that the sockets answer.
    let ready = || println!("ready");
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run(config, ready))
}
