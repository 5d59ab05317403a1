//! `logs`: what a VM, or a container in it, prints.

use std::io::Write;
use std::ops::ControlFlow;

use bylaw_ratls::tls::{ServerTrust, client};
use bylaw_rpc::Client;
use bylaw_rpc::message::vmm::VmInfo;
use bylaw_types::AppCompose;

use super::{Vmm, VmmArgs, find};
use crate::kms::unreachable;
use crate::output::{Failure, Output};

/// Of the guest agent, where the node does not say.
const AGENT_PORT: u32 = 8090;

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("channel"))]
pub(crate) struct Logs {
    /// Name, or beginning of the id.
    vm: String,
    /// Go on as more is printed.
    #[arg(long, short)]
    follow: bool,
    /// What the guest prints on its serial console (the default).
    #[arg(long, group = "channel")]
    serial: bool,
    /// What QEMU prints.
    #[arg(long, group = "channel")]
    stdout: bool,
    /// What QEMU complains about.
    #[arg(long, group = "channel")]
    stderr: bool,
    /// What this container prints; the app's manifest must have public_logs.
    #[arg(long, value_name = "NAME", group = "channel")]
    container: Option<String>,
    /// Only what is younger, such as 10m or 2h; only containers keep times.
    #[arg(long, requires = "container", value_parser = humantime::parse_duration)]
    since: Option<std::time::Duration>,
    /// How many lines from the end.
    #[arg(short = 'n', long, default_value_t = 100)]
    lines: u32,
    #[command(flatten)]
    vmm: VmmArgs,
}

impl Logs {
    pub(crate) async fn run(self, _output: &Output) -> Result<(), Failure> {
        let vmm = self.vmm.connect()?;
        let vm = find(&vmm, &self.vm).await?;
        if let Some(container) = &self.container {
            return self.of_container(&vmm, &vm, container).await;
        }
        let channel = match (self.stdout, self.stderr) {
            (true, _) => "stdout",
            (_, true) => "stderr",
            _ => "serial",
        };
        vmm.log(&vm.id, channel, self.lines, self.follow, print)
            .await
    }

    /// The guest agent has these; the VMM cannot read them.
    async fn of_container(&self, vmm: &Vmm, vm: &VmInfo, container: &str) -> Result<(), Failure> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if container.is_empty() || !container.chars().all(is_name) {
            return Err(Failure::Unusable(format!(
                "{container:?} is no container's name"
            )));
        }
        let configuration = vm.configuration.clone().unwrap_or_default();
        let compose = AppCompose::parse(configuration.compose_file.as_bytes());
        if compose.is_ok_and(|compose| !compose.manifest().public_logs) {
            return Err(Failure::Denied(
                "the app's manifest keeps its containers' logs to itself (public_logs is false)"
                    .to_owned(),
            ));
        }
        let url = agent_url(vmm, vm).await?;
        let mut path = format!(
            "/logs/{container}?text=true&bare=true&follow={}&tail={}",
            self.follow, self.lines
        );
        if let Some(since) = self.since {
            path.push_str(&format!("&since={}s", since.as_secs()));
        }
        // Public text, not a secret: who the agent is, `bylaw verify` says.
        let agent = Client::new(&url)
            .map_err(unreachable)?
            .with_tls(client(ServerTrust::FirstContact, None)?);
        let mut connection = agent.connect().await.map_err(unreachable)?;
        connection.stream(&path, print).await.map_err(unreachable)
    }
}

/// Where the guest's agent can be reached: its mapped port, or the gateway.
async fn agent_url(vmm: &Vmm, vm: &VmInfo) -> Result<String, Failure> {
    let gateway = vmm.meta().await?.gateway;
    let port = gateway
        .map(|gateway| gateway.agent_port)
        .filter(|port| *port != 0)
        .unwrap_or(AGENT_PORT);
    let mut only = vm.clone();
    only.app_url = None;
    if let Some(configuration) = &mut only.configuration {
        configuration.ports.retain(|one| one.vm_port == port);
    }
    let mapped = super::urls(&only, vmm.url()).into_iter().next();
    mapped.or_else(|| vm.app_url.clone()).ok_or_else(|| {
        Failure::Failed(anyhow::anyhow!(
            "the guest agent of {} cannot be reached from here: neither is its port {port} \
             mapped (bylaw upgrade {} -p {port}), nor has it a gateway",
            vm.name,
            vm.name
        ))
    })
}

/// The last lines of the serial console, for a failure's report.
pub(crate) async fn tail(vmm: &Vmm, id: &str, lines: u32) -> String {
    let mut text = Vec::new();
    let collected = vmm
        .log(id, "serial", lines, false, |piece| {
            text.extend_from_slice(piece);
            ControlFlow::Continue(())
        })
        .await;
    if let Err(error) = collected {
        return format!("(no log: {})", error.sentence());
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// A reader that has seen enough (`| head`) ends it.
fn print(piece: &[u8]) -> ControlFlow<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(piece).and_then(|()| stdout.flush()) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}
