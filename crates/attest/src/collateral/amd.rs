//! What AMD's key service (KDS) says: certificates of chips, their issuers, revocation lists.
//!
//! As with all collateral, nothing of it is trusted for where it came from.

mod cached;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
pub use cached::CachedAmd;

use super::CollateralError;
use super::http::{self, TIMEOUT, http_client};
use crate::snp::{Product, Tcb, VcekId, certificate};

/// AMD's own service.
pub const AMD_KDS: &str = "https://kdsintf.amd.com";

/// What AMD says about a line of processors, DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmdIssuer {
    /// The intermediate that issues VCEKs.
    pub ask: Vec<u8>,
    /// The revocation list.
    pub crl: Vec<u8>,
}

/// Where AMD's certificates come from.
#[async_trait]
pub trait AmdSource: std::fmt::Debug + Send + Sync {
    /// Issuer and revocation list of a product; `now` in Unix seconds decides what a cache
    /// may serve.
    ///
    /// # Errors
    /// [`CollateralError`]; the caller decides what missing collateral means.
    async fn issuer(&self, product: Product, now: u64) -> Result<Arc<AmdIssuer>, CollateralError>;

    /// The certificate of a chip at one TCB, DER.
    ///
    /// # Errors
    /// As [`AmdSource::issuer`].
    async fn vcek(&self, id: &VcekId, now: u64) -> Result<Arc<Vec<u8>>, CollateralError>;
}

/// AMD's key service, a mirror of it, or its answers in a directory.
#[derive(Debug)]
pub struct Kds {
    base: String,
    /// `None` reads files: the answers under the names of their addresses' paths.
    client: Option<reqwest::Client>,
}

impl Kds {
    /// The service at a URL, or a directory with files such as `vcek/v1/Milan/cert_chain`.
    ///
    /// # Errors
    /// [`CollateralError::Unreachable`] when TLS cannot be set up.
    pub fn new(url_or_directory: &str) -> Result<Self, CollateralError> {
        let base = url_or_directory.trim_end_matches('/');
        let is_url = base.starts_with("http://") || base.starts_with("https://");
        let base = base.strip_suffix("/vcek/v1").unwrap_or(base).to_owned();
        let client = is_url
            .then(|| http_client(TIMEOUT))
            .transpose()
            .map_err(|reason| CollateralError::Unreachable {
                url: base.clone(),
                reason,
            })?;
        Ok(Self { base, client })
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>, CollateralError> {
        let place = format!("{}{path}", self.base);
        if let Some(client) = &self.client {
            return http::get(client, &place).await.map(|(_, body)| body);
        }
        let unreadable = |reason: String| CollateralError::Unreachable {
            url: place.clone(),
            reason,
        };
        let file = PathBuf::from(&place);
        tokio::task::spawn_blocking(move || std::fs::read(file))
            .await
            .map_err(|error| unreadable(error.to_string()))?
            .map_err(|error| unreadable(error.to_string()))
    }

    fn malformed(&self, path: &str, reason: impl ToString) -> CollateralError {
        CollateralError::Malformed {
            place: format!("{}{path}", self.base),
            reason: reason.to_string(),
        }
    }
}

#[async_trait]
impl AmdSource for Kds {
    async fn issuer(&self, product: Product, _: u64) -> Result<Arc<AmdIssuer>, CollateralError> {
        let path = format!("/vcek/v1/{product}/cert_chain");
        let chain = pem::parse_many(self.get(&path).await?)
            .map_err(|error| self.malformed(&path, error))?;
        let [ask, _ark] = chain.as_slice() else {
            let reason = format!("{} certificates, not ASK and ARK", chain.len());
            return Err(self.malformed(&path, reason));
        };
        let crl = self.get(&format!("/vcek/v1/{product}/crl")).await?;
        Ok(Arc::new(AmdIssuer {
            ask: ask.contents().to_vec(),
            crl,
        }))
    }

    async fn vcek(&self, id: &VcekId, _: u64) -> Result<Arc<Vec<u8>>, CollateralError> {
        let path = vcek_path(id);
        let answer = self.get(&path).await?;
        certificate("VCEK", &answer)
            .map(Arc::new)
            .map_err(|error| self.malformed(&path, error))
    }
}

/// Where the service has a chip's certificate.
fn vcek_path(id: &VcekId) -> String {
    let Tcb {
        fmc,
        bootloader,
        tee,
        snp,
        microcode,
    } = id.tcb;
    let fmc = fmc
        .map(|fmc| format!("fmcSPL={fmc:02}&"))
        .unwrap_or_default();
    format!(
        "/vcek/v1/{}/{}?{fmc}blSPL={bootloader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}",
        id.product,
        hex::encode(&id.hardware_id),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(product: Product, fmc: Option<u8>) -> VcekId {
        VcekId {
            product,
            hardware_id: vec![0xab; 8],
            tcb: Tcb {
                fmc,
                bootloader: 3,
                tee: 0,
                snp: 8,
                microcode: 115,
            },
        }
    }

    #[test]
    fn addresses_are_amds() {
        assert_eq!(
            vcek_path(&id(Product::Milan, None)),
            "/vcek/v1/Milan/abababababababab?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115"
        );
        assert_eq!(
            vcek_path(&id(Product::Turin, Some(1))),
            "/vcek/v1/Turin/abababababababab?fmcSPL=01&blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115"
        );
    }

    #[tokio::test]
    async fn answers_are_read_from_files_too() {
        let dir = tempfile::tempdir().unwrap();
        let milan = dir.path().join("vcek/v1/Milan");
        std::fs::create_dir_all(&milan).unwrap();
        let kds = Kds::new(&format!("{}/", dir.path().display())).unwrap();
        let missing = kds.issuer(Product::Milan, 0).await.unwrap_err();
        assert!(missing.to_string().contains("cert_chain"), "{missing}");
        let put = |name: &str, bytes: &[u8]| {
            bylaw_types::file::write_atomic(&milan.join(name), bytes).unwrap();
        };
        let block = |text: &str| pem::encode(&pem::Pem::new("CERTIFICATE", text));
        put("cert_chain", block("one").as_bytes());
        put("crl", b"list");
        let alone = kds.issuer(Product::Milan, 0).await.unwrap_err();
        assert!(alone.to_string().contains("1 certificates"), "{alone}");
        put(
            "cert_chain",
            format!("{}{}", block("ask"), block("ark")).as_bytes(),
        );
        let issuer = kds.issuer(Product::Milan, 0).await.unwrap();
        assert_eq!(
            (&issuer.ask[..], &issuer.crl[..]),
            (&b"ask"[..], &b"list"[..])
        );
        let id = id(Product::Milan, None);
        let name = vcek_path(&id).rsplit('/').next().unwrap().to_owned();
        let vcek = include_bytes!("../../../../test/vectors/attest/snp/trustee-milan-v2/vcek.der");
        put(&name, vcek);
        assert_eq!(*kds.vcek(&id, 0).await.unwrap(), vcek);
        put(&name, &vcek[1..]);
        let malformed = kds.vcek(&id, 0).await.unwrap_err();
        assert!(malformed.to_string().contains("VCEK"), "{malformed}");
    }

    #[tokio::test]
    async fn a_dead_service_is_unreachable_and_named() {
        let kds = Kds::new("http://127.0.0.1:1/vcek/v1").unwrap();
        let error = kds.issuer(Product::Genoa, 0).await.unwrap_err();
        let address = "127.0.0.1:1/vcek/v1/Genoa/cert_chain";
        assert!(error.to_string().contains(address), "{error}");
    }
}
