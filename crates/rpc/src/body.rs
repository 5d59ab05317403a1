//! Request bodies: bounded in length and in time.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use crate::RpcError;

/// Longest request body, in bytes.
pub(crate) const MAX_BODY: usize = 10 * 1024 * 1024;
/// What is read of a body that is too long, so that its sender hears why: a
/// connection closed in mid-upload would lose the answer.
const MAX_DISCARDED: usize = 64 * 1024 * 1024;
/// Longest wait for the whole of a body.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The whole body.
///
/// # Errors
/// [`RpcError`] with code `bad_body` when it is too long, too slow, or cut short.
pub(crate) async fn read(body: Body) -> Result<Bytes, RpcError> {
    let failed = |reason: &str| RpcError::new("bad_body", format!("failed to read data: {reason}"));
    tokio::time::timeout(BODY_TIMEOUT, collect(body))
        .await
        .unwrap_or(Err("the sender is too slow".to_owned()))
        .map_err(|reason| failed(&reason))
}

async fn collect(body: Body) -> Result<Bytes, String> {
    let mut chunks = body.into_data_stream();
    let mut whole = BytesMut::new();
    let mut discarded = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| error.to_string())?;
        if discarded == 0 && whole.len() + chunk.len() <= MAX_BODY {
            whole.extend_from_slice(&chunk);
            continue;
        }
        whole = BytesMut::new();
        discarded += chunk.len();
        if discarded > MAX_DISCARDED {
            break;
        }
    }
    if discarded > 0 {
        return Err("payload too large".to_owned());
    }
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_stops_is_told_so() {
        let endless = futures::stream::once(async { Ok::<_, std::io::Error>(Bytes::from("{")) })
            .chain(futures::stream::pending());
        let error = read(Body::from_stream(endless)).await.unwrap_err();
        assert_eq!(
            error.message(),
            "failed to read data: the sender is too slow"
        );
    }

    #[tokio::test]
    async fn what_is_too_long_is_read_to_its_end_and_refused() {
        let body = |length| Body::from(vec![0; length]);
        assert_eq!(read(body(MAX_BODY)).await.unwrap().len(), MAX_BODY);
        let error = read(body(MAX_BODY + 1)).await.unwrap_err();
        assert_eq!(error.message(), "failed to read data: payload too large");
    }
}
