//! The app API of the agent inside a confidential VM.

use std::path::Path;
use std::time::Duration;

use bylaw_types::ReportData;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Evidence;
use crate::answer::{
    Attested, GpuInfo, Info, InfoWire, KeyAnswer, QuoteAnswer, SignAnswer, TlsKeyAnswer,
    TlsKeyOptions, Valid, Version,
};
use crate::http;

/// Names the endpoint when none is given.
const ENDPOINT_VARIABLE: &str = "DSTACK_SIMULATOR_ENDPOINT";
/// Where the agent listens, by age of the system.
const SOCKETS: [&str; 4] = [
    "/var/run/dstack.sock",
    "/run/dstack.sock",
    "/var/run/dstack/dstack.sock",
    "/run/dstack/dstack.sock",
];
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const REACHABLE_TIMEOUT: Duration = Duration::from_millis(500);

/// Why a call gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No endpoint was given and none was found.
    #[error(
        "no agent: none of {SOCKETS:?} exists; mount one into the container, or set {ENDPOINT_VARIABLE} \
         to a socket path or URL"
    )]
    NoEndpoint,
    /// The endpoint is neither a socket path nor an http(s) URL.
    #[error("{0:?} is neither the path of a Unix socket nor an http:// or https:// URL")]
    Endpoint(String),
    /// An argument that the agent would refuse.
    #[error("{0}")]
    Argument(String),
    /// Nobody answers, or not in time.
    #[error("cannot reach the agent at {endpoint}: {reason}")]
    Unreachable {
        /// Whom.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// The agent said no.
    #[error("{method}: {message}")]
    Refused {
        /// Of what.
        method: &'static str,
        /// Stable code; empty when the agent gives none.
        code: String,
        /// Its sentence.
        message: String,
    },
    /// The answer is something else than expected.
    #[error("{method}: the answer is not what it should be: {reason}")]
    Malformed {
        /// To what.
        method: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// Settings of a [`Client`].
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    endpoint: Option<String>,
    connect_timeout: Duration,
    call_timeout: Duration,
}

impl ClientBuilder {
    /// Path of a Unix socket, or an http(s) URL.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// How long connecting may take; 3 seconds unless said otherwise.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How long a call may take; 30 seconds unless said otherwise.
    #[must_use]
    pub fn call_timeout(mut self, limit: Duration) -> Self {
        self.call_timeout = limit;
        self
    }

    /// The client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::NoEndpoint`] or [`ClientError::Endpoint`].
    pub fn build(self) -> Result<Client, ClientError> {
        let endpoint = match self.endpoint {
            Some(endpoint) => endpoint,
            None => find_endpoint(std::env::var(ENDPOINT_VARIABLE).ok(), Path::exists)?,
        };
        let bad = || ClientError::Endpoint(endpoint.clone());
        let mut http = http::builder()
            .map_err(|_| bad())?
            .connect_timeout(self.connect_timeout)
            .timeout(self.call_timeout);
        let base = if endpoint.starts_with("http://") || endpoint.starts_with("https://") {
            reqwest::Url::parse(&endpoint).map_err(|_| bad())?;
            endpoint.trim_end_matches('/').to_owned()
        } else {
            let path = endpoint.strip_prefix("unix:").unwrap_or(&endpoint);
            if !path.contains('/') {
                return Err(bad());
            }
            http = http.unix_socket(path);
            "http://localhost".to_owned()
        };
        Ok(Client {
            http: http.build().map_err(|_| bad())?,
            base,
            endpoint,
        })
    }
}

/// The variable if it is set, else the first socket there is.
fn find_endpoint(
    variable: Option<String>,
    exists: impl Fn(&Path) -> bool,
) -> Result<String, ClientError> {
    if let Some(endpoint) = variable.filter(|endpoint| !endpoint.is_empty()) {
        return Ok(endpoint);
    }
    SOCKETS
        .into_iter()
        .find(|path| exists(Path::new(path)))
        .map(str::to_owned)
        .ok_or(ClientError::NoEndpoint)
}

/// Talks to the agent of this VM.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    endpoint: String,
}

impl Client {
    /// The agent of this VM, or the one named by `DSTACK_SIMULATOR_ENDPOINT`.
    ///
    /// # Errors
    /// [`ClientError::NoEndpoint`] or [`ClientError::Endpoint`].
    pub fn new() -> Result<Self, ClientError> {
        Self::builder().build()
    }

