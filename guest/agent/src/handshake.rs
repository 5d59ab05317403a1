//! Getting the app's keys from a KMS (KMS API reference, section 4).
//!
//! The guest does not take keys from just any KMS: before anything is sent the TLS
//! certificate must carry evidence that verifies and is bound to its key; the root
//! keys must be those that `KmsAuth` names; and the second connection, over which
//! keys travel, must show the same attested key.

use bylaw_attest::{Mode, Verifier, report_data};
use bylaw_attester::{Attester, AttesterError};
use bylaw_chain::{Decision, KmsInfo, PolicySource};
use bylaw_keys::{AppKey, P256Key, Secret, verify_app_key};
use bylaw_ratls::tls::{Identity, ServerTrust, client};
use bylaw_ratls::{Cert, CertError, CertSpec, Issuer, RaTlsCert, USAGE_KMS, verify_attested};
use bylaw_rpc::message::kms::{AppKeyResponse, GetAppKeyRequest, GetTempCaCertResponse};
use bylaw_rpc::{Client, ClientError, Connection, Empty};
use bylaw_types::compose::Manifest;
use bylaw_types::{AppId, OsImageHash};
use zeroize::Zeroize;

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
    /// The app's key.
    pub app_key: AppKey,
    /// The root's signature over its public key.
    pub k256_signature: Vec<u8>,
    /// Encrypts the disk.
    pub disk_crypt_key: Secret,
    /// Opens the encrypted environment.
    pub env_crypt_key: Secret,
    /// Root CA, PEM.
    pub ca_cert: String,
    /// The gateway that the contract names.
    pub gateway_app_id: String,
    /// The image that the evidence proved.
    pub os_image_hash: OsImageHash,
    /// DER SubjectPublicKeyInfo of the root CA: who gave the keys.
    pub provider_id: Vec<u8>,
    /// The KMS, for certificates later.
    pub kms: KmsLink,
}

/// The way back to an attested KMS.
#[derive(Debug, Clone)]
pub struct KmsLink {
    client: Client,
    trust: ServerTrust,
}

impl KmsLink {
    /// A connection to the same attested key, without a client certificate.
    ///
    /// # Errors
    /// [`HandshakeError::Kms`].
    pub async fn connect(&self) -> Result<Connection, HandshakeError> {
        let tls = client(self.trust.clone(), None)?;
        Ok(self.client.clone().with_tls(tls).connect().await?)
    }
}

/// Everything a guest holds a KMS against.
#[derive(Debug)]
pub struct Expectations<'a> {
    /// Verifies the KMS's evidence.
    pub verifier: &'a Verifier,
    /// Names its root keys.
    pub policy: &'a dyn PolicySource,
    /// May insist on contract and provider.
    pub manifest: &'a Manifest,
    /// This app.
    pub app_id: AppId,
}

