use bylaw_types::compose::{EncryptedEnvRules, EnvVersion};
use bylaw_types::{AppId, SignerAddress};
use proptest::prelude::*;
use x25519_dalek::{PublicKey, StaticSecret};

use super::{EnvError, Environment, MAX_ENV_FILE, MAX_ENV_VALUE, SealedEnv, open};
use crate::{Secret, encrypt_anonymous};

const APP: AppId = AppId::new([0x11; 20]);

struct World {
    /// The app's key.
    env_key: Secret,
    public: [u8; 32],
    /// Of the owner.
    signing_key: Secret,
    rules: EncryptedEnvRules,
}

fn world() -> World {
    let env_key = Secret::random().unwrap();
    let public = PublicKey::from(&StaticSecret::from(*env_key.expose())).to_bytes();
    // The first account of every development chain, and its address.
    let key = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    let signer: SignerAddress = "f39Fd6e51aad88F6F4ce6aB8827279cffFb92266".parse().unwrap();
    World {
        env_key,
        public,
        signing_key: Secret::from_slice(&hex::decode(key).unwrap()).unwrap(),
        rules: EncryptedEnvRules {
            versions: vec![EnvVersion::Signed],
            signers: vec![signer],
            min_revision: 3,
        },
    }
}

fn environment() -> Environment {
    Environment::new([("A".to_owned(), "1".to_owned())]).unwrap()
}

#[test]
fn a_signed_environment_opens_where_it_should_and_nowhere_else() {
    let world = world();
    let sealed = SealedEnv::seal(&environment(), &world.public, APP, 5).unwrap();
    let file = sealed.sign(&world.signing_key).unwrap();
    let open_as = |file: &[u8], app: &AppId, rules: &EncryptedEnvRules, last| {
        open(file, &world.env_key, app, rules, last)
    };

    let opened = open_as(&file, &APP, &world.rules, 5).unwrap();
    assert_eq!(opened.signed, Some((world.rules.signers[0], 5)));
    assert_eq!(opened.environment.iter().collect::<Vec<_>>(), [("A", "1")]);

    // Replayed: older than what the manifest or the disk has seen.
    let stale = |least| EnvError::Stale { revision: 5, least };
    assert_eq!(open_as(&file, &APP, &world.rules, 6).unwrap_err(), stale(6));
    let mut later = world.rules.clone();
    later.min_revision = 7;
    assert_eq!(open_as(&file, &APP, &later, 0).unwrap_err(), stale(7));

    // Moved to another app: another digest, so another signer.
    let other = AppId::new([0x22; 20]);
    let moved = open_as(&file, &other, &world.rules, 0);
    assert!(matches!(moved.unwrap_err(), EnvError::Signer(_)));

    // Signed by somebody else.
    let stranger = sealed.sign(&Secret::from_slice(&[9; 32]).unwrap()).unwrap();
    let refused = open_as(&stranger, &APP, &world.rules, 0);
    assert!(matches!(refused.unwrap_err(), EnvError::Signer(_)));

    // Not a form the manifest accepts.
    let plain = encrypt_anonymous(&world.public, &environment().to_plaintext()).unwrap();
    let refused = open_as(&plain, &APP, &world.rules, 0);
    assert_eq!(refused.unwrap_err(), EnvError::Version(1));
    let open_to_all = EncryptedEnvRules::default();
    assert!(
        open_as(&plain, &APP, &open_to_all, 0)
            .unwrap()
            .signed
            .is_none()
    );
    let refused = open_as(&file, &APP, &open_to_all, 0);
    assert_eq!(refused.unwrap_err(), EnvError::Version(2));

    // Another app's key.
    let key = Secret::random().unwrap();
    let refused = open(&file, &key, &APP, &world.rules, 0);
    assert_eq!(refused.unwrap_err(), EnvError::Broken);

    assert!(matches!(
        open_as(&vec![0; MAX_ENV_FILE + 1], &APP, &world.rules, 0),
        Err(EnvError::TooLong(_))
    ));
}

#[test]
fn no_byte_of_it_can_be_changed_and_none_left_out() {
    let world = world();
    let sealed = SealedEnv::seal(&environment(), &world.public, APP, 5).unwrap();
    let file = sealed.sign(&world.signing_key).unwrap();
    for index in 0..file.len() {
        let mut changed = file.clone();
        changed[index] ^= 1;
        assert!(
            open(&changed, &world.env_key, &APP, &world.rules, 0).is_err(),
            "byte {index}"
        );
        assert!(open(&file[..index], &world.env_key, &APP, &world.rules, 0).is_err());
    }
}

