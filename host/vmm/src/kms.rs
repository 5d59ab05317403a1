//! `GetAppEnvEncryptPubKey`, asked of the KMS for clients that cannot reach it.

use std::sync::Arc;

use bylaw_rpc::message::vmm::{AppId, PublicKeyResponse};
use bylaw_rpc::{Client, ClientError, RpcError};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

/// The key for an app's environment, as the KMS at this URL signs it.
///
/// # Errors
/// No KMS is configured, or what the KMS or the connection says.
pub async fn env_encrypt_key(
    kms_url: Option<&str>,
    request: &AppId,
) -> Result<PublicKeyResponse, RpcError> {
    let url = kms_url.ok_or_else(|| RpcError::new("no_kms", "KMS is not configured"))?;
    let failed = |error: ClientError| RpcError::new("kms", error);
    let tls = unverified().map_err(|error| RpcError::new("internal", error))?;
    let client = Client::new(url).map_err(failed)?.prpc().with_tls(tls);
    client
        .call("GetAppEnvEncryptPubKey", request)
        .await
        .map_err(failed)
}

/// TLS to whoever answers: the answer is public, and its signature, which clients check
/// against the KMS they trust, says who made it.
fn unverified() -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_kms_it_says_so() {
        let error = env_encrypt_key(None, &AppId::default()).await.unwrap_err();
        assert_eq!(error.message(), "KMS is not configured");
        let nobody = env_encrypt_key(Some("http://127.0.0.1:1"), &AppId::default()).await;
        assert_eq!(nobody.unwrap_err().code(), "kms");
    }
}
