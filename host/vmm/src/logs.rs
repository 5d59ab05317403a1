//! `/logs`: what a VM wrote on its console, and what QEMU said.

use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anstream::adapter::StripBytes;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde::Deserialize;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::Instant;

use crate::node::Node;

/// Lines from the end, unless asked otherwise.
const LINES: u32 = 10_000;
const CHUNK: usize = 64 * 1024;
const POLL: Duration = Duration::from_millis(250);
/// How long a reader may hear nothing.
const HEARTBEAT: Duration = Duration::from_secs(60);
const HEARTBEAT_LINE: &[u8] = b"[vmm heartbeat]\n";

/// What to read.
#[derive(Debug, Deserialize)]
pub struct LogsQuery {
    id: String,
    #[serde(default, deserialize_with = "flag")]
    follow: bool,
    #[serde(default, deserialize_with = "flag")]
    ansi: bool,
    #[serde(default)]
    lines: Option<u32>,
    #[serde(default)]
    ch: Option<String>,
}

/// `true`, `1`, `yes`, `on` and a name without a value are true, as for dstack's clients.
fn flag<'de, D: serde::Deserializer<'de>>(input: D) -> Result<bool, D::Error> {
    let text = String::deserialize(input)?;
    match text.to_ascii_lowercase().as_str() {
        "" | "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        other => Err(serde::de::Error::custom(format!(
            "{other:?} is not true or false"
        ))),
    }
}

