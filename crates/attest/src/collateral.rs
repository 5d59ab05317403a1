//! Collateral: what the vendor says about platforms, and where it comes from.
//!
//! Nothing a source returns is trusted: it is signed by the vendor, dated, and
//! checked together with the quote. A source can only fail to help.

mod amd;
mod cached;
mod file;
mod http;
mod pccs;

use std::sync::Arc;

pub use amd::{AMD_KDS, AmdIssuer, AmdSource, CachedAmd, Kds};
use async_trait::async_trait;
pub use cached::Cached;
use dcap_qvl::QuoteCollateralV3;
pub use file::{Directory, Fixed};
pub use http::{http_builder, http_client, with_sources};
pub use pccs::Pccs;
use serde::{Deserialize, Serialize};

use crate::tdx::CollateralKey;

/// Collateral for one platform family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collateral(QuoteCollateralV3);

/// Why there is no collateral.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollateralError {
    /// Nothing for this platform.
    #[error("no collateral for FMSPC {fmspc} ({ca} CA) in {place}")]
    NotFound {
        /// Hex.
        fmspc: String,
        /// `processor` or `platform`.
        ca: &'static str,
        /// Directory or URL.
        place: String,
    },
    /// Nobody was named who could be asked.
    #[error("nobody to ask for AMD's certificates and revocation list: no key service is set")]
    NoAmdSource,
    /// The service does not answer.
    #[error("collateral service {url}: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why it failed.
        reason: String,
    },
    /// It answers something else.
    #[error("collateral from {place} is malformed: {reason}")]
    Malformed {
        /// Where it came from.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The local cache failed.
    #[error("collateral cache: {0}")]
    Cache(String),
}

/// Where collateral comes from.
#[async_trait]
pub trait CollateralSource: std::fmt::Debug + Send + Sync {
    /// Collateral for a platform family; `now` in Unix seconds decides what a cache may serve.
    ///
    /// # Errors
    /// [`CollateralError`]; the caller decides what missing collateral means.
    async fn collateral(
        &self,
        key: &CollateralKey,
        now: u64,
    ) -> Result<Arc<Collateral>, CollateralError>;
}

/// JSON form: hex for binary fields, text and PEM as they are.
#[derive(Debug, Serialize, Deserialize)]
struct Form {
    pck_crl_issuer_chain: String,
    root_ca_crl: String,
    pck_crl: String,
    tcb_info_issuer_chain: String,
    tcb_info: String,
    tcb_info_signature: String,
    qe_identity_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
    /// Some producers copy the quote's chain here; the quote's own is always used.
    #[serde(default, skip_serializing)]
    #[expect(dead_code, reason = "accepted and ignored")]
    pck_certificate_chain: Option<String>,
}

impl Collateral {
    /// Parses the JSON form; `place` names it in errors.
    ///
    /// # Errors
    /// [`CollateralError::Malformed`].
    pub fn from_json(text: &str, place: &str) -> Result<Self, CollateralError> {
        let malformed = |reason: String| CollateralError::Malformed {
            place: place.to_owned(),
            reason,
        };
        let form: Form =
            serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        let bytes = |name: &str, text: &str| {
            hex::decode(text).map_err(|error| malformed(format!("`{name}`: {error}")))
        };
        Ok(Self(QuoteCollateralV3 {
            root_ca_crl: bytes("root_ca_crl", &form.root_ca_crl)?,
            pck_crl: bytes("pck_crl", &form.pck_crl)?,
            tcb_info_signature: bytes("tcb_info_signature", &form.tcb_info_signature)?,
            qe_identity_signature: bytes("qe_identity_signature", &form.qe_identity_signature)?,
            pck_crl_issuer_chain: form.pck_crl_issuer_chain,
            tcb_info_issuer_chain: form.tcb_info_issuer_chain,
            tcb_info: form.tcb_info,
            qe_identity_issuer_chain: form.qe_identity_issuer_chain,
            qe_identity: form.qe_identity,
            pck_certificate_chain: None,
        }))
    }

