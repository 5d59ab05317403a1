//! Kernel modules: which, in what order, as plain files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection};

use crate::ImageError;
use crate::recipe::Modules;
use crate::tool::Tools;
use crate::tree::{self, TreeError};

/// Where module files of the kernel packages are.
const MODULES: &str = "usr/lib/modules";

/// Why the modules are not what the recipe needs.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The kernel packages hold no kernel, or several.
    #[error("the kernel packages hold {0} kernels, they must hold one")]
    Kernels(usize),
    /// A name in the recipe, or a dependency, that no file has.
    #[error("no module {name} in the kernel packages (needed by {by}); is it built in since?")]
    Missing {
        /// The module.
        name: String,
        /// Who names it.
        by: String,
    },
    /// Modules that need each other.
    #[error("module {0} depends on itself")]
    Circle(String),
    /// Not an ELF file with module information.
    #[error("{path} is no kernel module: {what}")]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// A kernel as unpacked from its packages.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// `usr/lib/modules/<release>` in full.
    folder: PathBuf,
    /// The release's name.
    release: String,
    /// Compressed module files by module name.
    files: BTreeMap<String, PathBuf>,
}

/// A module to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    /// Its name as the kernel writes it, with `_`.
    pub(crate) name: String,
    /// Whether its hardware may not be there.
    pub(crate) optional: bool,
    /// The plain file.
    pub(crate) file: PathBuf,
}

/// Modules by the stage that loads them, each list in the order to load, none twice.
#[derive(Debug)]
pub(crate) struct Stages {
    pub(crate) initramfs: Vec<Module>,
    /// By the name of the list in the image.
    pub(crate) later: Vec<(&'static str, Vec<Module>)>,
}

impl Kernel {
    /// Looks into `root`, where the kernel packages were unpacked.
    pub(crate) fn find(root: &Path) -> Result<Self, ImageError> {
        let modules = root.join(MODULES);
        let releases: Vec<PathBuf> = tree::walk(&modules)?
            .into_iter()
            .filter(|path| path.file_name().is_some_and(|name| name == "vmlinuz"))
            .filter_map(|path| path.parent().map(Path::to_owned))
            .collect();
        let [release] = releases.as_slice() else {
            return Err(ModuleError::Kernels(releases.len()).into());
        };
        let folder = modules.join(release);
        let mut files = BTreeMap::new();
        for path in tree::walk(&folder)? {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            if let Some(stem) = name.as_deref().and_then(|name| name.strip_suffix(".ko.xz")) {
                files.insert(stem.replace('-', "_"), folder.join(path));
            }
        }
        Ok(Self {
            release: release.display().to_string(),
            folder,
            files,
        })
    }

    /// The bzImage.
    pub(crate) fn image(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// The release's name, as `uname -r` says it.
    pub(crate) fn release(&self) -> &str {
        &self.release
    }

    /// The modules of the recipe and all they need, unpacked below `to`.
    pub(crate) fn stages(
        &self,
        recipe: &Modules,
        tools: &Tools,
        to: &Path,
    ) -> Result<Stages, ImageError> {
        tree::create_dir(to)?;
        let mut order = Order {
            kernel: self,
            tools,
            to,
            seen: BTreeSet::new(),
        };
        Ok(Stages {
            initramfs: order.list("initramfs", &recipe.initramfs)?,
            later: vec![
                ("early", order.list("early", &recipe.early)?),
                ("disk", order.list("disk", &recipe.disk)?),
                ("network", order.list("network", &recipe.network)?),
            ],
        })
    }
}

/// Puts modules behind what they depend on.
struct Order<'a> {
    kernel: &'a Kernel,
    tools: &'a Tools,
    to: &'a Path,
    seen: BTreeSet<String>,
}

impl Order<'_> {
    fn list(&mut self, stage: &str, names: &[String]) -> Result<Vec<Module>, ImageError> {
        let mut modules = Vec::new();
        for name in names {
            let plain = name.trim_start_matches('?');
            self.add(plain, plain != name, stage, &mut Vec::new(), &mut modules)?;
        }
        Ok(modules)
    }

