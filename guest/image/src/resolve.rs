//! From the recipe's names to exact packages: apt's own solver, in an empty system of its own.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use bylaw_types::clock::Clock;
use percent_encoding::percent_decode_str;

use crate::recipe::{Archive, Set};
use crate::tool::{self, ToolError};
use crate::tree::{TreeError, create_dir, write};
use crate::{Lock, Package, Progress, Recipe};

/// Debian's keys, from its package debian-archive-keyring. apt refuses indexes that they did not sign.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// apt failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// apt's system cannot be laid out.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Debian's keys are not here.
    #[error("no {KEYRING}; install the package debian-archive-keyring")]
    Keyring,
    /// apt printed something else than a package with its SHA-256.
    #[error("apt printed a line that names no package with its SHA-256: {0}")]
    Line(String),
    /// The same package in two versions.
    #[error("{name} would be in the lock as {one} and as {other}")]
    TwoVersions {
        /// The package.
        name: String,
        /// One version.
        one: String,
        /// The other version.
        other: String,
    },
    /// The clock cannot be right.
    #[error("this machine's clock says a time that cannot be written")]
    Clock,
}

/// Asks Debian's archives which packages the recipe's names are today.
///
/// Needs apt and Debian's keys on this machine, and a network. The rest of this crate needs neither apt nor keys:
/// the lock carries the hashes.
///
/// # Errors
/// [`ResolveError`].
pub fn resolve(
    recipe: &Recipe,
    clock: &Clock,
    progress: Progress<'_>,
) -> Result<Lock, ResolveError> {
    if !Path::new(KEYRING).exists() {
        return Err(ResolveError::Keyring);
    }
    let system = tempfile::tempdir().map_err(|source| TreeError::new("/tmp", source))?;
    lay_out(system.path(), &recipe.archives)?;
    progress("asking the archives for their indexes");
    tool::run(apt(system.path()).arg("update"))?;

    let mut packages: BTreeMap<String, Package> = BTreeMap::new();
    for (name, set) in &recipe.sets {
        if set.described_only.is_some() {
            continue;
        }
        progress(&format!("resolving {name}"));
        for mut package in resolve_set(system.path(), recipe, set)? {
            if let Some(known) = packages.get_mut(&package.name) {
                if known.sha256 != package.sha256 {
                    return Err(ResolveError::TwoVersions {
                        name: package.name,
                        one: known.version.clone(),
                        other: package.version,
                    });
                }
                known.sets.insert(name.clone());
                continue;
            }
            package.sets.insert(name.clone());
            packages.insert(package.name.clone(), package);
        }
    }
    Ok(Lock {
        snapshot: Lock::name_of(clock.now_unix()).ok_or(ResolveError::Clock)?,
        packages: packages.into_values().collect(),
    })
}

/// An empty system for apt: its settings, its sources, no installed package.
fn lay_out(root: &Path, archives: &[Archive]) -> Result<(), TreeError> {
    for folder in [
        "etc/apt/apt.conf.d",
        "etc/apt/preferences.d",
        "etc/apt/trusted.gpg.d",
        "var/lib/apt/lists/partial",
        "var/cache/apt/archives/partial",
        "var/lib/dpkg",
    ] {
        create_dir(&root.join(folder))?;
    }
    let mut sources = String::new();
    let mut preferences = String::new();
    for archive in archives {
        let expiry = if archive.may_be_expired {
            " check-valid-until=no"
        } else {
            ""
        };
        for suite in &archive.suites {
            sources += &format!(
                "deb [signed-by={KEYRING}{expiry}] {} {suite} main\n",
                archive.url
            );
            if archive.may_be_expired {
                // Only a set that names the suite takes from it.
                preferences += &format!("Package: *\nPin: release n={suite}\nPin-Priority: 50\n\n");
            }
        }
    }
    write(&root.join("etc/apt/sources.list"), sources.as_bytes())?;
    write(
        &root.join("etc/apt/preferences.d/suites"),
        preferences.as_bytes(),
    )?;
    write(&root.join("var/lib/dpkg/status"), b"")?;
    let root = root.display();
    let settings = format!(
        "Dir \"{root}\";\n\
         Dir::State::status \"{root}/var/lib/dpkg/status\";\n\
         APT::Architecture \"amd64\";\n\
         APT::Architectures {{ \"amd64\"; }};\n\
         APT::Install-Recommends \"false\";\n\
         APT::Sandbox::User \"\";\n\
         Acquire::ForceHash \"SHA256\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::Retries \"3\";\n"
    );
    write(Path::new(&format!("{root}/apt.conf")), settings.as_bytes())
}

