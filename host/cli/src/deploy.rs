//! `bylaw deploy` and `bylaw upgrade`: from a docker-compose.yaml to an app that answers.
//!
//! Each step can be done again: an interrupted deployment is finished by the same
//! command. A VM is known by its name, an app that was created by the file beside the
//! manifest.

mod boot;
mod containers;
mod environment;
mod image;
mod manifest;
mod plan;
mod policy;
mod prepare;
mod record;
mod steps;
mod upgrade;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bylaw_rpc::message::vmm::{VmConfiguration, VmInfo};
use bylaw_types::AppId;
use bylaw_types::compose::{KeyProvider, compose_hash};
use serde_json::json;

use crate::chain::{ChainArgs, SignerArgs};
use crate::output::{Failure, Output};
use crate::vmm::{Disk, Gpus, Memory, Network, PortSpec, Vmm, VmmArgs, by_name, urls};
use containers::Containers;
use environment::EnvArgs;
use manifest::ManifestArgs;
use policy::Policy;
use prepare::Prepared;
use record::Record;
use steps::Steps;
pub(crate) use upgrade::Upgrade;

#[derive(clap::Args)]
pub(crate) struct Deploy {
    /// docker-compose.yaml, or a finished app-compose.json.
    file: PathBuf,
    /// What the VM is called; the folder of the file, or the manifest's name, otherwise.
    #[arg(long)]
    name: Option<String>,
    /// Where the app-compose.json goes; NAME.app-compose.json beside FILE otherwise.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Refuse images that are named by tag.
    #[arg(long)]
    strict: bool,
    /// Say what would be done, and do nothing of it.
    #[arg(long)]
    dry_run: bool,
    /// The app's contract.
    #[arg(long, value_name = "0x…")]
    app: Option<AppId>,
    /// Create the app's contract, owned by the signer; once, however often this is run.
    #[arg(long, conflicts_with = "app")]
    create_app: bool,
    #[command(flatten)]
    settle: Settle,
    #[command(flatten)]
    manifest: ManifestArgs,
    #[command(flatten)]
    env: EnvArgs,
    #[command(flatten)]
    machine: Machine,
    #[command(flatten)]
    chain: ChainArgs,
    #[command(flatten)]
    signer: SignerArgs,
    #[command(flatten)]
    vmm: VmmArgs,
}

/// How far to go.
#[derive(clap::Args)]
struct Settle {
    /// Allow the manifest in the app's contract, as its owner.
    #[arg(long)]
    allow: bool,
    /// Where the contract makes changes wait: wait as well.
    #[arg(long)]
    wait: bool,
    /// How long to wait for finality, and for the boot.
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// What the VM is made of.
#[derive(clap::Args)]
struct Machine {
    /// Guest image; the node's only one otherwise.
    #[arg(long)]
    image: Option<String>,
    /// Virtual processors.
    #[arg(long, default_value_t = 2)]
    vcpu: u32,
    /// Such as 4G; a plain number is MiB.
    #[arg(long, default_value = "2G")]
    memory: Memory,
    /// Such as 50G; a plain number is GiB.
    #[arg(long, default_value = "20G")]
    disk: Disk,
    /// Port of the host that leads to one of the VM: 8080:80, or 80 for a free one. Every
    /// port that the services publish, without this.
    #[arg(
        short,
        long = "port",
        value_name = "[HOST:]VM",
        conflicts_with = "no_ports"
    )]
    ports: Vec<PortSpec>,
    /// No ports at all.
    #[arg(long)]
    no_ports: bool,
    #[command(flatten)]
    gpus: Gpus,
    /// Network interface: user, bridge or bridge:NAME; repeat it for more.
    #[arg(long = "net", value_name = "MODE")]
    networks: Vec<Network>,
    /// KMS instead of the node's; repeat it.
    #[arg(long)]
    kms_url: Vec<String>,
    /// Gateway instead of the node's; repeat it.
    #[arg(long)]
    gateway_url: Vec<String>,
    /// Text the app finds as its user config.
    #[arg(long, value_name = "FILE")]
    user_config: Option<PathBuf>,
    /// Back the memory by huge pages.
    #[arg(long)]
    hugepages: bool,
    /// Pin to the NUMA node of the devices.
    #[arg(long)]
    pin_numa: bool,
    /// Without a TEE: nothing is confidential.
    #[arg(long)]
    no_tee: bool,
    /// With the software TEE of this variant: nothing is confidential.
    #[arg(long, value_name = "VARIANT", num_args = 0..=1, default_missing_value = "tdx")]
    simulated_tee: Option<String>,
    /// Create it without starting it.
    #[arg(long)]
    stopped: bool,
}

