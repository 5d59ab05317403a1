//! Changes in words. A signer reads these, so they are made from the call itself and
//! never from what somebody wrote beside it.

use alloy::primitives::{Address, B256, Bytes, keccak256};
use alloy::sol_types::{Panic, Revert, SolError, SolInterface, SolValue};

use crate::abi::{Calls, Errors, KmsInfo, PendingChange};
pub use crate::policy::{TCB_STATUSES, TEE_VARIANTS, policy_lines};
use crate::policy::{policy, unpack};

/// What a call does, in one line; `None` for a call that is not one of ours.
pub fn describe(data: &[u8]) -> Option<String> {
    let call = Calls::CallsCalls::abi_decode(data).ok()?;
    // What the decoder skips could mean something to somebody else.
    if call.abi_encode() != data {
        return None;
    }
    Some(match call {
        Calls::CallsCalls::setDelay(c) => {
            format!("set the delay to {}", duration(c.newDelay.into()))
        }
        Calls::CallsCalls::setGuardian(c) => match c.newGuardian {
            Address::ZERO => "remove the guardian".to_owned(),
            guardian => format!("make {guardian} the guardian"),
        },
        Calls::CallsCalls::veto(c) => format!("drop the pending change {}", c.id),
        Calls::CallsCalls::settle(_) => "write down what has taken effect".to_owned(),
        Calls::CallsCalls::transferOwnership(c) => match c.newOwner {
            Address::ZERO => "withdraw the offer of ownership".to_owned(),
            owner => format!("offer the ownership to {owner}"),
        },
        Calls::CallsCalls::acceptOwnership(_) => "accept the ownership".to_owned(),
        Calls::CallsCalls::renounceOwnership(_) => "GIVE UP THE OWNERSHIP FOR GOOD".to_owned(),
        Calls::CallsCalls::upgradeToAndCall(c) => {
            let calling = if c.data.is_empty() {
                String::new()
            } else {
                format!(", calling {}", c.data)
            };
            format!(
                "replace the contract's code by that of {}{calling}",
                c.newImplementation
            )
        }
        Calls::CallsCalls::disableUpgrades(_) => {
            "END UPGRADES OF THE CONTRACT'S CODE FOR GOOD".to_owned()
        }
        Calls::CallsCalls::addComposeHash(c) => format!("add version {}", c.composeHash),
        Calls::CallsCalls::removeComposeHash(c) => format!("remove version {}", c.composeHash),
        Calls::CallsCalls::addVersion(c) => format!(
            "add version {}{}{}{}",
            c.composeHash,
            moment(" not before ", c.notBefore),
            moment(" until ", c.expiresAt),
            note(&c.noteUri)
        ),
        Calls::CallsCalls::supersede(c) => format!(
            "add version {}{}, which retires {}{}",
            c.newComposeHash,
            moment(" until ", c.expiresAt),
            c.oldComposeHash,
            note(&c.noteUri)
        ),
        Calls::CallsCalls::retire(c) => format!("RETIRE VERSION {} FOR GOOD", c.composeHash),
        Calls::CallsCalls::setVersionExpiry(c) => {
            format!("end version {} at {}", c.composeHash, time(c.expiresAt))
        }
        Calls::CallsCalls::setMinVersion(c) => {
            format!("RETIRE EVERY VERSION BEFORE {} FOR GOOD", c.number)
        }
        Calls::CallsCalls::freezeVersions(_) => "END THE ADDING OF VERSIONS FOR GOOD".to_owned(),
        Calls::CallsCalls::addDevice(c) => format!("allow device {}", c.deviceId),
        Calls::CallsCalls::removeDevice(c) => format!("remove device {}", c.deviceId),
        Calls::CallsCalls::setPolicy(c) => format!("set the policy: {}", policy(&c.policy)),
        Calls::CallsCalls::setAllowAnyDevice(c) => {
            if c.allowAnyDevice {
                "allow any device".to_owned()
            } else {
                "allow listed devices only".to_owned()
            }
        }
        Calls::CallsCalls::setRequireTcbUpToDate(c) => {
            if c.requireTcbUpToDate {
                "require an up-to-date TCB".to_owned()
            } else {
                "accept any TCB status".to_owned()
            }
        }
        Calls::CallsCalls::setAdvisoryTolerated(c) => {
            let verb = if c.tolerated {
                "tolerate"
            } else {
                "no longer tolerate"
            };
            format!("{verb} advisory {}", ascii(c.advisory))
        }
        Calls::CallsCalls::pause(_) => "pause the app".to_owned(),
        Calls::CallsCalls::unpause(_) => "resume the app".to_owned(),
        Calls::CallsCalls::setKmsInfo(c) => {
            format!("publish the KMS's root key {}", c.info.k256Pubkey)
        }
        Calls::CallsCalls::setGatewayAppId(c) => format!("make {:?} the gateway", c.appId),
        Calls::CallsCalls::setAppImplementation(c) => {
            format!("give new apps the code of {}", c.implementation)
        }
        Calls::CallsCalls::registerApp(c) => format!("register app {}", c.appId),
        Calls::CallsCalls::deregisterApp(c) => format!("deregister app {}", c.appId),
        Calls::CallsCalls::pauseApp(c) => format!("pause app {}", c.appId),
        Calls::CallsCalls::unpauseApp(c) => format!("resume app {}", c.appId),
        Calls::CallsCalls::addKmsAggregatedMr(c) => format!("allow KMS build {}", c.mrAggregated),
        Calls::CallsCalls::removeKmsAggregatedMr(c) => {
            format!("remove KMS build {}", c.mrAggregated)
        }
        Calls::CallsCalls::addKmsDevice(c) => format!("allow the KMS on device {}", c.deviceId),
        Calls::CallsCalls::removeKmsDevice(c) => format!("remove KMS device {}", c.deviceId),
        Calls::CallsCalls::addOsImageHash(c) => format!("trust OS image {}", c.osImageHash),
        Calls::CallsCalls::removeOsImageHash(c) => {
            format!("no longer trust OS image {}", c.osImageHash)
        }
        Calls::CallsCalls::setKmsNode(c) => format!("list KMS node {:?}", c.node.endpoint),
        Calls::CallsCalls::removeKmsNode(c) => format!("take KMS node {} off the list", c.nodeId),
    })
}

