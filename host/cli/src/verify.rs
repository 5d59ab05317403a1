//! `bylaw verify`.

use bylaw_attest::snp::SnpReport;
use bylaw_attest::tdx::{TdReport, VerifiedTd};
use bylaw_attest::{Appraisal, AppraisalError, Expect, Mode, Report as Signed, Verifier};
use bylaw_types::{ReportData, TcbStatus, TrustAnchorSet};
use clap::Args as ClapArgs;
use serde_json::{Value, json};

use crate::evidence::{Found, TrustArgs, load};
use crate::output::{Failure, Output};

/// Options of `bylaw verify`.
#[derive(ClapArgs)]
#[command(after_help = "Examples:\n  \
    bylaw verify quote.bin\n  \
    bylaw verify getquote.json --collateral collateral.json --at 1750414563\n  \
    bylaw verify https://kms.example.com:8000 --json\n\n\
    Exit codes: 0 verified, 4 verification failed, 2 unusable input, 5 unreachable")]
pub(crate) struct Args {
    /// Evidence: a file, an https URL (its TLS certificate) or an http URL (a document).
    source: String,
    #[command(flatten)]
    trust: TrustArgs,
    /// The report data it must have been made for, hex, up to 64 bytes.
    #[arg(long)]
    report_data: Option<String>,
}

/// Lines for people and the same for programs.
#[derive(Default)]
struct Report {
    lines: Vec<(&'static str, String)>,
    value: Value,
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let expected = args
        .report_data
        .as_deref()
        .map(parse_report_data)
        .transpose()?;
    let found = load(&args.source).await?;
    if let Found::Certificate(cert) = &found
        && cert.attestation.is_none()
    {
        return Err(Failure::Unusable(format!(
            "{}: the certificate carries no evidence",
            args.source
        )));
    }
    let verifier = args.trust.verifier()?;
    warn_of_other_roots(output, &verifier.anchors());
    let outcome = match establish(&found, &verifier, expected.as_ref()).await {
        Ok(report) => {
            print(output, &found, Verdict::Verified, report);
            return Ok(());
        }
        // The rest is checked all the same: what is wrong besides is the better reason.
        Err(missing @ AppraisalError::CollateralMissing(_)) => {
            let lenient = verifier.tolerating_missing_collateral();
            let rest = establish(&found, &lenient, expected.as_ref()).await;
            rest.map(|report| (report, missing))
        }
        Err(error) => Err(error),
    };
    let (verdict, mut report, error) = match outcome {
        Ok((report, missing)) => (Verdict::SignaturesOnly, report, missing),
        Err(error) => (Verdict::Failed, Report::default(), error),
    };
    report.value["reason"] = error.to_string().into();
    print(output, &found, verdict, report);
    Err(Failure::Unverified(error.to_string()))
}

/// Says so loudly when evidence is not judged under the vendor's roots.
pub(crate) fn warn_of_other_roots(output: &Output, anchors: &TrustAnchorSet) {
    if !anchors.is_vendor() {
        output.say("NOT VENDOR EVIDENCE: verified under the roots given, not under the vendors'");
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Verified,
    /// Genuine, but nobody says whether the platform is current or revoked.
    SignaturesOnly,
    Failed,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::SignaturesOnly => "signatures hold, TCB status not reported",
            Self::Failed => "not verified",
        }
    }
}

fn parse_report_data(text: &str) -> Result<ReportData, Failure> {
    let unusable =
        |error: &dyn std::fmt::Display| Failure::Unusable(format!("--report-data {text}: {error}"));
    let bytes = hex::decode(text.trim_start_matches("0x")).map_err(|error| unusable(&error))?;
    ReportData::padded(&bytes).map_err(|error| unusable(&error))
}

async fn establish(
    found: &Found,
    verifier: &Verifier,
    expected: Option<&ReportData>,
) -> Result<Report, AppraisalError> {
    match found {
        Found::Quote(quote) => {
            let td = verifier.verify_quote(quote, expected).await?;
            Ok(of_quote(&td, &verifier.anchors()))
        }
        Found::Attestation(evidence) => {
            let expect = expected.map_or(Expect::Anything, Expect::ReportData);
            let appraisal = verifier.appraise(evidence, expect).await?;
            Ok(of_appraisal(&appraisal))
        }
        Found::Certificate(cert) => {
            let Some(evidence) = &cert.attestation else {
                return Err(AppraisalError::UnsupportedPlatform(
                    "a certificate without evidence",
                ));
            };
            let appraisal = verifier
                .appraise(evidence, Expect::RaTlsKey(&cert.spki_der))
                .await?;
            // The key is one expectation, what the caller gave is another.
            if let Some(expected) = expected
                && expected != appraisal.report_data()
            {
                return Err(AppraisalError::ReportData {
                    expected: *expected,
                    actual: *appraisal.report_data(),
                });
            }
            let mut report = of_appraisal(&appraisal);
            report
                .lines
                .push(("key", "bound to this certificate's key".to_owned()));
            if let Some(usage) = &cert.usage {
                report.lines.push(("usage", usage.clone()));
            }
            report.value["certificate"] =
                json!({ "subject": cert.subject, "usage": cert.usage, "app_id": cert.app_id });
            Ok(report)
        }
    }
}

