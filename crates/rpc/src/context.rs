//! Who is calling.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;

/// Certificates the peer presented in its TLS handshake, leaf first.
#[derive(Debug, Clone, Default)]
pub struct PeerCertificates(pub Option<Arc<Vec<CertificateDer<'static>>>>);

/// The process at the other end of a Unix socket, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnixPeer {
    /// In this process's namespace; `None` when it is not visible from here.
    pub pid: Option<i32>,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Everything a transport knows about its other end.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// TLS.
    pub certificates: PeerCertificates,
    /// Unix sockets.
    pub unix: Option<UnixPeer>,
    /// vsock: the context id.
    pub cid: Option<u32>,
}

/// What a method may know about its caller.
#[derive(Debug, Clone, Default)]
pub struct Context {
    peer: Peer,
}

impl Context {
    /// A context with this peer.
    pub fn new(peer: Peer) -> Self {
        Self { peer }
    }

    /// DER of the peer's own certificate; `None` when it presented none.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.peer
            .certificates
            .0
            .as_ref()?
            .first()
            .map(AsRef::as_ref)
    }

    /// The calling process, over Unix sockets.
    pub fn unix_peer(&self) -> Option<UnixPeer> {
        self.peer.unix
    }

    /// The calling VM, over vsock.
    pub fn peer_cid(&self) -> Option<u32> {
        self.peer.cid
    }
}
