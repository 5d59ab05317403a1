//! `bylaw-kms`: parse, build, serve.

use std::io::IsTerminal;
use std::path::PathBuf;

use bylaw_kms::config::{Config, DEFAULTS};
use bylaw_kms::run::run;
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
    /// TOML file; every key has a default but the chain's.
    #[arg(short, long)]
    config: Option<PathBuf>,
    /// Print every setting with its default, and exit.
    #[arg(long)]
    print_config: bool,
    /// Say whether the configuration is usable, and exit.
    #[arg(long)]
    check_config: bool,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if cli.print_config {
        print!("{DEFAULTS}");
        return Ok(());
    }
    let environment = std::env::vars().filter(|(name, _)| name != "BYLAW_KMS_LOG");
    let config = Config::load(cli.config.as_deref(), environment)?;
    if cli.check_config {
        println!("configuration is usable");
        return Ok(());
    }
    let filter = tracing_subscriber::EnvFilter::try_from_env("BYLAW_KMS_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        log.init();
    } else {
        log.json().init();
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run(config))
}
