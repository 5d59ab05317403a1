//! `bylaw doctor`: what this host lacks for confidential VMs, and how to get it.

use std::path::{Path, PathBuf};

use bylaw_qemu::Qemu;
use bylaw_qemu::host::{Check, Report, State};
use serde_json::json;

use crate::output::{Failure, Output};
use crate::vmm::VmmArgs;

#[derive(clap::Args)]
pub(crate) struct Doctor {
    /// What the host must have, such as kvm, tdx, qgs, sev-snp, qemu, vsock, iommu,
    /// hugepages, vmm, or gpu for every GPU; without it: all that VMs with TDX or with
    /// SEV-SNP need.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    need: Vec<String>,
    /// QEMU to look at; the one on the PATH otherwise.
    #[arg(long, value_name = "FILE")]
    qemu: Option<PathBuf>,
    #[command(flatten)]
    vmm: VmmArgs,
}

/// Sets of checks; a host needs all of one of them.
const TDX: &[&str] = &["kvm", "tdx", "qgs", "qemu", "vsock"];
const SNP: &[&str] = &["kvm", "sev-snp", "qemu"];

impl Doctor {
    pub(crate) async fn run(self, output: &Output) -> Result<(), Failure> {
        let program = self.qemu.clone();
        let qemu = Qemu::detect(&program.unwrap_or_else(|| "qemu-system-x86_64".into()));
        let mut report = Report::read(Path::new("/"), &qemu)?;
        report.checks.push(self.vmm().await);
        let missing = missing(&report, &self.need)?;
        let lines: Vec<(&str, String)> = report
            .checks
            .iter()
            .flat_map(|check| {
                let fix = check.fix.as_ref().filter(|_| check.state != State::Ready);
                let found = format!("{:<6} {}", word(check.state), check.found);
                let fix = fix.map(|fix| ("", format!("{:<6} fix: {fix}", "")));
                std::iter::once((check.name.as_str(), found)).chain(fix)
            })
            .collect();
        let lines = [vec![("processor", report.processor.clone())], lines].concat();
        let value = json!({
            "processor": report.processor, "ready": missing.is_empty(), "missing": missing,
            "checks": report.checks,
        });
        output.result(&lines, &value);
        if missing.is_empty() {
            return Ok(());
        }
        Err(Failure::Failed(anyhow::anyhow!(
            "this host lacks {}; each has its fix above. Until then the software TEE does for \
             trying things out (bylaw deploy --simulated-tee)",
            missing.join(", ")
        )))
    }

    async fn vmm(&self) -> Check {
        let check = |state, found: String, fix: Option<&str>| Check {
            name: "vmm".to_owned(),
            state,
            found,
            fix: fix.map(str::to_owned),
        };
        let fix = "start bylaw-vmm, or name one with --vmm";
        let vmm = match self.vmm.connect() {
            Ok(vmm) => vmm,
            Err(failure) => return check(State::Lacking, failure.sentence(), Some(fix)),
        };
        match vmm.images().await {
            Ok(answer) if answer.images.is_empty() => check(
                State::Lacking,
                format!("{} has no guest image", vmm.url()),
                Some("put one into its image folder (bylaw image build)"),
            ),
            Ok(answer) => {
                let images = answer.images.len();
                check(
                    State::Ready,
                    format!("{}, {images} guest images", vmm.url()),
                    None,
                )
            }
            Err(failure) => check(State::Lacking, failure.sentence(), Some(fix)),
        }
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Ready => "ok",
        State::Lacking => "LACKS",
        State::NotApplicable => "-",
    }
}

/// Names of what is needed and not ready.
fn missing(report: &Report, need: &[String]) -> Result<Vec<String>, Failure> {
    let not_ready = |names: &[&str]| -> Vec<String> {
        let lacking = names.iter().filter(|name| !report.is_ready(name));
        lacking.map(|name| (*name).to_owned()).collect()
    };
    if need.is_empty() {
        let (tdx, snp) = (not_ready(TDX), not_ready(SNP));
        // What the processor cannot have is not asked of it.
        let never = |name: &str| {
            let check = report.checks.iter().find(|check| check.name == name);
            check.is_some_and(|check| check.state == State::NotApplicable)
        };
        return Ok(match (never("tdx"), never("sev-snp")) {
            (true, false) => snp,
            (false, true) => tdx,
            _ => std::cmp::min_by_key(tdx, snp, Vec::len),
        });
    }
    let mut missing = Vec::new();
    for name in need {
        let is_it = |check: &&Check| {
            check.name == *name || (name == "gpu" && check.name.starts_with("gpu "))
        };
        let checks: Vec<&Check> = report.checks.iter().filter(is_it).collect();
        if checks.is_empty() && name != "gpu" {
            let known: Vec<&str> = report
                .checks
                .iter()
                .map(|check| check.name.as_str())
                .collect();
            return Err(Failure::Unusable(format!(
                "--need {name}: nothing is called so; there are {}",
                known.join(", ")
            )));
        }
        if checks.is_empty() {
            missing.push("gpu".to_owned());
        }
        let lacking = checks.iter().filter(|check| check.state != State::Ready);
        missing.extend(lacking.map(|check| check.name.clone()));
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(checks: &[(&str, State)]) -> Report {
        let check = |(name, state): &(&str, State)| Check {
            name: (*name).to_owned(),
            state: *state,
            found: String::new(),
            fix: None,
        };
        Report {
            processor: "x".into(),
            checks: checks.iter().map(check).collect(),
        }
    }

    #[test]
    fn a_host_needs_what_its_processor_can_have() {
        use State::{Lacking, NotApplicable, Ready};
        let intel = report(&[
            ("kvm", Ready),
            ("tdx", Ready),
            ("qgs", Lacking),
            ("sev-snp", NotApplicable),
            ("qemu", Ready),
            ("vsock", Ready),
        ]);
        assert_eq!(missing(&intel, &[]).unwrap(), ["qgs"]);
        let amd = report(&[
            ("kvm", Ready),
            ("tdx", NotApplicable),
            ("qgs", NotApplicable),
            ("sev-snp", Ready),
            ("qemu", Ready),
            ("vsock", Lacking),
        ]);
        assert!(missing(&amd, &[]).unwrap().is_empty());
        let other = report(&[
            ("kvm", Ready),
            ("tdx", NotApplicable),
            ("sev-snp", NotApplicable),
            ("qemu", Ready),
        ]);
        assert!(!missing(&other, &[]).unwrap().is_empty());
    }

    #[test]
    fn what_is_named_is_needed() {
        let host = report(&[("kvm", State::Ready), ("gpu 0000:01:00.0", State::Lacking)]);
        let ask = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            missing(&host, &names)
        };
        assert!(ask(&["kvm"]).unwrap().is_empty());
        assert_eq!(ask(&["kvm", "gpu"]).unwrap(), ["gpu 0000:01:00.0"]);
        assert!(matches!(ask(&["typo"]), Err(Failure::Unusable(_))));
        let none = report(&[("kvm", State::Ready)]);
        assert_eq!(missing(&none, &["gpu".to_owned()]).unwrap(), ["gpu"]);
    }
}
