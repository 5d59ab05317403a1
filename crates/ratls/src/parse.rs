//! Reading certificates.

use bylaw_attest::event_log;
use bylaw_attest::{AppInfo, Attestation, Platform};
use bylaw_types::{AppId, TrustAnchorDigest};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{CertError, oid};

/// What a certificate says, as far as it matters here. Nothing is verified.
#[derive(Debug, Clone)]
pub struct RaTlsCert {
    /// DER of the whole.
    pub der: Vec<u8>,
    /// DER SubjectPublicKeyInfo of its key.
    pub spki_der: Vec<u8>,
    /// Common name.
    pub subject: Option<String>,
    /// Unix seconds.
    pub not_before: i64,
    /// Unix seconds.
    pub not_after: i64,
    /// Evidence, of either generation.
    pub attestation: Option<Attestation>,
    /// App it belongs to.
    pub app_id: Option<AppId>,
    /// `kms:rpc`, `app:ca`, `app:custom`, or another.
    pub usage: Option<String>,
    /// Identity it repeats.
    pub app_info: Option<AppInfo>,
    /// What its issuer trusts.
    pub trust_anchors: Option<TrustAnchorDigest>,
}

/// DER of the first certificate in `bytes`, which are PEM or DER.
///
/// # Errors
/// [`CertError::Malformed`].
pub fn der_of(bytes: &[u8]) -> Result<Vec<u8>, CertError> {
    if !bytes.starts_with(b"-----") {
        return Ok(bytes.to_vec());
    }
    pem::parse_many(bytes)
        .map_err(|error| CertError::Malformed(error.to_string()))?
        .into_iter()
        .find(|block| block.tag() == "CERTIFICATE")
        .map(pem::Pem::into_contents)
        .ok_or_else(|| CertError::Malformed("the PEM has no CERTIFICATE".to_owned()))
}

impl RaTlsCert {
    /// Parses DER, or the first certificate of a PEM.
    ///
    /// # Errors
    /// [`CertError`]; an extension of ours that is malformed or appears twice is an error.
    pub fn parse(bytes: &[u8]) -> Result<Self, CertError> {
        let der = der_of(bytes)?;
        let (rest, cert) = X509Certificate::from_der(&der)
            .map_err(|error| CertError::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(CertError::Malformed(format!(
                "{} bytes follow it",
                rest.len()
            )));
        }
        let subject = cert
            .subject()
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .map(str::to_owned);
        let read = Extensions(&cert);
        Ok(Self {
            spki_der: cert.public_key().raw.to_vec(),
            subject,
            not_before: cert.validity().not_before.timestamp(),
            not_after: cert.validity().not_after.timestamp(),
            attestation: read.attestation()?,
            app_id: read.fixed(oid::APP_ID)?,
            usage: read.text(oid::USAGE)?,
            app_info: read
                .content(oid::APP_INFO)?
                .map(|bytes| AppInfo::from_msgpack(&bytes).map_err(bad(oid::APP_INFO)))
                .transpose()?,
            trust_anchors: read.fixed(oid::TRUST_ANCHORS)?,
            der: der.clone(),
        })
    }
}

fn bad<E: std::fmt::Display>(oid: &[u64]) -> impl FnOnce(E) -> CertError + '_ {
    move |error| CertError::Extension {
        oid: oid::dotted(oid),
        reason: error.to_string(),
    }
}

struct Extensions<'a>(&'a X509Certificate<'a>);

impl Extensions<'_> {
    fn content(&self, oid: &[u64]) -> Result<Option<Vec<u8>>, CertError> {
        let wanted = oid::dotted(oid);
        let mut found = self
            .0
            .extensions()
            .iter()
            .filter(|extension| extension.oid.to_id_string() == wanted);
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some(extension), None) => oid::unwrap(oid, extension.value).map(Some),
            (Some(_), Some(_)) => Err(bad(oid)("it appears twice")),
        }
    }

    fn fixed<T>(&self, oid: &[u64]) -> Result<Option<T>, CertError>
    where
        T: for<'b> TryFrom<&'b [u8], Error = bylaw_types::ParseIdError>,
    {
        self.content(oid)?
            .map(|bytes| T::try_from(&bytes).map_err(bad(oid)))
            .transpose()
    }

    fn text(&self, oid: &[u64]) -> Result<Option<String>, CertError> {
        self.content(oid)?
            .map(|bytes| String::from_utf8(bytes).map_err(bad(oid)))
            .transpose()
    }

    /// The current generation, else quote and event log of the older one.
    fn attestation(&self) -> Result<Option<Attestation>, CertError> {
        if let Some(bytes) = self.content(oid::ATTESTATION)? {
            return Attestation::decode(&bytes)
                .map(Some)
                .map_err(bad(oid::ATTESTATION));
        }
        let Some(quote) = self.content(oid::QUOTE)? else {
            return Ok(None);
        };
        let events = match self.text(oid::EVENT_LOG)? {
            Some(text) => event_log::from_json(&text).map_err(bad(oid::EVENT_LOG))?,
            None => vec![],
        };
        let report_data = bylaw_attest::tdx::report_data(&quote).map_err(bad(oid::QUOTE))?;
        let mut evidence = Attestation::from_tdx_quote(&quote, report_data);
        evidence.stack.runtime_events = events
            .iter()
            .filter_map(event_log::TdxEvent::to_runtime_event)
            .collect();
        if let Platform::Tdx { event_log, .. } = &mut evidence.platform {
            *event_log = events;
        }
        Ok(Some(evidence))
    }
}
