//! Encrypted environments, which the host delivers, and what is inside them.
#![no_main]

use bylaw_keys::{Environment, SealedEnv, Secret, env_public_key, open_env};
use bylaw_types::compose::{EncryptedEnvRules, EnvVersion};
use bylaw_types::AppId;

const APP: AppId = AppId::new([0x11; 20]);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (Some(key), Some(signer)) = (Secret::from_slice(&[1; 32]), Secret::from_slice(&[2; 32]))
    else {
        return;
    };
    let mut rules = EncryptedEnvRules {
        versions: vec![EnvVersion::Anonymous, EnvVersion::Signed],
        ..EncryptedEnvRules::default()
    };
    assert!(open_env(bytes, &key, &APP, &rules, 0).is_err());
    let signed = [b"BYLAWENV\x02", bytes].concat();
    assert!(open_env(&signed, &key, &APP, &rules, 0).is_err());

    // A plaintext that is an environment is the same after sealing and opening.
    let Ok(environment) = Environment::parse(bytes) else {
        return;
    };
    let Ok(sealed) = SealedEnv::seal(&environment, &env_public_key(&key), APP, 7) else {
        return;
    };
    let file = sealed.sign(&signer).expect("a valid key");
    let (envelope, signature) = SealedEnv::parse(&file, &APP).expect("just made");
    rules.signers = vec![envelope.signer(signature).expect("just signed")];
    match open_env(&file, &key, &APP, &rules, 7) {
        Ok(opened) => assert!(opened.environment.iter().eq(environment.iter())),
        // Only for its length.
        Err(error) => assert!(file.len() > bylaw_keys::MAX_ENV_FILE, "{error}"),
    }
});
