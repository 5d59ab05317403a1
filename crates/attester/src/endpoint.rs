//! From an endpoint in a configuration file to an attester.

use std::sync::Arc;

use crate::kernel::Roots;
use crate::linux::{LinuxAttester, Tee};
use crate::socket::SocketAttester;
use crate::{Attester, AttesterError};

/// An endpoint that names no TEE.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "attester endpoint {0:?} must be linux, linux:tdx, linux:snp, agent:<socket> or simtee:<socket or http://…>"
)]
pub struct EndpointError(pub(crate) String);

/// The attester at `endpoint`.
///
/// `vm_config` describes the VM: the JSON text itself, or the whole sys-config
/// around it. Only the `linux` endpoints use it; the others answer for themselves.
/// Blocks for a few file system calls.
///
/// # Errors
/// [`EndpointError`], or what this VM lacks.
pub fn attester_from(
    endpoint: &str,
    vm_config: Option<&str>,
) -> Result<Arc<dyn Attester>, AttesterError> {
    attester_at(endpoint, vm_config, Roots::default())
}

/// [`attester_from`] over another file tree.
///
/// # Errors
/// As [`attester_from`].
pub fn attester_at(
    endpoint: &str,
    vm_config: Option<&str>,
    roots: Roots,
) -> Result<Arc<dyn Attester>, AttesterError> {
    let tee = match endpoint {
        "linux" => None,
        "linux:tdx" => Some(Tee::Tdx),
        "linux:snp" => Some(Tee::Snp),
        other => return Ok(Arc::new(other.parse::<SocketAttester>()?)),
    };
    Ok(Arc::new(LinuxAttester::open(tee, vm_config, roots)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PlatformError;

    #[test]
    fn endpoints_that_name_no_tee_are_refused_with_the_ones_that_do() {
        for bad in ["", "linux:", "linux:sgx", "/run/x", "agent:", "tdx:/x"] {
            let error = attester_from(bad, None).unwrap_err();
            assert!(
                matches!(error, AttesterError::Endpoint(_)),
                "{bad}: {error}"
            );
            assert!(error.to_string().contains("linux:snp"), "{error}");
        }
        attester_from("agent:/run/dstack.sock", None).unwrap();
        attester_from("simtee:/run/td.sock", None).unwrap();
    }

    #[test]
    fn a_machine_without_a_tee_is_told_what_to_enable() {
        let dir = tempfile::tempdir().unwrap();
        for endpoint in ["linux", "linux:tdx", "linux:snp"] {
            let error = attester_at(endpoint, None, Roots::under(dir.path())).unwrap_err();
            assert!(
                matches!(error, AttesterError::Platform(PlatformError::NoTsm { .. })),
                "{error}"
            );
            assert!(error.to_string().contains("CONFIG_TSM_REPORTS"), "{error}");
        }
    }
}
