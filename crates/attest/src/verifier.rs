//! Evidence in, appraisal out.

use std::sync::Arc;

use bylaw_types::clock::Clock;
use bylaw_types::{BootInfo, Register, ReportData, TeeVariant, TrustAnchorSet};

use crate::collateral::{CollateralError, CollateralSource};
use crate::encoding::{Attestation, Platform, StackKind};
use crate::event_log::{MAX_EVENTS, replay};
use crate::image::ImageSource;
use crate::report_data::{self, HashAlgorithm, TAG_APP_DATA};
use crate::tdx::{self, QuoteError, VerifiedTd};
use crate::{Appraisal, IdentifyError, Mode, TrustAnchors};

/// Why evidence is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppraisalError {
    /// The quote does not hold.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// Nobody says whether the platform is current or revoked.
    #[error("collateral missing, so the TCB status is not reported: {0}")]
    CollateralMissing(#[source] CollateralError),
    /// This verifier does not appraise that platform.
    #[error("evidence of platform `{0}` is not supported by this verifier")]
    UnsupportedPlatform(&'static str),
    /// It was made for another challenge or key.
    #[error("report data is {actual}, expected {expected}: made for another key or challenge")]
    ReportData {
        /// What it should be.
        expected: ReportData,
        /// What was signed.
        actual: ReportData,
    },
    /// The log is not what was measured.
    #[error("the event log replays to {replayed}, but RTMR3 is {quoted}")]
    EventLog {
        /// From the log.
        replayed: Register,
        /// From the quote.
        quoted: Register,
    },
    /// A V1 digest joins name and payload by colons, so a name with one could hide an event.
    #[error("runtime event name {0:?} contains a colon")]
    EventName(String),
    /// The log has more than [`MAX_EVENTS`] entries.
    #[error("the event log has {0} entries; the limit is {MAX_EVENTS}")]
    TooManyEvents(usize),
}

/// What evidence must have been made for.
#[derive(Debug, Clone, Copy)]
pub enum Expect<'a> {
    /// Exactly this report data.
    ReportData(&'a ReportData),
    /// The TLS key with this DER SubjectPublicKeyInfo.
    RaTlsKey(&'a [u8]),
    /// Whatever it says; for looking at evidence, never for releasing anything.
    Anything,
}

/// Appraises evidence under a set of trust anchors.
#[derive(Debug, Clone)]
pub struct Verifier {
    anchors: TrustAnchors,
    collateral: Arc<dyn CollateralSource>,
    clock: Clock,
    needs_collateral: bool,
    images: Option<Arc<dyn ImageSource>>,
}

impl Verifier {
    /// Refuses evidence whose platform status nobody reports.
    pub fn new(anchors: TrustAnchors, collateral: Arc<dyn CollateralSource>, clock: Clock) -> Self {
        Self {
            anchors,
            collateral,
            clock,
            needs_collateral: true,
            images: None,
        }
    }

    /// Measures images that carry no measurements from their files.
    #[must_use]
    pub fn with_images(mut self, images: Arc<dyn ImageSource>) -> Self {
        self.images = Some(images);
        self
    }

    /// Lets evidence without collateral pass with `TcbStatus::NotReported`.
    ///
    /// For looking at evidence: revocation stays unchecked, so nothing may be
    /// released on such an appraisal.
    #[must_use]
    pub fn tolerating_missing_collateral(mut self) -> Self {
        self.needs_collateral = false;
        self
    }

    /// The anchors it trusts.
    pub fn anchors(&self) -> TrustAnchorSet {
        self.anchors.set()
    }

    /// Verifies evidence as of now.
    ///
    /// # Errors
    /// [`AppraisalError`] says what does not hold.
    pub async fn appraise(
        &self,
        evidence: &Attestation,
        expected: Expect<'_>,
    ) -> Result<Appraisal, AppraisalError> {
        let now = self.clock.now_unix();
        let (td, event_log) = match &evidence.platform {
            Platform::Tdx { quote, event_log } => (self.verify_tdx(quote, now).await?, event_log),
            other => return Err(AppraisalError::UnsupportedPlatform(other.kind())),
        };
        let events = &evidence.stack.runtime_events;
        if let Some(count) = [events.len(), event_log.len()]
            .into_iter()
            .find(|count| *count > MAX_EVENTS)
        {
            return Err(AppraisalError::TooManyEvents(count));
        }
        if let Some(event) = events.iter().find(|event| event.event.contains(':')) {
            return Err(AppraisalError::EventName(event.event.clone()));
        }
        check_report_data(evidence, &td.report.report_data, expected)?;
        let [.., quoted] = td.report.rtmr;
        let replayed = replay(events);
        if replayed != quoted {
            return Err(AppraisalError::EventLog { replayed, quoted });
        }
        Ok(Appraisal {
            anchors: self.anchors.set(),
            verified_at: now,
            tee_variant: TeeVariant::Tdx,
            tcb_status: td.tcb_status,
            advisory_ids: td.advisory_ids,
            tcb_outdated_since: td.tcb_outdated_since,
            device_id: td.device_id,
            report: td.report,
            event_log: event_log.clone(),
            runtime_events: events.clone(),
            vm_config: evidence.vm_config(),
        })
    }

    /// Who appraised evidence is: [`Appraisal::identify`], with the images that this
    /// verifier can measure.
    ///
    /// # Errors
    /// [`IdentifyError`] names what is missing or does not match.
    pub async fn identify(
        &self,
        appraisal: &Appraisal,
        mode: Mode,
        vm_config: Option<&str>,
    ) -> Result<BootInfo, IdentifyError> {
        match &self.images {
            Some(images) => {
                appraisal
                    .identify_with(mode, vm_config, images.as_ref())
                    .await
            }
            None => appraisal.identify(mode, vm_config),
        }
    }

    /// Verifies a TDX quote that comes without an event log, as of now. What it
    /// establishes is the registers, not an identity.
    ///
    /// # Errors
    /// As [`Verifier::appraise`].
    pub async fn verify_quote(
        &self,
        quote: &[u8],
        expected: Option<&ReportData>,
    ) -> Result<VerifiedTd, AppraisalError> {
        let td = self.verify_tdx(quote, self.clock.now_unix()).await?;
        let actual = td.report.report_data;
        match expected {
            Some(expected) if *expected != actual => Err(AppraisalError::ReportData {
                expected: *expected,
                actual,
            }),
            _ => Ok(td),
        }
    }

    async fn verify_tdx(&self, quote: &[u8], now: u64) -> Result<VerifiedTd, AppraisalError> {
        let key = tdx::collateral_key(quote)?;
        match self.collateral.collateral(&key, now).await {
            Ok(collateral) => Ok(tdx::verify(quote, &self.anchors, &collateral, now)?),
            Err(missing) => {
                // Evidence that is forged anyway should be called forged.
                let td = tdx::verify_without_collateral(quote, &self.anchors, now)?;
                if self.needs_collateral {
                    return Err(AppraisalError::CollateralMissing(missing));
                }
                Ok(td)
            }
        }
    }
}

fn check_report_data(
    evidence: &Attestation,
    actual: &ReportData,
    expected: Expect<'_>,
) -> Result<(), AppraisalError> {
    let mut must_equal = vec![evidence.stack.report_data];
    if let StackKind::Pod { payload } = &evidence.stack.kind {
        must_equal.push(report_data::tagged(
            TAG_APP_DATA,
            HashAlgorithm::Sha512,
            payload.as_bytes(),
        ));
    }
    match expected {
        Expect::ReportData(data) => must_equal.push(*data),
        Expect::RaTlsKey(spki) => must_equal.push(report_data::ratls(spki)),
        Expect::Anything => {}
    }
    match must_equal.into_iter().find(|data| data != actual) {
        None => Ok(()),
        Some(expected) => Err(AppraisalError::ReportData {
            expected,
            actual: *actual,
        }),
    }
}

#[cfg(test)]
mod tests;
