//! `bylaw-agent`: parse, build, serve.

use bylaw_agent::config::{Config, NAMES, Raw};
use bylaw_agent::environment;
use bylaw_agent::run::run;
use bylaw_service::ServiceArgs;
use bylaw_types::AppId;
use clap::{Parser, Subcommand};

/// The agent in a confidential VM: gets the app's keys, serves the app API.
///
/// Environment variables `BYLAW_AGENT_<SECTION>_<KEY>` override the file. Sockets that
/// systemd passes are used in the order dstack, tappd.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  bylaw-agent --config agent.toml --check-config"
)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    service: ServiceArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Open the encrypted environment once, with the keys of keys_file, into
    /// environment.output.
    ///
    /// For the start of a VM: the file of the highest revision is on the disk that these
    /// same keys open.
    OpenEnvironment {
        #[command(flatten)]
        service: ServiceArgs,
        /// The app that this VM measured, 40 hexadecimal digits.
        #[arg(long)]
        app_id: AppId,
    },
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let service = match cli.command {
        Some(Command::OpenEnvironment { service, app_id }) => {
            return match service.start::<Raw, Config, _>(NAMES)? {
                Some(config) => environment::open_with_kept_keys(&config, &app_id),
                None => Ok(()),
            };
        }
        None => cli.service,
    };
    let Some(config) = service.start::<Raw, Config, _>(NAMES)? else {
        return Ok(());
    };
    // One line on standard output says that the sockets answer.
    let ready = || println!("ready");
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run(config, ready))
}
