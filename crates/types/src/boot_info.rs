//! The identity that the contract judges.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    AppId, ComposeHash, DeviceId, InstanceId, MrAggregated, MrSystem, OsImageHash, ParseIdError,
};

/// Which kind of TEE produced the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TeeVariant {
    /// Intel TDX on bare metal.
    #[serde(rename = "dstack-tdx")]
    Tdx,
    /// Intel TDX on Google Cloud, with a vTPM.
    #[serde(rename = "dstack-gcp-tdx")]
    GcpTdx,
    /// AWS Nitro Enclave.
    #[serde(rename = "dstack-nitro-enclave")]
    NitroEnclave,
    /// AMD SEV-SNP.
    #[serde(rename = "dstack-amd-sev-snp")]
    SevSnp,
    /// AWS NitroTPM.
    #[serde(rename = "dstack-aws-nitro-tpm")]
    AwsNitroTpm,
}

impl TeeVariant {
    /// The name on the wire (`teeVariant`).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tdx => "dstack-tdx",
            Self::GcpTdx => "dstack-gcp-tdx",
            Self::NitroEnclave => "dstack-nitro-enclave",
            Self::SevSnp => "dstack-amd-sev-snp",
            Self::AwsNitroTpm => "dstack-aws-nitro-tpm",
        }
    }
}

impl fmt::Display for TeeVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How current the platform's trusted computing base is, by its vendor's word.
///
/// Which of these is acceptable is policy, not verification. A revoked TCB has
/// no variant: evidence from it is refused before anything could judge it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TcbStatus {
    /// Everything the vendor asks for is in place.
    UpToDate,
    /// Current, but software must mitigate known issues.
    SwHardeningNeeded,
    /// Current, but the platform's configuration needs a change.
    ConfigurationNeeded,
    /// Both of the above.
    ConfigurationAndSwHardeningNeeded,
    /// Behind the vendor's current level.
    OutOfDate,
    /// Behind, and the configuration needs a change.
    OutOfDateConfigurationNeeded,
    /// The platform is current now, but this TD was launched before it was.
    RelaunchAdvised,
    /// As above, and the configuration needs a change.
    RelaunchAdvisedConfigurationNeeded,
    /// The platform states no status, or nobody asked the vendor. Never equal to any other status.
    NotReported,
}

impl TcbStatus {
    const ALL: [(Self, &'static str); 9] = [
        (Self::UpToDate, "UpToDate"),
        (Self::SwHardeningNeeded, "SWHardeningNeeded"),
        (Self::ConfigurationNeeded, "ConfigurationNeeded"),
        (
            Self::ConfigurationAndSwHardeningNeeded,
            "ConfigurationAndSWHardeningNeeded",
        ),
        (Self::OutOfDate, "OutOfDate"),
        (
            Self::OutOfDateConfigurationNeeded,
            "OutOfDateConfigurationNeeded",
        ),
        (Self::RelaunchAdvised, "TDRelaunchAdvised"),
        (
            Self::RelaunchAdvisedConfigurationNeeded,
            "TDRelaunchAdvisedConfigurationNeeded",
        ),
        (Self::NotReported, "NotReported"),
    ];

    /// The vendor's spelling, as the contract compares it.
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(status, _)| *status == self)
            .map_or("NotReported", |(_, text)| text)
    }

    /// Whether the vendor has published a newer level than the platform has.
    pub fn is_outdated(self) -> bool {
        matches!(self, Self::OutOfDate | Self::OutOfDateConfigurationNeeded)
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A status that is not one of [`TcbStatus`]'s; `Revoked` is among them on purpose.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a TCB status that may be judged")]
pub struct UnknownTcbStatus(pub String);

impl FromStr for TcbStatus {
    type Err = UnknownTcbStatus;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(status, _)| *status)
            .ok_or_else(|| UnknownTcbStatus(text.to_owned()))
    }
}

impl Serialize for TcbStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for TcbStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Payload of the measured `key-provider` event: who gave this VM its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyProviderInfo {
    /// `none`, `local-sgx`, `tpm` or `kms`.
    pub name: String,
    /// Lower-case hex; for `kms` the DER SubjectPublicKeyInfo of the KMS root CA.
    pub id: String,
}

