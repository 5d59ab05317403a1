use super::glance::{Mood, facts, mood};
use super::*;

fn sample() -> View {
    View {
        app_name: "ledger".into(),
        app_id: "00112233445566778899aabbccddeeff00112233".into(),
        instance_id: "aa".repeat(20),
        compose_hash: "bb".repeat(32),
        os_image_hash: "cc".repeat(32),
        device_id: "dd".repeat(32),
        platform: "Intel TDX".into(),
        is_production: true,
        trust_anchors: "ee".repeat(32),
        version: "1.0.0".into(),
        at: "2026-11-21T14:05:10Z".into(),
        evidence: Some(EvidenceView {
            registers: vec![("MRTD".into(), "0123456789abcdef".repeat(6))],
            events: vec![EventView {
                register: "RTMR3".into(),
                name: "compose-hash".into(),
                payload: "payload of an event".into(),
                digest: "11".repeat(48),
            }],
            quote: "0400".repeat(100),
            app_compose: r#"{"name":"ledger"}"#.into(),
            compose_file: Some("services: {}\n".into()),
        }),
        keys: KeysView {
            provider: "kms".into(),
            id: "ff".repeat(8),
            contact: Some(ContactView {
                url: "https://kms.example.org".into(),
                at: "2026-11-21T14:03:22Z".into(),
                failure: None,
            }),
        },
        certificates: vec![
            certificate("demo-cert", "2026-12-21T09:00:00Z", true),
            certificate("root", "2036-12-21T09:00:00Z", true),
        ],
        containers: Ok(vec![container("web", "running", "Up 2 hours")]),
        shows_logs: true,
        shows_metrics: true,
    }
}

fn certificate(subject: &str, not_after: &str, is_valid: bool) -> CertificateView {
    CertificateView {
        subject: subject.into(),
        usage: String::new(),
        not_after: not_after.into(),
        is_attested: true,
        is_valid,
    }
}

fn container(name: &str, state: &str, status: &str) -> ContainerView {
    ContainerView {
        name: name.into(),
        image: "example.org/web:1".into(),
        state: state.into(),
        status: status.into(),
        log: Some(Ok("a line of the log\n".into())),
    }
}

/// What is read on the page: text without elements.
fn read(html: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for next in html.chars() {
        match next {
            '<' => inside = true,
            '>' => inside = false,
            next if !inside => text.push(next),
            _ => {}
        }
    }
    text
}

/// The fact of that name: mood, value and note.
fn fact(view: &View, name: &str) -> (Mood, String, String) {
    let found = facts(view).into_iter().find(|fact| fact.name == name);
    let found = found.unwrap();
    (found.mood, found.value, read(&found.note.into_string()))
}

fn is(mood: Mood, value: &str, note: &str) -> (Mood, String, String) {
    (mood, value.to_owned(), note.to_owned())
}

#[test]
fn everything_of_a_public_app_is_on_the_page() {
    let view = sample();
    let text = read(&view.render());
    let evidence = view.evidence.unwrap();
    for wanted in [
        &view.app_id,
        &view.instance_id,
        &view.compose_hash,
        &view.os_image_hash,
        &view.device_id,
        &view.trust_anchors,
        &view.keys.id,
        &evidence.registers[0].1,
        &evidence.events[0].digest,
        &evidence.quote,
        &evidence.compose_file.unwrap(),
    ] {
        assert!(text.contains(wanted.as_str()), "{wanted} is missing");
    }
    for wanted in [
        "compose-hash",
        "payload of an event",
        "a line of the log",
        "https://kms.example.org",
        "{&quot;name&quot;:&quot;ledger&quot;}",
        "until 2036-12-21",
        "As of 2026-11-21 14:05 UTC",
    ] {
        assert!(text.contains(wanted), "{wanted} is missing");
    }
}

#[test]
fn a_private_app_shows_no_evidence_no_logs_and_no_links_to_them() {
    let mut view = sample();
    view.evidence = None;
    view.shows_logs = false;
    view.shows_metrics = false;
    if let Ok(list) = &mut view.containers {
        list[0].log = None;
    }
    let html = view.render();
    for unwanted in [
        "evidence.json",
        "/metrics",
        "/logs/",
        "MRTD",
        "<details",
        "app-compose.json",
    ] {
        assert!(!html.contains(unwanted), "{unwanted} is there");
    }
    assert!(html.contains("public_tcbinfo") && html.contains("public_logs"));
    assert!(html.contains("/prpc/Worker.Info?json"));
    let public = sample().render();
    for link in [
        "href=\"/evidence.json\"",
        "href=\"/metrics\"",
        "href=\"/logs/web?text",
    ] {
        assert!(public.contains(link), "{link} is missing");
    }
}

