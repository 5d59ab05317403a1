//! Every change that can be proposed, as options.

use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes};
use alloy::sol_types::SolCall;
use bylaw_gov::abi::{AppPolicy, Calls, Views};
use bylaw_gov::text::{TCB_STATUSES, TEE_VARIANTS};
use bylaw_gov::{Chain, Kind};
use clap::{Args, Subcommand};

use super::look::Of;
use crate::chain::ChainArgs;
use crate::compose;
use crate::output::Failure;

/// Where the proposal goes.
#[derive(Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) of: Of,
    /// File to write; a name from the change otherwise.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}

/// Where a proposal about the KMS contract goes.
#[derive(Args)]
pub(crate) struct AtKms {
    #[command(flatten)]
    pub(crate) chain: ChainArgs,
    /// File to write; a name from the change otherwise.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
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
        #[command(flatten)]
        common: Common,
    },
    /// Resume the app.
    Unpause {
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

/// A change, ready to be proposed.
pub(crate) struct Prepared {
    pub(crate) chain: Chain,
    pub(crate) target: Address,
    pub(crate) data: Bytes,
    pub(crate) out: Option<PathBuf>,
    /// Name for the file.
    pub(crate) name: &'static str,
    pub(crate) running_compose: Option<String>,
    pub(crate) next_compose: Option<String>,
    /// The pending owner decides, not the owner.
    pub(crate) by_pending_owner: bool,
}

impl Which {
    /// The hash, and the manifest where it was given.
    fn resolve(&self) -> Result<(B256, Option<String>), Failure> {
        match (&self.compose, self.compose_hash) {
            (Some(file), _) => {
                let manifest = compose::read(file)?;
                let hash = B256::from(manifest.hash().to_bytes());
                Ok((hash, Some(manifest.raw().to_owned())))
            }
            (None, Some(hash)) => Ok((hash, None)),
            (None, None) => Err(Failure::Unusable(
                "name the version: --compose or --compose-hash".to_owned(),
            )),
        }
    }
}

impl Change {
    /// The call this change is, for which contract.
    pub(crate) async fn prepare(self) -> Result<Prepared, Failure> {
        match self {
            Self::Version {
                which,
                supersede,
                running,
                composes,
                not_before,
                expires_at,
                note,
                common,
            } => {
                let (hash, next) = which.resolve()?;
                let (chain, target) = common.of.connect().await?;
                let at = chain.latest().await?;
                let kind = chain.kind(at, target).await?;
                let data = version_call(kind, hash, supersede, not_before, expires_at, note)?;
                let mut prepared = Prepared::new(chain, target, data, common.out, "version");
                prepared.next_compose = next;
                prepared.running_compose = match running {
                    Some(file) => Some(compose::read(&file)?.raw().to_owned()),
                    None => {
                        super::library::running(&prepared, at, composes.as_deref(), supersede)
                            .await?
                    }
                };
                Ok(prepared)
            }
            Self::Policy {
                any_device,
                tee,
                tcb,
                tcb_grace,
                any_advisory,
                max_state_age,
                require_gpu,
                common,
            } => {
                let (chain, target) = common.of.connect().await?;
                let at = chain.latest().await?;
                let asked = chain.ask(at, target, Views::policyCall { time: 0 }).await?;
                let mut policy: AppPolicy = asked.ok_or_else(|| {
                    Failure::Unusable(format!("{target} has no policy: it is not a Bylaw app"))
                })?;
                policy.allowAnyDevice = any_device.unwrap_or(policy.allowAnyDevice);
                policy.anyAdvisory = any_advisory.unwrap_or(policy.anyAdvisory);
                policy.requireGpu = require_gpu.unwrap_or(policy.requireGpu);
                if let Some(names) = tee {
                    let bits = bits("--tee", &names, &TEE_VARIANTS)?;
                    policy.teeVariants = bits.map_or(u8::MAX, |bits| bits.to_le_bytes()[0]);
                }
                if let Some(names) = tcb {
                    policy.tcbStatuses = bits("--tcb", &names, &TCB_STATUSES)?.unwrap_or(u16::MAX);
                }
                if let Some(grace) = tcb_grace {
                    policy.tcbGracePeriod = seconds("--tcb-grace", grace)?;
                }
                if let Some(age) = max_state_age {
                    policy.maxStateAge = seconds("--max-state-age", age)?;
                }
                let data = Calls::setPolicyCall { policy }.abi_encode().into();
                Ok(Prepared::new(chain, target, data, common.out, "policy"))
            }
            other => other.simple().await,
        }
    }

    /// Changes whose call follows from the options alone.
    async fn simple(self) -> Result<Prepared, Failure> {
        let (data, common, name): (Vec<u8>, Common, &str) = match self {
            Self::Retire { which, common } => {
                let call = Calls::retireCall {
                    composeHash: which.resolve()?.0,
                };
                (call.abi_encode(), common, "retire")
            }
            Self::Remove { which, common } => {
                let call = Calls::removeComposeHashCall {
                    composeHash: which.resolve()?.0,
                };
                (call.abi_encode(), common, "remove")
            }
            Self::Expiry {
                which,
                expires_at,
                common,
            } => {
                let call = Calls::setVersionExpiryCall {
                    composeHash: which.resolve()?.0,
                    expiresAt: expires_at,
                };
                (call.abi_encode(), common, "expiry")
            }
            Self::MinVersion { number, common } => (
                Calls::setMinVersionCall { number }.abi_encode(),
                common,
                "min-version",
            ),
            Self::Device { id, remove, common } => {
                let data = if remove {
                    Calls::removeDeviceCall { deviceId: id }.abi_encode()
                } else {
                    Calls::addDeviceCall { deviceId: id }.abi_encode()
                };
                (data, common, "device")
            }
            Self::Advisory { id, refuse, common } => {
                let call = Calls::setAdvisoryToleratedCall {
                    advisory: advisory(&id)?,
                    tolerated: !refuse,
                };
                (call.abi_encode(), common, "advisory")
            }
            Self::Pause { common } => (Calls::pauseCall {}.abi_encode(), common, "pause"),
            Self::Unpause { common } => (Calls::unpauseCall {}.abi_encode(), common, "unpause"),
            Self::Delay { delay, common } => {
                let call = Calls::setDelayCall {
                    newDelay: seconds("the delay", delay)?,
                };
                (call.abi_encode(), common, "delay")
            }
            Self::Guardian { address, common } => {
                let call = Calls::setGuardianCall {
                    newGuardian: address,
                };
                (call.abi_encode(), common, "guardian")
            }
            Self::Owner { address, common } => {
                let call = Calls::transferOwnershipCall { newOwner: address };
                (call.abi_encode(), common, "owner")
            }
            Self::AcceptOwnership { common } => {
                let data = Calls::acceptOwnershipCall {}.abi_encode();
                (data, common, "accept-ownership")
            }
            Self::Upgrade {
                implementation,
                call,
                common,
            } => {
                let call = Calls::upgradeToAndCallCall {
                    newImplementation: implementation,
                    data: call,
                };
                (call.abi_encode(), common, "upgrade")
            }
            Self::Freeze { what, common } => {
                let data = match what {
                    Frozen::Versions => Calls::freezeVersionsCall {}.abi_encode(),
                    Frozen::Upgrades => Calls::disableUpgradesCall {}.abi_encode(),
                };
                (data, common, "freeze")
            }
            Self::Veto { id, common } => (Calls::vetoCall { id }.abi_encode(), common, "veto"),
            Self::Raw { data, common } => (data.to_vec(), common, "raw"),
            at_kms => return at_kms.at_kms().await,
        };
        let (chain, target) = common.of.connect().await?;
        let mut prepared = Prepared::new(chain, target, data.into(), common.out, name);
        prepared.by_pending_owner = name == "accept-ownership";
        Ok(prepared)
    }

    async fn at_kms(self) -> Result<Prepared, Failure> {
        let (data, at, name) = match self {
            Self::OsImage { hash, remove, at } => {
                let data = if remove {
                    Calls::removeOsImageHashCall { osImageHash: hash }.abi_encode()
                } else {
                    Calls::addOsImageHashCall { osImageHash: hash }.abi_encode()
                };
                (data, at, "os-image")
            }
            Self::KmsBuild {
                measurement,
                remove,
                at,
            } => {
                let data = if remove {
                    Calls::removeKmsAggregatedMrCall {
                        mrAggregated: measurement,
                    }
                    .abi_encode()
                } else {
                    Calls::addKmsAggregatedMrCall {
                        mrAggregated: measurement,
                    }
                    .abi_encode()
                };
                (data, at, "kms-build")
            }
            Self::KmsDevice { id, remove, at } => {
                let data = if remove {
                    Calls::removeKmsDeviceCall { deviceId: id }.abi_encode()
                } else {
                    Calls::addKmsDeviceCall { deviceId: id }.abi_encode()
                };
                (data, at, "kms-device")
            }
            Self::Register { app, remove, at } => {
                let data = if remove {
                    Calls::deregisterAppCall { appId: app }.abi_encode()
                } else {
                    Calls::registerAppCall { appId: app }.abi_encode()
                };
                (data, at, "register")
            }
            _ => {
                return Err(Failure::Unusable(
                    "this change is not one of the KMS contract".to_owned(),
                ));
            }
        };
        let target = at.chain.kms_address()?;
        let chain = at.chain.connect().await?;
        Ok(Prepared::new(chain, target, data.into(), at.out, name))
    }
}

impl Prepared {
    pub(crate) fn new(
        chain: Chain,
        target: Address,
        data: Bytes,
        out: Option<PathBuf>,
        name: &'static str,
    ) -> Self {
        Self {
            chain,
            target,
            data,
            out,
            name,
            running_compose: None,
            next_compose: None,
            by_pending_owner: false,
        }
    }
}

/// The call that adds a version. dstack's contracts know neither times nor successors.
fn version_call(
    kind: Kind,
    hash: B256,
    supersede: Option<B256>,
    not_before: u64,
    expires_at: u64,
    note: String,
) -> Result<Bytes, Failure> {
    let plain = supersede.is_none() && not_before == 0 && expires_at == 0 && note.is_empty();
    if kind != Kind::Bylaw {
        if !plain {
            return Err(Failure::Unusable(
                "this app's contract knows no times, notes or successors; add the version without"
                    .to_owned(),
            ));
        }
        let call = Calls::addComposeHashCall { composeHash: hash };
        return Ok(call.abi_encode().into());
    }
    let data = match supersede {
        Some(old) => Calls::supersedeCall {
            oldComposeHash: old,
            newComposeHash: hash,
            expiresAt: expires_at,
            noteUri: note,
        }
        .abi_encode(),
        None => Calls::addVersionCall {
            composeHash: hash,
            notBefore: not_before,
            expiresAt: expires_at,
            noteUri: note,
        }
        .abi_encode(),
    };
    Ok(data.into())
}

/// Bits of the named values; `None` for `any`.
fn bits(option: &str, names: &[String], known: &[&str]) -> Result<Option<u16>, Failure> {
    if names.iter().any(|name| name == "any") {
        return Ok(None);
    }
    let mut bits = 0;
    for name in names {
        let position = known
            .iter()
            .position(|known| known.eq_ignore_ascii_case(name));
        let position = position.ok_or_else(|| {
            Failure::Unusable(format!(
                "{option} {name:?} is none of any, {}",
                known.join(", ")
            ))
        })?;
        bits |= 1u16 << position;
    }
    Ok(Some(bits))
}

fn seconds(option: &str, duration: Duration) -> Result<u32, Failure> {
    u32::try_from(duration.as_secs())
        .map_err(|_| Failure::Unusable(format!("{option} is longer than 136 years")))
}

/// An advisory's id as the contract keeps it: ASCII from the left.
fn advisory(id: &str) -> Result<B256, Failure> {
    let bytes = id.as_bytes();
    if bytes.is_empty() || bytes.len() > 32 || !bytes.iter().all(u8::is_ascii_graphic) {
        return Err(Failure::Unusable(format!(
            "advisory {id:?} is not 1 to 32 visible ASCII characters"
        )));
    }
    Ok(B256::right_padding_from(bytes))
}
