//! The console's governance panel, in a real browser: what the contracts say about a
//! VM's app before it boots.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::Command;

use bylaw_e2e::host::visits;
use bylaw_e2e::{App, Host, World, cli_as, repository};
use serde_json::{Value, json};

struct Panel {
    host: Host,
    world: World,
    owner: PathBuf,
}

impl Panel {
    /// A change by the account that decides alone.
    fn decide(&self, app: &App, change: &[&str]) {
        let file = self.world.directory().join("change.json");
        let file = file.to_str().unwrap();
        let id = format!("0x{}", app.id);
        let words = [&["gov", "propose"], change, &["--app", &id, "--out", file]].concat();
        cli_as(&self.world, &self.owner, &words).unwrap();
        cli_as(&self.world, &self.owner, &["gov", "execute", file]).unwrap();
        std::fs::remove_file(file).unwrap();
    }

    async fn vm(&self, name: &str, app: &App) -> String {
        let (mut configuration, _) = self.host.configuration(name, app).unwrap();
        configuration.stopped = true;
        self.host.create(&configuration).await.unwrap()
    }

    /// Looks at each VM's page; all of these texts must stand in its panel.
    fn shows(&self, expected: &[(&str, &[&str])]) {
        let expected: Vec<Value> = expected
            .iter()
            .map(|(vm, shows)| json!({ "vm": vm, "shows": shows }))
            .collect();
        let file = self.world.directory().join("expected.json");
        let text = Value::from(expected).to_string();
        bylaw_types::file::write_atomic(&file, text.as_bytes()).unwrap();
        let seen = Command::new("node")
            .current_dir(repository())
            .args(["test/browser/console-governance.mjs", &self.host.url])
            .arg(&file)
            .output()
            .unwrap();
        let complaints = String::from_utf8_lossy(&seen.stderr);
        assert!(seen.status.success(), "{complaints}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_says_what_the_contracts_say() {
    let world = World::start().await.unwrap();
    let kms = world.bootstrapped_kms().await.unwrap();
    let host = Host::start(&world, &kms).await.unwrap();
    let owner = world.keystore(0).unwrap();
    let image = host.os_image_hash().unwrap();
    let app = world
        .create_app(&visits("panel", &host.registry.image))
        .await
        .unwrap();
    let unknown = App {
        id: "00112233445566778899aabbccddeeff00112233".parse().unwrap(),
        ..app.clone()
    };
    let next = App {
        compose: app.compose.replace("unless-stopped", "always"),
        ..app.clone()
    };
    let never = App {
        compose: app.compose.replace("unless-stopped", "on-failure"),
        ..app.clone()
    };
    let panel = Panel { host, world, owner };
    let first = panel.vm("first", &app).await;
    let foreign = panel.vm("foreign", &unknown).await;
    let second = panel.vm("second", &next).await;
    let third = panel.vm("third", &never).await;

    // Nobody allowed the image yet.
    panel.shows(&[
        (&first, &["Refused", "does not allow OS image", "31337"]),
        (&foreign, &["Refused", "is not registered"]),
    ]);
    let kms_auth = panel.world.kms_auth;
    panel
        .world
        .owner
        .set_os_image(&kms_auth, &image, true)
        .await
        .unwrap();
    panel.decide(&app, &["delay", "24h"]);
    let compose = panel.world.directory().join("next.json");
    bylaw_types::file::write_atomic(&compose, next.compose.as_bytes()).unwrap();
    panel.decide(&app, &["version", "--compose", compose.to_str().unwrap()]);
    panel.shows(&[
        (&first, &["Allowed", "version 1 is active"]),
        (&second, &["Pending", "version 2 takes effect", ", in 2"]),
        (&third, &["Refused", "does not allow compose hash"]),
    ]);
    panel
        .world
        .advance(std::time::Duration::from_hours(25))
        .await
        .unwrap();
    panel.shows(&[(&second, &["Allowed", "version 2 is active"])]);
    panel.decide(&app, &["pause"]);
    panel.shows(&[(&first, &["Refused", "the app is paused"])]);
}
