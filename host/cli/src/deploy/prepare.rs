//! What is known of a deployment before anybody is asked.

use std::path::{Path, PathBuf};

use bylaw_types::AppCompose;
use bylaw_types::compose::KeyProvider;

use super::containers::Containers;
use super::manifest::{self, EnvRules, Source};
use super::{Deploy, environment};
use crate::output::Failure;

/// A manifest that was checked, and where it lies.
pub(super) struct Prepared {
    pub(super) name: String,
    pub(super) compose: AppCompose,
    pub(super) file: PathBuf,
    pub(super) containers: Containers,
    pub(super) warnings: Vec<String>,
    pub(super) variables: Option<environment::Variables>,
}

impl Deploy {
    /// Everything that can be said without asking anybody.
    pub(super) fn prepare(&self) -> Result<Prepared, Failure> {
        let source = Source::read(&self.file)?;
        let variables = self.env.read()?;
        let name = self.vm_name(&source)?;
        let compose = match source {
            Source::Manifest(compose) => *compose,
            Source::Yaml(yaml) => {
                let rules = variables
                    .as_ref()
                    .map_or_else(EnvRules::default, |all| all.rules());
                self.manifest
                    .make(&name, &yaml, &rules, self.chain.governance())?
            }
        };
        if let Some(variables) = &variables {
            variables.check(&compose)?;
        }
        let (containers, mut warnings) = manifest::check(&compose, self.strict)?;
        let from_kms = compose.manifest().key_provider() == KeyProvider::Kms;
        if from_kms && self.app.is_none() && !self.create_app {
            return Err(Failure::Unusable(
                "which contract decides about this app's keys? Name it with --app, have it made \
                 with --create-app, or do without a KMS (--key-provider none)"
                    .to_owned(),
            ));
        }
        if variables.is_some() && !self.chain.is_known() {
            return Err(Failure::Unusable(
                "variables are encrypted to a key that KmsAuth vouches for: name it with \
                 --rpc-url and --kms-contract"
                    .to_owned(),
            ));
        }
        if from_kms && !self.chain.is_known() {
            warnings.push(
                "the contract is not asked whether this may run: no --rpc-url and --kms-contract"
                    .to_owned(),
            );
        }
        warnings.extend(self.port_warnings(&containers));
        let file = self
            .out
            .clone()
            .unwrap_or_else(|| beside(&self.file, &name));
        Ok(Prepared {
            name,
            compose,
            file,
            containers,
            warnings,
            variables,
        })
    }

    fn vm_name(&self, source: &Source) -> Result<String, Failure> {
        let given = self.name.clone();
        let name = given.unwrap_or_else(|| match source {
            Source::Manifest(compose) => compose.manifest().name.clone(),
            Source::Yaml(_) => folder_name(&self.file),
        });
        let usable = |c: char| c.is_ascii_alphanumeric() || "-_. @~!$^()".contains(c);
        if name.is_empty() || !name.chars().all(usable) {
            return Err(Failure::Unusable(format!(
                "{name:?} is no name for a VM: letters, digits and -_. @~!$^() are; give --name"
            )));
        }
        Ok(name)
    }

    fn port_warnings(&self, containers: &Containers) -> Vec<String> {
        let unheard = self.machine.ports.iter().filter(|port| {
            !containers.host_network
                && !containers.published.is_empty()
                && !containers.published.contains(&port.vm)
        });
        unheard
            .map(|port| {
                format!(
                    "no service publishes port {} of the VM; nothing will answer there",
                    port.vm
                )
            })
            .collect()
    }
}

impl Prepared {
    pub(super) fn describe(&self) -> String {
        let services = self.containers.images.len();
        let hash: String = self.compose.hash().to_string().chars().take(8).collect();
        match services {
            0 => format!("app-compose {hash}…"),
            1 => format!("app-compose {hash}…, 1 service"),
            more => format!("app-compose {hash}…, {more} services"),
        }
    }
}

/// Waits for the boot and says where the app is.
fn folder_name(file: &Path) -> String {
    let full = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folder = full.parent().and_then(Path::file_name);
    folder.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// `<name>.app-compose.json` in the folder of `file`, or the file where it is that already.
pub(super) fn beside(file: &Path, name: &str) -> PathBuf {
    if file
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        return file.to_owned();
    }
    file.with_file_name(format!("{name}.app-compose.json"))
}
