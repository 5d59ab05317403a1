//! `bylaw upgrade`: another manifest, environment, image or ports for a VM.

use std::path::PathBuf;

use bylaw_rpc::message::vmm::{UpdateVmRequest, VmInfo};
use bylaw_types::AppCompose;
use bylaw_types::compose::KeyProvider;
use serde_json::json;

use super::environment::{EnvArgs, Variables};
use super::manifest::{self, Source};
use super::policy::Policy;
use super::steps::Steps;
use super::{Prepared, Settle, finish, host_ports, image, record, text_of};
use crate::chain::{ChainArgs, SignerArgs};
use crate::output::{Failure, Output};
use crate::vmm::{Gpus, PortSpec, Vmm, VmmArgs, find, stop};

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args([
    "file", "env_file", "ports", "no_ports", "image", "user_config", "kms_url", "gateway_url",
    "gpu", "ppcie",
]))]
pub(crate) struct Upgrade {
    /// Name, or beginning of the id.
    vm: String,
    /// New docker-compose.yaml for the same manifest, or a whole new app-compose.json.
    file: Option<PathBuf>,
    /// Where the new app-compose.json goes; NAME.app-compose.json beside FILE otherwise.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Refuse images that are named by tag.
    #[arg(long)]
    strict: bool,
    /// Say what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Every port: those not named are closed.
    #[arg(
        short,
        long = "port",
        value_name = "[HOST:]VM",
        conflicts_with = "no_ports"
    )]
    ports: Vec<PortSpec>,
    /// Close every port.
    #[arg(long)]
    no_ports: bool,
    /// Another guest image.
    #[arg(long)]
    image: Option<String>,
    /// Other user config.
    #[arg(long, value_name = "FILE")]
    user_config: Option<PathBuf>,
    /// KMS instead of the node's; repeat it.
    #[arg(long)]
    kms_url: Vec<String>,
    /// Gateway instead of the node's; repeat it.
    #[arg(long)]
    gateway_url: Vec<String>,
    #[command(flatten)]
    gpus: Gpus,
    /// Leave it running as it is; the changes show at its next start.
    #[arg(long)]
    no_restart: bool,
    #[command(flatten)]
    settle: Settle,
    #[command(flatten)]
    env: EnvArgs,
    #[command(flatten)]
    chain: ChainArgs,
    #[command(flatten)]
    signer: SignerArgs,
    #[command(flatten)]
    vmm: VmmArgs,
}

impl Upgrade {
    pub(crate) async fn run(self, output: &Output) -> Result<(), Failure> {
        let mut steps = Steps::start(output);
        let vmm = self.vmm.connect()?;
        let vm = find(&vmm, &self.vm).await?;
        let configuration = vm.configuration.clone().unwrap_or_default();
        let running = AppCompose::parse(configuration.compose_file.as_bytes())
            .map_err(|error| Failure::Failed(error.into()))?;
        let variables = self.env.read()?;
        if variables.is_some() && !self.chain.is_known() {
            return Err(Failure::Unusable(
                "variables are encrypted to a key that KmsAuth vouches for: name it with \
                 --rpc-url and --kms-contract"
                    .to_owned(),
            ));
        }
        let mut prepared = self.prepare(&vm, &running, variables)?;
        for warning in &prepared.warnings {
            steps.note(warning);
        }
        let is_new = prepared.compose.hash() != running.hash();
        if self.dry_run {
            show(&vm, &running, &prepared, output);
            return Ok(());
        }
        if is_new {
            record::write_manifest(&prepared.file, &prepared.compose, &steps)?;
            steps.done("Check", &prepared.describe());
            self.settle_policy(&vm, &prepared, &mut steps).await?;
        }
        let request = self.request(&vmm, &vm, &mut prepared, is_new).await?;
        self.carry_out(&vmm, &vm, request, &mut steps).await?;
        let was_running = vm.status != "stopped";
        let stays = self.no_restart || !was_running;
        finish(
            &vmm,
            &vm.id,
            &prepared,
            stays,
            self.settle.timeout,
            &mut steps,
            output,
        )
        .await
    }

    fn prepare(
        &self,
        vm: &VmInfo,
        running: &AppCompose,
        variables: Option<Variables>,
    ) -> Result<Prepared, Failure> {
        let source = self.file.as_deref().map(Source::read).transpose()?;
        let rules = variables.as_ref().map(Variables::rules);
        let compose = match source {
            Some(Source::Manifest(compose)) => *compose,
            Some(Source::Yaml(yaml)) => {
                manifest::change(running.raw(), Some(&yaml), rules.as_ref())?
            }
            // The same variables with other values change nothing that is measured.
            None => match rules.filter(|rules| !covers(running, rules)) {
                Some(rules) => manifest::change(running.raw(), None, Some(&rules))?,
                None => running.clone(),
            },
        };
        if let Some(variables) = &variables {
            variables.check(&compose)?;
        }
        let (containers, warnings) = manifest::check(&compose, self.strict)?;
        let default = || {
            let beside = self.file.clone().unwrap_or_default();
            super::prepare::beside(&beside, &vm.name)
        };
        Ok(Prepared {
            name: vm.name.clone(),
            compose,
            file: self.out.clone().unwrap_or_else(default),
            containers,
            warnings,
            variables,
        })
    }

