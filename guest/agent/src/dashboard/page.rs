//! The HTML. It holds no script and needs none: what opens is `details`, what is copied
//! is selected as a whole by the style sheet.

use maud::{DOCTYPE, Markup, html};

use super::glance::{facts, is_unhealthy, mood};
use super::text::{day, hash, moment, shown};
use super::{CertificateView, ContainerView, EventView, EvidenceView, KeysView, View};

/// The tab's icon; inside the page because its policy lets nothing else in.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16' rx='3' fill='%231c5c4c'/%3E%3Cpath d='M4 4.5h8M4 8h8M4 11.5h5' stroke='%23fff' stroke-width='1.4'/%3E%3C/svg%3E";

/// Payloads of events that are longer, in characters, open on demand.
const LONG_PAYLOAD: usize = 256;

pub(super) fn page(view: &View) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (shown_title(&view.app_name)) " in a confidential VM" }
                link rel="icon" href=(ICON);
                link rel="stylesheet" href="/style.css";
            }
            body {
                a.skip href="#main" { "Skip to the details" }
                header.head {
                    (headline(view))
                    (at_a_glance(view))
                }
                main.page #main tabindex="-1" {
                    (section("identity", "Identity", identity(view)))
                    (section("containers", "Containers", containers(view)))
                    (section("keys", "Keys and certificate", keys(&view.keys, &view.certificates)))
                    (section("evidence", "Evidence", match &view.evidence {
                        Some(evidence) => measurements(evidence),
                        None => html! {
                            p.quiet {
                                "The app keeps its measurements private ("
                                code { "public_tcbinfo" } " in its manifest)."
                            }
                        },
                    }))
                }
                footer.foot { (foot(view)) }
            }
        }
    }
}

fn headline(view: &View) -> Markup {
    html! {
        div.brand {
            p.word { "Bylaw" }
            h1 { bdi { (shown(&view.app_name)) } }
        }
        @if view.is_production {
            p.lead {
                "Runs in a confidential VM, closed to whoever operates the machine. "
                "This is what the VM says of itself; its evidence is how you check it."
            }
        } @else {
            p.banner role="note" {
                strong { "Simulated." }
                " The trust anchors of this VM are not a hardware vendor's: it is for "
                "development, and nothing in it is confidential."
            }
        }
    }
}

fn at_a_glance(view: &View) -> Markup {
    html! {
        section.glance aria-label="At a glance" {
            dl {
                @for fact in facts(view) {
                    div class=(fact.mood.class()) {
                        dt { (fact.name) }
                        dd.value { (shown(&fact.value)) }
                        dd.note { (fact.note) }
                    }
                }
            }
        }
    }
}

fn section(id: &str, title: &str, body: Markup) -> Markup {
    html! {
        section.part aria-labelledby=(id) {
            h2 id=(id) { (title) }
            div.body { (body) }
        }
    }
}

fn identity(view: &View) -> Markup {
    html! {
        dl.facts {
            dt { "App" } dd { (hash(&view.app_id)) }
            dt { "Instance" }
            dd {
                @if view.instance_id.is_empty() {
                    span.quiet { "none (" code { "no_instance_id" } " in its manifest)" }
                } @else { (hash(&view.instance_id)) }
            }
            dt { "Compose hash" } dd { (hash(&view.compose_hash)) }
            dt { "OS image" } dd { (hash(&view.os_image_hash)) }
            dt { "Device" } dd { (hash(&view.device_id)) }
            dt { "Trust anchors" } dd { (hash(&view.trust_anchors)) }
        }
    }
}

fn containers(view: &View) -> Markup {
    let list = match &view.containers {
        Ok(list) => list,
        Err(error) => {
            return html! {
                p { "The container engine does not answer." }
                p.quiet { (shown(error)) }
            };
        }
    };
    html! {
        @if list.is_empty() { p.quiet { "None yet." } }
        ul.items { @for one in list { li { (container(one)) } } }
        @if !view.shows_logs && !list.is_empty() {
            p.quiet { "The app keeps its logs private (" code { "public_logs" } " in its manifest)." }
        }
    }
}

fn container(one: &ContainerView) -> Markup {
    html! {
        p.line-up {
            strong { bdi { (shown(&one.name)) } }
            span class={ "tag " (mood(one).class()) } {
                (shown(&one.state)) @if is_unhealthy(one) { ", unhealthy" }
            }
            span.quiet { (shown(&one.status)) }
        }
        p.quiet { code { (shown(&one.image)) } }
        @match &one.log {
            None => {}
            Some(Err(error)) => { p.quiet { "No log: " (shown(error)) } }
            Some(Ok(log)) if log.is_empty() => { p.quiet { "No log yet." } }
            Some(Ok(log)) => {
                details {
                    summary { "Log of " bdi { (shown(&one.name)) } }
                    (sheet("log", &format!("Log of {}", one.name), log))
                    p { a href={ "/logs/" (one.name) "?text&bare&tail=1000" } {
                        "The last 1000 lines of " bdi { (shown(&one.name)) }
                    } }
                }
            }
        }
    }
}

