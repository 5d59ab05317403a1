//! An app's policy in words.

use alloy::primitives::B256;

use crate::abi::AppPolicy;
use crate::text::duration;

/// Names of [`AppPolicy::teeVariants`]'s bits, from the lowest.
pub const TEE_VARIANTS: [&str; 5] = [
    "tdx",
    "gcp-tdx",
    "nitro-enclave",
    "sev-snp",
    "aws-nitro-tpm",
];

/// Names of [`AppPolicy::tcbStatuses`]'s bits, from the lowest.
pub const TCB_STATUSES: [&str; 10] = [
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "TDRelaunchAdvised",
    "TDRelaunchAdvisedConfigurationNeeded",
    "NotReported",
    "unknown",
];

/// A policy as rules and values, for tables.
pub fn policy_lines(policy: &AppPolicy) -> Vec<(&'static str, String)> {
    let names = |all: bool, bits: u64, names: &[&str]| {
        if all {
            return "any".to_owned();
        }
        let set: Vec<&str> = names
            .iter()
            .enumerate()
            .filter(|(bit, _)| bits >> bit & 1 == 1)
            .map(|(_, name)| *name)
            .collect();
        if set.is_empty() {
            "none".to_owned()
        } else {
            set.join(", ")
        }
    };
    let devices = if policy.allowAnyDevice {
        "any"
    } else {
        "those listed"
    };
    let advisories = if policy.anyAdvisory {
        "any"
    } else {
        "those tolerated"
    };
    let age = match policy.maxStateAge {
        0 => "as the KMS is configured".to_owned(),
        seconds => format!("at most {}", duration(seconds.into())),
    };
    let grace = match policy.tcbGracePeriod {
        0 => "none".to_owned(),
        seconds => duration(seconds.into()),
    };
    vec![
        ("devices", devices.to_owned()),
        (
            "TEE variants",
            names(
                policy.teeVariants == u8::MAX,
                policy.teeVariants.into(),
                &TEE_VARIANTS,
            ),
        ),
        (
            "TCB statuses",
            names(
                policy.tcbStatuses == u16::MAX,
                policy.tcbStatuses.into(),
                &TCB_STATUSES,
            ),
        ),
        ("grace for an outdated TCB", grace),
        ("advisories", advisories.to_owned()),
        ("age of the chain state", age),
        (
            "GPU attestation",
            if policy.requireGpu {
                "required"
            } else {
                "not required"
            }
            .to_owned(),
        ),
    ]
}

pub(crate) fn policy(policy: &AppPolicy) -> String {
    let lines = policy_lines(policy).into_iter();
    lines
        .map(|(rule, value)| format!("{rule}: {value}"))
        .collect::<Vec<_>>()
        .join("; ")
}

/// The inverse of the contract's `AppPolicies.pack`.
pub(crate) fn unpack(word: B256) -> Option<AppPolicy> {
    let bytes = word.0;
    // From the lowest byte: any device, variants, statuses (2), grace (4), advisory, age (4), GPU.
    let byte = |position: usize| bytes.get(31 - position).copied();
    let number = |position: usize, length: usize| {
        (0..length).try_fold(0u32, |sum, index| {
            Some(sum | u32::from(byte(position + index)?) << (8 * index))
        })
    };
    Some(AppPolicy {
        allowAnyDevice: byte(0)? != 0,
        teeVariants: byte(1)?,
        tcbStatuses: u16::try_from(number(2, 2)?).ok()?,
        tcbGracePeriod: number(4, 4)?,
        anyAdvisory: byte(8)? != 0,
        maxStateAge: number(9, 4)?,
        requireGpu: byte(13)? != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_policy_is_read_as_the_contract_packs_it() {
        let policy = AppPolicy {
            allowAnyDevice: true,
            teeVariants: 9,
            tcbStatuses: 0x0103,
            tcbGracePeriod: 0x0102_0304,
            anyAdvisory: false,
            maxStateAge: 600,
            requireGpu: true,
        };
        let mut word = [0; 32];
        word[31] = 1;
        word[30] = 9;
        word[28..30].copy_from_slice(&[0x01, 0x03]);
        word[24..28].copy_from_slice(&[1, 2, 3, 4]);
        word[19..23].copy_from_slice(&600u32.to_be_bytes());
        word[18] = 1;
        assert_eq!(unpack(B256::from(word)), Some(policy));
    }
}
