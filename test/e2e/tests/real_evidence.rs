//! The command line on real evidence, and against contracts on a real chain.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

use bylaw_e2e::{World, program, repository};
use bylaw_types::{AppId, ComposeHash, DeviceId, OsImageHash};

fn bylaw(arguments: &[&str]) -> Output {
    Command::new(program("bylaw").unwrap())
        .current_dir(repository().join("test/vectors/attest"))
        .env_remove("BYLAW_COLLATERAL")
        .env_remove("BYLAW_ROOT_CA")
        .args(arguments)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn exits(code: i32, arguments: &[&str]) -> String {
    let output = bylaw(arguments);
    let text = text(&output);
    assert_eq!(
        output.status.code(),
        Some(code),
        "bylaw {}\n{text}",
        arguments.join(" ")
    );
    text
}

#[test]
fn verify_gives_every_sample_its_exit_code() {
    let collateral = [
        "--collateral",
        "tdx/dcapqvl-v4/collateral.json",
        "--at",
        "1750414563",
    ];
    let with = |file: &'static str| [&["verify", file], &collateral[..]].concat();
    let text = exits(0, &with("tdx/dcapqvl-v4/quote.bin"));
    assert!(text.contains("UpToDate"), "{text}");
    for broken in [
        "tdx/broken/sig-bitflip.bin",
        "tdx/broken/report-data-bitflip.bin",
        "tdx/broken/mrtd-bitflip.bin",
        "tdx/broken/qe-report-bitflip.bin",
        "tdx/broken/ak-swapped.bin",
        "tdx/broken/debug-set.bin",
    ] {
        exits(4, &with(broken));
    }
    for unusable in [
        "tdx/broken/truncated.bin",
        "tdx/broken/empty.bin",
        "tdx/broken/version-6.bin",
        "tdx/broken/siglen-huge.bin",
        "no-such-file",
    ] {
        exits(2, &with(unusable));
    }
    let quote = "tdx/dcapqvl-v4/quote.bin";
    let sample = "tdx/dcapqvl-v4/collateral.json";
    exits(
        4,
        &[
            "verify",
            quote,
            "--collateral",
            sample,
            "--at",
            "1753006563",
        ],
    );
    let edited = "tdx/broken/collateral-nextupdate-edited.json";
    exits(
        4,
        &[
            "verify",
            quote,
            "--collateral",
            edited,
            "--at",
            "1750414563",
        ],
    );
    let other = [&with(quote)[..], &["--report-data", "00"]].concat();
    exits(4, &other);
    // Genuine, but nobody reports the platform's status.
    let empty = tempfile::tempdir().unwrap();
    let nowhere = empty.path().to_str().unwrap();
    let text = exits(
        4,
        &[
            "verify",
            "tdx-lite-getquote.json",
            "--collateral",
            nowhere,
            "--at",
            "1780000000",
        ],
    );
    assert!(
        text.contains("collateral missing") && text.contains("os image"),
        "{text}"
    );
    let json = exits(0, &[&["--json"], &with(quote)[..]].concat());
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["tcb_status"], "UpToDate");
}

