//! Upgrades that users can see coming, and a multisig that decides.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use alloy::primitives::Address;
use bylaw_e2e::world::manifest;
use bylaw_e2e::{AgentOptions, App, Kms, Safe, World, cli, cli_as};
use serde_json::Value;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How far the chain is behind: more than all the time that a test lets pass.
const BEHIND: Duration = Duration::from_secs(10 * 24 * 3600);

/// The error's text when a VM gets no keys; panics when it gets them.
async fn refusal(world: &World, name: &str, app: &App, kms: &Kms, options: AgentOptions) -> String {
    let agent = world.start_agent(name, app, kms, options).await;
    let error = agent.err().unwrap_or_else(|| panic!("{name} got keys"));
    format!("{error:#}")
}

async fn boots(world: &World, name: &str, app: &App, kms: &Kms) -> Vec<u8> {
    let options = AgentOptions::default();
    let agent = world.start_agent(name, app, kms, options).await.unwrap();
    let key = agent.key("wallet").await.unwrap().key;
    drop(agent);
    world.stop(name).await.unwrap();
    key
}

/// Proposes by `arguments`, lets two of the Safe's owners sign, and executes.
fn through_safe(world: &World, safe: &Safe, arguments: &[&str]) -> Value {
    let file = world.directory().join("proposal.json");
    let file = file.to_str().unwrap();
    let _ = std::fs::remove_file(file);
    let mut words = vec!["gov", "propose"];
    words.extend(arguments);
    words.extend(["--out", file]);
    cli(world, &words).unwrap();
    sign_and_execute(world, safe, file)
}

fn sign_and_execute(world: &World, safe: &Safe, file: &str) -> Value {
    // In the other order than the Safe wants its signatures: the file sorts them.
    let mut keys: Vec<&Path> = safe.keystores.iter().map(AsRef::as_ref).collect();
    keys.reverse();
    for key in keys.iter().take(2) {
        cli_as(world, key, &["gov", "sign", file, "--yes"]).unwrap();
    }
    let payer = world.keystore(5).unwrap();
    cli_as(world, &payer, &["gov", "execute", file]).unwrap()
}

/// Makes the Safe the owner of a contract that account 0 owns.
async fn hand_over(world: &World, safe: &Safe, of: &[&str]) {
    let owner = world.keystore(0).unwrap();
    let file = world.directory().join("offer.json");
    let file = file.to_str().unwrap();
    let address = safe.address.to_string();
    let offer = [&["gov", "propose", "owner", &address, "--out", file], of].concat();
    cli(world, &offer).unwrap();
    cli_as(world, &owner, &["gov", "execute", file]).unwrap();
    through_safe(world, safe, &[&["accept-ownership"], of].concat());
}

fn with_image(app: &App, tag: &str) -> App {
    App {
        compose: app.compose.replace("nginx", &format!("nginx:{tag}")),
        ..app.clone()
    }
}

