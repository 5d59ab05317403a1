//! What verified evidence says.

use bylaw_attest::event_log::RuntimeEvent;
use bylaw_attest::{IdentifyError, Mode};
use bylaw_types::{
    AppId, ComposeHash, DeviceId, InstanceId, KeyProviderInfo, MrAggregated, MrSystem, OsImageHash,
    Register, ReportData, TcbStatus,
};

/// What evidence proves. Only a [`crate::Verifier`] makes one.
///
/// App, manifest and key provider are what the measured system said it runs. They are as
/// good as that system: expect [`crate::Measurement`]s, or prove the image
/// ([`Appraisal::prove_os_image`]) and compare its hash with those you trust.
#[derive(Debug, Clone)]
pub struct Appraisal {
    pub(crate) inner: bylaw_attest::Appraisal,
    pub(crate) tcb_status: TcbStatus,
    pub(crate) advisory_ids: Vec<String>,
    pub(crate) device_id: DeviceId,
    pub(crate) mrtd: Register,
    pub(crate) rtmr: [Register; 4],
    pub(crate) report_data: ReportData,
    pub(crate) app_id: Option<AppId>,
    pub(crate) compose_hash: Option<ComposeHash>,
    pub(crate) instance_id: Option<InstanceId>,
    pub(crate) key_provider: Option<KeyProviderInfo>,
    pub(crate) mr_system: MrSystem,
    pub(crate) mr_aggregated: MrAggregated,
}

impl Appraisal {
    /// How current the platform is, by its vendor's word.
    pub fn tcb_status(&self) -> TcbStatus {
        self.tcb_status
    }

    /// Advisories that apply to the platform.
    pub fn advisory_ids(&self) -> &[String] {
        &self.advisory_ids
    }

    /// The machine: SHA-256 of its PPID.
    pub fn device_id(&self) -> DeviceId {
        self.device_id
    }

    /// Measurement of the initial contents.
    pub fn mrtd(&self) -> &Register {
        &self.mrtd
    }

    /// Runtime registers 0 to 3.
    pub fn rtmr(&self) -> &[Register; 4] {
        &self.rtmr
    }

    /// What the evidence was made for.
    pub fn report_data(&self) -> &ReportData {
        &self.report_data
    }

    /// The app; `None` where none was measured.
    pub fn app_id(&self) -> Option<AppId> {
        self.app_id
    }

    /// Its manifest; `None` where none was measured.
    pub fn compose_hash(&self) -> Option<ComposeHash> {
        self.compose_hash
    }

    /// The instance; `None` where the app has none.
    pub fn instance_id(&self) -> Option<InstanceId> {
        self.instance_id
    }

    /// Who gave the VM its keys; `None` where nothing was measured.
    pub fn key_provider(&self) -> Option<&KeyProviderInfo> {
        self.key_provider.as_ref()
    }

    /// Over the system's registers and the key provider.
    pub fn mr_system(&self) -> MrSystem {
        self.mr_system
    }

    /// Over every register.
    pub fn mr_aggregated(&self) -> MrAggregated {
        self.mr_aggregated
    }

    /// Everything measured into RTMR3, the app's own events included.
    pub fn events(&self) -> &[RuntimeEvent] {
        self.inner.runtime_events()
    }

    /// Payload of the first event of this name that the system measured; the app's own
    /// events, after `system-ready`, do not count.
    pub fn system_event(&self, name: &str) -> Option<&[u8]> {
        bylaw_attest::event_log::field(self.events(), name)
    }

    /// Proves which OS image runs, from the files that come with the evidence or with
    /// `vm_config`: their digests must amount to the quoted registers.
    ///
    /// # Errors
    /// [`IdentifyError`] where the files are missing or amount to something else.
    pub fn prove_os_image(&self, vm_config: Option<&str>) -> Result<OsImageHash, IdentifyError> {
        self.inner
            .identify(Mode::Full, vm_config)
            .map(|identity| identity.os_image_hash)
    }

    /// The appraisal of `bylaw-attest` beneath, for what is not repeated here.
    pub fn inner(&self) -> &bylaw_attest::Appraisal {
        &self.inner
    }
}
