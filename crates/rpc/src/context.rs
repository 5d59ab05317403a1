//! Who is calling.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;

/// Certificates the peer presented in its TLS handshake, leaf first.
#[derive(Debug, Clone, Default)]
pub struct PeerCertificates(pub Option<Arc<Vec<CertificateDer<'static>>>>);

/// What a method may know about its caller.
#[derive(Debug, Clone, Default)]
pub struct Context {
    peer: PeerCertificates,
}

impl Context {
    /// A context with these peer certificates.
    pub fn new(peer: PeerCertificates) -> Self {
        Self { peer }
    }

    /// DER of the peer's own certificate; `None` when it presented none.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.peer.0.as_ref()?.first().map(AsRef::as_ref)
    }
}
