//! An image directory: what it holds, its hash, and the files that prove it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bylaw_attest::image::snp::{SNP_CHECKSUM_NAME, SnpDocument, SnpMaterial};
use bylaw_attest::image::{CHECKSUM_NAME, Document, Material};
use bylaw_types::OsImageHash;
use bylaw_types::file::write_atomic;
use sha2::{Digest, Sha256};

use crate::metadata::{Metadata, MetadataError, is_plain};
use crate::sev::{self, SnpError};
use crate::tdx::{self, DocumentError, PRECOMPUTED_MEMORY};

const METADATA: &str = "metadata.json";
pub(crate) const CHECKSUMS: &str = "sha256sum.txt";
const DIGEST: &str = "digest.txt";
const SMALL: u64 = 64 << 10;
const FIRMWARE: u64 = 64 << 20;
const KERNEL: u64 = 256 << 20;
const INITRD: u64 = 1 << 30;

/// A directory that holds an OS image.
#[derive(Debug, Clone)]
pub struct ImageDir {
    path: PathBuf,
    metadata: Metadata,
}

/// Why a directory is not a usable image.
#[derive(Debug, thiserror::Error)]
pub enum ImageDirError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is a link, a directory or a device.
    #[error("{0} must be a plain file of the image directory")]
    NotPlain(PathBuf),
    /// A file larger than any image's.
    #[error("{path} has more than {limit} bytes")]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// Bytes.
        limit: u64,
    },
    /// `metadata.json`.
    #[error("{path}: {source}")]
    Metadata {
        /// Which.
        path: PathBuf,
        /// Why.
        source: MetadataError,
    },
    /// Something that the metadata must say before the image can be measured.
    #[error("{path} has no {key}; the image cannot be measured without it")]
    Incomplete {
        /// `metadata.json`.
        path: PathBuf,
        /// Key, or argument of the command line.
        key: &'static str,
    },
    /// `sha256sum.txt` is not in the form of GNU sha256sum.
    #[error("{path}: {reason}")]
    Checksums {
        /// `sha256sum.txt` or `digest.txt`.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file is not the one listed.
    #[error("{path} has SHA-256 {actual}, but {CHECKSUMS} lists {listed}; fetch the image again")]
    Changed {
        /// Which.
        path: PathBuf,
        /// Hex.
        listed: String,
        /// Hex.
        actual: String,
    },
    /// A measurement document does not follow from the files beside it.
    #[error("{0} is not what the image's files measure to; run the image's measure step again")]
    Measurement(PathBuf),
    /// The image cannot boot in a TD that anybody can verify.
    #[error("TDX: {0}")]
    Tdx(#[from] DocumentError),
    /// The image cannot boot as a SEV-SNP guest that anybody can verify.
    #[error("SEV-SNP: {0}")]
    Snp(#[from] SnpError),
}

impl ImageDir {
    /// Opens a directory: reads its metadata and finds every file that it names.
    ///
    /// # Errors
    /// [`ImageDirError`]. Contents are checked by [`ImageDir::verify`].
    pub fn open(path: &Path) -> Result<Self, ImageDirError> {
        let image = Self::open_measured(path)?;
        for (_, name) in image.metadata.files() {
            plain_file(&image.path_of(name))?;
        }
        Ok(image)
    }

    /// Opens a directory that may hold only what is measured, as archives for verifiers
    /// do: the root file system, for one, is not needed.
    ///
    /// # Errors
    /// [`ImageDirError`].
    pub fn open_measured(path: &Path) -> Result<Self, ImageDirError> {
        let at = path.join(METADATA);
        let json = read(&at, SMALL)?;
        let metadata = Metadata::parse(&json)
            .map_err(|source| ImageDirError::Metadata { path: at, source })?;
        Ok(Self {
            path: path.to_owned(),
            metadata,
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says about itself.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Where a file lies that the metadata or `sha256sum.txt` names.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// SHA-256 of `sha256sum.txt`: the hash that contracts allow.
    ///
    /// # Errors
    /// [`ImageDirError::File`] when the image has none.
    pub fn os_image_hash(&self) -> Result<OsImageHash, ImageDirError> {
        let checksums = self.read(CHECKSUMS, SMALL)?;
        Ok(OsImageHash::new(Sha256::digest(checksums).into()))
    }

    /// The files that prove a TD's image, as vm_config carries them; `None` where the
    /// image has no measurement for TDX.
    ///
    /// # Errors
    /// [`ImageDirError`].
    pub fn tdx_material(&self) -> Result<Option<Material>, ImageDirError> {
        let Some(measurement) = self.read_if_there(CHECKSUM_NAME)? else {
            return Ok(None);
        };
        Ok(Some(Material {
            measurement: STANDARD.encode(measurement),
            checksum_file: STANDARD.encode(self.read(CHECKSUMS, SMALL)?),
        }))
    }

    /// The files that prove the image of a SEV-SNP guest with these vCPUs; `None` where
    /// the image has no measurement for SEV-SNP.
    ///
    /// # Errors
    /// [`ImageDirError`].
    pub fn snp_material(
        &self,
        vcpus: u32,
        vcpu_type: &str,
        guest_features: u64,
    ) -> Result<Option<SnpMaterial>, ImageDirError> {
        let Some(measurement) = self.read_if_there(SNP_CHECKSUM_NAME)? else {
            return Ok(None);
        };
        Ok(Some(SnpMaterial {
            checksum_file: STANDARD.encode(self.read(CHECKSUMS, SMALL)?),
            measurement: STANDARD.encode(measurement),
            vcpus,
            vcpu_type: vcpu_type.to_owned(),
            guest_features,
        }))
    }

    /// What a TD with this much memory (bytes) measures to, from the files themselves.
    ///
    /// # Errors
    /// [`ImageDirError`].
    pub fn measure_tdx(&self, memory_size: u64) -> Result<Document, ImageDirError> {
        let firmware = self.read(
            self.required(self.metadata.bios.as_deref(), "bios")?,
            FIRMWARE,
        )?;
        let (kernel, initrd, cmdline) = self.boot_files()?;
        Ok(tdx::document(
            &firmware,
            &kernel,
            &initrd,
            cmdline,
            memory_size,
        )?)
    }

    /// What a SEV-SNP guest measures to before its vCPUs, from the files themselves;
    /// `None` where the image has no firmware for SEV-SNP.
    ///
    /// # Errors
    /// [`ImageDirError`].
    pub fn measure_snp(&self) -> Result<Option<SnpDocument>, ImageDirError> {
        let Some(name) = &self.metadata.bios_sev else {
            return Ok(None);
        };
        let firmware = self.read(name, FIRMWARE)?;
        let (kernel, initrd, cmdline) = self.boot_files()?;
        Ok(Some(sev::document(&firmware, &kernel, &initrd, cmdline)?))
    }

    /// Writes `measurement.*.cbor`, `sha256sum.txt` and `digest.txt` from the other files.
    ///
    /// # Errors
    /// [`ImageDirError`].
    pub fn write_measurements(&self) -> Result<OsImageHash, ImageDirError> {
        let tdx = self.measure_tdx(PRECOMPUTED_MEMORY)?.to_cbor();
        self.write(CHECKSUM_NAME, &tdx)?;
        let snp = self.measure_snp()?.map(|document| document.to_cbor());
        if let Some(snp) = &snp {
            self.write(SNP_CHECKSUM_NAME, snp)?;
        }
        let bios = self.required(self.metadata.bios.as_deref(), "bios")?;
        let mut names = vec![
            (bios, FIRMWARE),
            (&self.metadata.kernel, KERNEL),
            (&self.metadata.initrd, INITRD),
            (METADATA, SMALL),
            (CHECKSUM_NAME, SMALL),
        ];
        if snp.is_some() {
            names.push((SNP_CHECKSUM_NAME, SMALL));
        }
        let mut checksums = String::new();
        for (name, limit) in names {
            let hash = hex::encode(Sha256::digest(self.read(name, limit)?));
            checksums.push_str(&format!("{hash}  {name}\n"));
        }
        self.write(CHECKSUMS, checksums.as_bytes())?;
        let hash = OsImageHash::new(Sha256::digest(&checksums).into());
        self.write(DIGEST, format!("{hash}\n").as_bytes())?;
        Ok(hash)
    }

    /// Checks every file that `sha256sum.txt` lists, and that the measurement documents
    /// are what the files measure to.
    ///
    /// # Errors
    /// [`ImageDirError`] names the first file that is not right.
    pub fn verify(&self) -> Result<OsImageHash, ImageDirError> {
        let hash = self.verify_listed()?;
        let documents = [
            (
                CHECKSUM_NAME,
                Some(self.measure_tdx(PRECOMPUTED_MEMORY)?.to_cbor()),
            ),
            (
                SNP_CHECKSUM_NAME,
                self.measure_snp()?.map(|document| document.to_cbor()),
            ),
        ];
        for (name, measured) in documents {
            if self.read_if_there(name)? != measured {
                return Err(ImageDirError::Measurement(self.path_of(name)));
            }
            if measured.is_some() && !self.lists(name)? {
                return Err(self.not_listed(name));
            }
        }
        if let Some(digest) = self.read_if_there(DIGEST)?
            && String::from_utf8_lossy(&digest).trim() != hash.to_string()
        {
            return Err(ImageDirError::Checksums {
                path: self.path_of(DIGEST),
                reason: format!("it does not hold {hash}, the SHA-256 of {CHECKSUMS}"),
            });
        }
        Ok(hash)
    }

    /// Checks every file that `sha256sum.txt` lists: all that boots must be among them.
    ///
    /// # Errors
    /// [`ImageDirError`] names the first file that is not right.
    pub fn verify_listed(&self) -> Result<OsImageHash, ImageDirError> {
        let checksums = self.read(CHECKSUMS, SMALL)?;
        let bios = self.metadata.bios.as_deref();
        for name in [METADATA, &self.metadata.kernel, &self.metadata.initrd]
            .into_iter()
            .chain(bios)
        {
            if !self.lists(name)? {
                return Err(self.not_listed(name));
            }
        }
        for (hash, name) in self.listed(&checksums)? {
            let actual = hex::encode(Sha256::digest(self.read(name, INITRD)?));
            if actual != hash {
                return Err(ImageDirError::Changed {
                    path: self.path_of(name),
                    listed: hash.to_owned(),
                    actual,
                });
            }
        }
        Ok(OsImageHash::new(Sha256::digest(&checksums).into()))
    }

    fn listed<'a>(&self, checksums: &'a [u8]) -> Result<Vec<(&'a str, &'a str)>, ImageDirError> {
        parse_checksums(checksums).map_err(|reason| ImageDirError::Checksums {
            path: self.path_of(CHECKSUMS),
            reason,
        })
    }

    fn lists(&self, name: &str) -> Result<bool, ImageDirError> {
        let checksums = self.read(CHECKSUMS, SMALL)?;
        let listed = self.listed(&checksums)?;
        Ok(listed.iter().any(|(_, known)| *known == name))
    }

    fn not_listed(&self, name: &str) -> ImageDirError {
        ImageDirError::Checksums {
            path: self.path_of(CHECKSUMS),
            reason: format!("{name} is not listed"),
        }
    }

    fn boot_files(&self) -> Result<(Vec<u8>, Vec<u8>, &str), ImageDirError> {
        let cmdline = self.required(self.metadata.cmdline.as_deref(), "cmdline")?;
        // Without it the root file system would not be part of any measurement.
        self.required(
            self.metadata.argument("dstack.rootfs_hash"),
            "dstack.rootfs_hash on the command line",
        )?;
        let kernel = self.read(&self.metadata.kernel, KERNEL)?;
        let initrd = self.read(&self.metadata.initrd, INITRD)?;
        Ok((kernel, initrd, cmdline))
    }

    fn required<'a>(
        &self,
        value: Option<&'a str>,
        key: &'static str,
    ) -> Result<&'a str, ImageDirError> {
        value.ok_or_else(|| ImageDirError::Incomplete {
            path: self.path_of(METADATA),
            key,
        })
    }

    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, ImageDirError> {
        read(&self.path_of(name), limit)
    }

    fn read_if_there(&self, name: &str) -> Result<Option<Vec<u8>>, ImageDirError> {
        match self.read(name, SMALL) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ImageDirError::File { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ImageDirError> {
        let path = self.path_of(name);
        write_atomic(&path, bytes).map_err(|source| ImageDirError::File { path, source })
    }
}

/// Hash and name of each line of GNU sha256sum.
pub(crate) fn parse_checksums(bytes: &[u8]) -> Result<Vec<(&str, &str)>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    let mut listed: Vec<(&str, &str)> = Vec::new();
    for line in text.lines() {
        let mut columns = line.split_whitespace();
        let (Some(hash), Some(name), None) = (columns.next(), columns.next(), columns.next())
        else {
            return Err(format!("line {line:?} is not \"<hash>  <name>\""));
        };
        if !is_plain(name) {
            return Err(format!("{name:?} is not a plain file name"));
        }
        if listed.iter().any(|(_, known)| *known == name) {
            return Err(format!("{name} is listed twice"));
        }
        listed.push((hash, name));
    }
    Ok(listed)
}

fn plain_file(path: &Path) -> Result<(), ImageDirError> {
    let metadata = path
        .symlink_metadata()
        .map_err(|source| ImageDirError::File {
            path: path.to_owned(),
            source,
        })?;
    if metadata.is_file() {
        Ok(())
    } else {
        Err(ImageDirError::NotPlain(path.to_owned()))
    }
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ImageDirError> {
    plain_file(path)?;
    let failed = |source| ImageDirError::File {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(ImageDirError::TooLarge {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}
