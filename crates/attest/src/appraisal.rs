//! What a verifier established, and the identity it amounts to.

use bylaw_types::{
    AppId, BootInfo, ComposeHash, DeviceId, InstanceId, MrAggregated, MrSystem, OsImageHash,
    ParseIdError, PlatformFacts, ReportData, Sha256Digest, TcbStatus, TeeVariant, TrustAnchorSet,
};
use serde::Deserialize;

use crate::AppInfo;
use crate::event_log::{self, RuntimeEvent, TdxEvent};
use crate::image::{self, BootRegisters, ImageError, ImageSource};
use crate::mr_config::{self, MrConfigMismatch};
use crate::tdx::TdReport;

/// How much of the event log an identity covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All of it.
    Full,
    /// Up to `boot-mr-done`, without key provider: the same before and after keys came.
    BootTime,
}

/// Evidence that holds, under which anchors and as of when.
///
/// Only a [`crate::Verifier`] makes one.
#[derive(Debug, Clone)]
pub struct Appraisal {
    pub(crate) anchors: TrustAnchorSet,
    pub(crate) verified_at: u64,
    pub(crate) tee_variant: TeeVariant,
    pub(crate) tcb_status: TcbStatus,
    pub(crate) advisory_ids: Vec<String>,
    pub(crate) tcb_outdated_since: Option<u64>,
    pub(crate) device_id: DeviceId,
    pub(crate) report: TdReport,
    pub(crate) event_log: Vec<TdxEvent>,
    pub(crate) runtime_events: Vec<RuntimeEvent>,
    pub(crate) vm_config: String,
}

