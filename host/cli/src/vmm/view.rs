//! A VM as `--json` shows it. Names are stable.

use bylaw_rpc::message::vmm::{PortMapping, VmInfo};
use serde_json::{Value, json};

/// Where the app answers: through the gateway, and through each mapped TCP port.
pub(crate) fn urls(vm: &VmInfo, vmm_url: &str) -> Vec<String> {
    let mut urls: Vec<String> = vm.app_url.iter().cloned().collect();
    let ports = vm.configuration.iter().flat_map(|vm| &vm.ports);
    urls.extend(ports.filter(|port| port.protocol == "tcp").map(|port| {
        let host = host_of(port, vmm_url);
        format!("http://{host}:{}", port.host_port)
    }));
    urls
}

/// What a browser needs where the port listens everywhere, or where the node decides.
fn host_of(port: &PortMapping, vmm_url: &str) -> String {
    match port.host_address.as_str() {
        "" | "0.0.0.0" | "::" => {
            let uri: Option<http::Uri> = vmm_url.parse().ok();
            let host = uri.as_ref().and_then(http::Uri::host);
            host.unwrap_or("127.0.0.1").to_owned()
        }
        address if address.contains(':') => format!("[{address}]"),
        address => address.to_owned(),
    }
}

/// `8080→80` for people.
pub(crate) fn ports_text(vm: &VmInfo) -> String {
    let ports = vm.configuration.iter().flat_map(|vm| &vm.ports);
    let texts: Vec<String> = ports
        .map(|port| {
            let protocol = match port.protocol.as_str() {
                "tcp" => String::new(),
                other => format!("/{other}"),
            };
            format!("{}:{}{protocol}", port.host_port, port.vm_port)
        })
        .collect();
    texts.join(",")
}

/// What boots, in a word or a sentence.
pub(crate) fn boot_text(vm: &VmInfo) -> String {
    if !vm.boot_error.is_empty() {
        return format!("error: {}", vm.boot_error);
    }
    if !vm.shutdown_progress.is_empty() {
        return vm.shutdown_progress.clone();
    }
    vm.boot_progress.clone()
}

/// Everything but secrets and long texts.
pub(crate) fn view(vm: &VmInfo, vmm_url: &str) -> Value {
    let configuration = vm.configuration.clone().unwrap_or_default();
    json!({
        "id": vm.id,
        "name": vm.name,
        "status": vm.status,
        "uptime": vm.uptime,
        "app_id": vm.app_id,
        "instance_id": vm.instance_id,
        "image": configuration.image,
        "image_version": vm.image_version,
        "vcpu": configuration.vcpu,
        "memory_mib": configuration.memory,
        "disk_gib": configuration.disk_size,
        "ports": configuration.ports,
        "no_tee": configuration.no_tee,
        "simulated_tee": configuration.simulated_tee,
        "urls": urls(vm, vmm_url),
        "boot_progress": vm.boot_progress,
        "boot_error": vm.boot_error,
        "shutdown_progress": vm.shutdown_progress,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bylaw_rpc::message::vmm::VmConfiguration;

    #[test]
    fn urls_lead_where_the_ports_are() {
        let port = |protocol: &str, address: &str| PortMapping {
            protocol: protocol.into(),
            host_port: 8080,
            vm_port: 80,
            host_address: address.into(),
        };
        let vm = VmInfo {
            app_url: Some("https://x-8090.apps.example".into()),
            configuration: Some(VmConfiguration {
                ports: vec![
                    port("tcp", ""),
                    port("udp", ""),
                    port("tcp", "10.0.0.7"),
                    port("tcp", "::1"),
                ],
                ..VmConfiguration::default()
            }),
            ..VmInfo::default()
        };
        assert_eq!(
            urls(&vm, "https://node.example:9080/x"),
            [
                "https://x-8090.apps.example",
                "http://node.example:8080",
                "http://10.0.0.7:8080",
                "http://[::1]:8080"
            ]
        );
        let here = urls(&vm, "unix:/run/vmm.sock");
        assert_eq!(
            here.get(1).map(String::as_str),
            Some("http://127.0.0.1:8080")
        );
    }

    #[test]
    fn the_environment_is_in_no_view() {
        let vm = VmInfo {
            configuration: Some(VmConfiguration {
                encrypted_env: vec![0xab; 40],
                compose_file: "text".into(),
                ..VmConfiguration::default()
            }),
            ..VmInfo::default()
        };
        let text = view(&vm, "").to_string();
        assert!(
            !text.contains("abab") && !text.contains("compose_file"),
            "{text}"
        );
    }
}
