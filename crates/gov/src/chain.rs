//! One endpoint of a chain, asked at one block at a time.

use std::time::Duration;

use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, Bytes};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::{Filter, Log, TransactionRequest};
use alloy::sol_types::SolCall;
use alloy::transports::{RpcError, TransportErrorKind};
use bylaw_chain::redact;

/// Why something could not be read or done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GovError {
    /// The endpoint cannot be used or does not answer.
    #[error("RPC endpoint {url}: {reason}")]
    Endpoint {
        /// Scheme and host; paths and queries often hold keys.
        url: String,
        /// Why.
        reason: String,
    },
    /// The endpoint serves another chain.
    #[error("RPC endpoint {url} serves chain {actual}, not {expected}")]
    WrongChain {
        /// Scheme and host.
        url: String,
        /// Wanted.
        expected: u64,
        /// Served.
        actual: u64,
    },
    /// A contract reverted, or is no such contract.
    #[error("{what} at {address}: {reason}")]
    Contract {
        /// Which call.
        what: &'static str,
        /// Whom.
        address: Address,
        /// What it said.
        reason: String,
    },
}

/// An endpoint, with the block that reads are made at.
#[derive(Debug, Clone)]
pub struct Chain {
    url: String,
    provider: DynProvider,
    chain_id: u64,
}

/// The block that a set of answers belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct At {
    /// Height.
    pub number: u64,
    /// Unix seconds.
    pub timestamp: u64,
}

impl Chain {
    /// The chain at `url`, by a client that already knows how to speak TLS.
    ///
    /// # Errors
    /// [`GovError::Endpoint`] and [`GovError::WrongChain`].
    pub async fn connect(
        url: &str,
        client: reqwest::Client,
        chain_id: u64,
    ) -> Result<Self, GovError> {
        let shown = redact(url);
        let failed = |reason: String| GovError::Endpoint {
            url: shown.clone(),
            reason,
        };
        let parsed = url.parse().map_err(|_| failed("not a URL".to_owned()))?;
        let provider = ProviderBuilder::new()
            .connect_reqwest(client, parsed)
            .erased();
        let chain = Self {
            url: shown,
            provider,
            chain_id,
        };
        let actual = chain.limit(chain.provider.get_chain_id()).await?;
        if actual != chain_id {
            return Err(GovError::WrongChain {
                url: chain.url,
                expected: chain_id,
                actual,
            });
        }
        Ok(chain)
    }

    /// EIP-155 id.
    pub fn id(&self) -> u64 {
        self.chain_id
    }

    pub(crate) fn provider(&self) -> &DynProvider {
        &self.provider
    }

    /// The newest block.
    ///
    /// # Errors
    /// [`GovError::Endpoint`].
    pub async fn latest(&self) -> Result<At, GovError> {
        self.block(BlockNumberOrTag::Latest).await
    }

    /// The newest final block.
    ///
    /// # Errors
    /// [`GovError::Endpoint`].
    pub async fn finalized(&self) -> Result<At, GovError> {
        self.block(BlockNumberOrTag::Finalized).await
    }

    pub(crate) async fn block(&self, tag: BlockNumberOrTag) -> Result<At, GovError> {
        let block = self
            .limit(async { self.provider.get_block_by_number(tag).await })
            .await?
            .ok_or_else(|| self.endpoint_failed(format!("it has no block {tag}")))?;
        Ok(At {
            number: block.header.inner.number,
            timestamp: block.header.inner.timestamp,
        })
    }

    /// A view; `None` when the contract does not have it.
    ///
    /// # Errors
    /// [`GovError::Endpoint`].
    pub async fn ask<C: SolCall>(
        &self,
        at: At,
        to: Address,
        call: C,
    ) -> Result<Option<C::Return>, GovError> {
        let request = TransactionRequest::default()
            .with_to(to)
            .with_input(call.abi_encode());
        let asked = async {
            self.provider
                .call(request)
                .block(BlockId::number(at.number))
                .await
        };
        match self.timed(asked).await? {
            Ok(data) => Ok(C::abi_decode_returns(&data).ok()),
            Err(RpcError::ErrorResp(error))
                if error.code == 3 || error.message.contains("revert") =>
            {
                Ok(None)
            }
            Err(error) => Err(self.rpc_failed(error)),
        }
    }

