//! The software TEE the vectors come from, and what its verifiers need.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use bylaw_attest::event_log::{self, RuntimeEvent};
use bylaw_attest::{Attestation, Platform, TrustAnchors};
use bylaw_keys::{RootKeys, RootMaterial, Secret};
use bylaw_simtee::{Launch, Machine, Options, Td};
use bylaw_types::{AppCompose, AppId, KeyProviderInfo, MrAggregated, ReportData};
use serde_json::{Value, json};

/// When everything is verified, Unix seconds.
pub(crate) const TIME: u64 = 1_790_000_000;
/// The app of the good vectors.
pub(crate) const APP: AppId = AppId::new([0x11; 20]);

/// A machine, another one, and a KMS bound to the first one's trust anchor.
pub(crate) struct Tee {
    directory: PathBuf,
    pub(crate) machine: Arc<Machine>,
    pub(crate) other: Arc<Machine>,
    pub(crate) kms: RootKeys,
    pub(crate) anchors: TrustAnchors,
}

/// How a VM differs from the usual one.
#[derive(Clone)]
pub(crate) struct Vm {
    pub(crate) machine: Arc<Machine>,
    pub(crate) debug: bool,
    pub(crate) outdated: bool,
    /// Version of its event log.
    pub(crate) events: u8,
    /// Payload of its `key-provider` event; `None` measures none.
    pub(crate) key_provider: Option<Vec<u8>>,
    /// Measured between boot and `system-ready`.
    pub(crate) before_ready: Vec<(String, Vec<u8>)>,
    /// Measured by the app.
    pub(crate) after_ready: Vec<(String, Vec<u8>)>,
}

impl Tee {
    pub(crate) fn new(directory: &Path) -> anyhow::Result<Self> {
        let open = |name: &str| Machine::open(&directory.join(name), Options::default());
        let machine = open("machine")?;
        let anchors = TrustAnchors::with_tdx_root(machine.root_der())?;
        let secret = |byte: u8| Secret::take(&mut [byte; 32]);
        Ok(Self {
            directory: directory.to_owned(),
            other: Arc::new(open("other")?),
            kms: RootMaterial::from_parts(secret(1), secret(2))?.bind(&anchors.set())?,
            machine: Arc::new(machine),
            anchors,
        })
    }

    /// The same machine, saying something else of itself.
    pub(crate) fn with(&self, options: Options) -> anyhow::Result<Arc<Machine>> {
        Ok(Arc::new(Machine::open(
            &self.directory.join("machine"),
            options,
        )?))
    }

    pub(crate) fn kms_spki(&self) -> Vec<u8> {
        self.kms.ca().spki_der()
    }

    /// A VM whose keys come from the KMS, as it is when the app runs.
    pub(crate) fn vm(&self) -> Vm {
        Vm {
            machine: Arc::clone(&self.machine),
            debug: false,
            outdated: false,
            events: 1,
            key_provider: Some(KeyProviderInfo::kms(&self.kms_spki()).to_payload()),
            before_ready: vec![],
            after_ready: vec![],
        }
    }
}

pub(crate) fn compose(events: u8) -> anyhow::Result<AppCompose> {
    let text = format!(
        r#"{{"manifest_version":2,"name":"vectors","runner":"docker-compose","docker_compose_file":"services: {{}}\n","key_provider":"kms","storage_fs":"ext4","event_log_version":{events}}}"#
    );
    Ok(AppCompose::parse(text.as_bytes())?)
}

impl Vm {
    pub(crate) fn attest(&self, report_data: &ReportData) -> anyhow::Result<Attestation> {
        Ok(self.launch()?.attest(report_data))
    }

    fn launch(&self) -> anyhow::Result<Td> {
        let launch = Launch {
            name: "vectors".to_owned(),
            compose: compose(self.events)?,
            app_id: Some(APP),
            image: String::new(),
            memory_size: 2 << 30,
            cpu_count: 2,
            full_boot: false,
            debug: self.debug,
            outdated: self.outdated,
            gpus: 0,
            instance_seed: Some([0x22; 20]),
        };
        let td = Td::launch(Arc::clone(&self.machine), launch)?;
        td.extend("os-image-hash", td.os_image_hash().as_ref());
        if let Some(payload) = &self.key_provider {
            td.extend("key-provider", payload);
        }
        td.extend("storage-fs", b"ext4");
        for (name, payload) in &self.before_ready {
            td.extend(name, payload);
        }
        td.extend(event_log::SYSTEM_READY, &[]);
        for (name, payload) in &self.after_ready {
            td.extend(name, payload);
        }
        Ok(td)
    }
}

/// What verifiers of this machine's evidence are given.
pub(crate) fn collateral(machine: &Machine, issued: u64) -> anyhow::Result<Value> {
    let collateral = machine.collateral(issued)?;
    Ok(serde_json::from_str(&collateral.to_json())?)
}