impl KeyProviderInfo {
    /// A KMS, known by the DER SubjectPublicKeyInfo of its root CA.
    pub fn kms(ca_spki_der: &[u8]) -> Self {
        Self {
            name: "kms".to_owned(),
            id: hex::encode(ca_spki_der),
        }
    }

    /// The exact bytes that are measured: `{"name":..,"id":..}` without whitespace.
    pub fn to_payload(&self) -> Vec<u8> {
        // Two strings always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What a VM is, as its evidence proves it: the input of every policy decision.
///
/// JSON form: the field names and hex of the authorization webhook (KMS API
/// reference, section 6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BootInfo {
    /// Kind of TEE.
    pub tee_variant: TeeVariant,
    /// Over every measured register.
    pub mr_aggregated: MrAggregated,
    /// The OS image, bound to the registers.
    pub os_image_hash: OsImageHash,
    /// Over the registers of the system.
    pub mr_system: MrSystem,
    /// The app.
    pub app_id: AppId,
    /// Its measured app-compose.json.
    pub compose_hash: ComposeHash,
    /// The instance; `None` (an empty string in JSON) where the app asks for none.
    #[serde(with = "empty_is_none")]
    pub instance_id: Option<InstanceId>,
    /// The machine.
    pub device_id: DeviceId,
    /// Measured `key-provider` payload; empty before keys were provided.
    #[serde(with = "hex_bytes")]
    pub key_provider_info: Vec<u8>,
    /// How current the platform is.
    pub tcb_status: TcbStatus,
    /// Advisories that apply to the platform, e.g. `INTEL-SA-00828`.
    pub advisory_ids: Vec<String>,
}

/// What evidence proves about a VM beyond [`BootInfo`], whose form existing contracts fix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlatformFacts {
    /// When the vendor published the TCB level that the platform lacks, Unix seconds;
    /// `None` when it lacks none, or nobody says since when.
    pub tcb_outdated_since: Option<u64>,
    /// The measured system attested the VM's GPUs before anything of the app ran.
    pub gpu_attested: bool,
}

mod empty_is_none {
    use super::{Deserialize, Deserializer, InstanceId, Serializer};

    pub(super) fn serialize<S: Serializer>(
        id: &Option<InstanceId>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => serializer.collect_str(id),
            None => serializer.serialize_str(""),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<InstanceId>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(serde::de::Error::custom)
    }
}

mod hex_bytes {
    use super::{Deserialize, Deserializer, ParseIdError, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        hex::decode(text.strip_prefix("0x").unwrap_or(&text))
            .map_err(|error| ParseIdError::Hex {
                kind: "keyProviderInfo",
                reason: error.to_string(),
            })
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcb_status_round_trips_and_revoked_has_no_variant() {
        for (status, text) in TcbStatus::ALL {
            assert_eq!(text.parse::<TcbStatus>().unwrap(), status);
            assert_eq!(status.to_string(), text);
        }
        assert!("Revoked".parse::<TcbStatus>().is_err());
        assert!("uptodate".parse::<TcbStatus>().is_err());
        assert!("".parse::<TcbStatus>().is_err());
    }

    #[test]
    fn json_has_the_webhook_form() {
        let info = BootInfo {
            tee_variant: TeeVariant::Tdx,
            mr_aggregated: MrAggregated::new([1; 32]),
            os_image_hash: OsImageHash::new([2; 32]),
            mr_system: MrSystem::new([3; 32]),
            app_id: AppId::new([4; 20]),
            compose_hash: ComposeHash::new([5; 32]),
            instance_id: None,
            device_id: DeviceId::new([6; 32]),
            key_provider_info: b"{}".to_vec(),
            tcb_status: TcbStatus::UpToDate,
            advisory_ids: vec![],
        };
        let json = serde_json::to_value(&info).unwrap();
        assert_eq!(json["teeVariant"], "dstack-tdx");
        assert_eq!(json["instanceId"], "");
        assert_eq!(json["keyProviderInfo"], "7b7d");
        assert_eq!(json["osImageHash"], "02".repeat(32));
        assert_eq!(serde_json::from_value::<BootInfo>(json).unwrap(), info);
    }

    #[test]
    fn key_provider_payload_is_the_measured_text() {
        let info = KeyProviderInfo::kms(&[0xab]);
        assert_eq!(info.to_payload(), br#"{"name":"kms","id":"ab"}"#);
    }
}
