//! What a reader of a log asks for, from the query string.

use std::collections::BTreeSet;

use crate::containers::EngineError;

/// Which part of a log, and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// From this time on, in Unix seconds; 0 is no limit.
    pub since: u64,
    /// Up to this time, in Unix seconds; 0 is no limit.
    pub until: u64,
    /// Go on with what is written from now on.
    pub follow: bool,
    /// Messages as text instead of base64.
    pub text: bool,
    /// Each message starts with its time.
    pub timestamps: bool,
    /// Messages alone, without their channel.
    pub bare: bool,
    /// Keep escape sequences in text.
    pub ansi: bool,
    /// How much of what is there already.
    pub tail: Tail,
}

/// How many of the last lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Every line.
    All,
    /// At most this many.
    Last(u32),
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            since: 0,
            until: 0,
            follow: false,
            text: false,
            timestamps: false,
            bare: false,
            ansi: false,
            tail: Tail::Last(1000),
        }
    }
}

impl LogOptions {
    /// From a query string; parameters of other names are ignored.
    ///
    /// # Errors
    /// [`EngineError::Parameter`] for the first one that cannot be used.
    pub fn parse(query: &str, now_unix: u64) -> Result<Self, EngineError> {
        let mut options = Self::default();
        let mut seen = BTreeSet::new();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let (name, value) = (&*key, &*value);
            match name {
                "since" => options.since = time(name, value, now_unix)?,
                "until" => options.until = time(name, value, now_unix)?,
                "follow" => options.follow = flag(name, value)?,
                "text" => options.text = flag(name, value)?,
                "timestamps" => options.timestamps = flag(name, value)?,
                "bare" => options.bare = flag(name, value)?,
                "ansi" => options.ansi = flag(name, value)?,
                "tail" => options.tail = tail(value)?,
                _ => continue,
            }
            if !seen.insert(name.to_owned()) {
                return Err(refused(name, value, "the only one: give it once"));
            }
        }
        Ok(options)
    }

    /// In the engine's words.
    pub(super) fn to_query(&self) -> String {
        let tail = match self.tail {
            Tail::All => "all".to_owned(),
            Tail::Last(lines) => lines.to_string(),
        };
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("stdout", "true");
        query.append_pair("stderr", "true");
        query.append_pair("follow", &self.follow.to_string());
        query.append_pair("timestamps", &self.timestamps.to_string());
        query.append_pair("since", &self.since.to_string());
        query.append_pair("until", &self.until.to_string());
        query.append_pair("tail", &tail);
        query.finish()
    }
}

fn refused(parameter: &str, value: &str, allowed: &'static str) -> EngineError {
    EngineError::Parameter {
        parameter: parameter.into(),
        value: value.into(),
        allowed,
    }
}

/// Digits alone: `str::parse` would also take a sign.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn time(parameter: &str, value: &str, now_unix: u64) -> Result<u64, EngineError> {
    let ago = |count: &str, unit: u64| {
        let ago = number(count)?.checked_mul(unit)?;
        // Not 0: that is no limit.
        Some(now_unix.saturating_sub(ago).max(1))
    };
    let seconds = match value.split_at_checked(value.len().saturating_sub(1)) {
        Some((count, "s")) => ago(count, 1),
        Some((count, "m")) => ago(count, 60),
        Some((count, "h")) => ago(count, 60 * 60),
        Some((count, "d")) => ago(count, 24 * 60 * 60),
        // The engine's are signed.
        _ => number(value).filter(|seconds| i64::try_from(*seconds).is_ok()),
    };
    seconds.ok_or_else(|| {
        refused(
            parameter,
            value,
            "Unix seconds, or how long ago: a number and s, m, h or d",
        )
    })
}

fn flag(parameter: &str, value: &str) -> Result<bool, EngineError> {
    match value {
        "" | "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(refused(parameter, value, "true or false")),
    }
}

