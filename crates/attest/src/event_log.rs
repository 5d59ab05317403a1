//! Event logs: what was extended into the registers, and its replay.
//!
//! Two views of one log exist (attestation reference, sections 4 and 5): the
//! *runtime events* with name and payload, extended into RTMR3, and the *TDX
//! event log*, which also holds the firmware's entries for RTMR0 to RTMR2.

use bylaw_types::Register;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha384};

/// Event type of every runtime event.
pub const RUNTIME_EVENT_TYPE: u32 = 0x0800_0001;
/// Register (0-based) that runtime events go to.
pub const RUNTIME_REGISTER: u32 = 3;
/// After this event the boot-time measurement is complete.
pub const BOOT_MR_DONE: &str = "boot-mr-done";
/// After this event only the app extends, and no field is looked up any more.
pub const SYSTEM_READY: &str = "system-ready";
/// Names of the three RTMR0 entries that hold ACPI digests.
pub const ACPI_EVENTS: [&str; 3] = ["acpi-loader", "acpi-rsdp", "acpi-tables"];
/// Payload of those entries.
const ACPI_PAYLOAD: &[u8] = b"ACPI DATA";
const ACPI_EVENT_TYPE: u32 = 10;
/// Most events a log may have.
pub const MAX_EVENTS: usize = 4096;

/// How the digest of a runtime event is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventVersion {
    /// SHA-384 over type, name and payload joined by colons.
    #[default]
    V1,
    /// SHA-384 over canonical JSON (RFC 8785).
    V2,
}

impl EventVersion {
    /// As `event_log_version` of a manifest names it, which is 1 or 2.
    pub fn of_manifest(number: u8) -> Self {
        if number == 2 { Self::V2 } else { Self::V1 }
    }

    /// 1 or 2, as logs spell it.
    pub fn number(self) -> u32 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }
}

/// Serde form of [`EventVersion`]: omitted when 1.
pub(crate) mod version_field {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::EventVersion;

    pub(crate) fn is_v1(version: &EventVersion) -> bool {
        *version == EventVersion::V1
    }

    pub(crate) fn serialize<S: Serializer>(
        version: &EventVersion,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        s.serialize_u32(version.number())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<EventVersion, D::Error> {
        match u32::deserialize(d)? {
            1 => Ok(EventVersion::V1),
            2 => Ok(EventVersion::V2),
            other => Err(D::Error::custom(format!(
                "event version {other} is not 1 or 2"
            ))),
        }
    }
}

/// One event extended into RTMR3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeEvent {
    /// Name, e.g. `compose-hash`.
    pub event: String,
    /// Bytes whose meaning depends on the name.
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
    /// Form of the digest.
    #[serde(
        default,
        with = "version_field",
        skip_serializing_if = "version_field::is_v1"
    )]
    pub version: EventVersion,
}

impl RuntimeEvent {
    /// A named event.
    pub fn new(event: &str, payload: impl Into<Vec<u8>>, version: EventVersion) -> Self {
        Self {
            event: event.to_owned(),
            payload: payload.into(),
            version,
        }
    }

    /// The bytes that are hashed.
    pub fn preimage(&self) -> Vec<u8> {
        match self.version {
            EventVersion::V1 => [
                &RUNTIME_EVENT_TYPE.to_le_bytes()[..],
                b":",
                self.event.as_bytes(),
                b":",
                &self.payload,
            ]
            .concat(),
            EventVersion::V2 => {
                let value = serde_json::json!({
                    "name": self.event,
                    "payload": hex::encode(&self.payload),
                    "type": RUNTIME_EVENT_TYPE,
                });
                // Strings and a small integer always canonicalise.
                serde_json_canonicalizer::to_vec(&value).unwrap_or_default()
            }
        }
    }

    /// SHA-384 of the preimage: what RTMR3 is extended with.
    pub fn digest(&self) -> Register {
        Register::new(Sha384::digest(self.preimage()).into())
    }

    /// The same event as an entry of the TDX event log, complete.
    pub fn to_tdx_event(&self) -> TdxEvent {
        TdxEvent {
            imr: RUNTIME_REGISTER,
            event_type: RUNTIME_EVENT_TYPE,
            digest: self.digest().as_bytes().to_vec(),
            event: self.event.clone(),
            event_payload: self.payload.clone(),
            version: self.version,
            preimage: (self.version == EventVersion::V2).then(|| hex::encode(self.preimage())),
        }
    }
}

/// Extends `register` with `digest`: SHA-384(register || digest).
pub fn extend(register: &Register, digest: &[u8]) -> Register {
    Register::new(
        Sha384::new()
            .chain_update(register)
            .chain_update(digest)
            .finalize()
            .into(),
    )
}

/// RTMR3 after `events`.
pub fn replay<'a>(events: impl IntoIterator<Item = &'a RuntimeEvent>) -> Register {
    events
        .into_iter()
        .fold(Register::new([0; 48]), |register, event| {
            extend(&register, event.digest().as_bytes())
        })
}

