//! AMD SEV-SNP: attestation reports of version 2 to 5 (attestation reference, section 9).
//!
//! A report is signed by a key of the chip (VCEK), for which AMD issues a certificate per
//! TCB. What runs follows from MEASUREMENT and HOST_DATA, both fixed at launch; there is no
//! register that a guest could extend, so its runtime events prove nothing.

mod chain;
mod endorsements;
mod product;
mod report;
pub mod table;

use bylaw_types::{DeviceId, MrAggregated, MrSystem, TcbStatus};
pub(crate) use endorsements::certificate;
pub use endorsements::{Endorsements, MAX_CERTIFICATE_LEN};
pub use product::{Product, Tcb};
pub use report::{REPORT_LEN, SnpReport};
use ring::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use sha2::{Digest, Sha256};

use crate::TrustAnchors;
use chain::Chain;

/// Why a report is not believed, by what is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnpError {
    /// Another form.
    #[error("not an SEV-SNP report: {0}")]
    Malformed(String),
    /// A version that is not known.
    #[error("SEV-SNP report of version {0}; versions 2 to 5 are known")]
    Version(u32),
    /// Signed in another way.
    #[error("SEV-SNP report with signature algorithm {0}; only 1, ECDSA P-384, is known")]
    SignatureAlgorithm(u32),
    /// Signed by a cloud provider's key, which names no chip.
    #[error(
        "the report is signed by a VLEK, a key of a cloud provider that names no chip; only VCEKs \
         are accepted. Have the platform sign with its VCEK"
    )]
    Vlek,
    /// Signed by nothing that is known.
    #[error("the report says that it is signed by key {0}, which is neither VCEK nor VLEK")]
    Signer(u32),
    /// Nobody knows which chip.
    #[error("the platform masks its chip id, so its certificate cannot be known (MASK_CHIP_ID)")]
    MaskedChip,
    /// CPUID of something else.
    #[error("CPUID family {family:#x} model {model:#x} is none of Milan, Genoa and Turin")]
    UnknownProduct {
        /// With its extension.
        family: u8,
        /// With its extension.
        model: u8,
    },
    /// A report that says too little.
    #[error(
        "a report of version 2 does not name its product; send ASK and VCEK with it, or update \
         the SNP firmware"
    )]
    ProductNotNamed,
    /// These anchors do not cover it.
    #[error("no AMD root for {0} is trusted here")]
    NoRoot(Product),
    /// The certificates that came with it have another form.
    #[error("certificates with the report: {0}")]
    Endorsements(String),
    /// The VCEK does not lead to the root, or is not a VCEK.
    #[error("VCEK certificate chain: {0}")]
    Chain(String),
    /// A certificate outside its dates.
    #[error("the {name} is valid from {not_before} to {not_after}, not now")]
    Expired {
        /// ARK, ASK or VCEK.
        name: &'static str,
        /// As written.
        not_before: String,
        /// As written.
        not_after: String,
    },
    /// The VCEK did not sign it.
    #[error("report signature: the VCEK did not sign this report")]
    Signature,
    /// The certificate is of another product.
    #[error("the VCEK is for {certificate}, the report is of {report}")]
    Product {
        /// As the certificate names it.
        certificate: String,
        /// By CPUID.
        report: Product,
    },
    /// The certificate is of another chip.
    #[error("the VCEK is for chip {certificate}, the report is of chip {report}")]
    OtherChip {
        /// Hex.
        certificate: String,
        /// Hex.
        report: String,
    },
    /// The certificate is for another TCB.
    #[error(
        "the VCEK is for {part} version {certified}, the report says {reported}: the certificate \
         is of another TCB"
    )]
    Tcb {
        /// Which part of the firmware.
        part: &'static str,
        /// In the certificate.
        certified: u8,
        /// In the report.
        reported: u8,
    },
    /// The host can read the guest's memory.
    #[error("the launch policy allows debugging; the host can read the guest's memory")]
    Debug,
    /// A migration agent can.
    #[error("the launch policy allows a migration agent, which can read the guest's memory")]
    MigrationAgent,
    /// Not the level that owns the guest.
    #[error("the report was asked for at VMPL {0}; only VMPL 0 speaks for the guest")]
    PrivilegeLevel(u32),
    /// Launch policy and platform do not fit.
    #[error("launch policy: {0}")]
    Policy(String),
    /// AMD revoked it.
    #[error("revoked: AMD's revocation list names the {0}")]
    Revoked(&'static str),
    /// The revocation list is not valid at this time, or not AMD's.
    #[error("collateral: AMD's revocation list: {0}")]
    RevocationList(String),
}

