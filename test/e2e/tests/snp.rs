//! SEV-SNP guests: keys by contract, where the KMS is set to give them any.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use bylaw_attest::{Attestation, Platform};
use bylaw_e2e::world::manifest;
use bylaw_e2e::{AgentOptions, App, Kms, KmsOptions, World, cli, cli_as, program};
use bylaw_ratls::RaTlsCert;
use bylaw_rpc::message::guest::{AttestResponse, GetTlsKeyArgs, GetTlsKeyResponse, RawQuoteArgs};

fn snp() -> AgentOptions {
    AgentOptions {
        tee: "sev-snp".to_owned(),
        ..AgentOptions::default()
    }
}

/// No agent gets keys then, and its log names the rule.
async fn refused(
    world: &World,
    kms: &Kms,
    name: &str,
    app: &App,
    options: AgentOptions,
    rule: &str,
) {
    let error = world
        .start_agent(name, app, kms, options)
        .await
        .unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains(rule), "{name}: wanted {rule:?} in {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_follow_the_contract_and_the_kms_setting() {
    let world = World::start_with(&["--snp"]).await.unwrap();
    let mut kms = world.bootstrapped_kms().await.unwrap();
    let app = world.create_app(&manifest("app")).await.unwrap();
    let other = world.create_app(&manifest("other")).await.unwrap();
    world.settle().await.unwrap();

    // By default a KMS gives SEV-SNP guests nothing, whatever the contract says.
    refused(&world, &kms, "gated", &app, snp(), "sev_snp_key_release").await;

    kms.kill();
    kms.edit_config("sev_snp_key_release = false", "sev_snp_key_release = true")
        .unwrap();
    kms.start().unwrap();
    kms.wait_until_serving().await.unwrap();
    let mut agent = world.start_agent("snp", &app, &kms, snp()).await.unwrap();
    let key = agent.key("wallet").await.unwrap();

    // A restarted agent gets the same keys; so does the app on TDX: one app, one key.
    agent.kill();
    agent.start().unwrap();
    assert_eq!(agent.key("wallet").await.unwrap().key, key.key);
    let on_tdx = world
        .start_agent("tdx", &app, &kms, AgentOptions::default())
        .await
        .unwrap();
    assert_eq!(on_tdx.key("wallet").await.unwrap().key, key.key);

    // Certificates come by the same path, and say what the guest is.
    let request = GetTlsKeyArgs {
        subject: "app.example".into(),
        usage_ra_tls: true,
        with_app_info: true,
        ..GetTlsKeyArgs::default()
    };
    let client = agent.client().unwrap();
    let tls: GetTlsKeyResponse = client.call("GetTlsKey", &request).await.unwrap();
    let leaf = RaTlsCert::parse(tls.certificate_chain[0].as_bytes()).unwrap();
    let info = leaf.app_info.unwrap();
    assert_eq!(info.app_id, app.id);
    assert_eq!(info.compose_hash, app.compose_hash().unwrap());
    assert!(info.instance_id.is_some());
    let evidence = leaf.attestation.unwrap();
    assert_eq!(evidence.platform.kind(), "sev-snp");

    // Refused, each naming the rule.
    let tampered = App {
        compose: app.compose.replace("nginx", "nginy"),
        ..app.clone()
    };
    refused(
        &world,
        &kms,
        "tampered",
        &tampered,
        snp(),
        "Compose hash not allowed",
    )
    .await;
    let stolen = App {
        id: other.id,
        compose: app.compose.clone(),
    };
    refused(
        &world,
        &kms,
        "stolen",
        &stolen,
        snp(),
        "Compose hash not allowed",
    )
    .await;
    let image = AgentOptions {
        image: "another".into(),
        ..snp()
    };
    refused(
        &world,
        &kms,
        "image",
        &app,
        image,
        "OS image is not allowed",
    )
    .await;
    let debug = AgentOptions {
        debug: true,
        ..snp()
    };
    refused(&world, &kms, "debug", &app, debug, "debugging").await;
    people_can_verify_it(&world, &client, &app).await;

    // The app's own rules about platforms.
    let change = async |arguments: &[&str]| {
        let file = world.directory().join("change.json");
        let _ = std::fs::remove_file(&file);
        let id = format!("0x{}", app.id);
        let to = ["--app", &id, "--out", file.to_str().unwrap()];
        cli(&world, &[&["gov", "propose"], arguments, &to].concat()).unwrap();
        let owner = world.keystore(0).unwrap();
        cli_as(&world, &owner, &["gov", "execute", to[3]]).unwrap();
        world.settle().await.unwrap();
    };
    let outdated = || AgentOptions {
        outdated: true,
        ..snp()
    };
    change(&["policy", "--tcb", "UpToDate,SWHardeningNeeded"]).await;
    let rule = "TCB status OutOfDate is not allowed";
    refused(&world, &kms, "outdated", &app, outdated(), rule).await;
    // AMD does not say since when, so no grace period excuses it.
    change(&["policy", "--tcb-grace", "40000d"]).await;
    let rule = "not known since when";
    refused(&world, &kms, "outdated", &app, outdated(), rule).await;
    change(&["policy", "--tee", "tdx"]).await;
    let rule = "TEE variant is not allowed";
    refused(&world, &kms, "variant", &app, snp(), rule).await;
}

