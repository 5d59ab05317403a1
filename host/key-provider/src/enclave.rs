//! Where the sealing key and the enclave's word come from.

mod gramine;
mod simulator;

use async_trait::async_trait;
use bylaw_types::ReportData;

pub use gramine::Gramine;
pub use simulator::{Simulator, SimulatorTrust};

use crate::derive::SealingKey;

/// An enclave that cannot do its work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnclaveError {
    /// This process is no enclave, or its manifest does not let it attest.
    #[error(
        "{path}: {reason}; run under gramine-sgx with `sgx.remote_attestation = \"dcap\"` in the manifest"
    )]
    Gramine {
        /// Pseudo-file that failed.
        path: String,
        /// Why.
        reason: String,
    },
    /// The software TEE does not answer as expected.
    #[error("the software TEE: {0}")]
    Simulator(String),
}

/// A sealing enclave.
#[async_trait]
pub trait Enclave: std::fmt::Debug + Send + Sync {
    /// The key that only this enclave on this machine has.
    ///
    /// # Errors
    /// [`EnclaveError`].
    async fn sealing_key(&self) -> Result<SealingKey, EnclaveError>;

    /// An SGX quote over these bytes.
    ///
    /// # Errors
    /// [`EnclaveError`].
    async fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, EnclaveError>;
}