impl Deploy {
    pub(crate) async fn run(mut self, output: &Output) -> Result<(), Failure> {
        let mut steps = Steps::start(output);
        let mut prepared = self.prepare()?;
        for warning in &prepared.warnings {
            steps.note(warning);
        }
        if self.dry_run {
            return plan::show(&self, &prepared, output);
        }
        record::write_manifest(&prepared.file, &prepared.compose, &steps)?;
        steps.done("Check", &prepared.describe());

        let vmm = self.vmm.connect()?;
        let known = vmm.vms().await?;
        let existing = by_name(known.vms.clone(), &prepared.name)?;
        if let Some(vm) = &existing {
            same_compose(vm, &prepared)?;
            // What is being finished is that VM: of this app, whatever the options say.
            self.app = Some(vm.app_id.parse()?);
            self.create_app = false;
        }
        let app = self.app(&prepared, &mut steps).await?;
        self.settle_policy(&prepared, app, &mut steps).await?;
        let id = match existing {
            Some(vm) => self.resume(&vmm, &vm, &mut steps).await?,
            None => {
                let taken: Vec<u32> = known.vms.iter().flat_map(host_ports).collect();
                let mut vm = self.configuration(&prepared, app, &taken)?;
                vm.image = image::choose(&vmm, self.machine.image.as_deref()).await?;
                if let Some(variables) = prepared.variables.take() {
                    let app = app.unwrap_or(AppId::from_compose_hash(&prepared.compose.hash()));
                    vm.encrypted_env = variables.seal(&vmm, &app, &self.chain).await?;
                }
                let id = vmm.create(&vm).await?;
                steps.done(
                    "Create",
                    &format!("{} on image {}, VM {id}", vm.name, vm.image),
                );
                id
            }
        };
        finish(
            &vmm,
            &id,
            &prepared,
            self.machine.stopped,
            self.settle.timeout,
            &mut steps,
            output,
        )
        .await
    }

    /// Ports as asked for; without that, every one that a service publishes.
    fn ports(&self, containers: &Containers) -> Vec<PortSpec> {
        if self.machine.no_ports || !self.machine.ports.is_empty() {
            return self.machine.ports.clone();
        }
        containers
            .published
            .iter()
            .map(|port| PortSpec::any(*port))
            .collect()
    }

    /// The VM, without image and environment.
    fn configuration(
        &self,
        prepared: &Prepared,
        app: Option<AppId>,
        taken: &[u32],
    ) -> Result<VmConfiguration, Failure> {
        let machine = &self.machine;
        let mut taken = taken.to_vec();
        let mut ports = Vec::new();
        for spec in self.ports(&prepared.containers) {
            let port = spec.resolve(&taken)?;
            taken.push(port.host_port);
            ports.push(port);
        }
        Ok(VmConfiguration {
            name: prepared.name.clone(),
            compose_file: prepared.compose.raw().to_owned(),
            vcpu: machine.vcpu,
            memory: machine.memory.0,
            disk_size: machine.disk.0,
            ports,
            app_id: app.map(|app| app.to_string()),
            user_config: text_of(machine.user_config.as_deref())?,
            hugepages: machine.hugepages,
            pin_numa: machine.pin_numa,
            gpus: machine.gpus.config(),
            kms_urls: machine.kms_url.clone(),
            gateway_urls: machine.gateway_url.clone(),
            stopped: machine.stopped,
            no_tee: machine.no_tee || machine.simulated_tee.is_some(),
            networks: machine.networks.iter().map(|one| one.0.clone()).collect(),
            simulated_tee: machine.simulated_tee.clone(),
            ..VmConfiguration::default()
        })
    }

    /// The app's contract: as named, or created now or by an earlier run.
    async fn app(
        &self,
        prepared: &Prepared,
        steps: &mut Steps<'_>,
    ) -> Result<Option<AppId>, Failure> {
        if !self.create_app {
            return Ok(self.app);
        }
        let record = Record::beside(&prepared.file, &self.chain)?;
        if let Some(app) = record.read()? {
            steps.done("App", &format!("0x{app}, created before"));
            return Ok(Some(app));
        }
        let hash = prepared.compose.hash();
        let app = record.create(&self.chain, &self.signer, &hash).await?;
        steps.done("App", &format!("0x{app} created"));
        Ok(Some(app))
    }

