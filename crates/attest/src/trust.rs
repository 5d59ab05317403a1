//! Which roots are trusted.

use std::path::{Path, PathBuf};

use bylaw_types::TrustAnchorSet;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::report_data::anchor_digest;
use crate::snp::Product;

/// Intel SGX Root CA, DER (`https://certificates.trustedservices.intel.com/`).
const INTEL_SGX_ROOT_CA: &[u8] = include_bytes!("../assets/intel-sgx-root-ca.der");

/// AMD's root keys (ARK), DER (`https://kdsintf.amd.com/vcek/v1/Milan/cert_chain` and so on).
const AMD_ROOTS: [(Product, &[u8]); 3] = [
    (
        Product::Milan,
        include_bytes!("../assets/amd-ark-milan.der"),
    ),
    (
        Product::Genoa,
        include_bytes!("../assets/amd-ark-genoa.der"),
    ),
    (
        Product::Turin,
        include_bytes!("../assets/amd-ark-turin.der"),
    ),
];

/// A root that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustAnchorError {
    /// Neither PEM nor DER of one certificate.
    #[error("trust anchor is not one X.509 certificate in PEM or DER: {0}")]
    NotACertificate(String),
    /// Nothing says which processors it is for.
    #[error("AMD roots are named ARK-Milan, ARK-Genoa or ARK-Turin, this certificate is of `{0}`")]
    NotAnArk(String),
    /// Two for the same processors.
    #[error("two roots ARK-{0}")]
    Twice(Product),
    /// A file of roots.
    #[error("trusted roots in {}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// The roots a verifier accepts.
///
/// Either the vendors' own, or a set that says of itself that it is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustAnchors {
    tdx_root: Vec<u8>,
    /// In the order of the products, at most one each.
    amd_roots: Vec<(Product, Vec<u8>)>,
    set: TrustAnchorSet,
}

impl TrustAnchors {
    /// The vendors' roots, built in.
    pub fn vendor() -> Self {
        let amd_roots = AMD_ROOTS.map(|(product, der)| (product, der.to_vec()));
        Self::of(INTEL_SGX_ROOT_CA.to_vec(), amd_roots.to_vec())
    }

    /// One root for TDX in place of Intel's, as PEM or DER, and none for SEV-SNP.
    ///
    /// Giving Intel's own root yields the vendor set: it is the same set.
    ///
    /// # Errors
    /// [`TrustAnchorError::NotACertificate`].
    pub fn with_tdx_root(pem_or_der: &[u8]) -> Result<Self, TrustAnchorError> {
        let der = one_certificate(pem_or_der)?;
        if der == INTEL_SGX_ROOT_CA {
            return Ok(Self::vendor());
        }
        Ok(Self::of(der, vec![]))
    }

    /// These roots for SEV-SNP in place of what the set had: certificates in PEM, or one in
    /// DER. Each is for the processors that its common name says, as in AMD's own:
    /// `ARK-Milan`, `ARK-Genoa` or `ARK-Turin`.
    ///
    /// # Errors
    /// [`TrustAnchorError`].
    pub fn with_amd_roots(self, pem_or_der: &[u8]) -> Result<Self, TrustAnchorError> {
        let mut roots: Vec<(Product, Vec<u8>)> = Vec::new();
        for der in certificates(pem_or_der)? {
            let product = product_of(&der)?;
            if roots.iter().any(|(other, _)| *other == product) {
                return Err(TrustAnchorError::Twice(product));
            }
            roots.push((product, der));
        }
        roots.sort();
        Ok(Self::of(self.tdx_root, roots))
    }

    /// What settings name: a file with a root for TDX, one with roots for SEV-SNP; the
    /// vendors' own without either.
    ///
    /// # Errors
    /// [`TrustAnchorError::File`].
    pub fn from_files(
        tdx_root: Option<&Path>,
        amd_roots: Option<&Path>,
    ) -> Result<Self, TrustAnchorError> {
        let mut anchors = Self::vendor();
        if let Some(path) = tdx_root {
            anchors = in_file(path, Self::with_tdx_root)?;
        }
        if let Some(path) = amd_roots {
            anchors = in_file(path, |bytes| anchors.with_amd_roots(bytes))?;
        }
        Ok(anchors)
    }

