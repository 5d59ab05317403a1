//! What holds, what waits, what happened.

use alloy::primitives::Address;
use bylaw_gov::text::{duration, time};
use bylaw_gov::{Chain, Kind, OwnerView, PendingView, VersionView};
use clap::Args;
use serde_json::json;

use crate::chain::ChainArgs;
use crate::output::{Failure, Output};

/// Which contract: an app's, or the KMS's.
#[derive(Args)]
pub(crate) struct Of {
    /// The app; the KMS contract when none is named.
    #[arg(long, env = "APP_CONTRACT_ADDR")]
    pub(crate) app: Option<Address>,
    /// The KMS contract, also where APP_CONTRACT_ADDR is set.
    #[arg(long)]
    pub(crate) kms: bool,
    #[command(flatten)]
    pub(crate) chain: ChainArgs,
}

impl Of {
    /// The app, unless the KMS contract is meant.
    pub(crate) fn app(&self) -> Option<Address> {
        self.app.filter(|_| !self.kms)
    }

    pub(crate) async fn connect(&self) -> Result<(Chain, Address), Failure> {
        let target = match self.app() {
            Some(app) => app,
            None => self.chain.kms_address()?,
        };
        let chain = self.chain.connect().await?;
        chain.check_contract(target).await?;
        Ok((chain, target))
    }
}

#[derive(Args)]
pub(crate) struct History {
    #[command(flatten)]
    of: Of,
    /// First block to look at.
    #[arg(long, default_value_t = 0)]
    from_block: u64,
}

pub(crate) async fn pending(of: Of, output: &Output) -> Result<(), Failure> {
    let (chain, contract) = of.connect().await?;
    let at = chain.latest().await?;
    let pending = chain.pending(at, contract).await?;
    let mut lines = vec![("contract", contract.to_string())];
    lines.extend(pending_lines(&pending, at.timestamp));
    let value = json!({ "contract": contract, "block": at, "pending": pending });
    output.result(&lines, &value);
    Ok(())
}

pub(crate) async fn history(args: History, output: &Output) -> Result<(), Failure> {
    let (chain, contract) = args.of.connect().await?;
    let at = chain.latest().await?;
    let events = chain.history(at, contract, args.from_block).await?;
    let mut lines = vec![("contract", contract.to_string())];
    for event in &events {
        let by = event.by.map_or(String::new(), |by| format!(" by {by}"));
        let text = format!(
            "{}  block {}  {}{by}{}",
            time(event.time),
            event.block,
            event.title,
            if event.detail.is_empty() {
                String::new()
            } else {
                format!(": {}", event.detail)
            }
        );
        lines.push(("", text));
    }
    let value = json!({ "contract": contract, "block": at, "history": events });
    output.result(&lines, &value);
    Ok(())
}

pub(crate) async fn show(of: Of, output: &Output) -> Result<(), Failure> {
    let kms = of.chain.kms_address()?;
    let (chain, _) = of.connect().await?;
    let at = chain.latest().await?;
    let Some(app) = of.app() else {
        let view = chain.kms(at, kms).await?;
        let mut lines = vec![
            ("KMS contract", view.address.to_string()),
            ("owner", owner(&view.owner)),
            ("guardian", address_or(view.guardian, "nobody")),
            ("delay", delay(view.kind, view.delay)),
            ("gateway", or(&view.gateway_app_id, "none")),
        ];
        if view.upgrades_disabled {
            lines.push(("code", "can never be replaced".to_owned()));
        }
        for node in &view.nodes {
            lines.push(("KMS node", node.endpoint.clone()));
        }
        lines.extend(pending_lines(&view.pending, at.timestamp));
        output.result(&lines, &json!({ "block": at, "kms": view }));
        return Ok(());
    };
    let view = chain.app(at, kms, app).await?;
    let mut lines = vec![
        ("app", app.to_string()),
        ("owner", owner(&view.owner)),
        ("guardian", address_or(view.guardian, "nobody")),
        ("delay", delay(view.kind, view.delay)),
        ("registered", yes(view.registered)),
    ];
    if view.paused || view.paused_at_kms {
        let place = if view.paused {
            "by the app's contract"
        } else {
            "by the KMS contract"
        };
        lines.push(("PAUSED", format!("no keys are released, {place}")));
    }
    for (frozen, text) in [
        (view.versions_frozen, "no version can be added any more"),
        (
            view.upgrades_disabled,
            "the contract's code can never be replaced",
        ),
    ] {
        if frozen {
            lines.push(("frozen", text.to_owned()));
        }
    }
    for rule in &view.policy {
        lines.push(("policy", format!("{}: {}", rule.rule, rule.value)));
    }
    if view.kind == Kind::Custom {
        lines.push((
            "policy",
            "a contract of its own making; read its source".to_owned(),
        ));
    }
    for version in &view.versions {
        lines.push(("version", version_line(version)));
    }
    lines.extend(pending_lines(&view.pending, at.timestamp));
    output.result(&lines, &json!({ "block": at, "app": view }));
    Ok(())
}

