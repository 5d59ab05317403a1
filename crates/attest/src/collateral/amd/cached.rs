//! AMD's answers, kept: the service throttles, and a chip's certificate never changes.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use lru::LruCache;
use serde::{Deserialize, Serialize};

use super::{AmdIssuer, AmdSource, vcek_path};
use crate::collateral::{CollateralError, crl_next_update};
use crate::snp::{Product, VcekId};

/// Seconds after which a revocation list is asked for again, however long it is valid.
const REFRESH_AFTER: u64 = 24 * 60 * 60;
/// Certificates that are kept. Whoever may ask for a VCEK could otherwise fill the disk.
const MAX_VCEKS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// An issuer, and when it was asked for.
#[derive(Debug, Clone)]
struct Dated {
    fetched_at: u64,
    issuer: Arc<AmdIssuer>,
}

/// On disk; hex for binary fields.
#[derive(Serialize, Deserialize)]
struct Form {
    fetched_at: u64,
    ask: String,
    crl: String,
}

/// Another source behind memory and, when given, a store that survives restarts.
#[derive(Debug)]
pub struct CachedAmd<S> {
    source: S,
    issuers: Mutex<Vec<(Product, Dated)>>,
    vceks: Mutex<LruCache<VcekId, Arc<Vec<u8>>>>,
    store: Option<sled::Tree>,
}

impl<S: AmdSource> CachedAmd<S> {
    /// Caches `source`, in `store` too when there is one.
    pub fn new(source: S, store: Option<sled::Tree>) -> Self {
        Self {
            source,
            issuers: Mutex::default(),
            vceks: Mutex::new(LruCache::new(MAX_VCEKS)),
            store,
        }
    }

    fn known_issuer(&self, product: Product) -> Option<Dated> {
        let issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = issuers.iter().find(|(found, _)| *found == product);
        known
            .map(|(_, dated)| dated.clone())
            .or_else(|| self.stored_issuer(product))
    }

    /// A damaged entry is as good as none: it is fetched again.
    fn stored_issuer(&self, product: Product) -> Option<Dated> {
        let bytes = self.store.as_ref()?.get(product.name()).ok()??;
        let form: Form = serde_json::from_slice(&bytes).ok()?;
        Some(Dated {
            fetched_at: form.fetched_at,
            issuer: Arc::new(AmdIssuer {
                ask: hex::decode(form.ask).ok()?,
                crl: hex::decode(form.crl).ok()?,
            }),
        })
    }

    fn keep_issuer(&self, product: Product, dated: &Dated) -> Result<(), CollateralError> {
        let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        issuers.retain(|(other, _)| *other != product);
        issuers.push((product, dated.clone()));
        drop(issuers);
        let form = Form {
            fetched_at: dated.fetched_at,
            ask: hex::encode(&dated.issuer.ask),
            crl: hex::encode(&dated.issuer.crl),
        };
        // Numbers and strings always serialise.
        self.put(
            product.name(),
            serde_json::to_vec(&form).unwrap_or_default(),
        )
    }

    fn put(&self, key: &str, value: Vec<u8>) -> Result<(), CollateralError> {
        let Some(tree) = &self.store else {
            return Ok(());
        };
        tree.insert(key, value)
            .map(|_| ())
            .map_err(|error| CollateralError::Cache(error.to_string()))
    }

    fn known_vcek(&self, id: &VcekId) -> Option<Arc<Vec<u8>>> {
        let mut vceks = self.vceks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = vceks.get(id) {
            return Some(Arc::clone(known));
        }
        let stored = self.store.as_ref()?.get(vcek_path(id)).ok()??;
        let stored = Arc::new(stored.to_vec());
        vceks.put(id.clone(), Arc::clone(&stored));
        Some(stored)
    }

    fn keep_vcek(&self, id: &VcekId, der: &Arc<Vec<u8>>) -> Result<(), CollateralError> {
        let mut vceks = self.vceks.lock().unwrap_or_else(PoisonError::into_inner);
        vceks.put(id.clone(), Arc::clone(der));
        drop(vceks);
        let is_full = |tree: &sled::Tree| tree.len() >= MAX_VCEKS.get();
        if self.store.as_ref().is_some_and(is_full) {
            return Ok(());
        }
        self.put(&vcek_path(id), der.to_vec())
    }
}

#[async_trait]
impl<S: AmdSource> AmdSource for CachedAmd<S> {
    async fn issuer(&self, product: Product, now: u64) -> Result<Arc<AmdIssuer>, CollateralError> {
        let valid = |known: &Dated| crl_next_update(&known.issuer.crl).is_some_and(|end| end > now);
        let known = self.known_issuer(product).filter(valid);
        if let Some(known) = &known
            && now.saturating_sub(known.fetched_at) < REFRESH_AFTER
        {
            return Ok(Arc::clone(&known.issuer));
        }
        match (self.source.issuer(product, now).await, known) {
            (Ok(issuer), _) => {
                let dated = Dated {
                    fetched_at: now,
                    issuer: Arc::clone(&issuer),
                };
                self.keep_issuer(product, &dated)?;
                Ok(issuer)
            }
            // Still valid for a while: better than refusing everyone.
            (Err(error), Some(known)) => {
                tracing::warn!(%error, "AMD's revocation list not refreshed; using what is still valid");
                Ok(known.issuer)
            }
            (Err(error), None) => Err(error),
        }
    }

