//! Evidence in, appraisal out.

use std::sync::Arc;

use bylaw_types::clock::Clock;
use bylaw_types::{BootInfo, Register, ReportData, Sha256Digest, TrustAnchorSet};

use crate::appraisal::{Established, LaunchedSnp, LoggedTd};
use crate::collateral::{AmdSource, CollateralError, CollateralSource};
use crate::encoding::{Attestation, Platform, StackKind};
use crate::event_log::{MAX_EVENTS, RuntimeEvent, TdxEvent, replay};
use crate::image::ImageSource;
use crate::mr_config::{LaunchDocument, LaunchDocumentError, v3_digest};
use crate::report_data::{self, HashAlgorithm, TAG_APP_DATA};
use crate::snp::{self, SnpError, VerifiedSnp};
use crate::tdx::{self, QuoteError, VerifiedTd};
use crate::{Appraisal, IdentifyError, Mode, TrustAnchors};

/// Why evidence is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppraisalError {
    /// The quote does not hold.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// The SEV-SNP report does not hold.
    #[error(transparent)]
    Snp(#[from] SnpError),
    /// The SEV-SNP launch was bound to another document.
    #[error("HOST_DATA is {actual}, but the digest of mr_config is {expected}: another document")]
    HostData {
        /// Of the document beside the report.
        expected: Sha256Digest,
        /// Reported.
        actual: Sha256Digest,
    },
    /// What the launch was bound to has another form.
    #[error(transparent)]
    Document(#[from] LaunchDocumentError),
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
    amd: Option<Arc<dyn AmdSource>>,
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
            amd: None,
            clock,
            needs_collateral: true,
            images: None,
        }
    }

    /// Asks `source` for AMD's certificates and revocation lists. Without one, SEV-SNP
    /// evidence lacks its collateral.
    #[must_use]
    pub fn with_amd(mut self, source: Arc<dyn AmdSource>) -> Self {
        self.amd = Some(source);
        self
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
        match &evidence.platform {
            Platform::Tdx { quote, event_log } => {
                let td = self.verify_tdx(quote, now).await?;
                check_report_data(evidence, &td.report.report_data, expected)?;
                let logged = logged(&td, event_log, &evidence.stack.runtime_events)?;
                Ok(Appraisal {
                    anchors: self.anchors.set(),
                    verified_at: now,
                    tcb_status: td.tcb_status,
                    advisory_ids: td.advisory_ids,
                    tcb_outdated_since: td.tcb_outdated_since,
                    device_id: td.device_id,
                    platform: Established::Tdx(logged),
                    vm_config: evidence.vm_config(),
                })
            }
            Platform::SevSnp {
                report,
                cert_chain,
                mr_config,
            } => {
                let guest = self.verify_snp(report, cert_chain, now).await?;
                check_report_data(evidence, &guest.report.report_data, expected)?;
                let document = bound_document(mr_config, &guest.report.host_data)?;
                Ok(Appraisal {
                    anchors: self.anchors.set(),
                    verified_at: now,
                    tcb_status: guest.tcb_status,
                    advisory_ids: vec![],
                    tcb_outdated_since: None,
                    device_id: guest.device_id,
                    platform: Established::SevSnp(LaunchedSnp {
                        report: guest.report,
                        document,
                    }),
                    vm_config: evidence.vm_config(),
                })
            }
            other => Err(AppraisalError::UnsupportedPlatform(other.kind())),
        }
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

    async fn verify_snp(
        &self,
        report: &[u8],
        cert_chain: &[Vec<u8>],
        now: u64,
    ) -> Result<VerifiedSnp, AppraisalError> {
        let snp::Signer { vcek: id, given } = snp::signer(report, cert_chain)?;
        if self.anchors.amd_root(id.product).is_none() {
            return Err(SnpError::NoRoot(id.product).into());
        }
        let missing = AppraisalError::CollateralMissing;
        let amd = self.amd.as_ref().ok_or(CollateralError::NoAmdSource);
        let issuer = match &amd {
            Ok(amd) => amd.issuer(id.product, now).await,
            Err(none) => Err(none.clone()),
        };
        let ask = match (&given.ask, &issuer) {
            (Some(ask), _) => ask,
            (None, Ok(issuer)) => &issuer.ask,
            (None, Err(error)) => return Err(missing(error.clone())),
        };
        let vcek = match given.vcek {
            Some(vcek) => Arc::new(vcek),
            None => amd
                .map_err(missing)?
                .vcek(&id, now)
                .await
                .map_err(missing)?,
        };
        let crl = issuer.as_ref().ok().map(|issuer| issuer.crl.as_slice());
        let material = snp::Material {
            product: id.product,
            ask,
            vcek: &vcek,
            crl,
        };
        // Evidence that is forged anyway should be called forged.
        let verified = snp::verify(report, &material, &self.anchors, now)?;
        match issuer {
            Err(error) if self.needs_collateral => Err(missing(error)),
            _ => Ok(verified),
        }
    }
}

/// A TD and its log, if the log is what was measured.
fn logged(
    td: &VerifiedTd,
    event_log: &[TdxEvent],
    events: &[RuntimeEvent],
) -> Result<LoggedTd, AppraisalError> {
    if let Some(count) = [events.len(), event_log.len()]
        .into_iter()
        .find(|count| *count > MAX_EVENTS)
    {
        return Err(AppraisalError::TooManyEvents(count));
    }
    if let Some(event) = events.iter().find(|event| event.event.contains(':')) {
        return Err(AppraisalError::EventName(event.event.clone()));
    }
    let [.., quoted] = td.report.rtmr;
    let replayed = replay(events);
    if replayed != quoted {
        return Err(AppraisalError::EventLog { replayed, quoted });
    }
    Ok(LoggedTd {
        report: td.report.clone(),
        event_log: event_log.to_vec(),
        runtime_events: events.to_vec(),
    })
}

/// The document that HOST_DATA commits to, by its exact bytes.
fn bound_document(text: &str, host_data: &Sha256Digest) -> Result<LaunchDocument, AppraisalError> {
    let expected = Sha256Digest::new(v3_digest(text.as_bytes()));
    if expected != *host_data {
        return Err(AppraisalError::HostData {
            expected,
            actual: *host_data,
        });
    }
    Ok(LaunchDocument::parse(text)?)
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