/// What a contract's revert says.
pub fn refusal(data: &[u8]) -> String {
    use Errors::ErrorsErrors as E;
    if let Ok(revert) = Revert::abi_decode(data) {
        return revert.reason().escape_debug().to_string();
    }
    if let Ok(panic) = Panic::abi_decode(data) {
        return format!("it panicked: {panic}");
    }
    let Ok(error) = E::abi_decode(data) else {
        return match data {
            [] => "it reverted without a reason".to_owned(),
            data => format!("it reverted with 0x{}", hex::encode(data)),
        };
    };
    match error {
        E::NotPending(e) => format!("nothing pending has the id {}", e.id),
        E::NotYet(e) => format!("it waits until {}", time(e.activatesAt)),
        E::NeitherOwnerNorGuardian(e) => format!("{} is neither owner nor guardian", e.caller),
        E::DelayTooLong(e) => format!("the longest delay is {}", duration(e.max.into())),
        E::TooManyPending(e) => format!("{} changes wait already; veto some", e.max),
        E::DataTooLong(e) => format!("{} bytes are too long, {} are allowed", e.length, e.max),
        E::NotPayable(_) => "scheduling takes no money".to_owned(),
        E::ImplementationChanged(e) => {
            format!("the code at {} is not what was scheduled", e.implementation)
        }
        E::NotAnImplementation(e) => {
            format!("{} holds no code to upgrade to", e.implementation)
        }
        E::VersionIsRetired(e) => format!("version {} is retired, for good", e.number),
        E::VersionListIsFrozen(_) => "the version list is frozen".to_owned(),
        E::UnknownVersion(e) => format!("there is no version {}", e.composeHash),
        E::VersionExists(e) => format!("it is version {} already", e.number),
        E::BadExpiry(e) => format!(
            "{} is before its beginning or after its present end",
            time(e.expiresAt)
        ),
        E::BadMinVersion(e) => format!(
            "the minimum can be {} to {}",
            e.present,
            u64::from(e.latest) + 1
        ),
        E::AlreadySuperseded(e) => {
            format!(
                "version {} waits to supersede it; veto that first",
                e.successor
            )
        }
        E::SupersedesItself(_) => "a version is not superseded by itself".to_owned(),
        E::MayNotDeregister(e) => format!("{} may not deregister that app", e.caller),
        E::UnknownKmsNode(e) => format!("no KMS node has the id {}", e.nodeId),
        E::KmsKeysMissing(_) => "other KMS keys are two keys".to_owned(),
        E::NoVerdict(e) => format!("{} answers no verdict", e.appId),
        E::OwnableUnauthorizedAccount(e) => format!("{} is not the owner", e.account),
        E::OwnableInvalidOwner(e) => format!("{} cannot be an owner", e.owner),
        E::InvalidInitialization(_) => "it is initialized already".to_owned(),
        E::TimelockInsufficientDelay(e) => {
            format!("the timelock waits at least {} s", e.minDelay)
        }
        E::AccessControlUnauthorizedAccount(e) => {
            format!("{} has no such role at the timelock", e.account)
        }
    }
}

