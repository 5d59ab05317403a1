//! One block, agreed on by k of n endpoints, and calls at it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::network::Ethereum;
use alloy::primitives::{Address, B256, Bytes};
use alloy::providers::{Provider, RootProvider};
use alloy::rpc::client::RpcClient;
use alloy::rpc::types::TransactionRequest;
use alloy::transports::{RpcError, TransportErrorKind};
use bylaw_types::{BlockHash, ChainId};
use futures::future::join_all;

use crate::{Block, Doubt, Finality};

/// One JSON-RPC endpoint.
#[derive(Debug)]
struct Endpoint {
    url: String,
    provider: RootProvider<Ethereum>,
    timeout: Duration,
}

/// Endpoints of which a number must agree.
#[derive(Debug)]
pub(crate) struct Quorum {
    endpoints: Vec<Endpoint>,
    needed: usize,
    chain_id: ChainId,
    finality: Finality,
}

/// A block and the endpoints (by position) that agree on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) block: Block,
    agreeing: Vec<usize>,
    /// How many of them must answer the same.
    needed: usize,
}

/// What a call answered, where enough endpoints say the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    Data(Bytes),
    Revert(String),
}

impl Quorum {
    pub(crate) fn new(
        urls: &[String],
        needed: usize,
        chain_id: ChainId,
        finality: Finality,
        timeout: Duration,
    ) -> Result<Self, Doubt> {
        if needed == 0 || needed > urls.len() {
            return Err(Doubt::Configuration {
                url: urls.join(", "),
                reason: format!("{needed} of {} endpoints cannot agree", urls.len()),
            });
        }
        let client = http_client(timeout)?;
        let endpoints = urls
            .iter()
            .map(|url| {
                let parsed = url.parse().map_err(|error| Doubt::Configuration {
                    url: redact(url),
                    reason: format!("not a URL: {error}"),
                })?;
                let client = RpcClient::builder().http_with_client(client.clone(), parsed);
                Ok(Endpoint {
                    url: redact(url),
                    provider: RootProvider::new(client),
                    timeout,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            endpoints,
            needed,
            chain_id,
            finality,
        })
    }

    /// The highest block that enough endpoints hold to be final, under one hash.
    pub(crate) async fn head(&self) -> Result<Head, Doubt> {
        let finals = self
            .ask_all(|endpoint| endpoint.final_block(self.chain_id, self.finality))
            .await?;
        let mut numbers: Vec<u64> = finals.iter().map(|(_, block)| block.number).collect();
        numbers.sort_unstable_by(|left, right| right.cmp(left));
        // The needed-th highest: at least that many endpoints have finalised it.
        let height = numbers.get(self.needed - 1).copied().unwrap_or_default();
        let blocks = join_all(finals.into_iter().map(|(position, block)| async move {
            if block.number == height {
                return Some((position, block));
            }
            let endpoint = self.endpoints.get(position)?;
            endpoint
                .block(height.into())
                .await
                .ok()
                .map(|block| (position, block))
        }))
        .await;
        let mut by_hash: HashMap<BlockHash, Head> = HashMap::new();
        for (position, block) in blocks.into_iter().flatten() {
            by_hash
                .entry(block.hash)
                .or_insert_with(|| Head {
                    block,
                    agreeing: vec![],
                    needed: self.needed,
                })
                .agreeing
                .push(position);
        }
        let best = by_hash.into_values().max_by_key(|head| head.agreeing.len());
        match best {
            Some(head) if head.agreeing.len() >= self.needed => Ok(head),
            other => Err(Doubt::Disagreement {
                what: format!("block {height}"),
                agreeing: other.map_or(0, |head| head.agreeing.len()),
                needed: self.needed,
            }),
        }
    }

    /// The newest block of every endpoint that answers, each for itself: endpoints hear of
    /// blocks at different times.
    pub(crate) async fn newest(&self) -> Result<Vec<Head>, Doubt> {
        let blocks = self
            .ask_all(|endpoint| endpoint.block(BlockNumberOrTag::Latest))
            .await?;
        let head = |(position, block)| Head {
            block,
            agreeing: vec![position],
            needed: 1,
        };
        Ok(blocks.into_iter().map(head).collect())
    }

    /// How many endpoints must say the same.
    pub(crate) fn needed(&self) -> usize {
        self.needed
    }

    /// Calls `to` at exactly `head`, on every endpoint that agrees on it.
    pub(crate) async fn call(
        &self,
        head: &Head,
        to: Address,
        data: Bytes,
    ) -> Result<Answer, Doubt> {
        let answers = join_all(head.agreeing.iter().filter_map(|position| {
            let endpoint = self.endpoints.get(*position)?;
            Some(endpoint.call(head.block.hash, to, data.clone()))
        }))
        .await;
        let mut counts: HashMap<Answer, usize> = HashMap::new();
        let mut first_failure = None;
        for answer in answers {
            match answer {
                Ok(answer) => *counts.entry(answer).or_default() += 1,
                Err(doubt) => drop(first_failure.get_or_insert(doubt)),
            }
        }
        let answering = counts.values().sum();
        let best = counts.into_iter().max_by_key(|(_, count)| *count);
        match (best, first_failure) {
            (Some((answer, count)), _) if count >= head.needed => Ok(answer),
            (None, Some(first)) if head.needed == 1 => Err(first),
            (_, Some(first)) if answering < head.needed => Err(Doubt::TooFew {
                answering,
                needed: head.needed,
                first: Box::new(first),
            }),
            (best, _) => Err(Doubt::Disagreement {
                what: format!("what 0x{} says", hex_of(to)),
                agreeing: best.map_or(0, |(_, count)| count),
                needed: head.needed,
            }),
        }
    }

    async fn ask_all<'a, T, F: Future<Output = Result<T, Doubt>>>(
        &'a self,
        ask: impl Fn(&'a Endpoint) -> F,
    ) -> Result<Vec<(usize, T)>, Doubt> {
        let answers = join_all(self.endpoints.iter().map(ask)).await;
        let mut good = Vec::new();
        let mut first_failure = None;
        for (position, answer) in answers.into_iter().enumerate() {
            match answer {
                Ok(value) => good.push((position, value)),
                Err(doubt) => drop(first_failure.get_or_insert(doubt)),
            }
        }
        match first_failure {
            Some(first) if good.is_empty() && self.endpoints.len() == 1 => Err(first),
            Some(first) if good.len() < self.needed => Err(Doubt::TooFew {
                answering: good.len(),
                needed: self.needed,
                first: Box::new(first),
            }),
            _ => Ok(good),
        }
    }
}

impl Endpoint {
    async fn final_block(&self, expected: ChainId, finality: Finality) -> Result<Block, Doubt> {
        let actual = ChainId(self.limit(self.provider.get_chain_id()).await?);
        if actual != expected {
            return Err(Doubt::WrongChainId {
                url: self.url.clone(),
                expected,
                actual,
            });
        }
        match finality {
            Finality::Finalized => self.block(BlockNumberOrTag::Finalized).await,
            Finality::Confirmations(depth) => {
                let head = self.limit(self.provider.get_block_number()).await?;
                self.block(head.saturating_sub(depth).into()).await
            }
        }
    }

    async fn block(&self, tag: BlockNumberOrTag) -> Result<Block, Doubt> {
        let block = self
            .limit(async { self.provider.get_block_by_number(tag).await })
            .await?
            .ok_or_else(|| self.malformed(format!("it has no block {tag}")))?;
        let header = &block.header;
        let hash = header.inner.hash_slow();
        if hash != header.hash {
            return Err(self.malformed(format!(
                "block {} hashes to {hash}, it says {}",
                header.inner.number, header.hash
            )));
        }
        if tag
            .as_number()
            .is_some_and(|number| number != header.inner.number)
        {
            return Err(self.malformed(format!("block {tag} has number {}", header.inner.number)));
        }
        Ok(Block {
            number: header.inner.number,
            hash: BlockHash::new(hash.0),
            state_root: BlockHash::new(header.inner.state_root.0),
            timestamp: header.inner.timestamp,
        })
    }

    async fn call(&self, at: BlockHash, to: Address, data: Bytes) -> Result<Answer, Doubt> {
        let request = TransactionRequest::default().to(to).input(data.into());
        let at = BlockId::from(B256::from(at.to_bytes()));
        let call = async { self.provider.call(request).block(at).await };
        match tokio::time::timeout(self.timeout, call).await {
            Ok(Ok(data)) => Ok(Answer::Data(data)),
            Ok(Err(RpcError::ErrorResp(error))) => {
                let is_revert = error.code == 3 || error.message.contains("revert");
                if is_revert {
                    Ok(Answer::Revert(error.message.to_string()))
                } else {
                    Err(self.failed(RpcError::ErrorResp(error)))
                }
            }
            Ok(Err(error)) => Err(self.failed(error)),
            Err(_) => Err(self.timed_out()),
        }
    }

    async fn limit<T>(
        &self,
        request: impl IntoFuture<Output = Result<T, RpcError<TransportErrorKind>>>,
    ) -> Result<T, Doubt> {
        match tokio::time::timeout(self.timeout, request.into_future()).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.failed(error)),
            Err(_) => Err(self.timed_out()),
        }
    }

