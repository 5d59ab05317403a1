use proptest::prelude::*;

use super::*;
use crate::fake_kernel::put;

fn event(name: &str, payload: &[u8], version: EventVersion) -> RuntimeEvent {
    RuntimeEvent::new(name, payload, version)
}

fn roots(dir: &Path) -> Roots {
    Roots::under(dir)
}

#[test]
fn lines_have_the_form_that_dstack_writes() {
    assert_eq!(
        to_line(&event("app-id", &[1, 2, 3], EventVersion::V1)),
        "{\"event\":\"app-id\",\"payload\":\"AQID\"}\n"
    );
    assert_eq!(
        to_line(&event("a", b"", EventVersion::V2)),
        "{\"event\":\"a\",\"payload\":\"\",\"version\":2}\n"
    );
}

#[test]
fn bad_lines_are_named() {
    let good = r#"{"event":"a","payload":""}"#;
    for (bad, part) in [
        ("", "line 2"),
        ("{", "line 2"),
        ("[]", "line 2"),
        (r#"{"event":"a"}"#, "payload"),
        (r#"{"event":"a","payload":"AQ"}"#, "base64"),
        (r#"{"event":"a","payload":"","version":3}"#, "version 3"),
        (r#"{"event":"a","payload":"","version":null}"#, "line 2"),
        (r#"{"event":"a","payload":"","digest":""}"#, "digest"),
        (r#"{"event":"a","event":"b","payload":""}"#, "duplicate"),
    ] {
        let text = format!("{good}\n{bad}\n");
        let error = parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains(part), "{error}");
    }
    assert!(parse(b"\n").is_err());
    assert!(parse(b"\xff").is_err());
    let many = format!("{good}\n").repeat(MAX_EVENTS);
    assert_eq!(parse(many.as_bytes()).unwrap().len(), MAX_EVENTS);
    let more = format!("{many}{good}");
    assert_eq!(parse(more.as_bytes()), Err(LogError::TooMany));
    assert_eq!(parse(&vec![b'{'; MAX_LOG + 1]), Err(LogError::TooLong));
}

#[test]
fn appending_completes_a_line_without_its_newline() {
    let dir = tempfile::tempdir().unwrap();
    let roots = roots(dir.path());
    let path = roots.log.join("runtime_events.log");
    put(&path, br#"{"event":"a","payload":""}"#);
    let mut log = Log::exclusive(&roots).unwrap();
    log.append(&event("b", b"x", EventVersion::V2)).unwrap();
    log.append(&event("c", b"", EventVersion::V1)).unwrap();
    let events = log.events().unwrap();
    assert_eq!(
        events,
        [
            event("a", b"", EventVersion::V1),
            event("b", b"x", EventVersion::V2),
            event("c", b"", EventVersion::V1),
        ]
    );
    assert_eq!(parse(&std::fs::read(path).unwrap()).unwrap(), events);
}

#[test]
fn the_lock_keeps_others_out() {
    let dir = tempfile::tempdir().unwrap();
    let roots = roots(dir.path());
    let path = roots.log.join("runtime_events.log");
    let other = |held: Log| {
        let file = File::open(&path).unwrap();
        let outcome = (file.try_lock_shared().is_ok(), file.try_lock().is_ok());
        drop(held);
        outcome
    };
    assert_eq!(other(Log::exclusive(&roots).unwrap()), (false, false));
    assert_eq!(other(Log::shared(&roots).unwrap()), (true, false));
    File::open(&path).unwrap().try_lock().unwrap();
}

#[test]
fn the_event_version_is_fixed_once() {
    let dir = tempfile::tempdir().unwrap();
    let roots = roots(dir.path());
    assert_eq!(event_version(&roots).unwrap(), EventVersion::V1);
    fix_event_version(&roots, EventVersion::V2).unwrap();
    fix_event_version(&roots, EventVersion::V2).unwrap();
    assert_eq!(event_version(&roots).unwrap(), EventVersion::V2);
    let error = fix_event_version(&roots, EventVersion::V1).unwrap_err();
    assert!(
        matches!(
            error,
            PlatformError::VersionFixed {
                fixed: 2,
                asked: 1,
                ..
            }
        ),
        "{error}"
    );
    for bad in ["", "3", "two"] {
        put(&version_path(&roots), bad.as_bytes());
        let error = event_version(&roots).unwrap_err();
        assert!(matches!(error, PlatformError::Attribute { .. }), "{error}");
    }
}

#[test]
fn a_log_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("run"), b"a file");
    let error = Log::shared(&roots(dir.path())).unwrap_err().to_string();
    assert!(error.contains("run/log/dstack"), "{error}");
}

fn any_event() -> impl Strategy<Value = RuntimeEvent> {
    let payload = proptest::collection::vec(any::<u8>(), 0..80);
    (any::<String>(), payload, any::<bool>()).prop_map(|(name, payload, second)| {
        let version = if second {
            EventVersion::V2
        } else {
            EventVersion::V1
        };
        RuntimeEvent::new(&name, payload, version)
    })
}

fn written(events: &[RuntimeEvent]) -> String {
    events.iter().map(to_line).collect()
}

proptest! {
    #[test]
    fn what_is_written_is_read(events in proptest::collection::vec(any_event(), 0..12)) {
        prop_assert_eq!(parse(written(&events).as_bytes()).unwrap(), events);
    }

    #[test]
    fn a_torn_log_never_shows_an_event_that_was_not_written(
        events in proptest::collection::vec(any_event(), 0..6),
        cut in any::<proptest::sample::Index>(),
    ) {
        let log = written(&events);
        let torn = &log.as_bytes()[..cut.index(log.len() + 1)];
        if let Ok(read) = parse(torn) {
            prop_assert!(events.starts_with(&read));
        } else {
            prop_assert!(!torn.ends_with(b"\n"), "whole lines always parse");
        }
    }

    #[test]
    fn a_flipped_bit_is_refused_or_shows_in_the_replay(
        events in proptest::collection::vec(any_event(), 1..6),
        at in any::<proptest::sample::Index>(),
        bit in 0..8u8,
    ) {
        let mut log = written(&events).into_bytes();
        let index = at.index(log.len());
        log[index] ^= 1 << bit;
        if let Ok(read) = parse(&log) {
            let replay = bylaw_attest::event_log::replay;
            prop_assert!(read == events || replay(&read) != replay(&events));
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(events) = parse(&bytes) {
            prop_assert_eq!(parse(written(&events).as_bytes()).unwrap(), events);
        }
    }
}
