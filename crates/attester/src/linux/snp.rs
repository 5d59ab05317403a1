//! Evidence of an SEV-SNP VM.

use bylaw_attest::Platform;
use bylaw_types::ReportData;

use super::vm_config::VmDescription;
use super::{Guest, Tee};
use crate::error::PlatformError;
use crate::tsm::{self, Request};

/// Length of an attestation report.
const REPORT: usize = 1184;
/// Where it holds what was asked.
const REPORT_DATA: std::ops::Range<usize> = 0x50..0x90;

impl Guest {
    pub(super) fn snp(
        &self,
        report_data: &ReportData,
        description: &VmDescription,
    ) -> Result<Platform, PlatformError> {
        let mr_config = description
            .mr_config
            .clone()
            .ok_or(PlatformError::NoMrConfig)?;
        let request = Request {
            report_data,
            privilege_level: self.privilege_level,
        };
        let report = tsm::report(&*self.kernel, &self.roots, Tee::Snp.provider(), request)?;
        let actual = (report.out.len() == REPORT)
            .then(|| report.out.get(REPORT_DATA))
            .flatten()
            .and_then(|bytes| ReportData::try_from(bytes).ok())
            .ok_or_else(|| PlatformError::Size {
                what: "the SEV-SNP report",
                actual: report.out.len(),
                expected: REPORT.to_string(),
            })?;
        if actual != *report_data {
            return Err(PlatformError::OtherReportData {
                expected: *report_data,
                actual,
            });
        }
        // Without a table verifiers ask AMD for the certificates.
        let cert_chain = if report.aux.is_empty() {
            vec![]
        } else {
            vec![report.aux]
        };
        Ok(Platform::SevSnp {
            report: report.out,
            cert_chain,
            mr_config,
        })
    }
}
