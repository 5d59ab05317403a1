//! `bylaw gov simulate`: would this VM get keys at that time?

use std::time::Duration;

use alloy::primitives::{Address, B256};
use bylaw_attest::Mode;
use bylaw_chain::abi::{AppBootInfo, Facts, IKms, RuleVerdict};
use bylaw_gov::text::{TEE_VARIANTS, time};
use bylaw_gov::{At, Chain, Kind};
use bylaw_types::{
    AppId, BootInfo, ComposeHash, DeviceId, MrAggregated, MrSystem, OsImageHash, PlatformFacts,
    TcbStatus, TeeVariant,
};
use clap::Args as ClapArgs;
use serde_json::json;

use super::look::Of;
use crate::compose;
use crate::evidence::{TrustArgs, load};
use crate::explain::appraise;
use crate::output::{Failure, Output};

/// The VM, by its evidence or by what it would be, and the time.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Evidence of a VM: a file, an https URL or an http URL. Otherwise describe the VM.
    source: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    of: Of,
    /// Manifest that it runs.
    #[arg(long, conflicts_with_all = ["compose_hash", "source"])]
    compose: Option<std::path::PathBuf>,
    /// Hash of its manifest.
    #[arg(long, conflicts_with = "source")]
    compose_hash: Option<B256>,
    /// Hash of its OS image.
    #[arg(long, default_value_t = B256::ZERO, conflicts_with = "source")]
    os_image: B256,
    /// Its machine.
    #[arg(long, default_value_t = B256::ZERO, conflicts_with = "source")]
    device: B256,
    /// What its vendor says of its platform.
    #[arg(long, default_value = "UpToDate", conflicts_with = "source")]
    tcb_status: TcbStatus,
    /// Since when the platform lacks a TCB level, Unix time.
    #[arg(long, conflicts_with = "source")]
    tcb_outdated_since: Option<u64>,
    /// Advisories that apply to the platform.
    #[arg(long, conflicts_with = "source")]
    advisory: Vec<String>,
    /// Kind of TEE.
    #[arg(long, default_value = "tdx", value_parser = tee_variant, conflicts_with = "source")]
    tee: TeeVariant,
    /// Its GPUs are attested.
    #[arg(long, conflicts_with = "source")]
    gpu_attested: bool,
    /// When, Unix time; now otherwise.
    #[arg(id = "time", long = "time", conflicts_with = "after")]
    at: Option<u64>,
    /// When, from now, such as 24h.
    #[arg(long = "in", value_name = "DURATION", value_parser = humantime::parse_duration)]
    after: Option<Duration>,
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let kms = args.of.chain.kms_address()?;
    let chain = args.of.chain.connect().await?;
    let at = chain.latest().await?;
    let when = match (args.at, args.after) {
        (Some(time), _) => time.max(at.timestamp),
        (None, Some(after)) => at.timestamp.saturating_add(after.as_secs()),
        (None, None) => at.timestamp,
    };
    let (who, facts) = match &args.source {
        Some(source) => from_evidence(source, &args.trust).await?,
        None => described(&args)?,
    };
    let (rules, note) = judge(&chain, at, kms, &who, &facts, when).await?;
    let failed = rules.iter().find(|rule| !rule.passed);
    let mut lines = vec![
        ("app", app_of(&who).to_string()),
        ("compose hash", format!("0x{}", who.compose_hash)),
        ("time", time(when)),
    ];
    for rule in &rules {
        let mark = if rule.passed { "passed" } else { "FAILED" };
        lines.push((rule.rule.as_str(), format!("{mark}  {}", rule.reason)));
    }
    if let Some(note) = note {
        lines.push(("note", note.to_owned()));
    }
    let verdict = if failed.is_none() {
        "allowed"
    } else {
        "denied"
    };
    lines.push(("verdict", verdict.to_owned()));
    let rows: Vec<_> = rules
        .iter()
        .map(|rule| json!({ "rule": rule.rule, "passed": rule.passed, "reason": rule.reason }))
        .collect();
    let value = json!({
        "allowed": failed.is_none(), "time": when, "block": at, "app": app_of(&who),
        "compose_hash": format!("0x{}", who.compose_hash), "rules": rows, "note": note,
    });
    output.result(&lines, &value);
    match failed {
        None => Ok(()),
        Some(rule) => Err(Failure::Denied(format!(
            "{}: not allowed at {}",
            rule.reason,
            time(when)
        ))),
    }
}