    fn of(tdx_root: Vec<u8>, amd_roots: Vec<(Product, Vec<u8>)>) -> Self {
        let amd = amd_roots
            .iter()
            .map(|(product, der)| (product.anchor_name(), public_key(der)));
        let named: Vec<(&str, &[u8])> = std::iter::once(("tdx", public_key(&tdx_root)))
            .chain(amd)
            .collect();
        let digest = anchor_digest(&named);
        let is_vendor = tdx_root == INTEL_SGX_ROOT_CA
            && amd_roots
                .iter()
                .map(|(product, der)| (*product, der.as_slice()))
                .eq(AMD_ROOTS);
        let set = if is_vendor {
            TrustAnchorSet::Vendor(digest)
        } else {
            TrustAnchorSet::Other(digest)
        };
        Self {
            tdx_root,
            amd_roots,
            set,
        }
    }

    /// The set these anchors are.
    pub fn set(&self) -> TrustAnchorSet {
        self.set
    }

    /// DER of the TDX root.
    pub fn tdx_root(&self) -> &[u8] {
        &self.tdx_root
    }

    /// DER of AMD's root for these processors, when the set has one.
    pub fn amd_root(&self, product: Product) -> Option<&[u8]> {
        self.amd_roots
            .iter()
            .find(|(found, _)| *found == product)
            .map(|(_, der)| der.as_slice())
    }
}

fn in_file<T>(
    path: &Path,
    read: impl FnOnce(&[u8]) -> Result<T, TrustAnchorError>,
) -> Result<T, TrustAnchorError> {
    let unusable = |reason: String| TrustAnchorError::File {
        path: path.to_owned(),
        reason,
    };
    let bytes = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    read(&bytes).map_err(|error| unusable(error.to_string()))
}

fn not_a_certificate(error: impl ToString) -> TrustAnchorError {
    TrustAnchorError::NotACertificate(error.to_string())
}

fn certificates(pem_or_der: &[u8]) -> Result<Vec<Vec<u8>>, TrustAnchorError> {
    if !pem_or_der.starts_with(b"-----") {
        return Ok(vec![one_certificate(pem_or_der)?]);
    }
    let blocks = pem::parse_many(pem_or_der).map_err(not_a_certificate)?;
    if blocks.is_empty() {
        return Err(not_a_certificate("there is none"));
    }
    blocks
        .into_iter()
        .map(|block| one_certificate(block.contents()))
        .collect()
}

fn one_certificate(pem_or_der: &[u8]) -> Result<Vec<u8>, TrustAnchorError> {
    let der = if pem_or_der.starts_with(b"-----") {
        pem::parse(pem_or_der)
            .map_err(not_a_certificate)?
            .into_contents()
    } else {
        pem_or_der.to_vec()
    };
    let (rest, _) = X509Certificate::from_der(&der).map_err(not_a_certificate)?;
    if !rest.is_empty() {
        return Err(not_a_certificate(format!("{} bytes follow it", rest.len())));
    }
    Ok(der)
}

fn product_of(der: &[u8]) -> Result<Product, TrustAnchorError> {
    let (_, root) = X509Certificate::from_der(der).map_err(not_a_certificate)?;
    let subject = root.subject();
    subject
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok()?.strip_prefix("ARK-"))
        .and_then(Product::from_name)
        .ok_or_else(|| TrustAnchorError::NotAnArk(subject.to_string()))
}

