//! Asking the TEE this process runs in: quote these 64 bytes, extend the runtime
//! register, give me a key that only this state of this TEE can have, say what
//! hardware this is.
//!
//! [`attester_from`] turns an endpoint into an [`Attester`]:
//!
//! | endpoint | who answers |
//! |---|---|
//! | `agent:SOCKET` | the guest agent of a confidential VM |
//! | `simtee:SOCKET`, `simtee:http://…/td/TOKEN` | a simulated TD |
//! | `linux` | the kernel of this VM; which TEE is detected |
//! | `linux:tdx`, `linux:snp` | the kernel of this VM, which must be that TEE |

mod endpoint;
mod error;
mod events;
mod hardware;
mod kernel;
mod linux;
mod rtmr;
mod socket;
mod tsm;

#[cfg(test)]
mod fake_kernel;

use std::fmt;

use async_trait::async_trait;
use bylaw_attest::{Attestation, DecodeError};
use bylaw_keys::Secret;
use bylaw_rpc::ClientError;
use bylaw_types::ReportData;

pub use endpoint::{EndpointError, attester_at, attester_from};
pub use error::PlatformError;
pub use events::{
    LogError, fix_event_version, parse as parse_event_log, to_line as event_log_line,
};
pub use hardware::{Hardware, Interface};
pub use kernel::Roots;
pub use linux::{LinuxAttester, Tee};
pub use rtmr::Measurement;
pub use socket::SocketAttester;

/// The TEE does not give what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AttesterError {
    /// The endpoint names no TEE.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// It does not answer, or refuses.
    #[error("TEE at {endpoint}: {source}. Is this process inside a confidential VM?")]
    Call {
        /// Which.
        endpoint: String,
        /// Why.
        source: ClientError,
    },
    /// Its evidence does not parse.
    #[error("TEE evidence: {0}")]
    Evidence(#[from] DecodeError),
    /// The kernel, or what it drives, lacks something.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// A key that would not survive a restart, or that somebody else derives.
    #[error("{keys_from} gives no key to seal with; use {instead}")]
    NoSealing {
        /// Where this VM's keys come from, or what it runs on.
        keys_from: String,
        /// What to use instead.
        instead: &'static str,
    },
    /// A key of another length.
    #[error("the TEE gave a sealing key of another length than 32 bytes")]
    BadKey,
}

/// The TEE this process runs in.
#[async_trait]
pub trait Attester: fmt::Debug + Send + Sync {
    /// Evidence for these 64 bytes, with the whole event log.
    ///
    /// # Errors
    /// [`AttesterError`].
    async fn attest(&self, report_data: &ReportData) -> Result<Attestation, AttesterError>;

    /// Extends a runtime event into the runtime register and logs it.
    ///
    /// SEV-SNP has no such register: there the event is logged, and proves nothing.
    ///
    /// # Errors
    /// [`AttesterError`].
    async fn extend(&self, event: &str, payload: &[u8]) -> Result<(), AttesterError>;

    /// A key bound to this TEE in this state, the same after a restart.
    ///
    /// # Errors
    /// [`AttesterError::NoSealing`] where the platform has none.
    async fn sealing_key(&self, context: &str) -> Result<Secret, AttesterError>;

    /// The VM's description of itself, JSON.
    ///
    /// # Errors
    /// [`AttesterError`].
    async fn vm_config(&self) -> Result<String, AttesterError>;

    /// What this VM runs on, by its own word: for people and logs, not for decisions.
    ///
    /// # Errors
    /// [`AttesterError`].
    async fn hardware(&self) -> Result<Hardware, AttesterError>;
}