#[test]
fn text_of_others_stays_text() {
    let evil = "\"'><script>alert(1)</script>";
    let mut view = sample();
    let quiet = elements(&view.render());
    for field in [
        &mut view.app_name,
        &mut view.version,
        &mut view.at,
        &mut view.keys.provider,
        &mut view.platform,
    ] {
        *field = evil.into();
    }
    let contact = view.keys.contact.as_mut().unwrap();
    contact.url = evil.into();
    contact.at = evil.into();
    let evidence = view.evidence.as_mut().unwrap();
    evidence.app_compose = evil.into();
    evidence.compose_file = Some(evil.into());
    evidence.events[0].name = evil.into();
    evidence.events[0].payload = evil.into();
    view.certificates[1].subject = evil.into();
    view.certificates[1].not_after = evil.into();
    let one = &mut view.containers.as_mut().unwrap()[0];
    one.name = evil.into();
    one.status = evil.into();
    one.image = evil.into();
    one.log = Some(Ok(evil.into()));
    let html = view.render();
    assert!(!html.contains("<script"));
    assert!(html.matches("&lt;script&gt;").count() >= 16);
    assert_eq!(elements(&html), quiet, "an element came from data");
}

/// How many there are; without those of times, because what is no time has none.
fn elements(html: &str) -> usize {
    html.matches("</").count() - html.matches("</time>").count()
}

#[test]
fn what_is_no_hash_is_escaped_too() {
    let mut view = sample();
    view.app_id = "<b>1</b>".into();
    view.keys.id = "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}".into();
    let html = view.render();
    assert!(html.contains("&lt;b&gt;1&lt;/b&gt;") && !html.contains("<b>"));
    assert!(html.contains("\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"));
}

#[test]
fn a_hash_is_grouped_by_elements_only() {
    let text = |hex: &str| text::hash(hex).into_string();
    assert_eq!(
        text("0011223344"),
        "<code class=\"hash\" title=\"0011223344\"><span>00112233</span><wbr><span>44</span><wbr></code>"
    );
    assert_eq!(text(""), "<span class=\"quiet\">none</span>");
}

#[test]
fn marks_that_hide_or_reorder_are_shown_by_number() {
    let text = |text: &str| text::shown(text).into_string();
    assert_eq!(
        text("a\u{202e}b\u{0}"),
        "a<span class=\"unseen\">U+202E</span>b<span class=\"unseen\">U+0000</span>"
    );
    // Line breaks, tabs and the joiners that scripts need stay as they are.
    let plain = "one\n\ttwo\u{200d}\u{200c}\u{645}";
    assert_eq!(text(plain), plain);

    let mut view = sample();
    view.app_name = "a\u{202e}b".into();
    let html = view.render();
    assert!(!html.contains('\u{202e}'));
    assert!(html.contains("<title>ab in a confidential VM</title>"));
}

#[test]
fn a_log_keeps_its_first_line_break() {
    let mut view = sample();
    view.containers.as_mut().unwrap()[0].log = Some(Ok("\nsecond line".into()));
    // HTML drops one that follows `<pre>` itself.
    assert!(view.render().contains("<code>\nsecond line</code></pre>"));
}

#[test]
fn long_payloads_open_on_demand() {
    let mut view = sample();
    let folded = "Payload, 2000 characters";
    assert!(!view.render().contains(folded));
    view.evidence.as_mut().unwrap().events[0].payload = "\u{645}".repeat(2000);
    assert!(view.render().contains(folded));
}

#[test]
fn the_facts_of_a_healthy_app() {
    let view = sample();
    assert_eq!(
        fact(&view, "TEE"),
        is(Mood::Good, "Intel TDX", "rooted at the vendor")
    );
    assert_eq!(
        fact(&view, "Evidence"),
        is(Mood::Good, "Attested", "measurements are public")
    );
    assert_eq!(
        fact(&view, "Keys"),
        is(Mood::Good, "From a KMS", "answered 2026-11-21 14:03 UTC")
    );
    assert_eq!(
        fact(&view, "Certificate"),
        is(Mood::Good, "Valid", "until 2026-12-21")
    );
    assert_eq!(
        fact(&view, "Containers"),
        is(Mood::Good, "1 of 1 running", "all of them")
    );
    assert!(!view.render().contains("Simulated"));
}

#[test]
fn a_simulated_tee_is_never_good() {
    let mut view = sample();
    view.is_production = false;
    assert_eq!(fact(&view, "TEE").0, Mood::Wait);
    assert_eq!(fact(&view, "Evidence").0, Mood::Wait);
    let html = view.render();
    assert!(html.contains("nothing in it is confidential"));
    assert!(!html.contains("closed to whoever operates"));
}

