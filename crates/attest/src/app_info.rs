//! The identity a certificate repeats (attestation reference, section 7).

use bylaw_types::{
    AppId, ComposeHash, DeviceId, InstanceId, MrAggregated, MrSystem, OsImageHash, Sha256Digest,
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// App, instance, machine and measurements of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppInfo {
    /// The app.
    pub app_id: AppId,
    /// Its measured manifest.
    pub compose_hash: ComposeHash,
    /// The instance, where the app has them.
    pub instance_id: Option<InstanceId>,
    /// The machine.
    pub device_id: DeviceId,
    /// Over the system's registers.
    pub mr_system: MrSystem,
    /// Over every register.
    pub mr_aggregated: MrAggregated,
    /// The OS image.
    pub os_image_hash: OsImageHash,
    /// Payload of the `key-provider` event.
    pub key_provider_info: Vec<u8>,
    /// Measured init scripts; `None` where the guest measures none.
    pub init_script_hashes: Option<Vec<Sha256Digest>>,
}

/// The fields in their order on the wire: MessagePack array, bytes as `bin`.
#[derive(Serialize, Deserialize)]
struct Wire(
    ByteBuf,
    ByteBuf,
    ByteBuf,
    ByteBuf,
    ByteBuf,
    ByteBuf,
    ByteBuf,
    ByteBuf,
    Option<Vec<ByteBuf>>,
);

/// Bytes that are not an [`AppInfo`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("app info is malformed: {0}")]
pub struct AppInfoError(String);

impl AppInfo {
    /// The form certificates carry.
    pub fn to_msgpack(&self) -> Vec<u8> {
        let bytes = |value: &[u8]| ByteBuf::from(value.to_vec());
        let wire = Wire(
            bytes(self.app_id.as_ref()),
            bytes(self.compose_hash.as_ref()),
            bytes(self.instance_id.as_ref().map_or(&[][..], AsRef::as_ref)),
            bytes(self.device_id.as_ref()),
            bytes(self.mr_system.as_ref()),
            bytes(self.mr_aggregated.as_ref()),
            bytes(self.os_image_hash.as_ref()),
            bytes(&self.key_provider_info),
            self.init_script_hashes
                .as_ref()
                .map(|hashes| hashes.iter().map(|hash| bytes(hash.as_ref())).collect()),
        );
        // Writing plain data to memory cannot fail.
        rmp_serde::to_vec(&wire).unwrap_or_default()
    }

    /// Parses the form certificates carry.
    ///
    /// # Errors
    /// [`AppInfoError`] for wrong lengths, types or trailing bytes.
    pub fn from_msgpack(bytes: &[u8]) -> Result<Self, AppInfoError> {
        fn fixed<'a, T: TryFrom<&'a [u8], Error = bylaw_types::ParseIdError>>(
            bytes: &'a [u8],
        ) -> Result<T, AppInfoError> {
            T::try_from(bytes).map_err(|error| AppInfoError(error.to_string()))
        }
        let mut rest = bytes;
        let mut reader = rmp_serde::Deserializer::new(&mut rest);
        let wire =
            Wire::deserialize(&mut reader).map_err(|error| AppInfoError(error.to_string()))?;
        drop(reader);
        if !rest.is_empty() {
            return Err(AppInfoError(format!("{} bytes follow it", rest.len())));
        }
        Ok(Self {
            app_id: fixed(&wire.0)?,
            compose_hash: fixed(&wire.1)?,
            instance_id: if wire.2.is_empty() {
                None
            } else {
                Some(fixed(&wire.2)?)
            },
            device_id: fixed(&wire.3)?,
            mr_system: fixed(&wire.4)?,
            mr_aggregated: fixed(&wire.5)?,
            os_image_hash: fixed(&wire.6)?,
            key_provider_info: wire.7.into_vec(),
            init_script_hashes: wire
                .8
                .map(|hashes| hashes.iter().map(|hash| fixed(hash)).collect())
                .transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_round_trips() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!(
            "../../../test/vectors/attest/attestation-vectors.json"
        ))
        .unwrap();
        let bytes = hex::decode(vectors["app_info_msgpack"]["bytes"].as_str().unwrap()).unwrap();
        let info = AppInfo::from_msgpack(&bytes).unwrap();
        assert_eq!(info.instance_id, Some(InstanceId::new([0x33; 20])));
        assert_eq!(info.to_msgpack(), bytes);
        for length in 0..bytes.len() {
            assert!(AppInfo::from_msgpack(&bytes[..length]).is_err());
        }
        assert!(AppInfo::from_msgpack(&[&bytes[..], &[0]].concat()).is_err());
    }
}
