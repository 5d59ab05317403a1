//! A table of methods as an axum router.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use prost::Message as _;

use crate::body;
use crate::context::{Context, Peer};
use crate::json::to_ascii;
use crate::message::{Message, PrpcError};
use crate::openapi;

/// Why a call failed: a stable code for programs, a sentence for people.
///
/// Always status 400 on the wire; the code travels in the JSON member `code`
/// and the header `x-error-code`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcError {
    code: &'static str,
    message: String,
}

impl RpcError {
    /// An error with this code and sentence.
    pub fn new(code: &'static str, message: impl fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
        }
    }

    /// The caller's input cannot be used.
    pub fn bad_request(message: impl fmt::Display) -> Self {
        Self::new("bad_request", message)
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RpcError {}

/// How request and answer are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Query,
    Protobuf,
}

type Handler = Arc<
    dyn Fn(Context, Format, Bytes) -> BoxFuture<'static, Result<Bytes, RpcError>> + Send + Sync,
>;

/// Methods of one service over a shared state.
pub struct Service<S> {
    name: &'static str,
    state: Arc<S>,
    prefixes: &'static [&'static str],
    methods: BTreeMap<&'static str, Handler>,
    operations: Vec<openapi::Operation>,
}

impl<S: Send + Sync + 'static> Service<S> {
    /// A service that also answers to `<prefix>.<Method>` for each prefix.
    pub fn new(name: &'static str, prefixes: &'static [&'static str], state: Arc<S>) -> Self {
        Self {
            name,
            state,
            prefixes,
            methods: BTreeMap::new(),
            operations: Vec::new(),
        }
    }

    /// Adds a method: a plain async function from state, caller and request to answer.
    #[must_use]
    pub fn method<Req, Res, F, Fut>(mut self, name: &'static str, function: F) -> Self
    where
        Req: Message,
        Res: Message,
        F: Fn(Arc<S>, Context, Req) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Res, RpcError>> + Send + 'static,
    {
        let state = Arc::clone(&self.state);
        let function = Arc::new(function);
        let handler: Handler = Arc::new(move |context, format, body| {
            let (state, function) = (Arc::clone(&state), Arc::clone(&function));
            async move {
                let request = decode::<Req>(format, &body)?;
                encode(format, &function(state, context, request).await?)
            }
            .boxed()
        });
        self.methods.insert(name, handler);
        self.operations
            .push(openapi::Operation::new::<Req, Res>(self.name, name));
        self
    }

    /// The OpenAPI document of this service under `mount`.
    pub fn openapi(&self, mount: &str) -> serde_json::Value {
        openapi::document(self.name, mount, &self.operations)
    }

    /// A router that serves the methods at `<mount>/<Method>`; `mount` is `""` or `/path`.
    pub fn into_router(self, mount: &str) -> Router {
        let table = Arc::new(Table {
            prefixes: self.prefixes,
            methods: self.methods,
        });
        Router::new()
            .route(&format!("{mount}/{{method}}"), any(dispatch))
            .with_state(table)
    }
}

impl<S> fmt::Debug for Service<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

struct Table {
    prefixes: &'static [&'static str],
    methods: BTreeMap<&'static str, Handler>,
}

impl Table {
    fn find(&self, segment: &str) -> Option<&Handler> {
        let mut name = segment;
        while let Some(rest) = self.prefixes.iter().find_map(|prefix| {
            name.strip_prefix(prefix)
                .and_then(|rest| rest.strip_prefix('.'))
        }) {
            name = rest;
        }
        self.methods.get(name)
    }
}

async fn dispatch(State(table): State<Arc<Table>>, request: Request) -> Response {
    let Some(format) = format_of(&request) else {
        return plain(StatusCode::NOT_FOUND);
    };
    // As sent: method names need no decoding, and what is not text is no method.
    let path = request.uri().path();
    let segment = path.rsplit('/').next().unwrap_or(path).to_owned();
    let result = call(&table, &segment, format, request).await;
    if let Err(error) = &result {
        tracing::info!(
            method = segment,
            code = error.code,
            error = error.message,
            "refused"
        );
    }
    respond(format, result)
}

