//! `start`, `stop`, `rm`, `resize`.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use bylaw_rpc::message::vmm::{ResizeVmRequest, VmInfo};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Disk, Memory, Vmm, VmmArgs, find};
use crate::output::{Failure, Output};

#[derive(clap::Args)]
pub(crate) struct Start {
    /// Name, or beginning of the id.
    vm: String,
    #[command(flatten)]
    vmm: VmmArgs,
}

impl Start {
    pub(crate) async fn run(self, output: &Output) -> Result<(), Failure> {
        let vmm = self.vmm.connect()?;
        let vm = find(&vmm, &self.vm).await?;
        vmm.start(&vm.id).await?;
        say(output, &vm, "started");
        Ok(())
    }
}

#[derive(clap::Args)]
pub(crate) struct Stop {
    /// Name, or beginning of the id.
    vm: String,
    /// Do not ask the guest: end it at once. Its disk is as after a power cut.
    #[arg(long, short)]
    force: bool,
    /// How long the guest may take.
    #[arg(long, default_value = "90s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    vmm: VmmArgs,
}

impl Stop {
    pub(crate) async fn run(self, output: &Output) -> Result<(), Failure> {
        let vmm = self.vmm.connect()?;
        let vm = find(&vmm, &self.vm).await?;
        stop(&vmm, &vm, self.force, self.timeout).await?;
        say(output, &vm, "stopped");
        Ok(())
    }
}

/// Returns once no process of it is left.
pub(crate) async fn stop(
    vmm: &Vmm,
    vm: &VmInfo,
    force: bool,
    patience: Duration,
) -> Result<(), Failure> {
    let hint = format!("bylaw stop -f {}", vm.name);
    if vm.status == "stopped" {
        return Ok(());
    }
    if force {
        vmm.kill(&vm.id).await?;
    } else if let Err(failure) = vmm.shut_down(&vm.id).await {
        return Err(match failure {
            Failure::Failed(error) => Failure::Failed(error.context(format!(
                "the guest of {} was not asked ({hint} ends it)",
                vm.name
            ))),
            other => other,
        });
    }
    let deadline = Instant::now() + patience;
    while let Some(now) = vmm.vm(&vm.id).await? {
        if now.status == "stopped" {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Failure::Failed(anyhow::anyhow!(
                "{} is still {} after {}; {hint} ends it",
                vm.name,
                now.status,
                humantime::format_duration(patience)
            )));
        }
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

#[derive(clap::Args)]
pub(crate) struct Remove {
    /// Name, or beginning of the id.
    vm: String,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    vmm: VmmArgs,
}

impl Remove {
    pub(crate) async fn run(self, output: &Output) -> Result<(), Failure> {
        let vmm = self.vmm.connect()?;
        let vm = find(&vmm, &self.vm).await?;
        if !self.yes {
            confirm(&vm)?;
        }
        vmm.remove(&vm.id).await?;
        let deadline = Instant::now() + Duration::from_secs(60);
        while vmm.vm(&vm.id).await?.is_some() {
            if Instant::now() > deadline {
                return Err(Failure::Failed(anyhow::anyhow!(
                    "{} is still being removed; see `bylaw ps`",
                    vm.name
                )));
            }
            sleep(Duration::from_millis(100)).await;
        }
        say(output, &vm, "removed");
        Ok(())
    }
}

/// Its disk goes with it: the name is asked for, not a letter.
fn confirm(vm: &VmInfo) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Unusable(format!(
            "no terminal to ask on; `bylaw rm -y {}` removes it with its disk",
            vm.name
        )));
    }
    eprint!(
        "{} is {}. Type its name to remove it with its disk: ",
        vm.name, vm.status
    );
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.trim() == vm.name {
        Ok(())
    } else {
        Err(Failure::Failed(anyhow::anyhow!("not removed")))
    }
}

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(crate) struct Resize {
    /// Name, or beginning of the id; it must be stopped.
    vm: String,
    /// Virtual processors.
    #[arg(long, group = "what")]
    vcpu: Option<u32>,
    /// Such as 4G; a plain number is MiB.
    #[arg(long, group = "what")]
    memory: Option<Memory>,
    /// Such as 50G; a plain number is GiB. Disks only grow.
    #[arg(long, group = "what")]
    disk: Option<Disk>,
    /// Another guest image.
    #[arg(long, group = "what")]
    image: Option<String>,
    #[command(flatten)]
    vmm: VmmArgs,
}

impl Resize {
    pub(crate) async fn run(self, output: &Output) -> Result<(), Failure> {
        let vmm = self.vmm.connect()?;
        let vm = find(&vmm, &self.vm).await?;
        if !matches!(vm.status.as_str(), "stopped" | "exited") {
            return Err(Failure::Failed(anyhow::anyhow!(
                "{} is {}; a VM is resized while it is stopped: bylaw stop {}",
                vm.name,
                vm.status,
                vm.name
            )));
        }
        let request = ResizeVmRequest {
            id: vm.id.clone(),
            vcpu: self.vcpu,
            memory: self.memory.map(|size| size.0),
            disk_size: self.disk.map(|size| size.0),
            image: self.image,
        };
        vmm.resize(&request).await?;
        say(output, &vm, "resized");
        Ok(())
    }
}

fn say(output: &Output, vm: &VmInfo, verbed: &str) {
    output.result(
        &[("vm", format!("{} {verbed}", vm.name))],
        &json!({ "id": vm.id, "name": vm.name, "done": verbed }),
    );
}
