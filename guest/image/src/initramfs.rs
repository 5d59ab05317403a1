//! The first file system: `bylaw-init`, and the drivers that open the root.

use std::path::Path;

use crate::ImageError;
use crate::kernel::{self, Module};
use crate::tool::Tools;
use crate::tree::{self, TreeError};

/// Makes `output`, a gzip of a cpio archive (newc), from `init` and `modules`; `work` is an empty folder.
///
/// Names are sorted, owners are root, times are `epoch`, inode and device numbers count from the archive's
/// start: the bytes depend on the content alone.
pub(crate) fn make(
    tools: &Tools,
    init: &Path,
    modules: &[Module],
    epoch: i64,
    work: &Path,
    output: &Path,
) -> Result<(), ImageError> {
    let tree = work.join("initramfs");
    tree::copy(init, &tree.join("init"))?;
    tree::make_executable(&tree.join("init"))?;
    kernel::install(modules, &tree.join("modules"))?;
    let mut names = String::new();
    for module in modules {
        names += &format!("{}.ko\n", module.name);
    }
    tree::write(&tree.join("modules/list"), names.as_bytes())?;
    tree::normalise(&tree, epoch)?;

    let mut list = String::new();
    for path in tree::walk(&tree)? {
        list += &format!("{}\n", path.display());
    }
    let listed = work.join("initramfs.list");
    tree::write(&listed, list.as_bytes())?;

    let archive = work.join("initramfs.cpio");
    let mut cpio = tools.command("cpio");
    cpio.args([
        "--create",
        "--quiet",
        "--format=newc",
        "--reproducible",
        "--owner=+0:+0",
    ])
    .arg("--directory")
    .arg(&tree);
    tools.run_into(&mut cpio, Some(&listed), &archive)?;
    let mut gzip = tools.command("gzip");
    gzip.args(["--no-name", "--best", "--stdout"]);
    tools.run_into(&mut gzip, Some(&archive), output)?;
    std::fs::remove_file(&archive).map_err(|source| TreeError::new(&archive, source))?;
    Ok(())
}
