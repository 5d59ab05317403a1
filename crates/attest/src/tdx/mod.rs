//! Intel TDX: quotes of version 4 and 5 (attestation reference, section 3).

mod outdated;
mod unreported;

use bylaw_types::{DeviceId, MrAggregated, MrSystem, Register, ReportData, TcbStatus};
use dcap_qvl::configs::RingConfig;
use dcap_qvl::quote::{Quote, Report, TDReport10};
use dcap_qvl::verify::QuoteVerifier;
use sha2::{Digest, Sha256};

use crate::TrustAnchors;
use crate::collateral::Collateral;

/// Longest quote that is read, in bytes. Real ones have about 5,000.
pub const MAX_QUOTE_LEN: usize = 64 * 1024;

/// Bit 0 of the TD attributes: the host can read the TD's memory.
const ATTRIBUTE_DEBUG: u8 = 1;

/// Why a quote is not believed, by what is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// Not a TDX quote of version 4 or 5.
    #[error("not a TDX quote of version 4 or 5: {0}")]
    Malformed(String),
    /// A signature inside the quote does not hold.
    #[error("quote signature: {0}")]
    Signature(String),
    /// The PCK certificate does not lead to the trust anchor, or is out of date.
    #[error("PCK certificate chain: {0}")]
    Chain(String),
    /// The vendor's collateral is not valid at this time, or not the vendor's.
    #[error("collateral: {0}")]
    Collateral(String),
    /// A debug TD: its memory is open to the host.
    #[error("the TD runs in debug mode; its host can read its memory")]
    Debug,
    /// Service TDs may touch this TD.
    #[error("the TD is bound to a service TD or has attributes that are not allowed: {0}")]
    Attributes(String),
    /// The TDX module is not signed by Intel.
    #[error("MRSIGNERSEAM is not zero: the TDX module is not Intel's")]
    ForeignModule,
    /// The vendor revoked this platform's TCB or certificate.
    #[error("revoked: {0}")]
    Revoked(String),
    /// Anything else the verifier refuses.
    #[error("{0}")]
    Refused(String),
}

/// The measured fields of a TD report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdReport {
    /// Measurement of the initial contents.
    pub mrtd: Register,
    /// Runtime registers 0 to 3.
    pub rtmr: [Register; 4],
    /// Set by the host at launch.
    pub mr_config_id: Register,
    /// Set by the host at launch.
    pub mr_owner: Register,
    /// Set by the host at launch.
    pub mr_owner_config: Register,
    /// What the guest asked to be signed.
    pub report_data: ReportData,
}

impl TdReport {
    /// Everything measured: the registers with RTMR3 as given, and what the host set at
    /// launch when it set anything (attestation reference, section 7).
    pub fn mr_aggregated(&self, rtmr3: &Register) -> MrAggregated {
        let mut hash = self.boot_registers().chain_update(rtmr3);
        let host_set = [&self.mr_config_id, &self.mr_owner, &self.mr_owner_config];
        if host_set.iter().any(|register| !register.is_zero()) {
            for register in host_set {
                hash.update(register);
            }
        }
        MrAggregated::new(hash.finalize().into())
    }

    /// The system without the app: the boot registers and who gives keys, empty for
    /// nobody yet.
    pub fn mr_system(&self, key_provider_info: &[u8]) -> MrSystem {
        let provider: [u8; 32] = if key_provider_info.is_empty() {
            [0; 32]
        } else {
            Sha256::digest(key_provider_info).into()
        };
        let hash = self.boot_registers().chain_update(provider);
        MrSystem::new(hash.finalize().into())
    }

    fn boot_registers(&self) -> Sha256 {
        let [rtmr0, rtmr1, rtmr2, _] = &self.rtmr;
        [&self.mrtd, rtmr0, rtmr1, rtmr2]
            .into_iter()
            .fold(Sha256::new(), |hash, register| hash.chain_update(register))
    }
}

