//! Keys from the sealing enclave of this machine (keys reference, section 9).
//!
//! The host carries the messages and can read none: the enclave answers in a box for a key
//! that this VM's quote names, and proves with a quote of its own that the box is its own.

use anyhow::Context;
use bylaw_attest::collateral::Pccs;
use bylaw_attest::{Platform, sgx};
use bylaw_attester::Attester;
use bylaw_keys::Secret;
use bylaw_rpc::Client;
use bylaw_rpc::message::host_api::{GetSealingKeyRequest, GetSealingKeyResponse};
use bylaw_types::ReportData;
use bylaw_types::clock::Clock;
use bylaw_types::compose::Manifest;
use crypto_box::SecretKey;
use crypto_box::aead::OsRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use crate::config::Config;
use crate::keys_file::{AppSecrets, Provider};
use crate::start::anchors;

/// Why the enclave's answer is not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealingError {
    /// The quote speaks of another box.
    #[error("the key provider's quote does not cover the box that came with it")]
    OtherBox,
    /// The app wants another enclave.
    #[error(
        "this machine's key provider is enclave {found}, and app-compose.json names \
         key_provider_id {expected}"
    )]
    OtherProvider {
        /// As the manifest names it.
        expected: String,
        /// MRENCLAVE, hex.
        found: String,
    },
    /// The box is not for this VM.
    #[error("the key provider's box does not open with this VM's key")]
    Unopened,
    /// The key is none.
    #[error("the key provider's box holds something else than 32 bytes")]
    Length,
}

/// Asks the enclave through the host, and derives the app's keys from its answer.
///
/// # Errors
/// Whatever keeps the app from its keys, with what to do about it.
pub(crate) async fn obtain(
    config: &Config,
    manifest: &Manifest,
    attester: &dyn Attester,
    clock: &Clock,
) -> anyhow::Result<AppSecrets> {
    let host: &Client = config.system.host_api.as_ref().context(
        "key_provider local asks the machine's sealing enclave through the host, and \
         system.host_api is empty",
    )?;
    let key = SecretKey::generate(&mut OsRng);
    let evidence = attester.attest(&challenge(&key)).await?;
    let Platform::Tdx { quote, .. } = evidence.platform else {
        anyhow::bail!("key_provider local needs TDX: the sealing enclave verifies TDX quotes");
    };
    let answer: GetSealingKeyResponse = host
        .call("GetSealingKey", &GetSealingKeyRequest { quote })
        .await
        .context("the sealing enclave of this machine, asked through the host")?;
    let enclave = verify(&answer.provider_quote, config, clock)
        .await
        .context("the key provider's quote")?;
    let seed = open(&answer.encrypted_key, &enclave, manifest, &key)?;
    let provider = enclave.mr_enclave.to_vec();
    Ok(AppSecrets::from_seed(&seed, |ca| {
        Provider::Local(ca, provider)
    })?)
}

/// The enclave, by its vendor's word. Its TCB status is told, not judged: the app judges by
/// `key_provider_id`, and the machine's status is in this VM's own evidence.
async fn verify(quote: &[u8], config: &Config, clock: &Clock) -> anyhow::Result<sgx::Enclave> {
    let collateral = Pccs::new(&config.collateral)?
        .enclave_collateral(&sgx::collateral_key(quote)?)
        .await?;
    let verified = sgx::verify(quote, &anchors(config)?, &collateral, clock.now_unix())?;
    tracing::info!(
        mr_enclave = hex::encode(verified.enclave.mr_enclave),
        tcb_status = %verified.tcb_status,
        "key provider verified"
    );
    Ok(verified.enclave)
}

/// The public key, and zeros.
fn challenge(key: &SecretKey) -> ReportData {
    let mut data = [0; 64];
    data.iter_mut()
        .zip(key.public_key().as_bytes())
        .for_each(|(to, from)| *to = *from);
    ReportData::new(data)
}

