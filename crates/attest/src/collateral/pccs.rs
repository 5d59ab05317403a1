//! Collateral from a PCCS-compatible service (Intel PCS API v4 paths).

use std::sync::Arc;

use async_trait::async_trait;
use dcap_qvl::QuoteCollateralV3;
use reqwest::header::HeaderMap;

use super::http::{self, TIMEOUT, http_client};
use super::{Collateral, CollateralError, CollateralSource};
use crate::tdx::CollateralKey;

const PCK_CRL_CHAIN: &[&str] = &["sgx-pck-crl-issuer-chain"];
const TCB_INFO_CHAIN: &[&str] = &["tcb-info-issuer-chain", "sgx-tcb-info-issuer-chain"];
const QE_IDENTITY_CHAIN: &[&str] = &["sgx-enclave-identity-issuer-chain"];

/// A PCCS.
#[derive(Debug)]
pub struct Pccs {
    base: String,
    client: reqwest::Client,
}

impl Pccs {
    /// The service at `url`; a trailing slash or API path is trimmed.
    ///
    /// # Errors
    /// [`CollateralError::Unreachable`] when TLS cannot be set up.
    pub fn new(url: &str) -> Result<Self, CollateralError> {
        let base = url.trim_end_matches('/');
        let base = base
            .strip_suffix("/sgx/certification/v4")
            .or_else(|| base.strip_suffix("/tdx/certification/v4"))
            .unwrap_or(base);
        let client = http_client(TIMEOUT).map_err(|error| CollateralError::Unreachable {
            url: base.to_owned(),
            reason: error,
        })?;
        Ok(Self {
            base: base.to_owned(),
            client,
        })
    }

    async fn get(&self, path: &str) -> Result<(HeaderMap, Vec<u8>), CollateralError> {
        http::get(&self.client, &format!("{}{path}", self.base)).await
    }

    /// Collateral for quotes of enclaves, where [`CollateralSource`] is about those of TDs.
    ///
    /// # Errors
    /// [`CollateralError`].
    pub async fn enclave_collateral(
        &self,
        key: &CollateralKey,
    ) -> Result<Collateral, CollateralError> {
        self.fetch(key, "sgx").await
    }

    async fn fetch(&self, key: &CollateralKey, tee: &str) -> Result<Collateral, CollateralError> {
        let fmspc = hex::encode(key.fmspc);
        let pck_crl = self
            .get(&format!(
                "/sgx/certification/v4/pckcrl?ca={}&encoding=der",
                key.ca
            ))
            .await?;
        let root_ca_crl = self.root_crl().await?;
        let tcb = self
            .get(&format!("/{tee}/certification/v4/tcb?fmspc={fmspc}"))
            .await?;
        let qe = self
            .get(&format!(
                "/{tee}/certification/v4/qe/identity?update=standard"
            ))
            .await?;
        let malformed = |reason: String| CollateralError::Malformed {
            place: self.base.clone(),
            reason,
        };
        let (tcb_info, tcb_info_signature) = signed_member(&tcb.1, "tcbInfo").map_err(malformed)?;
        let (qe_identity, qe_identity_signature) =
            signed_member(&qe.1, "enclaveIdentity").map_err(malformed)?;
        Ok(Collateral(QuoteCollateralV3 {
            pck_crl_issuer_chain: issuer_chain(&pck_crl.0, PCK_CRL_CHAIN).map_err(malformed)?,
            root_ca_crl,
            pck_crl: der_or_hex(pck_crl.1),
            tcb_info_issuer_chain: issuer_chain(&tcb.0, TCB_INFO_CHAIN).map_err(malformed)?,
            tcb_info,
            tcb_info_signature,
            qe_identity_issuer_chain: issuer_chain(&qe.0, QE_IDENTITY_CHAIN).map_err(malformed)?,
            qe_identity,
            qe_identity_signature,
            pck_certificate_chain: None,
        }))
    }

