//! The software TEE beside a simulated VM.

use bylaw_measure::acpi::AcpiBlobs;
use bylaw_rpc::message::simtee::{LaunchArgs, LaunchResponse, MachineInfo, StopArgs};
use bylaw_rpc::{Client, ClientError, Empty};
use bylaw_types::AppCompose;
use serde_json::{Value, json};

use super::LaunchError;
use crate::config::Simulator;
use crate::images::Image;
use crate::record::Manifest;

/// A launched TD.
#[derive(Debug)]
pub(super) struct Td {
    endpoint: String,
    root_ca: String,
    /// Where its collateral is, as the guest reaches it.
    pub(super) pccs_url: String,
}

impl Td {
    /// `.tee-simulator.json`.
    pub(super) fn to_json(&self) -> Value {
        json!({ "endpoint": self.endpoint, "root_ca": self.root_ca })
    }
}

/// What a TD measures of a start.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) image: &'a Image,
    pub(super) compose: &'a AppCompose,
    pub(super) mr_config_id: Option<[u8; 48]>,
    pub(super) vm_config: String,
    pub(super) acpi: AcpiBlobs,
}

impl Start<'_> {
    /// Launches the TD.
    pub(super) async fn launch(self, simulator: &Simulator) -> Result<Td, LaunchError> {
        let failed = |error: ClientError| LaunchError::Simulator {
            control: simulator.control.clone(),
            reason: error.to_string(),
        };
        let image_dir = self.image.path.to_str();
        let client = Client::new(&simulator.control).map_err(failed)?;
        let machine: MachineInfo = client.call("Info", &Empty {}).await.map_err(failed)?;
        let arguments = LaunchArgs {
            name: self.manifest.id.clone(),
            app_compose: self.compose.raw().to_owned(),
            memory_size: u64::from(self.manifest.memory) << 20,
            cpu_count: self.manifest.vcpu,
            image_dir: image_dir
                .ok_or_else(|| LaunchError::NotText(self.image.path.clone()))?
                .to_owned(),
            mr_config_id: self.mr_config_id.map(Vec::from).unwrap_or_default(),
            vm_config: self.vm_config,
            acpi_loader: self.acpi.loader,
            acpi_rsdp: self.acpi.rsdp,
            acpi_tables: self.acpi.tables,
            ..LaunchArgs::default()
        };
        // One of a start before may be left, of a VMM that was killed.
        let left = StopArgs {
            name: self.manifest.id.clone(),
        };
        let _ = client.call::<_, Empty>("Stop", &left).await;
        let td: LaunchResponse = client.call("Launch", &arguments).await.map_err(failed)?;
        Ok(Td {
            endpoint: seen_by_guests(&td.url, &simulator.guest_host),
            root_ca: machine.root_ca,
            pccs_url: seen_by_guests(&machine.pccs_url, &simulator.guest_host),
        })
    }
}

/// Ends the TD of a VM; one that is gone already is fine.
pub async fn stop(simulator: &Simulator, id: &str) {
    let name = id.to_owned();
    let stopped = match Client::new(&simulator.control) {
        Ok(client) => client.call::<_, Empty>("Stop", &StopArgs { name }).await,
        Err(error) => Err(error),
    };
    if let Err(error) = stopped {
        tracing::warn!(vm = id, %error, "the simulated TEE was not stopped");
    }
}

/// The host's own address means the host, seen from inside QEMU's user network.
fn seen_by_guests(url: &str, guest_host: &str) -> String {
    let own = ["127.0.0.1", "localhost", "0.0.0.0", "[::1]"];
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => {
            (host, format!(":{port}"))
        }
        _ => (authority, String::new()),
    };
    if own.contains(&host) {
        format!("{scheme}://{guest_host}{port}{path}")
    } else {
        url.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::seen_by_guests;

    #[test]
    fn only_the_hosts_own_address_changes() {
        for (url, seen) in [
            ("http://127.0.0.1:80/td/x", "http://10.0.2.2:80/td/x"),
            ("http://localhost/td", "http://10.0.2.2/td"),
            ("http://0.0.0.0:8", "http://10.0.2.2:8"),
            ("http://[::1]:8/x", "http://10.0.2.2:8/x"),
            ("https://pccs.example:80/x", "https://pccs.example:80/x"),
            ("http://127.0.0.10/", "http://127.0.0.10/"),
            ("", ""),
        ] {
            assert_eq!(seen_by_guests(url, "10.0.2.2"), seen);
        }
    }
}
