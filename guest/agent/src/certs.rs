//! TLS keys and certificates for the app.

use bylaw_attest::{AppInfo, report_data};
use bylaw_attester::Attester;
use bylaw_keys::{P256Key, Secret};
use bylaw_ratls::csr::{CertConfig, Csr};
use bylaw_ratls::{CertError, CertSpec, Issuer, USAGE_CUSTOM};
use bylaw_rpc::RpcError;
use bylaw_rpc::message::kms::{SignCertRequest, SignCertResponse};
use bylaw_types::TrustAnchorDigest;

use crate::kms::KmsPool;

/// Who signs the app's certificates.
#[derive(Debug)]
pub enum Signer {
    /// The app's CA at the KMS.
    Kms(Box<KmsPool>),
    /// A CA of this VM's own.
    Local(Box<LocalCa>),
}

/// A CA of this VM's own.
#[derive(Debug)]
pub struct LocalCa {
    /// Signs.
    pub issuer: Issuer,
    /// What certificates repeat when asked to.
    pub app_info: AppInfo,
    /// What this VM trusts.
    pub trust_anchors: TrustAnchorDigest,
}

fn failed(error: impl std::fmt::Display) -> RpcError {
    RpcError::new("certificate", error)
}

/// A key and its chain, leaf first.
#[derive(Debug)]
pub struct TlsKey {
    /// PKCS#8 PEM.
    pub key_pem: String,
    /// PEM, leaf first.
    pub chain: Vec<String>,
}

impl Signer {
    /// A certificate for `key` that says what `config` asks for.
    ///
    /// # Errors
    /// [`RpcError`] with the reason.
    pub async fn certify(
        &self,
        key: &P256Key,
        config: CertConfig,
        attester: &dyn Attester,
        now: u64,
    ) -> Result<TlsKey, RpcError> {
        if let (Some(from), Some(until)) = (config.not_before, config.not_after)
            && from >= until
        {
            return Err(RpcError::bad_request(CertError::Validity));
        }
        let spki = key.spki_der();
        let evidence = attester
            .attest(&report_data::ratls(&spki))
            .await
            .map_err(failed)?;
        let chain = match self {
            Self::Kms(kms) => {
                let vm_config = attester.vm_config().await.map_err(failed)?;
                let (csr, signature) = Csr::sign(key, config, &evidence).map_err(failed)?;
                let request = SignCertRequest {
                    api_version: 2,
                    csr,
                    signature,
                    vm_config,
                };
                let answer: SignCertResponse =
                    kms.call("SignCert", &request).await.map_err(failed)?;
                answer.certificate_chain
            }
            Self::Local(ca) => {
                let spec = CertSpec {
                    subject: config.subject,
                    organization: config.org_name,
                    alt_names: config.subject_alt_names,
                    server_auth: config.usage_server_auth,
                    client_auth: config.usage_client_auth,
                    not_before: config.not_before,
                    not_after: config.not_after,
                    usage: Some(USAGE_CUSTOM),
                    attestation: config.ext_quote.then_some(evidence),
                    app_info: config.ext_app_info.then(|| ca.app_info.clone()),
                    trust_anchors: Some(ca.trust_anchors),
                    ..CertSpec::default()
                };
                let leaf = ca.issuer.issue(&spec, &spki, now).map_err(failed)?;
                vec![leaf.pem, ca.issuer.cert().pem.clone()]
            }
        };
        let key_pem = key.to_pkcs8_pem().map_err(failed)?.to_string();
        Ok(TlsKey { key_pem, chain })
    }
}

/// A fresh key: never derived, so two calls never share one.
///
/// # Errors
/// [`RpcError`] without randomness.
pub fn fresh_key() -> Result<P256Key, RpcError> {
    let seed = Secret::random().map_err(failed)?;
    P256Key::from_seed(&seed, &[]).map_err(failed)
}
