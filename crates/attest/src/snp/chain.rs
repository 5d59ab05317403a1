//! From the chip's key to AMD's root: VCEK, ASK, ARK, and AMD's revocation list.
//!
//! AMD signs with RSA-PSS, SHA-384 and a salt of 48 bytes. The libraries are ring and
//! webpki; webpki knows that algorithm by an encoding without the default trailer field,
//! AMD writes the field out, and both are the same algorithm.

use std::time::Duration;

use ring::signature::{RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm,
    UnixTime, alg_id,
};
use webpki::ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};
use x509_parser::asn1_rs::{OctetString, Oid, oid};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::endorsements::common_name;
use super::{Product, SnpError, SnpReport, Tcb};

/// RSA-PSS as AMD names it: with the trailer field that may be left out.
#[derive(Debug)]
struct AmdPss;

/// Contents of the AlgorithmIdentifier of AMD's certificates.
const AMD_PSS_ID: AlgorithmIdentifier = AlgorithmIdentifier::from_slice(&[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x39, 0xa0, 0x0f, 0x30,
    0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa1, 0x1c,
    0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06,
    0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01,
    0x30, 0xa3, 0x03, 0x02, 0x01, 0x01,
]);

impl SignatureVerificationAlgorithm for AmdPss {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        RSA_PSS_2048_8192_SHA384_LEGACY_KEY.verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        AMD_PSS_ID
    }
}

const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] =
    &[&AmdPss, RSA_PSS_2048_8192_SHA384_LEGACY_KEY];

/// VCEKs state no extended key usage.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

/// The three certificates of a report's signer, parsed.
pub(super) struct Chain<'a> {
    ark: Parsed<'a>,
    ask: Parsed<'a>,
    vcek: Parsed<'a>,
}

struct Parsed<'a> {
    der: &'a [u8],
    x509: X509Certificate<'a>,
}

impl<'a> Parsed<'a> {
    fn new(name: &str, der: &'a [u8]) -> Result<Self, SnpError> {
        match X509Certificate::from_der(der) {
            Ok(([], x509)) => Ok(Self { der, x509 }),
            Ok(_) => Err(SnpError::Chain(format!("bytes follow the {name}"))),
            Err(error) => Err(SnpError::Chain(format!("{name}: {error}"))),
        }
    }
}

