//! Replaying an event log.

use bylaw_attest::event_log::{self, RUNTIME_REGISTER, TdxEvent, extend};
use bylaw_types::Register;

/// A log that cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventLogError {
    /// Not a JSON array of events.
    #[error(transparent)]
    Log(#[from] event_log::EventLogError),
    /// There are four registers.
    #[error("event {index} is for register {register}; there are 0 to 3")]
    Register {
        /// Position, from 0.
        index: usize,
        /// As the log says.
        register: u32,
    },
    /// Firmware events come with a digest of 48 bytes; runtime events may leave it out.
    #[error("event {index} has a digest of {length} bytes, not 48")]
    Digest {
        /// Position, from 0.
        index: usize,
        /// As the log says.
        length: usize,
    },
}

/// RTMR0 to RTMR3 after the events of a log, which is JSON text as the agent gives it.
///
/// A runtime event without a digest gets the one of its name and payload. A digest that is
/// there is taken as it is: to learn what was measured, use
/// [`crate::Verifier::verify_evidence`], which believes no log.
///
/// # Errors
/// [`EventLogError`] names the event.
pub fn replay_rtmrs(event_log: &str) -> Result<[Register; 4], EventLogError> {
    let mut registers = [Register::new([0; 48]); 4];
    for (index, event) in event_log::from_json(event_log)?.iter().enumerate() {
        let digest = digest(index, event)?;
        let register = usize::try_from(event.imr)
            .ok()
            .and_then(|number| registers.get_mut(number))
            .ok_or(EventLogError::Register {
                index,
                register: event.imr,
            })?;
        *register = extend(register, &digest);
    }
    Ok(registers)
}

fn digest(index: usize, event: &TdxEvent) -> Result<Vec<u8>, EventLogError> {
    match (event.digest.len(), event.to_runtime_event()) {
        (Register::LEN, _) => Ok(event.digest.clone()),
        (0, Some(runtime)) if event.imr == RUNTIME_REGISTER => {
            Ok(runtime.digest().as_bytes().to_vec())
        }
        (length, _) => Err(EventLogError::Digest { index, length }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_belong_nowhere_are_named() {
        let event = |imr: u32, digest: &str| {
            format!(
                r#"[{{"imr":{imr},"event_type":1,"digest":"{digest}","event":"","event_payload":""}}]"#
            )
        };
        let whole = "ab".repeat(48);
        assert!(replay_rtmrs(&event(0, &whole)).is_ok());
        let register = replay_rtmrs(&event(4, &whole)).unwrap_err();
        assert!(matches!(
            register,
            EventLogError::Register { register: 4, .. }
        ));
        let short = replay_rtmrs(&event(3, "abab")).unwrap_err();
        assert_eq!(
            short,
            EventLogError::Digest {
                index: 0,
                length: 2
            }
        );
        let blank = replay_rtmrs(&event(0, "")).unwrap_err();
        assert_eq!(
            blank,
            EventLogError::Digest {
                index: 0,
                length: 0
            }
        );
        assert!(replay_rtmrs("{}").is_err());
    }
}