    /// The JSON form.
    pub fn to_json(&self) -> String {
        let inner = &self.0;
        let form = Form {
            pck_crl_issuer_chain: inner.pck_crl_issuer_chain.clone(),
            root_ca_crl: hex::encode(&inner.root_ca_crl),
            pck_crl: hex::encode(&inner.pck_crl),
            tcb_info_issuer_chain: inner.tcb_info_issuer_chain.clone(),
            tcb_info: inner.tcb_info.clone(),
            tcb_info_signature: hex::encode(&inner.tcb_info_signature),
            qe_identity_issuer_chain: inner.qe_identity_issuer_chain.clone(),
            qe_identity: inner.qe_identity.clone(),
            qe_identity_signature: hex::encode(&inner.qe_identity_signature),
            pck_certificate_chain: None,
        };
        // A struct of strings always serialises.
        serde_json::to_string(&form).unwrap_or_default()
    }

    pub(crate) fn as_quote_collateral(&self) -> &QuoteCollateralV3 {
        &self.0
    }

    /// Earliest `nextUpdate` of its parts, in Unix seconds; `None` when one does not parse.
    pub fn expires_at(&self) -> Option<u64> {
        let dates = [&self.0.tcb_info, &self.0.qe_identity].map(|text| next_update(text));
        let crls = [&self.0.root_ca_crl, &self.0.pck_crl].map(|der| crl_next_update(der));
        dates
            .into_iter()
            .chain(crls)
            .collect::<Option<Vec<_>>>()?
            .into_iter()
            .min()
    }

    /// FMSPC the TCB info is for, lower-case hex.
    pub fn fmspc(&self) -> Option<String> {
        let info: serde_json::Value = serde_json::from_str(&self.0.tcb_info).ok()?;
        info["fmspc"].as_str().map(str::to_ascii_lowercase)
    }
}

fn next_update(json: &str) -> Option<u64> {
    let value: serde_json::Value = serde_json::from_str(json).ok()?;
    let text = value["nextUpdate"].as_str()?;
    let time = humantime::parse_rfc3339(text).ok()?;
    time.duration_since(std::time::UNIX_EPOCH)
        .ok()
        .map(|elapsed| elapsed.as_secs())
}

fn crl_next_update(der: &[u8]) -> Option<u64> {
    let (_, crl) = x509_parser::parse_x509_crl(der).ok()?;
    u64::try_from(crl.next_update()?.timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = include_str!("../../../test/vectors/attest/tdx/dcapqvl-v4/collateral.json");

    #[test]
    fn the_json_form_round_trips() {
        let collateral = Collateral::from_json(REAL, "test").unwrap();
        assert_eq!(
            Collateral::from_json(&collateral.to_json(), "test").unwrap(),
            collateral
        );
        assert_eq!(collateral.fmspc().unwrap(), "b0c06f000000");
    }

    #[test]
    fn it_expires_with_its_earliest_part() {
        // PCK CRL, 2025-07-19T10:00:35Z.
        assert_eq!(
            Collateral::from_json(REAL, "").unwrap().expires_at(),
            Some(1_752_919_235)
        );
    }

    #[test]
    fn missing_and_broken_fields_are_named() {
        let missing =
            include_str!("../../../test/vectors/attest/tdx/broken/collateral-no-crl.json");
        match Collateral::from_json(missing, "x") {
            Err(error) => assert!(error.to_string().contains("pck_crl"), "{error}"),
            Ok(collateral) => assert_eq!(collateral.expires_at(), None),
        }
        assert!(Collateral::from_json("{}", "x").is_err());
        assert!(
            Collateral::from_json(&REAL.replace("\"pck_crl\": \"", "\"pck_crl\": \"zz"), "x")
                .is_err()
                || Collateral::from_json(&REAL.replace("\"pck_crl\":\"", "\"pck_crl\":\"zz"), "x")
                    .is_err()
        );
    }
}
