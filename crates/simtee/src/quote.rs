//! TDX quotes of version 4 and SGX quotes of version 3, byte for byte (attestation
//! reference, section 3).

use bylaw_types::{Register, ReportData};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use sha2::{Digest, Sha256};

/// TDX module and platform security versions of the simulated machine; index 1 is
/// the module's major version.
pub(crate) const TEE_TCB_SVN: [u8; 16] = [5, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// What it was before the microcode was updated.
pub(crate) const OUTDATED_TEE_TCB_SVN: [u8; 16] = [5, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// MRSIGNER of the quoting enclave, as the QE identity states it.
pub(crate) const QE_MRSIGNER: [u8; 32] = [0x51; 32];
/// ISVPRODID of the quoting enclave.
pub(crate) const QE_PROD_ID: u16 = 2;
/// ISVSVN of the quoting enclave.
pub(crate) const QE_SVN: u16 = 4;
const QE_VENDOR: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];
/// SEPT_VE_DISABLE, as every hardened guest sets it.
const TD_ATTRIBUTES: u64 = 1 << 28;
const DEBUG: u64 = 1;
const QE_AUTH: [u8; 32] = [0; 32];

/// What a quote says.
pub(crate) struct Contents<'a> {
    pub(crate) mrtd: &'a Register,
    pub(crate) rtmr: &'a [Register; 4],
    pub(crate) mr_config_id: &'a Register,
    pub(crate) mr_signer_seam: &'a Register,
    pub(crate) report_data: &'a ReportData,
    pub(crate) debug: bool,
    /// From before the newest TCB level.
    pub(crate) outdated: bool,
}

/// Keys that sign quotes.
pub(crate) struct Quoting<'a> {
    pub(crate) attestation_key: &'a SigningKey,
    pub(crate) pck_key: &'a SigningKey,
    pub(crate) qe_id: [u8; 16],
    pub(crate) pck_chain_pem: &'a str,
}

pub(crate) fn build(contents: &Contents<'_>, keys: &Quoting<'_>) -> Vec<u8> {
    let mut quote = header(4, 0x81, keys.qe_id);
    quote.extend(body(contents));
    let (signature, certification) = sign(&quote, keys);
    let mut auth = signature;
    auth.extend(6u16.to_le_bytes());
    auth.extend(length(certification.len()));
    auth.extend(certification);
    quote.extend(length(auth.len()));
    quote.extend(auth);
    quote
}

/// An SGX quote, version 3.
pub(crate) fn build_sgx(report: &[u8], keys: &Quoting<'_>) -> Vec<u8> {
    let mut quote = header(3, 0, keys.qe_id);
    quote.extend(report);
    let (mut auth, certification) = sign(&quote, keys);
    auth.extend(certification);
    quote.extend(length(auth.len()));
    quote.extend(auth);
    quote
}

/// Signature and attestation key; what certifies the key.
fn sign(quote: &[u8], keys: &Quoting<'_>) -> (Vec<u8>, Vec<u8>) {
    let signature: Signature = keys.attestation_key.sign(quote);
    let public = public_key(keys.attestation_key);
    let mut signed = signature.to_bytes().to_vec();
    signed.extend(&public);

    let qe_report = qe_report(&public);
    let qe_signature: Signature = keys.pck_key.sign(&qe_report);
    let mut certification = Vec::new();
    certification.extend(qe_report);
    certification.extend(qe_signature.to_bytes());
    certification.extend(32u16.to_le_bytes());
    certification.extend(QE_AUTH);
    certification.extend(5u16.to_le_bytes());
    certification.extend(length(keys.pck_chain_pem.len()));
    certification.extend(keys.pck_chain_pem.as_bytes());
    (signed, certification)
}

fn length(bytes: usize) -> [u8; 4] {
    // A few kilobytes.
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

fn header(version: u16, tee: u32, qe_id: [u8; 16]) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(version.to_le_bytes());
    header.extend(2u16.to_le_bytes());
    header.extend(tee.to_le_bytes());
    header.extend([0; 4]);
    header.extend(QE_VENDOR);
    header.extend(qe_id);
    header.extend([0; 4]);
    header
}

fn body(contents: &Contents<'_>) -> Vec<u8> {
    let zero = [0; 48];
    let attributes = TD_ATTRIBUTES | if contents.debug { DEBUG } else { 0 };
    let mut body = Vec::new();
    body.extend(if contents.outdated {
        OUTDATED_TEE_TCB_SVN
    } else {
        TEE_TCB_SVN
    });
    body.extend([0x5e; 48]); // MRSEAM
    body.extend(contents.mr_signer_seam.as_bytes());
    body.extend([0; 8]); // SEAM attributes
    body.extend(attributes.to_le_bytes());
    body.extend(0x0006_02e7u64.to_le_bytes()); // XFAM
    body.extend(contents.mrtd.as_bytes());
    body.extend(contents.mr_config_id.as_bytes());
    body.extend(zero); // MROWNER
    body.extend(zero); // MROWNERCONFIG
    for register in contents.rtmr {
        body.extend(register.as_bytes());
    }
    body.extend(contents.report_data.as_bytes());
    body
}

/// An enclave's report, 384 bytes.
pub(crate) struct Enclave {
    pub(crate) attributes: [u8; 16],
    pub(crate) mr_enclave: [u8; 32],
    pub(crate) mr_signer: [u8; 32],
    pub(crate) prod_id: u16,
    pub(crate) svn: u16,
    pub(crate) report_data: [u8; 64],
}

impl Enclave {
    pub(crate) fn report(&self) -> Vec<u8> {
        let mut report = Vec::new();
        report.extend([crate::pck::SVN; 16]);
        report.extend([0; 4]); // MISCSELECT
        report.extend([0; 28]);
        report.extend(self.attributes);
        report.extend(self.mr_enclave);
        report.extend([0; 32]);
        report.extend(self.mr_signer);
        report.extend([0; 96]);
        report.extend(self.prod_id.to_le_bytes());
        report.extend(self.svn.to_le_bytes());
        report.extend([0; 60]);
        report.extend(self.report_data);
        report
    }
}

/// The quoting enclave's report that binds the attestation key.
fn qe_report(attestation_public: &[u8]) -> Vec<u8> {
    let bound = Sha256::new()
        .chain_update(attestation_public)
        .chain_update(QE_AUTH)
        .finalize();
    let mut report_data = [0; 64];
    for (slot, byte) in report_data.iter_mut().zip(bound) {
        *slot = byte;
    }
    Enclave {
        attributes: [0x11, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0],
        mr_enclave: [0x51; 32],
        mr_signer: QE_MRSIGNER,
        prod_id: QE_PROD_ID,
        svn: QE_SVN,
        report_data,
    }
    .report()
}

/// X || Y, 64 bytes.
fn public_key(key: &SigningKey) -> Vec<u8> {
    let point = key.verifying_key().to_encoded_point(false);
    point.as_bytes().get(1..).unwrap_or_default().to_vec()
}
