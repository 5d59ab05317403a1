//! Settings in layers: built-in defaults, then a file, then the environment.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::Names;

/// Settings that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// File.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or another type.
    #[error("{origin}: {reason}")]
    Parse {
        /// File, or `environment`.
        origin: String,
        /// What the parser says, with line and column.
        reason: String,
    },
}

/// Reads the layers (defaults, files in this order, environment) into `Raw`, which should refuse unknown fields; the later layer wins.
///
/// `BYLAW_KMS_CHAIN_RPC_URLS=a,b` sets `chain.rpc_urls` under the prefix `BYLAW_KMS_`;
/// the type follows the default's.
///
/// # Errors
/// [`SettingsError`] names the layer and what is wrong there.
pub fn load<Raw: DeserializeOwned>(
    names: Names,
    files: impl IntoIterator<Item: AsRef<Path>>,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Raw, SettingsError> {
    let mut table = parse("built-in defaults", names.defaults)?;
    let mut origin = "configuration".to_owned();
    for path in files {
        let path = path.as_ref();
        origin = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Read {
            path: path.to_owned(),
            source,
        })?;
        merge(&mut table, parse(&origin, &text)?);
    }
    for (name, text) in environment {
        if let Some(path) = name.strip_prefix(names.prefix) {
            set(&mut table, path, &text).map_err(|reason| SettingsError::Parse {
                origin: "environment".to_owned(),
                reason: format!("{name}={text:?}: {reason}"),
            })?;
        }
    }
    table.try_into().map_err(|error: toml::de::Error| {
        let reason = error.to_string();
        SettingsError::Parse { origin, reason }
    })
}

fn parse(origin: &str, text: &str) -> Result<toml::Table, SettingsError> {
    text.parse()
        .map_err(|error: toml::de::Error| SettingsError::Parse {
            origin: origin.to_owned(),
            reason: error.to_string(),
        })
}

fn merge(base: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(value)) => merge(inner, value),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

fn set(table: &mut toml::Table, path: &str, text: &str) -> Result<(), &'static str> {
    let path = path.to_ascii_lowercase();
    let slot = match table.get_mut(&path) {
        Some(value) if !value.is_table() => Some(value),
        // A section's name may have an underscore itself: every split is tried.
        _ => path
            .match_indices('_')
            .map(|(at, _)| (path[..at].to_owned(), path[at + 1..].to_owned()))
            .find(|(section, key)| {
                let known = table.get(section).and_then(toml::Value::as_table);
                known.is_some_and(|known| known.contains_key(key))
            })
            .and_then(|(section, key)| table.get_mut(&section)?.as_table_mut()?.get_mut(&key)),
    };
    let slot = slot.ok_or("names no setting")?;
    *slot = match slot {
        toml::Value::Boolean(_) => {
            toml::Value::Boolean(text.parse().map_err(|_| "must be true or false")?)
        }
        toml::Value::Integer(_) => {
            toml::Value::Integer(text.parse().map_err(|_| "must be a whole number")?)
        }
        toml::Value::Array(_) => toml::Value::Array(
            text.split(',')
                .filter(|item| !item.is_empty())
                .map(|item| toml::Value::String(item.trim().to_owned()))
                .collect(),
        ),
        _ => toml::Value::String(text.to_owned()),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Raw {
        data_dir: PathBuf,
        guest_api: Section,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Section {
        listen: String,
        urls: Vec<String>,
        count: u32,
    }

    const NAMES: Names = Names {
        prefix: "X_",
        defaults: "data_dir = \"/d\"\n[guest_api]\nlisten = \"a\"\nurls = []\ncount = 1\n",
    };

    fn read(file: Option<&str>, environment: &[(&str, &str)]) -> Result<Raw, SettingsError> {
        let dir = tempfile::tempdir().unwrap();
        let path = file.map(|text| {
            let path = dir.path().join("x.toml");
            bylaw_types::file::write_atomic(&path, text.as_bytes()).unwrap();
            path
        });
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        load(NAMES, path.as_deref(), environment)
    }

    #[test]
    fn the_later_layer_wins_key_by_key() {
        let raw = read(
            Some("[guest_api]\nlisten = \"b\"\ncount = 2"),
            &[
                ("X_GUEST_API_COUNT", "3"),
                ("X_GUEST_API_URLS", "u, v"),
                ("X_DATA_DIR", "/e"),
                ("PATH", "/bin"),
            ],
        )
        .unwrap();
        assert_eq!(raw.data_dir, Path::new("/e"));
        assert_eq!(raw.guest_api.listen, "b");
        assert_eq!((raw.guest_api.count, raw.guest_api.urls.len()), (3, 2));
    }

    #[test]
    fn what_names_no_setting_is_refused_wherever_it_stands() {
        for (file, environment, why) in [
            (Some("typo = 1"), &[][..], "unknown field"),
            (Some("[guest_api]\ntypo = 1"), &[], "unknown field"),
            (Some("guest_api ="), &[], "x.toml"),
            (None, &[("X_TYPO", "1")], "names no setting"),
            (None, &[("X_GUEST_API", "1")], "names no setting"),
            (None, &[("X_GUEST_API_COUNT", "two")], "whole number"),
        ] {
            let error = read(file, environment).unwrap_err().to_string();
            assert!(error.contains(why), "{file:?} {environment:?}: {error}");
        }
        let missing = load::<Raw>(NAMES, Some(Path::new("/nowhere")), std::iter::empty());
        assert!(missing.unwrap_err().to_string().contains("/nowhere"));
    }
}