/// A pending change: its title, what more there is to say, and the compose hash it adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingText {
    /// One line.
    pub title: String,
    /// More, possibly nothing.
    pub detail: String,
    /// The version it adds.
    pub compose_hash: Option<B256>,
}

/// A pending change in words.
pub fn pending(change: &PendingChange) -> PendingText {
    let value = change.value;
    let address = Address::from_word(value);
    let mut compose_hash = None;
    let mut detail = value.to_string();
    let title = match label(change.policy) {
        Some("compose-hash") => {
            compose_hash = Some(value);
            let superseded = B256::abi_decode(&change.data).unwrap_or_default();
            if !superseded.is_zero() {
                detail = format!("{value}, retiring {superseded}");
            }
            "a version may run"
        }
        Some("device") => "a device is allowed",
        Some("policy") => {
            detail = unpack(value).map_or_else(|| value.to_string(), |p| policy(&p));
            "a looser policy"
        }
        Some("advisory") => {
            detail = ascii(value);
            "an advisory is tolerated"
        }
        Some("unpaused") => {
            detail = String::new();
            "the app resumes"
        }
        Some("delay") => {
            detail = duration(
                value
                    .0
                    .last_chunk::<4>()
                    .map_or(0, |b| u32::from_be_bytes(*b).into()),
            );
            "a shorter delay"
        }
        Some("guardian") => {
            detail = if address.is_zero() {
                "nobody".to_owned()
            } else {
                address.to_string()
            };
            "another guardian"
        }
        Some("owner") => {
            detail = address.to_string();
            "another owner, who must accept"
        }
        Some("implementation-upgrade") => {
            let call = <(B256, Bytes)>::abi_decode_params(&change.data).map(|(_, call)| call);
            let call = call.unwrap_or_default();
            detail = if call.is_empty() {
                address.to_string()
            } else {
                format!("{address}, calling {call}")
            };
            "other code, to be carried out by the owner"
        }
        Some("os-image") => "an OS image is trusted",
        Some("kms-aggregated-mr") => "a KMS build is allowed",
        Some("kms-device") => "the KMS may run on a device",
        Some("app-implementation") => {
            detail = address.to_string();
            "other code for new apps"
        }
        Some("registered-app") => {
            detail = address.to_string();
            "a deregistered app is registered again"
        }
        Some("app-unpaused") => {
            detail = address.to_string();
            "an app resumes"
        }
        Some("gateway-app-id") => {
            detail = String::from_utf8_lossy(&change.data).into_owned();
            "another gateway"
        }
        Some("kms-info") => {
            if let Ok(info) = KmsInfo::abi_decode(&change.data) {
                detail = info.k256Pubkey.to_string();
            }
            "other root keys of the KMS"
        }
        _ => "a change of a kind this program does not know",
    };
    PendingText {
        title: title.to_owned(),
        detail,
        compose_hash,
    }
}

