//! The attestation report: 1184 bytes, little-endian (SEV-SNP ABI, table "ATTESTATION_REPORT").

use bylaw_types::{Register, ReportData, Sha256Digest};

use super::{Product, SnpError};

/// Length of a report in bytes.
pub const REPORT_LEN: usize = 1184;
/// The signature covers everything before it.
const SIGNED_LEN: usize = 0x2a0;
const ECDSA_P384_SHA384: u32 = 1;
const POLICY_SMT: u64 = 1 << 16;
/// Must be one.
const POLICY_RESERVED_ONE: u64 = 1 << 17;
const POLICY_MIGRATION: u64 = 1 << 18;
const POLICY_DEBUG: u64 = 1 << 19;
const POLICY_RAPL_DISABLED: u64 = 1 << 23;
const POLICY_CIPHERTEXT_HIDING: u64 = 1 << 24;
/// Bits above have no meaning yet.
const POLICY_KNOWN_BITS: u32 = 26;
const PLATFORM_SMT: u64 = 1;
const PLATFORM_RAPL_DISABLED: u64 = 1 << 3;
const PLATFORM_CIPHERTEXT_HIDING: u64 = 1 << 4;
const KEY_MASKED: u32 = 1 << 1;

/// What a report says; nothing of it is believed before its signature is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpReport {
    /// 2 to 5.
    pub version: u32,
    /// What the guest's owner allows the platform to do.
    pub policy: u64,
    /// Privilege level that asked; 0 is the most privileged.
    pub vmpl: u32,
    /// Of the running firmware.
    pub current_tcb: [u8; 8],
    /// What the platform has switched on.
    pub platform_info: u64,
    /// Flags about the signing key.
    pub key_info: u32,
    /// What the guest asked to be signed.
    pub report_data: ReportData,
    /// Digest of what the guest was launched with.
    pub measurement: Register,
    /// Set by the host at launch.
    pub host_data: Sha256Digest,
    /// That the signing key was derived for.
    pub reported_tcb: [u8; 8],
    /// Family, model and stepping; reports of version 2 have none.
    pub cpuid: Option<[u8; 3]>,
    /// Names the chip.
    pub chip_id: [u8; 64],
    /// That cannot be rolled back.
    pub committed_tcb: [u8; 8],
    /// When the guest was launched.
    pub launch_tcb: [u8; 8],
    /// `r || s`, big-endian.
    pub(super) signature: [u8; 96],
}

/// `N` bytes at a fixed place.
fn field<const N: usize>(report: &[u8; REPORT_LEN], at: usize) -> [u8; N] {
    std::array::from_fn(|index| report[at + index])
}

impl SnpReport {
    /// Reads a report.
    ///
    /// # Errors
    /// [`SnpError::Malformed`] for another length or a signature that is no number of the
    /// curve, [`SnpError::Version`], [`SnpError::SignatureAlgorithm`].
    pub fn parse(bytes: &[u8]) -> Result<Self, SnpError> {
        let report: &[u8; REPORT_LEN] = bytes.try_into().map_err(|_| {
            SnpError::Malformed(format!("it has {} bytes, not {REPORT_LEN}", bytes.len()))
        })?;
        let version = u32::from_le_bytes(field(report, 0));
        if !(2..=5).contains(&version) {
            return Err(SnpError::Version(version));
        }
        let algorithm = u32::from_le_bytes(field(report, 0x34));
        if algorithm != ECDSA_P384_SHA384 {
            return Err(SnpError::SignatureAlgorithm(algorithm));
        }
        Ok(Self {
            version,
            policy: u64::from_le_bytes(field(report, 0x08)),
            vmpl: u32::from_le_bytes(field(report, 0x30)),
            current_tcb: field(report, 0x38),
            platform_info: u64::from_le_bytes(field(report, 0x40)),
            key_info: u32::from_le_bytes(field(report, 0x48)),
            report_data: field(report, 0x50).into(),
            measurement: field(report, 0x90).into(),
            host_data: field(report, 0xc0).into(),
            reported_tcb: field(report, 0x180),
            cpuid: (version > 2).then(|| field(report, 0x188)),
            chip_id: field(report, 0x1a0),
            committed_tcb: field(report, 0x1e0),
            launch_tcb: field(report, 0x1f0),
            signature: signature(report)?,
        })
    }

