//! Names and values, and the JSON they travel in.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::env::EnvError;

/// Longest value, in bytes.
pub const MAX_ENV_VALUE: usize = 128 * 1024;
/// Longest name, in characters.
const MAX_NAME: usize = 255;

/// Variables with names a shell accepts, each once. Values are wiped and do not print.
#[derive(Default)]
pub struct Environment(Vec<Variable>);

#[derive(Serialize, Deserialize)]
struct Variable {
    key: String,
    value: String,
}

impl Drop for Variable {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

/// The plaintext.
#[derive(Deserialize)]
struct Wire {
    env: Vec<Variable>,
}

#[derive(Serialize)]
struct WireRef<'a> {
    env: &'a [Variable],
}

impl Environment {
    /// Checked variables.
    ///
    /// # Errors
    /// [`EnvError::Variable`] names the first that is malformed or appears twice.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, EnvError> {
        let variables = variables
            .into_iter()
            .map(|(key, value)| Variable { key, value });
        Self::check(variables.collect())
    }

    /// From the JSON that was encrypted.
    ///
    /// # Errors
    /// [`EnvError::Plaintext`] or [`EnvError::Variable`].
    pub fn parse(plaintext: &[u8]) -> Result<Self, EnvError> {
        let wire: Wire = serde_json::from_slice(plaintext).map_err(|error| {
            // serde_json's own message can quote the value.
            EnvError::Plaintext(format!("line {}, column {}", error.line(), error.column()))
        })?;
        Self::check(wire.env)
    }

    fn check(variables: Vec<Variable>) -> Result<Self, EnvError> {
        let mut seen = BTreeSet::new();
        for Variable { key, value } in &variables {
            let bad = |reason| {
                Err(EnvError::Variable {
                    name: key.chars().take(64).collect(),
                    reason,
                })
            };
            if !is_name(key) {
                return bad(
                    "a name is a letter or underscore, then letters, digits, underscores; at most 255",
                );
            }
            if value.len() > MAX_ENV_VALUE {
                return bad("a value has at most 131072 bytes");
            }
            if value.contains('\0') {
                return bad("a value cannot contain a NUL");
            }
            if !seen.insert(key.as_str()) {
                return bad("it is set twice");
            }
        }
        Ok(Self(variables))
    }

    /// The JSON to encrypt.
    pub fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        // Strings always serialise.
        Zeroizing::new(serde_json::to_vec(&WireRef { env: &self.0 }).unwrap_or_default())
    }

    /// Only the variables that a manifest allows, and the names of the others.
    #[must_use]
    pub fn filtered(self, allowed: &[String]) -> (Self, Vec<String>) {
        let (kept, dropped): (Vec<_>, Vec<_>) = self
            .0
            .into_iter()
            .partition(|variable| allowed.contains(&variable.key));
        let names = dropped
            .iter()
            .map(|variable| variable.key.clone())
            .collect();
        (Self(kept), names)
    }

    /// Names and values, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|variable| (variable.key.as_str(), variable.value.as_str()))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|variable| &variable.key))
            .finish()
    }
}

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|next| next.is_ascii_alphanumeric() || next == '_')
        && text.len() <= MAX_NAME
}
