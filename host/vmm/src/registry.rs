//! OS images from an OCI registry (VMM API reference, section 2).
//!
//! An image is an OCI image of plain files: those of section 8 of the reference. Pulling
//! goes on in the background; an image appears in the image path as a whole or not at all.

mod unpack;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bylaw_measure::{ImageDir, ImageDirError};
use bylaw_rpc::message::vmm::RegistryImageInfo;
use oci_client::Reference;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;

pub use unpack::UnpackError;

/// Folders of pulls under way begin with this; what a crash left is removed at start.
const WORK: &str = ".pull-";
/// Tags asked for at once, and pages read at most.
const PAGE: usize = 100;
const PAGES: usize = 100;

/// Why there is no list, or no image.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The setting.
    #[error("image.registry {0:?} must be [http://|https://]<host>[:<port>]/<repository>")]
    Address(String),
    /// The tag.
    #[error("{0:?} is not a tag: letters, digits, _ . -, 128 at most, not beginning with . or -")]
    Tag(String),
    /// It is here.
    #[error("image {0} is already here; delete it first to pull it again")]
    Local(String),
    /// It is coming.
    #[error("image {0} is already being pulled")]
    Pulling(String),
    /// The registry does not answer as expected.
    #[error("registry {repository}: {source}")]
    Registry {
        /// Registry and repository.
        repository: String,
        /// Why.
        #[source]
        source: Box<OciDistributionError>,
    },
    /// A file of this node.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A layer that is no set of plain files.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The files are no image.
    #[error("what the registry has is no OS image: {0}")]
    Image(#[from] ImageDirError),
    /// No `metadata.json`.
    #[error("what the registry has is no OS image: it has no metadata.json")]
    NoMetadata,
    /// The task that unpacks died.
    #[error("unpacking ended before its time: {0}")]
    Died(#[from] tokio::task::JoinError),
}

/// A repository of OS images and the folder they are pulled to. Clones are the same.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    client: oci_client::Client,
    registry: String,
    repository: String,
    image_path: PathBuf,
    /// By tag: what goes on, and how the last try failed.
    pulls: Mutex<BTreeMap<String, Pull>>,
}

enum Pull {
    Running,
    Failed(String),
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Registry").field(&self.0.place()).finish()
    }
}

