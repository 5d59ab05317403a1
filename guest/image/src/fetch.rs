//! Packages by hash: from the cache, a mirror, or the archive that forgets nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bylaw_attest::collateral::{http_client, with_sources};
use futures::stream::TryStreamExt;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::recipe::Archive;
use crate::{Lock, Package, Progress};

/// Keeps every version of every package, by date.
const SNAPSHOTS: &str = "https://snapshot.debian.org/archive";

/// Downloads at a time.
const PARALLEL: usize = 4;

/// Longest wait for one package.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Characters that stand for themselves in a path of an archive.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'.')
    .remove(b'-')
    .remove(b'_')
    .remove(b'~');

/// Why a package cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody has it.
    #[error("no source has {name} {version} with the hash in the lock: {tried}")]
    Nowhere {
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// What each source answered.
        tried: String,
    },
    /// The lock names an archive that the recipe lacks.
    #[error("the recipe has no archive {0}")]
    Archive(String),
    /// The cache cannot be written.
    #[error("cannot write the cache {path}")]
    Cache {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No client can be made.
    #[error("cannot prepare downloads: {0}")]
    Client(String),
    /// Neither of `BYLAW_CACHE`, `XDG_CACHE_HOME` and `HOME` is set.
    #[error("no folder for the cache: set BYLAW_CACHE or HOME")]
    NoFolder,
}

