//! Writes the dashboard as it looks in different states, for eyes and for browser tests.

mod fixtures;

use std::path::Path;

use anyhow::Context;
use bylaw_agent::dashboard::STYLE;
use bylaw_types::file::write_atomic;

fn main() -> anyhow::Result<()> {
    let target = std::env::args_os()
        .nth(1)
        .context("usage: dashboard DIRECTORY")?;
    let target = Path::new(&target);
    std::fs::create_dir_all(target).with_context(|| format!("cannot make {}", target.display()))?;
    let write = |name: &str, text: &str| {
        let path = target.join(name);
        write_atomic(&path, text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    };
    write("style.css", STYLE)?;
    for (name, view) in fixtures::all() {
        write(&format!("{name}.html"), &view.render())?;
    }
    Ok(())
}