fn tcb(status: TcbStatus, advisories: &[String]) -> String {
    match (status, advisories) {
        (TcbStatus::NotReported, _) => "not reported (collateral missing)".to_owned(),
        (status, []) => status.to_string(),
        (status, advisories) => format!("{status}, advisories {}", advisories.join(" ")),
    }
}

fn of_quote(td: &VerifiedTd, anchors: &TrustAnchorSet) -> Report {
    let [rtmr0, rtmr1, rtmr2, rtmr3] = td.report.rtmr;
    Report {
        lines: vec![
            ("tcb", tcb(td.tcb_status, &td.advisory_ids)),
            ("anchors", anchors.to_string()),
            ("device", td.device_id.to_string()),
            ("mrtd", td.report.mrtd.to_string()),
            ("rtmr0", rtmr0.to_string()),
            ("rtmr1", rtmr1.to_string()),
            ("rtmr2", rtmr2.to_string()),
            ("rtmr3", rtmr3.to_string()),
            ("report data", td.report.report_data.to_string()),
            (
                "identity",
                "not established: there is no event log".to_owned(),
            ),
        ],
        value: json!({
            "tcb_status": td.tcb_status, "advisory_ids": td.advisory_ids,
            "trust_anchors": anchors, "device_id": td.device_id, "mrtd": td.report.mrtd, "rtmr": td.report.rtmr,
            "report_data": td.report.report_data, "identity": null,
        }),
    }
}

fn of_appraisal(appraisal: &Appraisal) -> Report {
    let mut lines = vec![
        ("tcb", tcb(appraisal.tcb_status(), appraisal.advisory_ids())),
        ("anchors", appraisal.anchors().to_string()),
        ("device", appraisal.device_id().to_string()),
    ];
    let (measured, mut value) = match appraisal.report() {
        Signed::Tdx(td) => of_td(td, appraisal.runtime_events().len()),
        Signed::SevSnp(guest) => of_snp(guest),
    };
    lines.extend(measured);
    lines.push(("report data", appraisal.report_data().to_string()));
    let identity = appraisal.identify(Mode::Full, None);
    match &identity {
        Ok(who) => {
            lines.push(("app", who.app_id.to_string()));
            lines.push(("compose hash", who.compose_hash.to_string()));
            let instance = who
                .instance_id
                .map_or("none".to_owned(), |id| id.to_string());
            lines.push(("instance", instance));
            lines.push(("os image", format!("{} (proven)", who.os_image_hash)));
            lines.push(("mr system", who.mr_system.to_string()));
            lines.push(("mr aggregated", who.mr_aggregated.to_string()));
        }
        Err(error) => lines.push(("identity", format!("not established: {error}"))),
    }
    for (name, fact) in [
        ("tcb_status", json!(appraisal.tcb_status())),
        ("advisory_ids", json!(appraisal.advisory_ids())),
        ("trust_anchors", json!(appraisal.anchors())),
        ("device_id", json!(appraisal.device_id())),
        ("report_data", json!(appraisal.report_data())),
        ("identity", json!(identity.as_ref().ok())),
        (
            "identity_error",
            json!(identity.as_ref().err().map(ToString::to_string)),
        ),
        ("verified_at", json!(appraisal.verified_at())),
    ] {
        value[name] = fact;
    }
    Report { lines, value }
}

/// What was measured, for people and for programs.
type Measured = (Vec<(&'static str, String)>, Value);

fn of_td(td: &TdReport, events: usize) -> Measured {
    let [rtmr0, rtmr1, rtmr2, rtmr3] = td.rtmr;
    let lines = vec![
        ("mrtd", td.mrtd.to_string()),
        ("rtmr0", rtmr0.to_string()),
        ("rtmr1", rtmr1.to_string()),
        ("rtmr2", rtmr2.to_string()),
        ("rtmr3", format!("{rtmr3} (replays from {events} events)")),
    ];
    (lines, json!({ "mrtd": td.mrtd, "rtmr": td.rtmr }))
}

fn of_snp(guest: &SnpReport) -> Measured {
    let tcb = |bytes: [u8; 8]| hex::encode(bytes);
    let lines = vec![
        ("measurement", guest.measurement.to_string()),
        (
            "host data",
            format!("{} (digest of mr_config)", guest.host_data),
        ),
        ("policy", format!("{:#x}", guest.policy)),
        (
            "events",
            "not measured on SEV-SNP, so none is believed".to_owned(),
        ),
    ];
    let value = json!({
        "measurement": guest.measurement, "host_data": guest.host_data,
        "policy": guest.policy, "report_version": guest.version,
        "reported_tcb": tcb(guest.reported_tcb), "current_tcb": tcb(guest.current_tcb),
        "committed_tcb": tcb(guest.committed_tcb), "launch_tcb": tcb(guest.launch_tcb),
    });
    (lines, value)
}

fn print(output: &Output, found: &Found, verdict: Verdict, report: Report) {
    let mut lines = vec![
        ("found", found.describe()),
        ("verdict", verdict.as_str().to_owned()),
    ];
    lines.extend(report.lines);
    let mut value = report.value;
    value["found"] = found.describe().into();
    value["verdict"] = verdict.as_str().into();
    value["verified"] = (verdict == Verdict::Verified).into();
    output.result(&lines, &value);
}
