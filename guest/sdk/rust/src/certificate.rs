//! From a certificate chain to the VM that holds its key.

use bylaw_ratls::{RaTlsCert, USAGE_APP_CA};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{Appraisal, Expect, KmsRoot, Verifier, VerifyError};

/// Proof that the holder of a TLS key is what the appraisal says.
#[derive(Debug, Clone)]
pub struct VerifiedPeer {
    appraisal: Appraisal,
    cert: RaTlsCert,
    issuer: Option<CertificateDer<'static>>,
}

impl VerifiedPeer {
    /// What the evidence proves.
    pub fn appraisal(&self) -> &Appraisal {
        &self.appraisal
    }

    /// DER SubjectPublicKeyInfo of the peer's key.
    pub fn spki_der(&self) -> &[u8] {
        &self.cert.spki_der
    }

    /// Common name: what the app called itself, proven by nobody.
    pub fn subject(&self) -> Option<&str> {
        self.cert.subject.as_deref()
    }

    /// The certificate, as far as it says more.
    pub fn cert(&self) -> &RaTlsCert {
        &self.cert
    }

    /// The app CA that issued it, where the chain was verified up to a [`KmsRoot`].
    pub(crate) fn issuer(&self) -> Option<&CertificateDer<'static>> {
        self.issuer.as_ref()
    }
}

/// DER of each certificate in PEM text, in its order.
///
/// # Errors
/// [`VerifyError::Encoding`] when it is not PEM, or holds something else.
pub fn parse_chain(pem: &str) -> Result<Vec<Vec<u8>>, VerifyError> {
    let blocks =
        pem::parse_many(pem).map_err(|error| VerifyError::Encoding(format!("PEM: {error}")))?;
    if blocks.is_empty() {
        return Err(VerifyError::Encoding(
            "the PEM has no certificate".to_owned(),
        ));
    }
    blocks
        .into_iter()
        .map(|block| match block.tag() {
            "CERTIFICATE" => Ok(block.into_contents()),
            tag => Err(VerifyError::Encoding(format!("the PEM holds a {tag}"))),
        })
        .collect()
}

impl Verifier {
    /// Verifies whom a certificate belongs to: its evidence, made for its key, and what is
    /// expected of it. `expect.tls_key` is the leaf's own and need not be given.
    ///
    /// With `root` the chain must also be leaf, app CA and root CA of that KMS, and the VM
    /// must have measured that KMS as the provider of its keys. Without it nothing but the
    /// leaf is looked at.
    ///
    /// # Errors
    /// [`VerifyError`] names the rule.
    pub async fn verify_certificate(
        &self,
        chain: &[impl AsRef<[u8]>],
        root: Option<&KmsRoot>,
        expect: &Expect,
    ) -> Result<VerifiedPeer, VerifyError> {
        let [leaf, ..] = chain else {
            return Err(VerifyError::Encoding("the chain is empty".to_owned()));
        };
        let cert = RaTlsCert::parse(leaf.as_ref())?;
        let evidence = cert.attestation.as_ref().ok_or_else(|| {
            VerifyError::Encoding("the certificate carries no evidence".to_owned())
        })?;
        self.check_leaf(&cert)?;
        let issuer = match root {
            Some(root) => Some(check_chain(chain, root, self.now())?),
            None => None,
        };

        let mut expect = Expect {
            tls_key: Some(cert.spki_der.clone()),
            ..expect.clone()
        };
        let provider = root.map(|root| root.ca_spki().to_vec());
        if let (Some(expected), Some(provider)) = (&expect.key_provider_id, &provider)
            && expected != provider
        {
            return Err(VerifyError::KeyProvider {
                expected: hex::encode(expected),
                actual: hex::encode(provider),
            });
        }
        expect.key_provider_id = provider.or(expect.key_provider_id);
        let appraisal = self.verify_evidence(evidence, &expect).await?;

        let measured = appraisal.app_id();
        for stated in [
            cert.app_id,
            issuer.as_ref().and_then(|issuer| issuer.app_id),
        ]
        .into_iter()
        .flatten()
        {
            if measured != Some(stated) {
                return Err(VerifyError::AppId {
                    expected: format!("{stated}, as its certificates say"),
                    actual: measured.map_or_else(|| "not measured".to_owned(), |id| id.to_string()),
                });
            }
        }
        Ok(VerifiedPeer {
            appraisal,
            cert,
            issuer: issuer.map(|issuer| issuer.der.into()),
        })
    }

    fn check_leaf(&self, cert: &RaTlsCert) -> Result<(), VerifyError> {
        let now = i64::try_from(self.now()).unwrap_or(i64::MAX);
        if !(cert.not_before..=cert.not_after).contains(&now) {
            return Err(VerifyError::Chain(
                "the leaf is not valid at this time".to_owned(),
            ));
        }
        let own = *self.anchors().digest();
        match cert.trust_anchors {
            Some(stated) if stated != own => Err(VerifyError::Chain(format!(
                "the issuer trusts anchors {stated}, this verifier {own}"
            ))),
            _ => Ok(()),
        }
    }
}

/// Leaf, app CA, root CA and nothing else, up to this KMS; returns the app CA.
fn check_chain(
    chain: &[impl AsRef<[u8]>],
    root: &KmsRoot,
    now: u64,
) -> Result<RaTlsCert, VerifyError> {
    let fault = |reason: &str| VerifyError::Chain(reason.to_owned());
    let [leaf, app_ca, root_ca] = chain else {
        return Err(VerifyError::Chain(format!(
            "it has {} certificates; a KMS issues leaf, app CA and root CA",
            chain.len()
        )));
    };
    check_root(root_ca.as_ref(), root, now)?;
    let issuer = RaTlsCert::parse(app_ca.as_ref())?;
    if issuer.usage.as_deref() != Some(USAGE_APP_CA) {
        return Err(fault("the second certificate is not for an app's CA"));
    }
    let intermediate = CertificateDer::from(app_ca.as_ref());
    bylaw_ratls::tls::verify_chain(leaf.as_ref(), &[intermediate], root_ca.as_ref(), now)
        .map_err(|error| VerifyError::Chain(error.to_string()))?;
    Ok(issuer)
}

/// A trust anchor is only a name and a key to the verifier of chains; the rest is here.
fn check_root(der: &[u8], root: &KmsRoot, now: u64) -> Result<(), VerifyError> {
    let fault = |reason: &str| VerifyError::Chain(format!("root CA: {reason}"));
    let malformed = |error: &dyn std::fmt::Display| VerifyError::Encoding(error.to_string());
    let (rest, cert) = X509Certificate::from_der(der).map_err(|error| malformed(&error))?;
    if !rest.is_empty() {
        return Err(malformed(&"bytes follow the root CA's certificate"));
    }
    if cert.public_key().raw != root.ca_spki() {
        return Err(fault("it is not this KMS's"));
    }
    let constraints = cert
        .basic_constraints()
        .map_err(|error| malformed(&error))?
        .map(|extension| extension.value)
        .filter(|constraints| constraints.ca)
        .ok_or_else(|| fault("it is not a CA"))?;
    if constraints.path_len_constraint == Some(0) {
        return Err(fault("it allows no CA below it"));
    }
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let validity = cert.validity();
    if !(validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now) {
        return Err(fault("it is not valid at this time"));
    }
    Ok(())
}