    /// A client with other settings.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            endpoint: None,
            connect_timeout: CONNECT_TIMEOUT,
            call_timeout: CALL_TIMEOUT,
        }
    }

    /// Where it calls.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The key at `path`, always the same for this app. `purpose` is what the signature
    /// chain says the key is for; neither it nor the algorithm changes the key's bytes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get_key(
        &self,
        path: &str,
        purpose: &str,
        algorithm: &str,
    ) -> Result<KeyAnswer, ClientError> {
        let request = json!({ "path": path, "purpose": purpose, "algorithm": algorithm });
        self.call("GetKey", &request).await
    }

    /// A fresh P-256 key with a certificate that chains to the KMS.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get_tls_key(&self, options: &TlsKeyOptions) -> Result<TlsKeyAnswer, ClientError> {
        self.call("GetTlsKey", options).await
    }

    /// A quote over at most 64 bytes, with its event log.
    ///
    /// # Errors
    /// [`ClientError::Argument`] for more than 64 bytes.
    pub async fn get_quote(&self, report_data: &[u8]) -> Result<QuoteAnswer, ClientError> {
        self.call("GetQuote", &challenge(report_data)?).await
    }

    /// Evidence over at most 64 bytes, of whatever platform this is.
    ///
    /// # Errors
    /// [`ClientError::Argument`] for more than 64 bytes.
    pub async fn attest(&self, report_data: &[u8]) -> Result<Vec<u8>, ClientError> {
        let answer: Attested = self.call("Attest", &challenge(report_data)?).await?;
        Ok(answer.attestation)
    }

    /// As [`Client::attest`], parsed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn evidence(&self, report_data: &[u8]) -> Result<Evidence, ClientError> {
        Evidence::decode(&self.attest(report_data).await?).map_err(|error| ClientError::Malformed {
            method: "Attest",
            reason: error.to_string(),
        })
    }

    /// Who this app is, as its own agent says: nothing here is verified.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn info(&self) -> Result<Info, ClientError> {
        let wire: InfoWire = self.call("Info", &json!({})).await?;
        wire.try_into().map_err(|reason| ClientError::Malformed {
            method: "Info",
            reason,
        })
    }

    /// What the GPUs' own attestation said at boot, as text; empty without GPUs.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn gpu_info(&self) -> Result<String, ClientError> {
        let answer: GpuInfo = self.call("GpuInfo", &json!({})).await?;
        Ok(answer.attestation)
    }

    /// A signature by the app's signing key: `ed25519`, `secp256k1` (over SHA-256) or
    /// `secp256k1_prehashed` (over a digest of 32 bytes).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sign(&self, algorithm: &str, data: &[u8]) -> Result<SignAnswer, ClientError> {
        let request = json!({ "algorithm": algorithm, "data": hex::encode(data) });
        self.call("Sign", &request).await
    }

    /// Whether a signature holds, as the agent sees it. To know whose it is, use
    /// [`crate::verify_signature`].
    ///
    /// # Errors
    /// [`ClientError`]; key or signature that do not parse are refused.
    pub async fn verify(
        &self,
        algorithm: &str,
        data: &[u8],
        signature: &[u8],
        public_key: &[u8],
    ) -> Result<bool, ClientError> {
        let request = json!({
            "algorithm": algorithm,
            "data": hex::encode(data),
            "signature": hex::encode(signature),
            "public_key": hex::encode(public_key),
        });
        let answer: Valid = self.call("Verify", &request).await?;
        Ok(answer.valid)
    }

    /// Measures an event into RTMR3: every later quote covers it.
    ///
    /// # Errors
    /// [`ClientError::Argument`] for a name that evidence cannot hold.
    pub async fn emit_event(&self, name: &str, payload: &[u8]) -> Result<(), ClientError> {
        if name.is_empty() || name.contains(':') {
            return Err(ClientError::Argument(
                "the name of an event is not empty and has no colon".to_owned(),
            ));
        }
        let request = json!({ "event": name, "payload": hex::encode(payload) });
        let _: Value = self.call("EmitEvent", &request).await?;
        Ok(())
    }

    /// Version of the agent.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn version(&self) -> Result<Version, ClientError> {
        self.call("Version", &json!({})).await
    }

    /// Whether the agent answers within 500 milliseconds.
    pub async fn is_reachable(&self) -> bool {
        tokio::time::timeout(REACHABLE_TIMEOUT, self.send("Info", &json!({})))
            .await
            .is_ok_and(|answer| answer.is_ok())
    }

    async fn call<Request: Serialize, Answer: DeserializeOwned>(
        &self,
        method: &'static str,
        request: &Request,
    ) -> Result<Answer, ClientError> {
        let body = self.send(method, request).await?;
        let body: &[u8] = if body.is_empty() { b"null" } else { &body };
        serde_json::from_slice(body).map_err(|error| ClientError::Malformed {
            method,
            reason: describe(&error),
        })
    }

    async fn send<Request: Serialize>(
        &self,
        method: &'static str,
        request: &Request,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, ClientError> {
        let unreachable = |reason| ClientError::Unreachable {
            endpoint: self.endpoint.clone(),
            reason,
        };
        let answer = self
            .http
            .post(format!("{}/{method}", self.base))
            .json(request)
            .send()
            .await
            .map_err(|error| unreachable(http::chain(&error)))?;
        let status = answer.status();
        let body = http::body(answer).await.map_err(unreachable)?;
        let body = zeroize::Zeroizing::new(body);
        if status.is_success() {
            return Ok(body);
        }
        #[derive(Deserialize)]
        struct Refusal {
            error: String,
            #[serde(default)]
            code: String,
        }
        Err(match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) => ClientError::Refused {
                method,
                code: refusal.code,
                message: refusal.error,
            },
            Err(_) => ClientError::Malformed {
                method,
                reason: format!("status {status} without a reason"),
            },
        })
    }
}

/// serde_json's sentence without the values it may quote, except for names of fields.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.starts_with("missing field") || !error.is_data() {
        return text;
    }
    format!(
        "a field at line {}, column {} has another type or form",
        error.line(),
        error.column()
    )
}

fn challenge(report_data: &[u8]) -> Result<Value, ClientError> {
    if report_data.len() > ReportData::LEN {
        return Err(ClientError::Argument(format!(
            "report data has at most {} bytes, got {}; hash what is longer",
            ReportData::LEN,
            report_data.len()
        )));
    }
    Ok(json!({ "report_data": hex::encode(report_data) }))
}

#[cfg(test)]
mod tests;
