//! TLS connections to apps whose identity is verified before the first byte is sent.
//!
//! A handshake proves that the peer holds the key in its certificate. Whose key it is takes
//! evidence and collateral, which may have to be fetched, so it is verified between the
//! handshake and the first byte: [`connect`] does both and returns the stream. Where a
//! library wants a configuration instead, verify once and use [`pinned`].

use std::sync::Arc;

use bylaw_ratls::USAGE_CUSTOM;
use bylaw_ratls::tls::{ServerTrust, client};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{Expect, KmsRoot, VerifiedPeer, Verifier, VerifyError};

/// Why there is no connection to this app.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The handshake failed.
    #[error("TLS: {0}")]
    Tls(#[from] std::io::Error),
    /// The peer is somebody else.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

/// Speaks TLS over `stream` and verifies the peer as [`Verifier::verify_certificate`] does.
/// When it returns an error the peer has learned nothing but that somebody connected.
///
/// `name` is sent to the server, which may host several; it is no identity and is not
/// compared with the certificate.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    name: ServerName<'static>,
    verifier: &Verifier,
    root: Option<&KmsRoot>,
    expect: &Expect,
) -> Result<(TlsStream<S>, VerifiedPeer), ConnectError> {
    let stream = TlsConnector::from(unverified()?)
        .connect(name, stream)
        .await?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = verifier.verify_certificate(chain, root, expect).await?;
    Ok((stream, peer))
}

/// A configuration for connections to a peer that was verified: they end in its key,
/// certified by its app's CA, or not at all. Verify again once in a while: whether the
/// platform is still current is not asked by TLS.
///
/// # Errors
/// [`VerifyError::Chain`] for a peer that was verified without a KMS root, or whose
/// certificate is not an app's.
pub fn pinned(peer: &VerifiedPeer) -> Result<Arc<ClientConfig>, VerifyError> {
    let ca = peer
        .issuer()
        .cloned()
        .ok_or_else(|| VerifyError::Chain("the peer was verified without a KMS root".to_owned()))?;
    let trust = ServerTrust::Pinned {
        spki_der: peer.spki_der().to_vec(),
        ca,
        usage: USAGE_CUSTOM,
    };
    client(trust, None).map_err(|error| VerifyError::Chain(error.to_string()))
}

/// Proves possession of the key and nothing else; [`connect`] adds the rest.
fn unverified() -> std::io::Result<Arc<ClientConfig>> {
    client(ServerTrust::FirstContact, None).map_err(std::io::Error::other)
}