/// Answers of a PCCS with this collateral, by path; bodies in hex.
pub(crate) fn pccs(collateral: &Value) -> anyhow::Result<Value> {
    let field = |name: &str| {
        collateral[name]
            .as_str()
            .context("collateral is made of text")
    };
    let encode = |pem: &str| {
        percent_encoding::utf8_percent_encode(pem, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let answer = |header: Option<(&str, &str)>, body: &[u8]| {
        let headers = match header {
            Some((name, pem)) => json!({ name: encode(pem) }),
            None => json!({}),
        };
        json!({ "status": 200, "headers": headers, "body": hex::encode(body) })
    };
    let signed = |member: &str, name: &str| -> anyhow::Result<String> {
        let signature = field(&format!("{name}_signature"))?;
        Ok(format!(
            r#"{{"{member}":{},"signature":"{signature}"}}"#,
            field(name)?
        ))
    };
    let root_crl = field("root_ca_crl")?;
    Ok(json!({
        "/sgx/certification/v4/pckcrl": answer(
            Some(("SGX-PCK-CRL-Issuer-Chain", field("pck_crl_issuer_chain")?)),
            &hex::decode(field("pck_crl")?)?,
        ),
        "/sgx/certification/v4/rootcacrl": answer(None, root_crl.as_bytes()),
        "/IntelSGXRootCA.der": answer(None, &hex::decode(root_crl)?),
        "/tdx/certification/v4/tcb": answer(
            Some(("TCB-Info-Issuer-Chain", field("tcb_info_issuer_chain")?)),
            signed("tcbInfo", "tcb_info")?.as_bytes(),
        ),
        "/tdx/certification/v4/qe/identity": answer(
            Some(("SGX-Enclave-Identity-Issuer-Chain", field("qe_identity_issuer_chain")?)),
            signed("enclaveIdentity", "qe_identity")?.as_bytes(),
        ),
    }))
}

/// What evidence of the usual VM must have been made for.
pub(crate) fn expect(tee: &Tee, evidence: &Attestation) -> anyhow::Result<Value> {
    let Platform::Tdx { quote, .. } = &evidence.platform else {
        anyhow::bail!("not TDX");
    };
    let report = bylaw_attest::tdx::report(quote)?;
    let [rtmr0, rtmr1, rtmr2, _] = report.rtmr;
    let events = &evidence.stack.runtime_events;
    let field = |name: &str| event_log::field(events, name).map(hex::encode);
    Ok(json!({
        "report_data": report.report_data,
        "tcb_statuses": ["UpToDate"],
        "app_id": field("app-id"),
        "compose_hash": field("compose-hash"),
        "device_ids": [tee.machine.device_id()],
        "measurements": [
            { "mrtd": "00".repeat(48) },
            { "mrtd": report.mrtd, "rtmr0": rtmr0, "rtmr1": rtmr1, "rtmr2": rtmr2 },
        ],
        "key_provider_id": hex::encode(tee.kms_spki()),
    }))
}

/// What verifying the evidence establishes. Computed here from the formulas, not by the
/// verifier that is tested.
pub(crate) fn appraisal(tee: &Tee, evidence: &Attestation) -> anyhow::Result<Value> {
    use sha2::{Digest, Sha256};

    let Platform::Tdx { quote, .. } = &evidence.platform else {
        anyhow::bail!("not TDX");
    };
    let report = bylaw_attest::tdx::report(quote)?;
    let [rtmr0, rtmr1, rtmr2, rtmr3] = report.rtmr;
    let events = &evidence.stack.runtime_events;
    let field = |name: &str| event_log::field(events, name).map(hex::encode);
    let provider = event_log::field(events, "key-provider").unwrap_or_default();
    let boot = [report.mrtd, rtmr0, rtmr1, rtmr2]
        .iter()
        .fold(Sha256::new(), |hash, register| hash.chain_update(register));
    let system = boot
        .clone()
        .chain_update(Sha256::digest(provider))
        .finalize();
    let aggregated = boot
        .chain_update(rtmr3)
        .chain_update(report.mr_config_id)
        .chain_update(report.mr_owner)
        .chain_update(report.mr_owner_config)
        .finalize();
    Ok(json!({
        "mrtd": report.mrtd,
        "rtmr0": rtmr0,
        "rtmr1": rtmr1,
        "rtmr2": rtmr2,
        "rtmr3": rtmr3,
        "report_data": report.report_data,
        "tcb_status": "UpToDate",
        "advisory_ids": [],
        "debug": false,
        "app_id": field("app-id"),
        "compose_hash": field("compose-hash"),
        "instance_id": field("instance-id"),
        "device_id": tee.machine.device_id(),
        "mr_system": hex::encode(system),
        "mr_aggregated": MrAggregated::new(aggregated.into()),
        "key_provider": serde_json::from_slice::<Value>(provider)?,
        "events": events.iter().map(event_json).collect::<Vec<_>>(),
    }))
}

fn event_json(event: &RuntimeEvent) -> Value {
    json!({
        "event": event.event,
        "payload": hex::encode(&event.payload),
        "version": event.version.number(),
    })
}