/// Packages on this machine, by hash.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// A cache in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// `$BYLAW_CACHE/debs`, else `$XDG_CACHE_HOME/bylaw/debs`, else `~/.cache/bylaw/debs`.
    ///
    /// # Errors
    /// [`FetchError::NoFolder`].
    pub fn of_user() -> Result<Self, FetchError> {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let folder = variable("BYLAW_CACHE")
            .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("bylaw")))
            .or_else(|| Some(variable("HOME")?.join(".cache/bylaw")))
            .ok_or(FetchError::NoFolder)?;
        Ok(Self::new(folder.join("debs")))
    }

    fn path(&self, package: &Package) -> PathBuf {
        self.folder.join(format!("{}.deb", package.sha256))
    }

    /// The files of `packages`, in their order; downloads what is not here yet. Every file's SHA-256 is
    /// checked each time, those from the cache too.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn files(
        &self,
        packages: &[&Package],
        archives: &[Archive],
        lock: &Lock,
        progress: Progress<'_>,
    ) -> Result<Vec<PathBuf>, FetchError> {
        std::fs::create_dir_all(&self.folder).map_err(|source| self.failed(source))?;
        let missing: Vec<&Package> = packages
            .iter()
            .copied()
            .filter(|package| !self.has(package))
            .collect();
        if !missing.is_empty() {
            let megabytes = missing.iter().map(|package| package.size).sum::<u64>() / 1_000_000;
            progress(&format!(
                "downloading {} packages, {megabytes} MB",
                missing.len()
            ));
            let client = &http_client(TIMEOUT).map_err(FetchError::Client)?;
            futures::stream::iter(missing.into_iter().map(Ok::<_, FetchError>))
                .try_for_each_concurrent(PARALLEL, |package| async move {
                    let bytes =
                        download(client, package, &sources(package, archives, lock)?).await?;
                    bylaw_types::file::write_atomic(&self.path(package), &bytes)
                        .map_err(|source| self.failed(source))
                })
                .await?;
        }
        Ok(packages.iter().map(|package| self.path(package)).collect())
    }

    fn has(&self, package: &Package) -> bool {
        std::fs::read(self.path(package)).is_ok_and(|bytes| is(package, &bytes))
    }

    fn failed(&self, source: std::io::Error) -> FetchError {
        FetchError::Cache {
            path: self.folder.clone(),
            source,
        }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Whether `bytes` are the package that the lock means.
fn is(package: &Package, bytes: &[u8]) -> bool {
    hex::encode(Sha256::digest(bytes)) == package.sha256
}

/// The mirror, which is fast, then the snapshot, which still has it when the mirror has moved on.
fn sources(
    package: &Package,
    archives: &[Archive],
    lock: &Lock,
) -> Result<[String; 2], FetchError> {
    let archive = archives
        .iter()
        .find(|archive| archive.name == package.archive)
        .ok_or_else(|| FetchError::Archive(package.archive.clone()))?;
    let path = utf8_percent_encode(&package.path, PATH);
    Ok([
        format!("{}/{path}", archive.url),
        format!("{SNAPSHOTS}/{}/{}/{path}", archive.name, lock.snapshot),
    ])
}

async fn download(
    client: &reqwest::Client,
    package: &Package,
    sources: &[String],
) -> Result<Vec<u8>, FetchError> {
    let mut tried = Vec::new();
    for url in sources {
        match get(client, url, package.size).await {
            Ok(bytes) if is(package, &bytes) => return Ok(bytes),
            Ok(_) => tried.push(format!("{url} has other bytes")),
            Err(error) => tried.push(format!("{url}: {error}")),
        }
    }
    Err(FetchError::Nowhere {
        name: package.name.clone(),
        version: package.version.clone(),
        tried: tried.join("; "),
    })
}

/// The answer's body; one that is longer than the lock says is not read to its end.
async fn get(client: &reqwest::Client, url: &str, size: u64) -> Result<Vec<u8>, String> {
    let answer = client
        .get(url)
        .send()
        .await
        .map_err(|error| with_sources(&error))?;
    let mut answer = answer
        .error_for_status()
        .map_err(|error| with_sources(&error))?;
    let mut bytes = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| with_sources(&error))? {
        bytes.extend_from_slice(&part);
        if bytes.len() as u64 > size {
            return Err(format!("answers more than the {size} bytes of the lock"));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    fn package(content: &[u8]) -> Package {
        Package {
            name: "hello".into(),
            version: "1".into(),
            sha256: hex::encode(Sha256::digest(content)),
            size: content.len() as u64,
            archive: "here".into(),
            path: "pool/h/hello_1+x.deb".into(),
            sets: ["rootfs".to_owned()].into(),
        }
    }

    /// A mirror on loopback that answers `body` to every request.
    fn mirror(body: &'static [u8]) -> Archive {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().take(4) {
                let mut stream = stream.unwrap();
                let mut request = [0; 1024];
                let _ = stream.read(&mut request);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(&[head.as_bytes(), body].concat());
            }
        });
        Archive {
            name: "here".into(),
            url,
            suites: Vec::new(),
            may_be_expired: false,
        }
    }

    async fn fetched(
        cache: &Cache,
        package: &Package,
        archive: Archive,
    ) -> Result<Vec<PathBuf>, String> {
        let url = archive.url.clone();
        let client = http_client(TIMEOUT).unwrap();
        // The mirror alone: no test asks a machine elsewhere.
        if cache.has(package) {
            return Ok(vec![cache.path(package)]);
        }
        let bytes = download(&client, package, &[format!("{url}/x")])
            .await
            .map_err(|error| error.to_string())?;
        std::fs::create_dir_all(&cache.folder).unwrap();
        bylaw_types::file::write_atomic(&cache.path(package), &bytes).unwrap();
        Ok(vec![cache.path(package)])
    }

    #[tokio::test]
    async fn a_package_with_the_right_hash_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("debs"));
        let files = fetched(&cache, &package(b"content"), mirror(b"content"))
            .await
            .unwrap();
        assert_eq!(std::fs::read(&files[0]).unwrap(), b"content");
        assert!(cache.has(&package(b"content")));
    }

    #[tokio::test]
    async fn other_bytes_are_refused_and_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("debs"));
        let error = fetched(&cache, &package(b"content"), mirror(b"c0ntent"))
            .await
            .unwrap_err();
        assert!(error.contains("other bytes"), "{error}");
        assert!(!cache.has(&package(b"content")));
    }

    #[tokio::test]
    async fn an_answer_longer_than_the_lock_says_is_refused() {
        let error = download(
            &http_client(TIMEOUT).unwrap(),
            &package(b"short"),
            &[format!("{}/x", mirror(b"much longer than that").url)],
        )
        .await
        .unwrap_err();
        assert!(
            error.to_string().contains("more than the 5 bytes"),
            "{error}"
        );
    }

    #[test]
    fn a_cached_file_that_changed_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().to_owned());
        bylaw_types::file::write_atomic(&cache.path(&package(b"content")), b"c0ntent").unwrap();
        assert!(!cache.has(&package(b"content")));
    }

    #[test]
    fn the_snapshot_is_asked_for_the_moment_of_the_lock() {
        let lock = Lock {
            snapshot: "20260102T030405Z".into(),
            packages: Vec::new(),
        };
        let archive = Archive {
            name: "here".into(),
            url: "http://mirror".into(),
            suites: Vec::new(),
            may_be_expired: false,
        };
        assert_eq!(
            sources(&package(b""), &[archive], &lock).unwrap(),
            [
                "http://mirror/pool/h/hello_1%2Bx.deb",
                "https://snapshot.debian.org/archive/here/20260102T030405Z/pool/h/hello_1%2Bx.deb",
            ]
        );
        assert!(matches!(
            sources(&package(b""), &[], &lock),
            Err(FetchError::Archive(_))
        ));
    }
}
