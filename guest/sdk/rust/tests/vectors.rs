//! The shared vectors about keys, environments, manifests and event logs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use bylaw_keys::{Environment, SealedEnv, Secret, decrypt_anonymous, open_env};
use bylaw_sdk::{
    AppId, EncryptError, KmsRoot, SignAnswer, compose_hash, encrypt_env, encrypt_env_signed,
    encrypt_env_signed_with, replay_rtmrs, verify_env_key, verify_env_key_legacy, verify_key,
    verify_signature,
};
use bylaw_types::compose::{EncryptedEnvRules, EnvVersion};
use serde_json::Value;
use support::{assert_both_verdicts, bytes, cases, list, text, vectors};

/// Some CA's key: what the key chain does not look at.
fn any_ca() -> Vec<u8> {
    bytes(&vectors("kms_info.json")[0], "ca_spki")
}

fn root(case: &Value) -> KmsRoot {
    KmsRoot::new(&bytes(case, "root"), &any_ca()).unwrap()
}

fn app_id(case: &Value) -> Option<AppId> {
    AppId::try_from(bytes(case, "app_id").as_slice()).ok()
}

fn secret(case: &Value, field: &str) -> Secret {
    Secret::from_slice(&bytes(case, field)).unwrap()
}

fn fixed<const N: usize>(case: &Value, field: &str) -> [u8; N] {
    bytes(case, field).try_into().unwrap()
}

#[test]
fn key_chains_get_their_verdict() {
    let vectors = vectors("key_chain.json");
    assert_both_verdicts(cases(&vectors));
    for case in cases(&vectors) {
        let chain = list(case, "chain");
        let verdict = app_id(case).map(|app_id| {
            verify_key(
                &root(case),
                &app_id,
                text(case, "purpose"),
                &bytes(case, "public_key"),
                &chain,
            )
        });
        // An app id of another length does not get this far: the type has one length.
        let accepted = matches!(verdict, Some(Ok(_)));
        assert_eq!(
            accepted,
            case["ok"].as_bool().unwrap(),
            "{}: {verdict:?}",
            case["name"]
        );
        match verdict {
            Some(Ok(app_public)) => assert_eq!(hex::encode(app_public), text(case, "app_public")),
            Some(Err(error)) => assert_eq!(error.code(), "key_chain"),
            None => {}
        }
    }
}

#[test]
fn signatures_get_their_verdict() {
    let vectors = vectors("sign.json");
    assert_both_verdicts(cases(&vectors));
    for case in cases(&vectors) {
        let answer = SignAnswer {
            signature: bytes(case, "signature"),
            signature_chain: list(case, "signature_chain"),
            public_key: bytes(case, "public_key"),
        };
        let app_id = app_id(case).unwrap();
        let verdict = verify_signature(
            &root(case),
            &app_id,
            text(case, "algorithm"),
            &bytes(case, "data"),
            &answer,
        );
        assert_eq!(
            verdict.is_ok(),
            case["ok"].as_bool().unwrap(),
            "{}: {verdict:?}",
            case["name"]
        );
    }
}

#[test]
fn env_keys_get_their_verdict() {
    let vectors = vectors("env_key.json");
    assert_both_verdicts(cases(&vectors));
    for case in cases(&vectors) {
        let root = fixed(case, "root");
        let app_id = app_id(case).unwrap();
        let public = bytes(case, "public_key");
        let verify = |expected| {
            verify_env_key(
                &public,
                &app_id,
                case["timestamp"].as_u64().unwrap(),
                &bytes(case, "signature_v1"),
                expected,
                case["now"].as_u64().unwrap(),
                300,
            )
        };
        let verdict = verify(Some(&root));
        assert_eq!(
            verdict.is_ok(),
            case["ok"].as_bool().unwrap(),
            "{}: {verdict:?}",
            case["name"]
        );
        let legacy =
            verify_env_key_legacy(&public, &app_id, &bytes(case, "signature"), Some(&root));
        let expected = case["ok_legacy"].as_bool().unwrap();
        assert_eq!(
            legacy.is_ok(),
            expected,
            "{} (legacy): {legacy:?}",
            case["name"]
        );
        // Without an expected root the caller is told who signed.
        if verdict.is_ok() {
            assert_eq!(verify(None).unwrap(), root);
        } else if let Ok(signer) = verify(None) {
            assert_ne!(signer, root, "{}", case["name"]);
        }
    }
}

