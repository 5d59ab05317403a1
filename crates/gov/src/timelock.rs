//! OpenZeppelin's `TimelockController`: schedule, wait, carry out.

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::sol_types::{SolCall, SolValue};

use crate::abi::Timelock;

/// One call through a timelock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) target: Address,
    pub(crate) data: Bytes,
    /// Tells it from the same call scheduled another time.
    pub(crate) salt: B256,
}

impl Operation {
    /// Its id in the timelock.
    pub(crate) fn id(&self) -> B256 {
        let (target, data, salt) = (self.target, self.data.clone(), self.salt);
        keccak256((target, U256::ZERO, data, B256::ZERO, salt).abi_encode_params())
    }

    pub(crate) fn schedule(&self, delay: u64) -> Bytes {
        let call = Timelock::scheduleCall {
            target: self.target,
            value: U256::ZERO,
            data: self.data.clone(),
            predecessor: B256::ZERO,
            salt: self.salt,
            delay: U256::from(delay),
        };
        call.abi_encode().into()
    }

    pub(crate) fn execute(&self) -> Bytes {
        let call = Timelock::executeCall {
            target: self.target,
            value: U256::ZERO,
            payload: self.data.clone(),
            predecessor: B256::ZERO,
            salt: self.salt,
        };
        call.abi_encode().into()
    }
}