    /// The bytes that are signed.
    pub(super) fn signed_part(bytes: &[u8]) -> &[u8] {
        bytes.get(..SIGNED_LEN).unwrap_or_default()
    }

    /// The product that the report names; version 2 names none.
    ///
    /// # Errors
    /// [`SnpError::UnknownProduct`].
    pub fn product(&self) -> Result<Option<Product>, SnpError> {
        let Some([family, model, _]) = self.cpuid else {
            return Ok(None);
        };
        Product::from_cpuid(family, model)
            .map(Some)
            .ok_or(SnpError::UnknownProduct { family, model })
    }

    /// Whether the signing key is one that is judged here: the chip's own, and named.
    pub(super) fn check_signer(&self) -> Result<(), SnpError> {
        match self.key_info >> 2 & 0b111 {
            0 => {}
            1 => return Err(SnpError::Vlek),
            other => return Err(SnpError::Signer(other)),
        }
        if self.key_info & KEY_MASKED != 0 || self.chip_id == [0; 64] {
            return Err(SnpError::MaskedChip);
        }
        Ok(())
    }

    /// Whether the launch keeps the host out, and the platform keeps what the launch asked
    /// for.
    pub(super) fn check_policy(&self) -> Result<(), SnpError> {
        let demands = |bit: u64| self.policy & bit != 0;
        let has = |bit: u64| self.platform_info & bit != 0;
        let policy = |reason: &str| Err(SnpError::Policy(reason.to_owned()));
        if demands(POLICY_DEBUG) {
            return Err(SnpError::Debug);
        }
        if demands(POLICY_MIGRATION) {
            return Err(SnpError::MigrationAgent);
        }
        if self.vmpl != 0 {
            return Err(SnpError::PrivilegeLevel(self.vmpl));
        }
        if !demands(POLICY_RESERVED_ONE) {
            return policy("bit 17, which must be one, is zero");
        }
        if self.policy >> POLICY_KNOWN_BITS != 0 {
            return policy("it has bits whose meaning is not known");
        }
        if !demands(POLICY_SMT) && has(PLATFORM_SMT) {
            return policy("it forbids SMT, and the platform has it on");
        }
        if demands(POLICY_RAPL_DISABLED) && !has(PLATFORM_RAPL_DISABLED) {
            return policy("it forbids RAPL, and the platform has it on");
        }
        if demands(POLICY_CIPHERTEXT_HIDING) && !has(PLATFORM_CIPHERTEXT_HIDING) {
            return policy("it demands ciphertext hiding, and the platform has it off");
        }
        Ok(())
    }

    /// Whether firmware, committed firmware, launch and signing key are of one TCB.
    pub(super) fn is_current(&self) -> bool {
        [self.committed_tcb, self.launch_tcb, self.reported_tcb]
            .iter()
            .all(|tcb| *tcb == self.current_tcb)
    }
}

/// Two numbers of 48 bytes in fields of 72, little-endian, then 368 reserved bytes. Whatever
/// is unused must be zero: a report has one form.
fn signature(report: &[u8; REPORT_LEN]) -> Result<[u8; 96], SnpError> {
    let [r, s]: [[u8; 72]; 2] = [field(report, 0x2a0), field(report, 0x2e8)];
    let reserved: [u8; 368] = field(report, 0x330);
    let mut fixed = [0; 96];
    let (high, low) = fixed.split_at_mut(48);
    for (out, number) in [(high, r), (low, s)] {
        let (used, unused) = number.split_at(48);
        if unused.iter().any(|byte| *byte != 0) {
            return Err(SnpError::Malformed(
                "a number of the signature is longer than 48 bytes".to_owned(),
            ));
        }
        out.copy_from_slice(used);
        out.reverse();
    }
    if reserved != [0; 368] {
        return Err(SnpError::Malformed(
            "bytes after the signature are not zero".to_owned(),
        ));
    }
    Ok(fixed)
}
