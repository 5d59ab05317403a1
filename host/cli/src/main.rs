//! `bylaw`: deploy, govern, verify, explain.
//!
//! Results go to standard output, everything else to standard error. Exit codes:
//! 0 done, 1 failed, 2 unusable input, 3 denied by policy, 4 not verified,
//! 5 unreachable.

mod app;
mod chain;
mod compose;
mod dev;
mod env;
mod evidence;
mod explain;
mod gov;
mod image;
mod kms;
mod output;
mod verify;

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
