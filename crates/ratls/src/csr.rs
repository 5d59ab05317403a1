//! Certificate requests of `SignCert` (attestation reference, section 11.1).
//!
//! SCALE; the signature is ECDSA P-256/SHA-256 (ASN.1) by the key in the request
//! over its whole encoding.

use bylaw_attest::{Attestation, Platform, event_log};
use bylaw_keys::P256Key;
use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{DerSignature, SigningKey, VerifyingKey};
use p256::pkcs8::DecodePublicKey;
use parity_scale_codec::{Decode, DecodeAll, Encode};

use crate::CertError;

const CONFIRM: &str = "please sign cert:";
/// Longest request that is read, in bytes. Real ones have about 20,000; a claimed
/// list of empty names costs 24 bytes of memory for each byte sent.
const MAX_LEN: usize = 512 * 1024;

/// What the certificate should say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct CertConfig {
    /// Organisation.
    pub org_name: Option<String>,
    /// Common name.
    pub subject: String,
    /// DNS names or IP addresses.
    pub subject_alt_names: Vec<String>,
    /// Extended key usage.
    pub usage_server_auth: bool,
    /// Extended key usage.
    pub usage_client_auth: bool,
    /// Embed the evidence.
    pub ext_quote: bool,
    /// Embed the app info.
    pub ext_app_info: bool,
    /// Unix seconds.
    pub not_before: Option<u64>,
    /// Unix seconds.
    pub not_after: Option<u64>,
}

/// A request whose signature holds. What it asks for is not yet granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Csr {
    /// DER SubjectPublicKeyInfo that the certificate is for.
    pub spki_der: Vec<u8>,
    /// What the certificate should say.
    pub config: CertConfig,
    /// Evidence for the key.
    pub attestation: Attestation,
}

/// A request that is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Another version than 1 or 2.
    #[error("Unsupported API version: {0}")]
    Version(u32),
    /// Truncated, trailing bytes, or a field of another type.
    #[error("certificate request is malformed: {0}")]
    Malformed(String),
    /// Not made to be signed.
    #[error("certificate request does not say {CONFIRM:?}")]
    Confirm,
    /// Not by the key it names, or changed.
    #[error("certificate request is not signed by the key it names")]
    Signature,
}

#[derive(Encode, Decode)]
struct HeadV2 {
    confirm: String,
    pubkey: Vec<u8>,
    config: CertConfig,
}

#[derive(Encode, Decode)]
struct V1 {
    confirm: String,
    pubkey: Vec<u8>,
    config: ConfigV1,
    quote: Vec<u8>,
    event_log: Vec<u8>,
}

#[derive(Encode, Decode)]
struct ConfigV1 {
    org_name: Option<String>,
    subject: String,
    subject_alt_names: Vec<String>,
    usage_server_auth: bool,
    usage_client_auth: bool,
    ext_quote: bool,
}

fn malformed(error: impl std::fmt::Display) -> CsrError {
    CsrError::Malformed(error.to_string())
}

impl Csr {
    /// Checks the signature and parses a request of `api_version` 1 or 2.
    ///
    /// # Errors
    /// [`CsrError`].
    pub fn verify(api_version: u32, csr: &[u8], signature: &[u8]) -> Result<Self, CsrError> {
        if csr.len() > MAX_LEN {
            return Err(malformed(format!(
                "{} bytes; the limit is {MAX_LEN}",
                csr.len()
            )));
        }
        let (confirm, parsed) = match api_version {
            1 => Self::parse_v1(csr)?,
            2 => Self::parse_v2(csr)?,
            other => return Err(CsrError::Version(other)),
        };
        if confirm != CONFIRM {
            return Err(CsrError::Confirm);
        }
        let key = VerifyingKey::from_public_key_der(&parsed.spki_der).map_err(malformed)?;
        let signature = DerSignature::try_from(signature).map_err(|_| CsrError::Signature)?;
        key.verify(csr, &signature)
            .map_err(|_| CsrError::Signature)?;
        Ok(parsed)
    }

    fn parse_v2(csr: &[u8]) -> Result<(String, Self), CsrError> {
        let mut rest = csr;
        let head = HeadV2::decode(&mut rest).map_err(malformed)?;
        // No length prefix: the attestation is the rest, and refuses trailing bytes itself.
        let attestation = Attestation::decode(rest).map_err(malformed)?;
        Ok((
            head.confirm,
            Self {
                spki_der: head.pubkey,
                config: head.config,
                attestation,
            },
        ))
    }

