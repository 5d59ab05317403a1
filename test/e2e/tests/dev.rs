//! `bylaw dev`, and the published Python SDK against it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};

use bylaw_e2e::{program, repository};

fn bylaw(state: &Path, arguments: &[&str]) -> Output {
    Command::new(program("bylaw").unwrap())
        .current_dir(repository())
        .args(arguments)
        .arg("--state")
        .arg(state)
        .output()
        .unwrap()
}

/// Ends the system even when an assertion fails.
struct Down<'a>(&'a Path);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        bylaw(self.0, &["dev", "down"]);
    }
}

fn variables(state: &Path) -> HashMap<String, String> {
    std::fs::read_to_string(state.join("env"))
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
        .collect()
}

#[test]
fn dev_runs_a_system_that_sdks_and_owners_can_use() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let down = Down(&state);
    let up = bylaw(&state, &["dev", "--detach"]);
    assert!(
        up.status.success(),
        "{}",
        String::from_utf8_lossy(&up.stderr)
    );
    let env = variables(&state);
    for name in [
        "ETH_RPC_URL",
        "KMS_CONTRACT_ADDR",
        "KMS_URL",
        "DSTACK_SIMULATOR_ENDPOINT",
        "TAPPD_SIMULATOR_ENDPOINT",
    ] {
        assert!(!env[name].is_empty(), "{name}");
    }
    let owner = |arguments: &[&str]| {
        let output = Command::new(program("bylaw").unwrap())
            .envs(&env)
            .current_dir(dir.path())
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "bylaw {}\n{text}{error}",
            arguments.join(" ")
        );
        text
    };
    assert!(owner(&["kms", "status"]).contains("allowed to serve"));
    assert!(owner(&["verify", &env["KMS_URL"]]).contains("kms:rpc"));
    let manifest = r#"{"manifest_version":2,"name":"x","runner":"bash"}"#;
    bylaw_types::file::write_atomic(&dir.path().join("c.json"), manifest.as_bytes()).unwrap();
    let created = owner(&["app", "create", "--compose", "c.json", "--json"]);
    let created: serde_json::Value = serde_json::from_str(&created).unwrap();
    let app = created["app_id"].as_str().unwrap();
    owner(&["app", "remove", app, "--compose", "c.json"]);
    owner(&["app", "allow", app, "--compose", "c.json"]);
    std::thread::sleep(std::time::Duration::from_secs(4));
    let shown = owner(&["app", "show", app, "--compose", "c.json"]);
    assert!(shown.contains("allowed: true"), "{shown}");

    python_sdk(&env);

    drop(down);
    let again = bylaw(&state, &["dev", "down"]);
    assert_eq!(
        String::from_utf8_lossy(&again.stdout).trim(),
        "ended",
        "nothing is left"
    );
    assert!(!Path::new(&env["DSTACK_SIMULATOR_ENDPOINT"]).exists());
}

/// The SDK from the package index, unmodified, in an environment of its own.
fn python_sdk(env: &HashMap<String, String>) {
    let usable = Command::new("python3")
        .args(["-m", "venv", "--help"])
        .output();
    if !usable.is_ok_and(|usable| usable.status.success()) {
        println!("skipped: python3 with venv is not installed");
        return;
    }
    let output = Command::new(repository().join("test/sdk/dstack-python/run"))
        .envs(env)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && text.contains("sdk ok"),
        "{text}{error}"
    );
}
