//! `bylaw-vmm`: parse, build, serve.

use std::path::PathBuf;

use bylaw_service::ServiceArgs;
use bylaw_vmm::config::{Config, FILES, NAMES, Raw};
use bylaw_vmm::{launcher, run};
use clap::{Parser, Subcommand};

/// The Bylaw virtual machine manager: creates, starts and watches confidential VMs.
///
/// Reads /etc/vmm/vmm.toml, ./vmm.toml and --config, the later one winning; environment
/// variables BYLAW_VMM_<SECTION>_<KEY> override them.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  bylaw-vmm --config vmm.toml\n  bylaw-vmm --config vmm.toml check-config"
)]
struct Cli {
    #[command(flatten)]
    service: ServiceArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API; what happens without a command.
    Serve,
    /// Say whether the configuration is usable.
    CheckConfig,
    /// Become the QEMU of a VM.
    #[command(hide = true)]
    VmLauncher {
        /// Of the VM.
        work_dir: PathBuf,
        /// Of the start.
        nonce: String,
    },
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let service = cli.service.after(&FILES);
    let service = match cli.command {
        Some(Command::VmLauncher { work_dir, nonce }) => {
            return match launcher::exec(&work_dir, &nonce) {
                Err(error) => Err(error.into()),
            };
        }
        Some(Command::CheckConfig) => service.checking(),
        Some(Command::Serve) | None => service,
    };
    let file = service.config_file().unwrap_or_default();
    let Some(config) = service.start::<Raw, Config, _>(NAMES)? else {
        return Ok(());
    };
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run::run(config, file))
}
