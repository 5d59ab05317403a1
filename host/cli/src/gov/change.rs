//! Every change that can be proposed, as options.

use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes};
use clap::{Args, Subcommand};

use super::look::Of;
use crate::chain::ChainArgs;

/// Where the proposal goes.
#[derive(Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) of: Of,
    /// File to write; a name from the change otherwise.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Number of the Safe's transaction, to queue it behind others; the Safe's next
    /// otherwise.
    #[arg(long)]
    pub(crate) nonce: Option<u64>,
}

/// Where a proposal about the KMS contract goes.
#[derive(Args)]
pub(crate) struct AtKms {
    #[command(flatten)]
    pub(crate) chain: ChainArgs,
    /// File to write; a name from the change otherwise.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Number of the Safe's transaction, to queue it behind others; the Safe's next
    /// otherwise.
    #[arg(long)]
    pub(crate) nonce: Option<u64>,
}

/// A version, by its manifest or by its hash.
#[derive(Args)]
pub(crate) struct Which {
    /// Manifest (app-compose.json).
    #[arg(
        long,
        required_unless_present = "compose_hash",
        conflicts_with = "compose_hash"
    )]
    pub(crate) compose: Option<PathBuf>,
    /// Its SHA-256.
    #[arg(long)]
    pub(crate) compose_hash: Option<B256>,
}

#[derive(Subcommand)]
pub(crate) enum Change {
    /// A version of the app may run.
    Version {
        #[command(flatten)]
        which: Which,
        /// Retire this version in the moment the new one takes effect.
        #[arg(long, value_name = "HASH")]
        supersede: Option<B256>,
        /// Manifest that runs now, to show what changes; found in --composes otherwise.
        #[arg(long)]
        running: Option<PathBuf>,
        /// Directory of manifests to find the running one in.
        #[arg(long)]
        composes: Option<PathBuf>,
        /// Not before this Unix time; the delay may make it later.
        #[arg(long, default_value_t = 0, conflicts_with = "supersede")]
        not_before: u64,
        /// Not after this Unix time; 0 for ever.
        #[arg(long, default_value_t = 0)]
        expires_at: u64,
        /// Where people read about it.
        #[arg(long, default_value = "")]
        note: String,
        #[command(flatten)]
        common: Common,
    },
    /// A version never boots again.
    Retire {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        common: Common,
    },
    /// A version may not run any more; it can be added again.
    Remove {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        common: Common,
    },
    /// A version ends at a time.
    Expiry {
        #[command(flatten)]
        which: Which,
        /// Unix time.
        #[arg(long)]
        expires_at: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Every version before this number never boots again.
    MinVersion {
        /// The oldest that may still boot.
        number: u32,
        #[command(flatten)]
        common: Common,
    },
    /// What the app demands of VMs; what is not given stays as it is.
    Policy {
        /// Any device will do.
        #[arg(long)]
        any_device: Option<bool>,
        /// Platforms: any, or a list of tdx, gcp-tdx, nitro-enclave, sev-snp, aws-nitro-tpm.
        #[arg(long, value_delimiter = ',')]
        tee: Option<Vec<String>>,
        /// TCB statuses: any, or a list such as UpToDate,SWHardeningNeeded.
        #[arg(long, value_delimiter = ',')]
        tcb: Option<Vec<String>>,
        /// How long a platform may lack a new TCB level, such as 7d; 0s for not at all.
        #[arg(long, value_parser = humantime::parse_duration)]
        tcb_grace: Option<Duration>,
        /// Advisories do not matter.
        #[arg(long)]
        any_advisory: Option<bool>,
        /// Oldest chain state to decide on, such as 10m; 0s leaves it to the KMS.
        #[arg(long, value_parser = humantime::parse_duration)]
        max_state_age: Option<Duration>,
        /// GPUs must be attested.
        #[arg(long)]
        require_gpu: Option<bool>,
        #[command(flatten)]
        common: Common,
    },
    /// The app may run on a device.
    Device {
        /// Device id.
        id: B256,
        /// Take it off the list instead.
        #[arg(long)]
        remove: bool,
        #[command(flatten)]
        common: Common,
    },
    /// A security advisory does not matter.
    Advisory {
        /// Its id, such as INTEL-SA-00828.
        id: String,
        /// It does matter, from now on.
        #[arg(long)]
        refuse: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Stop the app's keys at once.
    Pause {
        /// At the KMS contract, whatever the app's own contract says.
        #[arg(long)]
        at_kms: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Resume the app.
    Unpause {
        /// What was paused at the KMS contract.
        #[arg(long)]
        at_kms: bool,
        #[command(flatten)]
        common: Common,
    },
    /// How long widenings wait.
    Delay {
        /// Such as 24h.
        #[arg(value_parser = humantime::parse_duration)]
        delay: Duration,
        #[command(flatten)]
        common: Common,
    },
    /// Who may veto and pause.
    Guardian {
        /// Address; zero for nobody.
        address: Address,
        #[command(flatten)]
        common: Common,
    },
    /// Offer the ownership.
    Owner {
        /// Who is to accept it.
        address: Address,
        #[command(flatten)]
        common: Common,
    },
    /// Accept an ownership that was offered; the new owner decides about this.
    AcceptOwnership {
        #[command(flatten)]
        common: Common,
    },
    /// Other code for the contract. Propose it again, unchanged, when the delay is over.
    Upgrade {
        /// Address of the code.
        implementation: Address,
        /// Call to make in the new code, hex.
        #[arg(long, default_value = "0x")]
        call: Bytes,
        #[command(flatten)]
        common: Common,
    },
    /// End something for good.
    Freeze {
        /// What: `versions` or `upgrades`.
        what: Frozen,
        #[command(flatten)]
        common: Common,
    },
    /// Drop a pending change.
    Veto {
        /// Its id, from `pending`.
        id: B256,
        #[command(flatten)]
        common: Common,
    },
    /// Trust a guest OS image, or no longer.
    OsImage {
        /// Its hash.
        hash: B256,
        /// No longer.
        #[arg(long)]
        remove: bool,
        #[command(flatten)]
        at: AtKms,
    },
    /// Allow a build of the KMS, or no longer.
    KmsBuild {
        /// Its aggregated measurement.
        measurement: B256,
        /// No longer.
        #[arg(long)]
        remove: bool,
        #[command(flatten)]
        at: AtKms,
    },
    /// Allow the KMS on a device, or no longer.
    KmsDevice {
        /// Device id.
        id: B256,
        /// No longer.
        #[arg(long)]
        remove: bool,
        #[command(flatten)]
        at: AtKms,
    },
    /// Register an app, or deregister it.
    Register {
        /// The app.
        app: Address,
        /// Deregister it.
        #[arg(long)]
        remove: bool,
        #[command(flatten)]
        at: AtKms,
    },
    /// Any other call of the contract, as calldata.
    Raw {
        /// Calldata, hex.
        data: Bytes,
        #[command(flatten)]
        common: Common,
    },
}

/// What can be ended for good.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Frozen {
    /// The adding of versions.
    Versions,
    /// Replacing the contract's code.
    Upgrades,
}