/// A report that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedSnp {
    /// What it says.
    pub report: SnpReport,
    /// The processor.
    pub product: Product,
    /// `UpToDate` when current, committed, launch and reported TCB are one, else `OutOfDate`;
    /// `NotReported` without AMD's revocation list. AMD publishes no list of TCB levels, so
    /// this says that no update is pending, not that none exists.
    pub tcb_status: TcbStatus,
    /// SHA-256 of CHIP_ID.
    pub device_id: DeviceId,
}

impl SnpReport {
    /// The system: what was launched.
    pub fn mr_system(&self) -> MrSystem {
        MrSystem::new(Sha256::digest(self.measurement).into())
    }

    /// The system and what its launch was bound to.
    pub fn mr_aggregated(&self) -> MrAggregated {
        let hash = Sha256::new_with_prefix(self.measurement).chain_update(self.host_data);
        MrAggregated::new(hash.finalize().into())
    }

    /// The chip.
    pub fn device_id(&self) -> DeviceId {
        DeviceId::new(Sha256::digest(self.chip_id).into())
    }
}

/// Which certificate of AMD's a report's signer has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VcekId {
    /// The processor.
    pub product: Product,
    /// As many bytes of CHIP_ID as the product uses.
    pub hardware_id: Vec<u8>,
    /// As reported.
    pub tcb: Tcb,
}

/// What must be known before a report can be verified: who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Which certificate it has.
    pub vcek: VcekId,
    /// The certificates that came with the report.
    pub given: Endorsements,
}

/// Who signed a report, by its own word; verifies nothing.
///
/// # Errors
/// [`SnpError`] when report or certificates have another form, or the signer is not one that
/// is judged.
pub fn signer(report: &[u8], cert_chain: &[Vec<u8>]) -> Result<Signer, SnpError> {
    let report = SnpReport::parse(report)?;
    report.check_signer()?;
    let given = Endorsements::parse(cert_chain)?;
    let product = match report.product()? {
        Some(product) => product,
        None => given.product().ok_or(SnpError::ProductNotNamed)?,
    };
    let (hardware_id, _) = report.chip_id.split_at(product.hardware_id_len());
    Ok(Signer {
        vcek: VcekId {
            product,
            hardware_id: hardware_id.to_vec(),
            tcb: Tcb::of(product, report.reported_tcb),
        },
        given,
    })
}

/// The certificates and the list that a report is verified with, DER.
#[derive(Debug, Clone, Copy)]
pub struct Material<'a> {
    /// The processor whose root counts.
    pub product: Product,
    /// AMD's intermediate.
    pub ask: &'a [u8],
    /// The chip's key.
    pub vcek: &'a [u8],
    /// AMD's revocation list; without it the status is `NotReported`.
    pub crl: Option<&'a [u8]>,
}

/// Verifies chain, signature, certificate extensions, launch policy and revocation at `now`
/// (Unix seconds).
///
/// # Errors
/// [`SnpError`] says what is at fault. Debugging, migration agents, other privilege levels
/// and revoked issuers are refused here: they are never policy.
pub fn verify(
    report: &[u8],
    material: &Material<'_>,
    anchors: &TrustAnchors,
    now: u64,
) -> Result<VerifiedSnp, SnpError> {
    let parsed = SnpReport::parse(report)?;
    parsed.check_signer()?;
    let product = material.product;
    if parsed.product()?.is_some_and(|named| named != product) {
        return Err(SnpError::Chain(format!(
            "certificates of {product} for a report of another product"
        )));
    }
    let ark = anchors.amd_root(product).ok_or(SnpError::NoRoot(product))?;
    let chain = Chain::verify(product, [ark, material.ask, material.vcek], now)?;
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, chain.public_key())
        .verify(SnpReport::signed_part(report), &parsed.signature)
        .map_err(|_| SnpError::Signature)?;
    chain.check_extensions(product, &parsed)?;
    parsed.check_policy()?;
    let tcb_status = match material.crl {
        None => TcbStatus::NotReported,
        Some(crl) => {
            chain.check_revocation(crl, now)?;
            if parsed.is_current() {
                TcbStatus::UpToDate
            } else {
                TcbStatus::OutOfDate
            }
        }
    };
    Ok(VerifiedSnp {
        product,
        tcb_status,
        device_id: parsed.device_id(),
        report: parsed,
    })
}

#[cfg(test)]
mod tests;