/// The label whose Keccak-256 names a rule on chain.
pub fn label(policy: B256) -> Option<&'static str> {
    const LABELS: [&str; 28] = [
        "implementation-upgrade",
        "upgrades-disabled",
        "delay",
        "guardian",
        "owner",
        "app-implementation",
        "kms-info",
        "gateway-app-id",
        "registered-app",
        "app-paused",
        "app-unpaused",
        "kms-aggregated-mr",
        "kms-device",
        "os-image",
        "kms-node",
        "kms-evidence",
        "device",
        "compose-hash",
        "retired",
        "min-version",
        "version-expiry",
        "versions-frozen",
        "policy",
        "advisory",
        "allow-any-device",
        "require-tcb-up-to-date",
        "paused",
        "unpaused",
    ];
    LABELS.into_iter().find(|label| keccak256(label) == policy)
}

/// An advisory's id, kept as ASCII from the left.
pub(crate) fn ascii(word: B256) -> String {
    let text: Vec<u8> = word.0.into_iter().take_while(|byte| *byte != 0).collect();
    match String::from_utf8(text) {
        Ok(text) if !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic()) => text,
        _ => word.to_string(),
    }
}

fn note(uri: &str) -> String {
    if uri.is_empty() {
        String::new()
    } else {
        format!(", see {uri:?}")
    }
}

fn moment(word: &str, unix: u64) -> String {
    if unix == 0 {
        String::new()
    } else {
        format!("{word}{}", time(unix))
    }
}

/// A time for people and, beside it, as the contract keeps it.
pub fn time(unix: u64) -> String {
    let at = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(unix));
    // Dates after the year 9999 have no such form.
    match at.filter(|_| unix < 253_402_300_800) {
        Some(at) => format!("{} ({unix})", humantime::format_rfc3339_seconds(at)),
        None => unix.to_string(),
    }
}

/// A number of seconds for people.
pub fn duration(seconds: u64) -> String {
    if seconds == 0 {
        return "none".to_owned();
    }
    humantime::format_duration(std::time::Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use alloy::sol_types::SolCall;

    use super::*;

    #[test]
    fn calls_are_described_by_what_they_do() {
        let hash = B256::repeat_byte(7);
        let call = Calls::supersedeCall {
            oldComposeHash: B256::repeat_byte(6),
            newComposeHash: hash,
            expiresAt: 1_700_000_000,
            noteUri: "ipfs://x\u{202e}".to_owned(),
        };
        let text = describe(&call.abi_encode()).unwrap();
        assert!(text.contains(&hash.to_string()), "{text}");
        assert!(text.contains("2023-11-14T22:13:20Z (1700000000)"), "{text}");
        assert!(
            text.contains("\\u{202e}"),
            "hostile text is escaped: {text}"
        );
        assert_eq!(describe(&[1, 2, 3, 4]), None);
        assert_eq!(describe(&[]), None);
        // Bytes after the arguments would hide something from whoever reads the text.
        let mut longer = Calls::pauseCall {}.abi_encode();
        longer.push(0);
        assert_eq!(describe(&longer), None);
    }

    #[test]
    fn refusals_are_said_in_words() {
        let error = Errors::VersionIsRetired {
            number: 3,
            composeHash: B256::ZERO,
        };
        assert_eq!(
            refusal(&error.abi_encode()),
            "version 3 is retired, for good"
        );
        let text = alloy::sol_types::Revert::from("Upgrades are permanently disabled");
        assert_eq!(
            refusal(&text.abi_encode()),
            "Upgrades are permanently disabled"
        );
        assert_eq!(refusal(&[1, 2, 3, 4]), "it reverted with 0x01020304");
        assert_eq!(refusal(&[]), "it reverted without a reason");
    }

    #[test]
    fn advisories_are_text_only_when_they_look_like_it() {
        let mut word = [0; 32];
        word[..14].copy_from_slice(b"INTEL-SA-00828");
        assert_eq!(ascii(B256::from(word)), "INTEL-SA-00828");
        assert_eq!(
            ascii(B256::repeat_byte(0xff)),
            B256::repeat_byte(0xff).to_string()
        );
        assert_eq!(ascii(B256::ZERO), B256::ZERO.to_string());
    }
}
