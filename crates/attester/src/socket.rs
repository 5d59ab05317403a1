//! A TEE behind a socket: a guest agent's, or a simulated TD's. Both answer in the same
//! form. A simulated TD is also reached over HTTP, from inside a VM.

use std::str::FromStr;

use async_trait::async_trait;
use bylaw_attest::{Attestation, Platform};
use bylaw_keys::Secret;
use bylaw_rpc::message::guest::{
    AppInfo, AttestResponse, EmitEventArgs, GetKeyArgs, GetKeyResponse, RawQuoteArgs,
};
use bylaw_rpc::{Client, ClientError, Empty};
use bylaw_types::{KeyProviderInfo, ReportData, TeeVariant};
use zeroize::Zeroize;

use crate::endpoint::EndpointError;
use crate::hardware::{Hardware, Interface};
use crate::{Attester, AttesterError};

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
        // A simulated TD in a virtual machine reaches its simulator over TCP only.
        let url = match kind {
            Kind::SimTee if path.starts_with("http://") => path.to_owned(),
            // No other URL is a socket, and evidence of a real TEE comes over none.
            _ if path.contains("://") => return Err(bad()),
            _ => format!("unix:{path}"),
        };
        Ok(Self {
            kind,
            client: Client::new(&url).map_err(|_| bad())?,
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
                return Err(AttesterError::NoSealing {
                    keys_from: format!("this VM's key provider `{provider}`"),
                    instead: "`local-sgx` or `tpm` (key_provider in app-compose.json)",
                });
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

    async fn hardware(&self) -> Result<Hardware, AttesterError> {
        let info = self.info().await?;
        // The API names the TEE nowhere but in evidence.
        let evidence = self.attest(&ReportData::new([0; 64])).await?;
        let tee = match evidence.platform {
            Platform::Tdx { .. } => TeeVariant::Tdx,
            Platform::GcpTdx { .. } => TeeVariant::GcpTdx,
            Platform::NitroEnclave { .. } => TeeVariant::NitroEnclave,
            Platform::SevSnp { .. } => TeeVariant::SevSnp,
            Platform::AwsNitroTpm { .. } => TeeVariant::AwsNitroTpm,
        };
        Ok(Hardware {
            tee,
            interface: match self.kind {
                Kind::Agent => Interface::Agent,
                Kind::SimTee => Interface::Simulator,
            },
            vendor: info.cloud_vendor,
            product: info.cloud_product,
            measures_events: !matches!(tee, TeeVariant::SevSnp | TeeVariant::NitroEnclave),
            simulated: self.is_simulated(),
        })
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
        let over_http: SocketAttester = "simtee:http://10.0.2.2:7000/td/x".parse().unwrap();
        assert_eq!(over_http.client.url(), "http://10.0.2.2:7000/td/x");
        for bad in [
            "",
            "/run/x",
            "agent:",
            "tdx:/x",
            "simtee:http://",
            "simtee:https://h/td/x",
            "agent:http://h/x",
        ] {
            assert!(bad.parse::<SocketAttester>().is_err(), "{bad}");
        }
    }
}