fn variables(case: &Value) -> Vec<(String, String)> {
    let items = case["vars"].as_array().unwrap();
    items
        .iter()
        .map(|item| (text(item, "key").to_owned(), text(item, "value").to_owned()))
        .collect()
}

#[test]
fn anonymous_environments_open_and_are_made() {
    let vectors = vectors("env_v1.json");
    for case in cases(&vectors) {
        let recipient = secret(case, "recipient_secret");
        let opened = decrypt_anonymous(&recipient, &bytes(case, "sealed")).unwrap();
        assert_eq!(*opened, bytes(case, "plaintext"));
        let plaintext = Environment::new(variables(case)).unwrap().to_plaintext();
        assert_eq!(*plaintext, bytes(case, "plaintext"));

        let made = encrypt_env(variables(case), &fixed(case, "recipient_public")).unwrap();
        assert_ne!(made, bytes(case, "sealed"), "ephemeral keys are random");
        assert_eq!(*decrypt_anonymous(&recipient, &made).unwrap(), *plaintext);
    }
}

#[test]
fn signed_environments_open_and_are_made() {
    let vectors = vectors("env_v2.json");
    for case in cases(&vectors["good"]) {
        let app_id = app_id(case).unwrap();
        let revision = case["revision"].as_u64().unwrap();
        let envelope = bytes(case, "envelope");
        let signer = secret(case, "signer_secret");
        let (sealed, _) = SealedEnv::parse(&envelope, &app_id).unwrap();
        assert_eq!(hex::encode(sealed.digest()), text(case, "digest"));
        assert_eq!(
            sealed.sign(&signer).unwrap(),
            envelope,
            "signatures are deterministic"
        );

        let rules = EncryptedEnvRules {
            versions: vec![EnvVersion::Signed],
            signers: vec![text(case, "signer_address").parse().unwrap()],
            min_revision: 0,
        };
        let recipient = fixed(case, "recipient_public");
        let made =
            encrypt_env_signed(variables(case), &recipient, app_id, revision, &signer).unwrap();
        // A wallet writes 27 or 28.
        let by_wallet =
            encrypt_env_signed_with(variables(case), &recipient, app_id, revision, |digest| {
                let key = k256::ecdsa::SigningKey::from_slice(signer.expose())?;
                let (signature, recovery) = key.sign_prehash_recoverable(digest)?;
                let mut bytes = [27 + recovery.to_byte(); 65];
                bytes[..64].copy_from_slice(&signature.to_bytes());
                Ok::<_, k256::ecdsa::Error>(bytes)
            })
            .unwrap();
        for file in [envelope, made, by_wallet] {
            let key = secret(case, "recipient_secret");
            let opened = open_env(&file, &key, &app_id, &rules, 0).unwrap();
            assert_eq!(opened.signed.unwrap().1, revision);
            assert_eq!(*opened.environment.to_plaintext(), bytes(case, "plaintext"));
        }
    }
}

#[test]
fn variables_no_app_would_accept_are_refused_in_both_forms() {
    let vectors = vectors("env_v2.json");
    let good = &vectors["good"][0];
    let recipient = fixed(good, "recipient_public");
    let signer = secret(good, "signer_secret");
    let app_id = app_id(good).unwrap();
    let both = |case: &Value| {
        [
            encrypt_env(variables(case), &recipient),
            encrypt_env_signed(variables(case), &recipient, app_id, 1, &signer),
        ]
    };
    for case in cases(&vectors["bad_vars"]) {
        for made in both(case) {
            assert!(made.is_err(), "{}", case["name"]);
        }
    }
    for case in cases(&vectors["good_vars"]) {
        for made in both(case) {
            assert!(made.is_ok(), "{}: {made:?}", case["name"]);
        }
    }
}

