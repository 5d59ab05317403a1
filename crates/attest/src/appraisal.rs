//! What a verifier established, and the identity it amounts to.

mod snp;
mod tdx;

use bylaw_types::{
    BootInfo, DeviceId, ParseIdError, PlatformFacts, ReportData, TcbStatus, TeeVariant,
    TrustAnchorSet,
};
pub(crate) use snp::LaunchedSnp;
pub(crate) use tdx::LoggedTd;

use crate::AppInfo;
use crate::event_log::RuntimeEvent;
use crate::image::snp::SnpImageError;
use crate::image::{ImageError, ImageSource};
use crate::mr_config::MrConfigMismatch;
use crate::snp::SnpReport;
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
    pub(crate) tcb_status: TcbStatus,
    pub(crate) advisory_ids: Vec<String>,
    pub(crate) tcb_outdated_since: Option<u64>,
    pub(crate) device_id: DeviceId,
    pub(crate) platform: Established,
    pub(crate) vm_config: String,
}

/// What was established of a platform.
#[derive(Debug, Clone)]
pub(crate) enum Established {
    Tdx(LoggedTd),
    SevSnp(LaunchedSnp),
}

/// What the hardware signed.
#[derive(Debug, Clone, Copy)]
pub enum Report<'a> {
    /// Intel TDX.
    Tdx(&'a TdReport),
    /// AMD SEV-SNP.
    SevSnp(&'a SnpReport),
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
    /// The launch digest proves no image.
    #[error("OS image: {0}")]
    SnpImage(#[from] SnpImageError),
    /// The launch document leaves out what the identity needs.
    #[error("the launch document (mr_config) names no {0}; the VMM must write it")]
    NotBound(&'static str),
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
        match &self.platform {
            Established::Tdx(_) => TeeVariant::Tdx,
            Established::SevSnp(_) => TeeVariant::SevSnp,
        }
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

    /// What the hardware signed.
    pub fn report(&self) -> Report<'_> {
        match &self.platform {
            Established::Tdx(td) => Report::Tdx(&td.report),
            Established::SevSnp(guest) => Report::SevSnp(&guest.report),
        }
    }

    /// The measured registers of a TD; no other platform has them.
    pub fn td(&self) -> Option<&TdReport> {
        match self.report() {
            Report::Tdx(report) => Some(report),
            Report::SevSnp(_) => None,
        }
    }

    /// What was challenged.
    pub fn report_data(&self) -> &ReportData {
        match self.report() {
            Report::Tdx(report) => &report.report_data,
            Report::SevSnp(report) => &report.report_data,
        }
    }

    /// Runtime events that the hardware measured. SEV-SNP has no register for them: whatever
    /// its evidence says happened is left out.
    pub fn runtime_events(&self) -> &[RuntimeEvent] {
        match &self.platform {
            Established::Tdx(td) => &td.runtime_events,
            Established::SevSnp(_) => &[],
        }
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
        let vm_config = vm_config.unwrap_or(&self.vm_config);
        let info = match &self.platform {
            Established::Tdx(td) => {
                let image = td.prove_image_with(vm_config, images).await?;
                td.app_info(mode, image, self.device_id)
            }
            Established::SevSnp(guest) => guest.app_info(vm_config),
        }?;
        Ok(self.boot_info(info))
    }

    fn boot_info(&self, info: AppInfo) -> BootInfo {
        BootInfo {
            tee_variant: self.tee_variant(),
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
        let vm_config = vm_config.unwrap_or(&self.vm_config);
        match &self.platform {
            Established::Tdx(td) => td.app_info(mode, td.prove_image(vm_config)?, self.device_id),
            Established::SevSnp(guest) => guest.app_info(vm_config),
        }
    }

    /// What policies may ask beyond the identity.
    ///
    /// The GPUs count as attested when the measured system recorded so before it handed
    /// over to the app; on SEV-SNP nothing measures such a record.
    pub fn facts(&self) -> PlatformFacts {
        let gpu_attested = match &self.platform {
            Established::Tdx(td) => td.gpu_attested(),
            Established::SevSnp(_) => false,
        };
        PlatformFacts {
            tcb_outdated_since: self.tcb_outdated_since,
            gpu_attested,
        }
    }
}
