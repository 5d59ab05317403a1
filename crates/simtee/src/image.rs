//! Simulated OS images: small files whose digests stand where a real image's do.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bylaw_attest::image::{
    CHECKSUM_NAME, Document, ImageDigests, Material, Mrtd, TdHobWitness, checksum_file,
};
use bylaw_types::{OsImageHash, Register};
use sha2::{Digest, Sha256, Sha384};

use crate::SimError;

/// An image, the same bytes for the same seed.
#[derive(Debug, Clone)]
pub struct SimImage {
    document: Document,
    measurement: Vec<u8>,
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
        let checksums = checksum_file(&[
            ("ovmf.fd", &firmware),
            ("bzImage", &kernel),
            ("initramfs.cpio.gz", &initrd),
            (CHECKSUM_NAME, &measurement),
        ]);
        Ok(Self {
            document,
            measurement,
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

    /// The files that prove it, as vm_config carries them.
    pub fn material(&self) -> Material {
        Material {
            measurement: STANDARD.encode(&self.measurement),
            checksum_file: STANDARD.encode(&self.checksums),
        }
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
