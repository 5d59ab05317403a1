//! Asking the TEE this process runs in: quote these bytes, extend the runtime
//! register, give me a key that only this state of this TEE can have.
//!
//! Two kinds of TEE answer on a Unix socket in the same form: the guest agent of
//! a confidential VM (`agent:PATH`), and a simulated TD (`simtee:PATH`).

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use bylaw_attest::{Attestation, DecodeError};
use bylaw_keys::Secret;
use bylaw_rpc::message::guest::{
    AppInfo, AttestResponse, EmitEventArgs, GetKeyArgs, GetKeyResponse, RawQuoteArgs,
};
use bylaw_rpc::{Client, ClientError, Empty};
use bylaw_types::{KeyProviderInfo, ReportData};
use zeroize::Zeroize;

/// The TEE does not give what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AttesterError {
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
    /// A key that would not survive a restart, or that somebody else derives.
    #[error(
        "this VM's keys come from `{0}`; sealing needs `local-sgx` or `tpm` \
         (key_provider in app-compose.json)"
    )]
    NoSealing(String),
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

    /// Extends a runtime event into RTMR3.
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Agent,
    SimTee,
}

/// A TEE behind a Unix socket.
#[derive(Debug, Clone)]
pub struct SocketAttester {
    kind: Kind,
    client: Client,
}

/// An endpoint that names no TEE.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("attester endpoint {0:?} must be agent:<socket> or simtee:<socket>")]
pub struct EndpointError(String);

impl FromStr for SocketAttester {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let bad = || EndpointError(text.to_owned());
        let (kind, path) = text.split_once(':').ok_or_else(bad)?;
        let kind = match kind {
            "agent" => Kind::Agent,
            "simtee" => Kind::SimTee,
            _ => return Err(bad()),
        };
        if path.is_empty() {
            return Err(bad());
        }
        Ok(Self {
            kind,
            client: Client::new(&format!("unix:{path}")).map_err(|_| bad())?,
        })
    }
}

impl SocketAttester {
    /// Whether the TEE is simulated.
    pub fn is_simulated(&self) -> bool {
        self.kind == Kind::SimTee
    }

    async fn info(&self) -> Result<AppInfo, AttesterError> {
        self.client
            .call("Info", &Empty {})
            .await
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: ClientError) -> AttesterError {
        AttesterError::Call {
            endpoint: self.client.url().to_owned(),
            source,
        }
    }
}

#[async_trait]
impl Attester for SocketAttester {
    async fn attest(&self, report_data: &ReportData) -> Result<Attestation, AttesterError> {
        let request = RawQuoteArgs {
            report_data: report_data.as_bytes().to_vec(),
        };
        let answer: AttestResponse = self
            .client
            .call("Attest", &request)
            .await
            .map_err(|source| self.failed(source))?;
        Ok(Attestation::decode(&answer.attestation)?)
    }

    async fn extend(&self, event: &str, payload: &[u8]) -> Result<(), AttesterError> {
        let request = EmitEventArgs {
            event: event.to_owned(),
            payload: payload.to_vec(),
        };
        let _: Empty = self
            .client
            .call("EmitEvent", &request)
            .await
            .map_err(|source| self.failed(source))?;
        Ok(())
    }

    async fn sealing_key(&self, context: &str) -> Result<Secret, AttesterError> {
        if self.kind == Kind::Agent {
            // A KMS that sealed with keys from another KMS could not start without it;
            // keys from nowhere change at every boot.
            let text = self.info().await?.key_provider_info;
            let provider = serde_json::from_str::<KeyProviderInfo>(&text)
                .map_or_else(|_| text.clone(), |info| info.name);
            if !matches!(provider.as_str(), "local-sgx" | "tpm") {
                return Err(AttesterError::NoSealing(provider));
            }
        }
        let request = GetKeyArgs {
            path: format!("bylaw/seal/{context}"),
            purpose: "sealing".to_owned(),
            ..GetKeyArgs::default()
        };
        let mut answer: GetKeyResponse = self
            .client
            .call("GetKey", &request)
            .await
            .map_err(|source| self.failed(source))?;
        let key = Secret::from_slice(&answer.key).ok_or(AttesterError::BadKey);
        answer.key.zeroize();
        key
    }

    async fn vm_config(&self) -> Result<String, AttesterError> {
        Ok(self.info().await?.vm_config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_name_their_kind() {
        assert!(
            "simtee:/run/td.sock"
                .parse::<SocketAttester>()
                .unwrap()
                .is_simulated()
        );
        assert!(
            !"agent:/run/dstack.sock"
                .parse::<SocketAttester>()
                .unwrap()
                .is_simulated()
        );
        for bad in ["", "/run/x", "agent:", "tdx:/x"] {
            assert!(bad.parse::<SocketAttester>().is_err(), "{bad}");
        }
    }
}