async fn call(
    table: &Table,
    segment: &str,
    format: Format,
    request: Request,
) -> Result<Bytes, RpcError> {
    let handler = table
        .find(segment)
        .ok_or_else(|| RpcError::new("unknown_method", format!("Service not found: {segment}")))?;
    let peer = request
        .extensions()
        .get::<Peer>()
        .cloned()
        .unwrap_or_default();
    let body = match format {
        Format::Query => Bytes::copy_from_slice(request.uri().query().unwrap_or("").as_bytes()),
        Format::Json | Format::Protobuf => body::read(request.into_body()).await?,
    };
    handler(Context::new(peer), format, body).await
}

fn format_of(request: &Request) -> Option<Format> {
    match *request.method() {
        Method::GET => Some(Format::Query),
        Method::POST => {
            let query = request.uri().query().unwrap_or("");
            let asks_json = query.split('&').any(|pair| {
                matches!(
                    pair.split_once('=').unwrap_or((pair, "")),
                    ("json", "" | "1" | "true")
                )
            });
            let sends_json = request
                .headers()
                .get(CONTENT_TYPE)
                .and_then(|value| value.to_str().ok())
                .and_then(|value| value.split(';').next())
                .is_some_and(|value| value.trim().eq_ignore_ascii_case("application/json"));
            Some(if asks_json || sends_json {
                Format::Json
            } else {
                Format::Protobuf
            })
        }
        _ => None,
    }
}

fn decode<M: Message>(format: Format, body: &[u8]) -> Result<M, RpcError> {
    if M::IS_EMPTY || body.is_empty() {
        return Ok(M::default());
    }
    let invalid = |error: &dyn fmt::Display| {
        RpcError::bad_request(format!("failed to parse {}: {error}", M::NAME))
    };
    match format {
        Format::Json => serde_json::from_slice(body).map_err(|error| invalid(&error)),
        Format::Query => serde_qs::from_bytes(body).map_err(|error| invalid(&error)),
        Format::Protobuf => M::decode(body).map_err(|error| invalid(&error)),
    }
}

fn encode<M: Message>(format: Format, message: &M) -> Result<Bytes, RpcError> {
    match format {
        Format::Json | Format::Query => serde_json::to_string(message)
            .map(|text| Bytes::from(to_ascii(&text)))
            .map_err(|error| RpcError::new("internal", error)),
        Format::Protobuf => Ok(Bytes::from(message.encode_to_vec())),
    }
}

fn respond(format: Format, result: Result<Bytes, RpcError>) -> Response {
    let (status, body, code) = match result {
        Ok(body) => (StatusCode::OK, body, None),
        Err(error) => {
            let body = match format {
                Format::Protobuf => PrpcError {
                    message: error.message.clone(),
                }
                .encode_to_vec()
                .into(),
                Format::Json | Format::Query => {
                    let value = serde_json::json!({ "code": error.code, "error": error.message });
                    // Two strings always serialise.
                    to_ascii(&serde_json::to_string_pretty(&value).unwrap_or_default()).into()
                }
            };
            (StatusCode::BAD_REQUEST, body, Some(error.code))
        }
    };
    let mut response = plain(status);
    *response.body_mut() = Body::from(body);
    let content_type = match format {
        Format::Protobuf => "application/octet-stream",
        Format::Json | Format::Query => "application/json",
    };
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(code) = code {
        response
            .headers_mut()
            .insert("x-error-code", HeaderValue::from_static(code));
    }
    response
}

/// For paths that nothing serves: reads the request to its end, then says so. A client
/// that is still writing would otherwise lose the answer.
pub async fn not_found(request: Request) -> StatusCode {
    let _ = body::read(request.into_body()).await;
    StatusCode::NOT_FOUND
}

fn plain(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
