//! `bylaw-kms`: parse, build, serve.

use bylaw_kms::config::{Config, NAMES, Raw};
use bylaw_kms::run::run;
use bylaw_service::ServiceArgs;
use clap::Parser;

/// The Bylaw key management service: gives keys to what contracts allow.
///
/// Environment variables `BYLAW_KMS_<SECTION>_<KEY>` override the file.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  bylaw-kms --config kms.toml --check-config"
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
        .enable_all()
        .build()?
        .block_on(run(config))
}
