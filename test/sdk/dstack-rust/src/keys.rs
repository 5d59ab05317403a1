//! Keys derived for the app, and the signatures that lead to the KMS.

use std::collections::BTreeSet;

use alloy::primitives::{eip191_hash_message, keccak256};
use alloy::signers::SignerSync;
use anyhow::{ensure, Context, Result};
use dstack_sdk::dstack_client::DstackClient;
use dstack_sdk::ethereum::to_account;
use ed25519_dalek::Verifier;
use k256::ecdsa::signature::hazmat::PrehashVerifier;
use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::system::{equal, refused, System};

/// The compressed key that made a signature over Keccak-256.
fn recovered(message: &[u8], signature: &[u8]) -> Result<Vec<u8>> {
    equal(signature.len(), 65, "bytes in a recoverable signature")?;
    let id = RecoveryId::from_byte(signature[64]).context("a recovery id")?;
    let digest = keccak256(message);
    let signature = Signature::from_slice(&signature[..64])?;
    let key = VerifyingKey::recover_from_prehash(digest.as_slice(), &signature, id)?;
    Ok(key.to_encoded_point(true).as_bytes().to_vec())
}

/// The public half of a secp256k1 secret.
fn secp256k1(secret: &[u8]) -> Result<Vec<u8>> {
    let key = SigningKey::from_slice(secret)?;
    let point = key.verifying_key().to_encoded_point(true);
    Ok(point.as_bytes().to_vec())
}

/// The public half of an ed25519 seed.
fn ed25519(secret: &[u8]) -> Result<Vec<u8>> {
    let key = ed25519_dalek::SigningKey::from_bytes(secret.try_into()?);
    Ok(key.verifying_key().to_bytes().to_vec())
}

/// Follow key -> app key -> KMS root; answers the app key.
fn leads_to_root(system: &System, purpose: &str, key: &[u8], chain: &[Vec<u8>]) -> Result<Vec<u8>> {
    equal(chain.len(), 2, "links in a key's chain")?;
    let message = format!("{purpose}:{}", hex::encode(key));
    let app_key = recovered(message.as_bytes(), &chain[0])?;
    let issued = [b"dstack-kms-issued:", &system.app_id[..], &app_key].concat();
    let root = recovered(&issued, &chain[1])?;
    equal(root, &system.root_k256[..], "the app key's signer")?;
    Ok(app_key)
}

/// `get_key`: stable, distinct, certified by the KMS; and the account of one.
pub async fn derived(client: &DstackClient, system: &System) -> Result<()> {
    let ask = |path: &'static str, purpose: &'static str| async move {
        client
            .get_key(Some(path.into()), Some(purpose.into()))
            .await
    };
    let mut app_keys = BTreeSet::new();
    for (path, purpose) in [("wallet", "test"), ("", ""), ("a/b", "p:q")] {
        let key = ask(path, purpose).await?;
        let secret = key.decode_key()?;
        equal(secret.len(), 32, "bytes in a key")?;
        let public = secp256k1(&secret)?;
        app_keys.insert(leads_to_root(
            system,
            purpose,
            &public,
            &key.decode_signature_chain()?,
        )?);
    }
    equal(app_keys.len(), 1, "app keys behind all derived keys")?;

    let first = ask("wallet", "test").await?.key;
    equal(
        &ask("wallet", "test").await?.key,
        &first,
        "the key of one path asked twice",
    )?;
    // The derivation takes the path alone: dstack promises it to its users.
    let renamed = ask("wallet", "another purpose").await?.key;
    equal(
        &renamed,
        &first,
        "the key of one path under another purpose",
    )?;
    let mut secrets = BTreeSet::from([client.get_key(None, None).await?.key]);
    for path in ["w", "wallet", "wx"] {
        secrets.insert(ask(path, "").await?.key);
    }
    equal(secrets.len(), 4, "distinct keys of four paths")?;

    let key = ask("accounts", "test").await?;
    let account = to_account(&key).map_err(|error| anyhow::anyhow!("to_account: {error}"))?;
    let secret = SigningKey::from_slice(&key.decode_key()?)?;
    let point = secret.verifying_key().to_encoded_point(false);
    let address = &keccak256(&point.as_bytes()[1..])[12..];
    equal(
        account.address().as_slice(),
        address,
        "to_account's address",
    )?;
    let signature = account.sign_message_sync(b"sign in")?;
    let signer = signature.recover_address_from_prehash(&eip191_hash_message(b"sign in"))?;
    equal(signer, account.address(), "who signed with to_account")
}