    fn failed(&self, error: RpcError<TransportErrorKind>) -> Doubt {
        let reason = match error {
            RpcError::Transport(TransportErrorKind::Custom(source)) => {
                match source.downcast::<reqwest::Error>() {
                    // The client's own limit, which is as long as ours, was first.
                    Ok(error) if error.is_timeout() => return self.timed_out(),
                    // Its text would hold the whole URL.
                    Ok(error) => error.without_url().to_string(),
                    Err(other) => other.to_string(),
                }
            }
            other => other.to_string(),
        };
        Doubt::Unreachable {
            url: self.url.clone(),
            reason,
        }
    }

    fn timed_out(&self) -> Doubt {
        Doubt::Timeout {
            url: self.url.clone(),
            seconds: self.timeout.as_secs(),
        }
    }

    fn malformed(&self, reason: String) -> Doubt {
        Doubt::MalformedAnswer {
            url: self.url.clone(),
            reason,
        }
    }
}

fn hex_of(address: Address) -> String {
    format!("{address:x}").trim_start_matches("0x").to_owned()
}

/// Paths and queries of RPC URLs often hold keys: messages show scheme and host.
pub fn redact(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}")
}

/// A client for JSON-RPC endpoints: WebPKI roots, ring.
///
/// # Errors
/// [`Doubt::Configuration`] when TLS cannot be set up.
pub fn http_client(timeout: Duration) -> Result<reqwest::Client, Doubt> {
    let failed = |reason: String| Doubt::Configuration {
        url: "TLS".to_owned(),
        reason,
    };
    let roots = rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .map_err(|error| failed(error.to_string()))?
    .with_root_certificates(roots)
    .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .timeout(timeout)
        .build()
        .map_err(|error| failed(error.to_string()))
}
