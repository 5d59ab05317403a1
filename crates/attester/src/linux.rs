//! The TEE behind the kernel of this VM.
//!
//! Quotes come from configfs-tsm. On TDX, events go to RTMR3 and to the log, and the
//! firmware's own log is the CCEL table. SEV-SNP has no register that can be
//! extended: events go to the log alone and prove nothing; what an SEV-SNP VM runs
//! follows from its launch measurement and the document that HOST_DATA commits to.

mod detect;
mod snp;
mod tdx;
mod vm_config;

use std::sync::Arc;

use async_trait::async_trait;
use bylaw_attest::{Attestation, RuntimeEvent, Stack, StackKind};
use bylaw_keys::Secret;
use bylaw_types::{Register, ReportData, TeeVariant};

use crate::error::PlatformError;
use crate::events::{self, Log};
use crate::hardware::{Hardware, Interface};
use crate::kernel::{HostKernel, Kernel, Roots};
use crate::rtmr::{self, Measurement};
use crate::{Attester, AttesterError};
use vm_config::VmDescription;

/// Longest name of an event, in bytes.
const MAX_NAME: usize = 1024;

/// The TEEs whose drivers are supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tee {
    /// Intel TDX.
    Tdx,
    /// AMD SEV-SNP.
    Snp,
}

impl Tee {
    /// Its driver, as configfs-tsm names it.
    fn provider(self) -> &'static str {
        match self {
            Self::Tdx => "tdx_guest",
            Self::Snp => "sev_guest",
        }
    }

    fn variant(self) -> TeeVariant {
        match self {
            Self::Tdx => TeeVariant::Tdx,
            Self::Snp => TeeVariant::SevSnp,
        }
    }
}

/// The TEE behind the kernel of this VM.
#[derive(Debug, Clone)]
pub struct LinuxAttester(Arc<Guest>);

/// This VM, asked with calls that block.
#[derive(Debug, Clone)]
struct Guest {
    kernel: Arc<dyn Kernel>,
    roots: Roots,
    tee: Tee,
    description: Option<VmDescription>,
    privilege_level: Option<u8>,
}

impl LinuxAttester {
    /// The TEE of this VM; `None` detects which. For `vm_config` see
    /// [`attester_from`](crate::attester_from).
    ///
    /// # Errors
    /// What this VM lacks, with what to enable.
    pub fn open(
        tee: Option<Tee>,
        vm_config: Option<&str>,
        roots: Roots,
    ) -> Result<Self, PlatformError> {
        Self::over(Arc::new(HostKernel), tee, vm_config, roots)
    }

    fn over(
        kernel: Arc<dyn Kernel>,
        tee: Option<Tee>,
        vm_config: Option<&str>,
        roots: Roots,
    ) -> Result<Self, PlatformError> {
        let description = vm_config.map(VmDescription::parse).transpose()?;
        let tee = match tee {
            Some(tee) => detect::demand(&*kernel, &roots, tee)?,
            None => detect::detect(&*kernel, &roots)?,
        };
        Ok(Self(Arc::new(Guest {
            kernel,
            roots,
            tee,
            description,
            privilege_level: None,
        })))
    }

    /// Has reports made at a VMPL other than the driver's own, for a guest below a
    /// paravisor. Verifiers accept level 0 alone.
    ///
    /// # Errors
    /// [`PlatformError::PrivilegeLevel`] above 3.
    pub fn at_privilege_level(self, level: u8) -> Result<Self, PlatformError> {
        if level > 3 {
            return Err(PlatformError::PrivilegeLevel(level));
        }
        let mut guest = Arc::unwrap_or_clone(self.0);
        guest.privilege_level = Some(level);
        Ok(Self(Arc::new(guest)))
    }

    /// Which TEE this is.
    pub fn tee(&self) -> Tee {
        self.0.tee
    }

    /// A measurement register of a TD, now and unsigned. Blocks.
    ///
    /// # Errors
    /// [`PlatformError::NoRegister`] on other TEEs and older kernels.
    pub fn measurement(&self, which: Measurement) -> Result<Register, PlatformError> {
        rtmr::read(&*self.0.kernel, &self.0.roots, which)
    }

