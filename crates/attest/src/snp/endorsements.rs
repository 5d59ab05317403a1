//! The certificates that came with a report.

use x509_parser::prelude::{FromDer, X509Certificate};

use super::table::{self, EntryKind};
use super::{Product, SnpError};

/// Longest certificate that is read, in bytes. Real ones have about 1,700.
pub const MAX_CERTIFICATE_LEN: usize = 16 * 1024;

/// Certificates of a report's signer, DER; what is missing is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endorsements {
    /// AMD's intermediate for the product, issuer of VCEKs.
    pub ask: Option<Vec<u8>>,
    /// Key of the chip at one TCB.
    pub vcek: Option<Vec<u8>>,
}

impl Endorsements {
    /// Reads `cert_chain` of evidence: nothing, `[ASK, VCEK]`, or one certificate table.
    ///
    /// # Errors
    /// [`SnpError::Endorsements`], and [`SnpError::Vlek`] for a table with a VLEK alone.
    pub fn parse(cert_chain: &[Vec<u8>]) -> Result<Self, SnpError> {
        match cert_chain {
            [] => Ok(Self::default()),
            [table] => Self::from_table(table),
            [ask, vcek] => Ok(Self {
                ask: Some(certificate("ASK", ask)?),
                vcek: Some(certificate("VCEK", vcek)?),
            }),
            more => Err(SnpError::Endorsements(format!(
                "{} certificates; there must be none, ASK and VCEK, or one certificate table",
                more.len()
            ))),
        }
    }

    fn from_table(table: &[u8]) -> Result<Self, SnpError> {
        let entries = table::parse(table)?;
        let find = |kind, name| {
            entries
                .iter()
                .find(|(found, _)| *found == kind)
                .map(|(_, data)| certificate(name, data))
                .transpose()
        };
        let found = Self {
            ask: find(EntryKind::Ask, "ASK")?,
            vcek: find(EntryKind::Vcek, "VCEK")?,
        };
        let has_vlek = entries.iter().any(|(kind, _)| *kind == EntryKind::Vlek);
        if found.vcek.is_none() && has_vlek {
            return Err(SnpError::Vlek);
        }
        Ok(found)
    }

    /// The product that the given certificates are of, unproven.
    pub fn product(&self) -> Option<Product> {
        let issuer = |der: &Vec<u8>| {
            let (_, certificate) = X509Certificate::from_der(der).ok()?;
            common_name(certificate.issuer())
                .and_then(|name| Product::from_name(name.split_once('-')?.1))
        };
        self.vcek.as_ref().or(self.ask.as_ref()).and_then(issuer)
    }
}

/// The common name of a certificate's issuer or subject.
pub(super) fn common_name<'a>(name: &'a x509_parser::x509::X509Name<'_>) -> Option<&'a str> {
    name.iter_common_name().next()?.as_str().ok()
}

/// One certificate, PEM or DER, as DER.
pub(crate) fn certificate(name: &str, pem_or_der: &[u8]) -> Result<Vec<u8>, SnpError> {
    let bad = |reason: String| SnpError::Endorsements(format!("{name}: {reason}"));
    if pem_or_der.len() > MAX_CERTIFICATE_LEN {
        return Err(bad(format!(
            "{} bytes; the limit is {MAX_CERTIFICATE_LEN}",
            pem_or_der.len()
        )));
    }
    let der = if pem_or_der.starts_with(b"-----") {
        pem::parse(pem_or_der)
            .map_err(|error| bad(error.to_string()))?
            .into_contents()
    } else {
        pem_or_der.to_vec()
    };
    let (rest, _) = X509Certificate::from_der(&der).map_err(|error| bad(error.to_string()))?;
    if !rest.is_empty() {
        return Err(bad(format!("{} bytes follow it", rest.len())));
    }
    Ok(der)
}
