//! A log on its way from the engine to one reader.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures::Stream;
use futures::stream::poll_fn;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

use crate::containers::frames::{Channel, Frames, Message};
use crate::containers::options::LogOptions;
use crate::containers::{Answer, EngineError};

/// Batches that wait for the reader. While it does not take them, the engine is not read.
const QUEUED: usize = 2;
/// A batch is handed on when it has this many bytes, or when there is nothing to add yet.
const BATCH: usize = 64 * 1024;

/// The log in `answer`, read by a task that ends when the stream is dropped.
pub(super) fn stream(
    answer: Answer,
    frames: Frames,
    options: LogOptions,
    idle: Duration,
    slot: OwnedSemaphorePermit,
) -> impl Stream<Item = Bytes> + Send + use<> {
    let (sender, mut receiver) = mpsc::channel(QUEUED);
    tokio::spawn(async move {
        let _slot = slot;
        let reader = sender.clone();
        let writer = Writer {
            sender,
            options,
            idle,
            batch: BytesMut::new(),
        };
        tokio::select! {
            () = reader.closed() => {}
            () = write_log(answer, frames, writer) => {}
        }
    });
    poll_fn(move |context| receiver.poll_recv(context))
}

/// Why a log ends before its end.
enum Stop {
    Engine(EngineError),
    /// It has gone, or takes nothing.
    Reader,
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

async fn write_log(answer: Answer, frames: Frames, mut writer: Writer) {
    if let Err(Stop::Engine(error)) = copy(answer, frames, &mut writer).await {
        tracing::info!(%error, "a log ends early");
        writer.batch.put(error_line(&error).as_bytes());
    }
    // A reader who has gone misses nothing.
    let _ = writer.flush().await;
}

async fn copy(mut answer: Answer, mut frames: Frames, writer: &mut Writer) -> Result<(), Stop> {
    // A log without news ends as if the engine had ended it.
    while let Ok(news) = timeout(writer.idle, answer.next()).await {
        let Some(bytes) = news? else { break };
        frames.feed(&bytes);
        while let Some(message) = frames.next()? {
            writer.write(&message).await?;
        }
        writer.flush().await?;
    }
    if let Some(message) = frames.finish()? {
        writer.write(&message).await?;
    }
    Ok(())
}

struct Writer {
    sender: mpsc::Sender<Bytes>,
    options: LogOptions,
    idle: Duration,
    batch: BytesMut,
}

impl Writer {
    async fn write(&mut self, message: &Message) -> Result<(), Stop> {
        render(message, &self.options, &mut self.batch);
        if self.batch.len() >= BATCH {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Stop> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = self.batch.split().freeze();
        match timeout(self.idle, self.sender.send(batch)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Stop::Reader),
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    channel: Channel,
    message: &'a str,
}

#[derive(Serialize)]
struct ErrorLine {
    error: String,
}

/// How an error shows in a log.
pub(super) fn error_line(error: &EngineError) -> String {
    let error = error.to_string();
    json_line(&ErrorLine { error })
}

fn json_line(value: &impl Serialize) -> String {
    // Strings and names of channels always serialise.
    let mut line = serde_json::to_string(value).unwrap_or_default();
    line.push('\n');
    line
}

fn render(message: &Message, options: &LogOptions, out: &mut BytesMut) {
    let content = content(&message.bytes, options);
    if !options.bare {
        let line = json_line(&Line {
            channel: message.channel,
            message: &content,
        });
        out.put(line.as_bytes());
        return;
    }
    out.put(content.as_bytes());
    // Text has its own line ends.
    if !options.text {
        out.put_u8(b'\n');
    }
}

fn content<'a>(bytes: &'a [u8], options: &LogOptions) -> Cow<'a, str> {
    match (options.text, options.ansi) {
        (false, _) => Cow::Owned(STANDARD.encode(bytes)),
        (true, true) => String::from_utf8_lossy(bytes),
        // A message at a time: a sequence left open cannot swallow the next message. Text
        // first: half a character would hide the escape after it.
        (true, false) => {
            let text = String::from_utf8_lossy(bytes);
            let plain = anstream::adapter::strip_bytes(text.as_bytes()).into_vec();
            Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rendered(bytes: &[u8], query: &str) -> String {
        let message = Message {
            channel: Channel::Stderr,
            bytes: Bytes::copy_from_slice(bytes),
        };
        let options = LogOptions::parse(query, 0).unwrap();
        let mut out = BytesMut::new();
        render(&message, &options, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn each_form_is_what_readers_parse() {
        let coloured = "\x1b[31mré\x1b[0m \"x\"\t\n".as_bytes();
        for (query, expected) in [
            (
                "",
                "{\"channel\":\"stderr\",\"message\":\"G1szMW1yw6kbWzBtICJ4IgkK\"}\n",
            ),
            // Escape sequences concern text alone.
            (
                "ansi",
                "{\"channel\":\"stderr\",\"message\":\"G1szMW1yw6kbWzBtICJ4IgkK\"}\n",
            ),
            (
                "text",
                "{\"channel\":\"stderr\",\"message\":\"ré \\\"x\\\"\\t\\n\"}\n",
            ),
            (
                "text&ansi",
                "{\"channel\":\"stderr\",\"message\":\"\\u001b[31mré\\u001b[0m \\\"x\\\"\\t\\n\"}\n",
            ),
            ("bare", "G1szMW1yw6kbWzBtICJ4IgkK\n"),
            ("bare&text", "ré \"x\"\t\n"),
            ("bare&text&ansi", "\u{1b}[31mré\u{1b}[0m \"x\"\t\n"),
        ] {
            assert_eq!(rendered(coloured, query), expected, "{query}");
        }
    }

    #[test]
    fn bytes_that_are_not_text_stay_whole_in_base64_and_readable_in_text() {
        let bytes = b"a\xff\x00\xc3\n";
        assert_eq!(rendered(bytes, "bare"), "Yf8Awwo=\n");
        assert_eq!(rendered(bytes, "bare&text&ansi"), "a\u{fffd}\0\u{fffd}\n");
    }

    #[test]
    fn hyperlinks_and_titles_are_stripped_too() {
        let bytes = b"\x1b]0;title\x07\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\x1b[2K\r\n";
        assert_eq!(rendered(bytes, "bare&text"), "link\r\n");
        assert_eq!(rendered(b"\xc2\x1b[31mred\n", "bare&text"), "\u{fffd}red\n");
    }

    #[test]
    fn an_error_is_one_line_of_json() {
        let error = EngineError::Malformed {
            reason: "a\n\"b\"".into(),
        };
        let line = error_line(&error);
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["error"], error.to_string());
    }

    proptest! {
        #[test]
        fn any_message_is_one_line_that_parses(bytes: Vec<u8>, text: bool, ansi: bool) {
            let line = rendered(&bytes, &format!("text={text}&ansi={ansi}"));
            prop_assert_eq!(line.matches('\n').count(), 1);
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            let message = value["message"].as_str().unwrap();
            if !text {
                prop_assert_eq!(STANDARD.decode(message).unwrap(), bytes);
            } else if ansi {
                prop_assert_eq!(message, String::from_utf8_lossy(&bytes));
            } else {
                prop_assert_eq!(message.find('\u{1b}'), None);
            }
        }
    }
}
