//! Images that carry no measurements: their registers are recomputed from their files
//! (mode `legacy` of the measurements reference, section 7).

use std::fmt;

use async_trait::async_trait;
use bylaw_types::OsImageHash;

use super::{BootRegisters, ImageError, VmConfig, compare, prove};
use crate::event_log::TdxEvent;

/// Who has the files of images, and can build their machines.
#[async_trait]
pub trait ImageSource: fmt::Debug + Send + Sync {
    /// What booting `image` leaves in the registers of a VM with this vm_config.
    ///
    /// The implementation vouches that the files are those that `image` commits to. Of
    /// the text, only the VM's shape may be used.
    ///
    /// # Errors
    /// What is missing, for the one who asked.
    async fn registers(&self, image: OsImageHash, vm_config: &str)
    -> Result<BootRegisters, String>;
}

/// [`prove`], and for images in mode `legacy` the same from their files.
///
/// # Errors
/// [`ImageError`] names the first thing that does not fit.
pub async fn prove_with(
    vm_config: &str,
    quoted: &BootRegisters,
    event_log: &[TdxEvent],
    images: &dyn ImageSource,
) -> Result<OsImageHash, ImageError> {
    let config = VmConfig::parse(vm_config)?;
    match config.tdx_attestation_variant.as_deref() {
        // Measurements that it carries do not change how it is proven.
        None | Some("legacy") => {}
        Some(_) => return prove(vm_config, quoted, event_log),
    }
    let claimed: OsImageHash = config.os_image_hash.parse()?;
    let expected = images
        .registers(claimed, vm_config)
        .await
        .map_err(|reason| ImageError::NotRecomputed { claimed, reason })?;
    compare(claimed, &expected, quoted)
}
