//! `bylaw-boot`: PID 1 of the guest, and the few things others call it for.

use std::path::Path;

use bylaw_boot::shared::{DIRECTORY, SYS_CONFIG, SysConfig};
use bylaw_boot::{host::Host, init, network, sequence, shared};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Starts a confidential VM, from the host's files to containers.
///
/// Without arguments, as PID 1, it boots. Under the name `dstack-util` it serves the
/// scripts of dstack's apps.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// The start itself, as a child of PID 1.
    #[command(hide = true)]
    Run,
    /// End the VM cleanly.
    Poweroff,
    /// Tell the host something, e.g. `-e boot.progress -d "half way"`.
    NotifyHost {
        /// What, e.g. boot.progress or boot.error.
        #[arg(short, long)]
        event: String,
        /// A sentence without secrets.
        #[arg(short, long)]
        data: String,
    },
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args();
    let name = arguments.next().unwrap_or_default();
    if Path::new(&name)
        .file_name()
        .is_some_and(|name| name == network::CALLBACK)
    {
        let event = arguments.next().unwrap_or_default();
        let variable = |name: &str| std::env::var(name).ok();
        return Ok(wait(network::apply(&event, variable))??);
    }
    if std::process::id() == 1 {
        return init::run();
    }
    match Cli::parse().command {
        Some(Command::Run) => run(),
        Some(Command::Poweroff) => init::request_power_off(),
        Some(Command::NotifyHost { event, data }) => wait(async {
            let settings: Option<SysConfig> = shared::parse(Path::new(DIRECTORY), SYS_CONFIG)?;
            let url = settings
                .map(|settings| settings.host_api_url)
                .unwrap_or_default();
            Host::new(&url).notify(&event, &data).await;
            Ok(())
        })?,
        None => anyhow::bail!("bylaw-boot boots as PID 1 of a confidential VM; see --help"),
    }
}

fn run() -> anyhow::Result<()> {
    // Before there is any other thread.
    init::unblock_signals()?;
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_timer(SinceBoot)
        .with_target(false)
        .with_ansi(false)
        .init();
    wait(async {
        let mut terminate = signal(SignalKind::terminate())?;
        Ok(sequence::run(async move {
            terminate.recv().await;
        })
        .await?)
    })?
}

fn wait<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    Ok(runtime.block_on(work))
}

/// Seconds since the kernel started: the clock may be wrong, or be set in between.
struct SinceBoot;

impl tracing_subscriber::fmt::time::FormatTime for SinceBoot {
    fn format_time(
        &self,
        output: &mut tracing_subscriber::fmt::format::Writer<'_>,
    ) -> std::fmt::Result {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
        let seconds = uptime.split_whitespace().next().unwrap_or("?");
        write!(output, "[{seconds:>7}] bylaw-boot")
    }
}
