//! Simulated OS images: small files whose digests stand where a real image's do.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bylaw_attest::image::snp::{SNP_CHECKSUM_NAME, Section, SnpDocument, SnpMaterial};
use bylaw_attest::image::{
    CHECKSUM_NAME, Document, ImageDigests, Material, Mrtd, TdHobWitness, checksum_file,
};
use bylaw_types::{OsImageHash, Register, Sha256Digest};
use sha2::{Digest, Sha256, Sha384};

use crate::SimError;

/// An image, the same bytes for the same seed.
#[derive(Debug, Clone)]
pub struct SimImage {
    document: Document,
    measurement: Vec<u8>,
    snp_document: SnpDocument,
    checksums: String,
}

fn sha384(parts: &[&[u8]]) -> Register {
    let hash = parts
        .iter()
        .fold(Sha384::new(), |hash, part| hash.chain_update(part));
    Register::new(hash.finalize().into())
}

impl SimImage {
    /// The image of this seed; the empty seed is the default image.
    ///
    /// # Errors
    /// Never for the built-in memory layout.
    pub fn new(seed: &str) -> Result<Self, SimError> {
        let file = |name: &str| format!("simulated {name} of image {seed:?}\n").into_bytes();
        let (firmware, kernel, initrd) = (file("ovmf.fd"), file("bzImage"), file("initramfs"));
        let cmdline = file("cmdline");
        let td_hob = TdHobWitness::new(
            0x800,
            0x809,
            vec![(0x800, 6), (0x809, 2), (0x80b, 2), (0x810, 16)],
        )
        .map_err(|error| SimError::State(error.to_string()))?;
        let document = Document {
            image: ImageDigests {
                cmdline_sha384: sha384(&[&cmdline]),
                kernel_authenticode: sha384(&[&kernel]),
                initrd_sha384: sha384(&[&initrd]),
            },
            ovmf: "pre202505".to_owned(),
            mrtd: Mrtd {
                single_pass: sha384(&[b"single pass", &firmware]),
                two_pass: sha384(&[b"two pass", &firmware]),
            },
            td_hob,
        };
        let measurement = document.to_cbor();
        let snp_document = snp_document(&firmware, &kernel, &initrd, &cmdline);
        let snp_measurement = snp_document.to_cbor();
        let checksums = checksum_file(&[
            ("ovmf.fd", &firmware),
            ("bzImage", &kernel),
            ("initramfs.cpio.gz", &initrd),
            (CHECKSUM_NAME, &measurement),
            (SNP_CHECKSUM_NAME, &snp_measurement),
        ]);
        Ok(Self {
            document,
            measurement,
            snp_document,
            checksums,
        })
    }

    /// The hash that contracts allow.
    pub fn os_image_hash(&self) -> OsImageHash {
        OsImageHash::new(Sha256::digest(&self.checksums).into())
    }

    /// What its registers are computed from.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// What its SEV-SNP launch digest is computed from.
    pub fn snp_document(&self) -> &SnpDocument {
        &self.snp_document
    }

    /// The files that prove it on SEV-SNP, for a guest with these vCPUs.
    pub fn snp_material(&self, vcpus: u32, vcpu_type: &str, guest_features: u64) -> SnpMaterial {
        SnpMaterial {
            checksum_file: STANDARD.encode(&self.checksums),
            measurement: STANDARD.encode(self.snp_document.to_cbor()),
            vcpus,
            vcpu_type: vcpu_type.to_owned(),
            guest_features,
        }
    }

    /// The files that prove it, as vm_config carries them.
    pub fn material(&self) -> Material {
        Material {
            measurement: STANDARD.encode(&self.measurement),
            checksum_file: STANDARD.encode(&self.checksums),
        }
    }
}

/// Memory as OVMF lays it out.
fn snp_document(firmware: &[u8], kernel: &[u8], initrd: &[u8], cmdline: &[u8]) -> SnpDocument {
    let section = |gpa, size, kind| Section { gpa, size, kind };
    let sha256 = |bytes: &[u8]| Sha256Digest::new(Sha256::digest(bytes).into());
    SnpDocument {
        cmdline: String::from_utf8_lossy(cmdline).trim().to_owned(),
        ovmf_hash: sha384(&[b"sev", firmware]),
        kernel_hash: sha256(kernel),
        initrd_hash: sha256(initrd),
        hashes_table_gpa: 0x81_0c00,
        reset_eip: 0x80_b004,
        sections: vec![
            section(0x80_0000, 0x9000, 1),
            section(0x80_d000, 0x1000, 2),
            section(0x80_e000, 0x1000, 3),
            section(0x81_0000, 0x1000, 0x10),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_image_and_another_seed_another() {
        let hash = |seed| SimImage::new(seed).unwrap().os_image_hash();
        assert_eq!(hash(""), hash(""));
        assert_ne!(hash(""), hash("b"));
    }
}
