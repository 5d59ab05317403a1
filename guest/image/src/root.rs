//! The root file system's tree.

use std::path::{Path, PathBuf};

use crate::kernel::{self, Kernel, Stages};
use crate::manifest::{self, Manifest};
use crate::tree;
use crate::{Binaries, Flavor, ImageError, Package, Recipe, tool};

/// Files of ours: path, content, whether it can be run.
const FILES: [(&str, &[u8]); 6] = [
    (
        "etc/chrony/chrony.conf",
        include_bytes!("../rootfs/etc/chrony/chrony.conf"),
    ),
    ("etc/group", include_bytes!("../rootfs/etc/group")),
    ("etc/hosts", include_bytes!("../rootfs/etc/hosts")),
    (
        "etc/nsswitch.conf",
        include_bytes!("../rootfs/etc/nsswitch.conf"),
    ),
    ("etc/passwd", include_bytes!("../rootfs/etc/passwd")),
    (
        "usr/lib/bylaw/sysctl.conf",
        include_bytes!("../rootfs/usr/lib/bylaw/sysctl.conf"),
    ),
];

/// Development images only: bylaw-boot runs it when it is there.
const CONSOLE_SHELL: (&str, &[u8]) = (
    "usr/lib/bylaw/console-shell",
    include_bytes!("../rootfs/usr/lib/bylaw/console-shell"),
);

/// Certificates of Mozilla's list as the package has them, and the one file that programs read.
const CERTIFICATES: &str = "usr/share/ca-certificates/mozilla";
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// Where modules are in the image.
const MODULES: &str = "/usr/lib/bylaw/modules";

/// What a root is made from.
pub(crate) struct Parts<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) flavor: Flavor,
    /// The .debs of the root's sets.
    pub(crate) debs: &'a [PathBuf],
    /// Every package of the image, for its manifest.
    pub(crate) packages: &'a [&'a Package],
    pub(crate) kernel: &'a Kernel,
    pub(crate) stages: &'a Stages,
    pub(crate) binaries: &'a Binaries,
    /// Files of whoever builds, laid over everything else.
    pub(crate) overlay: Option<&'a Path>,
    pub(crate) epoch: i64,
}

/// Lays the tree out in `root`, an empty folder.
pub(crate) fn lay_out(root: &Path, parts: &Parts<'_>) -> Result<(), ImageError> {
    for deb in parts.debs {
        tool::unpack(deb, root)?;
    }
    certificates(root)?;
    tree::prune(root, &parts.recipe.prune.paths)?;
    for (path, text) in &parts.recipe.links {
        tree::link(&root.join(path), text)?;
    }
    for path in &parts.recipe.folders.paths {
        tree::create_dir(&root.join(path))?;
    }
    for (path, content) in FILES {
        tree::write(&root.join(path), content)?;
    }
    if parts.flavor == Flavor::Dev {
        let (path, content) = CONSOLE_SHELL;
        tree::write(&root.join(path), content)?;
        tree::make_executable(&root.join(path))?;
    }
    for (from, to) in [
        (&parts.binaries.boot, "usr/lib/bylaw/bylaw-boot"),
        (&parts.binaries.agent, "usr/bin/bylaw-agent"),
    ] {
        tree::copy(from, &root.join(to))?;
        tree::make_executable(&root.join(to))?;
    }
    for (stage, modules) in &parts.stages.later {
        kernel::install(modules, &root.join(MODULES.trim_start_matches('/')))?;
        let list = kernel::list(MODULES, modules);
        tree::write(
            &root.join(format!("usr/lib/bylaw/modules.{stage}")),
            list.as_bytes(),
        )?;
    }
    if let Some(overlay) = parts.overlay {
        tree::lay_over(overlay, root)?;
    }
    tree::normalise(root, parts.epoch)?;
    let manifest = Manifest::of(
        root,
        &parts.recipe.version,
        parts.flavor,
        parts.kernel.release(),
        parts.packages,
    )?;
    tree::write(&root.join(manifest::PATH), &manifest.to_bytes()?)?;
    Ok(tree::normalise(root, parts.epoch)?)
}

/// Does what the package's script would: one file of all certificates, in the order of their names.
fn certificates(root: &Path) -> Result<(), ImageError> {
    let folder = root.join(CERTIFICATES);
    let mut bundle = Vec::new();
    for path in tree::walk(&folder)? {
        bundle.extend(tree::read(&folder.join(path))?);
    }
    Ok(tree::write(&root.join(BUNDLE), &bundle)?)
}
