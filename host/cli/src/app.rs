//! `bylaw app`: create apps and change what they allow.

use std::path::PathBuf;

use bylaw_chain::PolicySource;
use bylaw_types::{
    AppId, BootInfo, ComposeHash, DeviceId, MrAggregated, MrSystem, OsImageHash, TcbStatus,
    TeeVariant,
};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::chain::{ChainArgs, SignerArgs, doubt};
use crate::compose;
use crate::output::{Failure, Output};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create and register an app owned by the signer.
    #[command(after_help = "Example:\n  bylaw app create --compose app-compose.json")]
    Create {
        /// Manifest to allow from the start.
        #[arg(long)]
        compose: Option<PathBuf>,
        /// The only device it may run on; default any.
        #[arg(long)]
        device: Option<DeviceId>,
        /// Only platforms that are up to date.
        #[arg(long)]
        require_tcb_up_to_date: bool,
        #[command(flatten)]
        chain: ChainArgs,
        #[command(flatten)]
        signer: SignerArgs,
    },
    /// Allow a compose hash or a device.
    #[command(after_help = "Example:\n  bylaw app allow 0x… --compose app-compose.json")]
    Allow(Change),
    /// Remove a compose hash or a device.
    #[command(after_help = "Example:\n  bylaw app remove 0x… --compose app-compose.json")]
    Remove(Change),
    /// Show what the contracts say about an app.
    #[command(after_help = "Example:\n  bylaw app show 0x… --compose app-compose.json")]
    Show {
        /// The app.
        app_id: AppId,
        /// Manifest to judge.
        #[arg(long)]
        compose: Option<PathBuf>,
        #[command(flatten)]
        chain: ChainArgs,
    },
}

#[derive(Args)]
pub(crate) struct Change {
    /// The app.
    app_id: AppId,
    /// Manifest.
    #[arg(long, conflicts_with = "compose_hash")]
    compose: Option<PathBuf>,
    /// Its hash.
    #[arg(long)]
    compose_hash: Option<ComposeHash>,
    /// Device.
    #[arg(long)]
    device: Option<DeviceId>,
    #[command(flatten)]
    chain: ChainArgs,
    #[command(flatten)]
    signer: SignerArgs,
}

pub(crate) async fn run(command: Command, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Create {
            compose,
            device,
            require_tcb_up_to_date,
            chain,
            signer,
        } => {
            let hash = compose
                .map(|file| compose::read(&file))
                .transpose()?
                .map(|c| c.hash());
            let kms_auth = chain.kms_auth()?;
            let app_id = chain
                .owner(&signer)?
                .create_app(
                    &kms_auth,
                    hash.as_ref(),
                    device.as_ref(),
                    require_tcb_up_to_date,
                )
                .await?;
            output.result(
                &[("app", format!("app/0x{app_id} created"))],
                &json!({ "app_id": format!("0x{app_id}"), "compose_hash": hash }),
            );
            Ok(())
        }
        Command::Allow(change) => set(change, true, output).await,
        Command::Remove(change) => set(change, false, output).await,
        Command::Show {
            app_id,
            compose,
            chain,
        } => show(app_id, compose, &chain, output).await,
    }
}

async fn set(change: Change, allowed: bool, output: &Output) -> Result<(), Failure> {
    let from_file = change
        .compose
        .map(|file| compose::read(&file))
        .transpose()?;
    let hash = change
        .compose_hash
        .or(from_file.map(|compose| compose.hash()));
    if hash.is_none() && change.device.is_none() {
        return Err(Failure::Unusable(
            "name what to change: --compose, --compose-hash or --device".to_owned(),
        ));
    }
    let owner = change.chain.owner(&change.signer)?;
    let app_id = change.app_id;
    if let Some(hash) = &hash {
        owner.set_compose_hash(&app_id, hash, allowed).await?;
    }
    if let Some(device) = &change.device {
        owner.set_device(&app_id, device, allowed).await?;
    }
    let verb = if allowed { "allowed" } else { "removed" };
    let mut lines = Vec::new();
    if let Some(hash) = &hash {
        lines.push(("compose hash", format!("{hash} {verb} for app/0x{app_id}")));
    }
    if let Some(device) = &change.device {
        lines.push(("device", format!("{device} {verb} for app/0x{app_id}")));
    }
    let value = json!({
        "app_id": format!("0x{app_id}"),
        "compose_hash": hash,
        "device": change.device,
        "allowed": allowed,
    });
    output.result(&lines, &value);
    Ok(())
}

async fn show(
    app_id: AppId,
    compose: Option<PathBuf>,
    chain: &ChainArgs,
    output: &Output,
) -> Result<(), Failure> {
    let hash = compose
        .map(|file| compose::read(&file))
        .transpose()?
        .map(|c| c.hash());
    let policy = chain.policy()?;
    // Only app and compose hash are asked about here; `explain` judges whole evidence.
    let question = BootInfo {
        tee_variant: TeeVariant::Tdx,
        mr_aggregated: MrAggregated::new([0; 32]),
        os_image_hash: OsImageHash::new([0; 32]),
        mr_system: MrSystem::new([0; 32]),
        app_id,
        compose_hash: hash.unwrap_or(ComposeHash::new([0; 32])),
        instance_id: None,
        device_id: DeviceId::new([0; 32]),
        key_provider_info: vec![],
        tcb_status: TcbStatus::NotReported,
        advisory_ids: vec![],
    };
    let settings = policy.app_settings(&question).await.map_err(doubt)?;
    let mut lines = vec![
        ("app", format!("0x{app_id}")),
        ("registered", settings.registered.to_string()),
        ("deployed", settings.deployed.to_string()),
    ];
    if let Some(rules) = &settings.rules {
        lines.push(("owner", format!("0x{}", rules.owner)));
        lines.push(("any device", rules.allow_any_device.to_string()));
        lines.push((
            "TCB up to date",
            format!("required: {}", rules.require_tcb_up_to_date),
        ));
        if let Some(hash) = hash {
            lines.push((
                "compose hash",
                format!("{hash}: allowed: {}", rules.compose_allowed),
            ));
        }
    } else if settings.deployed {
        lines.push((
            "rules",
            "a contract of its own making; bylaw explain asks it".to_owned(),
        ));
    }
    let block = settings.block;
    lines.push(("block", format!("{} ({})", block.number, block.hash)));
    let value =
        json!({ "app_id": format!("0x{app_id}"), "compose_hash": hash, "settings": settings });
    output.result(&lines, &value);
    Ok(())
}
