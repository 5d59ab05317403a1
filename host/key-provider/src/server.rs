//! The listener.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::Provider;
use crate::protocol::{Answer, FrameError, MAX_QUOTE, Request, read, write};

/// How long and how many.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For a request to arrive, and for an answer to be taken.
    pub transfer: Duration,
    /// For the key to be derived; the collateral service takes most of it.
    pub work: Duration,
    /// Clients at once; others wait.
    pub clients: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            transfer: Duration::from_secs(10),
            work: Duration::from_secs(60),
            clients: 16,
        }
    }
}

/// Answers until `stop` is ready.
pub async fn serve(
    listener: TcpListener,
    provider: Arc<Provider>,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let clients = Arc::new(Semaphore::new(limits.clients));
    let mut stop = std::pin::pin!(stop);
    loop {
        let admitted = async {
            let permit = Arc::clone(&clients).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            admitted = admitted => admitted,
            () = &mut stop => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let provider = Arc::clone(&provider);
                tokio::spawn(async move {
                    let _permit = permit;
                    if let Err(error) = converse(stream, &provider, limits).await {
                        tracing::debug!(%peer, %error, "connection ended");
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors: the next moment may have some.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(
    mut stream: TcpStream,
    provider: &Provider,
    limits: Limits,
) -> Result<(), FrameError> {
    let late = |what: &str| std::io::Error::new(std::io::ErrorKind::TimedOut, what.to_owned());
    let request: Result<Request, FrameError> = timeout(limits.transfer, read(&mut stream))
        .await
        .unwrap_or_else(|_| Err(late("the request did not arrive in time").into()));
    let answer = match request {
        Err(FrameError::Nothing) => return Err(FrameError::Nothing),
        Err(error) => refuse(&error),
        Ok(request) if request.quote.len() > MAX_QUOTE => refuse(&format!(
            "the quote has {} bytes; the limit is {MAX_QUOTE}",
            request.quote.len()
        )),
        Ok(request) => match timeout(limits.work, provider.key_for(&request.quote)).await {
            Ok(Ok(key)) => Answer::Key(key),
            Ok(Err(refusal)) => refuse(&refusal),
            Err(_) => refuse(&format!("verifying took longer than {:?}", limits.work)),
        },
    };
    timeout(limits.transfer, write(&mut stream, &answer))
        .await
        .unwrap_or_else(|_| Err(late("the answer was not taken in time").into()))
}

fn refuse(reason: &dyn std::fmt::Display) -> Answer {
    tracing::warn!(%reason, "refused");
    Answer::Refused {
        error: reason.to_string(),
    }
}
