//! The containers of this VM, as its Docker Engine knows them.
//!
//! [`Engine`] speaks the engine's HTTP API on its Unix socket: three requests, all
//! of them reads. hyper rather than a Docker client crate: bollard's decoder guesses
//! whether log bytes are framed from their first byte, so a container with a terminal
//! could make the agent buffer gigabytes by printing five of them.

mod frames;
mod logs;
mod options;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bylaw_rpc::message::guest_api::Container;
use bylaw_types::clock::Clock;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use options::{LogOptions, Tail};

use frames::Frames;

/// Longest wait for the engine to answer a request.
const ANSWER: Duration = Duration::from_secs(10);
/// A log without news for this long ends, and so does a reader that takes nothing for this long.
const IDLE: Duration = Duration::from_secs(600);
/// Logs read at once. Each holds less than 1 MiB, so that readers cannot exhaust memory.
const READERS: usize = 64;
/// Longest JSON answer of the engine, in bytes.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// Bytes of a log in the connection's own buffer.
const READ_AHEAD: usize = 64 * 1024;

/// Why the engine's containers cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// No container can have this name.
    #[error(
        "{name:?} cannot be a container's name: 1 to 255 of a-z A-Z 0-9 _ . - with a letter or digit first"
    )]
    Name {
        /// As given.
        name: String,
    },
    /// A query parameter cannot be used.
    #[error("{parameter}: {value:?} is not {allowed}")]
    Parameter {
        /// Which.
        parameter: String,
        /// As given.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// The engine knows no such container.
    #[error("no container is named {name}")]
    Unknown {
        /// As given.
        name: String,
    },
    /// Nobody answers on the engine's socket.
    #[error("the container engine does not answer on {}: {reason}", socket.display())]
    Unreachable {
        /// Where it should.
        socket: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The engine said no.
    #[error("the container engine refused (status {status}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its sentence.
        message: String,
    },
    /// The engine's answer is not one.
    #[error("the container engine answered something else than expected: {reason}")]
    Malformed {
        /// What.
        reason: String,
    },
    /// Too many logs are being read.
    #[error("{READERS} logs are being read already; try again when one has ended")]
    Busy,
}

impl EngineError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Name { .. } | Self::Parameter { .. } => StatusCode::BAD_REQUEST,
            Self::Unknown { .. } => StatusCode::NOT_FOUND,
            Self::Unreachable { .. } | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Refused { .. } | Self::Malformed { .. } => StatusCode::BAD_GATEWAY,
        }
    }
}

/// A Docker Engine on a Unix socket.
#[derive(Debug, Clone)]
pub struct Engine {
    socket: PathBuf,
    clock: Clock,
    readers: Arc<Semaphore>,
    idle: Duration,
}

impl Engine {
    /// The engine on this socket, such as `/var/run/docker.sock`. Nothing is asked yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            clock: Clock::system(),
            readers: Arc::new(Semaphore::new(READERS)),
            idle: IDLE,
        }
    }

    /// With another clock for times relative to now.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Every container, stopped ones too.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn list(&self) -> Result<Vec<Container>, EngineError> {
        let summaries: Vec<Summary> = self.json("/containers/json?all=true").await?;
        Ok(summaries.into_iter().map(Container::from).collect())
    }

    /// A container's log in the form `options` ask for. Each item is one or more whole
    /// lines. It ends with the log, or when either side is silent for ten minutes; an
    /// error on the way is a last line `{"error":"..."}`. Dropping it ends the engine's
    /// request.
    ///
    /// # Errors
    /// [`EngineError`] when the log cannot be opened.
    pub async fn logs(
        &self,
        name: &str,
        options: LogOptions,
    ) -> Result<impl Stream<Item = Bytes> + Send + use<>, EngineError> {
        let name = usable_name(name)?;
        let slot = Arc::clone(&self.readers)
            .try_acquire_owned()
            .map_err(|_| EngineError::Busy)?;
        let details: Details = self
            .json(&format!("/containers/{name}/json"))
            .await
            .map_err(|error| match error {
                EngineError::Refused { status: 404, .. } => EngineError::Unknown {
                    name: name.to_owned(),
                },
                other => other,
            })?;
        // By id: a container of the same name may have taken its place, with another form of log.
        let id = usable_name(&details.id).map_err(|_| malformed("a container without an id"))?;
        let answer = self
            .get(&format!("/containers/{id}/logs?{}", options.to_query()))
            .await?;
        let frames = if details.config.tty {
            Frames::terminal()
        } else {
            Frames::multiplexed()
        };
        Ok(logs::stream(answer, frames, options, self.idle, slot))
    }

    async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, EngineError> {
        let read = async {
            let body = self.get(path).await?.collect().await?;
            serde_json::from_slice(&body).map_err(malformed)
        };
        tokio::time::timeout(ANSWER, read)
            .await
            .map_err(|_| self.unreachable(format!("no answer within {ANSWER:?}")))?
    }

    /// An answer of status 200; its body is still to be read.
    async fn get(&self, path: &str) -> Result<Answer, EngineError> {
        tokio::time::timeout(ANSWER, self.open(path))
            .await
            .map_err(|_| self.unreachable(format!("no answer within {ANSWER:?}")))?
    }

    async fn open(&self, path: &str) -> Result<Answer, EngineError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| self.unreachable(error))?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(READ_AHEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unreachable(error))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // What goes wrong shows in the request or its body.
            let _ = connection.await;
        });
        let request = Request::get(path)
            .header("host", "docker")
            .body(Empty::<Bytes>::new())
            .map_err(malformed)?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| self.unreachable(error))?;
        let status = response.status();
        let answer = Answer {
            body: response.into_body(),
            _connection: tasks,
        };
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let body = answer.collect().await?;
        let message = serde_json::from_slice::<Refusal>(&body).map_or_else(
            |_| String::from_utf8_lossy(&body).into_owned(),
            |it| it.message,
        );
        Err(EngineError::Refused {
            status: status.as_u16(),
            message,
        })
    }

    fn unreachable(&self, reason: impl ToString) -> EngineError {
        EngineError::Unreachable {
            socket: self.socket.clone(),
            reason: reason.to_string(),
        }
    }
}