fn apt(system: &Path) -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("APT_CONFIG", system.join("apt.conf"))
        .env("LC_ALL", "C")
        .arg("--quiet=2");
    command
}

fn resolve_set(system: &Path, recipe: &Recipe, set: &Set) -> Result<Vec<Package>, ResolveError> {
    let mut command = apt(system);
    command.args(["install", "--print-uris"]);
    if let Some(suite) = &set.suite {
        command.args(["--target-release", suite]);
    }
    let printed = tool::run(command.args(&set.packages))?;
    let mut packages = Vec::new();
    for line in printed.lines() {
        let package =
            package(line, &recipe.archives).ok_or_else(|| ResolveError::Line(line.to_owned()))?;
        let wanted = set.only.is_empty()
            || set
                .only
                .iter()
                .any(|prefix| package.name.starts_with(prefix));
        if wanted && !recipe.without.contains(&package.name) {
            packages.push(package);
        }
    }
    Ok(packages)
}

/// Reads `'<url>' <name>_<version>_<architecture>.deb <size> SHA256:<hash>`.
fn package(line: &str, archives: &[Archive]) -> Option<Package> {
    let mut words = line.split_ascii_whitespace();
    let url = words.next()?.strip_prefix('\'')?.strip_suffix('\'')?;
    let file = words.next()?.strip_suffix(".deb")?;
    let size = words.next()?.parse().ok()?;
    let sha256 = words.next()?.strip_prefix("SHA256:")?;
    // The security archive's address starts with that of the main one: the `/` tells them apart.
    let (archive, path) = archives.iter().find_map(|archive| {
        let path = url.strip_prefix(&archive.url)?.strip_prefix('/')?;
        Some((archive, path))
    })?;
    let decoded = |text: &str| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
    let mut parts = file.split('_');
    Some(Package {
        name: decoded(parts.next()?)?,
        version: decoded(parts.next()?)?,
        sha256: sha256.to_owned(),
        size,
        archive: archive.name.clone(),
        path: decoded(path)?,
        sets: BTreeSet::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "'http://archive.test/debian-security/pool/main/c/chrony/chrony_4.6.1-3%2bdeb13u2_amd64.deb' chrony_1%3a4.6.1-3+deb13u2_amd64.deb 309712 SHA256:35bb2f31f07959211b81abd5df6ce09c7462e3f90ac4ff91184c3dc475c9d9c4";

    fn archives() -> Vec<Archive> {
        let mut archives = Recipe::built_in().unwrap().archives;
        for archive in &mut archives {
            archive.url = format!("http://archive.test/{}", archive.name);
        }
        archives
    }

    #[test]
    fn a_line_of_apt_names_a_package() {
        let archives = archives();
        let package = package(LINE, &archives).unwrap();
        assert_eq!(package.name, "chrony");
        assert_eq!(package.version, "1:4.6.1-3+deb13u2");
        assert_eq!(package.archive, "debian-security");
        assert_eq!(
            package.path,
            "pool/main/c/chrony/chrony_4.6.1-3+deb13u2_amd64.deb"
        );
        assert_eq!(package.size, 309_712);
    }

    #[test]
    fn lines_without_a_hash_or_from_elsewhere_are_refused() {
        let archives = archives();
        for line in [
            LINE.replace("SHA256:", "MD5Sum:"),
            LINE.replace("archive.test", "elsewhere.test"),
            LINE.replace(" 309712", ""),
            LINE.replace(".deb 3", ".udeb 3"),
            String::new(),
        ] {
            assert_eq!(package(&line, &archives), None, "{line}");
        }
    }
}
