//! Evidence of a TD.

use std::io;

use bylaw_attest::event_log::replay;
use bylaw_attest::{Platform, RuntimeEvent, TdxEvent, ccel};
use bylaw_types::{Register, ReportData};

use super::{Guest, Tee};
use crate::error::PlatformError;
use crate::events::Log;
use crate::tsm::{self, Request, not_read};

/// Longest boot log, in bytes. Firmware sets 64 KiB aside.
const MAX_BOOT_LOG: usize = 4 * 1024 * 1024;

impl Guest {
    pub(super) fn tdx(
        &self,
        report_data: &ReportData,
        log: &Log,
        events: &[RuntimeEvent],
    ) -> Result<Platform, PlatformError> {
        let mut event_log = self.boot_log()?;
        let request = Request {
            report_data,
            // TDX has none.
            privilege_level: None,
        };
        let report = tsm::report(&*self.kernel, &self.roots, Tee::Tdx.provider(), request)?;
        if report.out.is_empty() {
            return Err(PlatformError::EmptyQuote);
        }
        let td = bylaw_attest::tdx::report(&report.out)?;
        if td.report_data != *report_data {
            return Err(PlatformError::OtherReportData {
                expected: *report_data,
                actual: td.report_data,
            });
        }
        let [.., quoted] = td.rtmr;
        check_log(log, events, quoted)?;
        event_log.extend(events.iter().map(RuntimeEvent::to_tdx_event));
        Ok(Platform::Tdx {
            quote: report.out,
            event_log,
        })
    }

    /// What the firmware and the boot loader extended.
    fn boot_log(&self) -> Result<Vec<TdxEvent>, PlatformError> {
        let path = self.roots.sysfs.join("firmware/acpi/tables/data/CCEL");
        let bytes = match self.kernel.read(&path, MAX_BOOT_LOG) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(PlatformError::NoBootLog { path });
            }
            Err(source) => return Err(not_read(&path, source)),
        };
        if bytes.len() > MAX_BOOT_LOG {
            return Err(PlatformError::Size {
                what: "the CCEL table",
                actual: bytes.len(),
                expected: format!("at most {MAX_BOOT_LOG}"),
            });
        }
        ccel::parse(&bytes).map_err(|source| PlatformError::BootLog { path, source })
    }
}

/// Whether the log still tells how RTMR3 came about. Whoever verifies would refuse
/// it anyway, without knowing why.
pub(super) fn check_log(
    log: &Log,
    events: &[RuntimeEvent],
    register: Register,
) -> Result<(), PlatformError> {
    let replayed = replay(events);
    if replayed == register {
        Ok(())
    } else {
        Err(PlatformError::LogMismatch {
            path: log.path().to_owned(),
            register,
            replayed,
        })
    }
}
