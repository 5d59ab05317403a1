//! The KMS's root keys, as the contract that governs it names them.

use std::time::Duration;

use alloy_sol_types::{SolCall, sol};
use serde::Deserialize;
use serde_json::json;

use crate::{KmsRoot, http};

sol! {
    function kmsInfo() external view returns (bytes memory k256Pubkey, bytes memory caPubkey, bytes memory quote, bytes memory eventlog);
}

const TIMEOUT: Duration = Duration::from_secs(30);

/// Why the chain did not tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Nobody answers, or something else does.
    #[error("{url}: {reason}")]
    Endpoint {
        /// Whom.
        url: String,
        /// Why.
        reason: String,
    },
    /// The answer does not name two keys.
    #[error("kmsInfo() of KmsAuth: {0}")]
    Answer(String),
}

/// Asks `KmsAuth` (20 bytes) for the KMS's root keys, as of the newest final block.
///
/// One endpoint is believed. Ask one you run, or several and compare.
///
/// # Errors
/// [`ChainError`]; a contract that names no keys is an error.
pub async fn fetch_kms_root(rpc_url: &str, kms_auth: &[u8; 20]) -> Result<KmsRoot, ChainError> {
    #[derive(Deserialize)]
    struct Answer {
        result: Option<String>,
        error: Option<serde_json::Value>,
    }
    let failed = |reason: String| ChainError::Endpoint {
        url: without_secrets(rpc_url),
        reason,
    };
    let call = json!({
        "to": format!("0x{}", hex::encode(kms_auth)),
        "data": format!("0x{}", hex::encode(kmsInfoCall {}.abi_encode())),
    });
    let request =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [call, "finalized"] });
    let client = http::builder()
        .map_err(failed)?
        .timeout(TIMEOUT)
        .build()
        .map_err(|error| failed(http::chain(&error)))?;
    let answer = client
        .post(rpc_url)
        .json(&request)
        .send()
        .await
        // The address may hold a key.
        .map_err(|error| failed(http::chain(&error.without_url())))?;
    let status = answer.status();
    let body = http::body(answer).await.map_err(failed)?;
    let answer: Answer = serde_json::from_slice(&body)
        .map_err(|error| failed(format!("status {status}, not JSON-RPC: {error}")))?;
    match answer {
        Answer {
            error: Some(error), ..
        } => Err(failed(format!("eth_call: {error}"))),
        Answer {
            result: Some(text), ..
        } => {
            let data = hex::decode(text.trim_start_matches("0x"))
                .map_err(|error| failed(format!("eth_call: {error}")))?;
            kms_root(&data)
        }
        _ => Err(failed("eth_call: neither result nor error".to_owned())),
    }
}

/// The keys in the bytes that `kmsInfo()` returned.
///
/// # Errors
/// [`ChainError::Answer`].
pub fn kms_root(return_data: &[u8]) -> Result<KmsRoot, ChainError> {
    if return_data.is_empty() {
        return Err(ChainError::Answer(
            "there is no such contract at this address".to_owned(),
        ));
    }
    let info = kmsInfoCall::abi_decode_returns_validate(return_data)
        .map_err(|error| ChainError::Answer(error.to_string()))?;
    KmsRoot::new(&info.k256Pubkey, &info.caPubkey)
        .map_err(|error| ChainError::Answer(error.to_string()))
}

/// Scheme and host: path, query and user often hold the key of a paid endpoint.
fn without_secrets(url: &str) -> String {
    match reqwest::Url::parse(url) {
        Ok(url) => format!(
            "{}://{}",
            url.scheme(),
            url.host_str().unwrap_or("(no host)")
        ),
        Err(_) => "the endpoint".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_endpoint_is_named_without_its_key() {
        let error = fetch_kms_root("http://127.0.0.1:1/v3/secretkey?key=secretkey", &[0; 20])
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("127.0.0.1"), "{error}");
        assert!(!error.contains("secretkey"), "{error}");
    }
}
