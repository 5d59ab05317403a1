//! Exactly which packages: `packages.lock`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::Recipe;

/// The lock this program was built with.
const BUILT_IN: &str = include_str!("../packages.lock");

/// First lines of the file.
const HEADER: &str =
    "# The packages of the guest OS image. Written by `bylaw image lock`; do not edit.\n";

/// Why a lock cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It is not TOML of the expected form.
    #[error("the lock is not valid")]
    Form(#[from] Box<toml::de::Error>),
    /// It cannot be written down.
    #[error("the lock cannot be written")]
    Write(#[from] toml::ser::Error),
    /// A package's record is not one that could be downloaded and checked.
    #[error("the lock's record of {name} is not valid: {what}")]
    Package {
        /// The package.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The moment is not one.
    #[error("the lock's snapshot {0:?} is not a time like 20260102T030405Z")]
    Snapshot(String),
    /// Nothing is listed for a set.
    #[error("the lock has no packages for {0}; run `bylaw image lock`")]
    EmptySet(String),
}

/// Exactly which packages, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// When it was made, as snapshot.debian.org writes times: `YYYYMMDDTHHMMSSZ`. Also the time of every file
    /// in the image.
    pub snapshot: String,
    /// The packages, by name and version.
    #[serde(rename = "package")]
    pub packages: Vec<Package>,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the .deb, lower-case hexadecimal.
    pub sha256: String,
    /// Bytes of the .deb.
    pub size: u64,
    /// The recipe's archive it comes from.
    pub archive: String,
    /// Where in that archive: `pool/…`.
    pub path: String,
    /// The recipe's sets that have it.
    pub sets: BTreeSet<String>,
}

impl Lock {
    /// The lock this program was built with.
    ///
    /// # Errors
    /// See [`Lock::parse`].
    pub fn built_in() -> Result<Self, LockError> {
        Self::parse(BUILT_IN)
    }

    /// Reads a lock.
    ///
    /// # Errors
    /// [`LockError`]; a record must name a file of an archive's pool and carry its whole hash.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let lock: Self = toml::from_str(text).map_err(Box::new)?;
        lock.epoch()?;
        for package in &lock.packages {
            package.check()?;
        }
        Ok(lock)
    }

    /// The file's text.
    ///
    /// # Errors
    /// [`LockError::Write`].
    pub fn to_text(&self) -> Result<String, LockError> {
        Ok(format!("{HEADER}{}", toml::to_string(self)?))
    }

    /// Seconds since 1970 of the moment it was made.
    ///
    /// # Errors
    /// [`LockError::Snapshot`].
    pub fn epoch(&self) -> Result<i64, LockError> {
        let form = format_description!("[year][month][day]T[hour][minute][second]Z");
        time::PrimitiveDateTime::parse(&self.snapshot, form)
            .map(|moment| moment.assume_utc().unix_timestamp())
            .map_err(|_| LockError::Snapshot(self.snapshot.clone()))
    }

    /// The name of a moment, from seconds since 1970.
    pub(crate) fn name_of(unix_seconds: u64) -> Option<String> {
        let form = format_description!("[year][month][day]T[hour][minute][second]Z");
        let seconds = i64::try_from(unix_seconds).ok()?;
        OffsetDateTime::from_unix_timestamp(seconds)
            .ok()?
            .format(form)
            .ok()
    }

    /// The packages of any of `sets`, each once.
    ///
    /// # Errors
    /// [`LockError::EmptySet`] if one has none.
    pub fn packages_of(&self, sets: &[&str]) -> Result<Vec<&Package>, LockError> {
        for set in sets {
            if !self
                .packages
                .iter()
                .any(|package| package.sets.contains(*set))
            {
                return Err(LockError::EmptySet((*set).to_owned()));
            }
        }
        Ok(self
            .packages
            .iter()
            .filter(|package| sets.iter().any(|set| package.sets.contains(*set)))
            .collect())
    }

    /// Whether every package that the recipe asks for by name is there.
    ///
    /// # Errors
    /// [`LockError::Package`] for the first that is not.
    pub fn check_against(&self, recipe: &Recipe) -> Result<(), LockError> {
        for (name, set) in &recipe.sets {
            if set.described_only.is_some() || !set.only.is_empty() {
                continue;
            }
            for wanted in &set.packages {
                let there =
                    |package: &Package| package.name == *wanted && package.sets.contains(name);
                if !self.packages.iter().any(there) {
                    return Err(LockError::Package {
                        name: wanted.clone(),
                        what: "the recipe asks for it and it is not listed; run `bylaw image lock`",
                    });
                }
            }
        }
        Ok(())
    }
}

