//! The page that says who runs here: for people, without scripts.
//!
//! `View::gather` collects what the manifest lets everybody see, [`View::render`] is a
//! pure function from that to HTML; maud escapes every value.

mod glance;
mod page;
#[cfg(test)]
mod tests;
mod text;

use bylaw_attest::event_log::TdxEvent;
use bylaw_attest::snp::SnpReport;
use bylaw_attest::{Platform, tdx};
use bylaw_ratls::RaTlsCert;
use bylaw_rpc::RpcError;
use bylaw_rpc::message::guest_api::Container;
use futures::StreamExt;

use crate::certs::Signer;
use crate::containers::{LogOptions, Tail};
use crate::kms::Contact;
use crate::worker::Worker;

/// The page's style sheet.
pub const STYLE: &str = include_str!("../assets/dashboard.css");

/// Lines of each container's log on the page.
const LOG_LINES: u32 = 40;
/// Longest log on the page, in bytes.
const MAX_LOG: usize = 64 * 1024;

/// Everything on the page.
#[derive(Debug, Clone)]
pub struct View {
    /// From the manifest.
    pub app_name: String,
    /// Hex, as everything below that is bytes.
    pub app_id: String,
    /// Empty for apps without instances.
    pub instance_id: String,
    /// Of the manifest.
    pub compose_hash: String,
    /// Of the OS image.
    pub os_image_hash: String,
    /// Of the machine.
    pub device_id: String,
    /// Which TEE.
    pub platform: String,
    /// The roots are a vendor's; otherwise nothing here is worth anything.
    pub is_production: bool,
    /// Digest of the trust anchors.
    pub trust_anchors: String,
    /// Agent.
    pub version: String,
    /// When all this was collected, RFC 3339.
    pub at: String,
    /// Measurements, unless the manifest keeps them private.
    pub evidence: Option<EvidenceView>,
    /// Who gave the keys.
    pub keys: KeysView,
    /// The app's certificate.
    pub certificates: Vec<CertificateView>,
    /// Containers, or why they cannot be listed.
    pub containers: Result<Vec<ContainerView>, String>,
    /// Whether logs and metrics are public.
    pub shows_logs: bool,
    /// Whether `/metrics` answers.
    pub shows_metrics: bool,
}

/// Measurements and the quote that proves them.
#[derive(Debug, Clone, Default)]
pub struct EvidenceView {
    /// Name and value.
    pub registers: Vec<(String, String)>,
    /// Register, name and payload or digest.
    pub events: Vec<EventView>,
    /// Hex.
    pub quote: String,
    /// Exact text: its hash is the compose hash.
    pub app_compose: String,
    /// The Docker compose file inside it, when there is one.
    pub compose_file: Option<String>,
}

/// One event of the log.
#[derive(Debug, Clone, Default)]
pub struct EventView {
    /// `RTMR0` to `RTMR3`, as in [`EvidenceView::registers`].
    pub register: String,
    /// Its own; of firmware entries, which have none, the name of their type.
    pub name: String,
    /// Text where it is text, else hex.
    pub payload: String,
    /// Hex.
    pub digest: String,
}

/// Who gave the keys.
#[derive(Debug, Clone, Default)]
pub struct KeysView {
    /// `kms`, `local-sgx`, `tpm` or `none`.
    pub provider: String,
    /// Stable id, hex.
    pub id: String,
    /// The last call to a KMS.
    pub contact: Option<ContactView>,
}

/// The last call to a KMS.
#[derive(Debug, Clone, Default)]
pub struct ContactView {
    /// Which node.
    pub url: String,
    /// RFC 3339.
    pub at: String,
    /// Why it failed.
    pub failure: Option<String>,
}

/// One certificate of the app's chain, which begins with the leaf.
#[derive(Debug, Clone, Default)]
pub struct CertificateView {
    /// Common name.
    pub subject: String,
    /// `app:ca` and the like.
    pub usage: String,
    /// RFC 3339.
    pub not_after: String,
    /// Carries evidence for its key.
    pub is_attested: bool,
    /// It has not expired.
    pub is_valid: bool,
}