/// The events up to and including `boot-mr-done`; all of them if there is none.
pub fn boot_time(events: &[RuntimeEvent]) -> &[RuntimeEvent] {
    let end = events
        .iter()
        .position(|event| event.event == BOOT_MR_DONE)
        .map_or(events.len(), |position| position + 1);
    events.get(..end).unwrap_or(events)
}

/// Payload of the first event called `name` before `system-ready`.
pub fn field<'a>(events: &'a [RuntimeEvent], name: &str) -> Option<&'a [u8]> {
    system_events(events)
        .find(|event| event.event == name)
        .map(|event| event.payload.as_slice())
}

/// Payloads of every event called `name` before `system-ready`.
pub fn fields<'a>(events: &'a [RuntimeEvent], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    system_events(events)
        .filter(move |event| event.event == name)
        .map(|event| &event.payload[..])
}

fn system_events(events: &[RuntimeEvent]) -> impl Iterator<Item = &RuntimeEvent> {
    events
        .iter()
        .take_while(|event| event.event != SYSTEM_READY)
}

/// One entry of the TDX event log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TdxEvent {
    /// Register, 0-based (0 to 3).
    pub imr: u32,
    /// TCG event type, or [`RUNTIME_EVENT_TYPE`].
    pub event_type: u32,
    /// 48 bytes; empty where a form leaves it out.
    #[serde(with = "serde_bytes")]
    pub digest: Vec<u8>,
    /// Name; empty for most firmware entries.
    pub event: String,
    /// Payload; empty where a form leaves it out.
    #[serde(with = "serde_bytes")]
    pub event_payload: Vec<u8>,
    /// Form of the digest of a runtime event.
    #[serde(
        default,
        with = "version_field",
        skip_serializing_if = "version_field::is_v1"
    )]
    pub version: EventVersion,
    /// Hex of the hashed bytes, for V2 events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preimage: Option<String>,
}

impl TdxEvent {
    /// Whether this is one of the three named ACPI entries of RTMR0.
    pub fn is_acpi(&self) -> bool {
        self.imr == 0 && ACPI_EVENTS.contains(&self.event.as_str())
    }

    /// The runtime event this entry describes, when it is one.
    pub fn to_runtime_event(&self) -> Option<RuntimeEvent> {
        (self.imr == RUNTIME_REGISTER).then(|| RuntimeEvent {
            event: self.event.clone(),
            payload: self.event_payload.clone(),
            version: self.version,
        })
    }
}

/// Names the three ACPI entries of RTMR0 by their position.
pub fn name_acpi_events(events: &mut [TdxEvent]) {
    let unnamed = events.iter_mut().filter(|event| {
        event.imr == 0 && event.event_type == ACPI_EVENT_TYPE && event.event_payload == ACPI_PAYLOAD
    });
    for (event, name) in unnamed.zip(ACPI_EVENTS) {
        name.clone_into(&mut event.event);
    }
}

/// The form certificates carry: the ACPI entries and the RTMR3 entries without digest.
pub fn stripped(events: &[TdxEvent]) -> Vec<TdxEvent> {
    events
        .iter()
        .filter(|event| event.is_acpi() || event.imr == RUNTIME_REGISTER)
        .cloned()
        .map(|mut event| {
            if event.imr == RUNTIME_REGISTER {
                event.digest.clear();
                event.preimage = None;
            }
            event
        })
        .collect()
}

/// One entry in the JSON form: hex for bytes.
#[derive(Debug, Serialize, Deserialize)]
struct JsonEvent {
    imr: u32,
    event_type: u32,
    digest: String,
    event: String,
    event_payload: String,
    #[serde(
        default,
        with = "version_field",
        skip_serializing_if = "version_field::is_v1"
    )]
    version: EventVersion,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preimage: Option<String>,
}

/// A log that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventLogError {
    /// Not a JSON array of events.
    #[error("event log is not valid JSON: {0}")]
    Json(String),
    /// A hex field does not decode, or a digest is not 48 bytes.
    #[error("event log entry {index}: {reason}")]
    Entry {
        /// Position, from 0.
        index: usize,
        /// What is wrong.
        reason: String,
    },
    /// More than [`MAX_EVENTS`].
    #[error("event log has {0} entries; the limit is {MAX_EVENTS}")]
    TooMany(usize),
}

