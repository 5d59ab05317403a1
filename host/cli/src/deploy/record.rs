//! What a deployment leaves beside the manifest, so that it can be run again.

use std::path::{Path, PathBuf};

use bylaw_types::{AppCompose, AppId, ComposeHash};
use serde::{Deserialize, Serialize};

use super::steps::Steps;
use crate::chain::{ChainArgs, SignerArgs};
use crate::output::Failure;

/// Writes the manifest, unless it is there.
pub(crate) fn write_manifest(
    file: &Path,
    compose: &AppCompose,
    steps: &Steps<'_>,
) -> Result<(), Failure> {
    match std::fs::read(file) {
        Ok(bytes) if bytes == compose.raw().as_bytes() => return Ok(()),
        Ok(_) => steps.note(&format!("{} is replaced", file.display())),
        Err(_) => {}
    }
    bylaw_types::file::write_atomic(file, compose.raw().as_bytes())
        .map_err(|error| Failure::Unusable(format!("{}: {error}", file.display())))
}

/// `<manifest>.app`: the app that `--create-app` made.
pub(crate) struct Record {
    file: PathBuf,
    chain_id: u64,
    kms_auth: String,
}

#[derive(Serialize, Deserialize)]
struct Content {
    chain_id: u64,
    kms_auth: String,
    app_id: AppId,
}

impl Record {
    pub(crate) fn beside(manifest: &Path, chain: &ChainArgs) -> Result<Self, Failure> {
        let mut file = manifest.as_os_str().to_owned();
        file.push(".app");
        Ok(Self {
            file: file.into(),
            chain_id: chain.chain_id(),
            kms_auth: format!("0x{}", chain.kms_auth()?),
        })
    }

    /// The app of an earlier run under the same contract.
    pub(crate) fn read(&self) -> Result<Option<AppId>, Failure> {
        let Ok(bytes) = std::fs::read(&self.file) else {
            return Ok(None);
        };
        let unusable = |reason: String| {
            Failure::Unusable(format!(
                "{}: {reason}; name the app with --app, or remove the file to create another",
                self.file.display()
            ))
        };
        let content: Content =
            serde_json::from_slice(&bytes).map_err(|error| unusable(error.to_string()))?;
        if content.chain_id != self.chain_id || content.kms_auth != self.kms_auth {
            return Err(unusable(format!(
                "it is about an app under KmsAuth {} on chain {}",
                content.kms_auth, content.chain_id
            )));
        }
        Ok(Some(content.app_id))
    }

    /// Creates the app and remembers it.
    pub(crate) async fn create(
        &self,
        chain: &ChainArgs,
        signer: &SignerArgs,
        hash: &ComposeHash,
    ) -> Result<AppId, Failure> {
        let kms_auth = chain.kms_auth()?;
        let owner = chain.owner(signer)?;
        let app_id = owner.create_app(&kms_auth, Some(hash), None, false).await?;
        let content = Content {
            chain_id: self.chain_id,
            kms_auth: self.kms_auth.clone(),
            app_id,
        };
        let json = serde_json::to_vec_pretty(&content)?;
        bylaw_types::file::write_atomic(&self.file, &json).map_err(|error| {
            Failure::Unusable(format!(
                "app 0x{app_id} was created, but {} cannot be written: {error}; go on with --app",
                self.file.display()
            ))
        })?;
        Ok(app_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(dir: &Path, chain_id: u64) -> Record {
        Record {
            file: dir.join("a.json.app"),
            chain_id,
            kms_auth: "0x11".into(),
        }
    }

    #[test]
    fn an_app_is_remembered_for_its_contract_only() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(record(dir.path(), 1).read().unwrap(), None);
        let app_id = AppId::new([7; 20]);
        let content = Content {
            chain_id: 1,
            kms_auth: "0x11".into(),
            app_id,
        };
        let json = serde_json::to_vec(&content).unwrap();
        bylaw_types::file::write_atomic(&dir.path().join("a.json.app"), &json).unwrap();
        assert_eq!(record(dir.path(), 1).read().unwrap(), Some(app_id));
        assert!(record(dir.path(), 2).read().is_err());
        bylaw_types::file::write_atomic(&dir.path().join("a.json.app"), b"{").unwrap();
        assert!(record(dir.path(), 1).read().is_err());
    }
}
