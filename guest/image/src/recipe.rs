//! What goes into an image: `recipe.toml`, checked.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// The recipe this program was built with.
const BUILT_IN: &str = include_str!("../recipe.toml");

/// Which kind of image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flavor {
    /// No way to log in.
    #[default]
    Prod,
    /// A root shell on the serial console; says so in its metadata, and has another hash.
    Dev,
    /// Drivers for NVIDIA GPUs; described, not built.
    Nvidia,
}

impl Flavor {
    /// As in the recipe and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prod => "prod",
            Self::Dev => "dev",
            Self::Nvidia => "nvidia",
        }
    }
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Flavor {
    type Err = RecipeError;

    fn from_str(text: &str) -> Result<Self, RecipeError> {
        [Self::Prod, Self::Dev, Self::Nvidia]
            .into_iter()
            .find(|flavor| flavor.name() == text)
            .ok_or_else(|| RecipeError::Flavor(text.to_owned()))
    }
}

/// Why a recipe cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// It is not TOML of the expected form.
    #[error("the recipe is not valid")]
    Form(#[from] Box<toml::de::Error>),
    /// A name that means nothing.
    #[error("no flavour {0:?}; there are prod, dev and nvidia")]
    Flavor(String),
    /// A set of packages takes from a suite that no archive has.
    #[error("set {set} takes packages from suite {suite}, which no archive has")]
    Suite {
        /// The set's name.
        set: String,
        /// The suite it names.
        suite: String,
    },
    /// The flavour cannot be built from what the lock may hold.
    #[error("flavour {flavor} is described but not built: {reason}")]
    DescribedOnly {
        /// The flavour.
        flavor: Flavor,
        /// Why, from the recipe.
        reason: String,
    },
    /// The image's version would be refused by every VMM.
    #[error("image version {0:?} must be three numbers, 0.5.0 or later")]
    Version(String),
}

/// What goes into an image.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Version of the image, three numbers.
    pub version: String,
    /// Packages that are left out though others depend on them.
    pub without: Vec<String>,
    /// Where packages come from.
    #[serde(rename = "archive")]
    pub archives: Vec<Archive>,
    /// Sets of packages by name.
    #[serde(rename = "set")]
    pub sets: BTreeMap<String, Set>,
    /// Files of the firmware packages.
    pub firmware: Firmware,
    /// The kernel's settings.
    pub kernel: Kernel,
    /// Drivers by name.
    pub modules: Modules,
    /// What of the packages is left out.
    pub prune: Paths,
    /// Symbolic links to add: where, and their text.
    pub links: BTreeMap<String, String>,
    /// Empty folders to add.
    pub folders: Paths,
}

/// An archive of Debian packages.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// Its name in the lock.
    pub name: String,
    /// Its mirror.
    pub url: String,
    /// Its suites.
    pub suites: Vec<String>,
    /// Whether an index past its date is taken (its signature always counts).
    #[serde(default)]
    pub may_be_expired: bool,
}

/// A set of packages that is resolved together.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// What is asked for.
    pub packages: Vec<String>,
    /// If not empty: only packages whose names start with one of these are taken.
    #[serde(default)]
    pub only: Vec<String>,
    /// The suite to prefer.
    pub suite: Option<String>,
    /// The flavour that alone has it.
    pub flavor: Option<String>,
    /// Why it is described and not built.
    pub described_only: Option<String>,
}

/// Files of the firmware packages, from their root.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// For Intel TDX.
    pub tdx: String,
    /// For AMD SEV-SNP.
    pub snp: String,
}

/// The kernel's settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Words of the command line, without the root's.
    pub command_line: Vec<String>,
}

/// Drivers by name; `?` before a name: hardware that may not be there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modules {
    /// What opens the root.
    pub initramfs: Vec<String>,
    /// What reads host-shared files and makes quotes.
    pub early: Vec<String>,
    /// What the encrypted disk needs.
    pub disk: Vec<String>,
    /// What containers and their networks need.
    pub network: Vec<String>,
}

/// Paths from the root.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paths {
    /// The paths.
    pub paths: Vec<String>,
}

impl Recipe {
    /// The recipe this program was built with.
    ///
    /// # Errors
    /// See [`Recipe::parse`].
    pub fn built_in() -> Result<Self, RecipeError> {
        Self::parse(BUILT_IN)
    }