impl From<&TDReport10> for TdReport {
    fn from(report: &TDReport10) -> Self {
        Self {
            mrtd: report.mr_td.into(),
            rtmr: [report.rt_mr0, report.rt_mr1, report.rt_mr2, report.rt_mr3].map(Register::new),
            mr_config_id: report.mr_config_id.into(),
            mr_owner: report.mr_owner.into(),
            mr_owner_config: report.mr_owner_config.into(),
            report_data: report.report_data.into(),
        }
    }
}

/// A quote that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedTd {
    /// What it measured.
    pub report: TdReport,
    /// By the vendor's word; `NotReported` without collateral.
    pub tcb_status: TcbStatus,
    /// Advisories for this TCB.
    pub advisory_ids: Vec<String>,
    /// When the level was published that this platform lacks, Unix seconds; `None` when
    /// it lacks none.
    pub tcb_outdated_since: Option<u64>,
    /// SHA-256 of the PPID.
    pub device_id: DeviceId,
}

/// Which collateral a quote needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CollateralKey {
    /// Platform family, 6 bytes.
    pub fmspc: [u8; 6],
    /// `processor` or `platform`.
    pub ca: &'static str,
}

fn parse(quote: &[u8]) -> Result<Quote, QuoteError> {
    if quote.len() > MAX_QUOTE_LEN {
        return Err(QuoteError::Malformed(format!(
            "{} bytes; the limit is {MAX_QUOTE_LEN}",
            quote.len()
        )));
    }
    let parsed =
        Quote::parse(quote).map_err(|error| QuoteError::Malformed(format!("{error:#}")))?;
    if parsed.report.is_sgx() {
        return Err(QuoteError::Malformed("it is an SGX quote".to_owned()));
    }
    Ok(parsed)
}

/// The measured fields as the quote states them, unverified.
///
/// # Errors
/// [`QuoteError::Malformed`].
pub fn report(quote: &[u8]) -> Result<TdReport, QuoteError> {
    Ok(td10(&parse(quote)?.report)?.into())
}

/// The report data as the quote states it, unverified.
///
/// # Errors
/// [`QuoteError::Malformed`].
pub fn report_data(quote: &[u8]) -> Result<ReportData, QuoteError> {
    Ok(report(quote)?.report_data)
}

/// Which quoting enclave the quote says it is from, hence which machine: the first 16 bytes
/// of the header's user data.
///
/// # Errors
/// [`QuoteError::Malformed`].
pub fn qe_id(quote: &[u8]) -> Result<[u8; 16], QuoteError> {
    let [qe_id @ .., _, _, _, _] = parse(quote)?.header.user_data;
    Ok(qe_id)
}

/// Which collateral verifying this quote needs.
///
/// # Errors
/// [`QuoteError::Malformed`] when the quote carries no PCK certificate.
pub fn collateral_key(quote: &[u8]) -> Result<CollateralKey, QuoteError> {
    collateral_key_of(&parse(quote)?)
}

pub(crate) fn collateral_key_of(quote: &Quote) -> Result<CollateralKey, QuoteError> {
    Ok(CollateralKey {
        fmspc: dcap_qvl::intel::quote_fmspc_with::<RingConfig>(quote)
            .map_err(|error| QuoteError::Malformed(format!("{error:#}")))?,
        ca: dcap_qvl::intel::quote_ca_with::<RingConfig>(quote)
            .map_err(|error| QuoteError::Malformed(format!("{error:#}")))?
            .as_id_str(),
    })
}