/// Check a Sign answer without the agent.
fn verified(algorithm: &str, key: &[u8], data: &[u8], signature: &[u8]) -> Result<()> {
    if algorithm == "ed25519" {
        let key = ed25519_dalek::VerifyingKey::from_bytes(key.try_into()?)?;
        return Ok(key.verify(data, &ed25519_dalek::Signature::from_slice(signature)?)?);
    }
    let signature = Signature::from_slice(signature)?;
    ensure!(signature.normalize_s().is_none(), "signatures have a low s");
    let key = VerifyingKey::from_sec1_bytes(key)?;
    let digest = if algorithm == "secp256k1_prehashed" {
        data.to_vec()
    } else {
        Sha256::digest(data).to_vec()
    };
    Ok(key.verify_prehash(&digest, &signature)?)
}

/// `sign` and `verify`: every algorithm, honest and changed inputs.
pub async fn signing(client: &DstackClient, system: &System) -> Result<()> {
    let digest = Sha256::digest(b"something hashed before").to_vec();
    let stranger = Sha256::digest(b"a stranger").to_vec();
    let key = client
        .get_key(Some("vms".into()), None)
        .await?
        .decode_key()?;
    for (algorithm, data) in [
        ("ed25519", b"a message".to_vec()),
        ("ed25519", Vec::new()),
        ("secp256k1", b"a message".to_vec()),
        ("k256", b"a message".to_vec()),
        ("secp256k1_prehashed", digest),
    ] {
        let answer = client.sign(algorithm, data.clone()).await?;
        let (signature, public) = (answer.decode_signature()?, answer.decode_public_key()?);
        verified(algorithm, &public, &data, &signature)
            .with_context(|| format!("the {algorithm} signature verifies"))?;
        let again = client.sign(algorithm, data.clone()).await?;
        equal(
            &again.signature,
            &answer.signature,
            "one message signed twice",
        )?;

        let chain = answer.decode_signature_chain()?;
        equal(
            chain.first(),
            Some(&signature),
            "the first link of a signature's chain",
        )?;
        leads_to_root(system, "signing", &public, &chain[1..])?;
        let public_half = if algorithm == "ed25519" {
            ed25519
        } else {
            secp256k1
        };
        equal(&public, &public_half(&key)?, "the signing key")?;

        let mut changed = data.clone();
        match changed.first_mut() {
            Some(byte) => *byte ^= 1,
            None => changed.push(0),
        }
        let mut spoiled = signature.clone();
        spoiled[63] ^= 1;
        for (data, signature, key, valid) in [
            (&data, &signature, &public, true),
            (&changed, &signature, &public, false),
            (&data, &spoiled, &public, false),
            (&data, &signature, &public_half(&stranger)?, false),
        ] {
            let verdict = client
                .verify(algorithm, data.clone(), signature.clone(), key.clone())
                .await?;
            equal(verdict.valid, valid, &format!("verify of {algorithm}"))?;
        }
        for (signature, key) in [
            (signature[1..].to_vec(), public.clone()),
            (signature.clone(), public[1..].to_vec()),
        ] {
            let call = client.verify(algorithm, data.clone(), signature, key);
            refused(call, "400", "verify with a cut input").await?;
        }
    }
    let words = "Unsupported algorithm";
    for algorithm in ["", "rsa"] {
        refused(
            client.sign(algorithm, vec![1]),
            words,
            "sign with no such algorithm",
        )
        .await?;
        let call = client.verify(algorithm, vec![1], vec![0; 64], vec![0; 33]);
        refused(call, words, "verify with no such algorithm").await?;
    }
    let call = client.sign("secp256k1_prehashed", b"short".to_vec());
    refused(call, "requires a 32-byte digest", "a digest of 5 bytes").await
}
