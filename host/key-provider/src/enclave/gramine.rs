//! This process as an SGX enclave, by Gramine's pseudo-files.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bylaw_types::ReportData;
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;

use super::{Enclave, EnclaveError};
use crate::derive::SealingKey;

/// The enclave this process runs in.
#[derive(Debug)]
pub struct Gramine {
    attestation: PathBuf,
    /// Report data goes in by one file and the quote comes out by another: one at a time.
    quoting: Mutex<()>,
}

impl Default for Gramine {
    fn default() -> Self {
        Self::at(Path::new("/dev/attestation"))
    }
}

impl Gramine {
    /// With the pseudo-files in another folder.
    pub fn at(attestation: &Path) -> Self {
        Self {
            attestation: attestation.to_owned(),
            quoting: Mutex::default(),
        }
    }

    async fn read(&self, name: &str) -> Result<Vec<u8>, EnclaveError> {
        let path = self.attestation.join(name);
        tokio::fs::read(&path)
            .await
            .map_err(|error| failed(&path, &error))
    }
}

fn failed(path: &Path, reason: &dyn std::fmt::Display) -> EnclaveError {
    EnclaveError::Gramine {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

#[async_trait]
impl Enclave for Gramine {
    async fn sealing_key(&self) -> Result<SealingKey, EnclaveError> {
        const KEY: &str = "keys/_sgx_mrenclave";
        let bytes = self.read(KEY).await?;
        let length = bytes.len();
        SealingKey::take(bytes).ok_or_else(|| {
            let path = self.attestation.join(KEY);
            failed(&path, &format!("it has {length} bytes, not 16"))
        })
    }

    async fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, EnclaveError> {
        let _one_at_a_time = self.quoting.lock().await;
        let path = self.attestation.join("user_report_data");
        let write = async {
            // Not created: outside an enclave there is nothing to write to.
            let mut file = tokio::fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .await?;
            file.write_all(report_data.as_bytes()).await?;
            file.flush().await
        };
        write.await.map_err(|error| failed(&path, &error))?;
        self.read("quote").await
    }
}

#[cfg(test)]
mod tests {
    use bylaw_types::file::write_atomic;

    use super::*;

    #[tokio::test]
    async fn outside_an_enclave_the_manifest_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let enclave = Gramine::at(folder.path());
        let error = enclave.sealing_key().await.unwrap_err().to_string();
        assert!(
            error.contains("_sgx_mrenclave") && error.contains("gramine-sgx"),
            "{error}"
        );
        let error = enclave.quote(&ReportData::new([1; 64])).await.unwrap_err();
        assert!(error.to_string().contains("user_report_data"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn report_data_goes_in_and_the_quote_comes_out() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("keys")).unwrap();
        let file = |name: &str, bytes: &[u8]| {
            write_atomic(&folder.path().join(name), bytes).unwrap();
        };
        file("keys/_sgx_mrenclave", &[3; 16]);
        file("user_report_data", &[0; 64]);
        file("quote", b"quote");
        let enclave = Gramine::at(folder.path());
        enclave.sealing_key().await.unwrap();
        assert_eq!(
            enclave.quote(&ReportData::new([1; 64])).await.unwrap(),
            b"quote"
        );
        assert_eq!(
            std::fs::read(folder.path().join("user_report_data")).unwrap(),
            [1; 64]
        );

        file("keys/_sgx_mrenclave", &[3; 32]);
        let error = enclave.sealing_key().await.unwrap_err().to_string();
        assert!(error.contains("32 bytes, not 16"), "{error}");
    }
}