impl Package {
    fn check(&self) -> Result<(), LockError> {
        let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let what = if self.sha256.len() != 64 || !self.sha256.bytes().all(hexadecimal) {
            "its sha256 is not 64 lower-case hexadecimal digits"
        } else if !self.path.starts_with("pool/") || self.path.split('/').any(|part| part == "..") {
            "its path is not one of the archive's pool"
        } else if self.sets.is_empty() {
            "it belongs to no set"
        } else {
            return Ok(());
        };
        Err(LockError::Package {
            name: self.name.clone(),
            what,
        })
    }

    /// The .deb's file name in its archive.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package() -> Package {
        Package {
            name: "hello".into(),
            version: "1:2.0-1".into(),
            sha256: "ab".repeat(32),
            size: 3,
            archive: "debian".into(),
            path: "pool/main/h/hello/hello_2.0-1_amd64.deb".into(),
            sets: ["rootfs".to_owned()].into(),
        }
    }

    fn lock(package: Package) -> Lock {
        Lock {
            snapshot: "20260102T030405Z".into(),
            packages: vec![package],
        }
    }

    fn parsed(lock: &Lock) -> Result<Lock, LockError> {
        Lock::parse(&lock.to_text().unwrap())
    }

    #[test]
    fn the_built_in_lock_has_what_the_recipe_asks_for() {
        let lock = Lock::built_in().unwrap();
        lock.check_against(&Recipe::built_in().unwrap()).unwrap();
        for set in [
            "rootfs",
            "dev",
            "kernel",
            "firmware-tdx",
            "firmware-snp",
            "tools",
        ] {
            lock.packages_of(&[set]).unwrap();
        }
    }

    #[test]
    fn a_lock_reads_back_as_written() {
        let lock = lock(package());
        assert_eq!(parsed(&lock).unwrap(), lock);
        assert_eq!(lock.epoch().unwrap(), 1_767_323_045);
        assert_eq!(Lock::name_of(1_767_323_045).unwrap(), lock.snapshot);
    }

    #[test]
    fn a_lock_that_lacks_what_the_recipe_asks_for_is_refused() {
        assert!(matches!(
            lock(package()).check_against(&Recipe::built_in().unwrap()),
            Err(LockError::Package { .. })
        ));
        assert!(matches!(
            lock(package()).packages_of(&["rootfs", "kernel"]),
            Err(LockError::EmptySet(set)) if set == "kernel"
        ));
    }

    #[test]
    fn records_that_could_not_be_checked_are_refused() {
        let break_it: [fn(&mut Package); 5] = [
            |p| p.sha256 = "ab".repeat(31),
            |p| p.sha256 = "AB".repeat(32),
            |p| p.path = "/etc/passwd".into(),
            |p| p.path = "pool/../../secret.deb".into(),
            |p| p.sets.clear(),
        ];
        for change in break_it {
            let mut package = package();
            change(&mut package);
            assert!(
                matches!(
                    parsed(&lock(package.clone())),
                    Err(LockError::Package { .. })
                ),
                "{package:?}"
            );
        }
        let mut lock = lock(package());
        lock.snapshot = "yesterday".into();
        assert!(matches!(parsed(&lock), Err(LockError::Snapshot(_))));
    }
}
