//! One call that waits for those who decide, as a file.

use alloy::primitives::{Address, B256, Bytes};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use bylaw_types::{AppCompose, ComposeHash};
use serde::{Deserialize, Serialize};

use crate::safe::{SafeHashes, SafeTransaction, Signature};
use crate::{Authority, GovError, text};

/// A call and those who must agree to it.
///
/// Nothing in it is trusted for being written there: the description is made from
/// [`Proposal::data`], hashes are computed, signatures recovered, manifests hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// Form of the file; 1.
    pub version: u8,
    /// EIP-155 id.
    pub chain_id: u64,
    /// Whom it calls.
    pub target: Address,
    /// With what.
    pub data: Bytes,
    /// Who decides.
    pub authority: Authority,
    /// At random: tells it from the same call at another time; used by timelocks.
    pub salt: B256,
    /// Manifests it is about, whole: what a reviewer compares. The first is the one that
    /// runs now, the second the one to come; either may be missing.
    #[serde(default)]
    pub running_compose: Option<String>,
    /// See `running_compose`.
    #[serde(default)]
    pub next_compose: Option<String>,
    /// Collected so far, in the order of their signers.
    #[serde(default)]
    pub signatures: Vec<Signature>,
}

/// Why a proposal cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposalError {
    /// Not a proposal.
    #[error("not a proposal: {0}")]
    Malformed(String),
    /// A call that this program cannot describe must not be signed by it.
    #[error(
        "the call {0} is none that Bylaw's contracts have; refusing to sign what cannot be read"
    )]
    Unreadable(Bytes),
    /// A manifest in the file is not the one the call is about.
    #[error("the file shows a manifest with hash {actual}, which the call does not mention")]
    ForeignCompose {
        /// Hash of what the file shows.
        actual: ComposeHash,
    },
    /// Only multisigs collect signatures.
    #[error("{0} collects no signatures; use execute")]
    NoSignatures(String),
    /// Not one of the Safe's owners.
    #[error("{signer} is not an owner of the Safe {safe}")]
    NotAnOwner {
        /// Who signed.
        signer: Address,
        /// Whose owners were meant.
        safe: Address,
    },
    /// A signature that its signer did not make for this.
    #[error("the signature of {0} is not for this transaction")]
    BadSignature(Address),
    /// More agreement is needed.
    #[error("{have} of {need} signatures; missing from {missing:?}")]
    TooFew {
        /// Collected.
        have: usize,
        /// Needed.
        need: u64,
        /// Who has not signed.
        missing: Vec<Address>,
    },
    /// The Safe has moved on.
    #[error("the Safe's next transaction is {actual}, this one is {expected}: {hint}")]
    Nonce {
        /// Of the proposal.
        expected: u64,
        /// Of the Safe.
        actual: u64,
        /// What to do.
        hint: &'static str,
    },
    /// Somebody else decides.
    #[error("{authority} decides, and {signer} is not it")]
    NotYours {
        /// Who decides.
        authority: String,
        /// Who tried.
        signer: Address,
    },
    /// A contract that this program does not know how to move.
    #[error("{0} is a contract that is neither Safe nor timelock; send it this call: {1} to {2}")]
    UnknownAuthority(Address, Bytes, Address),
    /// The timelock is still waiting.
    #[error("scheduled; the timelock lets it through at {0}")]
    Waiting(String),
    /// It was carried out before.
    #[error("it was carried out already")]
    Done,
    /// The chain.
    #[error(transparent)]
    Chain(#[from] GovError),
    /// The transaction failed.
    #[error("the transaction failed: {0}")]
    Failed(String),
}

impl Proposal {
    /// A proposal for whoever decides.
    pub fn new(chain_id: u64, target: Address, data: Bytes, authority: Authority) -> Self {
        Self {
            version: 1,
            chain_id,
            target,
            data,
            authority,
            salt: B256::random(),
            running_compose: None,
            next_compose: None,
            signatures: vec![],
        }
    }