/// One container.
#[derive(Debug, Clone, Default)]
pub struct ContainerView {
    /// First name.
    pub name: String,
    /// As the engine names it.
    pub image: String,
    /// `running` and the like.
    pub state: String,
    /// A sentence of the engine's.
    pub status: String,
    /// Last lines, when public; or why there are none.
    pub log: Option<Result<String, String>>,
}

impl View {
    /// Collects what everybody may see.
    ///
    /// # Errors
    /// When the TEE gives no evidence.
    pub(crate) async fn gather(worker: &Worker) -> Result<Self, RpcError> {
        let app = &worker.app;
        let manifest = app.compose.manifest();
        let identity = app.identity().await?;
        let (info, evidence) = &*identity;
        let now = app.clock.now_unix();
        let containers = match worker.engine.list().await {
            Ok(list) => Ok(container_views(worker, list, manifest.public_logs).await),
            Err(error) => Err(error.to_string()),
        };
        Ok(Self {
            app_name: info.app_name.clone(),
            app_id: hex::encode(&info.app_id),
            instance_id: hex::encode(&info.instance_id),
            compose_hash: hex::encode(&info.compose_hash),
            os_image_hash: hex::encode(&info.os_image_hash),
            device_id: hex::encode(&info.device_id),
            platform: platform_name(&evidence.platform).to_owned(),
            is_production: app.anchors.is_vendor(),
            trust_anchors: app.anchors.digest().to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: time(now),
            evidence: manifest.public_tcbinfo.then(|| EvidenceView {
                app_compose: app.compose.raw().to_owned(),
                compose_file: manifest.docker_compose_file.clone(),
                ..measured(&evidence.platform)
            }),
            keys: KeysView {
                provider: app.provider.name.clone(),
                id: app.provider.id.clone(),
                contact: match &app.signer {
                    Signer::Kms(kms) => kms.last_contact().map(contact_view),
                    Signer::Local(_) => None,
                },
            },
            certificates: certificate_views(&info.app_cert, now),
            containers,
            shows_logs: manifest.public_logs,
            shows_metrics: manifest.public_sysinfo,
        })
    }

    /// The page.
    pub fn render(&self) -> String {
        page::page(self).into_string()
    }
}

fn platform_name(platform: &Platform) -> &'static str {
    match platform {
        Platform::Tdx { .. } => "Intel TDX",
        Platform::GcpTdx { .. } => "Intel TDX on Google Cloud",
        Platform::SevSnp { .. } => "AMD SEV-SNP",
        Platform::NitroEnclave { .. } => "AWS Nitro Enclave",
        Platform::AwsNitroTpm { .. } => "AWS NitroTPM",
    }
}

/// What the TEE says: everything but the manifest.
fn measured(platform: &Platform) -> EvidenceView {
    let mut view = EvidenceView::default();
    match platform {
        Platform::Tdx { quote, event_log }
        | Platform::GcpTdx {
            quote, event_log, ..
        } => {
            view.quote = hex::encode(quote);
            view.events = event_log.iter().map(event_view).collect();
            if let Ok(report) = tdx::report(quote) {
                view.registers
                    .push(("MRTD".to_owned(), report.mrtd.to_string()));
                for (index, register) in report.rtmr.iter().enumerate() {
                    let name = format!("RTMR{index}");
                    view.registers.push((name, register.to_string()));
                }
            }
        }
        Platform::SevSnp { report, .. } => {
            view.quote = hex::encode(report);
            if let Ok(report) = SnpReport::parse(report) {
                view.registers = vec![
                    ("MEASUREMENT".to_owned(), report.measurement.to_string()),
                    ("HOST_DATA".to_owned(), report.host_data.to_string()),
                ];
            }
        }
        Platform::NitroEnclave {
            nsm_quote: document,
        }
        | Platform::AwsNitroTpm {
            attestation_doc: document,
        } => view.quote = hex::encode(document),
    }
    view
}

