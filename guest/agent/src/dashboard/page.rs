//! The HTML.

use maud::{DOCTYPE, Markup, html};

use super::{ContainerView, EvidenceView, KeysView, View};

pub(super) fn page(view: &View) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (view.app_name) " in a confidential VM" }
                link rel="stylesheet" href="/style.css";
            }
            body {
                a.skip href="#main" { "Skip to content" }
                header.head {
                    p.word { "Bylaw" }
                    h1 { (view.app_name) }
                    p.lead {
                        "runs in a confidential VM (" (view.platform) "). "
                        @if view.is_production {
                            "Its operator cannot read it, change it or take its keys; "
                            "what is below can be checked."
                        } @else {
                            "This one is for development: it trusts a software TEE."
                        }
                    }
                    @if !view.is_production {
                        p.banner role="note" {
                            strong { "Simulated. " }
                            "Its trust anchors are not a vendor's, so nothing here is confidential."
                        }
                    }
                }
                main.page #main {
                    (identity(view))
                    (keys(&view.keys, view))
                    (containers(view))
                    @if let Some(evidence) = &view.evidence { (measurements(evidence)) }
                    @else {
                        section aria-labelledby="evidence" {
                            h2 #evidence { "Evidence" }
                            p.quiet { "The app keeps its measurements private (public_tcbinfo)." }
                        }
                    }
                }
                footer.foot {
                    p {
                        "bylaw-agent " (view.version)
                        @if view.evidence.is_some() { " · " a href="/evidence.json" { "evidence.json" } }
                        @if view.shows_metrics { " · " a href="/metrics" { "metrics" } }
                        " · " a href="/prpc/Worker.Info?json" { "Info" }
                    }
                }
            }
        }
    }
}

fn value(name: &str, text: &str) -> Markup {
    html! {
        dt { (name) }
        dd { @if text.is_empty() { span.quiet { "none" } } @else { code { (text) } } }
    }
}

fn identity(view: &View) -> Markup {
    html! {
        section aria-labelledby="identity" {
            h2 #identity { "Identity" }
            dl {
                (value("App", &view.app_id))
                (value("Instance", &view.instance_id))
                (value("Compose hash", &view.compose_hash))
                (value("OS image", &view.os_image_hash))
                (value("Device", &view.device_id))
                (value("Trust anchors", &view.trust_anchors))
            }
        }
    }
}

fn keys(keys: &KeysView, view: &View) -> Markup {
    let giver = match keys.provider.as_str() {
        "kms" => "A KMS that obeys the app's contract",
        "local-sgx" => "The sealing enclave of this machine",
        "tpm" => "The TPM of this machine",
        _ => "This VM itself: the keys end with it",
    };
    html! {
        section aria-labelledby="keys" {
            h2 #keys { "Keys and certificates" }
            dl {
                dt { "Given by" } dd { (giver) }
                @if !keys.id.is_empty() { (value("Provider id", &keys.id)) }
                @if let Some(contact) = &keys.contact {
                    dt { "Last contact" }
                    dd {
                        (contact.url) ", "
                        time datetime=(contact.at) { (contact.at) }
                        " "
                        @match &contact.failure {
                            None => { span.tag.good { "answered" } }
                            Some(failure) => { span.tag.bad { "failed" } p.quiet { (failure) } }
                        }
                    }
                }
            }
            table {
                caption { "Chain of the app's certificate" }
                thead { tr { th scope="col" { "Subject" } th scope="col" { "Usage" } th scope="col" { "Until" } th scope="col" { "Evidence" } } }
                tbody {
                    @for cert in &view.certificates {
                        tr {
                            td { (cert.subject) }
                            td { @if cert.usage.is_empty() { span.quiet { "root" } } @else { code { (cert.usage) } } }
                            td {
                                time datetime=(cert.not_after) { (cert.not_after.split('T').next().unwrap_or_default()) }
                                @if !cert.is_valid { " " span.tag.bad { "expired" } }
                            }
                            td { @if cert.is_attested { span.tag.good { "inside" } } @else { span.quiet { "none" } } }
                        }
                    }
                }
            }
        }
    }
}

fn containers(view: &View) -> Markup {
    html! {
        section aria-labelledby="containers" {
            h2 #containers { "Containers" }
            @match &view.containers {
                Err(error) => { p.quiet { "Not known: " (error) } }
                Ok(list) if list.is_empty() => { p.quiet { "None." } }
                Ok(list) => {
                    ul.containers { @for container in list { (container_item(container)) } }
                }
            }
        }
    }
}

fn container_item(container: &ContainerView) -> Markup {
    let class = if container.state == "running" {
        "tag good"
    } else {
        "tag off"
    };
    html! {
        li {
            p.name {
                strong { (container.name) } " "
                span class=(class) { (container.state) }
            }
            p.quiet { (container.image) " · " (container.status) }
            @match &container.log {
                None => {}
                Some(Err(error)) => { p.quiet { "No log: " (error) } }
                Some(Ok(log)) => {
                    details {
                        summary { "Log" }
                        pre tabindex="0" { @if log.is_empty() { "(nothing yet)" } @else { (log) } }
                        p { a href={ "/logs/" (container.name) "?text&bare&tail=1000" } { "More lines" } }
                    }
                }
            }
        }
    }
}

fn measurements(evidence: &EvidenceView) -> Markup {
    html! {
        section aria-labelledby="evidence" {
            h2 #evidence { "Evidence" }
            p {
                "Check it with " code { "bylaw verify evidence.json" } " after fetching "
                a href="/evidence.json" { "evidence.json" } "."
            }
            @if !evidence.registers.is_empty() {
                dl { @for (name, text) in &evidence.registers { (value(name, text)) } }
            }
            details {
                summary { "Quote, " (evidence.quote.len() / 2) " bytes" }
                p.quiet { "Click it, then copy: the whole quote is selected." }
                pre.quote tabindex="0" { (evidence.quote) }
            }
            @if !evidence.events.is_empty() {
                details {
                    summary { "Event log, " (evidence.events.len()) " entries" }
                    div.scroll tabindex="0" {
                        table {
                            thead { tr { th scope="col" { "Register" } th scope="col" { "Event" } th scope="col" { "Payload" } th scope="col" { "Digest" } } }
                            tbody {
                                @for event in &evidence.events {
                                    tr {
                                        td { (event.register) }
                                        td { (event.name) }
                                        td { code { (event.payload) } }
                                        td { code { (event.digest) } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
            details {
                summary { "app-compose.json" }
                pre tabindex="0" { (evidence.app_compose) }
            }
        }
    }
}
