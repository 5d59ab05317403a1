//! Which TEE this VM runs in.

use crate::error::PlatformError;
use crate::kernel::{Kernel, Roots, text};
use crate::linux::Tee;
use crate::tsm;

/// What the VM says it is: clouds first, whose evidence has its own form, then the
/// driver that the kernel loaded.
pub(super) fn detect(kernel: &dyn Kernel, roots: &Roots) -> Result<Tee, PlatformError> {
    if let Some(cloud) = unsupported_cloud(kernel, roots) {
        return Err(PlatformError::UnsupportedCloud(cloud));
    }
    let provider = tsm::provider(kernel, roots)?;
    [Tee::Tdx, Tee::Snp]
        .into_iter()
        .find(|tee| tee.provider() == provider)
        .ok_or(PlatformError::UnsupportedProvider(provider))
}

/// The operator knows the TEE, and takes what evidence the CPU alone gives even on a
/// cloud with more; the driver must still be the TEE's.
pub(super) fn demand(kernel: &dyn Kernel, roots: &Roots, tee: Tee) -> Result<Tee, PlatformError> {
    let actual = tsm::provider(kernel, roots)?;
    if actual == tee.provider() {
        Ok(tee)
    } else {
        Err(PlatformError::OtherProvider {
            expected: tee.provider(),
            actual,
        })
    }
}

fn unsupported_cloud(kernel: &dyn Kernel, roots: &Roots) -> Option<&'static str> {
    if roots.sysfs.join("class/misc/nsm").exists() {
        return Some("AWS Nitro Enclaves");
    }
    let product = dmi(kernel, roots, "product_name");
    match (product.as_str(), dmi(kernel, roots, "sys_vendor").as_str()) {
        ("dstack" | "qemu", _) => None,
        ("Google Compute Engine", _) => Some("Google Cloud"),
        (_, "Amazon EC2") => Some("AWS EC2"),
        _ => None,
    }
}

/// A DMI name; empty where the VM has none.
pub(super) fn dmi(kernel: &dyn Kernel, roots: &Roots, name: &str) -> String {
    text(kernel, &roots.sysfs.join("class/dmi/id").join(name)).unwrap_or_default()
}
