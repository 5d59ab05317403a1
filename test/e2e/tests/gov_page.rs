//! The governance page, served by the real program and looked at by a real browser.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use bylaw_e2e::world::manifest;
use bylaw_e2e::{App, Process, World, cli, cli_as, program, repository};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_sees_what_the_chain_says() {
    let world = World::start().await.unwrap();
    let app = world.create_app(&manifest("shop")).await.unwrap();
    let id = format!("0x{}", app.id);
    let safe = world.deploy_safe().unwrap();
    let owner = world.keystore(0).unwrap();
    let proposals = world.directory().join("proposals");
    let composes = world.directory().join("composes");
    for directory in [&proposals, &composes] {
        std::fs::create_dir_all(directory).unwrap();
    }
    let propose = |file: &str, change: &[&str]| -> String {
        let path = proposals.join(file);
        let path = path.to_str().unwrap().to_owned();
        let words = [&["gov", "propose"], change, &["--app", &id, "--out", &path]].concat();
        cli(&world, &words).unwrap();
        path
    };
    let next = App {
        compose: app.compose.replace("nginx", "nginx:2"),
        ..app.clone()
    };
    for (name, one) in [("one.json", &app), ("two.json", &next)] {
        let bytes = one.compose.as_bytes();
        bylaw_types::file::write_atomic(&composes.join(name), bytes).unwrap();
    }
    let file = propose("offer.json", &["owner", &safe.address.to_string()]);
    cli_as(&world, &owner, &["gov", "execute", &file]).unwrap();
    let file = propose("accept.json", &["accept-ownership"]);
    for key in safe.keystores.iter().take(2) {
        cli_as(&world, key, &["gov", "sign", &file, "--yes"]).unwrap();
    }
    cli_as(&world, &owner, &["gov", "execute", &file]).unwrap();
    for change in [
        &["guardian", &world.account(4).to_string()][..],
        &["delay", "24h"],
    ] {
        let file = propose("set.json", change);
        for key in safe.keystores.iter().take(2) {
            cli_as(&world, key, &["gov", "sign", &file, "--yes"]).unwrap();
        }
        cli_as(&world, &owner, &["gov", "execute", &file]).unwrap();
        std::fs::remove_file(file).unwrap();
    }
    let old = format!("0x{}", app.compose_hash().unwrap());
    let two = composes.join("two.json");
    let upgrade = [
        "version",
        "--compose",
        two.to_str().unwrap(),
        "--supersede",
        &old,
    ];
    let file = propose("upgrade.json", &upgrade);
    for key in safe.keystores.iter().take(2) {
        cli_as(&world, key, &["gov", "sign", &file, "--yes"]).unwrap();
    }
    cli_as(&world, &owner, &["gov", "execute", &file]).unwrap();
    // One that still needs a signature.
    let file = propose(
        "retire.json",
        &["device", &format!("0x{}", "ab".repeat(32))],
    );
    cli_as(&world, &safe.keystores[0], &["gov", "sign", &file, "--yes"]).unwrap();

    let mut command = Command::new(program("bylaw").unwrap());
    command
        .args(["--json", "gov", "serve", "--listen", "127.0.0.1:0"])
        .arg("--proposals")
        .arg(&proposals)
        .arg("--composes")
        .arg(&composes)
        .env("ETH_RPC_URL", &world.rpc_url)
        .env("KMS_CONTRACT_ADDR", format!("0x{}", world.kms_auth));
    let log = world.directory().join("serve.log");
    let _server = Process::start("serve", world.directory(), &mut command).unwrap();
    let url = url_in(&log).await;
    let expected = json!({ "routes": [{
        "hash": format!("#/app/{id}"),
        "shows": ["shop", "a version may run", "needs 1 more signature", "2 of 3", "2 finished proposals", &old[..8]],
        "hides": ["undefined", "[object", "NaN"],
    }] });
    let expectations = world.directory().join("expected.json");
    bylaw_types::file::write_atomic(&expectations, expected.to_string().as_bytes()).unwrap();
    let seen = Command::new("node")
        .current_dir(repository())
        .args(["test/browser/gov.mjs", &url])
        .arg(&expectations)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&seen.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&seen.stderr);
    assert!(seen.status.success(), "{text}\n{complaints}");
}

async fn url_in(log: &std::path::Path) -> String {
    for _ in 0..300 {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            return value["url"].as_str().unwrap().to_owned();
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!(
        "not served: {}",
        std::fs::read_to_string(log).unwrap_or_default()
    );
}
