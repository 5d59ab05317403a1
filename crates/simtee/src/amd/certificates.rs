//! X.509 by AMD's habits: RSA-PSS with SHA-384, serial numbers that mean nothing, and what a
//! chip is in extensions of AMD's own.

use std::str::FromStr;
use std::time::Duration;

use rsa::RsaPrivateKey;
use rsa::pkcs8::EncodePublicKey;
use rsa::pss::SigningKey;
use rsa::rand_core::OsRng;
use rsa::signature::{RandomizedSigner, SignatureEncoding};
use sha2::Sha384;
use x509_cert::Version;
use x509_cert::certificate::{Certificate, TbsCertificate};
use x509_cert::crl::{CertificateList, RevokedCert, TbsCertList};
use x509_cert::der::asn1::{Any, BitString, Ia5String, OctetString};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{
    AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, SubjectPublicKeyInfoOwned,
};
use x509_cert::time::{Time, Validity};

/// AMD's arc.
const AMD: &str = "1.3.6.1.4.1.3704";
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
/// 2024-01-01 and 2049-12-31: fixed, like those of the PCK chain.
const NOT_BEFORE: u64 = 1_704_067_200;
const NOT_AFTER: u64 = 2_524_521_600;
/// 2031-01-01; AMD's VCEKs are valid for seven years.
const VCEK_NOT_AFTER: u64 = 1_924_992_000;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// One of AMD's extensions of a chip's certificate.
pub(super) struct Extension {
    suffix: &'static str,
    value: Vec<u8>,
}

impl Extension {
    pub(super) fn number(suffix: &'static str, value: u8) -> Self {
        Self {
            suffix,
            // A byte always encodes.
            value: value.to_der().unwrap_or_default(),
        }
    }

    pub(super) fn text(suffix: &'static str, text: &str) -> Self {
        let encoded = Ia5String::new(text).and_then(|text| text.to_der());
        Self {
            suffix,
            value: encoded.unwrap_or_default(),
        }
    }

    /// Bare, as AMD's service writes the chip's id.
    pub(super) fn bytes(suffix: &'static str, bytes: &[u8]) -> Self {
        Self {
            suffix,
            value: bytes.to_vec(),
        }
    }
}

/// Who issues, or is issued for.
pub(super) struct Issuing<'a> {
    pub(super) name: String,
    pub(super) key: &'a RsaPrivateKey,
}

fn name(common: &str) -> Result<Name, Error> {
    Ok(Name::from_str(&format!(
        "CN={common},O=Advanced Micro Devices,ST=CA,L=Santa Clara,C=US,OU=Engineering"
    ))?)
}

fn time(unix: u64) -> Result<Time, Error> {
    Ok(Time::try_from(
        std::time::UNIX_EPOCH + Duration::from_secs(unix),
    )?)
}

impl Issuing<'_> {
    /// A certificate for another authority, or for itself.
    pub(super) fn authority(&self, subject: &Issuing<'_>, serial: u8) -> Result<Vec<u8>, Error> {
        let constraints = BasicConstraints {
            ca: true,
            path_len_constraint: None,
        };
        let usage = KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign);
        let extensions = vec![
            extension("2.5.29.19", true, constraints.to_der()?)?,
            extension("2.5.29.15", true, usage.to_der()?)?,
        ];
        let public = subject.key.to_public_key().to_public_key_der()?;
        let public = SubjectPublicKeyInfoOwned::from_der(public.as_bytes())?;
        self.issue(&subject.name, serial, NOT_AFTER, public, extensions)
    }

    /// A certificate for a chip's key, an uncompressed point.
    pub(super) fn chip(&self, point: &[u8], said: &[Extension]) -> Result<Vec<u8>, Error> {
        let extensions = said
            .iter()
            .map(|said| extension(&format!("{AMD}.{}", said.suffix), false, said.value.clone()))
            .collect::<Result<_, _>>()?;
        let public = SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifierOwned {
                oid: EC_PUBLIC_KEY,
                parameters: Some(Any::from(P384)),
            },
            subject_public_key: BitString::from_bytes(point)?,
        };
        self.issue("SEV-VCEK", 0, VCEK_NOT_AFTER, public, extensions)
    }

    fn issue(
        &self,
        subject: &str,
        serial: u8,
        not_after: u64,
        subject_public_key_info: SubjectPublicKeyInfoOwned,
        extensions: Vec<x509_cert::ext::Extension>,
    ) -> Result<Vec<u8>, Error> {
        let signer = SigningKey::<Sha384>::new(self.key.clone());
        let signature_algorithm = signer.signature_algorithm_identifier()?;
        let tbs_certificate = TbsCertificate {
            version: Version::V3,
            serial_number: SerialNumber::new(&[serial])?,
            signature: signature_algorithm.clone(),
            issuer: name(&self.name)?,
            validity: Validity {
                not_before: time(NOT_BEFORE)?,
                not_after: time(not_after)?,
            },
            subject: name(subject)?,
            subject_public_key_info,
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(extensions),
        };
        let signature = sign(&signer, &tbs_certificate.to_der()?)?;
        let certificate = Certificate {
            tbs_certificate,
            signature_algorithm,
            signature,
        };
        Ok(certificate.to_der()?)
    }
}

/// A revocation list by the root, with `revoked` on it.
pub(super) fn crl(
    ark: &[u8],
    key: &RsaPrivateKey,
    from: u64,
    until: u64,
    revoked: Option<&Vec<u8>>,
) -> Result<Vec<u8>, Error> {
    let signer = SigningKey::<Sha384>::new(key.clone());
    let signature_algorithm = signer.signature_algorithm_identifier()?;
    let entry = |der: &Vec<u8>| -> Result<_, Error> {
        Ok(vec![RevokedCert {
            serial_number: Certificate::from_der(der)?.tbs_certificate.serial_number,
            revocation_date: time(from)?,
            crl_entry_extensions: None,
        }])
    };
    let tbs_cert_list = TbsCertList {
        version: Version::V2,
        signature: signature_algorithm.clone(),
        issuer: Certificate::from_der(ark)?.tbs_certificate.subject,
        this_update: time(from)?,
        next_update: Some(time(until)?),
        revoked_certificates: revoked.map(entry).transpose()?,
        crl_extensions: Some(vec![extension("2.5.29.20", false, 1u8.to_der()?)?]),
    };
    let signature = sign(&signer, &tbs_cert_list.to_der()?)?;
    let list = CertificateList {
        tbs_cert_list,
        signature_algorithm,
        signature,
    };
    Ok(list.to_der()?)
}

fn sign(signer: &SigningKey<Sha384>, message: &[u8]) -> Result<BitString, Error> {
    let signature = signer.sign_with_rng(&mut OsRng, message);
    Ok(BitString::from_bytes(&signature.to_bytes())?)
}

fn extension(
    oid: &str,
    critical: bool,
    value: Vec<u8>,
) -> Result<x509_cert::ext::Extension, Error> {
    Ok(x509_cert::ext::Extension {
        extn_id: ObjectIdentifier::new(oid)?,
        critical,
        extn_value: OctetString::new(value)?,
    })
}
