//! `bylaw gov`: seeing changes come, and deciding them.

mod act;
mod change;
mod library;
mod look;
mod prepare;
mod serve;
mod simulate;

use clap::Subcommand;

use crate::output::{Failure, Output};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Write down a change for those who decide, and show what it does.
    #[command(
        subcommand,
        after_help = "Examples:\n  \
        bylaw gov propose version --app 0x… --compose app-compose.json --supersede 0x… --out upgrade.json\n  \
        bylaw gov propose policy --app 0x… --tcb UpToDate,SWHardeningNeeded --tcb-grace 7d\n  \
        bylaw gov propose os-image 0x… --out image.json\n\n\
        The file then goes to the signers (`sign`) and to whoever pays for gas (`execute`). \
        An account that decides alone can execute at once."
    )]
    Propose(change::Change),
    /// Show what a proposal does, with the hashes that a signing device must show.
    #[command(after_help = "Example:\n  bylaw gov review upgrade.json")]
    Review(act::File),
    /// Add a signature to a proposal; needs no network.
    #[command(after_help = "Example:\n  bylaw gov sign upgrade.json --keystore alice.json")]
    Sign(act::Sign),
    /// Carry a proposal out, or take its next step through a timelock.
    #[command(after_help = "Example:\n  bylaw gov execute upgrade.json --keystore payer.json")]
    Execute(act::Execute),
    /// Drop a pending change, as owner or guardian.
    #[command(after_help = "Example:\n  bylaw gov veto 0x…id --app 0x… --keystore guardian.json")]
    Veto(act::Veto),
    /// Stop an app's keys at once, as owner or guardian.
    #[command(
        after_help = "Examples:\n  bylaw gov pause --app 0x… --keystore guardian.json\n  \
                      bylaw gov pause --app 0x… --at-kms --keystore kms-guardian.json"
    )]
    Pause(act::Pause),
    /// What waits, and from when it holds.
    #[command(after_help = "Example:\n  bylaw gov pending --app 0x…")]
    Pending(look::Of),
    /// What happened, oldest first, from the contract's events.
    #[command(after_help = "Example:\n  bylaw gov history --app 0x… --from-block 20000000")]
    History(look::History),
    /// What may run now, and from when what else.
    #[command(after_help = "Example:\n  bylaw gov show --app 0x…")]
    Show(look::Of),
    /// Would this VM get keys, now or at another time? Every rule with its verdict.
    #[command(after_help = "Examples:\n  \
        bylaw gov simulate --app 0x… --compose app-compose.json --os-image 0x… --in 24h\n  \
        bylaw gov simulate getquote.json --time 1790000000")]
    Simulate(Box<simulate::Args>),
    /// A page to look at: apps, versions, pending changes, signatures. Read-only.
    #[command(
        after_help = "Example:\n  bylaw gov serve --proposals ./proposals --composes ./composes"
    )]
    Serve(serve::Args),
}

pub(crate) async fn run(command: Command, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Propose(change) => act::propose(change, output).await,
        Command::Review(file) => act::review(&file, output),
        Command::Sign(sign) => act::sign(&sign, output),
        Command::Execute(execute) => act::execute(&execute, output).await,
        Command::Veto(veto) => act::veto(veto, output).await,
        Command::Pause(pause) => act::pause(pause, output).await,
        Command::Pending(of) => look::pending(of, output).await,
        Command::History(history) => look::history(history, output).await,
        Command::Show(of) => look::show(of, output).await,
        Command::Simulate(args) => simulate::run(*args, output).await,
        Command::Serve(args) => serve::run(args, output).await,
    }
}
