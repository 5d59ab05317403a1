//! The app's variables, after the agent opened them.
//!
//! The encrypted file is opened by the agent, which has the rules and the key. Here the
//! result becomes what apps and scripts expect: an environment, and the two files that
//! upstream's apps read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bylaw_types::AppId;
use bylaw_types::file::write_private;
use zeroize::Zeroizing;

use crate::command::{Command, CommandError};
use crate::shared::DIRECTORY;

const OPENED: &str = "/run/bylaw/env.json";
/// Remembers the highest revision; on the encrypted disk, where the host cannot go back.
const REVISION: &str = "/dstack/persistent/.env-revision";
const AS_TEXT: &str = ".decrypted-env";
const AS_JSON: &str = ".decrypted-env.json";

/// No variables.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// The agent refuses them.
    #[error("the encrypted environment is refused: {0}")]
    Refused(CommandError),
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not what the agent writes.
    #[error("{OPENED} is malformed")]
    Malformed,
}

/// Opens the variables and writes the files apps expect.
///
/// # Errors
/// [`EnvironmentError`]; no message has a value in it.
pub async fn open(app_id: &AppId) -> Result<BTreeMap<String, String>, EnvironmentError> {
    let app_id = app_id.to_string();
    let settings = BTreeMap::from(
        [
            ("BYLAW_AGENT_ENVIRONMENT_OUTPUT", OPENED),
            ("BYLAW_AGENT_ENVIRONMENT_REVISION_FILE", REVISION),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let arguments = [
        "open-environment",
        "--config",
        crate::agent::CONFIG,
        "--app-id",
        &app_id,
    ];
    Command::new(crate::agent::PROGRAM, arguments)
        .variables(&settings)
        .output()
        .await
        .map_err(EnvironmentError::Refused)?;
    let variables = read(Path::new(OPENED))?;
    deliver(&variables, Path::new(DIRECTORY))?;
    Ok(variables)
}

fn read(path: &Path) -> Result<BTreeMap<String, String>, EnvironmentError> {
    let bytes =
        std::fs::read(path)
            .map(Zeroizing::new)
            .map_err(|source| EnvironmentError::File {
                path: path.to_owned(),
                source,
            })?;
    serde_json::from_slice(&bytes).map_err(|_| EnvironmentError::Malformed)
}

fn deliver(variables: &BTreeMap<String, String>, to: &Path) -> Result<(), EnvironmentError> {
    // Text always serialises.
    let json = Zeroizing::new(serde_json::to_vec(variables).unwrap_or_default());
    let text = Zeroizing::new(env_file(variables));
    for (name, bytes) in [(AS_JSON, json.as_slice()), (AS_TEXT, text.as_bytes())] {
        let path = to.join(name);
        write_private(&path, bytes).map_err(|source| EnvironmentError::File { path, source })?;
    }
    Ok(())
}

/// Variables as docker compose reads an env file.
///
/// A plain value stands as it is. Others are in single quotes, in which nothing is
/// expanded; what those cannot hold (a quote, a backslash at their end) is in double
/// quotes, with a backslash before whatever would count there.
pub fn env_file(variables: &BTreeMap<String, String>) -> String {
    variables
        .iter()
        .map(|(name, value)| format!("{name}={}\n", quoted(value)))
        .collect()
}

fn quoted(value: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+,=".contains(&byte);
    if !value.is_empty() && value.bytes().all(is_plain) {
        return value.to_owned();
    }
    if !value.contains(['\'', '\\']) {
        return format!("'{value}'");
    }
    let mut text = String::with_capacity(value.len() + 8);
    text.push('"');
    for character in value.chars() {
        match character {
            '"' | '\\' | '$' => {
                text.push('\\');
                text.push(character);
            }
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            other => text.push(other),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn variables(values: &[&str]) -> BTreeMap<String, String> {
        values
            .iter()
            .enumerate()
            .map(|(at, value)| (format!("V{at:02}"), (*value).to_owned()))
            .collect()
    }

    const HARD: &[&str] = &[
        "",
        "plain",
        "two words",
        "a=b#c",
        "# no comment",
        "it's",
        r#"say "hi""#,
        "$HOME ${X}",
        "line\nbreak",
        "tab\tand\rreturn",
        r"back\slash",
        r"ends with \",
        r"\n is not a break, it's two",
        "`date` $(date)",
        "ünïcode ✓",
        " around ",
        "'",
        "\"",
        r"\",
    ];

    #[test]
    fn quoting_is_minimal_and_literal() {
        assert_eq!(quoted("a-b.c/1"), "a-b.c/1");
        assert_eq!(quoted("$X #y"), "'$X #y'");
        assert_eq!(quoted("it's $5"), r#""it's \$5""#);
        assert_eq!(quoted(r"a\"), r#""a\\""#);
    }

    /// A shell reads the same values, but for its own meaning of backslash and letter.
    #[test]
    fn a_shell_reads_back_what_was_written() {
        let shell: Vec<&str> = HARD
            .iter()
            .copied()
            .filter(|value| !(value.contains(['\'', '\\']) && value.contains(['\n', '\r', '`'])))
            .collect();
        let written = variables(&shell);
        let dir = tempfile::tempdir().unwrap();
        deliver(&written, dir.path()).unwrap();
        let script = format!(
            "set -a; . {}/{AS_TEXT}; env -0 | grep -z '^V[0-9]'",
            dir.path().display()
        );
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        let read: BTreeMap<String, String> = String::from_utf8(output.stdout)
            .unwrap()
            .split_terminator('\0')
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(read, written);
    }

    #[test]
    fn both_files_are_private_and_agree() {
        let written = variables(HARD);
        let dir = tempfile::tempdir().unwrap();
        deliver(&written, dir.path()).unwrap();
        assert_eq!(read(&dir.path().join(AS_JSON)).unwrap(), written);
        for name in [AS_JSON, AS_TEXT] {
            let file = std::fs::metadata(dir.path().join(name)).unwrap();
            assert_eq!(file.permissions().mode() & 0o777, 0o600, "{name}");
        }
        let bad = dir.path().join("bad");
        write_private(&bad, br#"{"A":1}"#).unwrap();
        assert!(matches!(read(&bad), Err(EnvironmentError::Malformed)));
    }
}
