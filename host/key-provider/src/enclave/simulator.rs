//! The sealing enclave of a software TEE, over its control socket.

use async_trait::async_trait;
use bylaw_attest::TrustAnchors;
use bylaw_rpc::client::Client;
use bylaw_rpc::message::simtee::{MachineInfo, SgxKeyResponse, SgxQuoteArgs, SgxQuoteResponse};
use bylaw_rpc::{Empty, Message};
use bylaw_types::ReportData;

use super::{Enclave, EnclaveError};
use crate::derive::SealingKey;

/// A software TEE.
#[derive(Debug)]
pub struct Simulator {
    control: Client,
}

/// What evidence of the software TEE's TDs is verified with.
#[derive(Debug)]
pub struct SimulatorTrust {
    /// Its root alone.
    pub anchors: TrustAnchors,
    /// Where its collateral is.
    pub pccs_url: String,
}

impl Simulator {
    /// The software TEE with its control socket at this address.
    ///
    /// # Errors
    /// [`EnclaveError::Simulator`].
    pub fn new(control: &str) -> Result<Self, EnclaveError> {
        Ok(Self {
            control: Client::new(control).map_err(|error| failed(&error))?,
        })
    }

    /// Its root and collateral.
    ///
    /// # Errors
    /// [`EnclaveError::Simulator`]; also when it claims a vendor's root as its own, under
    /// which keys would look like production keys.
    pub async fn trust(&self) -> Result<SimulatorTrust, EnclaveError> {
        let info: MachineInfo = self.call("Info", &Empty {}).await?;
        let anchors =
            TrustAnchors::with_tdx_root(info.root_ca.as_bytes()).map_err(|error| failed(&error))?;
        if anchors.set().is_vendor() {
            return Err(failed(&"it claims Intel's root certificate as its own"));
        }
        Ok(SimulatorTrust {
            anchors,
            pccs_url: info.pccs_url,
        })
    }

    async fn call<Req: Message, Res: Message>(
        &self,
        method: &str,
        request: &Req,
    ) -> Result<Res, EnclaveError> {
        self.control
            .call(method, request)
            .await
            .map_err(|error| failed(&error))
    }
}

fn failed(reason: &dyn std::fmt::Display) -> EnclaveError {
    EnclaveError::Simulator(reason.to_string())
}

#[async_trait]
impl Enclave for Simulator {
    async fn sealing_key(&self) -> Result<SealingKey, EnclaveError> {
        let answer: SgxKeyResponse = self.call("SgxKey", &Empty {}).await?;
        SealingKey::take(answer.key).ok_or_else(|| failed(&"its key has not 16 bytes"))
    }

    async fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, EnclaveError> {
        let request = SgxQuoteArgs {
            report_data: report_data.as_bytes().to_vec(),
        };
        let answer: SgxQuoteResponse = self.call("SgxQuote", &request).await?;
        Ok(answer.quote)
    }
}
