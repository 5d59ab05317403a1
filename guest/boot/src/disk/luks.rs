//! The header of an encrypted disk, as strictly as we write it.
//!
//! The disk belongs to the host, and its header says how to decrypt it: a header that named
//! the null cipher, or no integrity, would have us write plain text for the host to read.
//! So a header counts only when it says exactly what [`super::format`] makes, and it is a
//! copy in memory that is checked and then used: the host cannot change it in between.
//! (LUKS2 On-Disk Format Specification, version 1.1.)

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Bytes before the data: both headers and the key slots.
pub const DATA_OFFSET: usize = 16 * 1024 * 1024;
/// Cipher of data and key slots.
pub const CIPHER: &str = "aes-xts-plain64";
/// Authentication of every sector.
pub const INTEGRITY: &str = "hmac(sha256)";
/// Bytes of a sector.
pub const SECTOR: u32 = 4096;
/// Bytes of the volume key: 64 for AES-256 in XTS, 32 for HMAC-SHA-256.
const VOLUME_KEY: u32 = 96;
/// Bytes of AES-256 in XTS.
const AREA_KEY: u32 = 64;
/// Bytes of the binary header.
const BINARY: usize = 4096;
/// Bytes of each header, JSON included: the size that we write.
const HEADER: usize = 16 * 1024;
/// Where the checksum is.
const CHECKSUM: std::ops::Range<usize> = 448..512;