/// Evidence that holds but does not say who this is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentifyError {
    /// A measured event is missing.
    #[error("the event log has no `{0}` event before system-ready")]
    MissingEvent(&'static str),
    /// A measured event has another length.
    #[error("measured event `{event}`: {source}")]
    BadEvent {
        /// Which.
        event: &'static str,
        /// What is wrong.
        source: ParseIdError,
    },
    /// The OS image is not proven.
    #[error("OS image: {0}")]
    Image(#[from] ImageError),
    /// The launch was bound to another configuration.
    #[error(transparent)]
    MrConfig(#[from] MrConfigMismatch),
}

impl Appraisal {
    /// The anchors it was verified under.
    pub fn anchors(&self) -> TrustAnchorSet {
        self.anchors
    }

    /// Unix seconds it was verified for.
    pub fn verified_at(&self) -> u64 {
        self.verified_at
    }

    /// Kind of TEE.
    pub fn tee_variant(&self) -> TeeVariant {
        self.tee_variant
    }

    /// How current the platform is.
    pub fn tcb_status(&self) -> TcbStatus {
        self.tcb_status
    }

    /// Advisories that apply.
    pub fn advisory_ids(&self) -> &[String] {
        &self.advisory_ids
    }

    /// The machine.
    pub fn device_id(&self) -> DeviceId {
        self.device_id
    }

    /// The measured registers.
    pub fn report(&self) -> &TdReport {
        &self.report
    }

    /// What was challenged.
    pub fn report_data(&self) -> &ReportData {
        &self.report.report_data
    }

    /// Runtime events; they replay to RTMR3.
    pub fn runtime_events(&self) -> &[RuntimeEvent] {
        &self.runtime_events
    }

    /// The VM's description of itself, unproven.
    pub fn vm_config(&self) -> &str {
        &self.vm_config
    }

    /// Who this is: proves the image and reads the measured identity.
    ///
    /// `vm_config` overrides the one inside the evidence; neither is believed.
    ///
    /// # Errors
    /// [`IdentifyError`] names what is missing or does not match.
    pub fn identify(&self, mode: Mode, vm_config: Option<&str>) -> Result<BootInfo, IdentifyError> {
        let info = self.app_info(mode, vm_config)?;
        Ok(self.boot_info(info))
    }

    /// The same, where images that carry no measurements are measured from their files.
    ///
    /// # Errors
    /// As [`Appraisal::identify`].
    pub async fn identify_with(
        &self,
        mode: Mode,
        vm_config: Option<&str>,
        images: &dyn ImageSource,
    ) -> Result<BootInfo, IdentifyError> {
        let os_image_hash = image::prove_with(
            vm_config.unwrap_or(&self.vm_config),
            &self.boot_registers(),
            &self.event_log,
            images,
        )
        .await?;
        let info = self.app_info_of(mode, os_image_hash)?;
        Ok(self.boot_info(info))
    }

    fn boot_info(&self, info: AppInfo) -> BootInfo {
        BootInfo {
            tee_variant: self.tee_variant,
            mr_aggregated: info.mr_aggregated,
            os_image_hash: info.os_image_hash,
            mr_system: info.mr_system,
            app_id: info.app_id,
            compose_hash: info.compose_hash,
            instance_id: info.instance_id,
            device_id: info.device_id,
            key_provider_info: info.key_provider_info,
            tcb_status: self.tcb_status,
            advisory_ids: self.advisory_ids.clone(),
        }
    }

    /// The identity in the form certificates repeat.
    ///
    /// # Errors
    /// As [`Appraisal::identify`].
    pub fn app_info(&self, mode: Mode, vm_config: Option<&str>) -> Result<AppInfo, IdentifyError> {
        let os_image_hash = image::prove(
            vm_config.unwrap_or(&self.vm_config),
            &self.boot_registers(),
            &self.event_log,
        )?;
        self.app_info_of(mode, os_image_hash)
    }

    fn boot_registers(&self) -> BootRegisters {
        let [rtmr0, rtmr1, rtmr2, _] = self.report.rtmr;
        BootRegisters {
            mrtd: self.report.mrtd,
            rtmr0,
            rtmr1,
            rtmr2,
        }
    }

    fn app_info_of(
        &self,
        mode: Mode,
        os_image_hash: OsImageHash,
    ) -> Result<AppInfo, IdentifyError> {
        let compose_hash: ComposeHash = self.event("compose-hash")?;
        mr_config::check(&self.report.mr_config_id, &compose_hash)?;
        let key_provider_info = match mode {
            Mode::Full => self.field("key-provider").unwrap_or_default().to_vec(),
            Mode::BootTime => vec![],
        };
        Ok(AppInfo {
            app_id: self.event::<AppId>("app-id")?,
            compose_hash,
            instance_id: self.instance_id()?,
            device_id: self.device_id,
            mr_system: self.mr_system(&key_provider_info),
            mr_aggregated: self.mr_aggregated(mode),
            os_image_hash,
            init_script_hashes: Some(self.init_script_hashes()?),
            key_provider_info,
        })
    }

    /// What policies may ask beyond the identity.
    ///
    /// The GPUs count as attested when the measured system recorded so before it handed
    /// over to the app.
    pub fn facts(&self) -> PlatformFacts {
        let gpu_attested = self.field("gpu-attestation").is_some_and(attests_gpus);
        PlatformFacts {
            tcb_outdated_since: self.tcb_outdated_since,
            gpu_attested,
        }
    }

    fn field(&self, name: &str) -> Option<&[u8]> {
        event_log::field(&self.runtime_events, name)
    }

    fn event<T>(&self, name: &'static str) -> Result<T, IdentifyError>
    where
        T: for<'a> TryFrom<&'a [u8], Error = ParseIdError>,
    {
        let payload = self.field(name).ok_or(IdentifyError::MissingEvent(name))?;
        T::try_from(payload).map_err(|source| IdentifyError::BadEvent {
            event: name,
            source,
        })
    }

    fn instance_id(&self) -> Result<Option<InstanceId>, IdentifyError> {
        match self.field("instance-id") {
            Some([]) => Ok(None),
            _ => self.event("instance-id").map(Some),
        }
    }

    fn init_script_hashes(&self) -> Result<Vec<Sha256Digest>, IdentifyError> {
        event_log::fields(&self.runtime_events, "init-script-hash")
            .map(|payload| {
                Sha256Digest::try_from(payload).map_err(|source| IdentifyError::BadEvent {
                    event: "init-script-hash",
                    source,
                })
            })
            .collect()
    }

    pub(crate) fn mr_system(&self, key_provider_info: &[u8]) -> MrSystem {
        self.report.mr_system(key_provider_info)
    }

    pub(crate) fn mr_aggregated(&self, mode: Mode) -> MrAggregated {
        let events = match mode {
            Mode::Full => &self.runtime_events[..],
            Mode::BootTime => event_log::boot_time(&self.runtime_events),
        };
        self.report.mr_aggregated(&event_log::replay(events))
    }
}

/// Whether the payload of a `gpu-attestation` event tells of at least one NVIDIA device
/// with confidential computing on and development tools off.
fn attests_gpus(payload: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct GpuAttestation {
        provider: String,
        devices: u32,
        cc_mode: String,
        devtools: bool,
    }
    serde_json::from_slice::<GpuAttestation>(payload).is_ok_and(|gpu| {
        gpu.provider == "nvidia" && gpu.devices > 0 && gpu.cc_mode == "on" && !gpu.devtools
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_attested_only_in_confidential_mode() {
        let good = r#"{"version":2,"provider":"nvidia","devices":8,"cc_mode":"on","devtools":false,"evidence_sha256":"00"}"#;
        assert!(attests_gpus(good.as_bytes()));
        for (from, to) in [
            ("nvidia", "other"),
            (":8,", ":0,"),
            (r#""on""#, r#""off""#),
            ("false", "true"),
            (r#","devtools":false"#, ""),
            ("}", ""),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good);
            assert!(!attests_gpus(bad.as_bytes()), "{bad}");
        }
        assert!(!attests_gpus(b""));
    }
}
