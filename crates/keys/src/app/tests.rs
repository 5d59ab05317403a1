use bylaw_types::AppId;

use super::*;
use crate::signature::verify_key_chain;

fn vectors() -> serde_json::Value {
    serde_json::from_str(include_str!(
        "../../../../test/vectors/keys/key-vectors.json"
    ))
    .unwrap()
}

fn app_key() -> AppKey {
    let secret = hex::decode(vectors()["app_k256_key"]["secret"].as_str().unwrap()).unwrap();
    AppKey::new(Secret::from_slice(&secret).unwrap()).unwrap()
}

#[test]
fn derived_keys_match_the_vectors_and_chain_to_the_root() {
    let all = vectors();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let root = hex::decode(text(&all["inputs"]["root_k256_pubkey_compressed"])).unwrap();
    let issued = hex::decode(text(&all["app_k256_key"]["signature"])).unwrap();
    for vector in all["get_key"].as_array().unwrap() {
        let purpose = text(&vector["purpose"]);
        let algorithm = Algorithm::for_key(&text(&vector["algorithm"])).unwrap();
        let derived = app_key()
            .derive(&text(&vector["path"]), &purpose, algorithm)
            .unwrap();
        assert_eq!(hex::encode(derived.key.expose()), text(&vector["key"]));
        assert_eq!(hex::encode(&derived.public), text(&vector["public_key"]));
        assert_eq!(
            hex::encode(derived.signature),
            text(&vector["signature_chain"][0])
        );
        let app = AppId::new([0x11; 20]);
        let chain = [&derived.signature[..], &issued];
        let public = verify_key_chain(&root, &app, &purpose, &derived.public, chain).unwrap();
        assert_eq!(public, app_key().public());
        assert!(verify_key_chain(&root, &app, "other", &derived.public, chain).is_err());
    }
}

#[test]
fn legacy_derivation_matches_the_vector() {
    let vector = &vectors()["legacy_tappd_derive_key"];
    let key = app_key()
        .derive_p256(vector["path"].as_str().unwrap())
        .unwrap();
    assert_eq!(
        hex::encode(&*key.to_pkcs8_der().unwrap()),
        vector["pkcs8_der"].as_str().unwrap()
    );
}

#[test]
fn seed_keys_match_the_vector() {
    let vector = &vectors()["seed_derived_app_keys"];
    let text = |key: &str| vector[key].as_str().unwrap().to_owned();
    let keys = SeedKeys::from_seed(&Secret::from_slice(&[3; 32]).unwrap()).unwrap();
    assert_eq!(
        hex::encode(keys.ca.scalar().expose()),
        text("app_root_p256_scalar")
    );
    assert_eq!(hex::encode(keys.ca.spki_der()), text("app_root_spki_der"));
    assert_eq!(
        hex::encode(keys.disk_crypt_key.expose()),
        text("disk_crypt_key")
    );
    assert_eq!(hex::encode(keys.k256_key.expose()), text("k256_key"));
}

#[test]
fn signatures_of_every_algorithm_verify_and_others_do_not() {
    for (name, data) in [
        ("ed25519", &b"any length"[..]),
        ("secp256k1", b"any length"),
        ("k256", b""),
        ("secp256k1_prehashed", &[7; 32]),
    ] {
        let algorithm = Algorithm::for_signing(name).unwrap();
        let (signature, derived) = app_key().sign(algorithm, data).unwrap();
        assert_eq!(signature.len(), 64, "{name}");
        assert!(
            verify(algorithm, data, &signature, &derived.public).unwrap(),
            "{name}"
        );
        let mut other = data.to_vec();
        if let Some(byte) = other.first_mut() {
            *byte ^= 1;
            assert!(
                !verify(algorithm, &other, &signature, &derived.public).unwrap(),
                "{name}"
            );
        }
        assert!(verify(algorithm, data, &signature[1..], &derived.public).is_err());
        assert!(verify(algorithm, data, &signature, &derived.public[1..]).is_err());
    }
}

#[test]
fn refusals_have_the_texts_that_clients_match() {
    assert_eq!(
        Algorithm::for_signing("").unwrap_err().to_string(),
        "Unsupported algorithm"
    );
    assert_eq!(
        Algorithm::for_key("secp256k1_prehashed")
            .unwrap_err()
            .to_string(),
        "Unsupported algorithm"
    );
    assert_eq!(
        app_key()
            .sign(Algorithm::Secp256k1Prehashed, b"short")
            .unwrap_err()
            .to_string(),
        "Pre-hashed signing requires a 32-byte digest, but received 5 bytes"
    );
}

#[test]
fn the_signing_keys_report_data_is_its_dip1_text() {
    let data = app_key()
        .signing_key_report_data(Algorithm::Secp256k1)
        .unwrap();
    assert!(data.as_bytes().starts_with(b"dip1::secp256k1c-pk:"));
    assert_eq!(
        data.as_bytes()
            .iter()
            .rev()
            .take_while(|byte| **byte == 0)
            .count(),
        0
    );
    assert!(
        app_key()
            .signing_key_report_data(Algorithm::Secp256k1Prehashed)
            .is_err()
    );
}
