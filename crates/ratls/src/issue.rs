//! Issuing certificates.

use std::net::IpAddr;

use bylaw_attest::{AppInfo, Attestation};
use bylaw_keys::P256Key;
use bylaw_types::{AppId, TrustAnchorDigest};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
    SerialNumber, SubjectPublicKeyInfo,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

use crate::{CertError, oid};

/// Default start, 1975-01-01: what the reference's clients expect.
const NOT_BEFORE: u64 = 157_766_400;
/// Default life, ten years, in seconds.
const LIFE: u64 = 3650 * 24 * 60 * 60;

/// What a certificate says.
#[derive(Debug, Clone, Default)]
pub struct CertSpec {
    /// Common name.
    pub subject: String,
    /// Organisation.
    pub organization: Option<String>,
    /// DNS names; what looks like an IP address becomes one.
    pub alt_names: Vec<String>,
    /// Extended key usage.
    pub server_auth: bool,
    /// Extended key usage.
    pub client_auth: bool,
    /// Path length of a CA; `None` for a leaf.
    pub ca_path_len: Option<u8>,
    /// Unix seconds; 1975 when absent.
    pub not_before: Option<u64>,
    /// Unix seconds; ten years from now when absent.
    pub not_after: Option<u64>,
    /// App the subject is.
    pub app_id: Option<AppId>,
    /// `kms:rpc`, `app:ca` or `app:custom`.
    pub usage: Option<&'static str>,
    /// Evidence for the subject's key; embedded in its stripped form.
    pub attestation: Option<Attestation>,
    /// Identity of the subject.
    pub app_info: Option<AppInfo>,
    /// What the issuer trusts.
    pub trust_anchors: Option<TrustAnchorDigest>,
}

/// An issued certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cert {
    /// DER.
    pub der: CertificateDer<'static>,
    /// PEM.
    pub pem: String,
}

impl Cert {
    fn new(certificate: &rcgen::Certificate) -> Self {
        Self {
            der: certificate.der().clone(),
            pem: certificate.pem(),
        }
    }

    /// A certificate from its PEM.
    ///
    /// # Errors
    /// [`CertError::Malformed`].
    pub fn from_pem(text: &str) -> Result<Self, CertError> {
        Ok(Self {
            der: crate::der_of(text.as_bytes())?.into(),
            pem: text.to_owned(),
        })
    }
}

/// A CA that signs.
pub struct Issuer {
    cert: Cert,
    inner: rcgen::Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issuer")
    }
}

impl Issuer {
    /// A self-signed CA.
    ///
    /// # Errors
    /// [`CertError`].
    pub fn self_signed(spec: &CertSpec, key: &P256Key, now: u64) -> Result<Self, CertError> {
        let params = spec.params(now)?;
        let pair = key_pair(key)?;
        let cert = Cert::new(&params.self_signed(&pair).map_err(issue)?);
        Ok(Self {
            cert,
            inner: rcgen::Issuer::new(params, pair),
        })
    }

    /// A CA below this one.
    ///
    /// # Errors
    /// [`CertError`].
    pub fn intermediate(
        &self,
        spec: &CertSpec,
        key: &P256Key,
        now: u64,
    ) -> Result<Self, CertError> {
        let params = spec.params(now)?;
        let pair = key_pair(key)?;
        let cert = Cert::new(&params.signed_by(&pair, &self.inner).map_err(issue)?);
        Ok(Self {
            cert,
            inner: rcgen::Issuer::new(params, pair),
        })
    }

    /// A CA known by its certificate and key.
    ///
    /// # Errors
    /// [`CertError::Malformed`].
    pub fn from_parts(cert: Cert, key: &P256Key) -> Result<Self, CertError> {
        let inner = rcgen::Issuer::from_ca_cert_der(&cert.der, key_pair(key)?)
            .map_err(|error| CertError::Malformed(error.to_string()))?;
        Ok(Self { cert, inner })
    }

    /// A certificate for the key with this DER SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`CertError`].
    pub fn issue(&self, spec: &CertSpec, spki_der: &[u8], now: u64) -> Result<Cert, CertError> {
        let public = SubjectPublicKeyInfo::from_der(spki_der).map_err(issue)?;
        spec.params(now)?
            .signed_by(&public, &self.inner)
            .map(|certificate| Cert::new(&certificate))
            .map_err(issue)
    }

    /// The CA's own certificate.
    pub fn cert(&self) -> &Cert {
        &self.cert
    }
}

fn issue(error: rcgen::Error) -> CertError {
    CertError::Issue(error.to_string())
}

fn key_pair(key: &P256Key) -> Result<KeyPair, CertError> {
    let der = key
        .to_pkcs8_der()
        .map_err(|error| CertError::Issue(error.to_string()))?;
    let der = PrivatePkcs8KeyDer::from(der.as_slice());
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256).map_err(issue)
}

fn date(unix: u64) -> Result<OffsetDateTime, CertError> {
    i64::try_from(unix)
        .ok()
        .and_then(|unix| OffsetDateTime::from_unix_timestamp(unix).ok())
        .ok_or_else(|| CertError::Issue(format!("{unix} is not a date")))
}

impl CertSpec {
    fn params(&self, now: u64) -> Result<CertificateParams, CertError> {
        let not_before = self.not_before.unwrap_or(NOT_BEFORE);
        let not_after = self.not_after.unwrap_or(now.saturating_add(LIFE));
        if not_before >= not_after {
            return Err(CertError::Validity);
        }
        let mut params = CertificateParams::default();
        params.not_before = date(not_before)?;
        params.not_after = date(not_after)?;
        params.serial_number = Some(random_serial()?);
        params.distinguished_name = self.name();
        params.subject_alt_names = self
            .alt_names
            .iter()
            .map(|name| san(name))
            .collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if let Some(path_len) = self.ca_path_len {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_len));
            params
                .key_usages
                .extend([KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign]);
        }
        if self.server_auth {
            params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if self.client_auth {
            params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ClientAuth);
        }
        params.custom_extensions = self.extensions()?;
        Ok(params)
    }

    fn name(&self) -> DistinguishedName {
        let mut name = DistinguishedName::new();
        if let Some(organization) = &self.organization {
            name.push(DnType::OrganizationName, organization.as_str());
        }
        name.push(DnType::CommonName, self.subject.as_str());
        name
    }

    fn extensions(&self) -> Result<Vec<CustomExtension>, CertError> {
        let attestation = self
            .attestation
            .clone()
            .map(|evidence| evidence.stripped().encode());
        let contents = [
            (oid::APP_ID, self.app_id.map(|id| id.as_bytes().to_vec())),
            (
                oid::USAGE,
                self.usage.map(|usage| usage.as_bytes().to_vec()),
            ),
            (oid::ATTESTATION, attestation),
            (
                oid::APP_INFO,
                self.app_info.as_ref().map(AppInfo::to_msgpack),
            ),
            (
                oid::TRUST_ANCHORS,
                self.trust_anchors.map(|digest| digest.as_bytes().to_vec()),
            ),
        ];
        contents
            .into_iter()
            .filter_map(|(oid, content)| Some((oid, content?)))
            .map(|(oid, content)| Ok(CustomExtension::from_oid_content(oid, oid::wrap(&content)?)))
            .collect()
    }
}

fn san(name: &str) -> Result<SanType, CertError> {
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => name
            .try_into()
            .map(SanType::DnsName)
            .map_err(|_| CertError::Issue(format!("{name:?} is not a DNS name or IP address"))),
    }
}

fn random_serial() -> Result<SerialNumber, CertError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| CertError::Issue(error.to_string()))?;
    // Positive, and never shorter than 16 bytes.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}
