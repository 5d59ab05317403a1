//! The provisioning certificates: root, platform CA, PCK, TCB signing, CRLs.
//!
//! Names and extensions are those of Intel's, since verifiers look for them; the
//! root is this machine's own.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CustomExtension, DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, RevokedCertParams, SerialNumber,
};
use time::{Duration, OffsetDateTime};
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, DERWriterSeq};

use crate::SimError;

/// Security version of every component of the simulated platform.
pub(crate) const SVN: u8 = 3;
/// Security version of the provisioning enclave.
pub(crate) const PCE_SVN: u16 = 11;
/// Family of the simulated platform.
pub(crate) const FMSPC: [u8; 6] = [0x51, 0x3e, 0x7e, 0, 0, 0];

/// Where verifiers that ask no PCCS look for the root's CRL; the same path is served.
const ROOT_CRL_URL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";
const SGX: [u64; 7] = [1, 2, 840, 113_741, 1, 13, 1];

/// A key and the certificate for it.
#[derive(Debug)]
pub(crate) struct Certified {
    pub(crate) key: KeyPair,
    pub(crate) pem: String,
    pub(crate) der: Vec<u8>,
}

/// The whole chain of one machine.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) root: Certified,
    pub(crate) platform: Certified,
    pub(crate) pck: Certified,
    pub(crate) tcb_signer: Certified,
}

/// Private keys, PKCS#8 PEM, in the order of [`Chain`]'s fields.
pub(crate) type ChainKeys = [String; 4];

/// Certificates, PEM, in the order of [`Chain`]'s fields.
pub(crate) type ChainPems = [String; 4];

pub(crate) fn new_keys() -> Result<ChainKeys, SimError> {
    let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(|key| key.serialize_pem());
    Ok([key()?, key()?, key()?, key()?])
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (kind, value) in [
        (DnType::CommonName, common),
        (DnType::OrganizationName, "Intel Corporation"),
        (DnType::LocalityName, "Santa Clara"),
        (DnType::StateOrProvinceName, "CA"),
        (DnType::CountryName, "US"),
    ] {
        name.push(kind, value);
    }
    name
}

fn params(common: &str, serial: u8, ca_path_len: Option<u8>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(common);
    params.serial_number = Some(SerialNumber::from_slice(&[0x51, serial]));
    // Fixed dates, so that the same keys always give the same certificates' contents.
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(2049, 12, 31);
    params.use_authority_key_identifier_extension = true;
    params.crl_distribution_points = vec![CrlDistributionPoint {
        uris: vec![ROOT_CRL_URL.to_owned()],
    }];
    match ca_path_len {
        Some(length) => {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(length));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        }
        None => {
            params.is_ca = IsCa::ExplicitNoCa;
            params.key_usages = vec![
                KeyUsagePurpose::DigitalSignature,
                KeyUsagePurpose::ContentCommitment,
            ];
        }
    }
    params
}

impl Chain {
    /// Certificates for `keys`, for the platform with this PPID.
    pub(crate) fn new(keys: &ChainKeys, ppid: &[u8; 16]) -> Result<Self, SimError> {
        let [root_key, platform_key, pck_key, tcb_key] = keys;
        let load = |pem: &String| KeyPair::from_pem(pem);
        let root_params = params("Intel SGX Root CA", 1, Some(1));
        let platform_params = params("Intel SGX PCK Platform CA", 2, Some(0));
        let root_issuer = Issuer::from_params(&root_params, load(root_key)?);
        let platform_issuer = Issuer::from_params(&platform_params, load(platform_key)?);
        let mut pck_params = params("Intel SGX PCK Certificate", 3, None);
        pck_params.custom_extensions =
            vec![CustomExtension::from_oid_content(&SGX, sgx_extension(ppid))];
        let certified = |key: KeyPair, certificate: rcgen::Certificate| Certified {
            pem: certificate.pem(),
            der: certificate.der().to_vec(),
            key,
        };
        let root = load(root_key)?;
        let root_certificate = root_params.self_signed(&root)?;
        let platform = load(platform_key)?;
        let platform_certificate = platform_params.signed_by(&platform, &root_issuer)?;
        let pck = load(pck_key)?;
        let pck_certificate = pck_params.signed_by(&pck, &platform_issuer)?;
        let signer = load(tcb_key)?;
        let signer_certificate =
            params("Intel SGX TCB Signing", 4, None).signed_by(&signer, &root_issuer)?;
        Ok(Self {
            root: certified(root, root_certificate),
            platform: certified(platform, platform_certificate),
            pck: certified(pck, pck_certificate),
            tcb_signer: certified(signer, signer_certificate),
        })
    }