/// Text in a box that scrolls, by keyboard too.
fn sheet(class: &str, label: &str, text: &str) -> Markup {
    html! {
        pre class=(class) role="group" aria-label=(label) tabindex="0" { code { (shown(text)) } }
    }
}

fn keys(keys: &KeysView, chain: &[CertificateView]) -> Markup {
    let giver = match keys.provider.as_str() {
        "kms" => "A KMS that obeys the app's contract",
        "local-sgx" => "The sealing enclave of this machine",
        "tpm" => "The TPM of this machine",
        "none" => "This VM itself: the keys end with it",
        other => other,
    };
    html! {
        dl.facts {
            dt { "Keys from" } dd { (shown(giver)) }
            @if !keys.id.is_empty() { dt { "Provider" } dd { (hash(&keys.id)) } }
            @if let Some(contact) = &keys.contact {
                dt { "Last call" }
                dd {
                    p.line-up {
                        span { (shown(&contact.url)) }
                        @if contact.failure.is_some() { span.tag.bad { "failed" } }
                        @else { span.tag.good { "answered" } }
                        span.quiet { (moment(&contact.at)) }
                    }
                    @if let Some(failure) = &contact.failure { p.reason { (shown(failure)) } }
                }
            }
        }
        h3 { "Certificate chain, the app's own first" }
        @if chain.is_empty() { p.quiet { "The app has no certificate." } }
        ol.items.chain { @for cert in chain { li { (certificate(cert)) } } }
    }
}

fn certificate(cert: &CertificateView) -> Markup {
    html! {
        p.line-up {
            strong { bdi {
                @if cert.subject.is_empty() { "no name" } @else { (shown(&cert.subject)) }
            } }
            @if !cert.usage.is_empty() { code { (shown(&cert.usage)) } }
            @if cert.is_attested { span.tag.good { "carries evidence" } }
            @if !cert.is_valid { span.tag.bad { "expired" } }
        }
        p.quiet { @if cert.is_valid { "until " } @else { "was valid until " } (day(&cert.not_after)) }
    }
}

fn measurements(evidence: &EvidenceView) -> Markup {
    html! {
        p.check {
            "Do not take this page's word for it: get " a href="/evidence.json" { "evidence.json" }
            " and run " code { "bylaw verify evidence.json" } "."
        }
        @if !evidence.registers.is_empty() {
            dl.facts {
                @for (name, text) in &evidence.registers { dt { (name) } dd { (hash(text)) } }
            }
        }
        @if !evidence.quote.is_empty() {
            details {
                summary { "Quote, " (evidence.quote.len() / 2) " bytes" }
                p.quiet {
                    "One click selects all of it. Or "
                    a href={ "data:text/plain," (evidence.quote) } download="quote.hex" {
                        "save it as quote.hex"
                    } "."
                }
                (sheet("quote", "Quote, in hex", &evidence.quote))
            }
        }
        @if !evidence.events.is_empty() { (event_log(&evidence.events)) }
        @if let Some(file) = &evidence.compose_file {
            details {
                summary { "Docker compose file" }
                p.quiet { "As app-compose.json holds it." }
                (sheet("file", "Docker compose file", file))
            }
        }
        details {
            summary { "app-compose.json" }
            p.quiet { "To the byte: its SHA-256 is the compose hash." }
            (sheet("file", "app-compose.json", &evidence.app_compose))
        }
    }
}

fn event_log(events: &[EventView]) -> Markup {
    let mut registers: Vec<&str> = Vec::new();
    for event in events {
        if !registers.contains(&event.register.as_str()) {
            registers.push(&event.register);
        }
    }
    html! {
        details {
            summary { "Event log, " (events.len()) " entries" }
            @for register in registers {
                h3 { (register) }
                ol.events {
                    @for event in events.iter().filter(|event| event.register == register) {
                        li { (entry(event)) }
                    }
                }
            }
        }
    }
}

fn entry(event: &EventView) -> Markup {
    let length = event.payload.chars().count();
    html! {
        p.line-up {
            span { @if event.name.is_empty() { "unnamed" } @else { (shown(&event.name)) } }
            @if (1..=LONG_PAYLOAD).contains(&length) { code { (shown(&event.payload)) } }
        }
        @if length > LONG_PAYLOAD {
            details {
                summary { "Payload, " (length) " characters" }
                p { code { (shown(&event.payload)) } }
            }
        }
        p.quiet { (hash(&event.digest)) }
    }
}

fn foot(view: &View) -> Markup {
    html! {
        p {
            "As of " (moment(&view.at)) "; reload for newer. bylaw-agent " (view.version) "."
        }
        ul.links {
            @if view.evidence.is_some() { li { a href="/evidence.json" { "evidence.json" } } }
            li { a href="/prpc/Worker.Info?json" { "Info as JSON" } }
            @if view.shows_metrics { li { a href="/metrics" { "Metrics" } } }
        }
    }
}

/// A title holds no elements; what hides or reorders is left out of it.
fn shown_title(name: &str) -> String {
    name.chars()
        .filter(|next| !super::text::is_unseen(*next))
        .collect()
}
