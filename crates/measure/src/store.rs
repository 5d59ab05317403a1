//! Images by their hash: fetched once, checked, kept, and measured for a VM's shape
//! (mode `legacy` of the measurements reference, section 7).

mod archive;
mod machine;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bylaw_attest::collateral::{http_client, with_sources};
use bylaw_attest::image::{BootRegisters, ImageSource, Shape, VmConfig, boot_measured};
use bylaw_types::{OsImageHash, Sha256Digest};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::acpi::{self, AcpiError};
use crate::{ImageDir, ImageDirError};
pub use archive::ArchiveError;
pub use machine::MachineError;
use machine::MachineShape;

/// What stands for the image's hash in the download URL.
pub const HASH_PLACEHOLDER: &str = "{OS_IMAGE_HASH}";
/// Longest archive, bytes.
const MAX_ARCHIVE: u64 = 2 << 30;
/// Registers that are remembered.
const MAX_KNOWN: usize = 256;
const TIMEOUT: Duration = Duration::from_secs(300);

/// Where images come from.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// Directory that is the store's own; images lie in `images/<hash>`.
    pub cache_dir: PathBuf,
    /// `http://` or `https://`, with [`HASH_PLACEHOLDER`]; `None` uses what is there.
    pub download_url: Option<String>,
    /// The QEMU that builds ACPI tables.
    pub qemu: PathBuf,
}

/// Images by their hash.
#[derive(Debug)]
pub struct ImageStore {
    settings: StoreSettings,
    client: reqwest::Client,
    /// Held while an image is fetched, so that none is fetched twice.
    fetching: Mutex<()>,
    /// Held while a machine is rebuilt: one QEMU at a time.
    measuring: Mutex<()>,
    /// By image and SHA-256 of vm_config.
    known: Mutex<HashMap<(OsImageHash, Sha256Digest), BootRegisters>>,
}

