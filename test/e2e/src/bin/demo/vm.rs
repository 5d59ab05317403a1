//! The first act: an unmodified docker-compose.yaml in a virtual machine.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use bylaw_e2e::governance::cli_command;
use bylaw_e2e::host::page;
use bylaw_e2e::process::free_port;
use bylaw_e2e::{App, Host, World};
use serde_json::Value;

use crate::{say, short};

const SECRET: &str = "the-host-must-not-read-this";

/// Deploys, restarts and tampers.
pub(crate) async fn run(started: Instant) -> anyhow::Result<()> {
    let world = World::start().await?;
    let kms = world.bootstrapped_kms().await?;
    let host = Host::start(&world, &kms).await?;
    let image = host.os_image_hash()?;
    world
        .owner
        .set_os_image(&world.kms_auth, &image, true)
        .await?;
    say(
        started,
        "host",
        &format!(
            "VMM at {}, registry, KMS; KmsAuth allows guest image {}",
            host.url,
            short(image)
        ),
    );

    let folder = world.directory().join("visits");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("docker-compose.yaml");
    let compose = format!(
        "services:\n  web:\n    image: {}\n    ports: [\"80:80\"]\n    environment: [GREETING]\n    \
         volumes: [\"data:/data\"]\nvolumes:\n  data:\n",
        host.registry.image
    );
    bylaw_types::file::write_atomic(&file, compose.as_bytes())?;
    let env = folder.join("env");
    bylaw_types::file::write_private(&env, format!("GREETING={SECRET}\n").as_bytes())?;
    let port = free_port()?;
    println!("\n        bylaw deploy docker-compose.yaml --create-app --allow -p {port}:80\n");
    let mut command: Command = cli_command(&world, Some(&world.keystore(0)?))?;
    let output = command
        .arg("deploy")
        .arg(&file)
        .args(["--create-app", "--allow", "--simulated-tee", "tdx"])
        .args(["--disk", "4G", "--image", "bylaw", "--vmm", &host.url])
        .arg("--env-file")
        .arg(&env)
        .args(["-p", &format!("{port}:80")])
        // Progress goes there.
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("bylaw deploy failed: {}", output.status);
    }
    let deployed: Value = serde_json::from_slice(&output.stdout)?;
    let text = |name: &str| {
        let value = deployed[name].as_str().map(str::to_owned);
        value.with_context(|| format!("`{name}` in {deployed}"))
    };
    let id = text("vm_id")?;
    let starts = page(port, "/starts").await?;
    println!();
    say(
        started,
        "running",
        &format!(
            "the container answers at http://127.0.0.1:{port}; it started {} time",
            starts.lines().count()
        ),
    );

    host.shut_down(&id).await?;
    let disk = host.work_directory(&id).join("hda.img");
    if host.finds_on_disk(&id, SECRET)? {
        bail!("{} holds the app's secret in the clear", disk.display());
    }
    say(
        started,
        "stopped",
        "the disk is at rest, and the app's variables are nowhere on it in the clear",
    );
    host.order("StartVm", &id).await?;
    host.booted(&id).await?;
    let starts = page(port, "/starts").await?;
    if starts.lines().count() < 2 {
        bail!("the data of the first start is gone: {starts:?}");
    }
    say(
        started,
        "restarted",
        &format!(
            "same keys, same disk: the app counts {} starts",
            starts.lines().count()
        ),
    );
    host.order("RemoveVm", &id).await?;

    let compose = std::fs::read_to_string(text("app_compose_file")?)?;
    let tampered = App {
        id: text("app_id")?.parse()?,
        compose: compose.replace("GREETING", "GREETINGS"),
    };
    let (configuration, _) = host.configuration("tampered", &tampered)?;
    let id = host.create(&configuration).await?;
    let refusal = host.refused(&id).await?;
    let why = refusal.split(". To allow it").next().unwrap_or(&refusal);
    say(
        started,
        "refused",
        &format!("the host changed the compose: {why}"),
    );
    Ok(())
}