    /// What would come of a call by `from`, were it made now: `Err` holds the contract's
    /// refusal, in words.
    ///
    /// # Errors
    /// [`GovError::Endpoint`].
    pub async fn rehearse(
        &self,
        at: At,
        from: Address,
        to: Address,
        data: Bytes,
    ) -> Result<Result<(), String>, GovError> {
        let request = TransactionRequest::default()
            .with_from(from)
            .with_to(to)
            .with_input(data);
        let asked = async {
            self.provider
                .call(request)
                .block(BlockId::number(at.number))
                .await
        };
        match self.timed(asked).await? {
            Ok(_) => Ok(Ok(())),
            Err(RpcError::ErrorResp(error)) => {
                let data = error.as_revert_data();
                let said = data.map(|data| crate::text::refusal(&data));
                Ok(Err(said.unwrap_or_else(|| error.message.to_string())))
            }
            Err(error) => Err(self.rpc_failed(error)),
        }
    }

    /// Fails where there is no contract.
    ///
    /// # Errors
    /// [`GovError::Contract`].
    pub async fn check_contract(&self, address: Address) -> Result<(), GovError> {
        let at = self.latest().await?;
        if self.code(at, address).await?.is_empty() {
            return Err(GovError::Contract {
                what: "no contract",
                address,
                reason: "there is no code on this chain".to_owned(),
            });
        }
        Ok(())
    }

    /// A view that must be there.
    ///
    /// # Errors
    /// [`GovError::Contract`] when it is not.
    pub(crate) async fn need<C: SolCall>(
        &self,
        at: At,
        to: Address,
        what: &'static str,
        call: C,
    ) -> Result<C::Return, GovError> {
        self.ask(at, to, call).await?.ok_or(GovError::Contract {
            what,
            address: to,
            reason: "no such view; is this the right contract?".to_owned(),
        })
    }

    pub(crate) async fn code(&self, at: At, address: Address) -> Result<Bytes, GovError> {
        let asked = async {
            self.provider
                .get_code_at(address)
                .block_id(BlockId::number(at.number))
                .await
        };
        self.limit(asked).await
    }

    /// Logs of `address` between two blocks, both included; split when the endpoint
    /// finds the range too long.
    pub(crate) async fn logs(
        &self,
        address: Address,
        from: u64,
        to: u64,
    ) -> Result<Vec<Log>, GovError> {
        let mut logs = Vec::new();
        let mut start = from;
        let mut step = 10_000;
        while start <= to {
            let end = to.min(start + step - 1);
            let filter = Filter::new()
                .address(address)
                .from_block(start)
                .to_block(end);
            match self.timed(self.provider.get_logs(&filter)).await? {
                Ok(found) => {
                    logs.extend(found);
                    start = end + 1;
                }
                Err(RpcError::ErrorResp(_)) if step > 1 => step /= 2,
                Err(error) => return Err(self.rpc_failed(error)),
            }
        }
        Ok(logs)
    }

    pub(crate) async fn timestamp(&self, number: u64) -> Result<u64, GovError> {
        Ok(self.block(number.into()).await?.timestamp)
    }

    async fn timed<T>(
        &self,
        request: impl IntoFuture<Output = Result<T, RpcError<TransportErrorKind>>>,
    ) -> Result<Result<T, RpcError<TransportErrorKind>>, GovError> {
        const LIMIT: Duration = Duration::from_secs(20);
        tokio::time::timeout(LIMIT, request.into_future())
            .await
            .map_err(|_| self.endpoint_failed(format!("no answer within {LIMIT:?}")))
    }

    async fn limit<T>(
        &self,
        request: impl IntoFuture<Output = Result<T, RpcError<TransportErrorKind>>>,
    ) -> Result<T, GovError> {
        self.timed(request)
            .await?
            .map_err(|error| self.rpc_failed(error))
    }

    fn rpc_failed(&self, error: RpcError<TransportErrorKind>) -> GovError {
        let reason = match error {
            RpcError::Transport(TransportErrorKind::Custom(source)) => {
                match source.downcast::<reqwest::Error>() {
                    // Its text would hold the whole URL.
                    Ok(error) => error.without_url().to_string(),
                    Err(other) => other.to_string(),
                }
            }
            other => other.to_string(),
        };
        self.endpoint_failed(reason)
    }

    fn endpoint_failed(&self, reason: String) -> GovError {
        GovError::Endpoint {
            url: self.url.clone(),
            reason,
        }
    }
}
