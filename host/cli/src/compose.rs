//! `bylaw compose-hash`.

use std::path::Path;

use bylaw_types::{AppCompose, AppId};
use serde_json::json;

use crate::output::{Failure, Output};

/// A manifest from a file.
pub(crate) fn read(file: &Path) -> Result<AppCompose, Failure> {
    let unusable =
        |error: &dyn std::fmt::Display| Failure::Unusable(format!("{}: {error}", file.display()));
    let bytes = std::fs::read(file).map_err(|error| unusable(&error))?;
    AppCompose::parse(&bytes).map_err(|error| unusable(&error))
}

pub(crate) fn run(file: &Path, output: &Output) -> Result<(), Failure> {
    let compose = read(file)?;
    let hash = compose.hash();
    let app_id = AppId::from_compose_hash(&hash);
    output.result(
        &[
            ("compose hash", hash.to_string()),
            ("app id", format!("{app_id} (unless pinned)")),
        ],
        &json!({ "compose_hash": hash, "default_app_id": app_id }),
    );
    Ok(())
}
