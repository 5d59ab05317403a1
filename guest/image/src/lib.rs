//! Builds the guest OS image: pinned packages, verified root, measurements.
//!
//! [`Recipe`] says what goes in, [`Lock`] which exact packages that is today, [`build`] makes the image
//! directory from them. The same lock and the same guest binaries give the same bytes on any machine, in any
//! folder, at any time: the programs that make the image come from the lock too, and packages contribute
//! files only; none of their install scripts runs. [`verify()`] checks a directory against its own hashes,
//! [`diff`] says how two differ. `docs/image.md` explains every choice.

mod assemble;
mod binaries;
mod diff;
mod fetch;
mod initramfs;
mod kernel;
mod lock;
mod manifest;
mod recipe;
mod resolve;
mod root;
mod tool;
mod tree;
mod verify;

pub use assemble::{Built, Settings, build, measure};
pub use binaries::{Binaries, BinaryError};
pub use diff::{Difference, diff};
pub use fetch::{Cache, FetchError};
pub use kernel::ModuleError;
pub use lock::{Lock, LockError, Package};
pub use manifest::{Entry, Manifest, ManifestError};
pub use recipe::{Flavor, Recipe, RecipeError};
pub use resolve::{ResolveError, resolve};
pub use tool::{ToolError, Tools};
pub use tree::TreeError;
pub use verify::{VerifyError, verify};

/// Told what happens, one line at a time.
pub type Progress<'a> = &'a (dyn Fn(&str) + Sync);

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The recipe cannot be used.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The lock cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A package cannot be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A program of the build failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A file of the build cannot be read or written.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A kernel module is not as the recipe says.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// A program of ours cannot be had.
    #[error(transparent)]
    Binary(#[from] BinaryError),
    /// The list of files cannot be made or read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The image does not measure.
    #[error("cannot measure the image: {0}")]
    Measure(String),
}