/// `bylaw verify` and `bylaw explain` on the evidence of a running guest.
async fn people_can_verify_it(world: &World, client: &bylaw_rpc::Client, app: &App) {
    let request = RawQuoteArgs {
        report_data: b"challenge".to_vec(),
    };
    let answer: AttestResponse = client.call("Attest", &request).await.unwrap();
    let file = world.directory().join("evidence.bin");
    bylaw_types::file::write_atomic(&file, &answer.attestation).unwrap();
    let bylaw = |arguments: &[&str], code: i32| {
        let output = Command::new(program("bylaw").unwrap())
            .arg(arguments[0])
            .arg(&file)
            .args(&arguments[1..])
            .env("BYLAW_COLLATERAL", &world.pccs)
            .env("BYLAW_AMD_KDS", &world.pccs)
            .env("BYLAW_ROOT_CA", &world.root_ca)
            .env("BYLAW_AMD_ROOT_CA", &world.amd_root_ca)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        text
    };
    let verified = bylaw(&["verify"], 0);
    for part in ["NOT VENDOR", "UpToDate", "measurement", &app.id.to_string()] {
        assert!(verified.contains(part), "{part} in {verified}");
    }
    let kms_auth = format!("0x{}", world.kms_auth);
    let chain = [
        "explain",
        "--rpc-url",
        &world.rpc_url,
        "--kms-contract",
        &kms_auth,
    ];
    let explained = bylaw(&chain, 0);
    assert!(explained.contains("HOST_DATA"), "{explained}");
    assert!(explained.contains("dstack-amd-sev-snp"), "{explained}");

    // The same evidence with another document beside it.
    let mut forged = Attestation::decode(&answer.attestation).unwrap();
    let Platform::SevSnp { mr_config, .. } = &mut forged.platform else {
        panic!("SEV-SNP");
    };
    *mr_config = mr_config.replace("\"kms\"", "\"none\"");
    bylaw_types::file::write_atomic(&file, &forged.encode()).unwrap();
    let refused = bylaw(&["verify"], 4);
    assert!(refused.contains("another document"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intermediate_that_amd_revoked_ends_it() {
    let world = World::start_with(&["--snp", "--revoke-ask"]).await.unwrap();
    let kms = world
        .bootstrapped_kms_with(KmsOptions {
            sev_snp_key_release: true,
            ..KmsOptions::default()
        })
        .await
        .unwrap();
    let app = world.create_app(&manifest("app")).await.unwrap();
    world.settle().await.unwrap();
    refused(&world, &kms, "snp", &app, snp(), "revoked").await;
}
