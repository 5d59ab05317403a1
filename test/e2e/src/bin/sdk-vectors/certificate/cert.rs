//! Certificates in every form, right and wrong.

use super::*;

/// A certificate to be.
#[derive(Clone)]
pub(super) struct Cert<'a> {
    pub(super) name: &'static str,
    pub(super) key: &'a P256Key,
    pub(super) ca: Option<u8>,
    pub(super) from: u64,
    pub(super) until: u64,
    pub(super) extensions: Vec<CustomExtension>,
}

impl<'a> Cert<'a> {
    pub(super) fn leaf(key: &'a P256Key) -> Self {
        Self {
            name: "vectors",
            key,
            ca: None,
            from: TIME - DAY,
            until: TIME + DAY,
            extensions: vec![],
        }
    }

    pub(super) fn ca(name: &'static str, key: &'a P256Key, path_len: u8) -> Self {
        Self {
            name,
            ca: Some(path_len),
            ..Self::leaf(key)
        }
    }

    pub(super) fn with(mut self, number: u64, content: &[u8]) -> Self {
        let value = yasna::construct_der(|writer| writer.write_bytes(content));
        self.extensions.push(raw(number, value));
        self
    }

    pub(super) fn params(&self) -> anyhow::Result<CertificateParams> {
        let date =
            |unix: u64| OffsetDateTime::from_unix_timestamp(i64::try_from(unix)?).context("a date");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Dstack");
        params
            .distinguished_name
            .push(DnType::CommonName, self.name);
        params.not_before = date(self.from)?;
        params.not_after = date(self.until)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if let Some(path_len) = self.ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_len));
            params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        }
        params.custom_extensions.clone_from(&self.extensions);
        Ok(params)
    }

    /// PEM, signed by the certificate `issuer` would be.
    pub(super) fn signed_by(&self, issuer: &Cert<'_>) -> anyhow::Result<String> {
        let issuer = Issuer::new(issuer.params()?, pair(issuer.key)?);
        Ok(self.params()?.signed_by(&pair(self.key)?, &issuer)?.pem())
    }

    pub(super) fn self_signed(&self) -> anyhow::Result<String> {
        Ok(self.params()?.self_signed(&pair(self.key)?)?.pem())
    }
}

pub(super) fn raw(number: u64, value: Vec<u8>) -> CustomExtension {
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 62397, 1, number], value)
}

pub(super) fn pair(key: &P256Key) -> anyhow::Result<KeyPair> {
    let der = key.to_pkcs8_der()?;
    let der = PrivatePkcs8KeyDer::from(der.as_slice());
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(
        &der,
        &PKCS_ECDSA_P256_SHA256,
    )?)
}
