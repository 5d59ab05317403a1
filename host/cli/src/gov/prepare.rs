//! From the options of a change to its call.

use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes};
use alloy::sol_types::SolCall;
use bylaw_gov::abi::{AppPolicy, Calls, Views};
use bylaw_gov::text::{TCB_STATUSES, TEE_VARIANTS};
use bylaw_gov::{Chain, Kind};

use super::change::{AtKms, Change, Common, Frozen, Which};
use super::library::Library;
use crate::compose;
use crate::output::Failure;

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
    /// Other than the Safe's next.
    pub(crate) nonce: Option<u64>,
}

impl Common {
    async fn prepare(self, data: Bytes, name: &'static str) -> Result<Prepared, Failure> {
        let (chain, target) = self.of.connect().await?;
        let mut prepared = Prepared::new(chain, target, data, self.out, name);
        prepared.nonce = self.nonce;
        Ok(prepared)
    }

    fn app(&self) -> Result<Address, Failure> {
        let app = self.of.app();
        app.ok_or_else(|| Failure::Unusable("name the app with --app".to_owned()))
    }

    /// The same about the KMS contract.
    fn at_kms(self) -> AtKms {
        AtKms {
            chain: self.of.chain,
            out: self.out,
            nonce: self.nonce,
        }
    }
}

impl AtKms {
    async fn prepare(self, data: Bytes, name: &'static str) -> Result<Prepared, Failure> {
        let target = self.chain.kms_address()?;
        let chain = self.chain.connect().await?;
        chain.check_contract(target).await?;
        let mut prepared = Prepared::new(chain, target, data, self.out, name);
        prepared.nonce = self.nonce;
        Ok(prepared)
    }
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
                let mut prepared = common.prepare(Bytes::new(), "version").await?;
                let at = prepared.chain.latest().await?;
                let kind = prepared.chain.kind(at, prepared.target).await?;
                prepared.data = version_call(kind, hash, supersede, not_before, expires_at, note)?;
                prepared.next_compose = next;
                prepared.running_compose = match running {
                    Some(file) => Some(compose::read(&file)?.raw().to_owned()),
                    None => find_running(&prepared, at, composes.as_deref(), supersede).await?,
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
                let mut prepared = common.prepare(Bytes::new(), "policy").await?;
                let (chain, target) = (&prepared.chain, prepared.target);
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
                prepared.data = Calls::setPolicyCall { policy }.abi_encode().into();
                Ok(prepared)
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
            Self::Pause {
                at_kms: true,
                common,
            } => {
                let call = Calls::pauseAppCall {
                    appId: common.app()?,
                };
                return common
                    .at_kms()
                    .prepare(call.abi_encode().into(), "pause")
                    .await;
            }
            Self::Pause { common, .. } => (Calls::pauseCall {}.abi_encode(), common, "pause"),
            Self::Unpause {
                at_kms: true,
                common,
            } => {
                let call = Calls::unpauseAppCall {
                    appId: common.app()?,
                };
                return common
                    .at_kms()
                    .prepare(call.abi_encode().into(), "unpause")
                    .await;
            }
            Self::Unpause { common, .. } => (Calls::unpauseCall {}.abi_encode(), common, "unpause"),
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
        let mut prepared = common.prepare(data.into(), name).await?;
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
        at.prepare(data.into(), name).await
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
            nonce: None,
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

/// The manifest that runs now: of the version to be superseded, else of the newest one
/// that may run, as far as the directory has it.
async fn find_running(
    prepared: &Prepared,
    at: bylaw_gov::At,
    directory: Option<&Path>,
    supersede: Option<B256>,
) -> Result<Option<String>, Failure> {
    let Some(directory) = directory else {
        return Ok(None);
    };
    let library = Library::open(directory)?;
    let hash = match supersede {
        Some(hash) => Some(hash),
        None => prepared
            .chain
            .versions(at, prepared.target, 0)
            .await?
            .iter()
            .rfind(|version| version.allowed)
            .map(|version| version.compose_hash),
    };
    let manifest = hash.and_then(|hash| library.get(&hash).cloned());
    Ok(manifest.map(|manifest| manifest.raw().to_owned()))
}
