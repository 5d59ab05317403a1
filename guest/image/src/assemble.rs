//! From packages and programs to an image directory.

use std::fs;
use std::path::{Path, PathBuf};

use bylaw_measure::{ImageDir, Metadata};
use bylaw_types::OsImageHash;
use bylaw_types::file::write_atomic;

use crate::kernel::Kernel;
use crate::root::{self, Parts};
use crate::tool::{self, Tools};
use crate::tree::{self, TreeError};
use crate::{Binaries, Cache, Flavor, ImageError, Lock, Progress, Recipe, initramfs};

/// Names in an image directory.
pub(crate) const KERNEL: &str = "bzImage";
const INITRD: &str = "initramfs.cpio.gz";
pub(crate) const ROOT: &str = "rootfs.img.verity";
const FIRMWARE_TDX: &str = "ovmf.fd";
const FIRMWARE_SNP: &str = "ovmf-sev.fd";
const METADATA: &str = "metadata.json";

/// Data of a block and of a node of the hash tree, in bytes; `bylaw-init` expects it.
const BLOCK: u64 = 4096;
/// Names the verity superblock; any fixed one does, nobody looks for it.
const VERITY_UUID: &str = "62796c61-7721-4000-8000-000000000001";

/// What is built, and where to.
#[derive(Debug)]
pub struct Settings<'a> {
    /// What goes in.
    pub recipe: &'a Recipe,
    /// Which packages.
    pub lock: &'a Lock,
    /// Which kind.
    pub flavor: Flavor,
    /// Our programs.
    pub binaries: &'a Binaries,
    /// A folder whose files are laid over the root file system.
    pub overlay: Option<&'a Path>,
    /// Packages on this machine.
    pub cache: &'a Cache,
    /// The image directory; replaced if it is one already.
    pub out: &'a Path,
}

/// An image that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Its directory.
    pub path: PathBuf,
    /// What contracts allow.
    pub os_image_hash: OsImageHash,
    /// Files and their sizes in bytes, by name.
    pub files: Vec<(String, u64)>,
}

/// Builds an image.
///
/// All work happens in a folder beside `out`, which takes its place in the end: an image directory is whole or
/// not there.
///
/// # Errors
/// [`ImageError`].
pub async fn build(settings: Settings<'_>, progress: Progress<'_>) -> Result<Built, ImageError> {
    let Settings {
        recipe,
        lock,
        flavor,
        cache,
        ..
    } = settings;
    lock.check_against(recipe)?;
    let root_sets = recipe.root_sets(flavor)?;
    let debs = async |sets: &[&str]| -> Result<Vec<PathBuf>, ImageError> {
        let packages = lock.packages_of(sets)?;
        Ok(cache
            .files(&packages, &recipe.archives, lock, progress)
            .await?)
    };
    let packages = Packages {
        root: debs(&root_sets).await?,
        kernel: debs(&["kernel"]).await?,
        firmware: debs(&["firmware-tdx", "firmware-snp"]).await?,
        tools: debs(&["tools"]).await?,
    };
    tokio::task::block_in_place(|| assemble(&settings, &root_sets, &packages, progress))
}

/// The .debs by what they are for.
struct Packages {
    root: Vec<PathBuf>,
    kernel: Vec<PathBuf>,
    firmware: Vec<PathBuf>,
    tools: Vec<PathBuf>,
}

fn assemble(
    settings: &Settings<'_>,
    root_sets: &[&str],
    packages: &Packages,
    progress: Progress<'_>,
) -> Result<Built, ImageError> {
    let Settings {
        recipe,
        lock,
        flavor,
        binaries,
        overlay,
        out,
        ..
    } = *settings;
    let epoch = lock.epoch()?;
    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    tree::create_dir(parent)?;
    let work = tempfile::Builder::new()
        .prefix(".bylaw-image-")
        .tempdir_in(parent)
        .map_err(|source| TreeError::new(parent, source))?;
    let work = work.path();

    progress("unpacking tools, kernel and firmware");
    let tools = Tools::unpack(&packages.tools, work.join("tools"))?;
    for deb in packages.kernel.iter().chain(&packages.firmware) {
        tool::unpack(deb, &work.join("boot"))?;
    }
    let kernel = Kernel::find(&work.join("boot"))?;
    let stages = kernel.stages(&recipe.modules, &tools, &work.join("modules"))?;

    progress("laying out the root file system");
    let sets = [root_sets, &["kernel", "firmware-tdx", "firmware-snp"]].concat();
    let listed = lock.packages_of(&sets)?;
    root::lay_out(
        &work.join("root"),
        &Parts {
            recipe,
            flavor,
            debs: &packages.root,
            packages: &listed,
            kernel: &kernel,
            stages: &stages,
            binaries,
            overlay,
            epoch,
        },
    )?;

    let image = work.join("image");
    tree::create_dir(&image)?;
    progress("compressing the root file system");
    let size = squash(&tools, &work.join("root"), &image.join(ROOT), epoch)?;
    progress("computing its hash tree");
    let hash = hash_tree(&tools, &image.join(ROOT), size)?;

    progress("packing the initramfs");
    initramfs::make(
        &tools,
        &binaries.init,
        &stages.initramfs,
        epoch,
        work,
        &image.join(INITRD),
    )?;
    tree::copy(&kernel.image(), &image.join(KERNEL))?;
    tree::copy(
        &work.join("boot").join(&recipe.firmware.tdx),
        &image.join(FIRMWARE_TDX),
    )?;
    tree::copy(
        &work.join("boot").join(&recipe.firmware.snp),
        &image.join(FIRMWARE_SNP),
    )?;
    let metadata = metadata(recipe, flavor, &hash, size);
    let mut json = serde_json::to_vec_pretty(&metadata).map_err(crate::ManifestError::Form)?;
    json.push(b'\n');
    tree::write(&image.join(METADATA), &json)?;

    progress("measuring");
    let os_image_hash = measure(&image)?;
    let files = sizes(&image)?;
    replace(&image, out)?;
    Ok(Built {
        path: out.to_owned(),
        os_image_hash,
        files,
    })
}

