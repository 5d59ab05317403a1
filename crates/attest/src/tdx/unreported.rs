//! What can be checked of a quote without the vendor's collateral.
//!
//! The signatures inside the quote and the PCK chain to the trust anchor; not
//! revocation, not the TCB level, not the quoting enclave's identity. The libraries
//! are ring and webpki, as in full verification.

use std::time::Duration;

use dcap_qvl::configs::RingConfig;
use dcap_qvl::quote::Quote;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use webpki::ring::ECDSA_P256_SHA256;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};

use super::QuoteError;

/// PCK and signing certificates state no extended key usage.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

/// Offset of the report data in an SGX enclave report.
const QE_REPORT_DATA: std::ops::Range<usize> = 320..352;

/// Returns the PPID of the PCK certificate.
pub(super) fn check(
    raw: &[u8],
    quote: &Quote,
    root_der: &[u8],
    now: u64,
) -> Result<Vec<u8>, QuoteError> {
    let chain = dcap_qvl::intel::extract_cert_chain(quote)
        .map_err(|error| QuoteError::Malformed(format!("{error:#}")))?;
    let [leaf, intermediates @ ..] = chain.as_slice() else {
        return Err(QuoteError::Chain(
            "the quote carries no PCK certificate".to_owned(),
        ));
    };
    let leaf_der = CertificateDer::from(leaf.as_slice());
    let pck = EndEntityCert::try_from(&leaf_der).map_err(chain_error)?;
    check_chain(&pck, intermediates, root_der, now)?;

    let auth = quote.auth_data.clone().into_v3();
    verify_with_pck(&pck, &auth.qe_report, &auth.qe_report_signature)?;
    let bound: [u8; 32] = Sha256::new()
        .chain_update(auth.ecdsa_attestation_key)
        .chain_update(&auth.qe_auth_data.data)
        .finalize()
        .into();
    if auth.qe_report.get(QE_REPORT_DATA) != Some(&bound[..]) {
        return Err(QuoteError::Signature(
            "the QE report does not name the attestation key".to_owned(),
        ));
    }
    let signed = raw
        .get(..quote.signed_length())
        .ok_or_else(|| QuoteError::Malformed("it is shorter than its signed part".to_owned()))?;
    let point = [&[4], auth.ecdsa_attestation_key.as_slice()].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(signed, &auth.ecdsa_signature)
        .map_err(|_| QuoteError::Signature("the attestation key did not sign it".to_owned()))?;

    dcap_qvl::intel::parse_pck_extension_with::<RingConfig>(leaf)
        .map(|extension| extension.ppid)
        .map_err(|error| QuoteError::Chain(format!("{error:#}")))
}

fn check_chain(
    pck: &EndEntityCert<'_>,
    intermediates: &[Vec<u8>],
    root_der: &[u8],
    now: u64,
) -> Result<(), QuoteError> {
    let root = CertificateDer::from(root_der);
    let anchor = webpki::anchor_from_trusted_cert(&root).map_err(chain_error)?;
    let intermediates: Vec<_> = intermediates
        .iter()
        .map(|der| CertificateDer::from(der.as_slice()))
        .collect();
    pck.verify_for_usage(
        &[ECDSA_P256_SHA256],
        &[anchor],
        &intermediates,
        UnixTime::since_unix_epoch(Duration::from_secs(now)),
        AnyUsage,
        None,
        None,
    )
    .map(|_| ())
    .map_err(chain_error)
}

fn verify_with_pck(
    pck: &EndEntityCert<'_>,
    message: &[u8],
    signature: &[u8],
) -> Result<(), QuoteError> {
    let bad = || QuoteError::Signature("the PCK did not sign the QE report".to_owned());
    let der = p256::ecdsa::Signature::from_slice(signature)
        .map_err(|_| bad())?
        .to_der();
    pck.verify_signature(ECDSA_P256_SHA256, message, der.as_bytes())
        .map_err(|_| bad())
}

fn chain_error(error: webpki::Error) -> QuoteError {
    QuoteError::Chain(error.to_string())
}
