//! Why a VM does not start, one variant for each part of the sequence.

use std::path::{Path, PathBuf};

use bylaw_attester::AttesterError;
use bylaw_types::compose::ComposeError;

use crate::agent::AgentError;
use crate::app::AppError;
use crate::binding::BindingError;
use crate::clock::ClockError;
use crate::command::CommandError;
use crate::disk::DiskError;
use crate::environment::EnvironmentError;
use crate::instance::InstanceError;
use crate::kernel::KernelError;
use crate::network::NetworkError;
use crate::platform::PlatformError;
use crate::requirements::RequirementError;
use crate::shared::SharedError;

/// Why a VM does not start. The sentence goes to the host: no variant carries a secret.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A file of the guest itself.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A mount.
    #[error("cannot mount {target}: {source}")]
    Mount {
        /// Where.
        target: String,
        /// Why.
        source: nix::Error,
    },
    /// Modules and settings of the kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A program.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Addresses.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// What the host shares.
    #[error(transparent)]
    Shared(#[from] SharedError),
    /// The app's manifest.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// No TEE.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The TEE.
    #[error(transparent)]
    Attester(#[from] AttesterError),
    /// What the app asks of its platform.
    #[error(transparent)]
    Requirement(#[from] RequirementError),
    /// What the launch was bound to.
    #[error(transparent)]
    Binding(#[from] BindingError),
    /// Who this VM is.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The time.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// Keys.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The data disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Variables.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// Scripts and containers.
    #[error(transparent)]
    App(#[from] AppError),
}

/// Names the file in an error.
pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> BootError + '_ {
    move |source| BootError::File {
        path: path.to_owned(),
        source,
    }
}
