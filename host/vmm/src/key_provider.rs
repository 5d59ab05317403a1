//! The sealing enclave of this machine (keys reference, section 9).
//!
//! One request a connection: a frame is its length (four bytes, big-endian) and JSON.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest quote that is passed on, in bytes.
pub const MAX_QUOTE: usize = 1024 * 1024;
/// Longest answer, in bytes.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// The enclave fetches collateral to check the quote.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Request<'a> {
    quote: &'a [u8],
}

/// The key of a TD, for the TD alone.
#[derive(Debug, Deserialize)]
pub struct SealedKey {
    /// A sealed box.
    pub encrypted_key: Vec<u8>,
    /// Proof of the enclave.
    pub provider_quote: Vec<u8>,
}

/// What the enclave answers: the key, or, where it says so, why there is none.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Key(SealedKey),
    Refused { error: String },
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyProviderError {
    /// Nobody is there.
    #[error(
        "no key provider answers at {address} ({source}): start bylaw-key-provider on this \
         machine, or name where it listens in [key_provider] of vmm.toml"
    )]
    Unreachable {
        /// Where.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// It says no.
    #[error("the key provider refuses: {0}")]
    Refused(String),
    /// It says something else, nothing, or too late.
    #[error("the key provider at {address}: {source}")]
    Answer {
        /// Who.
        address: String,
        /// What.
        source: io::Error,
    },
}

/// Asks the enclave at `host:port`.
///
/// # Errors
/// [`KeyProviderError`]; dstack's provider ends the connection instead of saying why.
pub async fn sealing_key(address: &str, quote: &[u8]) -> Result<SealedKey, KeyProviderError> {
    let unusable = |source| KeyProviderError::Answer {
        address: address.to_owned(),
        source,
    };
    let exchange = async {
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|source| KeyProviderError::Unreachable {
            address: address.to_owned(),
            source,
        })?;
        match exchange(stream, quote).await.map_err(unusable)? {
            Answer::Key(key) => Ok(key),
            Answer::Refused { error } => Err(KeyProviderError::Refused(error)),
        }
    };
    tokio::time::timeout(PATIENCE, exchange)
        .await
        .unwrap_or_else(|_| {
            let late = format!("no answer within {PATIENCE:?}");
            Err(unusable(io::Error::new(io::ErrorKind::TimedOut, late)))
        })
}

async fn exchange(mut stream: TcpStream, quote: &[u8]) -> io::Result<Answer> {
    let request = serde_json::to_vec(&Request { quote })?;
    let length = u32::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&request).await?;
    let length = stream.read_u32().await?;
    let length = usize::try_from(length).map_err(io::Error::other)?;
    if length == 0 || length > MAX_ANSWER {
        let text = format!("an answer of {length} bytes; 1 to {MAX_ANSWER} are possible");
        return Err(io::Error::other(text));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(serde_json::from_slice(&answer)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer_with(frame: Vec<u8>) -> Result<SealedKey, KeyProviderError> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let length = usize::try_from(stream.read_u32().await.unwrap()).unwrap();
            let mut request = vec![0; length];
            stream.read_exact(&mut request).await.unwrap();
            stream.write_all(&frame).await.unwrap();
            request
        });
        let answer = sealing_key(&address, &[1, 2, 255]).await;
        assert_eq!(served.await.unwrap(), br#"{"quote":[1,2,255]}"#);
        answer
    }

    fn frame(length: u32, json: &[u8]) -> Vec<u8> {
        [&length.to_be_bytes()[..], json].concat()
    }

    #[tokio::test]
    async fn a_key_comes_back() {
        let json = br#"{"encrypted_key":[7],"provider_quote":[8,9]}"#;
        let length = u32::try_from(json.len()).unwrap();
        let key = answer_with(frame(length, json)).await.unwrap();
        assert_eq!(
            (key.encrypted_key, key.provider_quote),
            (vec![7], vec![8, 9])
        );
    }

    #[tokio::test]
    async fn what_is_no_answer_is_an_error() {
        for wrong in [
            frame(0, b""),
            frame(u32::MAX, b""),
            frame(2, b"{}"),
            frame(10, b"{}"),
            vec![0],
        ] {
            assert!(answer_with(wrong.clone()).await.is_err(), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn a_refusal_says_why_and_an_absence_what_to_start() {
        let json = br#"{"error":"the TD runs on another machine"}"#;
        let length = u32::try_from(json.len()).unwrap();
        let refused = answer_with(frame(length, json)).await.unwrap_err();
        assert!(
            refused
                .to_string()
                .ends_with("the TD runs on another machine")
        );
        let absent = sealing_key("127.0.0.1:1", &[]).await.unwrap_err();
        assert!(absent.to_string().contains("start bylaw-key-provider"));
    }
}
