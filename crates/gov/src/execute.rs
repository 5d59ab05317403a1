//! Carrying out: by one key, through a Safe, through a timelock.

use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address, B256, Bytes};
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolEvent;

use crate::abi::{Safe, Timelock};
use crate::chain::At;
use crate::safe::Signature;
use crate::timelock::Operation;
use crate::{Authority, Chain, Proposal, ProposalError, text};

/// How carrying out went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Executed {
    /// The call was made.
    Done(B256),
    /// A timelock has it now and lets it through at this time, Unix seconds.
    Scheduled(B256, u64),
}

impl Proposal {
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
                mined.timestamp.saturating_add(min_delay),
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
