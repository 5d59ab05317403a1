//! Getting the app's keys from a KMS (KMS API reference, section 4).
//!
//! First the KMS proves what it is ([`crate::kms`]); only then does the guest show its
//! own evidence, over a second connection to the same attested key.

use bylaw_attest::report_data;
use bylaw_attester::{Attester, AttesterError};
use bylaw_keys::{P256Key, Secret, verify_app_key};
use bylaw_ratls::tls::Identity;
use bylaw_ratls::{Cert, CertError, CertSpec, Issuer};
use bylaw_rpc::ClientError;
use bylaw_rpc::message::kms::{AppKeyResponse, GetAppKeyRequest, GetTempCaCertResponse};
use bylaw_types::{AppId, OsImageHash};
use zeroize::Zeroize;

use crate::keys_file::{AppSecrets, Provider};
use crate::kms::{Expectations, Introduction, KmsLink};

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// No KMS in the configuration.
    #[error("no KMS is configured (kms.urls) and the app's keys come from one")]
    NoKms,
    /// No chain in the configuration.
    #[error("no chain is configured (chain.rpc_urls), so no KMS could be checked against KmsAuth")]
    NoChain,
    /// The app insists on another contract.
    #[error(
        "app-compose.json insists on KmsAuth 0x{wanted} on chain {wanted_chain}, configured is \
         0x{configured} on chain {configured_chain}"
    )]
    OtherGovernance {
        /// Of the app.
        wanted: String,
        /// Of the app.
        wanted_chain: String,
        /// Of the configuration.
        configured: String,
        /// Of the configuration.
        configured_chain: String,
    },
    /// Not reachable, or it refuses.
    #[error("{0}")]
    Kms(#[from] ClientError),
    /// Certificates.
    #[error("{0}")]
    Certificate(#[from] CertError),
    /// The KMS cannot prove what it is.
    #[error("the KMS is not attested: {0}")]
    NotAttested(#[from] bylaw_ratls::AttestedError),
    /// Its evidence does not say who it is.
    #[error("the KMS: {0}")]
    Identity(#[from] bylaw_attest::IdentifyError),
    /// The contract does not allow it.
    #[error("the KMS is refused: {0}")]
    Denied(Box<bylaw_chain::Denial>),
    /// The chain cannot be read.
    #[error("the KMS cannot be checked: {0}")]
    Doubt(#[from] bylaw_chain::Doubt),
    /// `KmsAuth` names other root keys, or none.
    #[error("the KMS holds root key {received}, but {source_of_truth} names {expected}")]
    OtherRoot {
        /// `KmsAuth` or app-compose.json.
        source_of_truth: &'static str,
        /// Hex.
        expected: String,
        /// Hex.
        received: String,
    },
    /// The answer is not a set of keys signed by the root.
    #[error("the KMS's answer is not usable: {0}")]
    BadAnswer(String),
    /// The TEE.
    #[error(transparent)]
    Attester(#[from] AttesterError),
    /// No randomness, or a key that does not derive.
    #[error(transparent)]
    Key(#[from] bylaw_keys::KeyError),
}

/// What a handshake yields.
#[derive(Debug)]
pub struct Granted {
    /// The app's keys.
    pub secrets: AppSecrets,
    /// The image that the evidence proved.
    pub os_image_hash: OsImageHash,
    /// The way back to the KMS.
    pub link: KmsLink,
}

/// Tries each KMS in order; the last error counts when all fail.
///
/// # Errors
/// [`HandshakeError`].
pub async fn obtain(
    urls: &[String],
    attester: &dyn Attester,
    expected: &Expectations,
    now: u64,
) -> Result<Granted, HandshakeError> {
    check_governance(expected)?;
    let mut last = HandshakeError::NoKms;
    for url in urls {
        match obtain_from(url, attester, expected, now).await {
            Ok(granted) => return Ok(granted),
            Err(error) => {
                tracing::warn!(kms = url, %error, "no keys from this KMS");
                last = error;
            }
        }
    }
    Err(last)
}

fn check_governance(expected: &Expectations) -> Result<(), HandshakeError> {
    let Some(wanted) = expected.manifest.governance else {
        return Ok(());
    };
    let (kms_auth, chain_id) = (expected.policy.kms_auth(), expected.policy.chain_id());
    if wanted.kms_auth == kms_auth && wanted.chain_id == chain_id {
        return Ok(());
    }
    Err(HandshakeError::OtherGovernance {
        wanted: wanted.kms_auth.to_string(),
        wanted_chain: wanted.chain_id.to_string(),
        configured: kms_auth.to_string(),
        configured_chain: chain_id.to_string(),
    })
}

async fn obtain_from(
    url: &str,
    attester: &dyn Attester,
    expected: &Expectations,
    now: u64,
) -> Result<Granted, HandshakeError> {
    let kms = KmsLink::establish(url, expected).await?;
    let key = P256Key::random()?;
    let cert = client_cert(&kms.meta, &key, attester, now).await?;
    let identity = Identity {
        chain: vec![cert.der],
        key: &key,
    };
    let request = GetAppKeyRequest {
        api_version: 1,
        vm_config: attester.vm_config().await?,
    };
    let answer = kms
        .link
        .connect(Some(identity))
        .await?
        .call("GetAppKey", &request)
        .await?;
    granted(url, Answer(answer), kms, &expected.app_id)
}

async fn client_cert(
    meta: &GetTempCaCertResponse,
    key: &P256Key,
    attester: &dyn Attester,
    now: u64,
) -> Result<Cert, HandshakeError> {
    let temp_key = P256Key::from_pkcs8_pem(&meta.temp_ca_key)?;
    let temp = Issuer::from_parts(Cert::from_pem(&meta.temp_ca_cert)?, &temp_key)?;
    let spki = key.spki_der();
    let spec = CertSpec {
        subject: "RA-TLS TEMP Cert".to_owned(),
        client_auth: true,
        attestation: Some(attester.attest(&report_data::ratls(&spki)).await?),
        ..CertSpec::default()
    };
    Ok(temp.issue(&spec, &spki, now)?)
}

/// Wiped, whatever becomes of it.
struct Answer(AppKeyResponse);

impl Drop for Answer {
    fn drop(&mut self) {
        self.0.disk_crypt_key.zeroize();
        self.0.env_crypt_key.zeroize();
        self.0.k256_key.zeroize();
    }
}

fn granted(
    url: &str,
    answer: Answer,
    kms: Introduction,
    app_id: &AppId,
) -> Result<Granted, HandshakeError> {
    let bad = |what: &str| HandshakeError::BadAnswer(what.to_owned());
    let secret = |bytes: &[u8], what: &str| Secret::from_slice(bytes).ok_or_else(|| bad(what));
    let response = &answer.0;
    let secrets = AppSecrets {
        disk_crypt_key: secret(&response.disk_crypt_key, "disk_crypt_key is not 32 bytes")?,
        env_crypt_key: Some(secret(
            &response.env_crypt_key,
            "env_crypt_key is not 32 bytes",
        )?),
        app_key: secret(&response.k256_key, "k256_key is not 32 bytes")?,
        k256_signature: response.k256_signature.clone(),
        ca_cert: kms.meta.ca_cert,
        gateway_app_id: response.gateway_app_id.clone(),
        provider: Provider::Kms {
            url: url.to_owned(),
            spki_der: kms.root_spki_der,
        },
    };
    verify_app_key(
        &kms.info.k256_public,
        app_id,
        &secrets.app_key()?.public(),
        &secrets.k256_signature,
    )
    .map_err(|error| {
        HandshakeError::BadAnswer(format!("k256_signature is not by the root key: {error}"))
    })?;
    let os_image_hash = OsImageHash::try_from(response.os_image_hash.as_slice())
        .map_err(|error| HandshakeError::BadAnswer(error.to_string()))?;
    Ok(Granted {
        secrets,
        os_image_hash,
        link: kms.link,
    })
}