impl<'a> Chain<'a> {
    /// Verifies that the root of `product` issued the ASK and the ASK the VCEK, each within
    /// its dates at `now`, Unix seconds.
    pub(super) fn verify(
        product: Product,
        [ark, ask, vcek]: [&'a [u8]; 3],
        now: u64,
    ) -> Result<Self, SnpError> {
        let chain = Self {
            ark: Parsed::new("ARK", ark)?,
            ask: Parsed::new("ASK", ask)?,
            vcek: Parsed::new("VCEK", vcek)?,
        };
        // AMD's root also issues the intermediates of cloud providers' keys (VLEK).
        let expected = format!("SEV-{product}");
        if common_name(chain.ask.x509.subject()) != Some(&expected) {
            return Err(SnpError::Chain(format!(
                "the issuer of the VCEK is {}, not {expected}",
                chain.ask.x509.subject()
            )));
        }
        for (name, certificate) in [
            ("ARK", &chain.ark),
            ("ASK", &chain.ask),
            ("VCEK", &chain.vcek),
        ] {
            check_dates(name, &certificate.x509, now)?;
        }
        chain.verify_path(product, now)?;
        Ok(chain)
    }

    fn verify_path(&self, product: Product, now: u64) -> Result<(), SnpError> {
        let failed = |error: webpki::Error| {
            SnpError::Chain(format!("the VCEK does not lead to ARK-{product}: {error}"))
        };
        let ark = CertificateDer::from(self.ark.der);
        let anchor = webpki::anchor_from_trusted_cert(&ark).map_err(failed)?;
        let vcek = CertificateDer::from(self.vcek.der);
        EndEntityCert::try_from(&vcek)
            .map_err(failed)?
            .verify_for_usage(
                ALGORITHMS,
                &[anchor],
                &[CertificateDer::from(self.ask.der)],
                UnixTime::since_unix_epoch(Duration::from_secs(now)),
                AnyUsage,
                None,
                None,
            )
            .map(|_| ())
            .map_err(failed)
    }

    /// The VCEK's public key, an uncompressed point.
    pub(super) fn public_key(&self) -> &[u8] {
        self.vcek.x509.public_key().subject_public_key.as_ref()
    }

    /// What the VCEK says it is for, against what the report says.
    pub(super) fn check_extensions(
        &self,
        product: Product,
        report: &SnpReport,
    ) -> Result<(), SnpError> {
        let said = self.text(&PRODUCT_NAME)?;
        // "Milan-B0": the stepping follows.
        let name = said.split('-').next().unwrap_or_default();
        if Product::from_name(name) != Some(product) {
            return Err(SnpError::Product {
                certificate: said.to_owned(),
                report: product,
            });
        }
        self.check_chip(product, report)?;
        let tcb = Tcb::of(product, report.reported_tcb);
        let mut versions = vec![
            ("bootloader", &BOOTLOADER_SPL, tcb.bootloader),
            ("tee", &TEE_SPL, tcb.tee),
            ("snp", &SNP_SPL, tcb.snp),
            ("microcode", &MICROCODE_SPL, tcb.microcode),
        ];
        versions.extend(tcb.fmc.map(|fmc| ("fmc", &FMC_SPL, fmc)));
        for (part, oid, reported) in versions {
            let certified = self.security_version(part, oid)?;
            if certified != reported {
                return Err(SnpError::Tcb {
                    part,
                    certified,
                    reported,
                });
            }
        }
        Ok(())
    }

    fn check_chip(&self, product: Product, report: &SnpReport) -> Result<(), SnpError> {
        let value = self.extension("hwID", &HARDWARE_ID)?;
        let (used, unused) = report.chip_id.split_at(product.hardware_id_len());
        // AMD writes the bytes alone or wrapped once more.
        let wrapped = OctetString::from_der(value).ok();
        let is = |id: &[u8]| id == used || id == report.chip_id;
        let named =
            is(value) || wrapped.is_some_and(|(rest, inner)| rest.is_empty() && is(inner.as_ref()));
        if named && unused.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        Err(SnpError::OtherChip {
            certificate: hex::encode(value),
            report: hex::encode(used),
        })
    }

    fn extension(&self, name: &str, oid: &Oid<'_>) -> Result<&[u8], SnpError> {
        match self.vcek.x509.get_extension_unique(oid) {
            Ok(Some(extension)) => Ok(extension.value),
            Ok(None) => Err(SnpError::Chain(format!("the VCEK has no extension {name}"))),
            Err(error) => Err(SnpError::Chain(format!("extension {name}: {error}"))),
        }
    }

    fn text(&self, oid: &Oid<'_>) -> Result<&str, SnpError> {
        let bad = || SnpError::Chain("extension productName is not an IA5String".to_owned());
        let value = self.extension("productName", oid)?;
        let (rest, text) = x509_parser::asn1_rs::Any::from_der(value).map_err(|_| bad())?;
        let is_text = rest.is_empty() && text.tag() == x509_parser::asn1_rs::Tag::Ia5String;
        is_text
            .then(|| std::str::from_utf8(text.data).ok())
            .flatten()
            .filter(|text| text.is_ascii())
            .ok_or_else(bad)
    }

    fn security_version(&self, part: &str, oid: &Oid<'_>) -> Result<u8, SnpError> {
        match u8::from_der(self.extension(part, oid)?) {
            Ok(([], version)) => Ok(version),
            _ => Err(SnpError::Chain(format!(
                "the VCEK's {part} version is not a number of one byte"
            ))),
        }
    }

    /// That AMD's list is signed by the ARK, is of now, and has neither ASK nor ARK on it. VCEKs are not
    /// listed: AMD retires them by raising the TCB.
    pub(super) fn check_revocation(&self, crl: &[u8], now: u64) -> Result<(), SnpError> {
        let bad = |reason: String| SnpError::RevocationList(reason);
        let Ok(([], list)) = CertificateRevocationList::from_der(crl) else {
            return Err(bad("it is not one X.509 revocation list".to_owned()));
        };
        let root = self.ark.x509.public_key().subject_public_key.as_ref();
        UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, root)
            .verify(list.tbs_cert_list.as_ref(), list.signature_value.as_ref())
            .map_err(|_| bad("its signature is not the ARK's".to_owned()))?;
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let next = list.next_update().map(|time| time.timestamp());
        if list.last_update().timestamp() > now {
            return Err(bad(format!(
                "it is from the future, {}",
                list.last_update()
            )));
        }
        if next.is_none_or(|next| next <= now) {
            return Err(bad("it has expired".to_owned()));
        }
        for (name, certificate) in [("ASK", &self.ask.x509), ("ARK", &self.ark.x509)] {
            let serial = certificate.raw_serial();
            if list
                .iter_revoked_certificates()
                .any(|entry| entry.raw_serial() == serial)
            {
                return Err(SnpError::Revoked(name));
            }
        }
        Ok(())
    }
}

fn check_dates(
    name: &'static str,
    certificate: &X509Certificate<'_>,
    now: u64,
) -> Result<(), SnpError> {
    let validity = certificate.validity();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    if validity.not_before.timestamp() <= now && now <= validity.not_after.timestamp() {
        return Ok(());
    }
    Err(SnpError::Expired {
        name,
        not_before: validity.not_before.to_string(),
        not_after: validity.not_after.to_string(),
    })
}

static PRODUCT_NAME: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.2);
static BOOTLOADER_SPL: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.1);
static TEE_SPL: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.2);
static SNP_SPL: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.3);
static MICROCODE_SPL: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.8);
static FMC_SPL: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.9);
static HARDWARE_ID: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.4);
