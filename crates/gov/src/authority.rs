//! Who decides for a contract.

use alloy::primitives::Address;
use serde::{Deserialize, Serialize};

use crate::abi::{Safe, Timelock};
use crate::chain::At;
use crate::{Chain, GovError};

/// Whoever may change a contract, and how they agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Authority {
    /// Nobody: the zero address.
    Nobody,
    /// One key.
    Account {
        /// Its address.
        address: Address,
    },
    /// A Safe.
    Safe {
        /// Its address.
        address: Address,
        /// How many of the owners must sign.
        threshold: u64,
        /// Who may sign.
        owners: Vec<Address>,
        /// Its next transaction.
        nonce: u64,
        /// What it says it is.
        version: String,
    },
    /// An OpenZeppelin `TimelockController`.
    Timelock {
        /// Its address.
        address: Address,
        /// Seconds between scheduling and carrying out.
        min_delay: u64,
    },
    /// Some other contract.
    Contract {
        /// Its address.
        address: Address,
    },
}

impl Authority {
    /// Its address; zero for nobody.
    pub fn address(&self) -> Address {
        match self {
            Self::Nobody => Address::ZERO,
            Self::Account { address }
            | Self::Safe { address, .. }
            | Self::Timelock { address, .. }
            | Self::Contract { address } => *address,
        }
    }

    /// In a few words.
    pub fn describe(&self) -> String {
        match self {
            Self::Nobody => "nobody".to_owned(),
            Self::Account { address } => format!("{address} (one key)"),
            Self::Safe {
                address,
                threshold,
                owners,
                ..
            } => format!("{address} (Safe, {threshold} of {})", owners.len()),
            Self::Timelock { address, min_delay } => format!(
                "{address} (timelock, {})",
                crate::text::duration(*min_delay)
            ),
            Self::Contract { address } => format!("{address} (a contract)"),
        }
    }
}

impl Chain {
    /// What kind of authority lives at an address.
    ///
    /// # Errors
    /// [`GovError::Endpoint`].
    pub async fn authority(&self, at: At, address: Address) -> Result<Authority, GovError> {
        if address.is_zero() {
            return Ok(Authority::Nobody);
        }
        let code = self.code(at, address).await?;
        // EIP-7702: an account that delegates is still moved by its one key.
        if code.is_empty() || code.starts_with(&[0xef, 0x01, 0x00]) {
            return Ok(Authority::Account { address });
        }
        let owners = self.ask(at, address, Safe::getOwnersCall {}).await?;
        let threshold = self.ask(at, address, Safe::getThresholdCall {}).await?;
        let nonce = self.ask(at, address, Safe::nonceCall {}).await?;
        if let (Some(owners), Some(threshold), Some(nonce)) = (owners, threshold, nonce) {
            let version = self.ask(at, address, Safe::VERSIONCall {}).await?;
            return Ok(Authority::Safe {
                address,
                threshold: threshold.saturating_to(),
                owners,
                nonce: nonce.saturating_to(),
                version: version.unwrap_or_default(),
            });
        }
        let min_delay = self.ask(at, address, Timelock::getMinDelayCall {}).await?;
        Ok(match min_delay {
            Some(delay) => Authority::Timelock {
                address,
                min_delay: delay.saturating_to(),
            },
            None => Authority::Contract { address },
        })
    }
}