#[test]
fn help_hashes_and_completions_work() {
    let text = exits(0, &["compose-hash", "../simulator/app-compose.json"]);
    assert!(text.contains("65b4e574f16973956908b6359920593c3b7d9f36f38e81a47f996a0c0d5435bb"));
    exits(2, &["compose-hash", "ccel.bin"]);
    exits(2, &["verify"]);
    for command in [
        "verify",
        "explain",
        "compose-hash",
        "kms status",
        "app create",
        "app allow",
        "app remove",
        "app show",
        "dev",
    ] {
        let mut arguments: Vec<&str> = command.split(' ').collect();
        arguments.push("--help");
        assert!(
            exits(0, &arguments).contains("Example"),
            "{command} has an example"
        );
    }
    for shell in ["bash", "zsh", "fish", "powershell"] {
        assert!(exits(0, &["completions", shell]).contains("bylaw"));
    }
    let text = exits(5, &["kms", "status", "https://127.0.0.1:1"]);
    assert!(text.contains("127.0.0.1:1"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_decides_a_real_attestation_by_contract() {
    let world = World::start().await.unwrap();
    let owner = &world.owner;
    let app: AppId = "86b0e55f2fa8e4fb69d890f14f54d5612707646e".parse().unwrap();
    let image: OsImageHash = "e6f5cfec20c02e7b97baa213d0f718020b55e040172d90ccbcb946d56c8b09db"
        .parse()
        .unwrap();
    let compose: ComposeHash = "86b0e55f2fa8e4fb69d890f14f54d5612707646e2573d54e0d2ddaaade77caa9"
        .parse()
        .unwrap();
    let device: DeviceId = "318a579a74326db98e209c5ffd7fd1e51a73bb1979c6408298a827a90ed268d0"
        .parse()
        .unwrap();

    // An app contract at the app id that was measured on the real machine.
    let made = owner
        .create_app(&world.kms_auth, None, Some(&device), false)
        .await
        .unwrap();
    let rpc = &world.rpc_url;
    let cast = |arguments: &[&str]| {
        let output = Command::new(program("cast").unwrap())
            .args(["rpc", "--rpc-url", rpc])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stdout)
            .unwrap()
            .trim()
            .trim_matches('"')
            .to_owned()
    };
    let at = format!("0x{app}");
    let code = cast(&["eth_getCode", &format!("0x{made}"), "latest"]);
    cast(&["anvil_setCode", &at, &code]);
    // What the proxy keeps: implementation, owner, flags.
    for slot in [
        "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc",
        "0x9016d09d72d40fdae2fd8ceac6b6234c7706214fd39c1cd1e609a0528c199300",
    ] {
        let value = cast(&["eth_getStorageAt", &format!("0x{made}"), slot, "latest"]);
        cast(&["anvil_setStorageAt", &at, slot, &value]);
    }
    let kms = format!("0x{}", world.kms_auth);
    let empty = tempfile::tempdir().unwrap();
    let nowhere = empty.path().to_str().unwrap();
    let chain = [
        "--rpc-url",
        rpc,
        "--kms-contract",
        &kms,
        "--at",
        "1780000000",
        "--collateral",
        nowhere,
    ];
    let explain = |code: i32, more: &[&str]| {
        exits(
            code,
            &[&["explain", "tdx-lite-getquote.json"], &chain[..], more].concat(),
        )
    };
    let accept = ["--accept-tcb-not-reported"];

    // Without collateral it is not verified, unless one asks to judge the rest.
    assert!(explain(4, &[]).contains("collateral missing"));
    world.settle().await.unwrap();
    assert!(explain(3, &accept).contains("App not registered"));
    register(&world, &at);
    world.settle().await.unwrap();
    assert!(explain(3, &accept).contains("OS image is not allowed"));
    owner
        .set_os_image(&world.kms_auth, &image, true)
        .await
        .unwrap();
    world.settle().await.unwrap();
    let text = explain(3, &accept);
    assert!(
        text.contains("Compose hash not allowed") && text.contains("bylaw gov propose version"),
        "{text}"
    );
    owner.set_compose_hash(&app, &compose, true).await.unwrap();
    world.settle().await.unwrap();
    assert!(explain(3, &accept).contains("Device not allowed"));
    owner.set_device(&app, &device, true).await.unwrap();
    world.settle().await.unwrap();
    let text = explain(0, &accept);
    assert!(text.contains("NotReported"), "{text}");
    // Any one measurement that is not allowed refuses again.
    owner
        .set_os_image(&world.kms_auth, &image, false)
        .await
        .unwrap();
    world.settle().await.unwrap();
    assert!(explain(3, &accept).contains("OS image is not allowed"));
}

/// Registering is open to everyone: another account does it, by `cast send`.
fn register(world: &World, app: &str) {
    let output = Command::new(program("cast").unwrap())
        .args(["send", "--rpc-url", &world.rpc_url])
        .args([
            "--private-key",
            "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
        ])
        .args([
            &format!("0x{}", world.kms_auth),
            "registerApp(address)",
            app,
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
}