/// An answer and the connection it comes over; dropping it closes the connection, which
/// ends the engine's work on it.
#[derive(Debug)]
struct Answer {
    body: Incoming,
    _connection: JoinSet<()>,
}

impl Answer {
    async fn collect(self) -> Result<Bytes, EngineError> {
        Limited::new(self.body, MAX_ANSWER)
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .map_err(malformed)
    }

    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, EngineError> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(malformed(error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

fn malformed(reason: impl ToString) -> EngineError {
    EngineError::Malformed {
        reason: reason.to_string(),
    }
}

/// What the engine calls a name (or an id): nothing that means something in a path.
fn usable_name(name: &str) -> Result<&str, EngineError> {
    let bytes = name.as_bytes();
    let usable = bytes.len() <= 255
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(byte));
    if usable {
        Ok(name)
    } else {
        Err(EngineError::Name { name: name.into() })
    }
}

/// `GET /containers/json`: the engine writes `null` for what a container lacks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Summary {
    id: Option<String>,
    names: Option<Vec<String>>,
    image: Option<String>,
    #[serde(rename = "ImageID")]
    image_id: Option<String>,
    created: Option<i64>,
    state: Option<String>,
    status: Option<String>,
}

impl From<Summary> for Container {
    fn from(summary: Summary) -> Self {
        Self {
            id: summary.id.unwrap_or_default(),
            names: summary.names.unwrap_or_default(),
            image: summary.image.unwrap_or_default(),
            image_id: summary.image_id.unwrap_or_default(),
            created: summary.created.unwrap_or_default(),
            state: summary.state.unwrap_or_default(),
            status: summary.status.unwrap_or_default(),
        }
    }
}

/// `GET /containers/<name>/json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Details {
    id: String,
    config: DetailsConfig,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DetailsConfig {
    tty: bool,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    message: String,
}

/// `/logs/<container>` of this engine.
pub fn router(engine: Engine) -> Router {
    Router::new()
        .route("/logs/{name}", get(logs_route))
        .with_state(engine)
}

/// `GET /logs/<container>`: the log as a stream, or one line `{"error":"..."}`.
pub async fn logs_route(
    State(engine): State<Engine>,
    name: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Response {
    match open_log(&engine, name, query.as_deref().unwrap_or("")).await {
        Ok(response) => response,
        Err(error) => {
            tracing::info!(%error, "no log");
            respond(error.status(), JSON_LINES, logs::error_line(&error).into())
        }
    }
}

const JSON_LINES: &str = "application/x-ndjson";
const PLAIN: &str = "text/plain; charset=utf-8";

async fn open_log(
    engine: &Engine,
    name: Result<Path<String>, PathRejection>,
    query: &str,
) -> Result<Response, EngineError> {
    // Refused before: a name that is not UTF-8.
    let Path(name) = name.map_err(|rejection| EngineError::Name {
        name: rejection.body_text(),
    })?;
    let options = LogOptions::parse(query, engine.clock.now_unix())?;
    let content_type = if options.bare { PLAIN } else { JSON_LINES };
    let lines = engine.logs(&name, options).await?;
    let body = Body::from_stream(lines.map(Ok::<_, std::convert::Infallible>));
    Ok(respond(StatusCode::OK, content_type, body))
}

fn respond(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    // Containers write what they like: no browser may take it for a page, no proxy may hold it back.
    let headers = [
        (CONTENT_TYPE, content_type),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
    ];
    (status, headers, [("x-accel-buffering", "no")], body).into_response()
}

#[cfg(test)]
mod tests;