impl Registry {
    /// The repository at `address` (`host[:port]/repository`, HTTPS unless it says `http://`
    /// or the host is this one) for images in `image_path`, which must exist.
    ///
    /// Removes what pulls left there that a crash ended. Must be the only one on this
    /// folder.
    ///
    /// # Errors
    /// [`RegistryError::Address`], [`RegistryError::File`].
    pub fn new(address: &str, image_path: &Path) -> Result<Self, RegistryError> {
        // Whoever came first has installed the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let wrong = || RegistryError::Address(address.to_owned());
        let (protocol, rest) = match address.split_once("://") {
            Some(("http", rest)) => (ClientProtocol::Http, rest),
            Some(("https", rest)) => (ClientProtocol::Https, rest),
            Some(_) => return Err(wrong()),
            None if is_this_host(address) => (ClientProtocol::Http, address),
            None => (ClientProtocol::Https, address),
        };
        let (registry, repository) = rest.split_once('/').ok_or_else(wrong)?;
        // As written, and nothing added: no default registry, no tag.
        let parsed: Reference = format!("{rest}:any").parse().map_err(|_| wrong())?;
        if parsed.registry() != registry || parsed.repository() != repository {
            return Err(wrong());
        }
        remove_leftovers(image_path).map_err(|source| RegistryError::File {
            path: image_path.to_owned(),
            source,
        })?;
        let client = oci_client::Client::new(ClientConfig {
            protocol,
            connect_timeout: Some(std::time::Duration::from_secs(10)),
            read_timeout: Some(std::time::Duration::from_secs(60)),
            user_agent: concat!("bylaw-vmm/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        });
        Ok(Self(Arc::new(Inner {
            client,
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            image_path: image_path.to_owned(),
            pulls: Mutex::default(),
        })))
    }

    /// What the registry has, by tag, and what is here of it. Signatures and attestations
    /// (tags `sha256-…`) are left out.
    ///
    /// # Errors
    /// [`RegistryError::Registry`].
    pub async fn list(&self) -> Result<Vec<RegistryImageInfo>, RegistryError> {
        let mut tags = self.0.tags().await?;
        tags.retain(|tag| !tag.starts_with("sha256-"));
        tags.sort();
        tags.dedup();
        let pulls = self.0.pulls();
        Ok(tags
            .into_iter()
            .map(|tag| {
                let (pulling, error) = match pulls.get(&tag) {
                    None => (false, String::new()),
                    Some(Pull::Running) => (true, String::new()),
                    Some(Pull::Failed(error)) => (false, error.clone()),
                };
                RegistryImageInfo {
                    local: self.0.folder(&tag).is_dir(),
                    tag,
                    pulling,
                    error,
                }
            })
            .collect())
    }

    /// Starts to pull a tag; [`Registry::list`] says how it goes. Must be called inside a
    /// runtime.
    ///
    /// # Errors
    /// [`RegistryError::Tag`], [`RegistryError::Local`], [`RegistryError::Pulling`]: what can
    /// be said at once.
    pub fn pull(&self, tag: &str) -> Result<(), RegistryError> {
        if !is_tag(tag) {
            return Err(RegistryError::Tag(tag.to_owned()));
        }
        let mut pulls = self.0.pulls();
        if matches!(pulls.get(tag), Some(Pull::Running)) {
            return Err(RegistryError::Pulling(local_name(tag)));
        }
        if self.0.folder(tag).exists() {
            return Err(RegistryError::Local(local_name(tag)));
        }
        pulls.insert(tag.to_owned(), Pull::Running);
        drop(pulls);
        let (inner, tag) = (Arc::clone(&self.0), tag.to_owned());
        tokio::spawn(async move {
            let fetched = inner.fetch(&tag).await;
            let mut pulls = inner.pulls();
            match fetched {
                Ok(()) => {
                    tracing::info!(tag, "image pulled");
                    pulls.remove(&tag);
                }
                Err(error) => {
                    tracing::warn!(tag, %error, "image not pulled");
                    pulls.insert(tag, Pull::Failed(error.to_string()));
                }
            }
        });
        Ok(())
    }
}

impl Inner {
    fn pulls(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Pull>> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    fn folder(&self, tag: &str) -> PathBuf {
        self.image_path.join(local_name(tag))
    }

    fn reference(&self, tag: &str) -> Reference {
        Reference::with_tag(
            self.registry.clone(),
            self.repository.clone(),
            tag.to_owned(),
        )
    }

    fn failed(&self, source: OciDistributionError) -> RegistryError {
        RegistryError::Registry {
            repository: self.place(),
            source: Box::new(source),
        }
    }

    async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        let any = self.reference("any");
        let mut tags: Vec<String> = Vec::new();
        for _ in 0..PAGES {
            let last = tags.last().map(String::as_str);
            let page = self
                .client
                .list_tags(&any, &RegistryAuth::Anonymous, Some(PAGE), last)
                .await
                .map_err(|source| self.failed(source))?
                .tags;
            let full = page.len() >= PAGE;
            tags.extend(page);
            if !full {
                break;
            }
        }
        Ok(tags)
    }

    async fn fetch(&self, tag: &str) -> Result<(), RegistryError> {
        let work = tempfile::Builder::new()
            .prefix(WORK)
            .tempdir_in(&self.image_path)
            .map_err(|source| file(&self.image_path, source))?;
        let reference = self.reference(tag);
        let (manifest, _) = self
            .client
            .pull_image_manifest(&reference, &RegistryAuth::Anonymous)
            .await
            .map_err(|source| self.failed(source))?;
        let files = work.path().join("image");
        std::fs::create_dir(&files).map_err(|source| file(&files, source))?;
        let mut budget = unpack::Budget::default();
        for layer in &manifest.layers {
            let encoding = unpack::Encoding::of(&layer.media_type)?;
            budget.announced(layer.size)?;
            let blob = work.path().join("layer");
            let out = tokio::fs::File::create(&blob)
                .await
                .map_err(|source| file(&blob, source))?;
            // Checks the digest that the manifest gives.
            self.client
                .pull_blob(&reference, layer, out)
                .await
                .map_err(|source| self.failed(source))?;
            let into = files.clone();
            budget = tokio::task::spawn_blocking(move || {
                let blob = std::fs::File::open(&blob).map_err(|source| file(&blob, source))?;
                unpack::unpack(blob, encoding, &into, &mut budget)?;
                Ok::<_, RegistryError>(budget)
            })
            .await??;
        }
        let to = self.folder(tag);
        tokio::task::spawn_blocking(move || {
            let image = image_of(&files)?;
            check(&image)?;
            std::fs::rename(&image, &to).map_err(|source| file(&to, source))?;
            drop(work);
            sync(to.parent().unwrap_or(&to))
        })
        .await?
    }
}

/// The folder with `metadata.json`: the top, or the only folder in it.
fn image_of(files: &Path) -> Result<PathBuf, RegistryError> {
    let mut folder = files.to_owned();
    if !folder.join("metadata.json").is_file() {
        let mut entries = std::fs::read_dir(files).map_err(|source| file(files, source))?;
        match (entries.next(), entries.next()) {
            (Some(Ok(only)), None) => folder = only.path(),
            _ => return Err(RegistryError::NoMetadata),
        }
    }
    if folder.join("metadata.json").is_file() {
        Ok(folder)
    } else {
        Err(RegistryError::NoMetadata)
    }
}

/// Whether the files are those that the image lists. What they measure to is no matter of
/// the host: whoever gives keys appraises it.
fn check(folder: &Path) -> Result<(), RegistryError> {
    let image = ImageDir::open(folder)?;
    if !folder.join("sha256sum.txt").exists() {
        return Ok(());
    }
    match image.verify() {
        Ok(_) => Ok(()),
        Err(
            error @ (ImageDirError::Measurement(_)
            | ImageDirError::Incomplete { .. }
            | ImageDirError::Tdx(_)
            | ImageDirError::Snp(_)),
        ) => {
            tracing::warn!(%error, "the image's measurements cannot be reproduced");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Name of the image's folder.
fn local_name(tag: &str) -> String {
    if tag.starts_with("dstack-") {
        tag.to_owned()
    } else {
        format!("dstack-{tag}")
    }
}

/// As the distribution specification says.
fn is_tag(tag: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=128).contains(&tag.len()) && tag.bytes().all(allowed) && !tag.starts_with(['.', '-'])
}

/// Registries of this host have no certificate.
fn is_this_host(address: &str) -> bool {
    let host = address.split(['/', ':']).next().unwrap_or_default();
    host == "localhost" || host == "127.0.0.1"
}

fn remove_leftovers(image_path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(image_path)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(WORK) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn sync(folder: &Path) -> Result<(), RegistryError> {
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| file(folder, source))
}

fn file(path: &Path, source: io::Error) -> RegistryError {
    RegistryError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tags() {
        assert_eq!(local_name("dstack-0.5.5"), "dstack-0.5.5");
        assert_eq!(local_name("0.5.5"), "dstack-0.5.5");
        assert!(is_tag("dstack-nvidia-0.5.4.1_x"));
        for wrong in [
            "",
            ".",
            "..",
            "-x",
            "a/b",
            "a b",
            "a:b",
            "a@b",
            &"x".repeat(129),
        ] {
            assert!(!is_tag(wrong), "{wrong}");
        }
    }

    #[test]
    fn addresses_are_taken_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let place = |address: &str| {
            Registry::new(address, folder.path()).map(|registry| registry.0.place())
        };
        for (address, expected) in [
            ("ghcr.io/org/images", "ghcr.io/org/images"),
            ("https://ghcr.io/org/images", "ghcr.io/org/images"),
            ("localhost:5000/images", "localhost:5000/images"),
            ("http://10.0.0.1:5000/a/b", "10.0.0.1:5000/a/b"),
        ] {
            assert_eq!(place(address).unwrap(), expected);
        }
        for wrong in [
            "",
            "ghcr.io",
            "images",
            "ftp://x.io/y",
            "x.io/",
            "x.io/Y Z",
            "x.io/a:tag",
            "org/images",
        ] {
            assert!(
                matches!(place(wrong), Err(RegistryError::Address(_))),
                "{wrong}"
            );
        }
    }

    #[test]
    fn what_a_crash_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join(".pull-x/image")).unwrap();
        std::fs::create_dir_all(folder.path().join("dstack-1")).unwrap();
        Registry::new("ghcr.io/org/images", folder.path()).unwrap();
        assert!(!folder.path().join(".pull-x").exists());
        assert!(folder.path().join("dstack-1").exists());
        let nowhere = Registry::new("ghcr.io/org/images", &folder.path().join("none"));
        assert!(matches!(nowhere, Err(RegistryError::File { .. })));
    }
}
