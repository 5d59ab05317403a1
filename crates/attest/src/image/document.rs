//! `measurement.tdx.cbor` and `sha256sum.txt`.

use bylaw_types::Register;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};

use super::{ImageError, TdHobWitness};

/// Name under which the checksum file lists the document.
pub const CHECKSUM_NAME: &str = "measurement.tdx.cbor";
const VERSION: u32 = 3;
/// The only firmware layout whose log can be recomputed.
const OVMF: &str = "pre202505";

/// What an image commits to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Digests of the boot files.
    pub image: ImageDigests,
    /// Firmware layout.
    pub ovmf: String,
    /// MRTD for both ways QEMU adds pages.
    pub mrtd: Mrtd,
    /// Memory sections of the firmware.
    pub td_hob: TdHobWitness,
}

/// Digests of the boot files, SHA-384.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDigests {
    /// UTF-16LE of the command line with ` initrd=initrd`, zero-terminated.
    pub cmdline_sha384: Register,
    /// Authenticode digest of the kernel as QEMU patches it.
    pub kernel_authenticode: Register,
    /// The initrd file.
    pub initrd_sha384: Register,
}

/// MRTD candidates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mrtd {
    /// Add and extend page by page.
    pub single_pass: Register,
    /// Add all, then extend all.
    pub two_pass: Register,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    version: u32,
    image: WireImage,
    tdvf: WireTdvf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireImage {
    cmdline_sha384: ByteBuf,
    kernel_authenticode: ByteBuf,
    initrd_sha384: ByteBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTdvf {
    ovmf: String,
    mrtd: WireMrtd,
    td_hob: ByteBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireMrtd {
    single_pass: ByteBuf,
    two_pass: ByteBuf,
}

impl Document {
    /// Parses the CBOR form.
    ///
    /// # Errors
    /// [`ImageError::Document`] for another version, unknown fields, lengths or
    /// trailing bytes.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, ImageError> {
        let malformed = |reason: String| ImageError::Document(reason);
        let mut rest = bytes;
        let wire: Wire =
            ciborium::from_reader(&mut rest).map_err(|error| malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(malformed(format!("{} bytes follow it", rest.len())));
        }
        if wire.version != VERSION {
            return Err(malformed(format!(
                "version is {}, not {VERSION}",
                wire.version
            )));
        }
        if wire.tdvf.ovmf != OVMF {
            return Err(malformed(format!(
                "firmware layout {:?} is not {OVMF}",
                wire.tdvf.ovmf
            )));
        }
        let register = |bytes: &ByteBuf| {
            Register::try_from(bytes.as_slice()).map_err(|error| malformed(error.to_string()))
        };
        Ok(Self {
            image: ImageDigests {
                cmdline_sha384: register(&wire.image.cmdline_sha384)?,
                kernel_authenticode: register(&wire.image.kernel_authenticode)?,
                initrd_sha384: register(&wire.image.initrd_sha384)?,
            },
            ovmf: wire.tdvf.ovmf,
            mrtd: Mrtd {
                single_pass: register(&wire.tdvf.mrtd.single_pass)?,
                two_pass: register(&wire.tdvf.mrtd.two_pass)?,
            },
            td_hob: TdHobWitness::decode(&wire.tdvf.td_hob)
                .map_err(|error| malformed(error.to_string()))?,
        })
    }

    /// The CBOR form, keys in their order.
    pub fn to_cbor(&self) -> Vec<u8> {
        let bytes = |register: &Register| ByteBuf::from(register.as_bytes().to_vec());
        let wire = Wire {
            version: VERSION,
            image: WireImage {
                cmdline_sha384: bytes(&self.image.cmdline_sha384),
                kernel_authenticode: bytes(&self.image.kernel_authenticode),
                initrd_sha384: bytes(&self.image.initrd_sha384),
            },
            tdvf: WireTdvf {
                ovmf: self.ovmf.clone(),
                mrtd: WireMrtd {
                    single_pass: bytes(&self.mrtd.single_pass),
                    two_pass: bytes(&self.mrtd.two_pass),
                },
                td_hob: ByteBuf::from(self.td_hob.encode()),
            },
        };
        let mut out = Vec::new();
        // Writing plain data to memory cannot fail.
        let _ = ciborium::into_writer(&wire, &mut out);
        out
    }
}

/// A checksum file in GNU form for `files` of name and content.
pub fn checksum_file(files: &[(&str, &[u8])]) -> String {
    files
        .iter()
        .map(|(name, content)| format!("{}  {name}\n", hex::encode(Sha256::digest(content))))
        .collect()
}

/// Checks that the checksum file lists `content` under `name`.
pub(super) fn committed(checksums: &[u8], name: &str, content: &[u8]) -> Result<(), String> {
    if Sha256::digest(content)[..] == listed_hash(checksums, name)? {
        Ok(())
    } else {
        Err(format!("{name} has another SHA-256 than listed"))
    }
}

/// The hash listed for exactly this name.
fn listed_hash(checksums: &[u8], name: &str) -> Result<[u8; 32], String> {
    let text =
        std::str::from_utf8(checksums).map_err(|_| "the checksum file is not text".to_owned())?;
    let mut found = text.lines().filter_map(|line| {
        let mut columns = line.split_whitespace();
        let hash = columns.next()?;
        (columns.next() == Some(name)).then_some(hash)
    });
    let (Some(hash), None) = (found.next(), found.next()) else {
        return Err(format!("the checksum file must list {name} exactly once"));
    };
    hex::decode(hash)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| format!("the hash listed for {name} is not 32 bytes of hex"))
}
