//! Identity of a TD: registers and the event log that they prove.

use bylaw_types::{
    AppId, ComposeHash, DeviceId, InstanceId, MrAggregated, OsImageHash, ParseIdError, Sha256Digest,
};
use serde::Deserialize;

use super::{IdentifyError, Mode};
use crate::AppInfo;
use crate::event_log::{self, RuntimeEvent, TdxEvent};
use crate::image::{self, BootRegisters, ImageError, ImageSource};
use crate::mr_config;
use crate::tdx::TdReport;

/// A verified TD report with its log; the runtime events replay to its RTMR3.
#[derive(Debug, Clone)]
pub(crate) struct LoggedTd {
    pub(crate) report: TdReport,
    pub(crate) event_log: Vec<TdxEvent>,
    pub(crate) runtime_events: Vec<RuntimeEvent>,
}

impl LoggedTd {
    pub(super) fn prove_image(&self, vm_config: &str) -> Result<OsImageHash, ImageError> {
        image::prove(vm_config, &self.boot_registers(), &self.event_log)
    }

    pub(super) async fn prove_image_with(
        &self,
        vm_config: &str,
        images: &dyn ImageSource,
    ) -> Result<OsImageHash, ImageError> {
        image::prove_with(vm_config, &self.boot_registers(), &self.event_log, images).await
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

    pub(super) fn app_info(
        &self,
        mode: Mode,
        os_image_hash: OsImageHash,
        device_id: DeviceId,
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
            device_id,
            mr_system: self.report.mr_system(&key_provider_info),
            mr_aggregated: self.mr_aggregated(mode),
            os_image_hash,
            init_script_hashes: Some(self.init_script_hashes()?),
            key_provider_info,
        })
    }

    pub(super) fn gpu_attested(&self) -> bool {
        self.field("gpu-attestation").is_some_and(attests_gpus)
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