    /// Reads a file's bytes and checks everything that needs no chain.
    ///
    /// # Errors
    /// [`ProposalError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ProposalError> {
        let proposal: Self = serde_json::from_slice(bytes)
            .map_err(|error| ProposalError::Malformed(error.to_string()))?;
        if proposal.version != 1 {
            return Err(ProposalError::Malformed(format!(
                "version {} is not 1",
                proposal.version
            )));
        }
        for raw in [&proposal.running_compose, &proposal.next_compose]
            .into_iter()
            .flatten()
        {
            let compose = AppCompose::parse(raw.as_bytes())
                .map_err(|error| ProposalError::Malformed(error.to_string()))?;
            proposal.check_compose(&compose, Some(raw) == proposal.next_compose.as_ref())?;
        }
        for signature in &proposal.signatures {
            proposal.check_signature(signature)?;
        }
        Ok(proposal)
    }

    /// The file's bytes.
    pub fn to_json(&self) -> Vec<u8> {
        // Numbers, texts and lists always serialise.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// The manifest to come must be what the call adds. The running one need not be in
    /// the call: adding a version beside others does not mention them.
    fn check_compose(&self, compose: &AppCompose, is_next: bool) -> Result<(), ProposalError> {
        let hash = compose.hash();
        if is_next && !self.mentions(&hash) {
            return Err(ProposalError::ForeignCompose { actual: hash });
        }
        Ok(())
    }

    /// Hash of the manifest shown as the running one, and whether the call is about it,
    /// as a call that supersedes is. Otherwise only the proposer says that it runs.
    pub fn running(&self) -> Option<(ComposeHash, bool)> {
        let raw = self.running_compose.as_ref()?;
        let hash = AppCompose::parse(raw.as_bytes()).ok()?.hash();
        Some((hash, self.mentions(&hash)))
    }

    fn mentions(&self, hash: &ComposeHash) -> bool {
        self.data
            .windows(ComposeHash::LEN)
            .any(|window| window == hash.as_bytes())
    }

    /// What it does, from the call itself.
    ///
    /// # Errors
    /// [`ProposalError::Unreadable`].
    pub fn title(&self) -> Result<String, ProposalError> {
        text::describe(&self.data).ok_or_else(|| ProposalError::Unreadable(self.data.clone()))
    }

    /// The Safe's transaction, if a Safe decides.
    pub fn safe(&self) -> Option<SafeTransaction> {
        match &self.authority {
            Authority::Safe { address, nonce, .. } => Some(SafeTransaction {
                chain_id: self.chain_id,
                safe: *address,
                to: self.target,
                data: self.data.clone(),
                nonce: *nonce,
            }),
            _ => None,
        }
    }

    /// What the Safe's owners sign.
    pub fn hashes(&self) -> Option<SafeHashes> {
        self.safe().map(|transaction| transaction.hashes())
    }

    /// Owners that have not signed.
    pub fn missing(&self) -> Vec<Address> {
        let Authority::Safe { owners, .. } = &self.authority else {
            return vec![];
        };
        let signed = |owner: &Address| self.signatures.iter().any(|one| one.signer == *owner);
        owners
            .iter()
            .filter(|owner| !signed(owner))
            .copied()
            .collect()
    }

    /// Adds a signature, made without any network.
    ///
    /// # Errors
    /// [`ProposalError`].
    pub fn sign(&mut self, signer: &PrivateKeySigner) -> Result<(), ProposalError> {
        self.title()?;
        let Authority::Safe {
            address, owners, ..
        } = &self.authority
        else {
            return Err(ProposalError::NoSignatures(self.authority.describe()));
        };
        if !owners.contains(&signer.address()) {
            return Err(ProposalError::NotAnOwner {
                signer: signer.address(),
                safe: *address,
            });
        }
        let hash = self
            .hashes()
            .map(|hashes| hashes.transaction)
            .unwrap_or_default();
        let signature = signer
            .sign_hash_sync(&hash)
            .map_err(|error| ProposalError::Malformed(error.to_string()))?;
        self.add(Signature {
            signer: signer.address(),
            signature: signature.as_bytes().to_vec().into(),
        })
    }

    /// Takes over a signature that was made elsewhere.
    ///
    /// # Errors
    /// [`ProposalError`] when it is not one of an owner for exactly this.
    pub fn add(&mut self, signature: Signature) -> Result<(), ProposalError> {
        self.check_signature(&signature)?;
        self.signatures
            .retain(|known| known.signer != signature.signer);
        self.signatures.push(signature);
        self.signatures.sort_by_key(|signature| signature.signer);
        Ok(())
    }

    fn check_signature(&self, signature: &Signature) -> Result<(), ProposalError> {
        let Authority::Safe {
            address, owners, ..
        } = &self.authority
        else {
            return Err(ProposalError::NoSignatures(self.authority.describe()));
        };
        let signer = signature.signer;
        if !owners.contains(&signer) {
            return Err(ProposalError::NotAnOwner {
                signer,
                safe: *address,
            });
        }
        let hash = self
            .hashes()
            .map(|hashes| hashes.transaction)
            .unwrap_or_default();
        let recovered = alloy::primitives::Signature::from_raw(&signature.signature)
            .ok()
            // The Safe takes v = 27 or 28 for such a signature and nothing else.
            .filter(|_| matches!(signature.signature.last(), Some(27 | 28)))
            .and_then(|parsed| parsed.recover_address_from_prehash(&hash).ok());
        if recovered != Some(signer) {
            return Err(ProposalError::BadSignature(signer));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
