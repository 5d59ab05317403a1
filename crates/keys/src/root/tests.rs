use bylaw_types::TrustAnchorDigest;

use super::*;
use crate::signature::{verify_app_key, verify_env_key, verify_env_key_legacy};
use crate::{EnvKeySignatureError, SignatureError, recover};

fn vectors() -> serde_json::Value {
    serde_json::from_str(include_str!(
        "../../../../test/vectors/keys/key-vectors.json"
    ))
    .unwrap()
}

fn vendor() -> TrustAnchorSet {
    TrustAnchorSet::Vendor(TrustAnchorDigest::new([9; 32]))
}

fn material() -> RootMaterial {
    RootMaterial::from_parts(
        Secret::from_slice(&[1; 32]).unwrap(),
        Secret::from_slice(&[2; 32]).unwrap(),
    )
    .unwrap()
}

const APP: AppId = AppId::new([0x11; 20]);
const INSTANCE: InstanceId = InstanceId::new([0x22; 20]);

#[test]
fn under_vendor_anchors_everything_equals_the_reference() {
    let vectors = vectors();
    let text = |section: &str, key: &str| vectors[section][key].as_str().unwrap().to_owned();
    let roots = material().bind(&vendor()).unwrap();
    assert_eq!(
        hex::encode(roots.ca().spki_der()),
        text("inputs", "root_ca_spki_der")
    );
    assert_eq!(
        hex::encode(&*roots.ca().to_pkcs8_der().unwrap()),
        text("inputs", "root_ca_pkcs8_der")
    );
    assert_eq!(
        hex::encode(roots.k256_public()),
        text("inputs", "root_k256_pubkey_compressed")
    );

    let app_ca = roots.app_ca(&APP).unwrap();
    assert_eq!(
        hex::encode(app_ca.scalar().expose()),
        text("app_ca", "p256_scalar")
    );
    assert_eq!(
        hex::encode(&*app_ca.to_pkcs8_der().unwrap()),
        text("app_ca", "pkcs8_der")
    );
    assert_eq!(hex::encode(app_ca.spki_der()), text("app_ca", "spki_der"));

    let keys = roots.app_keys(&APP, Some(&INSTANCE)).unwrap();
    assert_eq!(
        hex::encode(keys.disk_crypt_key.expose()),
        text("app_disk_crypt_key", "secret")
    );
    assert_eq!(
        hex::encode(keys.env_crypt_key.expose()),
        text("env_encrypt_key", "secret")
    );
    assert_eq!(
        hex::encode(keys.k256_key.expose()),
        text("app_k256_key", "secret")
    );
    assert_eq!(
        hex::encode(keys.k256_signature),
        text("app_k256_key", "signature")
    );
    let shared = roots.app_keys(&APP, None).unwrap();
    assert_eq!(
        hex::encode(shared.disk_crypt_key.expose()),
        text("app_disk_crypt_key_empty_instance_id", "secret")
    );

    let env_public = roots.env_public(&APP).unwrap();
    assert_eq!(
        hex::encode(env_public),
        text("env_encrypt_key", "x25519_public_key")
    );
    let (legacy, v1) = roots.sign_env_public(&APP, &env_public, 1_700_000_000);
    assert_eq!(
        hex::encode(legacy),
        text("env_pubkey_signatures", "legacy_signature")
    );
    assert_eq!(
        hex::encode(v1),
        text("env_pubkey_signatures", "v1_signature")
    );
}

#[test]
fn upstreams_constants_reproduce() {
    let vectors = vectors();
    let constants = &vectors["upstream_constants"];
    let scalar = hex::decode(constants["dh_secret"]["root_p256_scalar"].as_str().unwrap()).unwrap();
    let key = P256Key::from_scalar(&Secret::from_slice(&scalar).unwrap()).unwrap();
    let secret = key.child_secret(&[b"context one", b"context two"]).unwrap();
    assert_eq!(
        hex::encode(secret.expose()),
        constants["dh_secret"]["secret"].as_str().unwrap()
    );

    let vector = &constants["env_pubkey_signature_legacy"];
    let bytes = |key: &str| hex::decode(vector[key].as_str().unwrap()).unwrap();
    verify_env_key_legacy(
        &bytes("expected_signer_compressed"),
        &AppId::new([0; 20]),
        &bytes("public_key").try_into().unwrap(),
        &bytes("signature"),
    )
    .unwrap();
}

