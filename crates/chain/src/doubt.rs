//! Reasons not to know.

use bylaw_types::{ChainId, ContractAddress};

/// Why nobody can say whether the contract allows something. Doubt denies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// An endpoint cannot be used as configured.
    #[error("RPC endpoint {url}: {reason}")]
    Configuration {
        /// Which.
        url: String,
        /// Why.
        reason: String,
    },
    /// An endpoint does not answer, or answers an error.
    #[error("RPC endpoint {url} does not answer: {reason}")]
    Unreachable {
        /// Which.
        url: String,
        /// Why.
        reason: String,
    },
    /// An endpoint takes too long.
    #[error("RPC endpoint {url} did not answer within {seconds} s")]
    Timeout {
        /// Which.
        url: String,
        /// The limit.
        seconds: u64,
    },
    /// Another chain.
    #[error("RPC endpoint {url} serves chain {actual}, not {expected}")]
    WrongChainId {
        /// Which.
        url: String,
        /// Configured.
        expected: ChainId,
        /// Reported.
        actual: ChainId,
    },
    /// The block is too old to decide on.
    #[error("block {number} is {age} s old; the limit is {max} s")]
    HeadTooOld {
        /// Its height.
        number: u64,
        /// Seconds.
        age: u64,
        /// Seconds.
        max: u64,
    },
    /// The block is from the future.
    #[error("block {number} is dated {ahead} s ahead of this clock")]
    HeadInFuture {
        /// Its height.
        number: u64,
        /// Seconds.
        ahead: u64,
    },
    /// Endpoints disagree on a final block or on what the contract says at it.
    #[error("RPC endpoints disagree on {what}: {agreeing} agree, {needed} are needed")]
    Disagreement {
        /// On what.
        what: String,
        /// Most that agree.
        agreeing: usize,
        /// As configured.
        needed: usize,
    },
    /// Too few endpoints answer; the first reason is given.
    #[error("{answering} of {needed} needed RPC endpoints answer; {first}")]
    TooFew {
        /// How many answer.
        answering: usize,
        /// As configured.
        needed: usize,
        /// Why the first that does not answer does not.
        first: Box<Doubt>,
    },
    /// An answer that is not what it must be, such as a header with another hash.
    #[error("RPC endpoint {url} answered something impossible: {reason}")]
    MalformedAnswer {
        /// Which.
        url: String,
        /// What.
        reason: String,
    },
    /// There is no such contract at that block.
    #[error("no contract answers at 0x{0}")]
    NoContract(ContractAddress),
    /// The contract reverted.
    #[error("the contract reverted: {0}")]
    Reverted(String),
}
