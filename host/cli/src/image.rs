//! `bylaw image …`: build the guest OS image, measure it, check it, compare two.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use bylaw_image::{Binaries, Cache, Difference, Flavor, Lock, Recipe, Settings, VerifyError};
use bylaw_types::OsImageHash;
use bylaw_types::clock::Clock;
use bylaw_types::file::write_atomic;
use serde_json::json;

use crate::output::{Failure, Output};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Build an image from the pinned packages and the guest's programs.
    #[command(
        after_help = "Example:\n  bylaw image build --out ~/.dstack-vmm/image/bylaw-0.6.0\n\n\
        Downloaded packages are kept in $BYLAW_CACHE or ~/.cache/bylaw."
    )]
    Build {
        /// prod, dev (a root shell on the serial console; another hash) or nvidia.
        #[arg(long, default_value = "prod")]
        flavor: Flavor,
        /// Image directory; default: ~/.dstack-vmm/image/NAME-VERSION.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Folder with bylaw-init, bylaw-boot and bylaw-agent; without it they are built from --sources.
        #[arg(long, value_name = "DIR")]
        bin_dir: Option<PathBuf>,
        /// Folder whose files are laid over the root file system, e.g. etc/chrony/chrony.conf
        /// with time servers of your own; another hash.
        #[arg(long, value_name = "DIR")]
        overlay: Option<PathBuf>,
        /// Workspace to build the guest's programs from.
        #[arg(long, value_name = "DIR", default_value = ".")]
        sources: PathBuf,
    },
    /// Write what an image directory measures to, its checksums and its digest.
    #[command(after_help = "Example:\n  bylaw image measure ~/.dstack-vmm/image/bylaw-0.6.0")]
    Measure {
        /// Image directory.
        directory: PathBuf,
    },
    /// Check an image directory: every hash, the measurements, the root file system.
    #[command(
        after_help = "Example:\n  bylaw image verify ~/.dstack-vmm/image/bylaw-0.6.0 --digest 3f…"
    )]
    Verify {
        /// Image directory.
        directory: PathBuf,
        /// The os_image_hash it must have.
        #[arg(long, value_name = "HASH")]
        digest: Option<OsImageHash>,
    },
    /// Say how two images differ: packages, files, command line, measurements.
    #[command(after_help = "Example:\n  bylaw image diff bylaw-0.6.0 bylaw-dev-0.6.0")]
    Diff {
        /// One image directory.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// Write the list of exact packages anew from Debian's archives of today.
    #[command(after_help = "Example:\n  bylaw image lock --out guest/image/packages.lock")]
    Lock {
        /// The file to write.
        #[arg(long, value_name = "FILE", default_value = "guest/image/packages.lock")]
        out: PathBuf,
    },
}

pub(crate) async fn run(command: Command, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Build {
            flavor,
            out,
            bin_dir,
            overlay,
            sources,
        } => {
            let (bin_dir, overlay) = (bin_dir.as_deref(), overlay.as_deref());
            build(flavor, out, bin_dir, overlay, &sources, output).await
        }
        Command::Measure { directory } => {
            let hash = bylaw_image::measure(&directory)?;
            print_hash(&directory, &hash, output);
            Ok(())
        }
        Command::Verify { directory, digest } => {
            let hash = bylaw_image::verify(&directory, digest).map_err(unverified)?;
            print_hash(&directory, &hash, output);
            Ok(())
        }
        Command::Diff { first, second } => diff(&first, &second, output),
        Command::Lock { out } => lock(&out, output),
    }
}

/// An image that is not what it says is not verified evidence; one that cannot be read is a failure.
fn unverified(error: VerifyError) -> Failure {
    match error {
        VerifyError::Directory(bylaw_measure::ImageDirError::File { .. }) => {
            Failure::Failed(error.into())
        }
        other => Failure::Unverified(format!("{:#}", anyhow::Error::new(other))),
    }
}

/// Lines on standard error, each with the seconds since the command began.
fn progress(output: &Output) -> impl Fn(&str) + Sync {
    let (began, output) = (Instant::now(), *output);
    move |line: &str| output.say(&format!("[{:6.1}s] {line}", began.elapsed().as_secs_f64()))
}