fn event_view(event: &TdxEvent) -> EventView {
    let digest = match event.to_runtime_event() {
        Some(runtime) => runtime.digest().to_string(),
        None => hex::encode(&event.digest),
    };
    EventView {
        register: format!("RTMR{}", event.imr),
        name: if event.event.is_empty() {
            type_name(event.event_type)
        } else {
            event.event.clone()
        },
        payload: match std::str::from_utf8(&event.event_payload) {
            Ok(text) if text.chars().all(|next| !next.is_control()) => text.to_owned(),
            _ => hex::encode(&event.event_payload),
        },
        digest,
    }
}

/// Of an event, in the TCG PC Client Platform Firmware Profile.
fn type_name(event_type: u32) -> String {
    let name = match event_type {
        0x0000_0001 => "EV_POST_CODE",
        0x0000_0003 => "EV_NO_ACTION",
        0x0000_0004 => "EV_SEPARATOR",
        0x0000_0005 => "EV_ACTION",
        0x0000_0006 => "EV_EVENT_TAG",
        0x0000_0008 => "EV_S_CRTM_VERSION",
        0x0000_000a => "EV_PLATFORM_CONFIG_FLAGS",
        0x0000_000d => "EV_IPL",
        0x8000_0001 => "EV_EFI_VARIABLE_DRIVER_CONFIG",
        0x8000_0002 => "EV_EFI_VARIABLE_BOOT",
        0x8000_0003 => "EV_EFI_BOOT_SERVICES_APPLICATION",
        0x8000_0004 => "EV_EFI_BOOT_SERVICES_DRIVER",
        0x8000_0006 => "EV_EFI_GPT_EVENT",
        0x8000_0007 => "EV_EFI_ACTION",
        0x8000_0008 => "EV_EFI_PLATFORM_FIRMWARE_BLOB",
        0x8000_0009 => "EV_EFI_HANDOFF_TABLES",
        0x8000_000a => "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
        0x8000_000b => "EV_EFI_HANDOFF_TABLES2",
        0x8000_000c => "EV_EFI_VARIABLE_BOOT2",
        0x8000_00e0 => "EV_EFI_VARIABLE_AUTHORITY",
        other => return format!("type {other:#x}"),
    };
    name.to_owned()
}

fn contact_view(contact: Contact) -> ContactView {
    ContactView {
        url: contact.url,
        at: time(contact.at),
        failure: contact.failure,
    }
}

fn certificate_views(chain: &str, now: u64) -> Vec<CertificateView> {
    let blocks = chain.split_inclusive("-----END CERTIFICATE-----");
    blocks
        .filter_map(|pem| RaTlsCert::parse(pem.trim_start().as_bytes()).ok())
        .map(|cert| {
            let until = u64::try_from(cert.not_after).unwrap_or_default();
            CertificateView {
                subject: cert.subject.unwrap_or_default(),
                usage: cert.usage.unwrap_or_default(),
                not_after: time(until),
                is_attested: cert.attestation.is_some(),
                is_valid: until > now,
            }
        })
        .collect()
}

async fn container_views(
    worker: &Worker,
    list: Vec<Container>,
    shows_logs: bool,
) -> Vec<ContainerView> {
    let views = list.into_iter().map(|container| async move {
        let name = container
            .names
            .first()
            .map(|name| name.trim_start_matches('/').to_owned())
            .unwrap_or_default();
        let log = if shows_logs {
            Some(last_lines(worker, &name).await)
        } else {
            None
        };
        ContainerView {
            name,
            image: container.image,
            state: container.state,
            status: container.status,
            log,
        }
    });
    futures::future::join_all(views).await
}

async fn last_lines(worker: &Worker, name: &str) -> Result<String, String> {
    let options = LogOptions {
        text: true,
        bare: true,
        tail: Tail::Last(LOG_LINES),
        ..LogOptions::default()
    };
    let chunks = worker
        .engine
        .logs(name, options)
        .await
        .map_err(|error| error.to_string())?;
    let mut chunks = std::pin::pin!(chunks);
    let mut text = Vec::new();
    while let Some(chunk) = chunks.next().await {
        text.extend_from_slice(&chunk);
        if text.len() > MAX_LOG {
            text.truncate(MAX_LOG);
            break;
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// RFC 3339 in UTC, to the second.
fn time(unix: u64) -> String {
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + std::time::Duration::from_secs(unix))
        .to_string()
}
