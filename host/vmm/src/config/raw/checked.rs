//! From settings as written to settings that make sense.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bylaw_rpc::serve::Listen;

use super::{
    Chain, Raw, RawAuth, RawCvm, RawHostApi, RawKeyProvider, RawNetworking, RawPortMapping,
    RawSimulator, Size,
};
use crate::config::{
    Accel, Auth, AutoRestart, Config, ConfigError, Cvm, Gateway, Gpu, HostApi, LogLimits, NetMode,
    Networking, Platform, PortMapping, Simulator, TdxVariant, expand,
};

fn bad(key: &'static str, value: impl fmt::Display, reason: impl fmt::Display) -> ConfigError {
    ConfigError {
        key,
        value: value.to_string(),
        reason: reason.to_string(),
    }
}

fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// The first endpoint of the guests; on their own network this host is 10.0.2.2.
fn seen_from_here(chain: &Chain) -> Option<String> {
    Some(chain.rpc_urls.first()?.replace("10.0.2.2", "127.0.0.1"))
}

impl TryFrom<Raw> for Config {
    type Error = ConfigError;

    fn try_from(raw: Raw) -> Result<Self, ConfigError> {
        let image_path = if raw.image_path.as_os_str().is_empty() {
            &raw.image.path
        } else {
            &raw.image_path
        };
        let key_provider = raw.key_provider.enabled.then(|| {
            let RawKeyProvider { address, port, .. } = &raw.key_provider;
            format!("{address}:{port}")
        });
        Ok(Self {
            listen: listen(&raw.address, raw.port)?,
            kms_url: given(raw.kms_url),
            chain_url: given(raw.chain_url).or_else(|| seen_from_here(raw.cvm.chain.as_ref()?)),
            event_buffer_size: raw.event_buffer_size,
            node_name: raw.node_name,
            run_path: absolute("run_path", &raw.run_path)?,
            image_path: absolute("image.path", image_path)?,
            registry: given(raw.image.registry),
            cvm: raw.cvm.try_into()?,
            gateway: Gateway {
                base_domain: raw.gateway.base_domain,
                port: raw.gateway.port,
                agent_port: raw.gateway.agent_port,
            },
            auth: auth(raw.auth)?,
            host_api: host_api(&raw.host_api)?,
            key_provider,
        })
    }
}

/// QEMU is started elsewhere than where the VMM was. Its sockets have room for 107 bytes.
fn absolute(key: &'static str, path: &Path) -> Result<PathBuf, ConfigError> {
    const LONGEST: usize = 107 - "/00000000-0000-0000-0000-000000000000/qmp.sock".len();
    let invalid = |reason: &dyn fmt::Display| bad(key, path.display(), reason);
    let absolute = std::path::absolute(expand(path)).map_err(|error| invalid(&error))?;
    if absolute.as_os_str().len() > LONGEST {
        let reason = format!("{} is longer than {LONGEST} bytes", absolute.display());
        return Err(invalid(&reason));
    }
    Ok(absolute)
}

fn listen(address: &str, port: u16) -> Result<Listen, ConfigError> {
    if let Ok(ip) = address.parse::<IpAddr>() {
        return Ok(Listen::Tcp(std::net::SocketAddr::new(ip, port).to_string()));
    }
    match address.parse::<Listen>() {
        Ok(Listen::Unix(path)) => Ok(Listen::Unix(expand(&path))),
        Ok(listen @ Listen::Tcp(_)) => Ok(listen),
        _ => Err(bad(
            "address",
            address,
            "must be unix:<path>, <host>:<port>, or an IP address (its port is the key `port`)",
        )),
    }
}

fn auth(raw: RawAuth) -> Result<Option<Auth>, ConfigError> {
    if !raw.enabled {
        return Ok(None);
    }
    let tokens = raw.tokens.into_iter().filter(|token| !token.is_empty());
    let file = raw.htpasswd_file;
    let auth = Auth {
        tokens: tokens.collect(),
        htpasswd_file: (!file.as_os_str().is_empty()).then(|| expand(&file)),
    };
    if auth.tokens.is_empty() && auth.htpasswd_file.is_none() {
        let reason = "nobody could authenticate: set auth.tokens or auth.htpasswd_file";
        return Err(bad("auth.enabled", true, reason));
    }
    Ok(Some(auth))
}