/// A header that is not what we write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Cut off.
    #[error("the header is cut off")]
    Short,
    /// A field of the binary part.
    #[error("field {field} of the {which} header is not what this system writes")]
    Field {
        /// `primary` or `secondary`.
        which: &'static str,
        /// Its name.
        field: &'static str,
    },
    /// The checksum.
    #[error("the checksum of the {0} header does not match")]
    Checksum(&'static str),
    /// Headers that differ.
    #[error("primary and secondary header differ")]
    Differ,
    /// The JSON.
    #[error("the metadata is malformed: {0}")]
    Json(String),
    /// A value of the JSON.
    #[error("{what} is {found}, and must be {expected}")]
    Value {
        /// Where.
        what: &'static str,
        /// What it says.
        found: String,
        /// What we write.
        expected: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    keyslots: BTreeMap<String, Keyslot>,
    tokens: BTreeMap<String, serde_json::Value>,
    segments: BTreeMap<String, Segment>,
    digests: BTreeMap<String, KeyDigest>,
    config: Config,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keyslot {
    r#type: String,
    key_size: u32,
    af: AntiForensic,
    area: Area,
    kdf: Kdf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AntiForensic {
    r#type: String,
    stripes: u32,
    hash: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Area {
    r#type: String,
    offset: String,
    size: String,
    encryption: String,
    key_size: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kdf {
    r#type: String,
    hash: String,
    iterations: u32,
    salt: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Segment {
    r#type: String,
    offset: String,
    size: String,
    iv_tweak: String,
    encryption: String,
    sector_size: u32,
    integrity: Option<Integrity>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Integrity {
    r#type: String,
    journal_encryption: String,
    journal_integrity: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyDigest {
    r#type: String,
    keyslots: Vec<String>,
    segments: Vec<String>,
    hash: String,
    iterations: u32,
    salt: String,
    digest: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    json_size: String,
    keyslots_size: String,
}

/// Checks the first [`DATA_OFFSET`] bytes of a disk, or a detached header of that size.
///
/// # Errors
/// [`HeaderError`] names the first thing that differs from what we write.
pub fn validate(header: &[u8]) -> Result<(), HeaderError> {
    let primary = header.get(..HEADER).ok_or(HeaderError::Short)?;
    let secondary = header.get(HEADER..2 * HEADER).ok_or(HeaderError::Short)?;
    let first = binary("primary", primary, b"LUKS\xba\xbe", 0)?;
    let second = binary("secondary", secondary, b"SKUL\xba\xbe", HEADER as u64)?;
    if first != second {
        return Err(HeaderError::Differ);
    }
    let metadata: Metadata =
        serde_json::from_slice(first.json).map_err(|error| HeaderError::Json(error.to_string()))?;
    metadata.check()
}

/// What both headers must share.
#[derive(PartialEq, Eq)]
struct Binary<'a> {
    sequence: [u8; 8],
    uuid: &'a [u8],
    json: &'a [u8],
}

/// Checks one header; the bytes of its JSON and what else must agree.
fn binary<'a>(
    which: &'static str,
    header: &'a [u8],
    magic: &[u8; 6],
    offset: u64,
) -> Result<Binary<'a>, HeaderError> {
    let mut reader = Reader(header);
    let bad = |field| HeaderError::Field { which, field };
    let must = |holds: bool, field| holds.then_some(()).ok_or_else(|| bad(field));
    must(reader.array::<6>()? == *magic, "magic")?;
    must(u16::from_be_bytes(reader.array()?) == 2, "version")?;
    must(
        u64::from_be_bytes(reader.array()?) == HEADER as u64,
        "hdr_size",
    )?;
    let sequence = reader.array::<8>()?;
    must(reader.array::<48>()? == [0; 48], "label")?;
    let algorithm = reader.array::<32>()?;
    must(
        algorithm.starts_with(b"sha256\0") && algorithm[6..].iter().all(|byte| *byte == 0),
        "csum_alg",
    )?;
    reader.array::<64>()?;
    let uuid = reader.take(40)?;
    must(reader.array::<48>()? == [0; 48], "subsystem")?;
    must(u64::from_be_bytes(reader.array()?) == offset, "hdr_offset")?;
    must(reader.array::<184>()? == [0; 184], "padding")?;
    let checksum = reader.array::<64>()?;
    must(
        reader
            .take(BINARY - CHECKSUM.end)?
            .iter()
            .all(|byte| *byte == 0),
        "padding",
    )?;
    let (digest, rest) = checksum.split_at(32);
    let (before, after) = (
        header.get(..CHECKSUM.start).ok_or(HeaderError::Short)?,
        header.get(CHECKSUM.end..).ok_or(HeaderError::Short)?,
    );
    let actual = Sha256::new()
        .chain_update(before)
        .chain_update([0; 64])
        .chain_update(after)
        .finalize();
    if digest != &actual[..] || rest != [0; 32] {
        return Err(HeaderError::Checksum(which));
    }
    let area = reader.0;
    let end = area
        .iter()
        .position(|byte| *byte == 0)
        .ok_or_else(|| HeaderError::Json("it has no end".to_owned()))?;
    let (json, padding) = area.split_at(end);
    if padding.iter().any(|byte| *byte != 0) {
        return Err(HeaderError::Json("something follows it".to_owned()));
    }
    Ok(Binary {
        sequence,
        uuid,
        json,
    })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], HeaderError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(HeaderError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        self.take(N)?.try_into().map_err(|_| HeaderError::Short)
    }
}

fn equal<T: PartialEq + ToString>(
    what: &'static str,
    found: T,
    expected: T,
) -> Result<(), HeaderError> {
    if found == expected {
        return Ok(());
    }
    Err(HeaderError::Value {
        what,
        found: found.to_string().chars().take(80).collect(),
        expected: expected.to_string(),
    })
}

fn only<'a, T>(what: &'static str, entries: &'a BTreeMap<String, T>) -> Result<&'a T, HeaderError> {
    let keys = entries.keys().cloned().collect::<Vec<_>>().join(",");
    equal(what, keys.as_str(), "0")?;
    entries
        .get("0")
        .ok_or_else(|| HeaderError::Json(format!("no {what}")))
}

fn between(
    what: &'static str,
    found: u64,
    range: std::ops::RangeInclusive<u64>,
) -> Result<(), HeaderError> {
    if range.contains(&found) {
        return Ok(());
    }
    Err(HeaderError::Value {
        what,
        found: found.to_string(),
        expected: format!("{} to {}", range.start(), range.end()),
    })
}

fn number(what: &'static str, text: &str) -> Result<u64, HeaderError> {
    let parsed = text
        .parse::<u64>()
        .ok()
        .filter(|number| number.to_string() == text);
    parsed.ok_or_else(|| HeaderError::Value {
        what,
        found: text.chars().take(80).collect(),
        expected: "a decimal number".to_owned(),
    })
}

fn base64_of(what: &'static str, text: &str, bytes: usize) -> Result<(), HeaderError> {
    let count = STANDARD.decode(text).map_or(0, |decoded| decoded.len());
    equal(what, count, bytes)
}

/// Work that we ask of PBKDF2 is little (the passphrase is a key); more only costs time.
const ITERATIONS: std::ops::RangeInclusive<u64> = 1000..=1_000_000;

impl Metadata {
    fn check(&self) -> Result<(), HeaderError> {
        equal("number of tokens", self.tokens.len(), 0)?;
        let slot = only("keyslots", &self.keyslots)?;
        slot.check()?;
        let segment = only("segments", &self.segments)?;
        segment.check()?;
        only("digests", &self.digests)?.check()?;
        let json_size = number("config.json_size", &self.config.json_size)?;
        equal("config.json_size", json_size, (HEADER - BINARY) as u64)?;
        let slots = number("config.keyslots_size", &self.config.keyslots_size)?;
        equal(
            "config.keyslots_size",
            slots,
            (DATA_OFFSET - 2 * HEADER) as u64,
        )
    }
}

impl Keyslot {
    fn check(&self) -> Result<(), HeaderError> {
        equal("keyslot type", self.r#type.as_str(), "luks2")?;
        equal("keyslot key_size", self.key_size, VOLUME_KEY)?;
        equal("af type", self.af.r#type.as_str(), "luks1")?;
        equal("af stripes", self.af.stripes, 4000)?;
        equal("af hash", self.af.hash.as_str(), "sha256")?;
        equal("keyslot area type", self.area.r#type.as_str(), "raw")?;
        equal("keyslot encryption", self.area.encryption.as_str(), CIPHER)?;
        equal("keyslot area key_size", self.area.key_size, AREA_KEY)?;
        let offset = number("keyslot area offset", &self.area.offset)?;
        equal("keyslot area offset", offset, 2 * HEADER as u64)?;
        let size = number("keyslot area size", &self.area.size)?;
        between(
            "keyslot area size",
            size,
            1..=(DATA_OFFSET - 2 * HEADER) as u64,
        )?;
        equal("kdf type", self.kdf.r#type.as_str(), "pbkdf2")?;
        equal("kdf hash", self.kdf.hash.as_str(), "sha256")?;
        between("kdf iterations", self.kdf.iterations.into(), ITERATIONS)?;
        base64_of("kdf salt", &self.kdf.salt, 32)
    }
}

impl Segment {
    fn check(&self) -> Result<(), HeaderError> {
        equal("segment type", self.r#type.as_str(), "crypt")?;
        let offset = number("segment offset", &self.offset)?;
        equal("segment offset", offset, DATA_OFFSET as u64)?;
        equal("segment size", self.size.as_str(), "dynamic")?;
        equal("segment iv_tweak", self.iv_tweak.as_str(), "0")?;
        equal("segment encryption", self.encryption.as_str(), CIPHER)?;
        equal("segment sector_size", self.sector_size, SECTOR)?;
        let integrity = self.integrity.as_ref();
        let kind = integrity.map_or("none", |integrity| integrity.r#type.as_str());
        equal("segment integrity", kind, INTEGRITY)?;
        for (what, found) in [
            (
                "journal_encryption",
                integrity.map(|one| &one.journal_encryption),
            ),
            (
                "journal_integrity",
                integrity.map(|one| &one.journal_integrity),
            ),
        ] {
            // The journal holds what the disk holds: encrypted, authenticated sectors.
            equal(what, found.map_or("none", String::as_str), "none")?;
        }
        Ok(())
    }
}

impl KeyDigest {
    fn check(&self) -> Result<(), HeaderError> {
        equal("digest type", self.r#type.as_str(), "pbkdf2")?;
        equal("digest keyslots", self.keyslots.join(",").as_str(), "0")?;
        equal("digest segments", self.segments.join(",").as_str(), "0")?;
        equal("digest hash", self.hash.as_str(), "sha256")?;
        between("digest iterations", self.iterations.into(), ITERATIONS)?;
        base64_of("digest salt", &self.salt, 32)?;
        base64_of("digest", &self.digest, 32)
    }
}

#[cfg(test)]
mod tests;
