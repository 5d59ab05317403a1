//! Whatever was launched, as its attester sees it.

use bylaw_attest::Attestation;
use bylaw_types::{InstanceId, OsImageHash, ReportData};

use crate::{SnpGuest, Td};

/// A running guest.
#[derive(Debug)]
pub(crate) enum Guest {
    Td(Td),
    Snp(SnpGuest),
}

impl Guest {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Td(td) => td.name(),
            Self::Snp(guest) => guest.name(),
        }
    }

    pub(crate) fn vm_config(&self) -> &str {
        match self {
            Self::Td(td) => td.vm_config(),
            Self::Snp(guest) => guest.vm_config(),
        }
    }

    pub(crate) fn os_image_hash(&self) -> OsImageHash {
        match self {
            Self::Td(td) => td.os_image_hash(),
            Self::Snp(guest) => guest.os_image_hash(),
        }
    }

    pub(crate) fn instance_id(&self) -> Option<InstanceId> {
        match self {
            Self::Td(td) => td.instance_id(),
            Self::Snp(guest) => guest.instance_id(),
        }
    }

    pub(crate) fn extend(&self, name: &str, payload: &[u8]) {
        match self {
            Self::Td(td) => td.extend(name, payload),
            Self::Snp(guest) => guest.extend(name, payload),
        }
    }

    pub(crate) fn attest(&self, report_data: &ReportData) -> Attestation {
        match self {
            Self::Td(td) => td.attest(report_data),
            Self::Snp(guest) => guest.attest(report_data),
        }
    }

    pub(crate) fn sealing_key(&self, context: &str) -> [u8; 32] {
        match self {
            Self::Td(td) => td.sealing_key(context),
            Self::Snp(guest) => guest.sealing_key(context),
        }
    }
}
