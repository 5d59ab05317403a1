//! `bylaw explain`: every rule with its inputs, passed or failed.

use bylaw_attest::{Appraisal, AppraisalError, Expect, Mode, Report};
use bylaw_chain::{Decision, Denial, PolicySource, RuleVerdict};
use bylaw_types::{BootInfo, TcbStatus};
use clap::Args as ClapArgs;
use serde::Serialize;
use serde_json::json;

use crate::chain::{ChainArgs, doubt};
use crate::evidence::{Found, TrustArgs, load};
use crate::output::{Failure, Output};

/// Options of `bylaw explain`.
#[derive(ClapArgs)]
#[command(after_help = "Example:\n  \
    bylaw explain getquote.json --rpc-url http://127.0.0.1:8545 --kms-contract 0x…\n\n\
    Exit codes: 0 allowed, 3 denied by policy, 4 evidence not verified")]
pub(crate) struct Args {
    /// Evidence: a file, an https URL (its TLS certificate) or an http URL (a document).
    source: String,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    chain: ChainArgs,
    /// Judge the rest of evidence whose platform status nobody reports. A KMS never
    /// releases keys to it.
    #[arg(long)]
    accept_tcb_not_reported: bool,
}

/// One rule and what it saw.
#[derive(Debug, Serialize)]
struct Rule {
    rule: String,
    passed: bool,
    input: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

fn rule(rule: &str, passed: bool, input: impl ToString) -> Rule {
    Rule {
        rule: rule.to_owned(),
        passed,
        input: input.to_string(),
        fix: None,
    }
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let found = load(&args.source).await?;
    let appraisal = match appraise(&args.trust, args.accept_tcb_not_reported, &found).await {
        Ok(appraisal) => appraisal,
        Err(failure) => return Err(failure),
    };
    let mut rules = evidence_rules(&appraisal);
    rules.push(platform_rule(&appraisal));
    let who = match appraisal.identify(Mode::Full, None) {
        Ok(who) => who,
        Err(error) => {
            rules.push(rule("identity", false, &error));
            return finish(output, None, rules, Err(error.to_string()));
        }
    };
    rules.push(rule("os image proven", true, who.os_image_hash));

    let policy = args.chain.policy()?;
    let facts = appraisal.facts();
    let explained = policy.explain_app(&who, &facts).await.map_err(doubt)?;
    let decision = policy.decide_app(who.clone(), facts).await.map_err(doubt)?;
    rules.extend(
        explained
            .rules
            .iter()
            .map(|verdict| contract_rule(verdict, &who)),
    );
    let verdict = match &decision {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(denial) => {
            attach_fix(&mut rules, denial);
            Err(denial.to_string())
        }
    };
    finish(output, Some((&who, explained.block.number)), rules, verdict)
}

/// Verifies evidence that names an app.
pub(crate) async fn appraise(
    trust: &TrustArgs,
    accept_tcb_not_reported: bool,
    found: &Found,
) -> Result<Appraisal, Failure> {
    let mut verifier = trust.verifier()?;
    if accept_tcb_not_reported {
        verifier = verifier.tolerating_missing_collateral();
    }
    let unverified = |error: AppraisalError| {
        let hint = match &error {
            AppraisalError::CollateralMissing(_) => {
                ". Give --collateral, or judge the rest with --accept-tcb-not-reported"
            }
            _ => "",
        };
        Failure::Unverified(format!("{error}{hint}"))
    };
    match found {
        Found::Quote(_) => Err(Failure::Unusable(
            "a quote alone names no app: give an attestation or a GetQuote answer".to_owned(),
        )),
        Found::Attestation(evidence) => verifier
            .appraise(evidence, Expect::Anything)
            .await
            .map_err(unverified),
        Found::Certificate(cert) => {
            let evidence = cert.attestation.as_ref().ok_or_else(|| {
                Failure::Unusable("the certificate carries no attestation".to_owned())
            })?;
            let expect = Expect::RaTlsKey(&cert.spki_der);
            verifier
                .appraise(evidence, expect)
                .await
                .map_err(unverified)
        }
    }
}

/// What verifying the evidence has shown.
fn evidence_rules(appraisal: &Appraisal) -> Vec<Rule> {
    match appraisal.report() {
        Report::Tdx(td) => {
            let [.., rtmr3] = td.rtmr;
            vec![
                rule(
                    "signatures",
                    true,
                    "quote, quoting enclave and PCK chain to a trust anchor",
                ),
                rule("event log", true, format!("replays to RTMR3 {rtmr3}")),
            ]
        }
        Report::SevSnp(guest) => vec![
            rule(
                "signatures",
                true,
                "report and VCEK chain to a trust anchor; chip and TCB are the certificate's",
            ),
            rule(
                "launch document",
                true,
                format!("its digest is HOST_DATA {}", guest.host_data),
            ),
        ],
    }
}

fn platform_rule(appraisal: &Appraisal) -> Rule {
    let status = appraisal.tcb_status();
    let input = match status {
        TcbStatus::NotReported => {
            "NotReported: no collateral; accepted here only because you asked".to_owned()
        }
        status => status.to_string(),
    };
    rule("platform", true, input)
}

/// What the rule saw, and why it failed.
fn contract_rule(verdict: &RuleVerdict, who: &BootInfo) -> Rule {
    let input = match verdict.rule.as_str() {
        "registered" | "app contract exists" => format!("0x{}", who.app_id),
        "OS image" => who.os_image_hash.to_string(),
        "compose hash" => who.compose_hash.to_string(),
        "device" => who.device_id.to_string(),
        "TCB status" => who.tcb_status.to_string(),
        "TEE variant" => who.tee_variant.to_string(),
        "advisories" => match who.advisory_ids.as_slice() {
            [] => "none".to_owned(),
            ids => ids.join(" "),
        },
        _ => String::new(),
    };
    let parts = [input, verdict.reason.clone()];
    let text: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    rule(&verdict.rule, verdict.passed, text.join(": "))
}

/// The fix belongs to the rule that decided.
fn attach_fix(rules: &mut Vec<Rule>, denial: &Denial) {
    let fix = denial.fix();
    match rules.iter_mut().find(|rule| !rule.passed) {
        Some(rule) => rule.fix = fix,
        // A contract of its own making said no.
        None => rules.push(Rule {
            rule: "app contract".to_owned(),
            passed: false,
            input: denial.reason.clone(),
            fix,
        }),
    }
}

fn finish(
    output: &Output,
    decided: Option<(&BootInfo, u64)>,
    rules: Vec<Rule>,
    verdict: Result<(), String>,
) -> Result<(), Failure> {
    let mut lines = Vec::new();
    for rule in &rules {
        let mark = if rule.passed { "passed" } else { "FAILED" };
        lines.push((rule.rule.as_str(), format!("{mark}  {}", rule.input)));
        if let Some(fix) = &rule.fix {
            lines.push(("", format!("        fix: {fix}")));
        }
    }
    if let Some((_, block)) = decided {
        lines.push(("block", block.to_string()));
    }
    let text = if verdict.is_ok() { "allowed" } else { "denied" };
    lines.push(("verdict", text.to_owned()));
    let value = json!({
        "allowed": verdict.is_ok(),
        "rules": rules,
        "boot_info": decided.map(|(who, _)| who),
        "block": decided.map(|(_, block)| block),
        "reason": verdict.as_ref().err(),
    });
    output.result(&lines, &value);
    verdict.map_err(Failure::Denied)
}