#[test]
fn a_wallet_can_sign() {
    let world = world();
    let sealed = SealedEnv::seal(&environment(), &world.public, APP, 5).unwrap();
    let file = sealed.sign(&world.signing_key).unwrap();
    let mut signature: [u8; 65] = file[17..82].try_into().unwrap();
    assert_eq!(sealed.with_signature(&signature).unwrap(), file);
    signature[64] += 27;
    assert_eq!(sealed.with_signature(&signature).unwrap(), file);
    signature[64] = 5;
    assert!(sealed.with_signature(&signature).is_err());
}

#[test]
fn weak_keys_are_refused_on_both_sides() {
    let world = world();
    let weak = SealedEnv::seal(&environment(), &[0; 32], APP, 5);
    assert_eq!(weak.unwrap_err(), EnvError::WeakKey);
    let sealed = SealedEnv::seal(&environment(), &world.public, APP, 5).unwrap();
    let mut file = sealed.sign(&world.signing_key).unwrap();
    file[82..114].fill(0);
    let (envelope, _) = SealedEnv::parse(&file, &APP).unwrap();
    assert_eq!(
        envelope.decrypt(&world.env_key).unwrap_err(),
        EnvError::WeakKey
    );
}

#[test]
fn names_and_values_that_no_shell_has_are_refused() {
    let one = |name: &str, value: &str| Environment::new([(name.to_owned(), value.to_owned())]);
    assert!(one("_a9Z", "").is_ok());
    assert!(one(&"n".repeat(255), &"v".repeat(MAX_ENV_VALUE)).is_ok());
    for (name, value) in [
        ("", "x"),
        ("9a", "x"),
        ("a-b", "x"),
        ("a=b", "x"),
        ("é", "x"),
        ("a\n", "x"),
        ("a", "x\0"),
        (&"n".repeat(256), "x"),
        ("a", &"v".repeat(MAX_ENV_VALUE + 1)),
    ] {
        assert!(one(name, value).is_err(), "{name:?}");
    }
    let twice = br#"{"env":[{"key":"A","value":"1"},{"key":"A","value":"2"}]}"#;
    assert!(matches!(
        Environment::parse(twice),
        Err(EnvError::Variable { .. })
    ));
    let secret = Environment::parse(br#"{"env":[{"key":"A","value":"hunter2",}]}"#);
    assert!(!secret.unwrap_err().to_string().contains("hunter2"));
    assert!(Environment::parse(b"{}").is_err());
    assert!(Environment::parse(b"\xff").is_err());
}

#[test]
fn only_what_the_manifest_allows_is_kept() {
    let all = Environment::new(["A", "B", "C"].map(|name| (name.to_owned(), "x".to_owned())));
    let (kept, dropped) = all.unwrap().filtered(&["C".to_owned(), "A".to_owned()]);
    assert_eq!(kept.iter().collect::<Vec<_>>(), [("A", "x"), ("C", "x")]);
    assert_eq!(dropped, ["B"]);
    assert_eq!(format!("{kept:?}"), r#"["A", "C"]"#, "values do not print");
}

proptest! {
    #[test]
    fn what_is_sealed_opens(
        variables in proptest::collection::btree_map("[a-zA-Z_][a-zA-Z0-9_]{0,8}", "[^\0]{0,40}", 0..6),
        revision: u64,
    ) {
        let world = world();
        let variables: Vec<_> = variables.into_iter().collect();
        let given = Environment::new(variables.clone()).unwrap();
        let mut rules = world.rules.clone();
        rules.min_revision = 0;
        let file = SealedEnv::seal(&given, &world.public, APP, revision)
            .unwrap()
            .sign(&world.signing_key)
            .unwrap();
        let opened = open(&file, &world.env_key, &APP, &rules, revision).unwrap();
        let found: Vec<_> = opened
            .environment
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        prop_assert_eq!(found, variables);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let world = world();
        let both = EncryptedEnvRules {
            versions: vec![EnvVersion::Anonymous, EnvVersion::Signed],
            ..world.rules.clone()
        };
        let signed = [b"BYLAWENV\x02", &bytes[..]].concat();
        prop_assert!(open(&bytes, &world.env_key, &APP, &both, 0).is_err());
        prop_assert!(open(&signed, &world.env_key, &APP, &both, 0).is_err());
    }
}
