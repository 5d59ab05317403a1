//! A certificate whose key is bound to verified evidence.

use bylaw_attest::{Appraisal, AppraisalError, Expect, Verifier};

use bylaw_types::TrustAnchorDigest;

use crate::RaTlsCert;

#[cfg(test)]
mod tests;

/// Proof that the holder of this key is what the appraisal says.
///
/// Only [`verify_attested`] makes one: the evidence was made for exactly this key,
/// so evidence copied into a certificate of another key does not pass.
#[derive(Debug, Clone)]
pub struct AttestedCert {
    appraisal: Appraisal,
    cert: RaTlsCert,
}

/// Why a certificate is not attested.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttestedError {
    /// It carries no evidence.
    #[error("the certificate carries no attestation")]
    Missing,
    /// Its issuer trusts other anchors than this verifier: its keys are of another world.
    #[error("the certificate's issuer trusts anchors {stated}, this verifier {own}")]
    OtherAnchors {
        /// In the certificate.
        stated: TrustAnchorDigest,
        /// Of the verifier.
        own: TrustAnchorDigest,
    },
    /// The evidence does not hold for this key.
    #[error(transparent)]
    Appraisal(#[from] AppraisalError),
}

/// Verifies the evidence in a certificate and that it was made for its key.
///
/// # Errors
/// [`AttestedError`].
pub async fn verify_attested(
    cert: RaTlsCert,
    verifier: &Verifier,
) -> Result<AttestedCert, AttestedError> {
    let own = *verifier.anchors().digest();
    if let Some(stated) = cert.trust_anchors
        && stated != own
    {
        return Err(AttestedError::OtherAnchors { stated, own });
    }
    let evidence = cert.attestation.as_ref().ok_or(AttestedError::Missing)?;
    let appraisal = verifier
        .appraise(evidence, Expect::RaTlsKey(&cert.spki_der))
        .await?;
    Ok(AttestedCert { appraisal, cert })
}

impl AttestedCert {
    /// What the evidence established.
    pub fn appraisal(&self) -> &Appraisal {
        &self.appraisal
    }

    /// The certificate.
    pub fn cert(&self) -> &RaTlsCert {
        &self.cert
    }

    /// DER SubjectPublicKeyInfo of the attested key.
    pub fn spki_der(&self) -> &[u8] {
        &self.cert.spki_der
    }
}
