//! A router on a socket: TLS, plain TCP or Unix.
//!
//! HTTP/1.1 by hyper, with what real clients need (RPC conventions reference,
//! section 5): half-closed requests are answered, then the connection closes.

use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::context::PeerCertificates;

/// Connections open at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 4096;
/// Longest wait for a request's head, and for a TLS handshake.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for open requests at shutdown.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves over TLS until `shutdown`; the peer's certificates reach the handlers.
pub async fn tls(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let acceptor = TlsAcceptor::from(config);
    accept_loop(
        shutdown,
        || async {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        },
        move |stream| {
            let (acceptor, router) = (acceptor.clone(), router.clone());
            async move {
                let stream = tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream))
                    .await
                    .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
                let peer = stream.get_ref().1.peer_certificates().map(|chain| {
                    Arc::new(chain.iter().map(|der| der.clone().into_owned()).collect())
                });
                Ok((
                    stream,
                    router.layer(axum::Extension(PeerCertificates(peer))),
                ))
            }
        },
    )
    .await;
}

/// Serves over plain TCP until `shutdown`.
pub async fn tcp(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    let accept = || async {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    accept_loop(shutdown, accept, move |stream| {
        let router = router.clone();
        async move { Ok((stream, router)) }
    })
    .await;
}

/// Serves on a Unix socket until `shutdown`.
pub async fn unix(listener: UnixListener, router: Router, shutdown: impl Future<Output = ()>) {
    let accept = || async { Ok(listener.accept().await?.0) };
    accept_loop(shutdown, accept, move |stream| {
        let router = router.clone();
        async move { Ok((stream, router)) }
    })
    .await;
}

/// Binds a Unix socket with these permissions; a stale socket file is replaced.
///
/// # Errors
/// When something else than a socket is in the way, or the directory is not writable.
pub fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => {
            let text = format!("{} exists and is not a socket", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

async fn accept_loop<C, A, AF, P, PF, T>(
    shutdown: impl Future<Output = ()>,
    mut accept: A,
    prepare: P,
) where
    C: Send + 'static,
    A: FnMut() -> AF,
    AF: Future<Output = io::Result<C>>,
    P: Fn(C) -> PF,
    PF: Future<Output = io::Result<(T, Router)>> + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let slot = tokio::select! {
            () = &mut shutdown => break,
            slot = Arc::clone(&slots).acquire_owned() => match slot {
                Ok(slot) => slot,
                Err(_) => break,
            },
        };
        let stream = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept() => match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: wait for some to close.
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let prepared = prepare(stream);
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            let _slot = slot;
            let (io, router) = match prepared.await {
                Ok(prepared) => prepared,
                Err(error) => return tracing::debug!(%error, "handshake failed"),
            };
            let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
                let service = TowerToHyperService::new(router.clone());
                async move { hyper::service::Service::call(&service, request).await }
            });
            let connection = http1::Builder::new()
                .half_close(true)
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(io), service);
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
}
