//! Asking the vendors' services: one bounded GET.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;

use super::CollateralError;

/// Longest answer that is read, in bytes. Real ones have up to 30,000.
const MAX_ANSWER: usize = 1024 * 1024;
/// For a whole request.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// Headers and body of a successful answer.
pub(super) async fn get(
    client: &reqwest::Client,
    url: &str,
) -> Result<(HeaderMap, Vec<u8>), CollateralError> {
    let failed = |reason: String| CollateralError::Unreachable {
        url: url.to_owned(),
        reason,
    };
    let mut answer = client
        .get(url)
        .send()
        .await
        .map_err(|error| failed(with_sources(&error)))?;
    if !answer.status().is_success() {
        return Err(failed(format!("status {}", answer.status())));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer
        .chunk()
        .await
        .map_err(|error| failed(with_sources(&error)))?
    {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            return Err(failed(format!("answer exceeds {MAX_ANSWER} bytes")));
        }
    }
    Ok((answer.headers().clone(), body))
}

/// How every client for HTTPS begins: WebPKI roots, ring.
///
/// # Errors
/// When TLS cannot be set up.
pub fn http_builder() -> Result<reqwest::ClientBuilder, String> {
    let roots = rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(reqwest::Client::builder().tls_backend_preconfigured(tls))
}

/// Such a client; `timeout` is for a whole request.
///
/// # Errors
/// As [`http_builder`].
pub fn http_client(timeout: Duration) -> Result<reqwest::Client, String> {
    http_builder()?
        .timeout(timeout)
        .build()
        .map_err(|error| with_sources(&error))
}

/// An error's sentence and those of its causes, which reqwest leaves out.
pub fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