/// Why an image cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL cannot be used.
    #[error(
        "download_url {0:?} must start with http:// or https:// and contain {HASH_PLACEHOLDER}"
    )]
    Url(String),
    /// TLS cannot be set up.
    #[error("cannot set up a client for downloads: {0}")]
    Client(String),
    /// The image is not in the store, and nobody is asked for it.
    #[error("it is not in {directory}, and no download_url is set")]
    Absent {
        /// Where images lie.
        directory: PathBuf,
    },
    /// The download failed.
    #[error("{url}: {reason}")]
    Download {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// What was downloaded is no archive of that image.
    #[error("{url}: {source}")]
    Archive {
        /// Where.
        url: String,
        /// Why.
        source: ArchiveError,
    },
    /// A file of the store.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The image cannot be measured.
    #[error(transparent)]
    Image(#[from] ImageDirError),
    /// The VM's shape cannot be rebuilt.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// vm_config is of another form.
    #[error(transparent)]
    Config(#[from] bylaw_attest::image::ImageError),
    /// ACPI tables cannot be built.
    #[error("ACPI tables: {0}")]
    Acpi(#[from] AcpiError),
    /// The QEMU here is not the one that the VM ran on, so its tables are others.
    #[error(
        "the VM ran on QEMU {claimed}, but {qemu} is {found}: its ACPI tables cannot be rebuilt; \
         set images.qemu to QEMU {claimed}, or boot the VM with tdx_attestation_variant \"lite\""
    )]
    QemuVersion {
        /// In vm_config.
        claimed: String,
        /// The program.
        qemu: PathBuf,
        /// Its version.
        found: String,
    },
    /// A task of this process was stopped.
    #[error("interrupted: {0}")]
    Interrupted(String),
}

impl ImageStore {
    /// A store; its directory is made if needed.
    ///
    /// # Errors
    /// [`StoreError`] when the settings cannot be used.
    pub fn new(settings: StoreSettings) -> Result<Self, StoreError> {
        if let Some(url) = &settings.download_url
            && !(url.contains(HASH_PLACEHOLDER)
                && (url.starts_with("http://") || url.starts_with("https://")))
        {
            return Err(StoreError::Url(url.clone()));
        }
        let images = settings.cache_dir.join("images");
        std::fs::create_dir_all(&images).map_err(|source| StoreError::File {
            path: images,
            source,
        })?;
        Ok(Self {
            settings,
            client: http_client(TIMEOUT).map_err(StoreError::Client)?,
            fetching: Mutex::default(),
            measuring: Mutex::default(),
            known: Mutex::default(),
        })
    }

    /// The directory of this image, fetched if it is not there. Every file that its
    /// `sha256sum.txt` lists has been checked; others are not in it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn image(&self, hash: OsImageHash) -> Result<ImageDir, StoreError> {
        let images = self.settings.cache_dir.join("images");
        let path = images.join(hash.to_string());
        let fetching = self.fetching.lock().await;
        if !path.exists() {
            let Some(url) = &self.settings.download_url else {
                return Err(StoreError::Absent { directory: images });
            };
            let url = url.replace(HASH_PLACEHOLDER, &hash.to_string());
            self.fetch(&url, hash, &path).await?;
        }
        drop(fetching);
        // What lies on disk since long may have rotted.
        blocking(move || {
            let image = ImageDir::open_measured(&path)?;
            let found = image.verify_listed()?;
            if found == hash {
                Ok(image)
            } else {
                Err(ImageDirError::Checksums {
                    path,
                    reason: format!("this is image {found}; remove it"),
                })
            }
        })
        .await?
        .map_err(StoreError::Image)
    }

    async fn fetch(
        &self,
        url: &str,
        hash: OsImageHash,
        path: &std::path::Path,
    ) -> Result<(), StoreError> {
        let archive = tokio::time::timeout(TIMEOUT, self.download(url))
            .await
            .map_err(|_| StoreError::Download {
                url: url.to_owned(),
                reason: format!("not complete after {} s", TIMEOUT.as_secs()),
            })??;
        let (path, images) = (path.to_owned(), self.settings.cache_dir.join("images"));
        blocking(move || archive::unpack(archive, &images, hash, &path))
            .await?
            .map_err(|source| StoreError::Archive {
                url: url.to_owned(),
                source,
            })
    }

    /// The archive as a file without a name.
    async fn download(&self, url: &str) -> Result<std::fs::File, StoreError> {
        use tokio::io::AsyncWriteExt;
        let failed = |reason: String| StoreError::Download {
            url: url.to_owned(),
            reason,
        };
        let broken = |error: reqwest::Error| failed(with_sources(&error.without_url()));
        let mut answer = self.client.get(url).send().await.map_err(broken)?;
        if !answer.status().is_success() {
            return Err(failed(format!("status {}", answer.status())));
        }
        let file =
            tempfile::tempfile_in(&self.settings.cache_dir).map_err(|source| StoreError::File {
                path: self.settings.cache_dir.clone(),
                source,
            })?;
        let mut file = tokio::fs::File::from_std(file);
        let mut size = 0;
        while let Some(chunk) = answer.chunk().await.map_err(broken)? {
            size += chunk.len() as u64;
            if size > MAX_ARCHIVE {
                return Err(failed(format!("more than {MAX_ARCHIVE} bytes")));
            }
            file.write_all(&chunk)
                .await
                .map_err(|error| failed(error.to_string()))?;
        }
        file.flush()
            .await
            .map_err(|error| failed(error.to_string()))?;
        Ok(file.into_std().await)
    }

    async fn measure(
        &self,
        hash: OsImageHash,
        vm_config: &str,
    ) -> Result<BootRegisters, StoreError> {
        let key = (hash, Sha256Digest::new(Sha256::digest(vm_config).into()));
        if let Some(known) = self.known.lock().await.get(&key) {
            return Ok(known.clone());
        }
        let _measuring = self.measuring.lock().await;
        let config = VmConfig::parse(vm_config)?;
        let two_pass = config.two_pass()?;
        let shape = MachineShape::parse(vm_config)?;
        let args = shape.qemu_arguments()?;
        let image = self.image(hash).await?;
        let qemu = self.settings.qemu.clone();
        let registers = blocking(move || {
            let found = acpi::version_of(&qemu)?;
            let claimed = shape.qemu_version();
            if found != claimed {
                let claimed = claimed.to_owned();
                return Err(StoreError::QemuVersion {
                    claimed,
                    qemu,
                    found,
                });
            }
            let document = image.measure_tdx(config.memory_size)?;
            let shape = Shape {
                memory_size: config.memory_size,
                two_pass,
                acpi: acpi::read_from_qemu(&qemu, &args)?.digests(),
            };
            Ok(boot_measured(&document, &shape).0)
        })
        .await??;
        let mut known = self.known.lock().await;
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(key, registers.clone());
        Ok(registers)
    }
}

#[async_trait]
impl ImageSource for ImageStore {
    async fn registers(
        &self,
        image: OsImageHash,
        vm_config: &str,
    ) -> Result<BootRegisters, String> {
        self.measure(image, vm_config)
            .await
            .map_err(|error| error.to_string())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StoreError::Interrupted(error.to_string()))
}
