//! Proposing, signing, carrying out.

use std::path::{Path, PathBuf};

use alloy::primitives::{Address, B256};
use alloy::sol_types::SolCall;
use bylaw_gov::abi::{Calls, Views};
use bylaw_gov::text::time;
use bylaw_gov::{Authority, Chain, Executed, Proposal, ProposalError, diff};
use clap::Args;
use serde_json::{Value, json};

use super::change::Change;
use super::look::{self, Of};
use super::prepare::Prepared;
use crate::chain::{ChainArgs, SignerArgs};
use crate::output::{Failure, Output};

/// Longest proposal that is read, in bytes: two manifests of the largest size, and room.
const MAX_FILE: u64 = 4 << 20;

#[derive(Args)]
pub(crate) struct File {
    /// The proposal.
    file: PathBuf,
}

#[derive(Args)]
pub(crate) struct Sign {
    /// The proposal; the signature is added to it.
    file: PathBuf,
    /// Do not ask before signing.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    signer: SignerArgs,
}

#[derive(Args)]
pub(crate) struct Execute {
    /// The proposal.
    file: PathBuf,
    #[command(flatten)]
    chain: ChainArgs,
    /// Who sends the transaction and pays for it.
    #[command(flatten)]
    signer: SignerArgs,
}

#[derive(Args)]
pub(crate) struct Veto {
    /// The pending change, from `pending`.
    id: B256,
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    signer: SignerArgs,
    /// File to write where a multisig decides.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Pause {
    #[command(flatten)]
    of: Of,
    /// At the KMS contract, whatever the app's own contract says.
    #[arg(long)]
    at_kms: bool,
    #[command(flatten)]
    signer: SignerArgs,
    /// File to write where a multisig decides.
    #[arg(long)]
    out: Option<PathBuf>,
}

pub(crate) async fn propose(change: Change, output: &Output) -> Result<(), Failure> {
    let prepared = change.prepare().await?;
    let at = prepared.chain.latest().await?;
    let decides = if prepared.by_pending_owner {
        let asked = prepared
            .chain
            .ask(at, prepared.target, Views::pendingOwnerCall {});
        asked.await?.unwrap_or_default()
    } else {
        prepared
            .chain
            .owner_of(at, prepared.target)
            .await?
            .address()
    };
    if decides.is_zero() {
        let what = if prepared.by_pending_owner {
            "the ownership was offered to nobody"
        } else {
            "it has no owner"
        };
        return Err(Failure::Failed(anyhow::anyhow!(
            "nobody decides for {}: {what}",
            prepared.target
        )));
    }
    let mut authority = prepared.chain.authority(at, decides).await?;
    if let (Authority::Safe { nonce, .. }, Some(wanted)) = (&mut authority, prepared.nonce) {
        *nonce = wanted;
    }
    let file = prepared.out.clone();
    write(prepared, authority, file, output).await
}

/// Writes the proposal down and shows it.
async fn write(
    prepared: Prepared,
    authority: Authority,
    file: Option<PathBuf>,
    output: &Output,
) -> Result<(), Failure> {
    let Prepared {
        chain,
        target,
        data,
        name,
        running_compose,
        next_compose,
        ..
    } = prepared;
    let mut proposal = Proposal::new(chain.id(), target, data, authority);
    proposal.running_compose = running_compose;
    proposal.next_compose = next_compose;
    // Reading it back runs every check that its readers will run.
    let proposal = Proposal::parse(&proposal.to_json())?;
    proposal.title()?;
    let at = chain.latest().await?;
    let delay = chain.delay_of(at, target).await?;
    let decides = proposal.authority.address();
    let rehearsed = chain
        .rehearse(at, decides, target, proposal.data.clone())
        .await?;
    let file = match file {
        Some(file) => file,
        None => PathBuf::from(format!("{name}-{:.8}.json", hex::encode(proposal.salt))),
    };
    bylaw_types::file::write_atomic(&file, &proposal.to_json())?;
    let (mut lines, mut value) = describe(&proposal);
    lines.push(("delay", look::delay_words(delay)));
    if let Err(refusal) = &rehearsed {
        lines.push(("WOULD FAIL NOW", refusal.clone()));
    }
    lines.push(("file", file.display().to_string()));
    lines.push(("next", next(&proposal, &file)));
    value["file"] = json!(file);
    value["delay"] = json!(delay);
    value["would_fail_now"] = json!(rehearsed.err());
    output.result(&lines, &value);
    Ok(())
}