    /// Certificates in the order of the fields, PEM: signatures are random, so
    /// they are made once and kept.
    pub(crate) fn pems(&self) -> ChainPems {
        [&self.root, &self.platform, &self.pck, &self.tcb_signer].map(|held| held.pem.clone())
    }

    /// The chain from kept keys and certificates.
    pub(crate) fn load(keys: &ChainKeys, pems: &ChainPems) -> Result<Self, SimError> {
        let certified = |key: &String, pem: &String| {
            let der = pem::parse(pem).map_err(|error| SimError::State(error.to_string()))?;
            Ok::<_, SimError>(Certified {
                key: KeyPair::from_pem(key)?,
                pem: pem.clone(),
                der: der.into_contents(),
            })
        };
        let [root_key, platform_key, pck_key, tcb_key] = keys;
        let [root, platform, pck, tcb_signer] = pems;
        Ok(Self {
            root: certified(root_key, root)?,
            platform: certified(platform_key, platform)?,
            pck: certified(pck_key, pck)?,
            tcb_signer: certified(tcb_key, tcb_signer)?,
        })
    }

    /// PCK, platform CA and root, as quotes carry them.
    pub(crate) fn pck_chain_pem(&self) -> String {
        format!("{}{}{}", self.pck.pem, self.platform.pem, self.root.pem)
    }

    /// CRLs of root and platform CA, DER; the PCK is on the latter when revoked.
    pub(crate) fn crls(
        &self,
        from: u64,
        until: u64,
        revoke_pck: bool,
    ) -> Result<(Vec<u8>, Vec<u8>), SimError> {
        let crl = |common, path_len, serial, key: &KeyPair, revoked| {
            let params = CertificateRevocationListParams {
                this_update: date(from),
                next_update: date(until),
                crl_number: SerialNumber::from(1),
                issuing_distribution_point: None,
                revoked_certs: revoked,
                key_identifier_method: KeyIdMethod::Sha256,
            };
            let issuer_params = self::params(common, serial, Some(path_len));
            let key = KeyPair::from_pem(&key.serialize_pem())?;
            let issuer = Issuer::from_params(&issuer_params, key);
            params.signed_by(&issuer).map(|crl| crl.der().to_vec())
        };
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from_slice(&[0x51, 3]),
            revocation_time: date(from),
            reason_code: None,
            invalidity_date: None,
        };
        let revoked = if revoke_pck { vec![revoked] } else { vec![] };
        Ok((
            crl("Intel SGX Root CA", 1, 1, &self.root.key, vec![])?,
            crl(
                "Intel SGX PCK Platform CA",
                0,
                2,
                &self.platform.key,
                revoked,
            )?,
        ))
    }
}

fn date(unix: u64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::seconds(i64::try_from(unix).unwrap_or(i64::MAX / 4))
}

/// The SGX extension of a platform's PCK certificate.
fn sgx_extension(ppid: &[u8; 16]) -> Vec<u8> {
    yasna::construct_der(|writer| {
        writer.write_sequence(|out| {
            entry(out, &[1], |value| value.write_bytes(ppid));
            entry(out, &[2], |value| {
                value.write_sequence(|tcb| {
                    for component in 1..=16 {
                        entry(tcb, &[2, component], |value| value.write_u8(SVN));
                    }
                    entry(tcb, &[2, 17], |value| value.write_u16(PCE_SVN));
                    entry(tcb, &[2, 18], |value| value.write_bytes(&[SVN; 16]));
                });
            });
            entry(out, &[3], |value| value.write_bytes(&[0, 0]));
            entry(out, &[4], |value| value.write_bytes(&FMSPC));
            entry(out, &[5], |value| value.write_enum(1));
            entry(out, &[6], |value| value.write_bytes(&[0x51; 16]));
            entry(out, &[7], |value| {
                value.write_sequence(|flags| {
                    for flag in 1..=3 {
                        entry(flags, &[7, flag], |value| value.write_bool(true));
                    }
                });
            });
        });
    })
}

fn entry(out: &mut DERWriterSeq<'_>, suffix: &[u64], value: impl FnOnce(DERWriter<'_>)) {
    let oid = ObjectIdentifier::from_slice(&[&SGX[..], suffix].concat());
    out.next().write_sequence(|pair| {
        pair.next().write_oid(&oid);
        value(pair.next());
    });
}
