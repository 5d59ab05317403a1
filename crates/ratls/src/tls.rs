//! rustls configurations, one function a kind of peer.
//!
//! Handshake signatures are always verified: whoever is on the other side holds
//! the key of the certificate it shows. What differs is how that key is trusted.

use std::sync::Arc;

use bylaw_keys::P256Key;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};

use crate::{Cert, CertError, RaTlsCert};

/// How a client trusts the server's key.
#[derive(Debug, Clone)]
pub enum ServerTrust {
    /// Not by its chain. The caller must verify the attestation in the certificate
    /// before it sends anything.
    FirstContact,
    /// It must be this key, certified for this usage by this CA.
    Pinned {
        /// DER SubjectPublicKeyInfo, attested on first contact.
        spki_der: Vec<u8>,
        /// DER of the CA that must have issued it.
        ca: CertificateDer<'static>,
        /// Special usage it must state.
        usage: &'static str,
    },
}

/// A certificate chain with its key, to present to the peer.
#[derive(Debug)]
pub struct Identity<'a> {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Key of the leaf.
    pub key: &'a P256Key,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn setup(error: impl std::fmt::Display) -> CertError {
    CertError::Issue(format!("TLS: {error}"))
}

fn private_key(key: &P256Key) -> Result<PrivateKeyDer<'static>, CertError> {
    let der = key.to_pkcs8_der().map_err(setup)?;
    PrivateKeyDer::try_from(der.to_vec()).map_err(setup)
}

/// A client that trusts servers as told and presents `identity`, if any.
///
/// # Errors
/// [`CertError::Issue`] when the identity cannot be used.
pub fn client(
    trust: ServerTrust,
    identity: Option<Identity<'_>>,
) -> Result<Arc<ClientConfig>, CertError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier {
            trust,
            provider: provider(),
        }));
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder
            .with_client_auth_cert(identity.chain, private_key(identity.key)?)
            .map_err(setup)?,
    };
    Ok(Arc::new(config))
}

/// A server that presents `identity` and takes client certificates that chain to
/// `client_ca`; a client may also present none.
///
/// # Errors
/// [`CertError::Issue`] when identity or CA cannot be used.
pub fn server(identity: Identity<'_>, client_ca: &Cert) -> Result<Arc<ServerConfig>, CertError> {
    let mut roots = RootCertStore::empty();
    roots.add(client_ca.der.clone()).map_err(setup)?;
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()
        .map_err(setup)?;
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(setup)?
        .with_client_cert_verifier(clients)
        .with_single_cert(identity.chain, private_key(identity.key)?)
        .map(Arc::new)
        .map_err(setup)
}

/// Verifies `leaf` through `intermediates` to `root` at `now` (Unix seconds).
///
/// # Errors
/// [`CertError::Malformed`] says which step failed.
pub fn verify_chain(
    leaf: &[u8],
    intermediates: &[CertificateDer<'_>],
    root: &[u8],
    now: u64,
) -> Result<(), CertError> {
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
    chain(leaf, intermediates, root, now).map_err(|error| CertError::Malformed(error.to_string()))
}

/// Usage is stated in our own extension, not as extended key usage.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

fn chain(
    leaf: &[u8],
    intermediates: &[CertificateDer<'_>],
    root: &[u8],
    now: UnixTime,
) -> Result<(), webpki::Error> {
    let root = CertificateDer::from(root);
    let anchor = webpki::anchor_from_trusted_cert(&root)?;
    let leaf = CertificateDer::from(leaf);
    EndEntityCert::try_from(&leaf)?
        .verify_for_usage(
            &[webpki::ring::ECDSA_P256_SHA256],
            &[anchor],
            intermediates,
            now,
            AnyUsage,
            None,
            None,
        )
        .map(|_| ())
}

#[derive(Debug)]
struct Verifier {
    trust: ServerTrust,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let refuse = Error::InvalidCertificate;
        let cert =
            RaTlsCert::parse(end_entity).map_err(|_| refuse(CertificateError::BadEncoding))?;
        match &self.trust {
            ServerTrust::FirstContact => {}
            ServerTrust::Pinned {
                spki_der,
                ca,
                usage,
            } => {
                chain(end_entity, intermediates, ca, now)
                    .map_err(|_| refuse(CertificateError::UnknownIssuer))?;
                // Names are no identity here: the attested key is.
                if cert.spki_der != *spki_der {
                    return Err(refuse(CertificateError::ApplicationVerificationFailure));
                }
                if cert.usage.as_deref() != Some(*usage) {
                    return Err(refuse(CertificateError::InvalidPurpose));
                }
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests;
