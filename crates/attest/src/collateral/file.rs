//! Collateral from files.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Collateral, CollateralError, CollateralSource};
use crate::tdx::CollateralKey;

/// One collateral for whatever is asked.
#[derive(Debug)]
pub struct Fixed(Arc<Collateral>);

impl Fixed {
    /// Always this one; a quote of another platform then fails verification.
    pub fn new(collateral: Collateral) -> Self {
        Self(Arc::new(collateral))
    }
}

#[async_trait]
impl CollateralSource for Fixed {
    async fn collateral(
        &self,
        _: &CollateralKey,
        _: u64,
    ) -> Result<Arc<Collateral>, CollateralError> {
        Ok(Arc::clone(&self.0))
    }
}

/// A directory of `*.json` files; the one whose TCB info names the FMSPC counts.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Files below `path`, not in its subdirectories.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn find(&self, key: &CollateralKey) -> Result<Arc<Collateral>, CollateralError> {
        let wanted = hex::encode(key.fmspc);
        let place = self.path.display().to_string();
        let unreadable = |error: std::io::Error| CollateralError::Unreachable {
            url: place.clone(),
            reason: error.to_string(),
        };
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&self.path)
            .map_err(unreadable)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "json")
            })
            .collect();
        paths.sort();
        for path in paths {
            let text = std::fs::read_to_string(&path).map_err(unreadable)?;
            let collateral = Collateral::from_json(&text, &path.display().to_string())?;
            if collateral.fmspc().as_deref() == Some(wanted.as_str()) {
                return Ok(Arc::new(collateral));
            }
        }
        Err(CollateralError::NotFound {
            fmspc: wanted,
            ca: key.ca,
            place,
        })
    }
}

#[async_trait]
impl CollateralSource for Directory {
    async fn collateral(
        &self,
        key: &CollateralKey,
        _: u64,
    ) -> Result<Arc<Collateral>, CollateralError> {
        self.find(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_file_of_the_platform_is_found() {
        let vectors = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../test/vectors/attest/tdx/dcapqvl-v4"
        );
        let directory = Directory::new(vectors);
        let key = |fmspc| CollateralKey {
            fmspc,
            ca: "platform",
        };
        assert!(
            directory
                .collateral(&key([0xb0, 0xc0, 0x6f, 0, 0, 0]), 0)
                .await
                .is_ok()
        );
        assert!(matches!(
            directory.collateral(&key([0; 6]), 0).await,
            Err(CollateralError::NotFound { .. })
        ));
        assert!(
            Directory::new("/nonexistent")
                .collateral(&key([0; 6]), 0)
                .await
                .is_err()
        );
    }
}
