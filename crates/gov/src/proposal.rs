//! One call that waits for those who decide, as a file.

use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address, B256, Bytes, keccak256};
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolEvent;
use bylaw_types::{AppCompose, ComposeHash};
use serde::{Deserialize, Serialize};

use crate::abi::{Safe, Timelock};
use crate::chain::At;
use crate::safe::{SafeHashes, SafeTransaction};
use crate::timelock::Operation;
use crate::{Authority, Chain, GovError, text};

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
    /// Tells it from the same call at another time; used by timelocks.
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

/// One signer's agreement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Who.
    pub signer: Address,
    /// 65 bytes: r, s, v.
    pub signature: Bytes,
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

/// How carrying out went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Executed {
    /// The call was made.
    Done(B256),
    /// A timelock has it now and lets it through at this time, Unix seconds.
    Scheduled(B256, u64),
}

impl Proposal {
    /// A proposal for whoever decides.
    pub fn new(chain_id: u64, target: Address, data: Bytes, authority: Authority) -> Self {
        let nonce = match &authority {
            Authority::Safe { nonce, .. } => *nonce,
            _ => 0,
        };
        let salt = keccak256([&data[..], &nonce.to_be_bytes()].concat());
        Self {
            version: 1,
            chain_id,
            target,
            data,
            authority,
            salt,
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
        let mentioned = self
            .data
            .windows(ComposeHash::LEN)
            .any(|window| window == hash.as_bytes());
        if is_next && !mentioned {
            return Err(ProposalError::ForeignCompose { actual: hash });
        }
        Ok(())
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

    /// Carries it out, as far as is possible now. `sender` pays; where one key decides,
    /// it must be that key.
    ///
    /// # Errors
    /// [`ProposalError`].
    pub async fn execute(
        &self,
        chain: &Chain,
        sender: PrivateKeySigner,
    ) -> Result<Executed, ProposalError> {
        self.title()?;
        let at = chain.latest().await?;
        // The file may be old: who decides, and how far they are, is asked again.
        let authority = chain.authority(at, self.authority.address()).await?;
        match &authority {
            Authority::Account { address } if *address == sender.address() => {
                let receipt = chain.send(sender, self.target, self.data.clone()).await?;
                Ok(Executed::Done(receipt.transaction_hash))
            }
            Authority::Account { .. } | Authority::Nobody => Err(ProposalError::NotYours {
                authority: authority.describe(),
                signer: sender.address(),
            }),
            Authority::Safe {
                threshold,
                owners,
                nonce,
                ..
            } => {
                let safe = self.safe().ok_or_else(|| {
                    ProposalError::Malformed("it was not made for a Safe".to_owned())
                })?;
                check_nonce(safe.nonce, *nonce)?;
                let agreed: Vec<Signature> = self
                    .signatures
                    .iter()
                    .filter(|signature| owners.contains(&signature.signer))
                    .cloned()
                    .collect();
                if (agreed.len() as u64) < *threshold {
                    return Err(ProposalError::TooFew {
                        have: agreed.len(),
                        need: *threshold,
                        missing: self.missing(),
                    });
                }
                let call = safe.execution(&agreed);
                let receipt = chain.send(sender, safe.safe, call).await?;
                let failed = receipt
                    .logs()
                    .iter()
                    .any(|log| Safe::ExecutionFailure::decode_log(&log.inner).is_ok());
                if failed {
                    return Err(ProposalError::Failed(
                        "the Safe made the call and the contract refused it".to_owned(),
                    ));
                }
                Ok(Executed::Done(receipt.transaction_hash))
            }
            Authority::Timelock { address, min_delay } => {
                self.through_timelock(chain, at, *address, *min_delay, sender)
                    .await
            }
            Authority::Contract { address } => Err(ProposalError::UnknownAuthority(
                *address,
                self.data.clone(),
                self.target,
            )),
        }
    }

    async fn through_timelock(
        &self,
        chain: &Chain,
        at: At,
        timelock: Address,
        min_delay: u64,
        sender: PrivateKeySigner,
    ) -> Result<Executed, ProposalError> {
        let operation = Operation {
            target: self.target,
            data: self.data.clone(),
            salt: self.salt,
        };
        let id = operation.id();
        let done = Timelock::isOperationDoneCall { id };
        if chain.need(at, timelock, "isOperationDone", done).await? {
            return Err(ProposalError::Done);
        }
        let asked = Timelock::getTimestampCall { id };
        let due = chain.need(at, timelock, "getTimestamp", asked).await?;
        let due: u64 = due.saturating_to();
        if due == 0 {
            let call = operation.schedule(min_delay);
            let receipt = chain.send(sender, timelock, call).await?;
            let mined = chain
                .block(receipt.block_number.unwrap_or(at.number).into())
                .await?;
            return Ok(Executed::Scheduled(
                receipt.transaction_hash,
                mined.timestamp + min_delay,
            ));
        }
        if due > at.timestamp {
            return Err(ProposalError::Waiting(text::time(due)));
        }
        let receipt = chain.send(sender, timelock, operation.execute()).await?;
        Ok(Executed::Done(receipt.transaction_hash))
    }
}

fn check_nonce(expected: u64, actual: u64) -> Result<(), ProposalError> {
    let hint = match expected.cmp(&actual) {
        std::cmp::Ordering::Equal => return Ok(()),
        std::cmp::Ordering::Less => {
            "it was executed, or another was in its place; propose it again"
        }
        std::cmp::Ordering::Greater => "execute the earlier ones first",
    };
    Err(ProposalError::Nonce {
        expected,
        actual,
        hint,
    })
}

impl Chain {
    /// Sends a call and waits until it is mined.
    ///
    /// # Errors
    /// [`ProposalError::Failed`] with the contract's reason.
    pub async fn send(
        &self,
        sender: PrivateKeySigner,
        to: Address,
        data: Bytes,
    ) -> Result<TransactionReceipt, ProposalError> {
        let failed = |error: &dyn std::fmt::Display| ProposalError::Failed(error.to_string());
        // Asked first, because a refusal is said in words there.
        let at = self.latest().await?;
        let rehearsed = self
            .rehearse(at, sender.address(), to, data.clone())
            .await?;
        rehearsed.map_err(ProposalError::Failed)?;
        let provider = ProviderBuilder::new()
            .wallet(EthereumWallet::from(sender))
            .connect_provider(self.provider().clone());
        let transaction = TransactionRequest::default().with_to(to).with_input(data);
        let pending = provider
            .send_transaction(transaction)
            .await
            .map_err(|error| failed(&error))?;
        let receipt = pending
            .with_timeout(Some(std::time::Duration::from_secs(300)))
            .get_receipt()
            .await
            .map_err(|error| failed(&error))?;
        if !receipt.status() {
            return Err(ProposalError::Failed(format!(
                "{} was reverted",
                receipt.transaction_hash
            )));
        }
        Ok(receipt)
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::address;
    use alloy::sol_types::SolCall;
    use proptest::prelude::*;

    use super::*;
    use crate::abi::Calls;

    fn key(number: u8) -> PrivateKeySigner {
        let mut secret = [0; 32];
        secret[31] = number;
        PrivateKeySigner::from_bytes(&secret.into()).unwrap()
    }

    fn safe(owners: &[u8], threshold: u64) -> Authority {
        Authority::Safe {
            address: address!("5afe5afe5afe5afe5afe5afe5afe5afe5afe5afe"),
            threshold,
            owners: owners.iter().map(|number| key(*number).address()).collect(),
            nonce: 7,
            version: "1.5.0".to_owned(),
        }
    }

    fn proposal() -> Proposal {
        let call = Calls::retireCall {
            composeHash: B256::repeat_byte(9),
        };
        let target = address!("a99a99a99a99a99a99a99a99a99a99a99a99a99a");
        Proposal::new(31337, target, call.abi_encode().into(), safe(&[1, 2, 3], 2))
    }

    fn read(proposal: &Proposal) -> Result<Proposal, ProposalError> {
        Proposal::parse(&proposal.to_json())
    }

    #[test]
    fn owners_sign_and_the_file_stays_readable() {
        let mut signed = proposal();
        for number in [3, 1, 3] {
            signed.sign(&key(number)).unwrap();
        }
        assert_eq!(signed.signatures.len(), 2, "one a signer");
        assert!(signed.signatures.is_sorted_by_key(|one| one.signer));
        assert_eq!(signed.missing(), [key(2).address()]);
        assert_eq!(read(&signed), Ok(signed.clone()));
        let error = signed.sign(&key(4)).unwrap_err();
        assert!(matches!(error, ProposalError::NotAnOwner { .. }), "{error}");
    }

    /// A signature belongs to one call of one Safe on one chain at one place in its order.
    #[test]
    fn a_signature_is_for_exactly_this() {
        let mut signed = proposal();
        signed.sign(&key(1)).unwrap();
        let other_call = Calls::pauseCall {}.abi_encode();
        let other_safe = match safe(&[1, 2, 3], 2) {
            Authority::Safe {
                threshold,
                owners,
                nonce,
                version,
                ..
            } => Authority::Safe {
                address: signed.target,
                threshold,
                owners,
                nonce,
                version,
            },
            _ => unreachable!("it is a Safe"),
        };
        let other_nonce = match safe(&[1, 2, 3], 2) {
            Authority::Safe {
                address,
                threshold,
                owners,
                version,
                ..
            } => Authority::Safe {
                address,
                threshold,
                owners,
                nonce: 8,
                version,
            },
            _ => unreachable!("it is a Safe"),
        };
        let base = signed.clone();
        for changed in [
            Proposal {
                chain_id: 1,
                ..base.clone()
            },
            Proposal {
                target: Address::ZERO,
                ..base.clone()
            },
            Proposal {
                data: other_call.into(),
                ..base.clone()
            },
            Proposal {
                authority: other_safe,
                ..base.clone()
            },
            Proposal {
                authority: other_nonce,
                ..base.clone()
            },
        ] {
            let error = read(&changed).unwrap_err();
            assert_eq!(error, ProposalError::BadSignature(key(1).address()));
        }
        // Somebody else's name on it, a byte of it, or its form.
        let mut renamed = base.clone();
        renamed.signatures[0].signer = key(2).address();
        assert_eq!(
            read(&renamed),
            Err(ProposalError::BadSignature(key(2).address()))
        );
        for (position, mask) in [(0, 1), (40, 1), (64, 27 ^ 31), (64, 27)] {
            let mut broken = base.clone();
            let mut bytes = broken.signatures[0].signature.to_vec();
            bytes[position] ^= mask;
            broken.signatures[0].signature = bytes.into();
            assert!(read(&broken).is_err(), "byte {position}");
        }
        let mut short = base.clone();
        short.signatures[0].signature = Bytes::from_static(&[1; 64]);
        assert!(read(&short).is_err());
        let removed = Proposal {
            authority: safe(&[2, 3], 2),
            ..base
        };
        assert!(matches!(
            read(&removed),
            Err(ProposalError::NotAnOwner { .. })
        ));
    }

    #[test]
    fn what_cannot_be_read_is_not_signed() {
        let mut unknown = proposal();
        unknown.data = Bytes::from_static(&[1, 2, 3, 4]);
        let error = unknown.sign(&key(1)).unwrap_err();
        assert!(matches!(error, ProposalError::Unreadable(_)), "{error}");
    }

    #[test]
    fn a_file_shows_only_manifests_that_the_call_is_about() {
        let manifest = r#"{"manifest_version":2,"name":"a","runner":"docker-compose"}"#;
        let hash = AppCompose::parse(manifest.as_bytes()).unwrap().hash();
        let call = Calls::addComposeHashCall {
            composeHash: hash.to_bytes().into(),
        };
        let mut right = proposal();
        right.data = call.abi_encode().into();
        right.next_compose = Some(manifest.to_owned());
        assert!(read(&right).is_ok());
        let mut wrong = right.clone();
        wrong.next_compose = Some(manifest.replace("\"a\"", "\"b\""));
        assert!(matches!(
            read(&wrong),
            Err(ProposalError::ForeignCompose { .. })
        ));
        wrong.next_compose = Some("{}".to_owned());
        assert!(matches!(read(&wrong), Err(ProposalError::Malformed(_))));
    }

    #[test]
    fn a_file_is_refused_as_a_whole() {
        let json = String::from_utf8(proposal().to_json()).unwrap();
        for (from, to) in [
            ("\"version\": 1,", "\"version\": 2,"),
            ("\"chain_id\"", "\"chainid\""),
            ("\"chain_id\": 31337,", ""),
            ("{\n", "{\n \"more\": 1,"),
            ("\"kind\": \"safe\"", "\"kind\": \"vault\""),
        ] {
            let text = json.replacen(from, to, 1);
            assert_ne!(text, json, "{from}");
            let error = Proposal::parse(text.as_bytes()).unwrap_err();
            assert!(
                matches!(error, ProposalError::Malformed(_)),
                "{from}: {error}"
            );
        }
        assert!(Proposal::parse(b"").is_err());
        assert!(Proposal::parse(&json.as_bytes()[..json.len() / 2]).is_err());
    }

    proptest! {
        #[test]
        fn any_proposal_survives_its_file(
            data in proptest::collection::vec(any::<u8>(), 0..300),
            chain_id: u64,
            target: [u8; 20],
            nonce: u64,
            signers in proptest::collection::vec(1u8..5, 0..4),
        ) {
            let authority = match safe(&[1, 2, 3, 4], 2) {
                Authority::Safe { address, threshold, owners, version, .. } =>
                    Authority::Safe { address, threshold, owners, nonce, version },
                other => other,
            };
            let mut any = Proposal::new(chain_id, target.into(), data.into(), authority);
            for number in signers {
                // A call that cannot be read is not signed; the rest of the file still holds.
                let _ = any.sign(&key(number));
            }
            prop_assert_eq!(read(&any), Ok(any));
        }
    }
}