#[test]
fn keys_that_protect_nothing_and_signers_that_fail_are_refused() {
    let good = &vectors("env_v2.json")["good"][0];
    let signer = secret(good, "signer_secret");
    let app_id = app_id(good).unwrap();
    let one = [0; 32].map(|_: u8| 0);
    let mut small_order = one;
    small_order[0] = 1;
    for weak in [one, small_order] {
        assert!(encrypt_env([], &weak).is_err());
        assert!(encrypt_env_signed([], &weak, app_id, 1, &signer).is_err());
    }
    let recipient = fixed(good, "recipient_public");
    let refused = encrypt_env_signed_with([], &recipient, app_id, 1, |_| Err("no"));
    assert_eq!(refused, Err(EncryptError::Signer("no".to_owned())));
    let garbage = encrypt_env_signed_with([], &recipient, app_id, 1, |_| Ok::<_, String>([0; 65]));
    assert!(garbage.is_err());
}

#[test]
fn manifests_hash_as_they_must() {
    for case in cases(&vectors("compose_hash.json")) {
        let compose: Value = serde_json::from_str(text(case, "compose")).unwrap();
        let hash = compose_hash(&compose, case["normalize"].as_bool().unwrap()).unwrap();
        assert_eq!(hash.to_string(), text(case, "hash"), "{}", case["name"]);
    }
}

#[test]
fn event_logs_replay() {
    for case in cases(&vectors("rtmr.json")) {
        let registers = replay_rtmrs(text(case, "event_log")).unwrap();
        let expected = list(case, "rtmrs");
        assert_eq!(
            registers
                .map(|register| register.as_bytes().to_vec())
                .to_vec(),
            expected,
            "{}",
            case["name"]
        );
    }
}

#[test]
#[allow(
    deprecated,
    reason = "that the old accounts are found is what is tested"
)]
fn accounts_are_the_ones_wallets_make() {
    use bylaw_sdk::{KeyAnswer, TlsKeyAnswer, account};

    let vectors = vectors("accounts.json");
    for case in cases(&vectors["get_key"]) {
        let answer = KeyAnswer {
            key: secret(case, "key"),
            signature_chain: vec![],
        };
        let ethereum = account::ethereum(&answer).unwrap();
        let solana = account::solana(&answer);
        assert_eq!(ethereum.address, text(case, "ethereum_address"));
        assert_eq!(solana.address, text(case, "solana_public"));
        for printed in [
            format!("{answer:?}"),
            format!("{ethereum:?}"),
            format!("{solana:?}"),
        ] {
            assert!(!printed.contains(text(case, "key")), "{printed}");
        }
    }
    for case in cases(&vectors["tls_key"]) {
        let answer = TlsKeyAnswer {
            key: text(case, "pem").to_owned().into(),
            certificate_chain: vec![],
        };
        assert!(!format!("{answer:?}").contains("PRIVATE"));
        for (made, field) in [
            (account::ethereum_from_tls_key(&answer), "ethereum_address"),
            (
                account::ethereum_from_tls_key_secure(&answer),
                "ethereum_address_secure",
            ),
        ] {
            assert_eq!(made.unwrap().address, text(case, field));
        }
        for (made, field) in [
            (account::solana_from_tls_key(&answer), "solana_public"),
            (
                account::solana_from_tls_key_secure(&answer),
                "solana_public_secure",
            ),
        ] {
            assert_eq!(made.unwrap().address, text(case, field));
        }
    }
    let broken = TlsKeyAnswer {
        key: String::from("no PEM").into(),
        certificate_chain: vec![],
    };
    assert!(account::ethereum_from_tls_key_secure(&broken).is_err());
}

#[cfg(feature = "chain")]
#[test]
fn answers_of_the_contract_get_their_verdict() {
    let vectors = vectors("kms_info.json");
    assert_both_verdicts(cases(&vectors));
    for case in cases(&vectors) {
        let verdict = bylaw_sdk::chain::kms_root(&bytes(case, "return_data"));
        assert_eq!(
            verdict.is_ok(),
            case["ok"].as_bool().unwrap(),
            "{}: {verdict:?}",
            case["name"]
        );
        if let Ok(root) = verdict {
            assert_eq!(root.k256_public().to_vec(), bytes(case, "k256_public"));
            assert_eq!(root.ca_spki(), bytes(case, "ca_spki"));
        }
    }
}