    async fn settle_policy(
        &self,
        prepared: &Prepared,
        app: Option<AppId>,
        steps: &mut Steps<'_>,
    ) -> Result<(), Failure> {
        let from_kms = prepared.compose.manifest().key_provider() == KeyProvider::Kms;
        let Some(app) = app.filter(|_| from_kms && self.chain.is_known()) else {
            return Ok(());
        };
        let policy = Policy {
            chain: &self.chain,
            signer: &self.signer,
            app,
            hash: prepared.compose.hash(),
            file: prepared.file.display().to_string(),
        };
        let Settle {
            allow,
            wait,
            timeout,
        } = self.settle;
        policy
            .settle(allow || self.create_app, wait, timeout, steps)
            .await
    }

    /// An earlier run got as far as the VM.
    async fn resume(
        &self,
        vmm: &Vmm,
        vm: &VmInfo,
        steps: &mut Steps<'_>,
    ) -> Result<String, Failure> {
        if vm.status == "stopped" && !self.machine.stopped {
            vmm.start(&vm.id).await?;
            steps.done("Start", &format!("VM {}, which was there", vm.id));
        } else {
            steps.done("Create", &format!("VM {} is there already", vm.id));
        }
        Ok(vm.id.clone())
    }
}

async fn finish(
    vmm: &Vmm,
    id: &str,
    prepared: &Prepared,
    stopped: bool,
    patience: Duration,
    steps: &mut Steps<'_>,
    output: &Output,
) -> Result<(), Failure> {
    let mut vm = vmm.vm(id).await?.unwrap_or_default();
    let mut answers = None;
    if !stopped {
        vm = boot::wait(vmm, id, patience, steps).await?;
        answers = boot::first_answer(&vm, vmm.url()).await;
        match &answers {
            Some(url) => steps.done("Answer", url),
            None if urls(&vm, vmm.url()).is_empty() => {
                steps.note("no port of it is mapped: nothing to ask over HTTP");
            }
            None => steps.note("it has booted, but no mapped port answers HTTP yet"),
        }
    }
    let hash = prepared.compose.hash();
    let mut lines = vec![
        ("name", vm.name.clone()),
        ("vm", id.to_owned()),
        ("app", format!("0x{}", vm.app_id)),
        ("compose hash", hash.to_string()),
    ];
    let urls = urls(&vm, vmm.url());
    lines.extend(urls.iter().map(|url| ("URL", url.clone())));
    let next = if stopped { "start" } else { "logs -f" };
    lines.push(("next", format!("bylaw {next} {}", vm.name)));
    output.result(
        &lines,
        &json!({
            "name": vm.name, "vm_id": id, "app_id": vm.app_id, "instance_id": vm.instance_id,
            "compose_hash": hash, "app_compose_file": prepared.file, "status": vm.status,
            "boot_progress": vm.boot_progress, "urls": urls, "answers": answers,
            "ports": vm.configuration.map(|vm| vm.ports).unwrap_or_default(),
            "warnings": prepared.warnings,
        }),
    );
    Ok(())
}

fn same_compose(vm: &VmInfo, prepared: &Prepared) -> Result<(), Failure> {
    let running = vm.configuration.as_ref().map_or("", |vm| &vm.compose_file);
    let running = compose_hash(running.as_bytes());
    let wanted = prepared.compose.hash();
    if running == wanted {
        return Ok(());
    }
    Err(Failure::Failed(anyhow::anyhow!(
        "a VM called {} is there and runs another manifest ({running}, not {wanted}); bylaw \
         upgrade {} {} changes it, --name makes another VM",
        vm.name,
        vm.id,
        prepared.file.display()
    )))
}

fn host_ports(vm: &VmInfo) -> Vec<u32> {
    let ports = vm.configuration.iter().flat_map(|vm| &vm.ports);
    ports.map(|port| port.host_port).collect()
}

fn text_of(file: Option<&Path>) -> Result<String, Failure> {
    let Some(file) = file else {
        return Ok(String::new());
    };
    std::fs::read_to_string(file)
        .map_err(|error| Failure::Unusable(format!("{}: {error}", file.display())))
}
