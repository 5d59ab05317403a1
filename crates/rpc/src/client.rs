//! Calling a service.
//!
//! [`Client::connect`] finishes the TLS handshake and hands out a
//! [`Connection`]: the caller looks at the peer's certificates before the first
//! byte of a request leaves, and several calls go over that one connection.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_vsock::{VsockAddr, VsockStream};

use crate::body::MAX_BODY;
use crate::message::Message;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a call gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be used.
    #[error("{url:?} is not a usable address: {reason}")]
    Address {
        /// As given.
        url: String,
        /// What is allowed.
        reason: String,
    },
    /// Nobody answers, or the handshake failed.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// Whom.
        url: String,
        /// Why.
        reason: String,
    },
    /// The service said no.
    #[error("{message}")]
    Refused {
        /// Stable code; empty when the service gives none.
        code: String,
        /// Its sentence.
        message: String,
    },
    /// The answer is something else.
    #[error("{url} answered something else than expected: {reason}")]
    Malformed {
        /// Who.
        url: String,
        /// What.
        reason: String,
    },
}

#[derive(Debug, Clone)]
enum Address {
    Unix(PathBuf),
    Tcp { host: String, port: u16, tls: bool },
    Vsock { cid: u32, port: u32 },
}

/// Where a service is, and how to talk to it.
#[derive(Debug, Clone)]
pub struct Client {
    url: String,
    address: Address,
    path: String,
    tls: Option<Arc<ClientConfig>>,
    // Marked as sensitive: `Debug` does not print it.
    authorization: Option<HeaderValue>,
}

