//! Receiving root keys from a running KMS (keys reference, section 8).
//!
//! Both calls go to one attested key: the first connection's certificate is
//! verified before anything is sent, and the second connection must show the same
//! key. What is received must be what `KmsAuth` names. A relay that forwards the
//! first call and answers the second itself fails on both.

use bylaw_attest::Mode;
use bylaw_chain::{Decision, PolicySource};
use bylaw_keys::{P256Key, RootMaterial};
use bylaw_ratls::tls::{Identity, ServerTrust, client};
use bylaw_ratls::{
    AttestedCert, Cert, CertError, CertSpec, Issuer, RaTlsCert, USAGE_KMS, verify_attested,
};
use bylaw_rpc::message::kms::{GetKmsKeyRequest, GetTempCaCertResponse, KmsKeyResponse};
use bylaw_rpc::{Client, ClientError, Connection, Empty};
use zeroize::Zeroize;

use crate::identity::{Own, OwnError};
use crate::store::{Roots, StoreError};

/// Why no keys were received.
#[derive(Debug, thiserror::Error)]
pub enum ReplicateError {
    /// The source does not answer, or refuses.
    #[error("source KMS: {0}")]
    Source(#[from] ClientError),
    /// What it presents.
    #[error("source KMS presents {0}")]
    Certificate(#[from] CertError),
    /// It cannot prove what it is.
    #[error("source KMS is not attested: {0}")]
    NotAttested(#[from] bylaw_ratls::AttestedError),
    /// Its evidence does not say who it is.
    #[error("source KMS: {0}")]
    Identity(#[from] bylaw_attest::IdentifyError),
    /// The contract does not allow it.
    #[error("source KMS is refused: {0}")]
    Denied(Box<bylaw_chain::Denial>),
    /// The chain cannot be read.
    #[error(transparent)]
    Doubt(#[from] bylaw_chain::Doubt),
    /// `KmsAuth` names no root keys to compare with.
    #[error(
        "KmsAuth names no root keys, so nothing received could be checked; its owner puts them \
         there with script/Manage.s.sol:SetKmsInfo"
    )]
    NoKmsInfo,
    /// The keys are not those that `KmsAuth` names.
    #[error("received root key {received}, but KmsAuth names {expected}")]
    OtherKeys {
        /// On chain, hex.
        expected: String,
        /// As received, hex.
        received: String,
    },
    /// The answer has another form.
    #[error("source KMS answered something else than one pair of root keys: {0}")]
    Malformed(String),
    /// This KMS cannot prove what it is.
    #[error(transparent)]
    Own(#[from] OwnError),
    /// A key does not derive.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Receives the roots of the KMS at `source_url` for a node called `domain`.
///
/// # Errors
/// [`ReplicateError`] says which check failed; nothing was kept then.
pub async fn replicate(
    own: &Own,
    policy: &dyn PolicySource,
    source_url: &str,
    domain: String,
    now: u64,
) -> Result<Roots, ReplicateError> {
    let source = Client::new(source_url.trim_end_matches('/'))?.prpc();
    let first = source
        .clone()
        .with_tls(client(ServerTrust::FirstContact, None)?);
    let mut connection = first.connect().await?;
    let attested = check_source(&connection, own, policy).await?;
    let first_answer: GetTempCaCertResponse = connection.call("GetTempCaCert", &Empty {}).await?;

    let key = P256Key::random().map_err(StoreError::from)?;
    let temp_ca_key =
        P256Key::from_pkcs8_pem(&first_answer.temp_ca_key).map_err(StoreError::from)?;
    let temp = Issuer::from_parts(Cert::from_pem(&first_answer.temp_ca_cert)?, &temp_ca_key)?;
    let spec = CertSpec {
        subject: "RA-TLS TEMP Cert".to_owned(),
        client_auth: true,
        ..CertSpec::default()
    };
    let cert = own.certify(&temp, &key, spec, now).await?;
    let identity = Identity {
        chain: vec![cert.der],
        key: &key,
    };
    let trust = ServerTrust::Pinned {
        spki_der: attested.spki_der().to_vec(),
        ca: Cert::from_pem(&first_answer.ca_cert)?.der,
        usage: USAGE_KMS,
    };
    let second = source.with_tls(client(trust, Some(identity))?);
    let vm_config = own.attester().vm_config().await.map_err(OwnError::from)?;
    let answer: KmsKeyResponse = second
        .connect()
        .await?
        .call("GetKmsKey", &GetKmsKeyRequest { vm_config })
        .await?;

    let roots = roots_of(answer, own, domain)?;
    check_keys(&roots, policy).await?;
    Ok(roots)
}

/// The source must be attested, bound to its TLS key, and allowed by the contract.
async fn check_source(
    connection: &Connection,
    own: &Own,
    policy: &dyn PolicySource,
) -> Result<AttestedCert, ReplicateError> {
    let der = connection
        .peer_certificates()
        .first()
        .ok_or_else(|| CertError::Malformed("no certificate".to_owned()))?;
    let attested = verify_attested(RaTlsCert::parse(der)?, own.verifier()).await?;
    let boot_info = own
        .verifier()
        .identify(attested.appraisal(), Mode::Full, None)
        .await?;
    match policy.decide_kms(boot_info).await? {
        Decision::Allow(_) => Ok(attested),
        Decision::Deny(denial) => Err(ReplicateError::Denied(Box::new(denial))),
    }
}

fn roots_of(
    mut answer: KmsKeyResponse,
    own: &Own,
    domain: String,
) -> Result<Roots, ReplicateError> {
    let [keys] = answer.keys.as_mut_slice() else {
        return Err(ReplicateError::Malformed(format!(
            "{} pairs",
            answer.keys.len()
        )));
    };
    let material = RootMaterial::from_wire(&keys.ca_key, &keys.k256_key);
    keys.ca_key.zeroize();
    keys.k256_key.zeroize();
    let material = material.map_err(|error| ReplicateError::Malformed(error.to_string()))?;
    let temp_ca = P256Key::from_pkcs8_pem(&answer.temp_ca_key)
        .map_err(|error| ReplicateError::Malformed(error.to_string()))?;
    Ok(Roots::new(
        material,
        temp_ca,
        own.verifier().anchors(),
        domain,
    )?)
}

/// What was received must be what the contract names.
async fn check_keys(roots: &Roots, policy: &dyn PolicySource) -> Result<(), ReplicateError> {
    let info = policy.kms_settings().await?.info;
    if info.ca_spki_der.is_empty() || info.k256_public.is_empty() {
        return Err(ReplicateError::NoKmsInfo);
    }
    for (expected, received) in [
        (hex::encode(info.ca_spki_der), &roots.public.ca_public),
        (hex::encode(info.k256_public), &roots.public.k256_public),
    ] {
        if expected != *received {
            return Err(ReplicateError::OtherKeys {
                expected,
                received: received.clone(),
            });
        }
    }
    Ok(())
}
