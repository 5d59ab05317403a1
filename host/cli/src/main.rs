//! `bylaw`: deploy, govern, verify, explain.
//!
//! Results go to standard output, everything else to standard error. Exit codes:
//! 0 done, 1 failed, 2 unusable input, 3 denied by policy, 4 not verified,
//! 5 unreachable.

mod app;
mod chain;
mod compose;
mod deploy;
mod dev;
mod doctor;
mod env;
mod evidence;
mod explain;
mod gov;
mod image;
mod kms;
mod output;
mod verify;
mod vmm;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use output::{Failure, Output};

/// Confidential virtual machines whose keys obey a smart contract.
#[derive(Parser)]
#[command(
    name = "bylaw",
    version,
    after_help = "Examples:\n  \
        bylaw dev --detach && . .bylaw-dev/env\n  \
        bylaw deploy docker-compose.yaml --create-app -p 8080:80\n  \
        bylaw ps\n  \
        bylaw logs -f web\n  \
        bylaw verify getquote.json\n  \
        bylaw explain getquote.json\n  \
        bylaw app allow 0x… --compose app-compose.json\n  \
        bylaw gov show --app 0x…\n\n\
        Exit codes: 0 done, 1 failed, 2 unusable input, 3 denied by policy, \
        4 not verified, 5 unreachable"
)]
struct Cli {
    /// Print the result as JSON on standard output, errors as JSON on standard error.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring a docker-compose.yaml to life in a confidential VM.
    #[command(after_help = "Examples:\n  \
        bylaw deploy docker-compose.yaml --create-app -p 8080:80\n  \
        bylaw deploy docker-compose.yaml --app 0x… --allow --env-file .env --sign-env key.hex\n  \
        bylaw deploy app-compose.json --app 0x… --dry-run\n\n\
        Run again after an interruption, it goes on where it was.")]
    Deploy(Box<deploy::Deploy>),
    /// Give a VM another manifest, environment, image or ports.
    #[command(after_help = "Examples:\n  \
        bylaw upgrade web docker-compose.yaml --allow\n  \
        bylaw upgrade web --env-file .env\n  \
        bylaw upgrade web -p 8080:80 -p 8090")]
    Upgrade(Box<deploy::Upgrade>),
    /// List VMs.
    #[command(
        visible_alias = "apps",
        after_help = "Examples:\n  bylaw ps\n  bylaw ps --json"
    )]
    Ps(vmm::List),
    /// Show everything about a VM.
    #[command(after_help = "Examples:\n  bylaw inspect web\n  \
        bylaw inspect web --app-compose > app-compose.json")]
    Inspect(vmm::Inspect),
    /// Print what a VM, or a container in it, prints.
    #[command(
        after_help = "Examples:\n  bylaw logs -f web\n  bylaw logs web -n 1000\n  \
        bylaw logs web --container web-1 --since 10m"
    )]
    Logs(vmm::Logs),
    /// Start a VM.
    #[command(after_help = "Example:\n  bylaw start web")]
    Start(vmm::Start),
    /// Stop a VM: its guest shuts down.
    #[command(after_help = "Examples:\n  bylaw stop web\n  bylaw stop -f web")]
    Stop(vmm::Stop),
    /// Remove a VM with its disk.
    #[command(after_help = "Example:\n  bylaw rm web")]
    Rm(vmm::Remove),
    /// Give a stopped VM other resources.
    #[command(after_help = "Example:\n  bylaw resize web --vcpu 4 --memory 8G --disk 100G")]
    Resize(vmm::Resize),
    /// List guest images of the node.
    #[command(after_help = "Example:\n  bylaw lsimage")]
    Lsimage(vmm::Images),
    /// List GPUs of the node.
    #[command(after_help = "Example:\n  bylaw lsgpu")]
    Lsgpu(vmm::ListGpus),
    /// Say what this host lacks for confidential VMs, and how to get it.
    #[command(
        after_help = "Examples:\n  bylaw doctor\n  bylaw doctor --need kvm,qemu\n\n\
        Nothing is changed and nothing tried out. Exit code 1 when something needed is missing."
    )]
    Doctor(doctor::Doctor),
    /// Verify evidence: a quote, an attestation, a GetQuote answer or a certificate.
    Verify(verify::Args),
    /// Show every rule that decides about evidence, passed or failed, and the fix.
    Explain(explain::Args),
    /// Print the compose hash of an app-compose.json: SHA-256 of its exact bytes.
    #[command(after_help = "Example:\n  bylaw compose-hash app-compose.json")]
    ComposeHash {
        /// The manifest.
        file: std::path::PathBuf,
    },
    /// Look at a KMS.
    #[command(subcommand)]
    Kms(kms::Command),
    /// Create apps and change what they allow.
    #[command(subcommand)]
    App(app::Command),
    /// Govern apps and the KMS: propose, sign, execute, veto, and see what comes.
    #[command(subcommand)]
    Gov(Box<gov::Command>),
    /// Encrypt variables for an app.
    #[command(subcommand)]
    Env(env::Command),
    /// Build, measure, check and compare guest OS images.
    #[command(subcommand)]
    Image(image::Command),
    /// Run a whole simulated system on this machine.
    Dev(dev::Args),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  bylaw completions bash > /etc/bash_completion.d/bylaw")]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.json);
    match run(cli.command, &output).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.code())
        }
    }
}

async fn run(command: Command, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Deploy(args) => args.run(output).await,
        Command::Upgrade(args) => args.run(output).await,
        Command::Ps(args) => args.run(output).await,
        Command::Inspect(args) => args.run(output).await,
        Command::Logs(args) => args.run(output).await,
        Command::Start(args) => args.run(output).await,
        Command::Stop(args) => args.run(output).await,
        Command::Rm(args) => args.run(output).await,
        Command::Resize(args) => args.run(output).await,
        Command::Lsimage(args) => args.run(output).await,
        Command::Lsgpu(args) => args.run(output).await,
        Command::Doctor(args) => args.run(output).await,
        Command::Verify(args) => verify::run(args, output).await,
        Command::Explain(args) => explain::run(args, output).await,
        Command::ComposeHash { file } => compose::run(&file, output),
        Command::Kms(command) => kms::run(command, output).await,
        Command::App(command) => app::run(command, output).await,
        Command::Gov(command) => gov::run(*command, output).await,
        Command::Env(command) => env::run(command, output).await,
        Command::Image(command) => image::run(command, output).await,
        Command::Dev(args) => dev::run(args, output).await,
        Command::Completions { shell } => {
            let mut command = Cli::command();
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "bylaw", &mut script);
            output.text(&String::from_utf8_lossy(&script));
            Ok(())
        }
    }
}