fn next(proposal: &Proposal, file: &Path) -> String {
    let file = file.display();
    match &proposal.authority {
        Authority::Safe { threshold, .. } => format!(
            "{threshold} signers: bylaw gov sign {file}; then anyone: bylaw gov execute {file}"
        ),
        _ => format!("bylaw gov execute {file}"),
    }
}

/// What a proposal does, made from nothing but its call.
fn describe(proposal: &Proposal) -> (Vec<(&'static str, String)>, Value) {
    let title = proposal.title().unwrap_or_else(|error| error.to_string());
    let mut lines = vec![
        ("does", title.clone()),
        ("contract", proposal.target.to_string()),
        ("chain", proposal.chain_id.to_string()),
        ("decides", proposal.authority.describe()),
    ];
    let hashes = proposal.hashes();
    if let (Some(hashes), Some(safe)) = (&hashes, proposal.safe()) {
        lines.extend([
            ("Safe nonce", safe.nonce.to_string()),
            ("domain hash", hashes.domain.to_string()),
            ("message hash", hashes.message.to_string()),
            ("Safe hash", hashes.transaction.to_string()),
        ]);
        for signature in &proposal.signatures {
            lines.push(("signed by", signature.signer.to_string()));
        }
        for missing in proposal.missing() {
            lines.push(("not signed", missing.to_string()));
        }
    }
    lines.push(("calldata", proposal.data.to_string()));
    let compared = match (&proposal.running_compose, &proposal.next_compose) {
        (Some(before), Some(after)) => diff(before, after),
        (None, Some(after)) => diff("", after),
        _ => vec![],
    };
    for (index, line) in compared.iter().enumerate() {
        let name = if index == 0 { "compose" } else { "" };
        lines.push((name, format!("{} {}", line.tag, line.text)));
    }
    // The call does not vouch for the other side of a comparison unless it names it.
    if let Some((hash, is_named)) = proposal.running() {
        let who = if is_named {
            "which the call names"
        } else {
            "WHICH ONLY THE PROPOSER SAYS RUNS: compare it with `bylaw gov show`"
        };
        lines.push(("compared with", format!("0x{hash}, {who}")));
    }
    let signers: Vec<Address> = proposal.signatures.iter().map(|one| one.signer).collect();
    let value = json!({
        "title": title, "target": proposal.target, "chain_id": proposal.chain_id,
        "authority": proposal.authority, "data": proposal.data, "hashes": hashes,
        "signed_by": signers, "missing": proposal.missing(), "diff": compared,
    });
    (lines, value)
}

pub(crate) fn read(file: &Path) -> Result<Proposal, Failure> {
    let unusable = |reason: String| Failure::Unusable(format!("{}: {reason}", file.display()));
    let length = std::fs::metadata(file)
        .map_err(|error| unusable(error.to_string()))?
        .len();
    if length > MAX_FILE {
        return Err(unusable(format!("longer than {MAX_FILE} bytes")));
    }
    let bytes = std::fs::read(file).map_err(|error| unusable(error.to_string()))?;
    Proposal::parse(&bytes).map_err(|error| unusable(error.to_string()))
}

pub(crate) fn review(args: &File, output: &Output) -> Result<(), Failure> {
    let proposal = read(&args.file)?;
    proposal.title().map_err(unusable)?;
    let (lines, value) = describe(&proposal);
    output.result(&lines, &value);
    Ok(())
}

pub(crate) fn sign(args: &Sign, output: &Output) -> Result<(), Failure> {
    let mut proposal = read(&args.file)?;
    proposal.title().map_err(unusable)?;
    let (lines, _) = describe(&proposal);
    if !args.yes {
        output.say_lines(&lines);
        confirm("Sign this")?;
    }
    let signer = args.signer.signer()?;
    proposal.sign(&signer).map_err(unusable)?;
    bylaw_types::file::write_atomic(&args.file, &proposal.to_json())?;
    let need = match &proposal.authority {
        Authority::Safe { threshold, .. } => *threshold,
        _ => 0,
    };
    let have = proposal.signatures.len();
    output.result(
        &[
            ("signed by", signer.address().to_string()),
            ("signatures", format!("{have} of {need}")),
        ],
        &json!({ "signer": signer.address(), "have": have, "need": need, "hashes": proposal.hashes() }),
    );
    Ok(())
}

pub(crate) async fn execute(args: &Execute, output: &Output) -> Result<(), Failure> {
    let proposal = read(&args.file)?;
    let chain = args.chain.connect().await?;
    if chain.id() != proposal.chain_id {
        return Err(Failure::Unusable(format!(
            "the proposal is for chain {}, this is chain {}",
            proposal.chain_id,
            chain.id()
        )));
    }
    carry_out(&chain, &proposal, args.signer.signer()?, output).await
}

async fn carry_out(
    chain: &Chain,
    proposal: &Proposal,
    sender: alloy::signers::local::PrivateKeySigner,
    output: &Output,
) -> Result<(), Failure> {
    let title = proposal.title().map_err(unusable)?;
    match proposal.execute(chain, sender).await? {
        Executed::Done(transaction) => {
            let at = chain.latest().await?;
            let pending = chain.pending(at, proposal.target).await?;
            let mut lines = vec![
                ("done", title.clone()),
                ("transaction", transaction.to_string()),
            ];
            for change in &pending {
                lines.push((
                    "pending",
                    format!(
                        "from {}: {}: {}",
                        time(change.activates_at),
                        change.title,
                        change.detail
                    ),
                ));
            }
            let value = json!({ "title": title, "transaction": transaction, "pending": pending });
            output.result(&lines, &value);
        }
        Executed::Scheduled(transaction, due) => {
            let lines = [
                ("scheduled", title.clone()),
                ("transaction", transaction.to_string()),
                ("next", format!("execute again from {}", time(due))),
            ];
            let value = json!({ "title": title, "transaction": transaction, "executable_at": due });
            output.result(&lines, &value);
        }
    }
    Ok(())
}

pub(crate) async fn veto(args: Veto, output: &Output) -> Result<(), Failure> {
    let (chain, target) = args.of.connect().await?;
    let data = Calls::vetoCall { id: args.id }.abi_encode().into();
    let prepared = Prepared::new(chain, target, data, args.out, "veto");
    at_once(prepared, &args.signer, output).await
}

pub(crate) async fn pause(args: Pause, output: &Output) -> Result<(), Failure> {
    let app = args
        .of
        .app()
        .ok_or_else(|| Failure::Unusable("name the app with --app".to_owned()))?;
    let chain = args.of.chain.connect().await?;
    let (target, data) = if args.at_kms {
        let call = Calls::pauseAppCall { appId: app };
        (args.of.chain.kms_address()?, call.abi_encode())
    } else {
        (app, Calls::pauseCall {}.abi_encode())
    };
    let prepared = Prepared::new(chain, target, data.into(), args.out, "pause");
    at_once(prepared, &args.signer, output).await
}

/// What owner and guardian may both do: sent at once by one of their keys, written
/// down where the guardian, or else the owner, is a multisig.
async fn at_once(prepared: Prepared, signer: &SignerArgs, output: &Output) -> Result<(), Failure> {
    let (chain, target) = (prepared.chain.clone(), prepared.target);
    let at = chain.latest().await?;
    let owner = chain.owner_of(at, target).await?;
    let guardian = chain.guardian_of(at, target).await?.unwrap_or_default();
    let guardian = chain.authority(at, guardian).await?;
    let both = [guardian, owner];
    let sender = signer.signer();
    if prepared.out.is_none()
        && let Ok(sender) = &sender
        && let Some(one) = both.iter().find(|one| one.address() == sender.address())
    {
        let proposal = Proposal::new(chain.id(), target, prepared.data, one.clone());
        return carry_out(&chain, &proposal, sender.clone(), output).await;
    }
    // Written down for a multisig: when asked to, without a key, or with a key of its owners.
    let file = prepared.out.clone();
    let may_write = |one: &&Authority| match (one, &sender) {
        (Authority::Safe { owners, .. }, Ok(sender)) => {
            file.is_some() || owners.contains(&sender.address())
        }
        (Authority::Safe { .. } | Authority::Timelock { .. }, _) => true,
        _ => false,
    };
    match both.iter().find(may_write) {
        Some(multisig) => {
            let (multisig, file) = (multisig.clone(), file.clone());
            write(prepared, multisig, file, output).await
        }
        None => {
            let sender = sender?.address();
            let [guardian, owner] = both.map(|one| one.describe());
            Err(Failure::Failed(anyhow::anyhow!(
                "{sender} is neither owner ({owner}) nor guardian ({guardian})"
            )))
        }
    }
}

fn unusable(error: ProposalError) -> Failure {
    Failure::Unusable(error.to_string())
}

fn confirm(question: &str) -> Result<(), Failure> {
    use std::io::{IsTerminal, Write};
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Unusable(
            "no terminal to ask on; read it with `bylaw gov review`, then give --yes".to_owned(),
        ));
    }
    eprint!("{question}? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.trim().eq_ignore_ascii_case("y") {
        Ok(())
    } else {
        Err(Failure::Failed(anyhow::anyhow!("not signed")))
    }
}
