//! Which roots are trusted.

use bylaw_types::TrustAnchorSet;

use crate::report_data::anchor_digest;

/// Intel SGX Root CA, DER (`https://certificates.trustedservices.intel.com/`).
const INTEL_SGX_ROOT_CA: &[u8] = include_bytes!("../assets/intel-sgx-root-ca.der");

/// A root that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustAnchorError {
    /// Neither PEM nor DER of one certificate.
    #[error("trust anchor is not one X.509 certificate in PEM or DER: {0}")]
    NotACertificate(String),
}

/// The roots a verifier accepts.
///
/// Either the vendors' own, or a set that says of itself that it is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustAnchors {
    tdx_root: Vec<u8>,
    set: TrustAnchorSet,
}

impl TrustAnchors {
    /// The vendors' roots, built in.
    pub fn vendor() -> Self {
        let spki = x509_parser::parse_x509_certificate(INTEL_SGX_ROOT_CA)
            .map_or(INTEL_SGX_ROOT_CA, |(_, root)| {
                root.tbs_certificate.subject_pki.raw
            });
        Self {
            tdx_root: INTEL_SGX_ROOT_CA.to_vec(),
            set: TrustAnchorSet::Vendor(anchor_digest(&[("tdx", spki)])),
        }
    }

    /// One root for TDX in place of Intel's, as PEM or DER.
    ///
    /// Giving Intel's own root yields the vendor set: it is the same set.
    ///
    /// # Errors
    /// [`TrustAnchorError::NotACertificate`].
    pub fn with_tdx_root(pem_or_der: &[u8]) -> Result<Self, TrustAnchorError> {
        let fail = |error: String| TrustAnchorError::NotACertificate(error);
        let der = if pem_or_der.starts_with(b"-----") {
            pem::parse(pem_or_der)
                .map_err(|error| fail(error.to_string()))?
                .into_contents()
        } else {
            pem_or_der.to_vec()
        };
        let (rest, root) =
            x509_parser::parse_x509_certificate(&der).map_err(|error| fail(error.to_string()))?;
        if !rest.is_empty() {
            return Err(fail(format!("{} bytes follow it", rest.len())));
        }
        if der == INTEL_SGX_ROOT_CA {
            return Ok(Self::vendor());
        }
        let set = TrustAnchorSet::Other(anchor_digest(&[("tdx", root.public_key().raw)]));
        Ok(Self { tdx_root: der, set })
    }

    /// The set these anchors are.
    pub fn set(&self) -> TrustAnchorSet {
        self.set
    }

    /// DER of the TDX root.
    pub fn tdx_root(&self) -> &[u8] {
        &self.tdx_root
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intels_root_is_the_vendor_set_however_it_is_given() {
        let pem = pem::encode(&pem::Pem::new("CERTIFICATE", INTEL_SGX_ROOT_CA));
        assert_eq!(
            TrustAnchors::with_tdx_root(pem.as_bytes()).unwrap(),
            TrustAnchors::vendor()
        );
        assert!(TrustAnchors::vendor().set().is_vendor());
    }

    #[test]
    fn garbage_and_trailing_bytes_are_refused() {
        assert!(TrustAnchors::with_tdx_root(b"").is_err());
        assert!(TrustAnchors::with_tdx_root(b"-----BEGIN X").is_err());
        let mut long = INTEL_SGX_ROOT_CA.to_vec();
        long.push(0);
        assert!(TrustAnchors::with_tdx_root(&long).is_err());
    }
}