/// Parses the JSON form of a TDX event log.
///
/// # Errors
/// [`EventLogError`] names the entry.
pub fn from_json(text: &str) -> Result<Vec<TdxEvent>, EventLogError> {
    let events: Vec<JsonEvent> =
        serde_json::from_str(text).map_err(|error| EventLogError::Json(error.to_string()))?;
    if events.len() > MAX_EVENTS {
        return Err(EventLogError::TooMany(events.len()));
    }
    events
        .into_iter()
        .enumerate()
        .map(|(index, event)| {
            let decode = |name: &str, text: &str| {
                hex::decode(text).map_err(|error| EventLogError::Entry {
                    index,
                    reason: format!("{name} is not hexadecimal: {error}"),
                })
            };
            Ok(TdxEvent {
                imr: event.imr,
                event_type: event.event_type,
                digest: decode("digest", &event.digest)?,
                event_payload: decode("event_payload", &event.event_payload)?,
                event: event.event,
                version: event.version,
                preimage: event.preimage,
            })
        })
        .collect()
}

/// The JSON form with nothing left out (`Info`, `Attest`).
pub fn to_json(events: &[TdxEvent]) -> serde_json::Value {
    json(events, |_| true)
}

/// The JSON form of `GetQuote`: firmware entries lose their payload, except the
/// ACPI marker. Runtime entries keep their digest, which published SDKs replay.
pub fn to_get_quote_json(events: &[TdxEvent]) -> serde_json::Value {
    json(events, |event| {
        event.imr == RUNTIME_REGISTER || event.is_acpi()
    })
}

fn json(events: &[TdxEvent], keep_payload: impl Fn(&TdxEvent) -> bool) -> serde_json::Value {
    events
        .iter()
        .map(|event| {
            let payload = if keep_payload(event) {
                &event.event_payload[..]
            } else {
                &[]
            };
            let form = JsonEvent {
                imr: event.imr,
                event_type: event.event_type,
                digest: hex::encode(&event.digest),
                event: event.event.clone(),
                event_payload: hex::encode(payload),
                version: event.version,
                preimage: event.preimage.clone(),
            };
            // A struct of strings and integers always serialises.
            serde_json::to_value(form).unwrap_or_default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors() -> serde_json::Value {
        serde_json::from_str(include_str!(
            "../../../test/vectors/attest/attestation-vectors.json"
        ))
        .unwrap()
    }

    fn vector_events(version: EventVersion) -> Vec<RuntimeEvent> {
        vectors()["runtime_events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| {
                RuntimeEvent::new(
                    event["event"].as_str().unwrap(),
                    hex::decode(event["payload"].as_str().unwrap()).unwrap(),
                    version,
                )
            })
            .collect()
    }

    #[test]
    fn digests_of_both_versions_match_the_vectors() {
        let vectors = vectors();
        for (version, key) in [
            (EventVersion::V1, "v1_sha384"),
            (EventVersion::V2, "v2_sha384"),
        ] {
            let expected = vectors["runtime_events"].as_array().unwrap();
            for (event, expected) in vector_events(version).iter().zip(expected) {
                assert_eq!(event.digest().to_string(), expected[key].as_str().unwrap());
                if version == EventVersion::V2 {
                    assert_eq!(
                        event.preimage(),
                        expected["v2_preimage"].as_str().unwrap().as_bytes()
                    );
                }
            }
        }
    }

    #[test]
    fn replay_matches_the_vectors() {
        let replayed = &vectors()["replay"];
        let one = vector_events(EventVersion::V1);
        assert_eq!(
            replay(&one).to_string(),
            replayed["v1_rtmr3_all"].as_str().unwrap()
        );
        assert_eq!(
            replay(boot_time(&one)).to_string(),
            replayed["v1_rtmr3_to_boot_mr_done"].as_str().unwrap()
        );
        let two = vector_events(EventVersion::V2);
        assert_eq!(
            replay(&two).to_string(),
            replayed["v2_rtmr3_all"].as_str().unwrap()
        );
    }

    #[test]
    fn fields_after_system_ready_are_the_apps_own_and_ignored() {
        let v1 = EventVersion::V1;
        let events = [
            RuntimeEvent::new(SYSTEM_READY, [], v1),
            RuntimeEvent::new("compose-hash", [1; 32], v1),
        ];
        assert_eq!(field(&events, "compose-hash"), None);
        assert_eq!(
            field(&[events[1].clone()], "compose-hash"),
            Some(&[1; 32][..])
        );
    }

    #[test]
    fn the_first_of_a_name_counts() {
        let events = [1, 2].map(|byte| RuntimeEvent::new("app-id", [byte; 20], EventVersion::V1));
        assert_eq!(field(&events, "app-id"), Some(&[1; 20][..]));
    }

    #[test]
    fn json_round_trips_and_bad_entries_are_named() {
        let events = vec![RuntimeEvent::new("a", [1, 2], EventVersion::V2).to_tdx_event()];
        assert_eq!(from_json(&to_json(&events).to_string()).unwrap(), events);
        for (text, part) in [
            ("{}", "JSON"),
            (
                r#"[{"imr":3,"event_type":1,"digest":"zz","event":"","event_payload":""}]"#,
                "entry 0",
            ),
            (
                r#"[{"imr":3,"event_type":1,"digest":"","event":"","event_payload":"","version":3}]"#,
                "version",
            ),
        ] {
            let error = from_json(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