impl Client {
    /// `http://host[:port][/path]`, `https://…`, `vsock://<cid>:<port>[/path]`, or
    /// `unix:/path/to/socket`.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let bad = |reason: &str| ClientError::Address {
            url: url.into(),
            reason: reason.into(),
        };
        if let Some(path) = url.strip_prefix("unix:") {
            let address = Address::Unix(PathBuf::from(path.trim_start_matches("//")));
            return Ok(Self {
                url: url.into(),
                address,
                path: String::new(),
                tls: None,
                authorization: None,
            });
        }
        let uri: Uri = url.parse().map_err(|_| bad("not a URL"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http" | "vsock") => false,
            _ => return Err(bad("must start with http://, https://, vsock:// or unix:")),
        };
        let host = uri.host().ok_or_else(|| bad("has no host"))?.to_owned();
        let address = if uri.scheme_str() == Some("vsock") {
            let form = || bad("must be vsock://<cid>:<port>");
            Address::Vsock {
                cid: host.parse().map_err(|_| form())?,
                port: uri.port_u16().ok_or_else(form)?.into(),
            }
        } else {
            let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
            Address::Tcp { host, port, tls }
        };
        Ok(Self {
            url: url.to_owned(),
            address,
            path: uri.path().trim_end_matches('/').to_owned(),
            tls: None,
            authorization: None,
        })
    }

    /// Appends `/prpc` to the path unless it is there.
    #[must_use]
    pub fn prpc(mut self) -> Self {
        if !self.path.ends_with("/prpc") {
            self.path.push_str("/prpc");
        }
        self
    }

    /// How TLS is done; needed for https.
    #[must_use]
    pub fn with_tls(mut self, config: Arc<ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Sends `Authorization: Bearer <token>` with every request.
    ///
    /// # Errors
    /// [`ClientError::Address`] when the token holds what a header cannot.
    pub fn with_bearer(mut self, token: &str) -> Result<Self, ClientError> {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
            ClientError::Address {
                url: self.url.clone(),
                reason: "the token has characters that no header may have".to_owned(),
            }
        })?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(self)
    }

    /// The address as it was given.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connects and finishes the TLS handshake; no request has left yet.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`].
    pub async fn connect(&self) -> Result<Connection, ClientError> {
        tokio::time::timeout(CONNECT_TIMEOUT, self.open())
            .await
            .map_err(|_| self.unreachable(&format!("no answer within {CONNECT_TIMEOUT:?}")))?
    }

    /// Connects and makes one call.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn call<Req: Message, Res: Message>(
        &self,
        method: &str,
        request: &Req,
    ) -> Result<Res, ClientError> {
        self.connect().await?.call(method, request).await
    }

    async fn open(&self) -> Result<Connection, ClientError> {
        let failed = |error: std::io::Error| self.unreachable(&error.to_string());
        match &self.address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                self.start(stream, "localhost".to_owned(), vec![]).await
            }
            Address::Vsock { cid, port } => {
                let stream = VsockStream::connect(VsockAddr::new(*cid, *port))
                    .await
                    .map_err(failed)?;
                self.start(stream, "localhost".to_owned(), vec![]).await
            }
            Address::Tcp { host, port, tls } => {
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                let stream = TcpStream::connect((bare, *port)).await.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                let authority = format!("{host}:{port}");
                if !tls {
                    return self.start(stream, authority, vec![]).await;
                }
                let config = self.tls.clone().ok_or_else(|| ClientError::Address {
                    url: self.url.clone(),
                    reason: "https needs a TLS configuration".to_owned(),
                })?;
                let name = ServerName::try_from(bare.to_owned())
                    .map_err(|error| self.unreachable(&error.to_string()))?;
                let stream = TlsConnector::from(config)
                    .connect(name, stream)
                    .await
                    .map_err(failed)?;
                let peer = stream
                    .get_ref()
                    .1
                    .peer_certificates()
                    .map(|chain| chain.iter().map(|der| der.clone().into_owned()).collect())
                    .unwrap_or_default();
                self.start(stream, authority, peer).await
            }
        }
    }

    async fn start<T>(
        &self,
        stream: T,
        authority: String,
        peer: Vec<CertificateDer<'static>>,
    ) -> Result<Connection, ClientError>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unreachable(&error.to_string()))?;
        tokio::spawn(connection);
        Ok(Connection {
            client: self.clone(),
            sender,
            authority,
            peer,
        })
    }

    fn unreachable(&self, reason: &str) -> ClientError {
        ClientError::Unreachable {
            url: self.url.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// One open connection.
#[derive(Debug)]
pub struct Connection {
    client: Client,
    sender: SendRequest<Full<Bytes>>,
    authority: String,
    peer: Vec<CertificateDer<'static>>,
}

impl Connection {
    /// Certificates the server presented, leaf first; empty without TLS.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.peer
    }

    /// Calls a method in the JSON form.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn call<Req: Message, Res: Message>(
        &mut self,
        method: &str,
        request: &Req,
    ) -> Result<Res, ClientError> {
        let body = serde_json::to_vec(request)
            .map_err(|error| self.malformed(&format!("request: {error}")))?;
        let path = format!("{}/{method}?json", self.client.path);
        let (status, body) = self.send(Method::POST, &path, body).await?;
        if status == StatusCode::OK {
            let body: &[u8] = if body.is_empty() { b"null" } else { &body };
            return serde_json::from_slice(body)
                .map_err(|error| self.malformed(&error.to_string()));
        }
        if status == StatusCode::UNAUTHORIZED {
            return Err(ClientError::Refused {
                code: "unauthorized".to_owned(),
                message: format!("{} wants a token that it knows", self.client.url),
            });
        }
        #[derive(serde::Deserialize)]
        struct Refusal {
            error: String,
            #[serde(default)]
            code: String,
        }
        match serde_json::from_slice(&body) {
            Ok(Refusal { error, code }) => Err(ClientError::Refused {
                code,
                message: error,
            }),
            Err(_) => Err(self.malformed(&format!("status {status}"))),
        }
    }

    /// GETs a path outside the RPC mount, as text.
    ///
    /// # Errors
    /// [`ClientError`]; any status but 200 is [`ClientError::Malformed`].
    pub async fn get(&mut self, path: &str) -> Result<String, ClientError> {
        let (status, body) = self.send(Method::GET, path, vec![]).await?;
        if status != StatusCode::OK {
            return Err(self.malformed(&format!("status {status}")));
        }
        String::from_utf8(body.to_vec()).map_err(|error| self.malformed(&error.to_string()))
    }

    /// GETs a path outside the RPC mount piece by piece, as long as it takes; ends
    /// with the answer, or when `each` breaks.
    ///
    /// # Errors
    /// [`ClientError`]; any status but 200 is [`ClientError::Refused`] with the text
    /// of the answer.
    pub async fn stream(
        &mut self,
        path: &str,
        mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let request = self.request(Method::GET, path, vec![])?;
        let unreachable = |error: hyper::Error| self.client.unreachable(&error.to_string());
        let answer = async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        };
        let response = tokio::time::timeout(CALL_TIMEOUT, answer)
            .await
            .map_err(|_| {
                let reason = format!("no answer within {CALL_TIMEOUT:?}");
                self.client.unreachable(&reason)
            })?
            .map_err(unreachable)?;
        let status = response.status();
        let mut body = response.into_body();
        if status != StatusCode::OK {
            let text = Limited::new(body, MAX_BODY).collect().await;
            let text = text.map(|body| body.to_bytes()).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).trim().to_owned();
            return Err(ClientError::Refused {
                code: String::new(),
                message: if text.is_empty() {
                    format!("status {status}")
                } else {
                    text
                },
            });
        }
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(unreachable)?;
            if let Some(data) = frame.data_ref()
                && each(data).is_break()
            {
                break;
            }
        }
        Ok(())
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.client.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.malformed(&error.to_string()))
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let request = self.request(method, path, body)?;
        let answer = async {
            self.sender
                .ready()
                .await
                .map_err(|error| error.to_string())?;
            let response = self
                .sender
                .send_request(request)
                .await
                .map_err(|error| error.to_string())?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_BODY)
                .collect()
                .await
                .map_err(|error| error.to_string())?;
            Ok::<_, String>((status, body.to_bytes()))
        };
        match tokio::time::timeout(CALL_TIMEOUT, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(reason)) => Err(self.client.unreachable(&reason)),
            Err(_) => Err(self
                .client
                .unreachable(&format!("no answer within {CALL_TIMEOUT:?}"))),
        }
    }

    fn malformed(&self, reason: &str) -> ClientError {
        ClientError::Malformed {
            url: self.client.url.clone(),
            reason: reason.to_owned(),
        }
    }
}