/// Writes what the files of an image directory measure to, its checksums and its digest.
///
/// # Errors
/// [`ImageError::Measure`].
pub fn measure(path: &Path) -> Result<OsImageHash, ImageError> {
    let failed = |error: bylaw_measure::ImageDirError| ImageError::Measure(error.to_string());
    ImageDir::open(path)
        .map_err(failed)?
        .write_measurements()
        .map_err(failed)
}

/// Packs `root` and answers the size, padded to whole blocks.
fn squash(tools: &Tools, root: &Path, output: &Path, epoch: i64) -> Result<u64, ImageError> {
    let time = epoch.to_string();
    let mut mksquashfs = tools.command("mksquashfs");
    mksquashfs
        .arg(root)
        .arg(output)
        .args(["-comp", "zstd", "-Xcompression-level", "9", "-b", "131072"])
        .args([
            "-all-root",
            "-no-xattrs",
            "-no-exports",
            "-noappend",
            "-reproducible",
        ])
        .args(["-mkfs-time", &time, "-all-time", &time])
        .args(["-quiet", "-no-progress"]);
    tool::run(&mut mksquashfs)?;
    let failed = |source| TreeError::new(output, source);
    let length = fs::metadata(output).map_err(failed)?.len();
    let size = length.next_multiple_of(BLOCK);
    fs::OpenOptions::new()
        .write(true)
        .open(output)
        .and_then(|file| file.set_len(size))
        .map_err(failed)?;
    Ok(size)
}

/// Appends the hash tree behind `size` bytes and answers its root.
fn hash_tree(tools: &Tools, image: &Path, size: u64) -> Result<String, ImageError> {
    let mut veritysetup = tools.command("veritysetup");
    veritysetup
        .args([
            "format",
            "--hash=sha256",
            "--salt=-",
            "--data-block-size=4096",
            "--hash-block-size=4096",
        ])
        .arg(format!("--uuid={VERITY_UUID}"))
        .arg(format!("--hash-offset={size}"))
        .arg(format!("--data-blocks={}", size / BLOCK))
        .arg(image)
        .arg(image);
    let printed = tool::run(&mut veritysetup)?;
    let hash = printed
        .lines()
        .find_map(|line| line.strip_prefix("Root hash:"))
        .map(|hash| hash.trim().to_owned());
    hash.ok_or_else(|| ImageError::Measure("veritysetup printed no root hash".to_owned()))
}

fn metadata(recipe: &Recipe, flavor: Flavor, hash: &str, size: u64) -> Metadata {
    let base = recipe.kernel.command_line.join(" ");
    Metadata {
        version: recipe.version.clone(),
        is_dev: flavor == Flavor::Dev,
        kernel: KERNEL.to_owned(),
        initrd: INITRD.to_owned(),
        cmdline: Some(format!(
            "{base} dstack.rootfs_hash={hash} dstack.rootfs_size={size}"
        )),
        rootfs: Some(ROOT.to_owned()),
        rootfs_hash: Some(hash.to_owned()),
        bios: Some(FIRMWARE_TDX.to_owned()),
        bios_sev: Some(FIRMWARE_SNP.to_owned()),
        shared_ro: true,
        // What verifiers recompute this firmware's log by; `measure` refuses firmware of another layout.
        ovmf_variant: Some("pre202505".to_owned()),
        ..Metadata::default()
    }
}

fn sizes(image: &Path) -> Result<Vec<(String, u64)>, TreeError> {
    tree::walk(image)?
        .into_iter()
        .map(|path| {
            let at = image.join(&path);
            let length = fs::metadata(&at)
                .map_err(|source| TreeError::new(&at, source))?
                .len();
            Ok((path.display().to_string(), length))
        })
        .collect()
}

/// Puts the finished directory where it belongs. What is there already goes only if it is an image.
fn replace(image: &Path, out: &Path) -> Result<(), ImageError> {
    let failed = |source| TreeError::new(out, source);
    if out.exists() {
        ImageDir::open(out).map_err(|error| {
            ImageError::Measure(format!(
                "{} is there and is no image: {error}",
                out.display()
            ))
        })?;
        fs::remove_dir_all(out).map_err(failed)?;
    }
    // The name is durable once a file is written through it.
    fs::rename(image, out).map_err(failed)?;
    let digest = out.join("digest.txt");
    let content = tree::read(&digest)?;
    write_atomic(&digest, &content).map_err(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_ends_with_the_root_and_names_it_once() {
        let recipe = Recipe::built_in().unwrap();
        let metadata = metadata(&recipe, Flavor::Dev, "ab", 8192);
        let line = metadata.cmdline.unwrap();
        assert!(
            line.ends_with(" dstack.rootfs_hash=ab dstack.rootfs_size=8192"),
            "{line}"
        );
        assert!(line.starts_with("console=ttyS0 init=/init "), "{line}");
        assert_eq!(line.matches("dstack.rootfs").count(), 2);
        assert!(metadata.is_dev);
    }

    #[test]
    fn a_folder_that_is_no_image_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (image, out) = (folder.path().join("image"), folder.path().join("out"));
        tree::write(&image.join("digest.txt"), b"x").unwrap();
        tree::write(&out.join("holiday.jpg"), b"x").unwrap();
        assert!(matches!(replace(&image, &out), Err(ImageError::Measure(_))));
        assert!(out.join("holiday.jpg").exists());
    }
}