fn tail(value: &str) -> Result<Tail, EngineError> {
    if value == "all" {
        return Ok(Tail::All);
    }
    number(value)
        .and_then(|lines| u32::try_from(lines).ok())
        .map(Tail::Last)
        .ok_or_else(|| refused("tail", value, "a number of lines or all"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn parse(query: &str) -> Result<LogOptions, EngineError> {
        LogOptions::parse(query, NOW)
    }

    #[test]
    fn nothing_asked_is_the_last_thousand_messages_in_base64() {
        let options = parse("").unwrap();
        assert_eq!(options, LogOptions::default());
        assert_eq!(options.tail, Tail::Last(1000));
        assert_eq!(
            options.to_query(),
            "stdout=true&stderr=true&follow=false&timestamps=false&since=0&until=0&tail=1000"
        );
    }

    #[test]
    fn everything_can_be_asked_for() {
        let query =
            "since=10&until=20&follow=true&text=1&timestamps=on&bare&ansi=yes&tail=all&json";
        let options = parse(query).unwrap();
        assert_eq!(
            options,
            LogOptions {
                since: 10,
                until: 20,
                follow: true,
                text: true,
                timestamps: true,
                bare: true,
                ansi: true,
                tail: Tail::All,
            }
        );
        assert_eq!(
            options.to_query(),
            "stdout=true&stderr=true&follow=true&timestamps=true&since=10&until=20&tail=all"
        );
        assert_eq!(
            parse("follow=false&text=0&bare=off").unwrap(),
            LogOptions::default()
        );
        assert_eq!(parse("tail=0").unwrap().tail, Tail::Last(0));
    }

    #[test]
    fn times_are_absolute_or_ago() {
        for (text, seconds) in [
            ("0", 0),
            ("1700000000", 1_700_000_000),
            ("30s", NOW - 30),
            ("0s", NOW),
            ("5m", NOW - 300),
            ("2h", NOW - 7200),
            ("3d", NOW - 259_200),
            // Before 1970 is the beginning; 0 would be no limit.
            ("99999d", 1),
        ] {
            assert_eq!(
                parse(&format!("since={text}")).unwrap().since,
                seconds,
                "{text}"
            );
            assert_eq!(
                parse(&format!("until={text}")).unwrap().until,
                seconds,
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (query, parameter, value) in [
            ("since=", "since", ""),
            ("since=s", "since", "s"),
            ("since=-5", "since", "-5"),
            ("since=%2B5", "since", "+5"),
            ("since=-5s", "since", "-5s"),
            ("since=1w", "since", "1w"),
            ("since=1.5h", "since", "1.5h"),
            ("since=1 h", "since", "1 h"),
            ("since=%D9%A1s", "since", "\u{661}s"),
            ("since=5%C3%A9", "since", "5é"),
            (
                "since=99999999999999999999",
                "since",
                "99999999999999999999",
            ),
            (
                "until=9223372036854775807d",
                "until",
                "9223372036854775807d",
            ),
            ("until=yesterday", "until", "yesterday"),
            ("follow=2", "follow", "2"),
            ("text=TRUE", "text", "TRUE"),
            ("timestamps=t", "timestamps", "t"),
            ("bare=null", "bare", "null"),
            ("ansi=%00", "ansi", "\0"),
            ("tail=", "tail", ""),
            ("tail=-1", "tail", "-1"),
            ("tail=ALL", "tail", "ALL"),
            ("tail=4294967296", "tail", "4294967296"),
            ("tail=5&tail=6", "tail", "6"),
        ] {
            let error = parse(query).unwrap_err();
            assert!(
                matches!(&error, EngineError::Parameter { parameter: p, value: v, .. }
                    if p == parameter && v == value),
                "{query}: {error:?}"
            );
            assert!(error.to_string().starts_with(parameter), "{error}");
        }
    }

    #[test]
    fn a_value_cannot_become_another_parameter_of_the_engine() {
        assert!(parse("tail=5%26follow%3Dtrue").is_err());
        assert!(parse("since=1%0d%0a").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_query_panics(query in ".{0,60}") {
            let _ = parse(&query);
        }
    }
}
