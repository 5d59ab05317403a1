//! The state of the app in five facts, for the top of the page.

use maud::{Markup, html};

use super::text::{day, moment, shown};
use super::{CertificateView, ContainerView, View};

/// What a fact means for whoever looks. The words say it too: colour alone never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Good,
    /// Neither good nor bad.
    Quiet,
    /// Not what one wants in production.
    Wait,
    Bad,
}

impl Mood {
    /// As the style sheet names it.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Quiet => "off",
            Self::Wait => "wait",
            Self::Bad => "bad",
        }
    }
}

/// One fact.
pub(super) struct Fact {
    pub(super) name: &'static str,
    pub(super) mood: Mood,
    pub(super) value: String,
    pub(super) note: Markup,
}

impl Fact {
    fn new(name: &'static str, mood: Mood, value: impl Into<String>, note: Markup) -> Self {
        Self {
            name,
            mood,
            value: value.into(),
            note,
        }
    }
}

pub(super) fn facts(view: &View) -> [Fact; 5] {
    [
        tee(view),
        evidence(view),
        keys(view),
        certificate(&view.certificates),
        containers(view),
    ]
}

fn tee(view: &View) -> Fact {
    let (mood, note) = if view.is_production {
        (Mood::Good, "rooted at the vendor")
    } else {
        (Mood::Wait, "simulated in software")
    };
    Fact::new("TEE", mood, &view.platform, html! { (note) })
}

fn evidence(view: &View) -> Fact {
    let is_attested = view.certificates.iter().any(|cert| cert.is_attested);
    let value = match (is_attested, view.is_production) {
        (true, true) => "Attested",
        (true, false) => "Simulated",
        (false, _) => "Not in the certificate",
    };
    let mood = match (is_attested, view.is_production) {
        (true, true) => Mood::Good,
        _ => Mood::Wait,
    };
    let note = match view.evidence {
        Some(_) => "measurements are public",
        None => "measurements are private",
    };
    Fact::new("Evidence", mood, value, html! { (note) })
}

fn keys(view: &View) -> Fact {
    let fact = |mood, value: &str, note| Fact::new("Keys", mood, value, note);
    match view.keys.provider.as_str() {
        "kms" => match &view.keys.contact {
            None => fact(
                Mood::Quiet,
                "From a KMS",
                html! { "no call since the start" },
            ),
            Some(contact) => {
                let at = moment(&contact.at);
                match contact.failure {
                    None => fact(Mood::Good, "From a KMS", html! { "answered " (at) }),
                    Some(_) => fact(Mood::Bad, "KMS fails", html! { "last call " (at) }),
                }
            }
        },
        "local-sgx" => fact(
            Mood::Good,
            "Sealed",
            html! { "by this machine's SGX enclave" },
        ),
        "tpm" => fact(Mood::Good, "From a TPM", html! { "of this machine" }),
        "none" => fact(Mood::Wait, "Own keys", html! { "they end with this VM" }),
        other => fact(Mood::Quiet, other, html! { "unknown provider" }),
    }
}

/// A chain lasts as long as its first certificate to expire.
fn certificate(chain: &[CertificateView]) -> Fact {
    let fact = |mood, value: &str, note| Fact::new("Certificate", mood, value, note);
    let first = chain.iter().min_by(|a, b| a.not_after.cmp(&b.not_after));
    let Some(first) = first else {
        return fact(Mood::Bad, "None", html! { "the app has no certificate" });
    };
    let until = day(&first.not_after);
    if chain.iter().all(|cert| cert.is_valid) {
        fact(Mood::Good, "Valid", html! { "until " (until) })
    } else {
        fact(Mood::Bad, "Expired", html! { "on " (until) })
    }
}

fn containers(view: &View) -> Fact {
    let fact = |mood, value: String, note| Fact::new("Containers", mood, value, note);
    let list = match &view.containers {
        Ok(list) => list,
        Err(_) => {
            let note = html! { "the engine does not answer" };
            return fact(Mood::Bad, "Unknown".to_owned(), note);
        }
    };
    let running = list.iter().filter(|one| one.state == "running").count();
    let value = format!("{running} of {} running", list.len());
    let troubled = list
        .iter()
        .filter(|one| matches!(mood(one), Mood::Bad | Mood::Wait));
    match troubled.collect::<Vec<_>>().as_slice() {
        [] if list.is_empty() => fact(Mood::Quiet, "None".to_owned(), html! { "nothing runs yet" }),
        [] if running == list.len() => fact(Mood::Good, value, html! { "all of them" }),
        [] => fact(Mood::Good, value, html! { "the rest finished" }),
        [one] => fact(
            mood(one),
            value,
            html! { (shown(&one.name)) " needs a look" },
        ),
        more => fact(Mood::Bad, value, html! { (more.len()) " need a look" }),
    }
}

/// Of a container, by the engine's words for its state.
pub(super) fn mood(container: &ContainerView) -> Mood {
    match container.state.as_str() {
        "running" if is_unhealthy(container) => Mood::Bad,
        "running" => Mood::Good,
        "exited" if container.status.starts_with("Exited (0)") => Mood::Quiet,
        "exited" | "dead" => Mood::Bad,
        _ => Mood::Wait,
    }
}

/// Its own health check fails.
pub(super) fn is_unhealthy(container: &ContainerView) -> bool {
    container.status.contains("(unhealthy)")
}
