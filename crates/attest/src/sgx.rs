//! Intel SGX: quotes of version 3, as sealing enclaves present them (keys reference,
//! section 9).

use bylaw_types::{ReportData, TcbStatus};
use dcap_qvl::configs::RingConfig;
use dcap_qvl::quote::{EnclaveReport, Quote};
use dcap_qvl::verify::QuoteVerifier;

use crate::TrustAnchors;
use crate::collateral::Collateral;
use crate::tdx::{self, CollateralKey, MAX_QUOTE_LEN, QuoteError};

/// Bit 1 of the enclave's attributes: the host can read its memory.
const ATTRIBUTE_DEBUG: u8 = 2;

/// What an enclave's quote says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enclave {
    /// Measurement of its contents.
    pub mr_enclave: [u8; 32],
    /// Hash of its signer's key.
    pub mr_signer: [u8; 32],
    /// What it asked to be signed.
    pub report_data: ReportData,
    /// Which quoting enclave signed, hence on which machine.
    pub qe_id: [u8; 16],
}

/// A quote that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedEnclave {
    /// What it says.
    pub enclave: Enclave,
    /// By the vendor's word.
    pub tcb_status: TcbStatus,
    /// Advisories for this TCB.
    pub advisory_ids: Vec<String>,
}

/// What the quote states, unverified; an enclave asks this of its own quote.
///
/// # Errors
/// [`QuoteError::Malformed`], [`QuoteError::Debug`].
pub fn report(quote: &[u8]) -> Result<Enclave, QuoteError> {
    let quote = parse(quote)?;
    let report = enclave_report(&quote)?;
    let [attributes, ..] = report.attributes;
    if attributes & ATTRIBUTE_DEBUG != 0 {
        return Err(QuoteError::Debug);
    }
    let [qe_id @ .., _, _, _, _] = quote.header.user_data;
    Ok(Enclave {
        mr_enclave: report.mr_enclave,
        mr_signer: report.mr_signer,
        report_data: report.report_data.into(),
        qe_id,
    })
}

/// Which collateral verifying this quote needs.
///
/// # Errors
/// [`QuoteError::Malformed`] when the quote carries no PCK certificate.
pub fn collateral_key(quote: &[u8]) -> Result<CollateralKey, QuoteError> {
    tdx::collateral_key_of(&parse(quote)?)
}

/// Verifies signatures, chain, CRLs, TCB and QE identity at `now` (Unix seconds).
///
/// # Errors
/// [`QuoteError`] says what is at fault. Debug enclaves and revoked platforms are refused.
pub fn verify(
    quote: &[u8],
    anchors: &TrustAnchors,
    collateral: &Collateral,
    now: u64,
) -> Result<VerifiedEnclave, QuoteError> {
    let enclave = report(quote)?;
    let verified = QuoteVerifier::<RingConfig>::new_with_config(anchors.tdx_root().to_vec())
        .verify(quote, collateral.as_quote_collateral(), now)
        .map_err(|error| tdx::classify(&format!("{error:#}")))?;
    let tcb_status = verified
        .status
        .parse()
        .map_err(|_| QuoteError::Revoked(format!("TCB status is {}", verified.status)))?;
    Ok(VerifiedEnclave {
        enclave,
        tcb_status,
        advisory_ids: verified.advisory_ids,
    })
}

fn parse(quote: &[u8]) -> Result<Quote, QuoteError> {
    if quote.len() > MAX_QUOTE_LEN {
        return Err(QuoteError::Malformed(format!(
            "{} bytes; the limit is {MAX_QUOTE_LEN}",
            quote.len()
        )));
    }
    Quote::parse(quote).map_err(|error| QuoteError::Malformed(format!("{error:#}")))
}

fn enclave_report(quote: &Quote) -> Result<&EnclaveReport, QuoteError> {
    match &quote.report {
        dcap_qvl::quote::Report::SgxEnclave(report) => Ok(report),
        _ => Err(QuoteError::Malformed("it is not an SGX quote".to_owned())),
    }
}