    /// Runs on a thread that may block, and to its end even when the caller goes
    /// away: an event that was extended must be logged.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Guest) -> Result<T, PlatformError> + Send + 'static,
    ) -> Result<T, AttesterError> {
        let guest = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || work(&guest)).await {
            Ok(result) => Ok(result?),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(PlatformError::ShuttingDown.into()),
            },
        }
    }
}

#[async_trait]
impl Attester for LinuxAttester {
    async fn attest(&self, report_data: &ReportData) -> Result<Attestation, AttesterError> {
        let report_data = *report_data;
        self.blocking(move |guest| guest.attest(&report_data)).await
    }

    async fn extend(&self, event: &str, payload: &[u8]) -> Result<(), AttesterError> {
        let (event, payload) = (event.to_owned(), payload.to_vec());
        self.blocking(move |guest| guest.extend(&event, payload))
            .await
    }

    async fn sealing_key(&self, _context: &str) -> Result<Secret, AttesterError> {
        Err(AttesterError::NoSealing {
            keys_from: format!("the kernel of this {} VM", self.0.tee.variant()),
            instead: "the guest agent (endpoint agent:<socket>) with key_provider `local` or \
                      `tpm` in app-compose.json",
        })
    }

    async fn vm_config(&self) -> Result<String, AttesterError> {
        Ok(self.0.description()?.vm_config.clone())
    }

    async fn hardware(&self) -> Result<Hardware, AttesterError> {
        self.blocking(|guest| Ok(guest.hardware())).await
    }
}

impl Guest {
    fn description(&self) -> Result<&VmDescription, PlatformError> {
        self.description.as_ref().ok_or(PlatformError::NoVmConfig)
    }

    fn attest(&self, report_data: &ReportData) -> Result<Attestation, PlatformError> {
        let description = self.description()?;
        // Held until the quote is made: log and quote then speak of the same moment.
        let mut log = Log::shared(&self.roots)?;
        let runtime_events = log.events()?;
        let platform = match self.tee {
            Tee::Tdx => self.tdx(report_data, &log, &runtime_events)?,
            Tee::Snp => self.snp(report_data, description)?,
        };
        Ok(Attestation {
            platform,
            stack: Stack {
                kind: StackKind::Plain,
                report_data: *report_data,
                runtime_events,
                config: description.vm_config.clone(),
            },
        })
    }

    fn extend(&self, name: &str, payload: Vec<u8>) -> Result<(), PlatformError> {
        let refused = |reason| PlatformError::Event {
            event: name.chars().take(64).collect(),
            reason,
        };
        if name.is_empty() || name.len() > MAX_NAME || name.contains(':') {
            return Err(refused(
                "a name has 1 to 1024 bytes and no colon, which separates it from the payload",
            ));
        }
        let mut log = Log::exclusive(&self.roots)?;
        let event = RuntimeEvent::new(name, payload, events::event_version(&self.roots)?);
        let events = log.events()?;
        if !log.has_room(&events, &event)? {
            return Err(refused(
                "the event log is full; verifiers read no longer one",
            ));
        }
        if self.tee == Tee::Tdx {
            let register = rtmr::read(&*self.kernel, &self.roots, Measurement::Rtmr3)?;
            tdx::check_log(&log, &events, register)?;
            rtmr::extend(&*self.kernel, &self.roots, &event.digest())?;
        }
        log.append(&event)
    }

    fn hardware(&self) -> Hardware {
        let dmi = |name: &str| detect::dmi(&*self.kernel, &self.roots, name);
        Hardware {
            tee: self.tee.variant(),
            interface: Interface::ConfigfsTsm {
                provider: self.tee.provider().to_owned(),
            },
            vendor: dmi("sys_vendor"),
            product: dmi("product_name"),
            measures_events: self.tee == Tee::Tdx && Measurement::Rtmr3.path(&self.roots).exists(),
            simulated: false,
        }
    }
}

#[cfg(test)]
mod tests;
