//! `bylaw gov simulate`: would this VM get keys at that time?

use std::time::Duration;

use alloy::primitives::{Address, B256};
use bylaw_attest::Mode;
use bylaw_gov::abi::{AppBootInfo, Facts, RuleVerdict, Views};
use bylaw_gov::text::{TEE_VARIANTS, time};
use bylaw_gov::{At, Chain, Kind};
use bylaw_types::TcbStatus;
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
    #[arg(long, default_value_t = 0, conflicts_with = "source")]
    tcb_outdated_since: u64,
    /// Advisories that apply to the platform.
    #[arg(long, conflicts_with = "source")]
    advisory: Vec<String>,
    /// Kind of TEE.
    #[arg(long, default_value = "tdx", value_parser = TEE_VARIANTS, conflicts_with = "source")]
    tee: String,
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
        (None, Some(after)) => at.timestamp + after.as_secs(),
        (None, None) => at.timestamp,
    };
    let (who, facts) = match &args.source {
        Some(source) => from_evidence(source, &args.trust, when).await?,
        None => described(&args, when)?,
    };
    let (rules, note) = judge(&chain, at, kms, &who, facts, when).await?;
    let failed = rules.iter().find(|rule| !rule.passed);
    let mut lines = vec![
        ("app", who.appId.to_string()),
        ("compose hash", who.composeHash.to_string()),
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
        "allowed": failed.is_none(), "time": when, "block": at, "app": who.appId,
        "compose_hash": who.composeHash, "rules": rows, "note": note,
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
    who: &AppBootInfo,
    facts: Facts,
    when: u64,
) -> Result<(Vec<RuleVerdict>, Option<&'static str>), Failure> {
    if chain.kind(at, kms).await? == Kind::Bylaw {
        let call = Views::explainCall {
            bootInfo: who.clone(),
            facts,
            time: when,
        };
        let rules = chain.ask(at, kms, call).await?;
        let rules = rules.ok_or_else(|| {
            Failure::Failed(anyhow::anyhow!(
                "the KMS contract {kms} does not explain itself"
            ))
        })?;
        let custom = chain.kind(at, who.appId).await? != Kind::Bylaw;
        let note = custom.then_some("the app's contract knows no times: it was asked about now");
        return Ok((rules, note));
    }
    let call = Views::isAppAllowedCall {
        bootInfo: who.clone(),
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

fn described(args: &Args, when: u64) -> Result<(AppBootInfo, Facts), Failure> {
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
    let bit = TEE_VARIANTS
        .iter()
        .position(|name| *name == args.tee)
        .unwrap_or_default();
    let who = AppBootInfo {
        appId: app,
        composeHash: hash,
        instanceId: Address::ZERO,
        deviceId: args.device,
        mrAggregated: B256::ZERO,
        mrSystem: B256::ZERO,
        osImageHash: args.os_image,
        tcbStatus: args.tcb_status.as_str().to_owned(),
        advisoryIds: args.advisory.clone(),
    };
    let facts = Facts {
        time: when,
        teeVariant: 1 << bit,
        tcbOutdatedSince: args.tcb_outdated_since,
        gpuAttested: args.gpu_attested,
    };
    Ok((who, facts))
}

async fn from_evidence(
    source: &str,
    trust: &TrustArgs,
    when: u64,
) -> Result<(AppBootInfo, Facts), Failure> {
    let found = load(source).await?;
    let appraisal = appraise(trust, false, &found).await?;
    let info = appraisal
        .identify(Mode::Full, None)
        .map_err(|error| Failure::Unverified(error.to_string()))?;
    let known = appraisal.facts();
    let name = info
        .tee_variant
        .as_str()
        .trim_start_matches("dstack-")
        .replace("amd-", "");
    let bit = TEE_VARIANTS.iter().position(|known| *known == name);
    let who = AppBootInfo {
        appId: Address::from(info.app_id.to_bytes()),
        composeHash: B256::from(info.compose_hash.to_bytes()),
        instanceId: Address::from(info.instance_id.map_or([0; 20], |id| id.to_bytes())),
        deviceId: B256::from(info.device_id.to_bytes()),
        mrAggregated: B256::from(info.mr_aggregated.to_bytes()),
        mrSystem: B256::from(info.mr_system.to_bytes()),
        osImageHash: B256::from(info.os_image_hash.to_bytes()),
        tcbStatus: info.tcb_status.as_str().to_owned(),
        advisoryIds: info.advisory_ids.clone(),
    };
    let facts = Facts {
        time: when,
        teeVariant: bit.map_or(0, |bit| 1 << bit),
        tcbOutdatedSince: known.tcb_outdated_since.unwrap_or_default(),
        gpuAttested: known.gpu_attested,
    };
    Ok((who, facts))
}