async fn build(
    flavor: Flavor,
    out: Option<PathBuf>,
    bin_dir: Option<&Path>,
    overlay: Option<&Path>,
    sources: &Path,
    output: &Output,
) -> Result<(), Failure> {
    let (recipe, lock) = (Recipe::built_in()?, Lock::built_in()?);
    // Before anything is built for a flavour that cannot be.
    recipe.root_sets(flavor)?;
    let progress = progress(output);
    let out = match out {
        Some(out) => out,
        None => {
            let home =
                std::env::var_os("HOME").context("HOME is not set: name a folder by --out")?;
            PathBuf::from(home)
                .join(".dstack-vmm/image")
                .join(recipe.image_name(flavor))
        }
    };
    let binaries = match bin_dir {
        Some(folder) => Binaries::in_folder(folder)?,
        None => tokio::task::block_in_place(|| Binaries::build(sources, &progress))?,
    };
    let settings = Settings {
        recipe: &recipe,
        lock: &lock,
        flavor,
        binaries: &binaries,
        overlay,
        cache: &Cache::of_user()?,
        out: &out,
    };
    let built = bylaw_image::build(settings, &progress).await?;
    progress("done");
    let total: u64 = built.files.iter().map(|(_, size)| size).sum();
    let mut lines = vec![
        ("image", built.path.display().to_string()),
        ("os_image_hash", built.os_image_hash.to_string()),
        ("total", megabytes(total)),
    ];
    for (name, size) in &built.files {
        lines.push((name, megabytes(*size)));
    }
    output.result(
        &lines,
        &json!({
            "image": built.path,
            "flavor": flavor.name(),
            "os_image_hash": built.os_image_hash.to_string(),
            "total_bytes": total,
            "files": built.files.iter().map(|(name, size)| json!({"name": name, "bytes": size}))
                .collect::<Vec<_>>(),
        }),
    );
    output.say(&format!(
        "next: bylaw image verify {}",
        built.path.display()
    ));
    Ok(())
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}

fn print_hash(directory: &Path, hash: &OsImageHash, output: &Output) {
    output.result(
        &[
            ("image", directory.display().to_string()),
            ("os_image_hash", hash.to_string()),
        ],
        &json!({ "image": directory, "os_image_hash": hash.to_string() }),
    );
}

/// Standard output names each difference; the exit code says nothing: that they differ is an answer.
fn diff(first: &Path, second: &Path, output: &Output) -> Result<(), Failure> {
    let differences = bylaw_image::diff(first, second)?;
    let lines: Vec<(&str, String)> = differences
        .iter()
        .map(|difference| (difference.what, sentence(difference)))
        .collect();
    if lines.is_empty() {
        output.say("the images are the same");
    }
    output.result(&lines, &json!(differences));
    Ok(())
}

fn sentence(difference: &Difference) -> String {
    let name = &difference.name;
    match (&difference.before, &difference.after) {
        (Some(before), Some(after)) => format!("~ {name}: {before} -> {after}"),
        (Some(before), None) => format!("- {name}: {before}"),
        (None, Some(after)) => format!("+ {name}: {after}"),
        (None, None) => name.clone(),
    }
}

fn lock(out: &Path, output: &Output) -> Result<(), Failure> {
    let recipe = Recipe::built_in()?;
    let progress = progress(output);
    let lock = bylaw_image::resolve(&recipe, &Clock::system(), &progress)?;
    lock.check_against(&recipe)?;
    write_atomic(out, lock.to_text()?.as_bytes())
        .with_context(|| format!("cannot write {}", out.display()))?;
    let bytes: u64 = lock.packages.iter().map(|package| package.size).sum();
    output.result(
        &[
            ("lock", out.display().to_string()),
            ("snapshot", lock.snapshot.clone()),
            (
                "packages",
                format!("{}, {}", lock.packages.len(), megabytes(bytes)),
            ),
        ],
        &json!({
            "lock": out, "snapshot": lock.snapshot, "packages": lock.packages.len(), "bytes": bytes,
        }),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_says_what_was_and_what_is() {
        let mut difference = Difference {
            what: "package",
            name: "curl".into(),
            before: Some("1".into()),
            after: Some("2".into()),
        };
        assert_eq!(sentence(&difference), "~ curl: 1 -> 2");
        difference.after = None;
        assert_eq!(sentence(&difference), "- curl: 1");
        (difference.before, difference.after) = (None, Some("2".into()));
        assert_eq!(sentence(&difference), "+ curl: 2");
    }
}
