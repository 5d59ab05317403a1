//! Manifests side by side, as people read them.

use serde::Serialize;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

/// One line of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiffLine {
    /// `" "` same, `"-"` only before, `"+"` only after, `"…"` left out.
    pub tag: &'static str,
    /// Without its end.
    pub text: String,
}

/// A manifest as lines: one field a line, and texts of several lines as those lines.
/// Bytes that are no JSON object are shown as they are.
pub fn readable(raw: &str) -> String {
    match serde_json::from_str::<Value>(raw) {
        Ok(Value::Object(fields)) => {
            let mut text = String::new();
            for (name, value) in &fields {
                field(&mut text, 0, name, value);
            }
            text
        }
        _ => raw.to_owned(),
    }
}

fn field(out: &mut String, depth: usize, name: &str, value: &Value) {
    let indent = "  ".repeat(depth);
    match value {
        Value::String(text) if text.contains('\n') => {
            out.push_str(&format!("{indent}{name}:\n"));
            for line in text.lines() {
                out.push_str(&format!("{indent}  | {}\n", visible(line)));
            }
        }
        Value::Object(fields) if !fields.is_empty() => {
            out.push_str(&format!("{indent}{name}:\n"));
            for (name, value) in fields {
                field(out, depth + 1, name, value);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            out.push_str(&format!("{indent}{name}:\n"));
            for (index, item) in items.iter().enumerate() {
                field(out, depth + 1, &format!("{}", index + 1), item);
            }
        }
        other => out.push_str(&format!(
            "{indent}{name}: {}\n",
            visible(&other.to_string())
        )),
    }
}

/// Characters that change how text around them looks are written as escapes: a
/// reviewer must see what is there.
fn visible(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let hides = c.is_control() && c != '\t'
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
            if hides {
                c.escape_unicode().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect()
}

/// Two manifests compared, with three lines around every change.
pub fn diff(before: &str, after: &str) -> Vec<DiffLine> {
    let (before, after) = (readable(before), readable(after));
    let compared = TextDiff::from_lines(&before, &after);
    let mut lines = Vec::new();
    for (index, group) in compared.grouped_ops(3).iter().enumerate() {
        if index > 0 {
            lines.push(DiffLine {
                tag: "…",
                text: String::new(),
            });
        }
        for change in group.iter().flat_map(|op| compared.iter_changes(op)) {
            lines.push(DiffLine {
                tag: match change.tag() {
                    ChangeTag::Equal => " ",
                    ChangeTag::Delete => "-",
                    ChangeTag::Insert => "+",
                },
                text: change.value().trim_end_matches('\n').to_owned(),
            });
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_image_is_one_line() {
        let before = r#"{"name":"web","docker_compose_file":"services:\n  web:\n    image: a@sha256:1\n","allowed_envs":["A"]}"#;
        let after = before.replace("sha256:1", "sha256:2");
        let changed: Vec<_> = diff(before, &after)
            .into_iter()
            .filter(|line| line.tag != " ")
            .map(|line| (line.tag, line.text))
            .collect();
        assert_eq!(
            changed,
            [
                ("-", "  |     image: a@sha256:1".to_owned()),
                ("+", "  |     image: a@sha256:2".to_owned())
            ]
        );
        assert_eq!(diff(before, before), []);
    }

    #[test]
    fn nothing_hides_in_a_line() {
        let text = readable(r#"{"x":"a\nb\u202ec\u0000d\u200be"}"#);
        assert!(text.contains("b\\u{202e}c\\u{0}d\\u{200b}e"), "{text}");
    }

    #[test]
    fn what_is_no_manifest_is_shown_as_it_is() {
        assert_eq!(readable("not json"), "not json");
        assert_eq!(readable("[1]"), "[1]");
    }
}
