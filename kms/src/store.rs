//! What a KMS keeps: sealed roots, the release log, cached collateral.

use std::path::Path;

use bylaw_keys::{P256Key, RootKeys, RootMaterial, Secret};
use bylaw_rpc::message::kms::BootstrapResponse;
use bylaw_types::TrustAnchorSet;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::log::{LogError, ReleaseLog};
use crate::seal::{self, BrokenSeal, Sealed};

/// What the sealing key is derived for.
pub const SEALING_CONTEXT: &str = "kms-root/v1";
const ROOT: &[u8] = b"root";

/// The store failed, or holds something it should not.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory or database.
    #[error("store in {path}: {reason}")]
    Open {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// A write or read failed.
    #[error("store: {0}")]
    Database(#[from] sled::Error),
    /// The record does not parse.
    #[error("stored root record is damaged: {0}")]
    Damaged(String),
    /// The seal.
    #[error(transparent)]
    Seal(#[from] BrokenSeal),
    /// Roots exist and are never replaced.
    #[error("KMS has already been bootstrapped")]
    AlreadyBootstrapped,
    /// Made for other trust anchors.
    #[error(
        "the stored root keys belong to trust anchors {stored}, this KMS is configured for \
         {configured}; keys of one can never be keys of the other"
    )]
    OtherAnchors {
        /// Of the record.
        stored: TrustAnchorSet,
        /// Of the configuration.
        configured: TrustAnchorSet,
    },
    /// A key does not derive.
    #[error("root keys: {0}")]
    Keys(#[from] bylaw_keys::KeyError),
    /// The release log.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Everything public about the roots; the seal's associated data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicRoot {
    /// Anchors the keys are bound to.
    pub anchors: TrustAnchorSet,
    /// DNS name of this KMS.
    pub domain: String,
    /// DER SubjectPublicKeyInfo of the root CA, hex.
    pub ca_public: String,
    /// Compressed root key, hex.
    pub k256_public: String,
    /// Evidence for the roots, where this node made them.
    pub bootstrap_info: Option<BootstrapResponse>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    public: PublicRoot,
    sealed: Sealed,
}

/// The secrets of a KMS, opened.
#[derive(Debug)]
pub struct Roots {
    /// As generated or received.
    pub material: RootMaterial,
    /// Bound to this KMS's anchors.
    pub keys: RootKeys,
    /// Key of the CA for first-contact client certificates.
    pub temp_ca: P256Key,
    /// Key of this node's TLS certificate.
    pub rpc: P256Key,
    /// Everything public.
    pub public: PublicRoot,
}

impl Roots {
    /// Roots of a node that generated or received `material` and `temp_ca`.
    ///
    /// # Errors
    /// [`StoreError::Keys`].
    pub fn new(
        material: RootMaterial,
        temp_ca: P256Key,
        anchors: TrustAnchorSet,
        domain: String,
    ) -> Result<Self, StoreError> {
        let keys = material.bind(&anchors)?;
        let public = PublicRoot {
            anchors,
            domain,
            ca_public: hex::encode(keys.ca().spki_der()),
            k256_public: hex::encode(keys.k256_public()),
            bootstrap_info: None,
        };
        Ok(Self {
            material,
            keys,
            temp_ca,
            rpc: P256Key::random()?,
            public,
        })
    }
}

/// The store of one KMS.
#[derive(Debug, Clone)]
pub struct Store {
    db: sled::Db,
}

impl Store {
    /// Opens or creates `data_dir/state`; the directory is for its owner alone.
    ///
    /// # Errors
    /// [`StoreError::Open`].
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        use std::os::unix::fs::DirBuilderExt;
        let path = data_dir.join("state");
        let failed = |reason: String| StoreError::Open {
            path: path.display().to_string(),
            reason,
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|error| failed(error.to_string()))?;
        let db = sled::Config::new()
            .path(&path)
            .cache_capacity(8 * 1024 * 1024)
            .open()
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self { db })
    }

    /// Whether there are roots.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn has_root(&self) -> Result<bool, StoreError> {
        Ok(self.db.contains_key(ROOT)?)
    }

    /// Seals and stores roots; they are on disk when this returns. Roots that are
    /// there already stay.
    ///
    /// # Errors
    /// [`StoreError::AlreadyBootstrapped`], or the store failed and nothing was stored.
    pub fn put_root(&self, roots: &Roots, sealing_key: &Secret) -> Result<(), StoreError> {
        let mut plain = Zeroizing::new(Vec::with_capacity(128));
        for secret in [
            roots.material.ca_scalar(),
            roots.material.k256_scalar(),
            &roots.temp_ca.scalar(),
            &roots.rpc.scalar(),
        ] {
            plain.extend_from_slice(secret.expose());
        }
        let record = Record {
            version: 1,
            public: roots.public.clone(),
            sealed: seal::seal(sealing_key.expose(), &associated(&roots.public)?, &plain)?,
        };
        let bytes =
            serde_json::to_vec(&record).map_err(|error| StoreError::Damaged(error.to_string()))?;
        self.db
            .compare_and_swap(ROOT, None::<&[u8]>, Some(bytes))?
            .map_err(|_| StoreError::AlreadyBootstrapped)?;
        self.db.flush()?;
        Ok(())
    }

    /// Opens the stored roots for a KMS with these anchors.
    ///
    /// # Errors
    /// [`StoreError`] says why they do not open.
    pub fn open_root(
        &self,
        sealing_key: &Secret,
        anchors: TrustAnchorSet,
    ) -> Result<Roots, StoreError> {
        let bytes = self
            .db
            .get(ROOT)?
            .ok_or_else(|| StoreError::Damaged("there is none".to_owned()))?;
        let record: Record = serde_json::from_slice(&bytes)
            .map_err(|error| StoreError::Damaged(error.to_string()))?;
        if record.public.anchors != anchors {
            return Err(StoreError::OtherAnchors {
                stored: record.public.anchors,
                configured: anchors,
            });
        }
        let plain = seal::open(
            sealing_key.expose(),
            &associated(&record.public)?,
            &record.sealed,
        )?;
        let mut secrets = plain.chunks(32).filter_map(Secret::from_slice);
        let mut next = || secrets.next().ok_or(StoreError::Seal(BrokenSeal));
        let (ca, k256, temp_ca, rpc) = (next()?, next()?, next()?, next()?);
        let material = RootMaterial::from_parts(ca, k256)?;
        Ok(Roots {
            keys: material.bind(&anchors)?,
            material,
            temp_ca: P256Key::from_scalar(&temp_ca)?,
            rpc: P256Key::from_scalar(&rpc)?,
            public: record.public,
        })
    }

    /// The release log; one handle a process.
    ///
    /// # Errors
    /// [`StoreError::Log`].
    pub fn release_log(&self) -> Result<ReleaseLog, StoreError> {
        Ok(ReleaseLog::open(self.db.open_tree("releases")?)?)
    }

    /// Where collateral is cached.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn collateral(&self) -> Result<sled::Tree, StoreError> {
        Ok(self.db.open_tree("collateral")?)
    }

    /// Cached answers of AMD's key service.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn amd_collateral(&self) -> Result<sled::Tree, StoreError> {
        Ok(self.db.open_tree("amd-collateral")?)
    }
}

