//! The hash of a manifest that is data, not yet text.

use bylaw_types::ComposeHash;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// SHA-256 of a manifest as compact JSON: keys sorted at every depth, nothing escaped that
/// JSON allows to stand, numbers that are none written as null.
///
/// `normalize` first drops what its runner does not read: `docker_compose_file` for `bash`,
/// `bash_script` for `docker-compose`, and an empty `pre_launch_script`.
///
/// A VM measures the bytes of the file it was given. The two hashes are equal when that
/// file holds exactly these bytes, as the tools write it.
///
/// # Errors
/// When the value has no JSON form, for example a map whose keys are not text.
pub fn compose_hash(
    compose: &impl Serialize,
    normalize: bool,
) -> Result<ComposeHash, serde_json::Error> {
    let mut value = serde_json::to_value(compose)?;
    if normalize {
        drop_unread(&mut value);
    }
    let mut text = String::new();
    write(&value, &mut text)?;
    Ok(ComposeHash::new(Sha256::digest(text).into()))
}

fn drop_unread(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    match fields.get("runner").and_then(Value::as_str) {
        Some("bash") => drop(fields.remove("docker_compose_file")),
        Some("docker-compose") => drop(fields.remove("bash_script")),
        _ => {}
    }
    if fields.get("pre_launch_script").and_then(Value::as_str) == Some("") {
        fields.remove("pre_launch_script");
    }
}

/// Sorts by itself: whether serde_json's maps do depends on the features of other crates.
fn write(value: &Value, text: &mut String) -> Result<(), serde_json::Error> {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (position, (key, value)) in fields.into_iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                text.push_str(&serde_json::to_string(key)?);
                text.push(':');
                write(value, text)?;
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                write(item, text)?;
            }
            text.push(']');
        }
        scalar => text.push_str(&serde_json::to_string(scalar)?),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_that_are_none_become_null() {
        #[derive(Serialize)]
        struct Odd {
            a: f64,
            b: f64,
        }
        let odd = Odd {
            a: f64::NAN,
            b: f64::INFINITY,
        };
        let null = json!({ "b": null, "a": null });
        assert_eq!(
            compose_hash(&odd, false).unwrap(),
            compose_hash(&null, false).unwrap()
        );
    }

    #[test]
    fn normalizing_changes_only_what_is_not_read() {
        let hash = |value: Value, normalize| compose_hash(&value, normalize).unwrap();
        let bash = json!({ "runner": "bash", "bash_script": "x" });
        let more = json!({ "runner": "bash", "bash_script": "x", "docker_compose_file": "" });
        assert_eq!(hash(more.clone(), true), hash(bash.clone(), false));
        assert_ne!(hash(more, false), hash(bash, false));
    }
}
