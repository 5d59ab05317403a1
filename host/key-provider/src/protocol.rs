//! The wire: one frame each way over TCP. A frame is its length (u32, big endian) and JSON.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest frame, in bytes.
pub const MAX_FRAME: u32 = 8 << 20;
/// Longest quote in a request, in bytes.
pub const MAX_QUOTE: usize = 1 << 20;

/// What a TD asks, through its host.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// TDX quote, as a list of numbers.
    pub quote: Vec<u8>,
}

/// A key that only one TD can open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedKey {
    /// Sealed box, 80 bytes.
    pub encrypted_key: Vec<u8>,
    /// SGX quote whose report data starts with the SHA-256 of the box.
    pub provider_quote: Vec<u8>,
}

/// What is answered: the key, or why there is none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// The key.
    Key(SealedKey),
    /// Why there is none.
    Refused {
        /// A sentence.
        error: String,
    },
}

/// A frame that is none.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Nobody said anything: a probe, not a client.
    #[error("the connection ended before a frame began")]
    Nothing,
    /// Too long, or empty.
    #[error("a frame of {0} bytes: it must have 1 to {MAX_FRAME}")]
    Length(u32),
    /// Not the JSON expected.
    #[error("the frame is not the JSON expected: {0}")]
    Json(#[from] serde_json::Error),
    /// The connection.
    #[error("the connection: {0}")]
    Io(#[from] io::Error),
}

/// Reads one frame.
///
/// # Errors
/// [`FrameError`].
pub async fn read<T: for<'de> Deserialize<'de>>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<T, FrameError> {
    let length = match stream.read_u32().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(FrameError::Nothing);
        }
        length => length?,
    };
    if !(1..=MAX_FRAME).contains(&length) {
        return Err(FrameError::Length(length));
    }
    // Grows as bytes arrive: a length alone reserves nothing.
    let mut frame = Vec::new();
    stream
        .take(u64::from(length))
        .read_to_end(&mut frame)
        .await?;
    if u32::try_from(frame.len()) != Ok(length) {
        let reason = format!("it ended after {} of {length} bytes", frame.len());
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason).into());
    }
    Ok(serde_json::from_slice(&frame)?)
}

/// Writes one frame.
///
/// # Errors
/// [`FrameError`].
pub async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    value: &impl Serialize,
) -> Result<(), FrameError> {
    let json = serde_json::to_vec(value)?;
    let length = u32::try_from(json.len())
        .ok()
        .filter(|length| *length <= MAX_FRAME)
        .ok_or(FrameError::Length(u32::MAX))?;
    stream.write_u32(length).await?;
    stream.write_all(&json).await?;
    stream.flush().await?;
    Ok(())
}

/// Why a provider gave no key.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody answers.
    #[error("no key provider answers at {address}: {reason}; start bylaw-key-provider")]
    Unreachable {
        /// Whom.
        address: String,
        /// Why.
        reason: String,
    },
    /// It said no.
    #[error("the key provider refused: {0}")]
    Refused(String),
    /// It said something else.
    #[error("the key provider at {address}: {source}")]
    Frame {
        /// Who.
        address: String,
        /// What.
        source: FrameError,
    },
}

/// Asks the provider at `address` (`host:port`) for the key of the TD this quote is of.
///
/// # Errors
/// [`AskError`]; a provider of upstream ends the connection instead of saying why.
pub async fn ask(address: &str, quote: Vec<u8>, timeout: Duration) -> Result<SealedKey, AskError> {
    let unreachable = |reason: String| AskError::Unreachable {
        address: address.to_owned(),
        reason,
    };
    let exchange = async {
        let mut stream = TcpStream::connect(address)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let frame = |source| AskError::Frame {
            address: address.to_owned(),
            source,
        };
        write(&mut stream, &Request { quote })
            .await
            .map_err(frame)?;
        match read(&mut stream).await.map_err(frame)? {
            Answer::Key(key) => Ok(key),
            Answer::Refused { error } => Err(AskError::Refused(error)),
        }
    };
    tokio::time::timeout(timeout, exchange)
        .await
        .unwrap_or_else(|_| Err(unreachable(format!("no answer within {timeout:?}"))))
}