/// Tries each KMS in order; the last error counts when all fail.
///
/// # Errors
/// [`HandshakeError`].
pub async fn obtain(
    urls: &[String],
    attester: &dyn Attester,
    expected: &Expectations<'_>,
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

fn check_governance(expected: &Expectations<'_>) -> Result<(), HandshakeError> {
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
    expected: &Expectations<'_>,
    now: u64,
) -> Result<Granted, HandshakeError> {
    let kms = Client::new(url.trim_end_matches('/'))?.prpc();
    let mut first = kms
        .clone()
        .with_tls(client(ServerTrust::FirstContact, None)?)
        .connect()
        .await?;
    let attested_key = check_kms(&first, expected).await?;
    let meta: GetTempCaCertResponse = first.call("GetTempCaCert", &Empty {}).await?;
    let root = Cert::from_pem(&meta.ca_cert)?;
    let info = expected.policy.kms_settings().await?.info;
    let provider_id = check_root(&root, &info, expected.manifest)?;

    let trust = ServerTrust::Pinned {
        spki_der: attested_key,
        ca: root.der,
        usage: USAGE_KMS,
    };
    let key = P256Key::random()?;
    let cert = client_cert(&meta, &key, attester, now).await?;
    let identity = Identity {
        chain: vec![cert.der],
        key: &key,
    };
    let tls = client(trust.clone(), Some(identity))?;
    let vm_config = attester.vm_config().await?;
    let request = GetAppKeyRequest {
        api_version: 1,
        vm_config,
    };
    let answer: AppKeyResponse = kms
        .clone()
        .with_tls(tls)
        .connect()
        .await?
        .call("GetAppKey", &request)
        .await?;
    let link = KmsLink { client: kms, trust };
    granted(
        answer,
        &info,
        expected.app_id,
        meta.ca_cert,
        provider_id,
        link,
    )
}

/// Evidence in the TLS certificate, bound to its key, of a build that the contract allows.
async fn check_kms(
    connection: &Connection,
    expected: &Expectations<'_>,
) -> Result<Vec<u8>, HandshakeError> {
    let der = connection
        .peer_certificates()
        .first()
        .ok_or_else(|| CertError::Malformed("the KMS presents none".to_owned()))?;
    let attested = verify_attested(RaTlsCert::parse(der)?, expected.verifier).await?;
    let boot_info = attested.appraisal().identify(Mode::Full, None)?;
    match expected.policy.decide_kms(boot_info).await? {
        Decision::Allow(_) => Ok(attested.spki_der().to_vec()),
        Decision::Deny(denial) => Err(HandshakeError::Denied(Box::new(denial))),
    }
}

/// The root CA key must be the one on chain, and the one the app pins, compared whole.
fn check_root(root: &Cert, info: &KmsInfo, manifest: &Manifest) -> Result<Vec<u8>, HandshakeError> {
    let spki = RaTlsCert::parse(&root.der)?.spki_der;
    let received = hex::encode(&spki);
    let pinned = manifest.key_provider_id.to_ascii_lowercase();
    let on_chain = hex::encode(&info.ca_spki_der);
    let mut expectations = vec![("KmsAuth", on_chain)];
    if !pinned.is_empty() {
        expectations.push(("app-compose.json", pinned));
    }
    for (source_of_truth, expected) in expectations {
        if expected != received {
            return Err(HandshakeError::OtherRoot {
                source_of_truth,
                expected,
                received,
            });
        }
    }
    Ok(spki)
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

fn granted(
    mut answer: AppKeyResponse,
    info: &KmsInfo,
    app_id: AppId,
    ca_cert: String,
    provider_id: Vec<u8>,
    kms: KmsLink,
) -> Result<Granted, HandshakeError> {
    let bad = |what: &str| HandshakeError::BadAnswer(what.to_owned());
    let secret = |bytes: &mut Vec<u8>, what: &str| {
        let secret = Secret::from_slice(bytes).ok_or_else(|| bad(what));
        bytes.zeroize();
        secret
    };
    let disk_crypt_key = secret(&mut answer.disk_crypt_key, "disk_crypt_key is not 32 bytes")?;
    let env_crypt_key = secret(&mut answer.env_crypt_key, "env_crypt_key is not 32 bytes")?;
    let app_key = AppKey::new(secret(&mut answer.k256_key, "k256_key is not 32 bytes")?)?;
    verify_app_key(
        &info.k256_public,
        &app_id,
        &app_key.public(),
        &answer.k256_signature,
    )
    .map_err(|error| {
        HandshakeError::BadAnswer(format!("k256_signature is not by the root key: {error}"))
    })?;
    Ok(Granted {
        app_key,
        k256_signature: answer.k256_signature,
        disk_crypt_key,
        env_crypt_key,
        ca_cert,
        gateway_app_id: answer.gateway_app_id,
        os_image_hash: OsImageHash::try_from(answer.os_image_hash.as_slice())
            .map_err(|error| HandshakeError::BadAnswer(error.to_string()))?,
        provider_id,
        kms,
    })
}