#[test]
fn a_certificate_without_evidence_is_not_attested() {
    let mut view = sample();
    for cert in &mut view.certificates {
        cert.is_attested = false;
    }
    assert_eq!(fact(&view, "Evidence").0, Mood::Wait);
    assert!(!view.render().contains("Attested"));
}

#[test]
fn a_kms_that_fails_is_bad_and_says_why() {
    let mut view = sample();
    view.keys.contact.as_mut().unwrap().failure = Some("refused: why it was".into());
    assert_eq!(
        fact(&view, "Keys"),
        is(Mood::Bad, "KMS fails", "last call 2026-11-21 14:03 UTC")
    );
    assert!(view.render().contains("refused: why it was"));
    view.keys.contact = None;
    assert_eq!(fact(&view, "Keys").0, Mood::Quiet);
    for (provider, expected) in [
        ("local-sgx", Mood::Good),
        ("tpm", Mood::Good),
        ("none", Mood::Wait),
        ("other", Mood::Quiet),
    ] {
        view.keys.provider = provider.into();
        assert_eq!(fact(&view, "Keys").0, expected, "{provider}");
    }
}

#[test]
fn a_chain_is_as_good_as_its_worst_certificate() {
    let mut view = sample();
    view.certificates[1] = certificate("root", "2026-11-20T09:00:00Z", false);
    assert_eq!(
        fact(&view, "Certificate"),
        is(Mood::Bad, "Expired", "on 2026-11-20")
    );
    assert!(view.render().contains("was valid until"));
    view.certificates.clear();
    assert_eq!(fact(&view, "Certificate").0, Mood::Bad);
}

#[test]
fn containers_are_judged_by_state_and_status() {
    for (state, status, expected) in [
        ("running", "Up 2 hours", Mood::Good),
        ("running", "Up 2 hours (healthy)", Mood::Good),
        ("running", "Up 2 hours (unhealthy)", Mood::Bad),
        ("exited", "Exited (0) 2 hours ago", Mood::Quiet),
        ("exited", "Exited (137) 2 hours ago", Mood::Bad),
        ("dead", "", Mood::Bad),
        ("restarting", "Restarting (1) 5 seconds ago", Mood::Wait),
        ("paused", "Up 2 hours (Paused)", Mood::Wait),
    ] {
        assert_eq!(
            mood(&container("web", state, status)),
            expected,
            "{state}, {status}"
        );
    }
    let of = |list: Vec<ContainerView>| {
        let mut view = sample();
        view.containers = Ok(list);
        fact(&view, "Containers")
    };
    let web = || container("web", "running", "Up 2 hours");
    let done = || container("migrate", "exited", "Exited (0) 2 hours ago");
    let failed = || container("db", "exited", "Exited (1) 2 hours ago");
    assert_eq!(
        of(vec![web(), done()]),
        is(Mood::Good, "1 of 2 running", "the rest finished")
    );
    assert_eq!(
        of(vec![web(), failed()]),
        is(Mood::Bad, "1 of 2 running", "db needs a look")
    );
    assert_eq!(
        of(vec![failed(), failed()]),
        is(Mood::Bad, "0 of 2 running", "2 need a look")
    );
    assert_eq!(of(vec![]).0, Mood::Quiet);
}

#[test]
fn an_engine_that_does_not_answer_is_said() {
    let mut view = sample();
    view.containers = Err("no such socket".into());
    assert_eq!(
        fact(&view, "Containers"),
        is(Mood::Bad, "Unknown", "the engine does not answer")
    );
    assert!(view.render().contains("no such socket"));
}

#[test]
fn firmware_entries_are_named_by_their_type() {
    let event = |event_type, name: &str| {
        event_view(&TdxEvent {
            imr: 0,
            event_type,
            digest: vec![0x11; 48],
            event: name.into(),
            event_payload: b"BIOS\n".to_vec(),
            version: Default::default(),
            preimage: None,
        })
    };
    let separator = event(4, "");
    assert_eq!(separator.name, "EV_SEPARATOR");
    assert_eq!(separator.register, "RTMR0");
    assert_eq!(separator.digest, "11".repeat(48));
    assert_eq!(
        separator.payload, "42494f530a",
        "control characters make it hex"
    );
    assert_eq!(event(0x8000_0006, "").name, "EV_EFI_GPT_EVENT");
    assert_eq!(event(0x1234, "").name, "type 0x1234");
    assert_eq!(event(4, "its own name").name, "its own name");
}
