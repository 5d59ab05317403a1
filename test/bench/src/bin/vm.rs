//! Figures for docs/performance.md: how long an app takes from `CreateVm` to its first
//! answer, stage by stage, and how much memory the VMM needs for many VMs.
//!
//! Run: `cargo run --release -p bylaw-bench --bin vm`, with the guest image built. The VMs
//! run under TCG, so what is measured is this machine's translation as much as our code.

use std::time::Instant;

use bylaw_e2e::host::{image, page, visits};
use bylaw_e2e::{Host, World};
use bylaw_rpc::message::vmm::GuestEvent;

const STOPPED: usize = 50;
const RUNNING: usize = 3;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    print_sizes()?;
    let world = World::start().await?;
    let kms = world.bootstrapped_kms().await?;
    let host = Host::start(&world, &kms).await?;
    let hash = host.os_image_hash()?;
    world
        .owner
        .set_os_image(&world.kms_auth, &hash, true)
        .await?;
    let app = world
        .create_app(&visits("visits", &host.registry.image))
        .await?;
    world.settle().await?;

    let (configuration, port) = host.configuration("timed", &app)?;
    let started = Instant::now();
    let started_at = now_ms();
    let id = host.create(&configuration).await?;
    let info = host.booted(&id).await?;
    page(port, "/starts").await?;
    let answered = started.elapsed();
    println!("\nfirst boot of an app, from CreateVm (seconds)");
    print_stages(started_at, &info.events);
    println!("{:>8.1}  first HTTP answer", answered.as_secs_f64());
    host.order("StopVm", &id).await?;
    host.order("RemoveVm", &id).await?;

    for number in 0..STOPPED {
        let (mut configuration, _) = host.configuration(&format!("stopped-{number}"), &app)?;
        configuration.stopped = true;
        // Ports are taken while a VM exists.
        configuration.ports.clear();
        host.create(&configuration).await?;
    }
    let idle = host.memory().unwrap_or_default();
    for number in 0..RUNNING {
        let (configuration, _) = host.configuration(&format!("running-{number}"), &app)?;
        host.create(&configuration).await?;
    }
    tokio::time::sleep(std::time::Duration::from_secs(20)).await;
    let busy = host.memory().unwrap_or_default();
    println!("\nresident memory of the VMM (MiB)");
    println!("{:>8.1}  with {STOPPED} stopped VMs", mib(idle));
    println!("{:>8.1}  and {RUNNING} running ones beside them", mib(busy));
    Ok(())
}

fn now_ms() -> u64 {
    bylaw_types::clock::Clock::system().now_unix() * 1000
}

/// What the guest said, by when the VMM heard it.
fn print_stages(started_at: u64, events: &[GuestEvent]) {
    for event in events {
        let after = event.timestamp.saturating_sub(started_at);
        // Milliseconds of a boot are far below 2^53.
        #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
        let seconds = after as f64 / 1000.0;
        println!("{seconds:>8.1}  {} {}", event.event, event.body);
    }
}

fn print_sizes() -> anyhow::Result<()> {
    println!("guest image (MiB)");
    let mut total = 0;
    let mut files: Vec<_> = std::fs::read_dir(image()?)?.collect::<Result<_, _>>()?;
    files.sort_by_key(std::fs::DirEntry::file_name);
    for file in files {
        let size = file.metadata()?.len();
        total += size;
        if size > 1 << 20 {
            println!(
                "{:>8.1}  {}",
                mib(size >> 10),
                file.file_name().to_string_lossy()
            );
        }
    }
    println!("{:>8.1}  together", mib(total >> 10));
    Ok(())
}

fn mib(kib: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
    let kib = kib as f64;
    kib / 1024.0
}