/// Answers with the text, which goes on while following.
pub async fn logs(State(node): State<Arc<Node>>, Query(query): Query<LogsQuery>) -> Response {
    let file = match query.ch.as_deref() {
        None | Some("" | "serial") => "serial.log",
        Some("stdout") => "stdout.log",
        Some("stderr") => "stderr.log",
        Some(_) => {
            let text = "unknown channel; serial, stdout or stderr";
            return (StatusCode::BAD_REQUEST, text).into_response();
        }
    };
    let Ok(vm) = node.vm(&query.id) else {
        return (StatusCode::NOT_FOUND, "VM not found").into_response();
    };
    let path = vm.dir.file(file);
    let lines = query.lines.unwrap_or(LINES);
    let start = match start_of_tail(&path, lines).await {
        Ok(start) => start,
        Err(error) => {
            let text = format!("{file}: {error}");
            return (StatusCode::INTERNAL_SERVER_ERROR, text).into_response();
        }
    };
    let text = read(Reader::new(path, start, query.follow));
    let body = if query.ansi {
        Body::from_stream(text)
    } else {
        let mut strip = StripBytes::new();
        Body::from_stream(text.map(move |chunk| chunk.map(|chunk| plain(&mut strip, &chunk))))
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    let no_buffering = HeaderName::from_static("x-accel-buffering");
    headers.insert(no_buffering, HeaderValue::from_static("no"));
    let nosniff = HeaderName::from_static("x-content-type-options");
    headers.insert(nosniff, HeaderValue::from_static("nosniff"));
    response
}

fn plain(strip: &mut StripBytes, chunk: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(chunk.len());
    for piece in strip.strip_next(chunk) {
        text.extend_from_slice(piece);
    }
    text.into()
}

/// Where the last lines begin.
async fn start_of_tail(path: &Path, lines: u32) -> io::Result<u64> {
    let mut file = match File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let length = file.metadata().await?.len();
    if lines == 0 {
        return Ok(length);
    }
    let mut wanted = u64::from(lines);
    let mut end = length;
    let mut chunk = vec![0; CHUNK];
    while end > 0 {
        let begin = end.saturating_sub(CHUNK as u64);
        let size = usize::try_from(end - begin).map_err(io::Error::other)?;
        file.seek(SeekFrom::Start(begin)).await?;
        let read = chunk.get_mut(..size).unwrap_or_default();
        file.read_exact(read).await?;
        for (index, byte) in read.iter().enumerate().rev() {
            let at = begin + index as u64;
            // A newline at the very end ends the last line; it begins none.
            if *byte == b'\n' && at + 1 != length {
                wanted -= 1;
                if wanted == 0 {
                    return Ok(at + 1);
                }
            }
        }
        end = begin;
    }
    Ok(0)
}

#[derive(Debug)]
struct Reader {
    path: PathBuf,
    file: Option<File>,
    at: u64,
    follow: bool,
    said: Instant,
}

impl Reader {
    fn new(path: PathBuf, at: u64, follow: bool) -> Self {
        Self {
            path,
            file: None,
            at,
            follow,
            said: Instant::now(),
        }
    }

    /// The next piece; none at the end.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let chunk = self.more().await?;
            if !chunk.is_empty() {
                self.said = Instant::now();
                return Ok(Some(chunk));
            }
            if !self.follow {
                return Ok(None);
            }
            if self.said.elapsed() >= HEARTBEAT {
                self.said = Instant::now();
                return Ok(Some(Bytes::from_static(HEARTBEAT_LINE)));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// What was written since; from the start when the file was cut.
    async fn more(&mut self) -> io::Result<Bytes> {
        if self.file.is_none() {
            self.file = match File::open(&self.path).await {
                Ok(file) => Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
        }
        let Some(file) = &mut self.file else {
            return Ok(Bytes::new());
        };
        let length = file.metadata().await?.len();
        if length < self.at {
            self.at = 0;
        }
        if length == self.at {
            // A VM that is gone: its reader is done.
            if !tokio::fs::try_exists(&self.path).await? {
                self.follow = false;
            }
            return Ok(Bytes::new());
        }
        file.seek(SeekFrom::Start(self.at)).await?;
        let mut chunk = vec![0; CHUNK];
        let read = file.read(&mut chunk).await?;
        chunk.truncate(read);
        self.at += read as u64;
        Ok(chunk.into())
    }
}

fn read(reader: Reader) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Ok(Some(chunk)) => Some((Ok(chunk), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(text: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        file
    }

    async fn tail(text: &[u8], lines: u32) -> Vec<u8> {
        let file = file(text);
        let start = start_of_tail(file.path(), lines).await.unwrap();
        text[usize::try_from(start).unwrap()..].to_vec()
    }

    #[tokio::test]
    async fn a_tail_is_whole_lines() {
        for text in [&b"a\nb\nc\n"[..], b"a\nb\nc"] {
            assert_eq!(tail(text, 2).await, text[2..]);
            assert_eq!(tail(text, 1).await, text[4..]);
            assert_eq!(tail(text, 9).await, text);
            assert_eq!(tail(text, 0).await, b"");
        }
        let long = b"x".repeat(CHUNK * 2);
        let text = [&b"first\n"[..], &long, b"\nlast\n"].concat();
        assert_eq!(tail(&text, 1).await, b"last\n");
        assert_eq!(tail(&text, 2).await, text[6..]);
        assert_eq!(start_of_tail(Path::new("/nowhere"), 1).await.unwrap(), 0);
    }

    #[test]
    fn escapes_are_cut_across_chunks() {
        let mut strip = StripBytes::new();
        let mut text = plain(&mut strip, b"\x1b[3").to_vec();
        text.extend(plain(&mut strip, b"1mred\x1b[0m\n"));
        assert_eq!(text, b"red\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_follower_sees_more_a_new_start_and_a_heartbeat() {
        let mut file = file(b"one\n");
        let mut reader = Reader::new(file.path().to_owned(), 0, true);
        assert_eq!(reader.next().await.unwrap().unwrap(), "one\n");
        file.write_all(b"two\n").unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap(), "two\n");
        assert_eq!(reader.next().await.unwrap().unwrap(), HEARTBEAT_LINE);
        // Rotation copies and cuts.
        file.as_file().set_len(0).unwrap();
        std::io::Seek::rewind(file.as_file_mut()).unwrap();
        file.write_all(b"new\n").unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap(), "new\n");
        drop(file);
        assert_eq!(reader.next().await.unwrap(), None, "the VM is gone");
    }

    #[test]
    fn flags_are_words_or_numbers() {
        let parse = |text: &str| {
            serde_json::from_value::<LogsQuery>(serde_json::json!({ "id": "x", "follow": text }))
                .map(|query| query.follow)
                .ok()
        };
        for (text, value) in [("true", Some(true)), ("1", Some(true)), ("", Some(true))] {
            assert_eq!(parse(text), value);
        }
        assert_eq!(parse("false"), Some(false));
        assert_eq!(parse("maybe"), None);
    }
}