fn host_api(raw: &RawHostApi) -> Result<HostApi, ConfigError> {
    let port = raw.port;
    if let Some(cid) = raw.address.strip_prefix("vsock:") {
        let reason = "the context id after vsock: must be a number, 2 for the host";
        let cid = cid
            .parse()
            .map_err(|_| bad("host_api.address", &raw.address, reason))?;
        return Ok(HostApi::Vsock { cid, port });
    }
    match raw.address.parse::<IpAddr>() {
        Ok(address) if address.is_loopback() => Ok(HostApi::Tcp { address, port }),
        _ => Err(bad(
            "host_api.address",
            &raw.address,
            "must be vsock:<cid> or a loopback address (guests reach it through their own network)",
        )),
    }
}

impl TryFrom<RawCvm> for Cvm {
    type Error = ConfigError;

    fn try_from(raw: RawCvm) -> Result<Self, ConfigError> {
        refuse_unsupported(&raw)?;
        let accel = match raw.accel.as_str() {
            "kvm" => Accel::Kvm,
            "tcg" => Accel::Tcg,
            other => {
                let reason = "must be \"kvm\", or \"tcg\" where the machine has no KVM (slow)";
                return Err(bad("cvm.accel", other, reason));
            }
        };
        let platform = match raw.platform.as_str() {
            "auto" => Platform::Auto,
            "tdx" => Platform::Tdx,
            "amd-sev-snp" => Platform::AmdSevSnp,
            other => {
                let reason = "must be \"auto\", \"tdx\" or \"amd-sev-snp\"";
                return Err(bad("cvm.platform", other, reason));
            }
        };
        let tdx_variant = match raw.tdx_attestation_variant.as_str() {
            "auto" => TdxVariant::Auto,
            "legacy" => TdxVariant::Legacy,
            "lite" => TdxVariant::Lite,
            other => {
                let reason = "must be \"auto\", \"legacy\" or \"lite\"";
                return Err(bad("cvm.tdx_attestation_variant", other, reason));
            }
        };
        // 0, 1 and 2 are the hypervisor, loopback and the host.
        if raw.cid_start < 3 || raw.cid_pool_size == 0 {
            let reason = "must be 3 or more, with cvm.cid_pool_size of 1 or more";
            return Err(bad("cvm.cid_start", raw.cid_start, reason));
        }
        if raw.cid_start.checked_add(raw.cid_pool_size).is_none() {
            let reason = "goes beyond the largest context id";
            return Err(bad("cvm.cid_pool_size", raw.cid_pool_size, reason));
        }
        let gateway_urls = match raw.gateway_urls.as_slice() {
            [] => raw.tproxy_urls,
            _ => raw.gateway_urls,
        };
        Ok(Self {
            accel,
            platform,
            qemu_path: qemu_path(&raw.qemu_path),
            qemu_version: given(raw.qemu_version),
            kms_urls: raw.kms_urls,
            gateway_urls,
            pccs_url: raw.pccs_url,
            amd_kds_url: raw.amd_kds_url,
            nvidia_attestation_proxy_url: raw.nvidia_attestation_proxy_url,
            docker_registry: raw.docker_registry,
            cid_start: raw.cid_start,
            cid_pool_size: raw.cid_pool_size,
            max_vcpu: raw.max_allocable_vcpu,
            max_memory_mib: raw.max_allocable_memory_in_mb,
            use_mrconfigid: raw.use_mrconfigid,
            single_pass_add_pages: raw.qemu_single_pass_add_pages,
            pic: raw.qemu_pic,
            pci_hole64_size: raw.qemu_pci_hole64_size,
            hotplug_off: raw.qemu_hotplug_off,
            tdx_variant,
            qgs_port: raw.qgs_port,
            product: raw.product,
            networking: networking(raw.networking)?,
            port_mapping: port_mapping(raw.port_mapping)?,
            auto_restart: raw.auto_restart.enabled.then(|| AutoRestart {
                max_retries: raw.auto_restart.max_retries,
                initial_backoff: Duration::from_secs(raw.auto_restart.initial_backoff),
                max_backoff: Duration::from_secs(raw.auto_restart.max_backoff),
                reset_window: Duration::from_secs(raw.auto_restart.reset_window),
            }),
            log: LogLimits {
                max_bytes: size("cvm.log.max_bytes", &raw.log.max_bytes)?,
                max_backups: raw.log.max_backups,
                interval: Duration::from_secs(raw.log.check_interval_secs.max(1)),
            },
            gpu: raw.gpu.enabled.then_some(Gpu {
                listing: raw.gpu.listing,
                exclude: raw.gpu.exclude,
                include: raw.gpu.include,
                allow_attach_all: raw.gpu.allow_attach_all,
            }),
            chain: raw.chain,
            simulator: simulator(raw.tee_simulator)?,
        })
    }
}

