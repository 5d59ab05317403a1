//! `script/demo`: keys by contract, from an empty machine, step by step.

use std::time::Instant;

use anyhow::{Context, bail};
use bylaw_e2e::world::manifest;
use bylaw_e2e::{AgentOptions, App, World};

fn say(started: Instant, step: &str, what: &str) {
    println!(
        "{:>5.1}s  {step:<9} {what}",
        started.elapsed().as_secs_f64()
    );
}

/// The first digits of a hash, as people compare them.
fn short(bytes: impl AsRef<[u8]>) -> String {
    let text = hex::encode(bytes);
    format!("{}…", text.get(..12).unwrap_or(&text))
}

/// The line of an agent's log that says why it got no keys.
fn reason(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    text.lines()
        .find_map(|line| {
            line.split_once("Compose hash not allowed")
                .map(|(_, rest)| rest)
        })
        .map_or_else(
            || text.clone(),
            |rest| {
                let rest = rest.split(". To allow it").next().unwrap_or_default();
                format!("Compose hash not allowed{rest}")
            },
        )
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let started = Instant::now();
    println!("SIMULATED TEE: this demo proves nothing about hardware\n");
    let world = World::start().await?;
    say(started, "chain", &format!("anvil at {}", world.rpc_url));
    say(
        started,
        "contracts",
        &format!("forge deployed KmsAuth at 0x{}", world.kms_auth),
    );
    let kms = world.bootstrapped_kms().await?;
    let meta = kms.wait_until_serving().await?;
    say(
        started,
        "kms",
        &format!(
            "bootstrapped at {}, root key {} named on chain",
            kms.url,
            short(&meta.k256_pubkey)
        ),
    );

    let app = world.create_app(&manifest("demo")).await?;
    say(
        started,
        "owner",
        &format!(
            "registered app 0x{} with compose hash {}",
            app.id,
            short(app.compose_hash()?)
        ),
    );
    world.settle().await?;
    let mut agent = world
        .start_agent("demo", &app, &kms, AgentOptions::default())
        .await?;
    let first = agent.key("wallet").await?.key;
    say(
        started,
        "allowed",
        &format!("the app got its keys; `wallet` is {}", short(&first)),
    );

    agent.kill();
    agent.start()?;
    if agent.key("wallet").await?.key != first {
        bail!("a restarted app must get the same keys");
    }
    say(started, "restart", "the restarted app got the same keys");

    let other = world.create_app(&manifest("other")).await?;
    let tampered = App {
        compose: app.compose.replace("nginx", "nginy"),
        ..app.clone()
    };
    let refusal = match world
        .start_agent("tampered", &tampered, &kms, AgentOptions::default())
        .await
    {
        Ok(_) => bail!("a tampered app got keys"),
        Err(error) => reason(&error),
    };
    say(
        started,
        "refused",
        &format!("one byte of the compose changed: {refusal}"),
    );

    world
        .owner
        .set_compose_hash(&app.id, &tampered.compose_hash()?, true)
        .await?;
    say(
        started,
        "owner",
        "allowed the changed compose by a transaction",
    );
    world.settle().await?;
    let changed = world
        .start_agent("tampered", &tampered, &kms, AgentOptions::default())
        .await?;
    if changed.key("wallet").await?.key != first {
        bail!("an upgrade of an app keeps its keys");
    }
    say(
        started,
        "allowed",
        "now it gets keys: the app's own, as the app is the same",
    );

    let other_agent = world
        .start_agent("other", &other, &kms, AgentOptions::default())
        .await?;
    let other_key = other_agent.key("wallet").await?.key;
    if other_key == first {
        bail!("different apps must get different keys");
    }
    say(
        started,
        "other app",
        &format!("a different app, a different key: {}", short(&other_key)),
    );

    drop(changed);
    world.stop("tampered").await?;
    world
        .owner
        .set_compose_hash(&app.id, &tampered.compose_hash()?, false)
        .await?;
    say(
        started,
        "owner",
        "removed the changed compose by a transaction",
    );
    world.settle().await?;
    let refusal = world
        .start_agent("tampered", &tampered, &kms, AgentOptions::default())
        .await
        .err()
        .map(|error| reason(&error))
        .context("a removed compose hash still got keys")?;
    say(started, "refused", &refusal);
    println!("\nTry it yourself: target/debug/bylaw dev");
    Ok(())
}
