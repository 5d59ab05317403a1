//! Client libraries against a running system: those that dstack publishes, unchanged,
//! and our own in four languages. Each is a program that checks what the answers mean
//! and says `sdk ok` at its end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use bylaw_e2e::world::manifest;
use bylaw_e2e::{Agent, AgentOptions, App, Kms, World, repository};

/// Programs, and where they run.
const PROGRAMS: [(&str, &str, &[&str]); 7] = [
    ("dstack-sdk of PyPI", "test/sdk/dstack-python", &["./run"]),
    ("@phala/dstack-sdk of npm", "test/sdk/dstack-js", &["./run"]),
    (
        "dstack-sdk of crates.io",
        "test/sdk/dstack-rust",
        &["./run"],
    ),
    (
        "Python",
        "guest/sdk/python",
        &[".venv/bin/python", "e2e.py"],
    ),
    ("TypeScript", "guest/sdk/typescript", &["node", "e2e.mjs"]),
    ("Go", "guest/sdk/go", &["go", "run", "./e2e"]),
    (
        "Rust",
        ".",
        &[
            "cargo",
            "run",
            "--locked",
            "--quiet",
            "-p",
            "bylaw-sdk",
            "--example",
            "e2e",
        ],
    ),
];

struct System {
    world: World,
    kms: Kms,
    app: App,
    agent: Agent,
}

async fn system() -> System {
    let world = World::start().await.unwrap();
    let kms = world.bootstrapped_kms().await.unwrap();
    let app = world.create_app(&manifest("app")).await.unwrap();
    world.settle().await.unwrap();
    let agent = world
        .start_agent("app", &app, &kms, AgentOptions::default())
        .await
        .unwrap();
    System {
        world,
        kms,
        app,
        agent,
    }
}

fn run(directory: &Path, program: &[&str], environment: &[(&str, String)]) -> Result<(), String> {
    let [name, arguments @ ..] = program else {
        return Err("no program".to_owned());
    };
    let output = Command::new(name)
        .args(arguments)
        .current_dir(directory)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .map_err(|error| format!("{name} in {}: {error}", directory.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() && text.contains("sdk ok") {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}\n{text}\n{errors}", output.status))
}

#[tokio::test(flavor = "multi_thread")]
async fn libraries_of_others_and_our_own_get_what_they_expect() {
    let system = system().await;
    let meta = system.kms.wait_until_serving().await.unwrap();
    let text = |path: &Path| path.display().to_string();
    let environment = [
        ("DSTACK_SIMULATOR_ENDPOINT", text(&system.agent.dstack)),
        ("TAPPD_SIMULATOR_ENDPOINT", text(&system.agent.tappd)),
        ("ETH_RPC_URL", system.world.rpc_url.clone()),
        ("KMS_CONTRACT_ADDR", format!("0x{}", system.world.kms_auth)),
        ("APP_CONTRACT_ADDR", format!("0x{}", system.app.id)),
        ("KMS_URL", system.kms.url.clone()),
        ("KMS_ROOT_K256", hex::encode(&meta.k256_pubkey)),
        ("KMS_CA_SPKI", {
            let root = bylaw_ratls::RaTlsCert::parse(meta.ca_cert.as_bytes()).unwrap();
            hex::encode(root.spki_der)
        }),
        ("BYLAW_ROOT_CA", text(&system.world.root_ca)),
        ("BYLAW_COLLATERAL", system.world.pccs.clone()),
    ];
    let mut failures = Vec::new();
    for (name, directory, program) in PROGRAMS {
        eprintln!("-- {name}");
        if let Err(reason) = run(&repository().join(directory), program, &environment) {
            failures.push(format!("{name}: {reason}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
