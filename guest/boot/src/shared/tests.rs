use super::*;

fn put(directory: &Path, name: &str, bytes: &[u8]) {
    write_atomic(&directory.join(name), bytes).unwrap();
}

fn host() -> tempfile::TempDir {
    let host = tempfile::tempdir().unwrap();
    put(host.path(), APP_COMPOSE, b"{}");
    put(host.path(), SYS_CONFIG, br#"{"vm_config":"{}"}"#);
    host
}

fn copied(host: &tempfile::TempDir) -> Result<tempfile::TempDir, SharedError> {
    let guest = tempfile::tempdir().unwrap();
    copy_between(host.path(), guest.path()).map(|()| guest)
}

#[test]
fn only_known_files_arrive_and_secrets_are_private() {
    let host = host();
    put(host.path(), ENCRYPTED_ENV, b"sealed");
    put(host.path(), "extra", b"x");
    let guest = copied(&host).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(guest.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, [ENCRYPTED_ENV, SYS_CONFIG, APP_COMPOSE]);
    let mode = std::fs::metadata(guest.path().join(ENCRYPTED_ENV)).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
}

#[test]
fn every_file_has_a_limit() {
    for entry in ENTRIES {
        let host = host();
        let limit = usize::try_from(entry.limit).unwrap();
        put(host.path(), entry.name, &vec![b' '; limit]);
        copied(&host).unwrap();
        put(host.path(), entry.name, &vec![b' '; limit + 1]);
        match copied(&host) {
            Err(SharedError::TooLong { name, .. }) => assert_eq!(name, entry.name),
            other => panic!("{}: {other:?}", entry.name),
        }
    }
}

#[test]
fn links_directories_and_pipes_are_not_followed() {
    let link = host();
    std::fs::remove_file(link.path().join(APP_COMPOSE)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", link.path().join(APP_COMPOSE)).unwrap();
    let directory = host();
    std::fs::create_dir(directory.path().join(USER_CONFIG)).unwrap();
    let pipe = host();
    nix::unistd::mkfifo(
        &pipe.path().join(USER_CONFIG),
        nix::sys::stat::Mode::S_IRUSR,
    )
    .unwrap();
    for hostile in [link, directory, pipe] {
        let refused = copied(&hostile).unwrap_err();
        assert!(matches!(refused, SharedError::NotAFile(_)), "{refused}");
    }
}

#[test]
fn what_must_be_there_is_named() {
    for name in [APP_COMPOSE, SYS_CONFIG] {
        let host = host();
        std::fs::remove_file(host.path().join(name)).unwrap();
        match copied(&host) {
            Err(SharedError::Missing(missing)) => assert_eq!(missing, name),
            other => panic!("{other:?}"),
        }
    }
}

fn read(name: &str, text: &str) -> Result<Shared, String> {
    let guest = copied(&host()).unwrap();
    put(guest.path(), name, text.as_bytes());
    Shared::read(guest.path()).map_err(|error| error.to_string())
}

#[test]
fn hostile_sys_configs_are_refused_by_name() {
    for (text, why) in [
        ("", "EOF"),
        ("[]", SYS_CONFIG),
        ("{}", "vm_config"),
        (r#"{"vm_config":"[]"}"#, "vm_config"),
        (r#"{"vm_config":{}}"#, "string"),
        (
            r#"{"vm_config":"{}","debug":true}"#,
            "unknown field `debug`",
        ),
        (r#"{"vm_config":"{}","kms_urls":"x"}"#, "kms_urls"),
        (
            r#"{"vm_config":"{}","host_api_url":"ftp://x"}"#,
            "host_api_url",
        ),
        (
            r#"{"vm_config":"{}","guest_api":"unix:/run/x"}"#,
            "guest_api",
        ),
        (
            r#"{"vm_config":"{}","docker_registry":"a\" b"}"#,
            "docker_registry",
        ),
        (
            r#"{"vm_config":"{}","collateral_urls":{"x":""}}"#,
            "unknown field",
        ),
        (
            r#"{"vm_config":"{}","chain":{"rpc_urls":[],"chain_id":1,"kms_auth":"","verify":0}}"#,
            "unknown field",
        ),
        (r#"{"vm_config":"{}","vm_config":"{}"}"#, "duplicate"),
    ] {
        let error = read(SYS_CONFIG, text).unwrap_err();
        assert!(
            error.contains(why) || error.contains("invalid type"),
            "{text}: {error}"
        );
    }
}

#[test]
fn upstreams_sys_config_is_understood() {
    let text = include_str!("../../../../test/vectors/simulator/sys-config.json");
    let shared = read(SYS_CONFIG, text).unwrap();
    let config = &shared.sys_config;
    assert_eq!(config.pccs(), None);
    assert_eq!(config.host_api_url, "vsock://2:12000/api");
    assert_eq!(config.vm_fact("cpu_count").unwrap(), 1);
    let newer =
        r#"{"vm_config":"{\"mr_config\":\"d\"}","pccs_url":"a","collateral_urls":{"pccs":"b"}}"#;
    let shared = read(SYS_CONFIG, newer).unwrap();
    assert_eq!(shared.sys_config.pccs(), Some("b"));
    assert_eq!(shared.sys_config.mr_config_document().unwrap(), "d");
}

#[test]
fn other_files_are_parsed_as_strictly() {
    for (name, text) in [
        (
            TEE_SIMULATOR,
            r#"{"endpoint":"http://x","root_ca":"","more":1}"#,
        ),
        (TEE_SIMULATOR, r#"{"endpoint":"unix:/x","root_ca":""}"#),
        (TEE_SIMULATOR, r#"{"endpoint":"http://x"}"#),
        (INSTANCE_INFO, r#"{"app_id":"zz"}"#),
        (INSTANCE_INFO, r#"{"app_id":"00"}"#),
        (INSTANCE_INFO, r#"{"seed":""}"#),
    ] {
        let error = read(name, text).unwrap_err();
        assert!(error.contains(name), "{text}: {error}");
    }
    let simulator = r#"{"endpoint":"http://10.0.2.2:1/td/x","root_ca":"pem"}"#;
    let shared = read(TEE_SIMULATOR, simulator).unwrap();
    assert_eq!(shared.tee_simulator.unwrap().root_ca, "pem");
}
