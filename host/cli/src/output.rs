//! What commands print, and how they fail.

use std::io::{IsTerminal, Write};

use serde_json::{Value, json};

/// Why a command did not succeed; decides the exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Anything else (1).
    Failed(anyhow::Error),
    /// The input cannot be used (2).
    Unusable(String),
    /// The contract says no (3).
    Denied(String),
    /// The evidence does not hold (4).
    Unverified(String),
    /// A service does not answer (5).
    Unreachable(String),
}

impl Failure {
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Failed(error) if is_unreachable(error) => 5,
            Self::Failed(_) => 1,
            Self::Unusable(_) => 2,
            Self::Denied(_) => 3,
            Self::Unverified(_) => 4,
            Self::Unreachable(_) => 5,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Failed(error) if is_unreachable(error) => "unreachable",
            Self::Failed(_) => "failed",
            Self::Unusable(_) => "unusable_input",
            Self::Denied(_) => "denied",
            Self::Unverified(_) => "not_verified",
            Self::Unreachable(_) => "unreachable",
        }
    }

    /// In words.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Failed(error) => format!("{error:#}"),
            Self::Unusable(text)
            | Self::Denied(text)
            | Self::Unverified(text)
            | Self::Unreachable(text) => text.clone(),
        }
    }
}

/// Whether the chain's endpoint did not answer.
fn is_unreachable(error: &anyhow::Error) -> bool {
    use bylaw_gov::{GovError, ProposalError};
    matches!(error.downcast_ref(), Some(GovError::Endpoint { .. }))
        || matches!(
            error.downcast_ref(),
            Some(ProposalError::Chain(GovError::Endpoint { .. }))
        )
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

fn aligned(lines: &[(&str, String)]) -> String {
    let width = lines
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or_default();
    let mut text = String::new();
    for (name, line) in lines {
        text.push_str(&format!("{name:width$}  {line}\n"));
    }
    text
}

fn columns(headers: &[&str], rows: &[Vec<String>]) -> String {
    let headers: Vec<String> = headers.iter().map(|&header| header.to_owned()).collect();
    let all = || std::iter::once(&headers).chain(rows);
    let width = |column: usize| {
        let cells = all().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headers.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let padded = cells.map(|(cell, width)| format!("{cell:width$}"));
        let padded: Vec<String> = padded.collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    all().map(line).collect()
}

/// Text or JSON on standard output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// A result: aligned lines of name and value, or the JSON value.
    pub(crate) fn result(&self, lines: &[(&str, String)], value: &Value) {
        if self.json {
            self.text(&format!("{value:#}\n"));
            return;
        }
        self.text(&aligned(lines));
    }

    /// Rows of a list: aligned under headers on a terminal, tab-separated and without
    /// headers on a pipe, or the JSON value.
    pub(crate) fn table(&self, headers: &[&str], rows: &[Vec<String>], value: &Value) {
        if self.json {
            self.text(&format!("{value:#}\n"));
        } else if std::io::stdout().is_terminal() {
            self.text(&columns(headers, rows));
        } else {
            let lines = rows.iter().map(|row| row.join("\t") + "\n");
            self.text(&lines.collect::<String>());
        }
    }

    /// The beginning of an id where a person reads it, all of it where a program does.
    pub(crate) fn short(&self, id: &str) -> String {
        if self.json || !std::io::stdout().is_terminal() {
            return id.to_owned();
        }
        id.chars().take(8).collect()
    }

    /// The same lines for people only, on standard error.
    pub(crate) fn say_lines(&self, lines: &[(&str, String)]) {
        eprint!("{}", aligned(lines));
    }

    /// Exactly this on standard output. A reader that has seen enough (`| head`) is no error.
    pub(crate) fn text(&self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(text.as_bytes());
        if let Err(error) = written.and_then(|()| stdout.flush())
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            self.say(&format!("cannot write the result: {error}"));
        }
    }

    /// For people only.
    pub(crate) fn say(&self, text: &str) {
        eprintln!("{text}");
    }

    pub(crate) fn failure(&self, failure: &Failure) {
        if self.json {
            let value = json!({ "error": failure.sentence(), "code": failure.name() });
            eprintln!("{value:#}");
        } else {
            eprintln!("error: {} [{}]", failure.sentence(), failure.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["web".to_owned(), "running".to_owned()],
            vec!["a longer name".to_owned(), String::new()],
        ];
        assert_eq!(
            columns(&["NAME", "STATUS"], &rows),
            "NAME           STATUS\nweb            running\na longer name\n"
        );
    }
}
