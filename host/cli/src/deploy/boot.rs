//! Waiting for a VM to boot, by what its guest says.

use std::time::Duration;

use bylaw_rpc::Client;
use bylaw_rpc::message::vmm::{GuestEvent, VmInfo};
use tokio::time::{Instant, sleep};

use super::steps::Steps;
use crate::output::Failure;
use crate::vmm::{Vmm, tail, urls};

const EVERY: Duration = Duration::from_millis(300);
/// A process that ended may be started again by the VMM; not for longer than this.
const GONE_FOR: Duration = Duration::from_secs(20);
/// How long an app may take from started containers to its first answer.
const ANSWER: Duration = Duration::from_secs(60);
const LOG_LINES: u32 = 15;

/// Where a boot stands.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Going,
    /// No process; perhaps it comes back.
    Gone,
    Ready,
    Failed(String),
}

fn stage(vm: &VmInfo) -> Stage {
    if !vm.boot_error.is_empty() {
        return Stage::Failed(vm.boot_error.clone());
    }
    match vm.status.as_str() {
        "stopped" | "stopping" | "removing" => Stage::Failed(format!("the VM is {}", vm.status)),
        "exited" => Stage::Gone,
        // The words that dstack's console takes for the end, too.
        _ if matches!(vm.boot_progress.as_str(), "done" | "running") => Stage::Ready,
        _ => Stage::Going,
    }
}

/// Events after the last one seen. The VMM keeps only so many: when that one has gone,
/// all that are left are new.
fn fresh<'a>(events: &'a [GuestEvent], last: Option<&GuestEvent>) -> &'a [GuestEvent] {
    let Some(last) = last else {
        return events;
    };
    let seen = events.iter().rposition(|event| event == last);
    let from = seen.map_or(0, |index| index + 1);
    events.get(from..).unwrap_or_default()
}

/// Shows each thing the guest says, until its containers are started.
pub(crate) async fn wait(
    vmm: &Vmm,
    id: &str,
    patience: Duration,
    steps: &mut Steps<'_>,
) -> Result<VmInfo, Failure> {
    let deadline = Instant::now() + patience;
    let mut last: Option<GuestEvent> = None;
    let mut gone_since: Option<Instant> = None;
    loop {
        let Some(vm) = vmm.vm(id).await? else {
            return Err(Failure::Failed(anyhow::anyhow!(
                "VM {id} is gone: somebody removed it"
            )));
        };
        for event in fresh(&vm.events, last.as_ref()) {
            if event.event == "boot.progress" {
                steps.done("Boot", &event.body);
            }
        }
        last = vm.events.last().cloned().or(last);
        match stage(&vm) {
            Stage::Ready => return Ok(vm),
            Stage::Failed(reason) => return Err(failed(vmm, &vm, &reason).await),
            Stage::Going => gone_since = None,
            Stage::Gone => {
                let since = *gone_since.get_or_insert_with(Instant::now);
                if since.elapsed() > GONE_FOR {
                    return Err(failed(vmm, &vm, "QEMU ended and was not started again").await);
                }
            }
        }
        if Instant::now() > deadline {
            let text = format!(
                "it has not booted within {}",
                humantime::format_duration(patience)
            );
            return Err(failed(vmm, &vm, &text).await);
        }
        sleep(EVERY).await;
    }
}

/// Why, the end of the log, and what to do next.
async fn failed(vmm: &Vmm, vm: &VmInfo, reason: &str) -> Failure {
    let log = tail(vmm, &vm.id, LOG_LINES).await;
    let lines: String = log.lines().map(|line| format!("    {line}\n")).collect();
    let console = if lines.is_empty() {
        "its console is empty\n".to_owned()
    } else {
        format!("last lines of its console:\n{lines}")
    };
    let name = &vm.name;
    let next = if vm.status == "stopped" {
        format!("bylaw start {name}")
    } else {
        format!(
            "bylaw logs {name} --serial -n 200; then bylaw upgrade {name} FILE, or bylaw rm {name}"
        )
    };
    Failure::Failed(anyhow::anyhow!(
        "{name} did not boot: {reason}\n  {console}  next: {next}"
    ))
}

/// The first URL that answers HTTP, if one does soon.
pub(crate) async fn first_answer(vm: &VmInfo, vmm_url: &str) -> Option<String> {
    let urls = urls(vm, vmm_url);
    let deadline = Instant::now() + ANSWER;
    while !urls.is_empty() && Instant::now() < deadline {
        for url in urls.iter().filter(|url| url.starts_with("http:")) {
            if answers(url).await {
                return Some(url.clone());
            }
        }
        sleep(EVERY).await;
    }
    None
}

/// Any HTTP answer will do, an error too. A mapped port takes connections before the
/// app does, so a connection says nothing.
async fn answers(url: &str) -> bool {
    let Ok(client) = Client::new(url) else {
        return false;
    };
    let Ok(mut connection) = client.connect().await else {
        return false;
    };
    use bylaw_rpc::ClientError::{Malformed, Refused};
    matches!(
        connection.get("/").await,
        Ok(_) | Err(Refused { .. } | Malformed { .. })
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(status: &str, progress: &str, error: &str) -> VmInfo {
        VmInfo {
            status: status.into(),
            boot_progress: progress.into(),
            boot_error: error.into(),
            ..VmInfo::default()
        }
    }

    #[test]
    fn a_boot_is_done_when_the_guest_says_so() {
        assert_eq!(stage(&vm("running", "", "")), Stage::Going);
        assert_eq!(
            stage(&vm("running", "starting containers", "")),
            Stage::Going
        );
        assert_eq!(stage(&vm("running", "done", "")), Stage::Ready);
        assert_eq!(stage(&vm("exited", "done", "")), Stage::Gone);
        let denied = "key release denied";
        assert_eq!(
            stage(&vm("running", "done", denied)),
            Stage::Failed(denied.into())
        );
        assert_eq!(
            stage(&vm("stopped", "", "")),
            Stage::Failed("the VM is stopped".into())
        );
    }

    #[test]
    fn each_event_is_shown_once_even_when_old_ones_are_dropped() {
        let event = |number: u64| GuestEvent {
            event: "boot.progress".into(),
            body: number.to_string(),
            timestamp: number,
        };
        let events = [event(1), event(2), event(3)];
        assert_eq!(fresh(&events, None).len(), 3);
        assert_eq!(fresh(&events, Some(&event(2))), &events[2..]);
        assert!(fresh(&events, Some(&event(3))).is_empty());
        assert_eq!(fresh(&events, Some(&event(0))).len(), 3);
    }
}