fn write_compose(world: &World, name: &str, app: &App) -> String {
    let path = world.directory().join(name);
    bylaw_types::file::write_atomic(&path, app.compose.as_bytes()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_by_two_of_three_is_seen_coming() {
    let world = World::start_behind(BEHIND).await.unwrap();
    let kms = world.bootstrapped_kms().await.unwrap();
    let app = world.create_app(&manifest("app")).await.unwrap();
    let safe = world.deploy_safe().unwrap();
    let guardian = world.account(4).to_string();
    let guardian_key = world.keystore(4).unwrap();
    let id = format!("0x{}", app.id);
    let of = ["--app", id.as_str()];
    let owner = world.keystore(0).unwrap();
    let mine = |arguments: &[&str]| {
        let file = world.directory().join("mine.json");
        let _ = std::fs::remove_file(&file);
        let file = file.to_str().unwrap();
        let words = [&["gov", "propose"], arguments, &of, &["--out", file]].concat();
        cli(&world, &words).unwrap();
        cli_as(&world, &owner, &["gov", "execute", file]).unwrap()
    };
    mine(&["guardian", &guardian]);
    hand_over(&world, &safe, &of).await;
    hand_over(&world, &safe, &["--kms"]).await;
    through_safe(&world, &safe, &[&["delay", "24h"][..], &of].concat());
    world.settle().await.unwrap();
    let key = boots(&world, "app", &app, &kms).await;

    // Proposed: visible, and not yet allowed.
    let next = with_image(&app, "2");
    let file = write_compose(&world, "next.json", &next);
    let running = write_compose(&world, "running.json", &app);
    let old = format!("0x{}", app.compose_hash().unwrap());
    let upgrade = [
        "version",
        "--compose",
        &file,
        "--supersede",
        &old,
        "--running",
        &running,
        "--note",
        "https://example.com/2",
    ];
    let proposal = world.directory().join("upgrade.json");
    let proposal = proposal.to_str().unwrap();
    let words = [&["gov", "propose"], &upgrade[..], &of, &["--out", proposal]].concat();
    let said = cli(&world, &words).unwrap();
    let diff: Vec<&str> = said["diff"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["tag"] == "+")
        .map(|line| line["text"].as_str().unwrap())
        .collect();
    assert_eq!(diff, ["  |     image: nginx:2"]);
    // One signature is too few, a stranger's does not count.
    let first = safe.keystores[0].as_path();
    cli_as(&world, first, &["gov", "sign", proposal, "--yes"]).unwrap();
    let payer = world.keystore(5).unwrap();
    let error = cli_as(&world, &payer, &["gov", "execute", proposal]).unwrap_err();
    assert!(error.to_string().contains("1 of 2 signatures"), "{error}");
    let error = cli_as(&world, &payer, &["gov", "sign", proposal, "--yes"]).unwrap_err();
    assert!(error.to_string().contains("is not an owner"), "{error}");
    let done = sign_and_execute(&world, &safe, proposal);
    assert_eq!(done["pending"].as_array().unwrap().len(), 1, "{done}");
    // Not twice.
    let error = cli_as(&world, &payer, &["gov", "execute", proposal]).unwrap_err();
    assert!(error.to_string().contains("it was executed"), "{error}");

    let pending = cli(&world, &[&["gov", "pending"][..], &of].concat()).unwrap();
    let hash = format!("0x{}", next.compose_hash().unwrap());
    assert_eq!(pending["pending"][0]["compose_hash"], hash.as_str());
    world.settle().await.unwrap();
    let text = refusal(&world, "next", &next, &kms, AgentOptions::default()).await;
    assert!(text.contains("Version 2 is pending until"), "{text}");
    assert_eq!(boots(&world, "app", &app, &kms).await, key);

    // What will happen can be asked before it happens.
    let image = format!("0x{}", hex::encode(&kms.td.os_image_hash));
    let simulate = |compose: &str, after: &str| {
        let words = [
            "gov",
            "simulate",
            "--compose",
            compose,
            "--os-image",
            &image,
            "--in",
            after,
        ];
        cli(&world, &[&words[..], &of].concat())
    };
    let error = simulate(&file, "1h").unwrap_err().to_string();
    assert!(
        error.contains("exited with 3") && error.contains("is pending until"),
        "{error}"
    );
    assert_eq!(simulate(&file, "25h").unwrap()["allowed"], true);
    assert_eq!(simulate(&running, "1h").unwrap()["allowed"], true);
    let error = simulate(&running, "25h").unwrap_err().to_string();
    assert!(error.contains("Version 1 is retired"), "{error}");

    // The delay passes: the new one boots with the app's keys, the old one never again.
    world.advance(DAY).await.unwrap();
    assert_eq!(boots(&world, "next", &next, &kms).await, key);
    let text = refusal(&world, "app", &app, &kms, AgentOptions::default()).await;
    assert!(text.contains("Version 1 is retired"), "{text}");

    // A thief holds the Safe for a moment: the guardian vetoes in time.
    let evil = with_image(&app, "evil");
    let file = write_compose(&world, "evil.json", &evil);
    let stolen = through_safe(
        &world,
        &safe,
        &[&["version", "--compose", &file][..], &of].concat(),
    );
    let change = stolen["pending"][0]["id"].as_str().unwrap();
    let stranger = world.keystore(5).unwrap();
    let veto = [&["gov", "veto", change][..], &of].concat();
    let error = cli_as(&world, &stranger, &veto).unwrap_err();
    assert!(error.to_string().contains("neither owner"), "{error}");
    cli_as(&world, &guardian_key, &veto).unwrap();
    world.advance(DAY).await.unwrap();
    let text = refusal(&world, "evil", &evil, &kms, AgentOptions::default()).await;
    assert!(text.contains("Compose hash not allowed"), "{text}");

    // The guardian pauses: nothing is released from the next block on, final or not.
    cli_as(
        &world,
        &guardian_key,
        &[&["gov", "pause"][..], &of].concat(),
    )
    .unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    let text = refusal(&world, "next", &next, &kms, AgentOptions::default()).await;
    assert!(text.contains("App is paused"), "{text}");
    through_safe(&world, &safe, &[&["unpause"][..], &of].concat());
    world.settle().await.unwrap();
    let text = refusal(&world, "next", &next, &kms, AgentOptions::default()).await;
    assert!(text.contains("App is paused"), "{text}");
    world.advance(DAY).await.unwrap();
    assert_eq!(boots(&world, "next", &next, &kms).await, key);

    let history = cli(&world, &[&["gov", "history"][..], &of].concat()).unwrap();
    let titles: Vec<&str> = history["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["title"].as_str().unwrap())
        .collect();
    for title in [
        "version 1 added",
        "owner changed",
        "version 2 added",
        "paused",
        "dropped: compose-hash",
    ] {
        assert!(titles.contains(&title), "{title} in {titles:?}");
    }
}

/// The KMS honours every rule of the contract.
#[tokio::test(flavor = "multi_thread")]
async fn every_rule_reaches_the_kms() {
    let world = World::start_behind(BEHIND).await.unwrap();
    let kms = world.bootstrapped_kms().await.unwrap();
    let app = world.create_app(&manifest("app")).await.unwrap();
    let id = format!("0x{}", app.id);
    let owner = world.keystore(0).unwrap();
    let change = async |arguments: &[&str]| {
        let file = world.directory().join("change.json");
        let _ = std::fs::remove_file(&file);
        let file = file.to_str().unwrap();
        let of_app: &[&str] = &["--app", &id];
        let of = if arguments[0] == "register" {
            &[]
        } else {
            of_app
        };
        let words = [&["gov", "propose"], arguments, of, &["--out", file]].concat();
        cli(&world, &words).unwrap();
        cli_as(&world, &owner, &["gov", "execute", file]).unwrap();
        world.settle().await.unwrap();
    };
    let usual = AgentOptions::default;
    world.settle().await.unwrap();
    boots(&world, "app", &app, &kms).await;
    let refused = async |options: AgentOptions, reason: &str| {
        let text = refusal(&world, "app", &app, &kms, options).await;
        assert!(text.contains(reason), "wanted {reason:?} in {text}");
    };
    let allowed = async |options: AgentOptions| {
        let agent = world.start_agent("app", &app, &kms, options).await.unwrap();
        drop(agent);
        world.stop("app").await.unwrap();
    };

    // TCB statuses and the grace period; the level it lacks is from 2024-03-13.
    let outdated = || AgentOptions {
        outdated: true,
        ..usual()
    };
    allowed(outdated()).await;
    change(&["policy", "--tcb", "UpToDate,SWHardeningNeeded"]).await;
    refused(outdated(), "TCB status OutOfDate is not allowed").await;
    change(&["policy", "--tcb-grace", "40000d"]).await;
    // The grace excuses the status; its advisory is another rule.
    change(&["policy", "--any-advisory", "false"]).await;
    refused(outdated(), "Advisory INTEL-SA-01036 is not tolerated").await;
    change(&["advisory", "INTEL-SA-01036"]).await;
    allowed(outdated()).await;
    change(&["policy", "--tcb-grace", "30d"]).await;
    refused(outdated(), "The grace period for the outdated TCB ended at").await;
    allowed(usual()).await;

    // Platforms.
    change(&["policy", "--tee", "sev-snp"]).await;
    refused(usual(), "TEE variant is not allowed").await;
    change(&["policy", "--tee", "sev-snp,tdx"]).await;
    allowed(usual()).await;

    // Devices.
    change(&["policy", "--any-device", "false"]).await;
    refused(usual(), "Device not allowed").await;
    let device = format!("0x{}", world.device_id);
    change(&["device", &device]).await;
    allowed(usual()).await;

    // GPUs.
    change(&["policy", "--require-gpu", "true"]).await;
    refused(usual(), "GPU attestation is required").await;
    allowed(AgentOptions { gpus: 8, ..usual() }).await;
    change(&["policy", "--require-gpu", "false"]).await;

    // Age of the chain's state: this chain is days behind.
    change(&["policy", "--max-state-age", "1h"]).await;
    refused(usual(), "Chain state is older than 3600 seconds").await;
    change(&["policy", "--max-state-age", "20d"]).await;
    allowed(usual()).await;

    // Ends: a version's, then an app's.
    let hash = format!("0x{}", app.compose_hash().unwrap());
    let soon = cli(&world, &["gov", "show", "--app", &id]).unwrap()["block"]["timestamp"]
        .as_u64()
        .unwrap()
        + 3600;
    change(&[
        "expiry",
        "--compose-hash",
        &hash,
        "--expires-at",
        &soon.to_string(),
    ])
    .await;
    allowed(usual()).await;
    world.advance(Duration::from_secs(3600)).await.unwrap();
    refused(usual(), "Version 1 ended at").await;
    let again = with_image(&app, "2");
    let file = write_compose(&world, "again.json", &again);
    change(&["version", "--compose", &file]).await;
    boots(&world, "again", &again, &kms).await;
    change(&["min-version", "3"]).await;
    let text = refusal(&world, "again", &again, &kms, usual()).await;
    assert!(text.contains("Version 2 is retired"), "{text}");
    let last = with_image(&app, "3");
    let file = write_compose(&world, "last.json", &last);
    change(&["version", "--compose", &file]).await;
    boots(&world, "last", &last, &kms).await;
    cli_as(&world, &owner, &["gov", "pause", "--app", &id, "--at-kms"]).unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    let text = refusal(&world, "last", &last, &kms, usual()).await;
    assert!(text.contains("App is paused at the KMS contract"), "{text}");
    change(&["register", &id, "--remove"]).await;
    let text = refusal(&world, "last", &last, &kms, usual()).await;
    assert!(text.contains("App was deregistered"), "{text}");
}

/// A timelock decides as well as a Safe, and contracts that speak only dstack's
/// interface stay governable and servable.
#[tokio::test(flavor = "multi_thread")]
async fn a_timelock_decides() {
    let world = World::start_behind(BEHIND).await.unwrap();
    let app = world.create_app(&manifest("app")).await.unwrap();
    let timelock: Address = world.deploy_timelock(3600).unwrap();
    let id = format!("0x{}", app.id);
    let owner = world.keystore(0).unwrap();
    let file = world.directory().join("timelock.json");
    let file = file.to_str().unwrap();
    let propose = |arguments: &[&str]| {
        let _ = std::fs::remove_file(file);
        let words = [
            &["gov", "propose"],
            arguments,
            &["--app", &id, "--out", file],
        ]
        .concat();
        cli(&world, &words).unwrap()
    };
    let step = || cli_as(&world, &owner, &["gov", "execute", file]);
    propose(&["owner", &timelock.to_string()]);
    step().unwrap();
    propose(&["accept-ownership"]);
    let scheduled = step().unwrap();
    assert!(scheduled["executable_at"].as_u64().is_some(), "{scheduled}");
    let error = step().unwrap_err().to_string();
    assert!(error.contains("the timelock lets it through at"), "{error}");
    world.advance(Duration::from_secs(3601)).await.unwrap();
    step().unwrap();
    let error = step().unwrap_err().to_string();
    assert!(error.contains("it was carried out already"), "{error}");
    let shown = cli(&world, &["gov", "show", "--app", &id]).unwrap();
    assert_eq!(shown["app"]["owner"]["kind"], "timelock");

    propose(&["delay", "1h"]);
    step().unwrap();
    world.advance(Duration::from_secs(3601)).await.unwrap();
    step().unwrap();
    let shown = cli(&world, &["gov", "show", "--app", &id]).unwrap();
    assert_eq!(shown["app"]["delay"], 3600);

    // The same again is another operation of the timelock.
    propose(&["delay", "1h"]);
    assert!(step().unwrap()["executable_at"].as_u64().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn contracts_of_dstack_and_of_ones_own_still_work() {
    let world = World::start_with_dstack_contracts().await.unwrap();
    let kms = world.bootstrapped_kms().await.unwrap();
    let app = world.create_app(&manifest("app")).await.unwrap();
    world.settle().await.unwrap();
    let key = boots(&world, "app", &app, &kms).await;
    let id = format!("0x{}", app.id);
    let next = with_image(&app, "2");
    let file = write_compose(&world, "next.json", &next);
    let owner = world.keystore(0).unwrap();
    let proposal = world.directory().join("proposal.json");
    let proposal = proposal.to_str().unwrap();

    let shown = cli(&world, &["gov", "show", "--app", &id]).unwrap();
    assert_eq!(shown["app"]["kind"], "dstack");
    let words = [
        "gov",
        "propose",
        "version",
        "--compose",
        &file,
        "--app",
        &id,
    ];
    let timed = [
        &words[..],
        &["--expires-at", "9999999999", "--out", proposal],
    ]
    .concat();
    let error = cli(&world, &timed).unwrap_err().to_string();
    assert!(error.contains("knows no times"), "{error}");
    let text = refusal(&world, "next", &next, &kms, AgentOptions::default()).await;
    assert!(text.contains("Compose hash not allowed"), "{text}");
    cli(&world, &[&words[..], &["--out", proposal]].concat()).unwrap();
    cli_as(&world, &owner, &["gov", "execute", proposal]).unwrap();
    world.settle().await.unwrap();
    assert_eq!(boots(&world, "next", &next, &kms).await, key);

    // An app's contract of its owner's own making, at the same KMS contract.
    let custom = world.deploy_custom_app().await.unwrap();
    world.settle().await.unwrap();
    let own = App {
        id: custom,
        compose: manifest("own"),
    };
    let text = refusal(&world, "own", &own, &kms, AgentOptions::default()).await;
    assert!(text.contains("attest"), "the contract's own words: {text}");
    let hash = own.compose_hash().unwrap();
    world.attest_build(&custom, &hash).await.unwrap();
    world.settle().await.unwrap();
    boots(&world, "own", &own, &kms).await;
    let shown = cli(&world, &["gov", "show", "--app", &format!("0x{custom}")]).unwrap();
    assert_eq!(shown["app"]["kind"], "custom");
}