/// Verifies signatures, chain, CRLs, TCB and QE identity at `now` (Unix seconds).
///
/// # Errors
/// [`QuoteError`] says what is at fault. Debug, foreign modules and revoked
/// platforms are refused here: they are never policy.
pub fn verify(
    quote: &[u8],
    anchors: &TrustAnchors,
    collateral: &Collateral,
    now: u64,
) -> Result<VerifiedTd, QuoteError> {
    parse(quote)?;
    let verified = QuoteVerifier::<RingConfig>::new_with_config(anchors.tdx_root().to_vec())
        .verify(quote, collateral.as_quote_collateral(), now)
        .map_err(|error| classify(&format!("{error:#}")))?;
    let tcb_status = verified
        .status
        .parse()
        .map_err(|_| QuoteError::Revoked(format!("TCB status is {}", verified.status)))?;
    let mut td = finish(
        &verified.report,
        &verified.ppid,
        tcb_status,
        verified.advisory_ids,
    )?;
    if tcb_status.is_outdated() {
        td.tcb_outdated_since = outdated::since(quote, anchors, collateral, now)?;
    }
    Ok(td)
}

/// Verifies everything that needs no collateral: signatures and the chain to the
/// trust anchor. Whether the platform is current or revoked stays unknown, so the
/// status is [`TcbStatus::NotReported`].
///
/// # Errors
/// As [`verify`].
pub fn verify_without_collateral(
    quote: &[u8],
    anchors: &TrustAnchors,
    now: u64,
) -> Result<VerifiedTd, QuoteError> {
    let parsed = parse(quote)?;
    let ppid = unreported::check(quote, &parsed, anchors.tdx_root(), now)?;
    finish(&parsed.report, &ppid, TcbStatus::NotReported, vec![])
}

fn td10(report: &Report) -> Result<&TDReport10, QuoteError> {
    report
        .as_td10()
        .ok_or_else(|| QuoteError::Malformed("it is an SGX quote".to_owned()))
}

fn finish(
    report: &Report,
    ppid: &[u8],
    tcb_status: TcbStatus,
    advisory_ids: Vec<String>,
) -> Result<VerifiedTd, QuoteError> {
    let td = td10(report)?;
    let [attributes, ..] = td.td_attributes;
    if attributes & ATTRIBUTE_DEBUG != 0 {
        return Err(QuoteError::Debug);
    }
    if td.mr_signer_seam != [0; 48] {
        return Err(QuoteError::ForeignModule);
    }
    if report
        .as_td15()
        .is_some_and(|td| td.mr_service_td != [0; 48])
    {
        return Err(QuoteError::Attributes("MRSERVICETD is not zero".to_owned()));
    }
    Ok(VerifiedTd {
        report: td.into(),
        tcb_status,
        advisory_ids,
        tcb_outdated_since: None,
        device_id: DeviceId::new(Sha256::digest(ppid).into()),
    })
}

/// Sorts the verifier's sentence by what is at fault. An unknown sentence is
/// still a refusal.
pub(crate) fn classify(sentence: &str) -> QuoteError {
    let has = |part: &str| sentence.contains(part);
    let owned = sentence.to_owned();
    if has("Debug mode is enabled") {
        QuoteError::Debug
    } else if has("evoked") {
        QuoteError::Revoked(owned)
    } else if has("MR service TD")
        || has("SERVTD")
        || has("TD profiling")
        || has("TD attributes")
        || has("SEPT_VE_DISABLE")
        || has("TD migration")
    {
        QuoteError::Attributes(owned)
    } else if has("qe_report in quote") || has("QE report hash") || has("ISV enclave report") {
        QuoteError::Signature(owned)
    } else if has("TCBInfo")
        || has("TcbInfo")
        || has("TCB Info")
        || has("tcb_info")
        || has("QE Identity")
        || has("QeIdentity")
        || has("qe_identity")
        || has("CRL")
        || has("Crl")
        || has("Fmspc mismatch")
    {
        QuoteError::Collateral(owned)
    } else if has("certificate chain") || has("PCK") || has("root ca") {
        QuoteError::Chain(owned)
    } else if has("decode quote") || has("quote version") || has("QE vendor") || has("key type") {
        QuoteError::Malformed(owned)
    } else {
        QuoteError::Refused(owned)
    }
}

#[cfg(test)]
mod tests;
