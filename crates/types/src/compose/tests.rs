use super::*;

fn parse(text: &str) -> Result<AppCompose, ComposeError> {
    AppCompose::parse(text.as_bytes())
}

const MINIMAL: &str = r#"{"manifest_version":2,"name":"a","runner":"docker-compose"}"#;

#[test]
fn upstream_simulator_manifest_parses_and_hashes() {
    let bytes = include_bytes!("../../../../test/vectors/simulator/app-compose.json");
    let compose = AppCompose::parse(bytes).unwrap();
    assert_eq!(
        compose.hash().to_string(),
        "65b4e574f16973956908b6359920593c3b7d9f36f38e81a47f996a0c0d5435bb"
    );
    assert_eq!(compose.manifest().key_provider(), KeyProvider::Kms);
    assert!(compose.manifest().uses_gateway());
}

#[test]
fn the_hash_is_over_the_exact_bytes() {
    let spaced = MINIMAL.replace(',', ", ");
    assert_ne!(
        parse(MINIMAL).unwrap().hash(),
        parse(&spaced).unwrap().hash()
    );
}

#[test]
fn versions_are_numbers_up_to_2_and_text_from_3() {
    let with = |version: &str| {
        parse(&format!(
            r#"{{"manifest_version":{version},"name":"a","runner":"bash"}}"#
        ))
    };
    for good in ["1", "2", "\"1\"", "\"2\"", "\"3\""] {
        assert!(with(good).is_ok(), "{good}");
    }
    for bad in [
        "0", "3", "4", "\"0\"", "\"03\"", "\"4\"", "\"+2\"", "-1", "2.0", "null",
    ] {
        assert!(with(bad).is_err(), "{bad}");
    }
}

#[test]
fn key_provider_follows_the_older_flags() {
    let with = |extra: &str| {
        parse(&format!(
            r#"{{"manifest_version":2,"name":"a","runner":"bash"{extra}}}"#
        ))
        .unwrap()
        .manifest()
        .key_provider()
    };
    assert_eq!(with(""), KeyProvider::None);
    assert_eq!(with(r#","kms_enabled":true"#), KeyProvider::Kms);
    assert_eq!(
        with(r#","local_key_provider_enabled":true"#),
        KeyProvider::Local
    );
    assert_eq!(
        with(r#","kms_enabled":true,"key_provider":"tpm""#),
        KeyProvider::Tpm
    );
}

#[test]
fn fields_of_version_3_are_refused_before_it() {
    for extra in [r#""init_script":["a","b"]"#, r#""requirements":{}"#] {
        let text = format!(r#"{{"manifest_version":2,"name":"a","runner":"bash",{extra}}}"#);
        assert!(
            matches!(parse(&text), Err(ComposeError::Field { .. })),
            "{extra}"
        );
    }
    let three = r#"{"manifest_version":"3","name":"a","runner":"nerdctl-compose",
        "init_script":["a","b"],"requirements":{"platforms":[]}}"#;
    assert_eq!(parse(three).unwrap().manifest().init_script.len(), 2);
    assert!(
        parse(&three.replace("platforms", "platform")).is_err(),
        "unknown requirement"
    );
}

#[test]
fn unknown_top_level_keys_are_measured_not_refused() {
    assert!(parse(&MINIMAL.replace("\"name\"", "\"future\":1,\"name\"")).is_ok());
}

#[test]
fn bytes_that_are_no_text_are_refused_even_in_unknown_keys() {
    let mut bytes = MINIMAL
        .replace("\"name\"", "\"future\":\"?\",\"name\"")
        .into_bytes();
    let position = bytes.iter().position(|byte| *byte == b'?').unwrap();
    bytes[position] = 0xff;
    assert!(matches!(
        AppCompose::parse(&bytes),
        Err(ComposeError::NotText)
    ));
}

#[test]
fn governance_is_exact() {
    let text = MINIMAL.replace(
        "\"name\"",
        &format!(
            r#""governance":{{"chain_id":31337,"kms_auth":"0x{}"}},"name""#,
            "ab".repeat(20)
        ),
    );
    let governance = parse(&text).unwrap().manifest().governance.unwrap();
    assert_eq!(governance.chain_id, ChainId(31337));
    assert!(parse(&text.replace("kms_auth", "kms")).is_err());
}

#[test]
fn canonical_text_sorts_every_level() {
    let text = canonical_text(r#"{"b":[{"z":1,"a":"é"}],"a":null}"#.as_bytes()).unwrap();
    assert_eq!(text, r#"{"a":null,"b":[{"a":"é","z":1}]}"#);
}

#[test]
fn what_encrypted_environments_are_opened() {
    let with = |rules: &str| {
        parse(&MINIMAL.replace("\"name\"", &format!("\"encrypted_env\":{rules},\"name\"")))
            .map(|compose| compose.manifest().encrypted_env.clone())
    };
    let default = &parse(MINIMAL).unwrap().manifest().encrypted_env.clone();
    assert!(default.accepts(EnvVersion::Anonymous) && !default.accepts(EnvVersion::Signed));

    let signer = "\"0x1111111111111111111111111111111111111111\"";
    let signed = format!(r#"{{"versions":[2],"signers":[{signer}],"min_revision":7}}"#);
    let rules = with(&signed).unwrap();
    assert!(rules.accepts(EnvVersion::Signed) && !rules.accepts(EnvVersion::Anonymous));
    assert_eq!((rules.signers.len(), rules.min_revision), (1, 7));
    assert!(with(&signed.replace("[2]", "[1,2]")).is_ok());

    for (bad, why) in [
        (r#"{"versions":[]}"#.to_owned(), "must name"),
        (r#"{"versions":[3]}"#.to_owned(), "version 3"),
        (r#"{"versions":[2]}"#.to_owned(), "at least one signer"),
        (signed.replace("[2]", "[1]"), "only for version 2"),
        (
            r#"{"versions":[1],"min_revision":1}"#.to_owned(),
            "only for version 2",
        ),
        (signed.replace("min_revision", "minimum"), "unknown field"),
        (signed.replace("1111\"", "11\""), "20 bytes"),
        ("{}".to_owned(), "versions"),
    ] {
        let error = with(&bad).unwrap_err().to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
}
