//! Values as people read them.

use maud::{Markup, html};

/// Digits of a hash between two gaps.
const GROUP: usize = 8;

/// Hex in groups. The gaps are the style sheet's, so a copy has none; the title is for
/// programs that look for the whole in the source.
pub(super) fn hash(hex: &str) -> Markup {
    if !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return html! { code { (shown(hex)) } };
    }
    html! {
        @if hex.is_empty() { span.quiet { "none" } }
        @else {
            code.hash title=(hex) {
                @for group in groups(hex) { span { (group) } wbr; }
            }
        }
    }
}

fn groups(mut ascii: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (group, rest) = ascii.split_at(ascii.len().min(GROUP));
        ascii = rest;
        (!group.is_empty()).then_some(group)
    })
}

/// Text of others. What would hide or reorder text is shown by its number instead.
pub(super) fn shown(text: &str) -> Markup {
    html! {
        @for run in text.split_inclusive(is_unseen) {
            @match run.chars().next_back().filter(|last| is_unseen(*last)) {
                None => { (run) }
                Some(last) => {
                    (run.strip_suffix(last).unwrap_or_default())
                    span.unseen { "U+" (format!("{:04X}", u32::from(last))) }
                }
            }
        }
    }
}

/// Controls and marks that change what other text looks like. Joiners, which several
/// scripts need, are not among them.
pub(super) fn is_unseen(next: char) -> bool {
    match next {
        '\n' | '\t' | '\r' => false,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}' => {
            true
        }
        '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{e0000}'..='\u{e007f}' => true,
        _ => next.is_control(),
    }
}

/// To the minute, of RFC 3339 in UTC.
pub(super) fn moment(rfc3339: &str) -> Markup {
    time(rfc3339, |day, clock| {
        format!("{day} {} UTC", clock.get(..5).unwrap_or(clock))
    })
}

/// To the day, of RFC 3339 in UTC.
pub(super) fn day(rfc3339: &str) -> Markup {
    time(rfc3339, |day, _| day.to_owned())
}

/// What is no time is shown as it is.
fn time(rfc3339: &str, form: impl Fn(&str, &str) -> String) -> Markup {
    let is_time = humantime::parse_rfc3339(rfc3339).is_ok();
    match rfc3339.split_once('T').filter(|_| is_time) {
        Some((day, clock)) => html! { time datetime=(rfc3339) { (form(day, clock)) } },
        None => shown(rfc3339),
    }
}