/// DER SubjectPublicKeyInfo of a certificate that was parsed before.
fn public_key(der: &[u8]) -> &[u8] {
    X509Certificate::from_der(der).map_or(der, |(_, root)| root.tbs_certificate.subject_pki.raw)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn pem_of(der: &[u8]) -> String {
        pem::encode(&pem::Pem::new("CERTIFICATE", der))
    }

    #[test]
    fn a_file_that_is_no_root_is_named() {
        let vendor = TrustAnchors::from_files(None, None).unwrap();
        assert_eq!(vendor, TrustAnchors::vendor());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("roots.pem");
        for content in [None, Some("no certificate")] {
            if let Some(content) = content {
                bylaw_types::file::write_atomic(&path, content.as_bytes()).unwrap();
            }
            for (tdx, amd) in [(Some(&*path), None), (None, Some(&*path))] {
                let error = TrustAnchors::from_files(tdx, amd).unwrap_err().to_string();
                assert!(error.contains("roots.pem"), "{error}");
            }
        }
    }

    #[test]
    fn intels_root_is_the_vendor_set_however_it_is_given() {
        assert_eq!(
            TrustAnchors::with_tdx_root(pem_of(INTEL_SGX_ROOT_CA).as_bytes()).unwrap(),
            TrustAnchors::vendor()
        );
        assert!(TrustAnchors::vendor().set().is_vendor());
    }

    #[test]
    fn garbage_and_trailing_bytes_are_refused() {
        assert!(TrustAnchors::with_tdx_root(b"").is_err());
        assert!(TrustAnchors::with_tdx_root(b"-----BEGIN X").is_err());
        let mut long = INTEL_SGX_ROOT_CA.to_vec();
        long.push(0);
        assert!(TrustAnchors::with_tdx_root(&long).is_err());
        let vendor = TrustAnchors::vendor;
        assert!(vendor().with_amd_roots(b"").is_err());
        assert!(vendor().with_amd_roots(b"-----BEGIN X").is_err());
    }

    /// Fingerprints of the files that AMD's key service gives.
    #[test]
    fn the_built_in_roots_are_amds() {
        for ((_, der), fingerprint) in AMD_ROOTS.iter().zip([
            "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
            "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
            "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
        ]) {
            assert_eq!(hex::encode(Sha256::digest(der)), fingerprint);
        }
        for (product, der) in AMD_ROOTS {
            assert_eq!(product_of(der), Ok(product));
            assert_eq!(TrustAnchors::vendor().amd_root(product), Some(der));
        }
    }

    #[test]
    fn amds_roots_are_the_vendor_set_however_they_are_given() {
        let [(_, milan), (_, genoa), (_, turin)] = AMD_ROOTS;
        let all = [turin, milan, genoa].map(pem_of).concat();
        let given = TrustAnchors::vendor().with_amd_roots(all.as_bytes());
        assert_eq!(given.unwrap(), TrustAnchors::vendor());
        let fewer = TrustAnchors::vendor().with_amd_roots(milan).unwrap();
        assert!(!fewer.set().is_vendor());
        assert_eq!(fewer.amd_root(Product::Genoa), None);
    }

    #[test]
    fn every_other_set_of_roots_has_another_digest() {
        let [(_, milan), (_, genoa), _] = AMD_ROOTS;
        let other = include_bytes!("../../../test/vectors/attest/snp/milan-ask.pem");
        let development = TrustAnchors::with_tdx_root(other).unwrap();
        assert_eq!(
            Product::ALL.map(|product| development.amd_root(product)),
            [None; 3]
        );
        // Before there were AMD roots, this was the digest of this set.
        let alone = anchor_digest(&[("tdx", public_key(development.tdx_root()))]);
        assert_eq!(development.set(), TrustAnchorSet::Other(alone));
        let sets = [
            TrustAnchors::vendor(),
            TrustAnchors::vendor().with_amd_roots(milan).unwrap(),
            development.clone(),
            development.clone().with_amd_roots(milan).unwrap(),
            development.with_amd_roots(genoa).unwrap(),
        ];
        for (index, one) in sets.iter().enumerate() {
            for other in &sets[index + 1..] {
                assert_ne!(one.set().digest(), other.set().digest());
            }
        }
    }

    #[test]
    fn a_root_of_no_product_and_two_of_one_are_refused() {
        let [(_, milan), ..] = AMD_ROOTS;
        let intel = TrustAnchors::vendor().with_amd_roots(INTEL_SGX_ROOT_CA);
        assert!(matches!(intel, Err(TrustAnchorError::NotAnArk(_))));
        let twice = [milan, milan].map(pem_of).concat();
        let twice = TrustAnchors::vendor().with_amd_roots(twice.as_bytes());
        assert_eq!(twice, Err(TrustAnchorError::Twice(Product::Milan)));
    }
}
