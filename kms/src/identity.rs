//! What this KMS proves about itself.

use std::sync::Arc;

use bylaw_attest::{Appraisal, Attestation, Expect, Mode, Verifier, report_data};
use bylaw_attester::Attester;
use bylaw_keys::P256Key;
use bylaw_ratls::{Cert, CertError, CertSpec, Issuer, USAGE_KMS};
use bylaw_types::ReportData;

use crate::store::Roots;

/// This KMS's own TEE, appraised by its own verifier.
#[derive(Debug, Clone)]
pub struct Own {
    attester: Arc<dyn Attester>,
    verifier: Verifier,
}

/// This KMS cannot prove what it is.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// The TEE.
    #[error(transparent)]
    Attester(#[from] bylaw_attester::AttesterError),
    /// Its evidence does not hold under the anchors that this KMS trusts.
    #[error("this KMS's own evidence does not hold under the anchors it trusts: {0}")]
    Appraisal(#[from] bylaw_attest::AppraisalError),
    /// A certificate.
    #[error(transparent)]
    Certificate(#[from] CertError),
}

impl Own {
    /// A KMS in this TEE.
    pub fn new(attester: Arc<dyn Attester>, verifier: Verifier) -> Self {
        Self { attester, verifier }
    }

    /// The TEE.
    pub fn attester(&self) -> &Arc<dyn Attester> {
        &self.attester
    }

    /// The verifier it applies to itself and others.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Evidence for `report_data`, checked before anybody else sees it.
    ///
    /// # Errors
    /// [`OwnError`].
    pub async fn attest(
        &self,
        report_data: &ReportData,
    ) -> Result<(Attestation, Appraisal), OwnError> {
        let evidence = self.attester.attest(report_data).await?;
        let appraisal = self
            .verifier
            .appraise(&evidence, Expect::ReportData(report_data))
            .await?;
        Ok((evidence, appraisal))
    }

    /// A certificate for `key` with evidence for it, signed by `issuer`.
    ///
    /// # Errors
    /// [`OwnError`].
    pub async fn certify(
        &self,
        issuer: &Issuer,
        key: &P256Key,
        mut spec: CertSpec,
        now: u64,
    ) -> Result<Cert, OwnError> {
        let spki = key.spki_der();
        let (evidence, _) = self.attest(&report_data::ratls(&spki)).await?;
        spec.attestation = Some(evidence);
        spec.trust_anchors = Some(*self.verifier.anchors().digest());
        Ok(issuer.issue(&spec, &spki, now)?)
    }
}

/// The certificates of a running KMS.
#[derive(Debug)]
pub struct Certificates {
    /// Signs app CAs and this node's TLS certificate.
    pub root: Issuer,
    /// Signs first-contact client certificates; its key is public by design.
    pub temp: Issuer,
    /// This node's TLS certificate.
    pub rpc: Cert,
}

impl Certificates {
    /// Issues all of them from the roots; the same keys every time.
    ///
    /// # Errors
    /// [`OwnError`].
    pub async fn issue(roots: &Roots, own: &Own, now: u64) -> Result<Self, OwnError> {
        let anchors = *roots.public.anchors.digest();
        let ca = |name: &str, path_len: u8| CertSpec {
            subject: name.to_owned(),
            organization: Some("Dstack".to_owned()),
            ca_path_len: Some(path_len),
            trust_anchors: Some(anchors),
            ..CertSpec::default()
        };
        let root = Issuer::self_signed(&ca("Dstack KMS CA", 1), roots.keys.ca(), now)?;
        let temp = Issuer::self_signed(&ca("Dstack Client Temp CA", 0), &roots.temp_ca, now)?;
        let domain = &roots.public.domain;
        let leaf = CertSpec {
            subject: domain.clone(),
            alt_names: vec![domain.clone()],
            server_auth: true,
            usage: Some(USAGE_KMS),
            ..CertSpec::default()
        };
        let rpc = own.certify(&root, &roots.rpc, leaf, now).await?;
        Ok(Self { root, temp, rpc })
    }
}

/// How a KMS identifies itself to the contract: everything it has measured.
pub const OWN_MODE: Mode = Mode::Full;