    fn add(
        &mut self,
        name: &str,
        optional: bool,
        by: &str,
        above: &mut Vec<String>,
        modules: &mut Vec<Module>,
    ) -> Result<(), ImageError> {
        let name = name.replace('-', "_");
        if above.contains(&name) {
            return Err(ModuleError::Circle(name).into());
        }
        if self.seen.contains(&name) {
            return Ok(());
        }
        let packed = self
            .kernel
            .files
            .get(&name)
            .ok_or_else(|| ModuleError::Missing {
                name: name.clone(),
                by: by.to_owned(),
            })?;
        let file = self.to.join(format!("{name}.ko"));
        let mut xz = self.tools.command("xz");
        self.tools.run_into(
            xz.args(["--decompress", "--stdout"]).arg(packed),
            None,
            &file,
        )?;
        above.push(name.clone());
        for needed in needs(&file)? {
            // What hardware-dependent code needs is there whether the hardware is or not.
            self.add(&needed, false, &name, above, modules)?;
        }
        above.pop();
        self.seen.insert(name.clone());
        modules.push(Module {
            name,
            optional,
            file,
        });
        Ok(())
    }
}

/// Names of the modules that this one must find loaded, from its `.modinfo`.
fn needs(path: &Path) -> Result<Vec<String>, ImageError> {
    let bytes = tree::read(path)?;
    let form = |what: &str| ModuleError::Form {
        path: path.to_owned(),
        what: what.to_owned(),
    };
    let file = object::File::parse(&*bytes).map_err(|error| form(&error.to_string()))?;
    let section = file
        .section_by_name(".modinfo")
        .ok_or_else(|| form("it has no .modinfo"))?;
    let data = section.data().map_err(|error| form(&error.to_string()))?;
    Ok(dependencies(data))
}

/// Reads `.modinfo`: `key=value` texts that each end in NUL.
fn dependencies(modinfo: &[u8]) -> Vec<String> {
    modinfo
        .split(|byte| *byte == 0)
        .filter_map(|text| std::str::from_utf8(text).ok()?.strip_prefix("depends="))
        .flat_map(|names| names.split(','))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The text of a module list in the image: one path a line, `?` before those whose hardware may be missing.
pub(crate) fn list(folder: &str, modules: &[Module]) -> String {
    let mut text = String::new();
    for module in modules {
        let mark = if module.optional { "?" } else { "" };
        text += &format!("{mark}{folder}/{}.ko\n", module.name);
    }
    text
}

/// Copies the files of `modules` into `folder`.
pub(crate) fn install(modules: &[Module], folder: &Path) -> Result<(), TreeError> {
    for module in modules {
        tree::copy(&module.file, &folder.join(format!("{}.ko", module.name)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_information_names_what_is_needed() {
        assert_eq!(
            dependencies(b"license=GPL\0depends=dm-mod,dm-bufio\0retpoline=Y\0"),
            ["dm-mod", "dm-bufio"]
        );
        assert!(dependencies(b"depends=\0name=x\0").is_empty());
        assert!(dependencies(b"xdepends=a\0\xff\0").is_empty());
    }

    #[test]
    fn a_list_marks_what_may_be_missing() {
        let module = |name: &str, optional| Module {
            name: name.into(),
            optional,
            file: PathBuf::new(),
        };
        assert_eq!(
            list("/m", &[module("one", false), module("two", true)]),
            "/m/one.ko\n?/m/two.ko\n"
        );
    }

    #[test]
    fn a_file_that_is_no_module_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.ko");
        tree::write(&path, b"\x7fELF").unwrap();
        assert!(matches!(
            needs(&path),
            Err(ImageError::Module(ModuleError::Form { .. }))
        ));
    }

    #[test]
    fn no_kernel_or_two_are_refused() {
        let root = tempfile::tempdir().unwrap();
        tree::create_dir(&root.path().join(MODULES)).unwrap();
        let kernels = |expected| {
            matches!(
                Kernel::find(root.path()),
                Err(ImageError::Module(ModuleError::Kernels(found))) if found == expected
            )
        };
        assert!(kernels(0));
        for release in ["7.1", "7.2"] {
            tree::write(
                &root.path().join(MODULES).join(release).join("vmlinuz"),
                b"x",
            )
            .unwrap();
        }
        assert!(kernels(2));
    }
}