    async fn vcek(&self, id: &VcekId, now: u64) -> Result<Arc<Vec<u8>>, CollateralError> {
        if let Some(known) = self.known_vcek(id) {
            return Ok(known);
        }
        let fetched = self.source.vcek(id, now).await?;
        self.keep_vcek(id, &fetched)?;
        Ok(fetched)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::Collateral;
    use crate::snp::Tcb;

    /// When the list below expires.
    const EXPIRES: u64 = 1_752_919_235;

    /// Any list with a date will do: caches read nothing else.
    fn crl() -> Vec<u8> {
        const REAL: &str =
            include_str!("../../../../../test/vectors/attest/tdx/dcapqvl-v4/collateral.json");
        let collateral = Collateral::from_json(REAL, "test").unwrap();
        collateral.as_quote_collateral().pck_crl.clone()
    }

    /// Answers the first `good` times, then fails.
    #[derive(Debug)]
    struct Counting {
        good: u32,
        asked: Arc<AtomicU32>,
    }

    impl Counting {
        fn ask<T>(&self, answer: T) -> Result<T, CollateralError> {
            if self.asked.fetch_add(1, Ordering::SeqCst) < self.good {
                Ok(answer)
            } else {
                Err(CollateralError::NoAmdSource)
            }
        }
    }

    #[async_trait]
    impl AmdSource for Counting {
        async fn issuer(&self, _: Product, _: u64) -> Result<Arc<AmdIssuer>, CollateralError> {
            self.ask(Arc::new(AmdIssuer {
                ask: b"ask".to_vec(),
                crl: crl(),
            }))
        }

        async fn vcek(&self, _: &VcekId, _: u64) -> Result<Arc<Vec<u8>>, CollateralError> {
            self.ask(Arc::new(b"vcek".to_vec()))
        }
    }

    fn cached(good: u32, store: Option<sled::Tree>) -> (CachedAmd<Counting>, Arc<AtomicU32>) {
        let asked = Arc::new(AtomicU32::new(0));
        let source = Counting {
            good,
            asked: Arc::clone(&asked),
        };
        (CachedAmd::new(source, store), asked)
    }

    fn id(bootloader: u8) -> VcekId {
        VcekId {
            product: Product::Milan,
            hardware_id: vec![1; 64],
            tcb: Tcb {
                fmc: None,
                bootloader,
                tee: 0,
                snp: 8,
                microcode: 115,
            },
        }
    }

    fn tree() -> sled::Tree {
        let db = sled::Config::new().temporary(true).open().unwrap();
        db.open_tree("amd").unwrap()
    }

    #[tokio::test]
    async fn answers_are_fetched_once_and_survive_a_restart() {
        let tree = tree();
        let now = EXPIRES - 10 * REFRESH_AFTER;
        let (first, asked) = cached(2, Some(tree.clone()));
        for _ in 0..3 {
            first.issuer(Product::Milan, now).await.unwrap();
            first.vcek(&id(3), now).await.unwrap();
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        let (second, asked) = cached(0, Some(tree));
        assert_eq!(second.issuer(Product::Milan, now).await.unwrap().crl, crl());
        assert_eq!(*second.vcek(&id(3), now).await.unwrap(), b"vcek");
        assert_eq!(asked.load(Ordering::SeqCst), 0);
        assert!(second.issuer(Product::Genoa, now).await.is_err());
        assert!(second.vcek(&id(4), now).await.is_err(), "of another TCB");
    }

    #[tokio::test]
    async fn a_list_is_asked_for_daily_and_served_while_it_is_valid() {
        let (cache, asked) = cached(1, None);
        let fetched = EXPIRES - 10 * REFRESH_AFTER;
        cache.issuer(Product::Milan, fetched).await.unwrap();
        let later = fetched + REFRESH_AFTER;
        cache.issuer(Product::Milan, later).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert!(cache.issuer(Product::Milan, EXPIRES).await.is_err());
    }

    #[tokio::test]
    async fn the_store_has_a_limit() {
        let tree = tree();
        for n in 0..MAX_VCEKS.get() {
            tree.insert(n.to_be_bytes(), b"x").unwrap();
        }
        let (cache, _) = cached(9, Some(tree.clone()));
        cache.vcek(&id(3), 0).await.unwrap();
        assert_eq!(tree.len(), MAX_VCEKS.get());
    }
}
