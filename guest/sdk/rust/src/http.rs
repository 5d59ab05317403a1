//! The one HTTP client of this crate: bounded answers, ring for TLS, no proxies.

use bylaw_attest::collateral::http_builder;
pub(crate) use bylaw_attest::collateral::with_sources as chain;
use reqwest::ClientBuilder;

/// Longest answer that is read, in bytes.
pub(crate) const MAX_ANSWER: usize = 16 * 1024 * 1024;

pub(crate) fn builder() -> Result<ClientBuilder, String> {
    Ok(http_builder()?.no_proxy())
}

/// The body, unless it is longer than [`MAX_ANSWER`].
pub(crate) async fn body(mut answer: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| chain(&error))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(format!("the answer is longer than {MAX_ANSWER} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
