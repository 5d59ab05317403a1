//! `bylaw dev`: a whole simulated system on this machine.

mod processes;
mod system;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use serde_json::json;

use crate::output::{Failure, Output};
use processes::Processes;

/// Options of `bylaw dev`.
#[derive(ClapArgs)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  \
        bylaw dev --app app-compose.json --detach\n  \
        . .bylaw-dev/env && curl --unix-socket \"$DSTACK_SIMULATOR_ENDPOINT\" http://x/Info\n  \
        bylaw dev down"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    up: Up,
}

#[derive(ClapArgs)]
struct Up {
    /// Keys, logs, sockets and `env` go here.
    #[arg(long, default_value = ".bylaw-dev")]
    state: PathBuf,
    /// Return when everything runs; `bylaw dev down` ends it.
    #[arg(long)]
    detach: bool,
    /// app-compose.json of the app; default is a small one.
    #[arg(long)]
    app: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// End everything that `bylaw dev` started.
    Down {
        /// Where it was started.
        #[arg(long, default_value = ".bylaw-dev")]
        state: PathBuf,
    },
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Failure> {
    if let Some(Command::Down { state }) = args.command {
        let ended = Processes::load(&state)?.end_all();
        output.result(&[("ended", ended.join(" "))], &json!({ "ended": ended }));
        return Ok(());
    }
    let Up { state, detach, app } = args.up;
    output.say("SIMULATED TEE: proves nothing about hardware; its keys are not production keys");
    std::fs::create_dir_all(&state)?;
    let state = state.canonicalize()?;
    // What an earlier run left behind would hold the sockets.
    Processes::load(&state)?.end_all();
    let mut processes = Processes::new(&state);
    let started = tokio::select! {
        started = system::start(&state, app.as_deref(), &mut processes, output) => started,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    let system = match started {
        Ok(system) => system,
        Err(error) => {
            processes.end_all();
            return Err(Failure::Failed(error));
        }
    };
    let env = state.join("env");
    output.result(
        &[
            ("app", format!("0x{}", system.app_id)),
            ("kms", system.kms_url.clone()),
            ("rpc", system.rpc_url.clone()),
            ("env", env.display().to_string()),
            ("next", format!(". {}", env.display())),
        ],
        &json!({
            "app_id": format!("0x{}", system.app_id), "kms_url": system.kms_url,
            "rpc_url": system.rpc_url, "env": env, "variables": system.variables,
        }),
    );
    if detach {
        return Ok(());
    }
    output.say("running; ctrl-C ends everything");
    wait_for_signal().await;
    processes.end_all();
    Ok(())
}

async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}