#[test]
fn the_published_development_root_derives_its_published_key() {
    let appkeys: serde_json::Value = serde_json::from_str(include_str!(
        "../../../../test/vectors/simulator/appkeys.json"
    ))
    .unwrap();
    let pem = appkeys["key_provider"]["None"]["key"].as_str().unwrap();
    let vectors = vectors();
    let vector = &vectors["upstream_constants"]["published_dev_kms"];
    let roots = RootMaterial::from_wire(pem, &[2; 32])
        .unwrap()
        .bind(&vendor())
        .unwrap();
    let app: AppId = vector["app_id"].as_str().unwrap().parse().unwrap();
    let keys = roots.app_keys(&app, None).unwrap();
    assert_eq!(
        hex::encode(keys.env_crypt_key.expose()),
        vector["env_crypt_key"].as_str().unwrap()
    );
}

#[test]
fn under_any_other_anchors_every_key_is_unrelated() {
    let vendor = material().bind(&vendor()).unwrap();
    let mut seen = vec![vendor.app_keys(&APP, None).unwrap()];
    let mut publics = vec![(vendor.ca().spki_der(), vendor.k256_public())];
    for digest in [[0; 32], [9; 32], [255; 32]] {
        let other = TrustAnchorSet::Other(TrustAnchorDigest::new(digest));
        let roots = material().bind(&other).unwrap();
        let keys = roots.app_keys(&APP, None).unwrap();
        for known in &seen {
            assert_ne!(keys.disk_crypt_key, known.disk_crypt_key);
            assert_ne!(keys.env_crypt_key, known.env_crypt_key);
            assert_ne!(keys.k256_key, known.k256_key);
        }
        for (ca, k256) in &publics {
            assert_ne!(&roots.ca().spki_der(), ca);
            assert_ne!(&roots.k256_public(), k256);
        }
        publics.push((roots.ca().spki_der(), roots.k256_public()));
        seen.push(keys);
    }
}

#[test]
fn the_wire_form_round_trips() {
    let (pem, k256) = material().to_wire().unwrap();
    let again = RootMaterial::from_wire(&pem, &k256).unwrap();
    assert_eq!(again.ca_scalar(), material().ca_scalar());
    assert_eq!(again.k256_scalar(), material().k256_scalar());
    assert!(RootMaterial::from_wire(&pem, &k256[1..]).is_err());
    assert!(RootMaterial::from_wire("-----BEGIN", &k256).is_err());
    let zero = || Secret::from_slice(&[0; 32]).unwrap();
    let order = || Secret::from_slice(&[255; 32]).unwrap();
    assert!(RootMaterial::from_parts(zero(), Secret::random().unwrap()).is_err());
    assert!(RootMaterial::from_parts(Secret::random().unwrap(), order()).is_err());
}

#[test]
fn signatures_verify_only_for_what_was_signed() {
    let roots = material().bind(&vendor()).unwrap();
    let keys = roots.app_keys(&APP, None).unwrap();
    let app_public = crate::AppKey::new(keys.k256_key).unwrap().public();
    let root = roots.k256_public();
    verify_app_key(&root, &APP, &app_public, &keys.k256_signature).unwrap();
    let other = AppId::new([0x12; 20]);
    assert_eq!(
        verify_app_key(&root, &other, &app_public, &keys.k256_signature),
        Err(SignatureError::OtherKey)
    );
    for id in [2, 27, 28, 255] {
        let mut signature = keys.k256_signature;
        signature[64] = id;
        assert_eq!(recover(&signature, &[]), Err(SignatureError::Form), "{id}");
    }
    assert_eq!(
        recover(&keys.k256_signature[1..], &[]),
        Err(SignatureError::Form)
    );
}

#[test]
fn env_key_signatures_age() {
    let roots = material().bind(&vendor()).unwrap();
    let public = roots.env_public(&APP).unwrap();
    let (_, v1) = roots.sign_env_public(&APP, &public, 1000);
    let check = |at, now| verify_env_key(&roots.k256_public(), &APP, &public, at, &v1, now);
    check(1000, 1300).unwrap();
    check(1000, 940).unwrap();
    assert!(matches!(
        check(1000, 1301),
        Err(EnvKeySignatureError::Time { .. })
    ));
    assert!(matches!(
        check(1000, 939),
        Err(EnvKeySignatureError::Time { .. })
    ));
    assert!(matches!(
        check(1001, 1001),
        Err(EnvKeySignatureError::Signature(_))
    ));
}