fn version_line(version: &VersionView) -> String {
    let when = match version.state.as_str() {
        "pending" => format!(" from {}", time(version.activates_at)),
        "active" if version.expires_at != 0 => format!(" until {}", time(version.expires_at)),
        "expired" => format!(" since {}", time(version.expires_at)),
        _ => String::new(),
    };
    let note = if version.note.is_empty() {
        String::new()
    } else {
        format!("  {:?}", version.note)
    };
    format!(
        "{} {}{when}  {}{note}",
        version.number, version.state, version.compose_hash
    )
}

fn pending_lines(pending: &[PendingView], now: u64) -> Vec<(&'static str, String)> {
    if pending.is_empty() {
        return vec![("pending", "nothing".to_owned())];
    }
    let line = |change: &PendingView| {
        let when = match change.activates_at.checked_sub(now) {
            Some(left) if left > 0 => format!("in {}", duration(left)),
            _ => "ready to be carried out".to_owned(),
        };
        let text = format!(
            "{when}, at {}: {}: {}",
            time(change.activates_at),
            change.title,
            change.detail
        );
        [("pending", text), ("", format!("id {}", change.id))]
    };
    pending.iter().flat_map(line).collect()
}

fn owner(owner: &OwnerView) -> String {
    let signers: Vec<String> = owner.signers.iter().map(Address::to_string).collect();
    match owner.kind {
        "safe" => format!(
            "{} (Safe, {} of {}: {})",
            owner.address,
            owner.threshold,
            signers.len(),
            signers.join(" ")
        ),
        "timelock" => format!(
            "{} (timelock, {})",
            owner.address,
            duration(owner.min_delay)
        ),
        "account" => format!("{} (one key)", owner.address),
        "nobody" => "nobody".to_owned(),
        _ => format!("{} (a contract)", owner.address),
    }
}

/// A contract's delay, for whoever proposes.
pub(crate) fn delay_words(delay: u64) -> String {
    match delay {
        0 => "none: it takes effect at once".to_owned(),
        seconds => format!("what it widens waits {}", duration(seconds)),
    }
}

fn delay(kind: Kind, delay: u64) -> String {
    match (kind, delay) {
        (Kind::Bylaw, 0) => "none: changes take effect at once".to_owned(),
        (Kind::Bylaw, seconds) => duration(seconds),
        (Kind::Dstack, _) => "a dstack contract: changes take effect at once".to_owned(),
        (Kind::Custom, _) => "a contract of its own making".to_owned(),
    }
}

fn address_or(address: Option<Address>, otherwise: &str) -> String {
    address.map_or_else(|| otherwise.to_owned(), |address| address.to_string())
}

fn or(text: &str, otherwise: &str) -> String {
    if text.is_empty() { otherwise } else { text }.to_owned()
}

fn yes(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}
