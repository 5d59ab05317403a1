//! The firmware's boot log as the CCEL ACPI table holds it (TCG event log).
//!
//! Crypto-agile form: one TCG 1.2 header event that lists the digest sizes, then
//! TCG 2.0 events. Index 1 to 4 are RTMR0 to RTMR3; index 0 is MRTD and is not
//! extended. Parsed as the guest does: exactly one digest an event.

use crate::event_log::{EventLogError, EventVersion, MAX_EVENTS, TdxEvent, name_acpi_events};

/// Longest single payload that is read, in bytes.
const MAX_PAYLOAD: usize = 1024 * 1024;
const SHA384: u16 = 0x000c;

/// Reads forward, never past the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn sized(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        if length > MAX_PAYLOAD {
            None
        } else {
            self.take(length)
        }
    }
}

/// Parses a CCEL; the unused rest of the table (`0xff` or zeros) ends the log.
///
/// # Errors
/// [`EventLogError::Entry`] names the event that is truncated or has another
/// form, [`EventLogError::TooMany`] a log without end.
pub fn parse(bytes: &[u8]) -> Result<Vec<TdxEvent>, EventLogError> {
    let mut reader = Reader(bytes);
    header(&mut reader).ok_or_else(|| entry(0, "the TCG header is truncated"))?;
    let mut events = Vec::new();
    for index in 1.. {
        if index > MAX_EVENTS {
            return Err(EventLogError::TooMany(index));
        }
        let Some(register) = reader.u32() else { break };
        if register == u32::MAX || (register == 0 && reader.0.iter().all(|byte| *byte == 0)) {
            break;
        }
        let event = body(&mut reader, register).map_err(|reason| entry(index, reason))?;
        events.extend(event);
    }
    name_acpi_events(&mut events);
    Ok(events)
}

fn entry(index: usize, reason: &str) -> EventLogError {
    EventLogError::Entry {
        index,
        reason: reason.to_owned(),
    }
}

fn header(reader: &mut Reader<'_>) -> Option<()> {
    // PCR index, event type, SHA-1 digest, then the sized specification event.
    reader.take(4 + 4 + 20)?;
    reader.sized()?;
    Some(())
}

fn body(reader: &mut Reader<'_>, register: u32) -> Result<Option<TdxEvent>, &'static str> {
    const TRUNCATED: &str = "it is truncated";
    let event_type = reader.u32().ok_or(TRUNCATED)?;
    if reader.u32().ok_or(TRUNCATED)? != 1 {
        return Err("it has not exactly one digest");
    }
    if reader.u16().ok_or(TRUNCATED)? != SHA384 {
        return Err("its digest is not SHA-384");
    }
    let digest = reader.take(48).ok_or(TRUNCATED)?.to_vec();
    let payload = reader
        .sized()
        .ok_or("its payload is truncated or too long")?
        .to_vec();
    Ok(register.checked_sub(1).map(|imr| TdxEvent {
        imr,
        event_type,
        digest,
        event: String::new(),
        event_payload: payload,
        version: EventVersion::V1,
        preimage: None,
    }))
}

#[cfg(test)]
mod tests {
    use bylaw_types::Register;

    use super::*;
    use crate::event_log::extend;

    const DSTACK: &[u8] = include_bytes!("../../../test/vectors/attest/ccel.bin");
    const COS: &[u8] =
        include_bytes!("../../../test/vectors/attest/tdx/gotdx-cos-ccel/ccel_data.dat");
    const COS_QUOTE: &[u8] =
        include_bytes!("../../../test/vectors/attest/tdx/gotdx-cos-ccel/quote.bin");

    fn replay(events: &[TdxEvent], imr: u32) -> Register {
        events
            .iter()
            .filter(|event| event.imr == imr)
            .fold(Register::new([0; 48]), |register, event| {
                extend(&register, &event.digest)
            })
    }

    #[test]
    fn a_real_log_replays_to_its_known_registers() {
        let events = parse(DSTACK).unwrap();
        assert_eq!(events.len(), 18);
        assert_eq!(
            replay(&events, 0).to_string(),
            "274c2344116db7c663470693b5ba62b8621eac28cb41d2f816ddf188f9f423f900a1c44d32386fd3c993dc814e62af9d"
        );
        assert_eq!(
            replay(&events, 1).to_string(),
            "bdcf4ee0f7fdfe7c73fbb19ded73193aee23a6726b86d3b282ea097cf4c9ed7a0db21b5c1ccd513e410d90e310836b26"
        );
    }

    #[test]
    fn a_real_log_replays_to_the_registers_of_its_quote() {
        let events = parse(COS).unwrap();
        let report = crate::tdx::report(COS_QUOTE).unwrap();
        for imr in 0..3 {
            let register = report.rtmr[usize::try_from(imr).unwrap()];
            assert_eq!(replay(&events, imr), register, "RTMR{imr}");
        }
    }

    #[test]
    fn truncated_logs_never_panic_and_huge_lengths_are_refused() {
        for length in 0..2000 {
            let _ = parse(&DSTACK[..length]);
        }
        let mut huge = DSTACK.to_vec();
        huge[28..32].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(parse(&huge).is_err());
    }
}