/// Every rule, as far as the contracts tell them.
async fn judge(
    chain: &Chain,
    at: At,
    kms: Address,
    who: &BootInfo,
    facts: &PlatformFacts,
    when: u64,
) -> Result<(Vec<RuleVerdict>, Option<&'static str>), Failure> {
    if chain.kind(at, kms).await? == Kind::Bylaw {
        let call = IKms::explainCall {
            info: AppBootInfo::from(who),
            facts: Facts::new(who, facts, when),
            time: when,
        };
        let rules = chain.ask(at, kms, call).await?;
        let rules = rules.ok_or_else(|| {
            Failure::Failed(anyhow::anyhow!(
                "the KMS contract {kms} does not explain itself"
            ))
        })?;
        let custom = chain.kind(at, app_of(who)).await? != Kind::Bylaw;
        let note = custom.then_some("the app's contract knows no times: it was asked about now");
        return Ok((rules, note));
    }
    let call = IKms::isAppAllowedCall {
        info: AppBootInfo::from(who),
    };
    let said = chain.ask(at, kms, call).await?.ok_or_else(|| {
        Failure::Failed(anyhow::anyhow!(
            "{kms} is no KMS contract, or the app's contract reverts"
        ))
    })?;
    let rule = RuleVerdict {
        rule: "KMS contract".to_owned(),
        passed: said.isAllowed,
        reason: said.reason,
    };
    let note = "a dstack contract: no delays, so what holds now holds until somebody changes it";
    Ok((vec![rule], Some(note)))
}

fn described(args: &Args) -> Result<(BootInfo, PlatformFacts), Failure> {
    let app = args
        .of
        .app()
        .ok_or_else(|| Failure::Unusable("name the app with --app".to_owned()))?;
    let hash = match (&args.compose, args.compose_hash) {
        (Some(file), _) => B256::from(compose::read(file)?.hash().to_bytes()),
        (None, Some(hash)) => hash,
        (None, None) => {
            return Err(Failure::Unusable(
                "name the version: --compose, --compose-hash or evidence".to_owned(),
            ));
        }
    };
    let bytes = |word: B256| word.0;
    let who = BootInfo {
        tee_variant: args.tee,
        mr_aggregated: MrAggregated::new([0; 32]),
        os_image_hash: OsImageHash::new(bytes(args.os_image)),
        mr_system: MrSystem::new([0; 32]),
        app_id: AppId::new(app.into_array()),
        compose_hash: ComposeHash::new(bytes(hash)),
        instance_id: None,
        device_id: DeviceId::new(bytes(args.device)),
        key_provider_info: vec![],
        tcb_status: args.tcb_status,
        advisory_ids: args.advisory.clone(),
    };
    let facts = PlatformFacts {
        tcb_outdated_since: args.tcb_outdated_since,
        gpu_attested: args.gpu_attested,
    };
    Ok((who, facts))
}

fn app_of(who: &BootInfo) -> Address {
    Address::from(who.app_id.to_bytes())
}

/// A kind of TEE by the name that policies use.
fn tee_variant(name: &str) -> Result<TeeVariant, String> {
    let variants = [
        TeeVariant::Tdx,
        TeeVariant::GcpTdx,
        TeeVariant::NitroEnclave,
        TeeVariant::SevSnp,
        TeeVariant::AwsNitroTpm,
    ];
    let position = TEE_VARIANTS.iter().position(|known| *known == name);
    position
        .and_then(|position| variants.get(position).copied())
        .ok_or_else(|| format!("one of {}", TEE_VARIANTS.join(", ")))
}

async fn from_evidence(
    source: &str,
    trust: &TrustArgs,
) -> Result<(BootInfo, PlatformFacts), Failure> {
    let found = load(source).await?;
    let appraisal = appraise(trust, false, &found).await?;
    let who = appraisal
        .identify(Mode::Full, None)
        .map_err(|error| Failure::Unverified(error.to_string()))?;
    Ok((who, appraisal.facts()))
}
