//! The release path: from evidence to keys.
//!
//! ```text
//! Evidence -> Appraisal -> Identified -> Decision -> Grant -> Held -> keys
//!         appraise    identify      decide      decide   derive   record, release
//! ```
//!
//! Each step is one call, and its result is the only way into the next: an
//! `Identified` is only made from an appraisal, a [`Grant`] only from the
//! chain's permission for exactly that identity, keys only come out of a grant,
//! and they stay inside `Held` until the release log has them on disk.

use std::sync::Arc;

use bylaw_attest::{Appraisal, AppraisalError, Attestation, Expect, IdentifyError, Mode, Verifier};
use bylaw_chain::{Allowance, Decision, Denial, Doubt};
use bylaw_types::{BootInfo, PlatformFacts};

use crate::kms::Kms;
use crate::log::{DecidedAt, Entry, Kind, LogError};

/// Why nothing was released.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The request carried no evidence.
    #[error("No attestation provided")]
    NoEvidence,
    /// The evidence does not hold.
    #[error("evidence not verified: {0}")]
    Evidence(#[from] AppraisalError),
    /// This KMS is not set to release anything to such a platform.
    #[error(
        "{platform} key release is not enabled: this KMS has {setting} = false in its settings"
    )]
    NotEnabled {
        /// As people call it.
        platform: &'static str,
        /// What would have to be true.
        setting: &'static str,
    },
    /// The evidence holds but does not establish an identity.
    #[error("identity not established: {0}")]
    Identity(#[from] IdentifyError),
    /// The contract said no.
    #[error("{0}")]
    Denied(Box<Denial>),
    /// Nobody could say for certain that the contract said yes.
    #[error("policy could not be read, so nothing is released: {0}")]
    Doubt(#[from] Doubt),
    /// The release could not be recorded.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The derivation failed or its task stopped.
    #[error("the release was interrupted: {0}")]
    Interrupted(String),
}

/// Whom the contract is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// An app; `KmsAuth.isAppAllowed`.
    App,
    /// Another KMS, or this one; `KmsAuth.isKmsAllowed`.
    Kms,
}

/// What asks for a release: evidence, the key it must be bound to, and the
/// VM's own description of itself.
#[derive(Debug)]
pub struct Request {
    /// As the attester produced it.
    pub evidence: Attestation,
    /// DER SubjectPublicKeyInfo of the key that the answer goes to.
    pub bound_to: Vec<u8>,
    /// JSON; `None` reads it from the evidence.
    pub vm_config: Option<String>,
    /// How much of the event log counts.
    pub mode: Mode,
    /// Whom the contract is asked about.
    pub subject: Subject,
    /// What is being released.
    pub kind: Kind,
}

impl Kms {
    /// The whole path. `derive` runs only for a [`Grant`]; what it returns is
    /// handed out only after the release is on disk.
    ///
    /// # Errors
    /// [`Refusal`] names the step that said no. Nothing has left then.
    pub async fn release<T: Send + 'static>(
        self: &Arc<Self>,
        request: Request,
        derive: impl FnOnce(&Kms, &Grant) -> Result<T, String> + Send + 'static,
    ) -> Result<T, Refusal> {
        let appraisal = self.appraise(&request).await?;
        let identified = self.identify(&appraisal, &request).await?;
        let grant = self.decide(identified, request.subject).await?;

        // The server drops this future when the client hangs up; the task goes on, so a
        // release is either recorded and answered, or neither.
        let kms = Arc::clone(self);
        tokio::spawn(async move {
            let held = grant.derive(&kms, derive)?;
            kms.record(held, request.kind).await
        })
        .await
        .map_err(|error| Refusal::Interrupted(error.to_string()))?
    }

    async fn appraise(&self, request: &Request) -> Result<Appraisal, Refusal> {
        let expected = Expect::RaTlsKey(&request.bound_to);
        let appraisal = self.verifier.appraise(&request.evidence, expected).await?;
        self.check_enabled(appraisal.tee_variant())?;
        Ok(appraisal)
    }

    async fn identify(
        &self,
        appraisal: &Appraisal,
        request: &Request,
    ) -> Result<Identified, Refusal> {
        identify_as(
            &self.verifier,
            appraisal,
            request.mode,
            request.vm_config.as_deref(),
        )
        .await
    }

    /// Asks the contract about exactly this identity, at one block.
    pub(crate) async fn decide(
        &self,
        identified: Identified,
        subject: Subject,
    ) -> Result<Grant, Refusal> {
        let decision = match subject {
            Subject::App => {
                let Identified { boot_info, facts } = identified;
                self.policy.decide_app(boot_info, facts).await?
            }
            Subject::Kms => self.policy.decide_kms(identified.boot_info).await?,
        };
        match decision {
            Decision::Allow(allowance) => Ok(Grant { allowance }),
            Decision::Deny(denial) => Err(Refusal::Denied(Box::new(denial))),
        }
    }

    /// Puts the release on disk, then lets go of what was held.
    async fn record<T>(&self, held: Held<T>, kind: Kind) -> Result<T, Refusal> {
        let block = held.grant.allowance.block();
        let entry = Entry {
            time: self.clock.now_unix(),
            kind,
            boot_info: held.grant.allowance.boot_info().clone(),
            decided_at: DecidedAt {
                chain_id: self.chain_id,
                kms_auth: self.kms_auth,
                block_number: block.number,
                block_hash: block.hash.to_string(),
            },
        };
        self.log.append(entry).await?;
        Ok(held.value)
    }
}

/// The identity that verified evidence establishes.
#[derive(Debug)]
pub(crate) struct Identified {
    boot_info: BootInfo,
    facts: PlatformFacts,
}

pub(crate) async fn identify_as(
    verifier: &Verifier,
    appraisal: &Appraisal,
    mode: Mode,
    vm_config: Option<&str>,
) -> Result<Identified, Refusal> {
    Ok(Identified {
        boot_info: verifier.identify(appraisal, mode, vm_config).await?,
        facts: appraisal.facts(),
    })
}

/// The contract's permission for one identity at one block. Spent by deriving.
///
/// There is no other way to make one than [`Kms::release`]'s decision:
///
/// ```compile_fail
/// let grant = bylaw_kms::release::Grant { allowance: todo!() };
/// ```
#[derive(Debug)]
pub struct Grant {
    allowance: Allowance,
}

impl Grant {
    /// Who was allowed.
    pub fn boot_info(&self) -> &BootInfo {
        self.allowance.boot_info()
    }

    /// The gateway the contract names.
    pub fn gateway_app_id(&self) -> &str {
        self.allowance.gateway_app_id()
    }

    fn derive<T>(
        self,
        kms: &Kms,
        derive: impl FnOnce(&Kms, &Grant) -> Result<T, String>,
    ) -> Result<Held<T>, Refusal> {
        let value = derive(kms, &self).map_err(Refusal::Interrupted)?;
        Ok(Held { value, grant: self })
    }
}

/// Something derived but not yet recorded, so nobody can have it yet.
struct Held<T> {
    value: T,
    grant: Grant,
}