    async fn settle_policy(
        &self,
        vm: &VmInfo,
        prepared: &Prepared,
        steps: &mut Steps<'_>,
    ) -> Result<(), Failure> {
        if prepared.compose.manifest().key_provider() != KeyProvider::Kms {
            return Ok(());
        }
        if !self.chain.is_known() {
            steps.note("the contract is not asked: no --rpc-url and --kms-contract");
            return Ok(());
        }
        let policy = Policy {
            chain: &self.chain,
            signer: &self.signer,
            app: vm.app_id.parse()?,
            hash: prepared.compose.hash(),
            file: prepared.file.display().to_string(),
        };
        let Settle {
            allow,
            wait,
            timeout,
        } = self.settle;
        policy.settle(allow, wait, timeout, steps).await
    }

    async fn request(
        &self,
        vmm: &Vmm,
        vm: &VmInfo,
        prepared: &mut Prepared,
        is_new: bool,
    ) -> Result<UpdateVmRequest, Failure> {
        let mut request = UpdateVmRequest {
            id: vm.id.clone(),
            user_config: text_of(self.user_config.as_deref())?,
            update_ports: self.no_ports || !self.ports.is_empty(),
            update_kms_urls: !self.kms_url.is_empty(),
            kms_urls: self.kms_url.clone(),
            update_gateway_urls: !self.gateway_url.is_empty(),
            gateway_urls: self.gateway_url.clone(),
            gpus: self.gpus.config(),
            ..UpdateVmRequest::default()
        };
        if is_new {
            request.compose_file = prepared.compose.raw().to_owned();
        }
        if let Some(wanted) = &self.image {
            request.image = Some(image::choose(vmm, Some(wanted)).await?);
        }
        if let Some(variables) = prepared.variables.take() {
            let app = vm.app_id.parse()?;
            request.encrypted_env = variables.seal(vmm, &app, &self.chain).await?;
        }
        let others = vmm.vms().await?.vms;
        let mut taken: Vec<u32> = others.iter().flat_map(host_ports).collect();
        for spec in &self.ports {
            let mut port = spec.resolve(&taken)?;
            taken.push(port.host_port);
            // An update takes no empty address.
            if port.host_address.is_empty() {
                port.host_address = "127.0.0.1".to_owned();
            }
            request.ports.push(port);
        }
        Ok(request)
    }

    /// A guest reads its files when it starts: a running VM is stopped, changed, started.
    async fn carry_out(
        &self,
        vmm: &Vmm,
        vm: &VmInfo,
        request: UpdateVmRequest,
        steps: &mut Steps<'_>,
    ) -> Result<(), Failure> {
        if self.no_restart || vm.status == "stopped" {
            vmm.update(&request).await?;
            steps.done("Update", &vm.name);
            return Ok(());
        }
        if stop(vmm, vm, false, STOP).await.is_err() {
            steps.note("the guest did not shut down; it is ended");
            stop(vmm, vm, true, STOP).await?;
        }
        steps.done("Stop", &vm.name);
        let updated = vmm.update(&request).await;
        // Refused or not: what ran, runs.
        vmm.start(&vm.id).await?;
        updated?;
        steps.done("Update", &format!("{}, started again", vm.name));
        Ok(())
    }
}

const STOP: std::time::Duration = std::time::Duration::from_secs(90);

/// Whether the manifest opens such an environment as it is.
fn covers(running: &AppCompose, rules: &manifest::EnvRules) -> bool {
    let manifest = running.manifest();
    let names = rules
        .names
        .iter()
        .all(|name| manifest.allowed_envs.contains(name));
    let signer = rules
        .signer
        .is_none_or(|signer| manifest.encrypted_env.signers.contains(&signer));
    names && signer
}

fn show(vm: &VmInfo, running: &AppCompose, prepared: &Prepared, output: &Output) {
    let (before, after) = (running.hash(), prepared.compose.hash());
    let compared = bylaw_gov::diff(running.raw(), prepared.compose.raw());
    let mut lines = vec![
        ("vm", vm.name.clone()),
        ("runs", before.to_string()),
        ("would run", after.to_string()),
    ];
    lines.extend(
        compared
            .iter()
            .map(|line| ("", format!("{} {}", line.tag, line.text))),
    );
    output.result(
        &lines,
        &json!({
            "dry_run": true, "name": vm.name, "vm_id": vm.id, "compose_hash": before,
            "new_compose_hash": after, "diff": compared,
            "app_compose": prepared.compose.raw(), "warnings": prepared.warnings,
        }),
    );
}
