//! Manifests on disk, found by their hash.

use std::collections::BTreeMap;
use std::path::Path;

use alloy::primitives::B256;
use bylaw_types::AppCompose;

use crate::output::Failure;

/// Manifests by hash.
#[derive(Debug, Default, Clone)]
pub(crate) struct Library {
    manifests: BTreeMap<B256, AppCompose>,
}

impl Library {
    /// Every file of a directory that is a manifest; others are passed over.
    pub(crate) fn open(directory: &Path) -> Result<Self, Failure> {
        let unusable = |error: std::io::Error| {
            Failure::Unusable(format!("--composes {}: {error}", directory.display()))
        };
        let mut library = Self::default();
        for entry in std::fs::read_dir(directory).map_err(unusable)? {
            let path = entry.map_err(unusable)?.path();
            let fits = std::fs::metadata(&path).is_ok_and(|file| {
                file.is_file() && file.len() <= bylaw_types::compose::MAX_LEN as u64
            });
            if fits && let Ok(bytes) = std::fs::read(&path) {
                library.add(&bytes);
            }
        }
        Ok(library)
    }

    /// Adds a manifest, if it is one.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        if let Ok(compose) = AppCompose::parse(bytes) {
            self.manifests
                .insert(B256::from(compose.hash().to_bytes()), compose);
        }
    }

    pub(crate) fn get(&self, hash: &B256) -> Option<&AppCompose> {
        self.manifests.get(hash)
    }
}