fn associated(public: &PublicRoot) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(public).map_err(|error| StoreError::Damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    use bylaw_types::TrustAnchorDigest;

    use super::*;

    const ANCHORS: TrustAnchorSet = TrustAnchorSet::Other(TrustAnchorDigest::new([1; 32]));

    fn roots() -> Roots {
        let temp_ca = P256Key::random().unwrap();
        Roots::new(
            RootMaterial::generate().unwrap(),
            temp_ca,
            ANCHORS,
            "kms.example".into(),
        )
        .unwrap()
    }

    fn key(byte: u8) -> Secret {
        Secret::from_slice(&[byte; 32]).unwrap()
    }

    #[test]
    fn roots_survive_a_restart_and_are_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let first = roots();
        {
            let store = Store::open(dir.path()).unwrap();
            assert!(!store.has_root().unwrap());
            store.put_root(&first, &key(7)).unwrap();
            assert!(matches!(
                store.put_root(&roots(), &key(7)),
                Err(StoreError::AlreadyBootstrapped)
            ));
        }
        let store = Store::open(dir.path()).unwrap();
        let opened = store.open_root(&key(7), ANCHORS).unwrap();
        assert_eq!(opened.public, first.public);
        assert_eq!(opened.material.ca_scalar(), first.material.ca_scalar());
        assert_eq!(opened.rpc.spki_der(), first.rpc.spki_der());
    }

    #[test]
    fn another_key_anchor_set_or_public_part_does_not_open() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.put_root(&roots(), &key(7)).unwrap();
        assert!(matches!(
            store.open_root(&key(8), ANCHORS),
            Err(StoreError::Seal(_))
        ));
        let vendor = TrustAnchorSet::Vendor(TrustAnchorDigest::new([1; 32]));
        assert!(matches!(
            store.open_root(&key(7), vendor),
            Err(StoreError::OtherAnchors { .. })
        ));
        let bytes = store.db.get(ROOT).unwrap().unwrap();
        let forged = String::from_utf8(bytes.to_vec())
            .unwrap()
            .replace("kms.example", "evil.example");
        store.db.insert(ROOT, forged.as_bytes()).unwrap();
        assert!(matches!(
            store.open_root(&key(7), ANCHORS),
            Err(StoreError::Seal(_))
        ));
    }

    #[test]
    fn no_secret_is_readable_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots();
        Store::open(dir.path())
            .unwrap()
            .put_root(&roots, &key(7))
            .unwrap();
        let secret = *roots.material.ca_scalar().expose();
        let text = hex::encode(secret);
        for entry in std::fs::read_dir(dir.path().join("state")).unwrap() {
            let Ok(bytes) = std::fs::read(entry.unwrap().path()) else {
                continue;
            };
            assert!(!bytes.windows(32).any(|window| window == secret));
            assert!(!bytes.windows(64).any(|window| window == text.as_bytes()));
        }
    }
}
