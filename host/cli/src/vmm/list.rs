//! `ps`, `inspect`, `lsimage`, `lsgpu`: looking.

use bylaw_types::compose::compose_hash;
use serde_json::{Value, json};

use super::view::{boot_text, ports_text};
use super::{VmmArgs, find, urls, view};
use crate::output::{Failure, Output};

#[derive(clap::Args)]
pub(crate) struct List {
    /// Only VMs with this in name, id, app id or image.
    keyword: Option<String>,
    #[command(flatten)]
    vmm: VmmArgs,
}

impl List {
    pub(crate) async fn run(self, output: &Output) -> Result<(), Failure> {
        let vmm = self.vmm.connect()?;
        let mut vms = vmm.vms().await?.vms;
        if let Some(word) = &self.keyword {
            vms.retain(|vm| {
                let image = vm.configuration.as_ref().map_or("", |vm| &vm.image);
                [&vm.name, &vm.id, &vm.app_id, image]
                    .iter()
                    .any(|text| text.contains(word.as_str()))
            });
        }
        let rows = vms.iter().map(|vm| {
            let image = vm.configuration.as_ref().map_or("", |vm| &vm.image);
            vec![
                vm.name.clone(),
                output.short(&vm.id),
                vm.status.clone(),
                output.short(&vm.app_id),
                image.to_owned(),
                ports_text(vm),
                boot_text(vm),
                vm.uptime.clone(),
            ]
        });
        let values: Vec<Value> = vms.iter().map(|vm| view(vm, vmm.url())).collect();
        output.table(
            &[
                "NAME", "ID", "STATUS", "APP", "IMAGE", "PORTS", "BOOT", "UPTIME",
            ],
            &rows.collect::<Vec<_>>(),
            &json!(values),
        );
        Ok(())
    }
}

#[derive(clap::Args)]
pub(crate) struct Inspect {
    /// Name, or beginning of the id.
    vm: String,
    /// Print its app-compose.json and nothing else.
    #[arg(long)]
    app_compose: bool,
    #[command(flatten)]
    vmm: VmmArgs,
}

impl Inspect {
    pub(crate) async fn run(self, output: &Output) -> Result<(), Failure> {
        let vmm = self.vmm.connect()?;
        let vm = find(&vmm, &self.vm).await?;
        let configuration = vm.configuration.clone().unwrap_or_default();
        if self.app_compose {
            output.text(&configuration.compose_file);
            return Ok(());
        }
        let hash = compose_hash(configuration.compose_file.as_bytes());
        let mut lines = vec![
            ("name", vm.name.clone()),
            ("id", vm.id.clone()),
            ("status", vm.status.clone()),
            ("uptime", vm.uptime.clone()),
            ("app", format!("0x{}", vm.app_id)),
            ("instance", vm.instance_id.clone().unwrap_or_default()),
            ("compose hash", hash.to_string()),
            (
                "image",
                format!("{} ({})", configuration.image, vm.image_version),
            ),
            (
                "resources",
                format!(
                    "{} vCPU, {} MiB memory, {} GiB disk",
                    configuration.vcpu, configuration.memory, configuration.disk_size
                ),
            ),
            (
                "TEE",
                tee(configuration.no_tee, configuration.simulated_tee.as_deref()),
            ),
            ("ports", ports_text(&vm)),
            ("boot", boot_text(&vm)),
        ];
        lines.extend(urls(&vm, vmm.url()).into_iter().map(|url| ("URL", url)));
        lines.extend(vm.events.iter().map(|event| {
            let time = bylaw_gov::text::time(event.timestamp / 1000);
            ("event", format!("{time}  {}  {}", event.event, event.body))
        }));
        lines.retain(|(_, text)| !text.is_empty());
        let mut value = view(&vm, vmm.url());
        value["compose_hash"] = json!(hash);
        value["events"] = json!(vm.events);
        value["interfaces"] = json!(vm.interfaces);
        value["gpus"] = json!(configuration.gpus);
        value["kms_urls"] = json!(configuration.kms_urls);
        value["gateway_urls"] = json!(configuration.gateway_urls);
        value["encrypted_env_bytes"] = json!(configuration.encrypted_env.len());
        value["app_compose"] = json!(configuration.compose_file);
        output.result(&lines, &value);
        Ok(())
    }
}

fn tee(none: bool, simulated: Option<&str>) -> String {
    match (simulated, none) {
        (Some(variant), _) => format!("SIMULATED {variant}: nothing is confidential"),
        (None, true) => "NONE: nothing is confidential".to_owned(),
        (None, false) => "hardware".to_owned(),
    }
}

#[derive(clap::Args)]
pub(crate) struct Images {
    #[command(flatten)]
    vmm: VmmArgs,
}

impl Images {
    pub(crate) async fn run(self, output: &Output) -> Result<(), Failure> {
        let images = self.vmm.connect()?.images().await?.images;
        let rows: Vec<Vec<String>> = images
            .iter()
            .map(|image| {
                let flavour = if image.is_dev {
                    "dev (has a shell)"
                } else {
                    "production"
                };
                vec![
                    image.name.clone(),
                    image.version.clone(),
                    flavour.to_owned(),
                ]
            })
            .collect();
        let values: Vec<Value> = images
            .iter()
            .map(|image| {
                let metadata: Value = serde_json::from_str(&image.description).unwrap_or_default();
                json!({
                    "name": image.name, "version": image.version, "is_dev": image.is_dev,
                    "metadata": metadata,
                })
            })
            .collect();
        output.table(&["NAME", "VERSION", "FLAVOUR"], &rows, &json!(values));
        Ok(())
    }
}

#[derive(clap::Args)]
pub(crate) struct Gpus {
    #[command(flatten)]
    vmm: VmmArgs,
}

impl Gpus {
    pub(crate) async fn run(self, output: &Output) -> Result<(), Failure> {
        let answer = self.vmm.connect()?.gpus().await?;
        let rows: Vec<Vec<String>> = answer
            .gpus
            .iter()
            .map(|gpu| {
                let free = if gpu.is_free { "yes" } else { "no" };
                vec![
                    gpu.slot.clone(),
                    gpu.product_id.clone(),
                    free.to_owned(),
                    gpu.description.clone(),
                ]
            })
            .collect();
        let value = json!({ "gpus": answer.gpus, "allow_attach_all": answer.allow_attach_all });
        output.table(&["SLOT", "PRODUCT", "FREE", "DESCRIPTION"], &rows, &value);
        Ok(())
    }
}
