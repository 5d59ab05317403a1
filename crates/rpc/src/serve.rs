//! A router on a socket: TLS, plain TCP, Unix or vsock.
//!
//! HTTP/1.1 by hyper, with what real clients need (RPC conventions reference,
//! section 5): on Unix sockets half-closed requests are answered, then the connection
//! closes. Elsewhere a peer that closes is gone, and what streams to it ends at once.

use std::future::Future;
use std::io;
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
use tokio_vsock::VsockListener;

use crate::context::{Peer, PeerCertificates, UnixPeer};
pub use crate::listen::{Listen, ListenError, Listener, bind_unix};

/// Connections open at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 4096;
/// Longest wait for a request's head, and for a TLS handshake.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for open requests at shutdown.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves on a bound socket of any kind until `shutdown`.
pub async fn any(listener: Listener, router: Router, shutdown: impl Future<Output = ()>) {
    match listener {
        Listener::Unix(listener) => unix(listener, router, shutdown).await,
        Listener::Tcp(listener) => tcp(listener, router, shutdown).await,
        Listener::Vsock(listener) => vsock(listener, router, shutdown).await,
    }
}

/// Serves over TLS until `shutdown`; the peer's certificates reach the handlers.
pub async fn tls(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let acceptor = TlsAcceptor::from(config);
    let accept = || async {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    accept_loop(HalfClose::Gone, router, shutdown, accept, move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let stream = tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream))
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            let certificates =
                PeerCertificates(stream.get_ref().1.peer_certificates().map(|chain| {
                    Arc::new(chain.iter().map(|der| der.clone().into_owned()).collect())
                }));
            let peer = Peer {
                certificates,
                ..Peer::default()
            };
            Ok((stream, peer))
        }
    })
    .await;
}

/// Serves over plain TCP until `shutdown`.
pub async fn tcp(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    let accept = || async {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    accept_loop(HalfClose::Gone, router, shutdown, accept, |stream| async {
        Ok((stream, Peer::default()))
    })
    .await;
}

/// Serves on a Unix socket until `shutdown`.
pub async fn unix(listener: UnixListener, router: Router, shutdown: impl Future<Output = ()>) {
    let accept = || async { Ok(listener.accept().await?.0) };
    accept_loop(
        HalfClose::Answered,
        router,
        shutdown,
        accept,
        |stream| async {
            let unix = stream.peer_cred().ok().map(|credentials| UnixPeer {
                pid: credentials.pid(),
                uid: credentials.uid(),
                gid: credentials.gid(),
            });
            let peer = Peer {
                unix,
                ..Peer::default()
            };
            Ok((stream, peer))
        },
    )
    .await;
}

/// Serves over vsock until `shutdown`.
pub async fn vsock(listener: VsockListener, router: Router, shutdown: impl Future<Output = ()>) {
    let accept = || async { listener.accept().await };
    accept_loop(
        HalfClose::Gone,
        router,
        shutdown,
        accept,
        |(stream, address)| async move {
            let peer = Peer {
                cid: Some(address.cid()),
                ..Peer::default()
            };
            Ok((stream, peer))
        },
    )
    .await;
}

/// Whether a peer that closes its side still waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HalfClose {
    Answered,
    Gone,
}

async fn accept_loop<C, A, AF, P, PF, T>(
    half_close: HalfClose,
    router: Router,
    shutdown: impl Future<Output = ()>,
    mut accept: A,
    prepare: P,
) where
    C: Send + 'static,
    A: FnMut() -> AF,
    AF: Future<Output = io::Result<C>>,
    P: Fn(C) -> PF,
    PF: Future<Output = io::Result<(T, Peer)>> + Send + 'static,
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
        let (prepared, router) = (prepare(stream), router.clone());
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            let _slot = slot;
            let (io, peer) = match prepared.await {
                Ok(prepared) => prepared,
                Err(error) => return tracing::debug!(%error, "handshake failed"),
            };
            let service =
                hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
                    request.extensions_mut().insert(peer.clone());
                    let service = TowerToHyperService::new(router.clone());
                    async move { hyper::service::Service::call(&service, request).await }
                });
            let connection = http1::Builder::new()
                .half_close(half_close == HalfClose::Answered)
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
