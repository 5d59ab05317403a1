//! `bylaw-key-provider`: parse, build, serve.

use bylaw_key_provider::config::{Config, NAMES, Raw};
use bylaw_key_provider::run;
use bylaw_service::ServiceArgs;
use clap::Parser;

/// The Bylaw local key provider: gives TDs of this machine keys that depend on what they
/// measured.
///
/// Environment variables `BYLAW_KEY_PROVIDER_<KEY>` override the file.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  gramine-sgx bylaw-key-provider --config key-provider.toml"
)]
struct Cli {
    #[command(flatten)]
    service: ServiceArgs,
}

fn main() -> anyhow::Result<()> {
    let Some(config) = Cli::parse().service.start::<Raw, Config, _>(NAMES)? else {
        return Ok(());
    };
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(run(config))
}