    /// Reads a recipe.
    ///
    /// # Errors
    /// Unknown keys, suites without an archive, a version that VMMs refuse.
    pub fn parse(text: &str) -> Result<Self, RecipeError> {
        let recipe: Self = toml::from_str(text).map_err(Box::new)?;
        let suites: Vec<&String> = recipe.archives.iter().flat_map(|a| &a.suites).collect();
        for (name, set) in &recipe.sets {
            if let Some(suite) = set.suite.as_ref().filter(|suite| !suites.contains(suite)) {
                return Err(RecipeError::Suite {
                    set: name.clone(),
                    suite: suite.clone(),
                });
            }
            set.flavor.as_deref().map(Flavor::from_str).transpose()?;
        }
        let parts: Option<Vec<u32>> = recipe.version.split('.').map(|p| p.parse().ok()).collect();
        match parts.as_deref() {
            Some([major, minor, _]) if (*major, *minor) >= (0, 5) => Ok(recipe),
            _ => Err(RecipeError::Version(recipe.version)),
        }
    }

    /// Names of the sets whose packages are in the root file system of `flavor`.
    ///
    /// # Errors
    /// [`RecipeError::DescribedOnly`].
    pub fn root_sets(&self, flavor: Flavor) -> Result<Vec<&str>, RecipeError> {
        let mut names = vec!["rootfs"];
        for (name, set) in &self.sets {
            if set.flavor.as_deref() != Some(flavor.name()) {
                continue;
            }
            if let Some(reason) = &set.described_only {
                return Err(RecipeError::DescribedOnly {
                    flavor,
                    reason: reason.clone(),
                });
            }
            names.push(name);
        }
        Ok(names)
    }

    /// The image's folder name: `bylaw-<version>`, with the flavour unless it is production.
    pub fn image_name(&self, flavor: Flavor) -> String {
        match flavor {
            Flavor::Prod => format!("bylaw-{}", self.version),
            other => format!("bylaw-{other}-{}", self.version),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(from: &str, to: &str) -> Result<Recipe, RecipeError> {
        assert!(BUILT_IN.contains(from), "{from}");
        Recipe::parse(&BUILT_IN.replacen(from, to, 1))
    }

    #[test]
    fn the_built_in_recipe_holds() {
        let recipe = Recipe::built_in().unwrap();
        assert_eq!(recipe.root_sets(Flavor::Prod).unwrap(), ["rootfs"]);
        assert_eq!(recipe.root_sets(Flavor::Dev).unwrap(), ["rootfs", "dev"]);
        assert_eq!(
            recipe.image_name(Flavor::Dev),
            format!("bylaw-dev-{}", recipe.version)
        );
    }

    #[test]
    fn a_flavour_that_is_only_described_is_not_built() {
        assert!(matches!(
            Recipe::built_in().unwrap().root_sets(Flavor::Nvidia),
            Err(RecipeError::DescribedOnly { .. })
        ));
    }

    #[test]
    fn versions_that_vmms_refuse_are_refused() {
        for version in ["0.4.9", "0.6", "1", "", "0.6.0.1", "a.b.c"] {
            assert!(
                matches!(
                    with("version = \"0.6.0\"", &format!("version = \"{version}\"")),
                    Err(RecipeError::Version(_))
                ),
                "{version:?}"
            );
        }
        assert!(with("version = \"0.6.0\"", "version = \"1.0.0\"").is_ok());
    }

    #[test]
    fn names_that_mean_nothing_are_refused() {
        assert!(matches!(
            with("suite = \"trixie-backports\"", "suite = \"warty\""),
            Err(RecipeError::Suite { .. })
        ));
        assert!(matches!(
            with("flavor = \"dev\"", "flavor = \"devel\""),
            Err(RecipeError::Flavor(_))
        ));
        assert!(matches!(
            with("[firmware]", "[firmware]\nriscv = \"x\""),
            Err(RecipeError::Form(_))
        ));
    }

    #[test]
    fn production_has_nothing_to_log_in_with() {
        let recipe = Recipe::built_in().unwrap();
        let set = &recipe.sets["rootfs"];
        for forbidden in ["openssh-server", "login", "sudo", "systemd", "kmod"] {
            assert!(
                !set.packages.iter().any(|name| name == forbidden),
                "{forbidden}"
            );
        }
        for line in ["systemd.", "rd.", "root="] {
            assert!(
                !recipe
                    .kernel
                    .command_line
                    .iter()
                    .any(|word| word.starts_with(line)),
                "{line}"
            );
        }
    }
}
