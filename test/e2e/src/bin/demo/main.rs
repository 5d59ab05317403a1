//! `script/demo`: keys by contract, from an empty machine, step by step.

mod vm;

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bylaw_e2e::world::manifest;
use bylaw_e2e::{AgentOptions, App, Kms, World, cli, cli_as};

const DAY: Duration = Duration::from_secs(24 * 3600);

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

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let started = Instant::now();
    println!("SIMULATED TEE: this demo proves nothing about hardware\n");
    println!("        an unmodified docker-compose.yaml in a virtual machine\n");
    vm::run(started).await?;
    println!("\n        the rules, one by one: agents without a machine around them\n");
    // Behind the real time, so that the days below can pass.
    let world = World::start_behind(10 * DAY).await?;
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
    say(started, "host", "changed one byte of the compose");
    refused(started, &world, &kms, "tampered", &tampered).await?;

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
    refused(started, &world, &kms, "tampered", &tampered).await?;
    govern(started, &world, &kms).await?;
    println!("\nTry it yourself: target/debug/bylaw dev, then target/debug/bylaw gov serve");
    Ok(())
}

/// The governance act: a 2-of-3 Safe, a guardian, and a day of notice.
async fn govern(started: Instant, world: &World, kms: &Kms) -> anyhow::Result<()> {
    println!("\n        governance: a Safe of three decides, and users see it coming\n");
    let app = world.create_app(&manifest("governed")).await?;
    let id = format!("0x{}", app.id);
    let of = ["--app", id.as_str()];
    let safe = world.deploy_safe()?;
    let owner = world.keystore(0)?;
    let guardian_key = world.keystore(4)?;
    let guardian = world.account(4).to_string();
    let file = world.directory().join("proposal.json");
    let file = file.to_str().context("a path of ASCII")?;
    let propose = |change: &[&str], of: &[&str]| {
        let _ = std::fs::remove_file(file);
        cli(
            world,
            &[&["gov", "propose"], change, of, &["--out", file]].concat(),
        )
    };
    let alone = |change: &[&str], of: &[&str]| {
        propose(change, of)?;
        cli_as(world, &owner, &["gov", "execute", file])
    };
    let together = |change: &[&str], of: &[&str]| {
        let proposed = propose(change, of)?;
        for key in safe.keystores.iter().take(2) {
            cli_as(world, key, &["gov", "sign", file, "--yes"])?;
        }
        cli_as(world, &owner, &["gov", "execute", file])?;
        anyhow::Ok(proposed)
    };
    let heir = safe.address.to_string();
    alone(&["owner", &heir], &["--kms"])?;
    together(&["accept-ownership"], &["--kms"])?;
    alone(&["guardian", &guardian], &of)?;
    alone(&["delay", "24h"], &of)?;
    // Offering the ownership widens: it waits a day like everything that does.
    alone(&["owner", &heir], &of)?;
    world.advance(DAY).await?;
    together(&["accept-ownership"], &of)?;
    say(
        started,
        "owner",
        &format!("a 2-of-3 Safe at {heir} now owns KmsAuth and the app, whose changes wait a day"),
    );

    let next = changed(&app, "nginx:2");
    let compose = world.directory().join("next.json");
    bylaw_types::file::write_atomic(&compose, next.compose.as_bytes())?;
    let compose = compose.to_str().context("a path of ASCII")?;
    let old = format!("0x{}", app.compose_hash()?);
    let proposed = together(&["version", "--compose", compose, "--supersede", &old], &of)?;
    say(
        started,
        "proposed",
        proposed["title"].as_str().unwrap_or_default(),
    );
    let pending = cli(world, &[&["gov", "pending"][..], &of].concat())?;
    let waits = &pending["pending"][0];
    say(
        started,
        "pending",
        &format!(
            "anybody can see it: {} from {}",
            waits["title"].as_str().unwrap_or_default(),
            bylaw_gov::text::time(waits["activates_at"].as_u64().unwrap_or_default())
        ),
    );
    world.settle().await?;
    refused(started, world, kms, "next", &next).await?;
    world.advance(DAY).await?;
    say(started, "clock", "a day passes");
    allowed(started, world, kms, "next", &next).await?;
    refused(started, world, kms, "old", &app).await?;

    let evil = changed(&app, "evil");
    bylaw_types::file::write_atomic(std::path::Path::new(compose), evil.compose.as_bytes())?;
    together(&["version", "--compose", compose], &of)?;
    say(
        started,
        "stolen",
        "a thief with two keys of the Safe adds a version of their own",
    );
    let pending = cli(world, &[&["gov", "pending"][..], &of].concat())?;
    let change = pending["pending"][0]["id"]
        .as_str()
        .context("it is pending")?;
    cli_as(
        world,
        &guardian_key,
        &[&["gov", "veto", change][..], &of].concat(),
    )?;
    world.advance(DAY).await?;
    say(
        started,
        "veto",
        "the guardian drops it in time; another day passes",
    );
    refused(started, world, kms, "evil", &evil).await?;

    cli_as(world, &guardian_key, &[&["gov", "pause"][..], &of].concat())?;
    say(
        started,
        "pause",
        "the guardian pauses the app: within one block, nothing is released",
    );
    tokio::time::sleep(Duration::from_millis(600)).await;
    refused(started, world, kms, "next", &next).await
}

fn changed(app: &App, image: &str) -> App {
    App {
        compose: app.compose.replace("nginx", image),
        ..app.clone()
    }
}

async fn allowed(
    started: Instant,
    world: &World,
    kms: &Kms,
    name: &str,
    app: &App,
) -> anyhow::Result<()> {
    let agent = world
        .start_agent(name, app, kms, AgentOptions::default())
        .await?;
    agent.key("wallet").await?;
    drop(agent);
    world.stop(name).await?;
    say(started, "allowed", &format!("`{name}` got its keys"));
    Ok(())
}

async fn refused(
    started: Instant,
    world: &World,
    kms: &Kms,
    name: &str,
    app: &App,
) -> anyhow::Result<()> {
    let started_agent = world.start_agent(name, app, kms, AgentOptions::default());
    let Err(error) = started_agent.await else {
        bail!("`{name}` got keys");
    };
    let text = format!("{error:#}");
    let why = text
        .split_once("App not allowed: ")
        .map_or(&*text, |(_, why)| why);
    let why = why.split(" (").next().unwrap_or(why);
    let why = why.split("; decided").next().unwrap_or(why);
    say(started, "refused", &format!("`{name}`: {why}"));
    Ok(())
}