/// Settings of dstack that ask for something this VMM does not do.
fn refuse_unsupported(raw: &RawCvm) -> Result<(), ConfigError> {
    if !raw.user.is_empty() {
        let reason = "QEMU runs as the user of the VMM; run the VMM as that user instead";
        return Err(bad("cvm.user", &raw.user, reason));
    }
    if !raw.volumes_dir.as_os_str().is_empty() {
        let reason = "volumes of the host are not supported; leave it empty";
        return Err(bad("cvm.volumes_dir", raw.volumes_dir.display(), reason));
    }
    if raw.network_filter.mode != "none" {
        let reason = "only \"none\" is supported: filter on the bridge";
        return Err(bad(
            "cvm.network_filter.mode",
            &raw.network_filter.mode,
            reason,
        ));
    }
    if raw.host_share_mode != "vhd" {
        let reason = "only \"vhd\" is supported: guests take files from a read-only disk";
        return Err(bad("cvm.host_share_mode", &raw.host_share_mode, reason));
    }
    Ok(())
}

fn qemu_path(configured: &Path) -> PathBuf {
    if !configured.as_os_str().is_empty() {
        return expand(configured);
    }
    let client = std::fs::read_to_string("/etc/dstack/client.conf")
        .ok()
        .and_then(|text| text.parse::<toml::Table>().ok())
        .and_then(|table| Some(table.get("qemu")?.get("path")?.as_str()?.to_owned()));
    client.map_or_else(|| PathBuf::from("qemu-system-x86_64"), PathBuf::from)
}

fn networking(raw: RawNetworking) -> Result<Networking, ConfigError> {
    let mode = match raw.mode.as_str() {
        "user" => NetMode::User,
        "bridge" => NetMode::Bridge,
        other => {
            let reason = "must be \"user\" or \"bridge\"";
            return Err(bad("cvm.networking.mode", other, reason));
        }
    };
    if mode == NetMode::Bridge && raw.bridge.is_empty() {
        let reason = "must name a bridge of the host when the mode is \"bridge\"";
        return Err(bad("cvm.networking.bridge", "", reason));
    }
    let mac_prefix = hex::decode(raw.mac_prefix.replace(':', ""))
        // Bit 0 of the first byte would make it a group's address.
        .ok()
        .filter(|bytes| bytes.len() <= 3 && bytes.first().is_none_or(|byte| byte & 1 == 0))
        .ok_or_else(|| {
            let reason = "must be three hexadecimal bytes at most, the first of them even";
            bad("cvm.networking.mac_prefix", &raw.mac_prefix, reason)
        })?;
    Ok(Networking {
        mode,
        net: raw.net,
        dhcp_start: raw.dhcp_start,
        restrict: raw.restrict,
        bridge: raw.bridge,
        mac_prefix,
    })
}

fn port_mapping(raw: RawPortMapping) -> Result<Option<PortMapping>, ConfigError> {
    if !raw.enabled {
        return Ok(None);
    }
    let address = raw.address.parse().map_err(|_| {
        let reason = "must be an IPv4 address";
        bad("cvm.port_mapping.address", &raw.address, reason)
    })?;
    if let Some(empty) = raw.range.iter().find(|range| range.from > range.to) {
        let range = format!("{} to {}", empty.from, empty.to);
        return Err(bad("cvm.port_mapping.range", range, "has no port in it"));
    }
    let ranges = raw.range.iter().map(|r| (r.protocol, r.from, r.to));
    Ok(Some(PortMapping {
        address,
        ranges: ranges.collect(),
    }))
}

fn simulator(raw: RawSimulator) -> Result<Option<Simulator>, ConfigError> {
    if raw.control.is_empty() {
        return Ok(None);
    }
    if !raw.control.starts_with("unix:") {
        let reason = "must be unix:<path>";
        return Err(bad("cvm.tee_simulator.control", raw.control, reason));
    }
    Ok(Some(Simulator {
        control: raw.control,
        guest_host: raw.guest_host,
    }))
}

/// Bytes, or text with K, M, G or T (powers of 1024).
fn size(key: &'static str, raw: &Size) -> Result<u64, ConfigError> {
    let text = match raw {
        Size::Bytes(bytes) => return Ok(*bytes),
        Size::Text(text) => text.trim(),
    };
    let invalid = || bad(key, text, "must be bytes, or a number with K, M, G or T");
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit: u64 = match &text[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return Err(invalid()),
    };
    let number: u64 = digits.parse().map_err(|_| invalid())?;
    number.checked_mul(unit).ok_or_else(invalid)
}