    fn parse_v1(mut csr: &[u8]) -> Result<(String, Self), CsrError> {
        let v1 = V1::decode_all(&mut csr).map_err(malformed)?;
        let log = std::str::from_utf8(&v1.event_log).map_err(malformed)?;
        let events = event_log::from_json(log).map_err(malformed)?;
        let report_data = bylaw_attest::tdx::report_data(&v1.quote).map_err(malformed)?;
        let mut attestation = Attestation::from_tdx_quote(&v1.quote, report_data);
        attestation.stack.runtime_events = events
            .iter()
            .filter_map(event_log::TdxEvent::to_runtime_event)
            .collect();
        if let Platform::Tdx { event_log, .. } = &mut attestation.platform {
            *event_log = events;
        }
        let config = CertConfig {
            org_name: v1.config.org_name,
            subject: v1.config.subject,
            subject_alt_names: v1.config.subject_alt_names,
            usage_server_auth: v1.config.usage_server_auth,
            usage_client_auth: v1.config.usage_client_auth,
            ext_quote: v1.config.ext_quote,
            ..CertConfig::default()
        };
        Ok((
            v1.confirm,
            Self {
                spki_der: v1.pubkey,
                config,
                attestation,
            },
        ))
    }

    /// Encoding (version 2) and signature of a request for `key`'s certificate.
    ///
    /// # Errors
    /// [`CertError::Issue`] never for a valid key.
    pub fn sign(
        key: &P256Key,
        config: CertConfig,
        attestation: &Attestation,
    ) -> Result<(Vec<u8>, Vec<u8>), CertError> {
        let head = HeadV2 {
            confirm: CONFIRM.to_owned(),
            pubkey: key.spki_der(),
            config,
        };
        let mut csr = head.encode();
        csr.extend(attestation.encode());
        let key = SigningKey::from_slice(key.scalar().expose())
            .map_err(|error| CertError::Issue(error.to_string()))?;
        let signature: DerSignature = key.sign(&csr);
        Ok((csr, signature.as_bytes().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use bylaw_types::ReportData;
    use proptest::prelude::*;

    use super::*;

    fn attestation() -> Attestation {
        Attestation::from_tdx_quote(&[], ReportData::new([0; 64]))
    }

    #[test]
    fn the_vector_is_what_we_encode() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!(
            "../../../test/vectors/attest/attestation-vectors.json"
        ))
        .unwrap();
        let vector = &vectors["csr_v2_scale"];
        let head = HeadV2 {
            confirm: CONFIRM.into(),
            pubkey: hex::decode(vector["pubkey_spki"].as_str().unwrap()).unwrap(),
            config: CertConfig {
                subject: "example".into(),
                subject_alt_names: vec!["a.example".into()],
                usage_server_auth: true,
                ext_quote: true,
                not_after: Some(2_000_000_000),
                ..CertConfig::default()
            },
        };
        let bytes = [head.encode(), attestation().encode()].concat();
        assert_eq!(hex::encode(&bytes), vector["csr"].as_str().unwrap());
        assert_eq!(Csr::parse_v2(&bytes).unwrap().1.config, head.config);
    }

    #[test]
    fn any_changed_byte_truncation_or_trailing_byte_is_refused() {
        let key = P256Key::random().unwrap();
        let config = CertConfig {
            subject: "x".into(),
            ..CertConfig::default()
        };
        let (csr, signature) = Csr::sign(&key, config, &attestation()).unwrap();
        let parsed = Csr::verify(2, &csr, &signature).unwrap();
        assert_eq!(parsed.spki_der, key.spki_der());
        for position in 0..csr.len() {
            let mut forged = csr.clone();
            forged[position] ^= 1;
            assert!(
                Csr::verify(2, &forged, &signature).is_err(),
                "byte {position}"
            );
            assert!(Csr::verify(2, &csr[..position], &signature).is_err());
        }
        assert!(Csr::verify(2, &[&csr[..], &[0]].concat(), &signature).is_err());
        assert!(Csr::verify(1, &csr, &signature).is_err());
        assert_eq!(Csr::verify(3, &csr, &signature), Err(CsrError::Version(3)));
        let (_, other) = Csr::sign(
            &P256Key::random().unwrap(),
            CertConfig::default(),
            &attestation(),
        )
        .unwrap();
        assert_eq!(Csr::verify(2, &csr, &other), Err(CsrError::Signature));
    }

    proptest! {
        #[test]
        fn configurations_round_trip(
            org: Option<String>, subject: String, names: Vec<String>, flags: [bool; 4],
            from: Option<u64>, until: Option<u64>,
        ) {
            let config = CertConfig {
                org_name: org, subject, subject_alt_names: names,
                usage_server_auth: flags[0], usage_client_auth: flags[1],
                ext_quote: flags[2], ext_app_info: flags[3],
                not_before: from, not_after: until,
            };
            prop_assert_eq!(CertConfig::decode(&mut &*config.encode()).unwrap(), config);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, version in 0u32..4) {
            let _ = Csr::verify(version, &bytes, &[]);
        }
    }
}
