//! A KMS with its keys: everything the release path needs.

use std::sync::Arc;

use bylaw_attest::{Appraisal, Verifier};
use bylaw_chain::PolicySource;
use bylaw_types::clock::Clock;
use bylaw_types::{ChainId, ContractAddress, ReportData, TeeVariant};

use crate::identity::{Certificates, OWN_MODE, Own};
use crate::log::ReleaseLog;
use crate::metrics::Metrics;
use crate::release::{Refusal, Subject, identify_as};
use crate::store::Roots;

/// A KMS that can serve.
#[derive(Debug)]
pub struct Kms {
    pub(crate) roots: Roots,
    pub(crate) certificates: Certificates,
    pub(crate) verifier: Verifier,
    pub(crate) policy: Arc<dyn PolicySource>,
    pub(crate) log: ReleaseLog,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) chain_id: ChainId,
    pub(crate) kms_auth: ContractAddress,
    /// SEV-SNP guests get keys too.
    sev_snp_key_release: bool,
    /// What this KMS is; does not change while it runs.
    own: Appraisal,
}

impl Kms {
    /// A KMS from its parts. It serves only what [`Kms::check_self`] allows.
    ///
    /// # Errors
    /// [`crate::identity::OwnError`] when it cannot prove what it is.
    pub async fn new(
        roots: Roots,
        own: Own,
        policy: Arc<dyn PolicySource>,
        log: ReleaseLog,
        clock: Clock,
        sev_snp_key_release: bool,
    ) -> Result<Arc<Self>, crate::identity::OwnError> {
        let certificates = Certificates::issue(&roots, &own, clock.now_unix()).await?;
        let (_, appraisal) = own.attest(&ReportData::new([0; 64])).await?;
        Ok(Arc::new(Self {
            roots,
            certificates,
            verifier: own.verifier().clone(),
            chain_id: policy.chain_id(),
            kms_auth: policy.kms_auth(),
            policy,
            log,
            clock,
            metrics: Metrics::default(),
            sev_snp_key_release,
            own: appraisal,
        }))
    }

    /// Whether this KMS releases anything to this kind of TEE, whatever the contract says.
    ///
    /// # Errors
    /// [`Refusal::NotEnabled`].
    pub(crate) fn check_enabled(&self, tee_variant: TeeVariant) -> Result<(), Refusal> {
        match tee_variant {
            TeeVariant::SevSnp if !self.sev_snp_key_release => Err(Refusal::NotEnabled {
                platform: "amd sev-snp",
                setting: "sev_snp_key_release",
            }),
            _ => Ok(()),
        }
    }

    /// Asks the contract whether this KMS may serve, as of now.
    ///
    /// # Errors
    /// [`Refusal`] with the contract's reason.
    pub async fn check_self(&self) -> Result<(), Refusal> {
        let identified = identify_as(&self.verifier, &self.own, OWN_MODE, None).await?;
        self.decide(identified, Subject::Kms).await.map(|_| ())
    }

    /// DER SubjectPublicKeyInfo of the root CA, hex.
    pub fn ca_public(&self) -> &str {
        &self.roots.public.ca_public
    }
}