/// Opens the box, if it is the one that the verified enclave vouches for.
fn open(
    sealed: &[u8],
    enclave: &sgx::Enclave,
    manifest: &Manifest,
    key: &SecretKey,
) -> Result<Secret, SealingError> {
    let mut vouched = Sha256::digest(sealed).to_vec();
    vouched.extend([0; 32]);
    if enclave.report_data.as_bytes().as_slice() != vouched {
        return Err(SealingError::OtherBox);
    }
    let found = hex::encode(enclave.mr_enclave);
    let expected = &manifest.key_provider_id;
    if !expected.is_empty() && !expected.eq_ignore_ascii_case(&found) {
        return Err(SealingError::OtherProvider {
            expected: expected.clone(),
            found,
        });
    }
    let mut opened = key.unseal(sealed).map_err(|_| SealingError::Unopened)?;
    let secret = Secret::from_slice(&opened).ok_or(SealingError::Length);
    opened.zeroize();
    secret
}

#[cfg(test)]
mod tests {
    use bylaw_types::AppCompose;

    use super::*;

    fn vector(name: &str) -> Vec<u8> {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../test/vectors/keys/key-vectors.json"))
                .unwrap();
        hex::decode(vectors["sealed_box"][name].as_str().unwrap()).unwrap()
    }

    fn manifest(provider_id: &str) -> Manifest {
        let text = format!(
            r#"{{"manifest_version":2,"name":"a","runner":"bash","key_provider":"local",
                "key_provider_id":"{provider_id}"}}"#
        );
        let compose = AppCompose::parse(text.as_bytes()).unwrap();
        compose.manifest().clone()
    }

    fn enclave(sealed: &[u8]) -> sgx::Enclave {
        let mut data = Sha256::digest(sealed).to_vec();
        data.extend([0; 32]);
        sgx::Enclave {
            mr_enclave: [0xee; 32],
            mr_signer: [0; 32],
            report_data: ReportData::new(data.try_into().unwrap()),
            qe_id: [0; 16],
        }
    }

    fn key() -> SecretKey {
        SecretKey::from(<[u8; 32]>::try_from(vector("recipient_secret")).unwrap())
    }

    #[test]
    fn the_vectors_box_opens_to_the_vectors_key() {
        let sealed = vector("sealed");
        let seed = open(&sealed, &enclave(&sealed), &manifest(""), &key()).unwrap();
        assert_eq!(seed.expose().as_slice(), vector("plaintext"));
        let public = vector("recipient_public");
        assert_eq!(challenge(&key()).as_bytes()[..32], public);
        assert_eq!(challenge(&key()).as_bytes()[32..], [0; 32]);
        open(
            &sealed,
            &enclave(&sealed),
            &manifest(&"EE".repeat(32)),
            &key(),
        )
        .unwrap();
    }

    #[test]
    fn other_boxes_keys_and_enclaves_are_refused() {
        let sealed = vector("sealed");
        let of = |sealed: &[u8], enclave: &sgx::Enclave, id: &str, key: &SecretKey| {
            open(sealed, enclave, &manifest(id), key).unwrap_err()
        };
        let good = enclave(&sealed);
        let mut flipped = sealed.clone();
        flipped[40] ^= 1;
        assert_eq!(of(&flipped, &good, "", &key()), SealingError::OtherBox);
        assert_eq!(
            of(&flipped, &enclave(&flipped), "", &key()),
            SealingError::Unopened
        );
        let other = SecretKey::generate(&mut OsRng);
        assert_eq!(of(&sealed, &good, "", &other), SealingError::Unopened);
        let mut trailing = good.report_data.to_bytes();
        trailing[63] = 1;
        let trailing = sgx::Enclave {
            report_data: ReportData::new(trailing),
            ..good.clone()
        };
        assert_eq!(of(&sealed, &trailing, "", &key()), SealingError::OtherBox);
        let pinned = of(&sealed, &good, &"dd".repeat(32), &key());
        assert!(matches!(pinned, SealingError::OtherProvider { .. }));
        let short = key().public_key().seal(&mut OsRng, b"short").unwrap();
        assert_eq!(
            of(&short, &enclave(&short), "", &key()),
            SealingError::Length
        );
    }
}
