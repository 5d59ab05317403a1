//! `bylaw-agent`: parse, build, serve.

use std::path::PathBuf;

use bylaw_agent::config::{Config, DEFAULTS};
use bylaw_agent::run::run;
use clap::Parser;

/// The agent in a confidential VM: gets the app's keys, serves the app API.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  bylaw-agent --config agent.toml --check-config"
)]
struct Cli {
    /// TOML file.
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
    let config = Config::load(cli.config.as_deref())?;
    if cli.check_config {
        println!("configuration is usable");
        return Ok(());
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    // One line on standard output says that the sockets answer.
    let ready = || println!("ready");
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run(config, ready))
}