    /// A PCCS serves the root CRL; Intel's own service has it only at its distribution point.
    async fn root_crl(&self) -> Result<Vec<u8>, CollateralError> {
        const INTEL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";
        match self.get("/sgx/certification/v4/rootcacrl").await {
            Ok((_, body)) => Ok(der_or_hex(body)),
            Err(error) if self.base.contains("trustedservices.intel.com") => {
                let direct = Self {
                    base: String::new(),
                    client: self.client.clone(),
                };
                direct
                    .get(INTEL)
                    .await
                    .map(|(_, body)| der_or_hex(body))
                    .map_err(|_| error)
            }
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl CollateralSource for Pccs {
    async fn collateral(
        &self,
        key: &CollateralKey,
        _: u64,
    ) -> Result<Arc<Collateral>, CollateralError> {
        self.fetch(key, "tdx").await.map(Arc::new)
    }
}

/// Some services send CRLs as hex text.
fn der_or_hex(body: Vec<u8>) -> Vec<u8> {
    std::str::from_utf8(&body)
        .ok()
        .and_then(|text| hex::decode(text.trim()).ok())
        .unwrap_or(body)
}

fn issuer_chain(headers: &HeaderMap, names: &[&str]) -> Result<String, String> {
    let value = names
        .iter()
        .find_map(|name| headers.get(*name))
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| format!("header {} is missing", names.join(" or ")))?;
    percent_decode(value).ok_or_else(|| "issuer chain is not URL-encoded text".to_owned())
}

fn percent_decode(text: &str) -> Option<String> {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .ok()
        .map(std::borrow::Cow::into_owned)
}

/// The member's exact text (the vendor signs these bytes) and the signature beside it.
fn signed_member(body: &[u8], member: &str) -> Result<(String, Vec<u8>), String> {
    #[derive(serde::Deserialize)]
    struct Answer<'a> {
        #[serde(borrow, alias = "enclaveIdentity", rename = "tcbInfo")]
        member: &'a serde_json::value::RawValue,
        signature: String,
    }
    let answer: Answer<'_> =
        serde_json::from_slice(body).map_err(|error| format!("{member}: {error}"))?;
    let signature =
        hex::decode(&answer.signature).map_err(|error| format!("{member} signature: {error}"))?;
    Ok((answer.member.get().to_owned(), signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_answers_keep_their_signed_text() {
        for (body, member, part) in [
            (
                &include_bytes!(
                    "../../../../test/vectors/attest/tdx/gotdx-collateral/sample_tcbInfo_response"
                )[..],
                "tcbInfo",
                "50806f000000",
            ),
            (
                include_bytes!(
                    "../../../../test/vectors/attest/tdx/gotdx-collateral/sample_tcbinfo_response_v5"
                ),
                "tcbInfo",
                "90c06f000000",
            ),
            (
                include_bytes!(
                    "../../../../test/vectors/attest/tdx/gotdx-collateral/sample_qeIdentity_response"
                ),
                "enclaveIdentity",
                "TD_QE",
            ),
        ] {
            let (text, signature) = signed_member(body, member).unwrap();
            assert!(text.to_lowercase().contains(&part.to_lowercase()), "{text}");
            assert_eq!(signature.len(), 64);
            let whole = std::str::from_utf8(body).unwrap();
            assert!(whole.contains(&text), "the text is taken as it stands");
        }
        assert!(signed_member(b"{}", "tcbInfo").is_err());
    }

    #[test]
    fn crls_come_as_der_or_hex() {
        assert_eq!(der_or_hex(b"3082 ".to_vec()), [0x30, 0x82]);
        assert_eq!(der_or_hex(vec![0x30, 0x82]), [0x30, 0x82]);
    }

    #[test]
    fn issuer_chains_are_url_encoded() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "tcb-info-issuer-chain",
            "-----BEGIN%20CERT%0A".parse().unwrap(),
        );
        assert_eq!(
            issuer_chain(&headers, TCB_INFO_CHAIN).unwrap(),
            "-----BEGIN CERT\n"
        );
        assert!(issuer_chain(&headers, PCK_CRL_CHAIN).is_err());
    }

    #[tokio::test]
    async fn a_dead_service_is_unreachable_and_named() {
        let pccs = Pccs::new("http://127.0.0.1:1/").unwrap();
        let key = CollateralKey {
            fmspc: [0; 6],
            ca: "platform",
        };
        let error = pccs.collateral(&key, 0).await.unwrap_err();
        assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    }
}
