use super::*;

fn load(text: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmm.toml");
    bylaw_types::file::write_atomic(&path, text.as_bytes()).unwrap();
    let raw: Raw = bylaw_service::load(NAMES, Some(&path), std::iter::empty())
        .map_err(|error| error.to_string())?;
    Config::try_from(raw).map_err(|error| error.to_string())
}

#[test]
fn the_accelerator_is_somebodys_choice() {
    let error = load("").unwrap_err();
    assert!(error.contains("cvm.accel"), "{error}");
    assert_eq!(load("cvm.accel = \"tcg\"").unwrap().cvm.accel, Accel::Tcg);
}

#[test]
fn dstacks_own_settings_are_understood() {
    let config = load(
        r#"
        address = "127.0.0.1"
        port = 12000
        reuse = true
        kms_url = ""
        [image]
        path = "/images"
        [cvm]
        accel = "kvm"
        platform = "tdx"
        tproxy_urls = ["https://gateway"]
        [cvm.log]
        max_bytes = "2K"
        [cvm.networking]
        mac_prefix = "02:ab"
        [cvm.port_mapping]
        enabled = true
        range = [{ protocol = "tcp", from = 1, to = 20000 }]
        [cvm.chain]
        rpc_urls = ["http://10.0.2.2:8545"]
        chain_id = 1
        kms_auth = "0x00"
        [supervisor]
        sock = "./run/supervisor.sock"
        [host_api]
        address = "127.0.0.1"
        "#,
    )
    .unwrap();
    assert_eq!(config.listen, Listen::Tcp("127.0.0.1:12000".into()));
    assert_eq!(config.kms_url, None);
    assert_eq!(config.cvm.gateway_urls, ["https://gateway"]);
    assert_eq!(config.cvm.log.max_bytes, 2048);
    assert_eq!(config.cvm.networking.mac_prefix, [2, 0xab]);
    assert_eq!(config.cvm.port_mapping.unwrap().ranges.len(), 1);
    assert_eq!(config.cvm.chain.unwrap().chain_id, 1);
    assert!(matches!(config.host_api, HostApi::Tcp { port: 10000, .. }));
}

#[test]
fn what_cannot_be_used_is_named() {
    for (text, key) in [
        ("cvm.accel = \"hvf\"", "cvm.accel"),
        ("address = \"somewhere\"", "address"),
        ("address = \"vsock:2:1\"", "address"),
        ("host_api.address = \"0.0.0.0\"", "host_api.address"),
        ("host_api.address = \"vsock:x\"", "host_api.address"),
        ("auth.enabled = true", "auth.enabled"),
        ("auth = { enabled = true, tokens = [\"\"] }", "auth.enabled"),
        ("cvm.platform = \"sgx\"", "cvm.platform"),
        ("cvm.user = \"nobody\"", "cvm.user"),
        ("cvm.host_share_mode = \"9p\"", "cvm.host_share_mode"),
        ("cvm.volumes_dir = \"/v\"", "cvm.volumes_dir"),
        ("cvm.network_filter.mode = \"libvirt\"", "network_filter"),
        ("cvm.cid_start = 2", "cvm.cid_start"),
        ("cvm.networking.mode = \"bridge\"", "networking.bridge"),
        ("cvm.networking.mode = \"custom\"", "networking.mode"),
        ("cvm.networking.mac_prefix = \"01\"", "mac_prefix"),
        ("cvm.networking.mac_prefix = \"02:00:00:00\"", "mac_prefix"),
        ("cvm.log.max_bytes = \"4X\"", "cvm.log.max_bytes"),
        ("cvm.product.serial = \"1\"", "unknown field"),
        ("cvm.tee_simulator.control = \"/s\"", "tee_simulator"),
        (
            "cvm.port_mapping = { enabled = true, range = [{ protocol = \"tcp\", from = 2, to = 1 }] }",
            "port_mapping.range",
        ),
        ("cvm.typo = 1", "unknown field"),
        ("typo = 1", "unknown field"),
    ] {
        let accel = if text.contains("accel") {
            ""
        } else {
            "cvm.accel = \"tcg\"\n"
        };
        let error = load(&format!("{accel}{text}")).unwrap_err();
        assert!(error.contains(key), "{text}: {error}");
    }
}
