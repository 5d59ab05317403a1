//! Identity of an SEV-SNP guest: what it was launched with, and the document that its launch
//! was bound to. Nothing that happened later is measured.

use super::IdentifyError;
use crate::AppInfo;
use crate::image::snp::prove_snp_vm;
use crate::mr_config::LaunchDocument;
use crate::snp::SnpReport;

/// A verified report and the document that its HOST_DATA commits to.
#[derive(Debug, Clone)]
pub(crate) struct LaunchedSnp {
    pub(crate) report: SnpReport,
    pub(crate) document: LaunchDocument,
}

impl LaunchedSnp {
    /// The same before and after keys came. An instance that the document does not name is
    /// none: its keys are those of an app without instances.
    pub(super) fn app_info(&self, vm_config: &str) -> Result<AppInfo, IdentifyError> {
        let Self { report, document } = self;
        Ok(AppInfo {
            app_id: document.app_id.ok_or(IdentifyError::NotBound("app_id"))?,
            compose_hash: document.compose_hash,
            instance_id: document.instance_id,
            device_id: report.device_id(),
            mr_system: report.mr_system(),
            mr_aggregated: report.mr_aggregated(),
            os_image_hash: prove_snp_vm(vm_config, &report.measurement)?,
            key_provider_info: document.key_provider_info().to_payload(),
            init_script_hashes: document.init_script_hashes.clone(),
        })
    }
}
