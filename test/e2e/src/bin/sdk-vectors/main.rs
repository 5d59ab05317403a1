//! Makes `evidence.json` and `certificate.json` of the SDKs' shared vectors.
//!
//! Evidence comes from a software TEE of this run alone, whose keys are then gone, so each
//! run makes other bytes with the same meaning. Everything else among the vectors is made
//! by `test/vectors/sdk/make.py`.

mod certificate;
mod evidence;
mod tee;

use anyhow::Context;
use bylaw_e2e::process::repository;
use serde_json::Value;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let directory = repository().join("test/vectors/sdk");
    let dir = tempfile::tempdir()?;
    let tee = tee::Tee::new(dir.path())?;
    write(&directory, "evidence.json", &evidence::vectors(&tee)?)?;
    write(
        &directory,
        "certificate.json",
        &certificate::vectors(&tee).await?,
    )?;
    Ok(())
}

fn write(directory: &std::path::Path, name: &str, value: &Value) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    let path = directory.join(name);
    bylaw_types::file::write_atomic(&path, text.as_bytes())
        .with_context(|| path.display().to_string())
}
