//! A cache that never serves what has expired.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use async_trait::async_trait;

use super::{Collateral, CollateralError, CollateralSource};
use crate::tdx::CollateralKey;

/// Seconds before expiry at which fresh collateral is asked for.
const REFRESH_BEFORE: u64 = 24 * 60 * 60;

/// Another source behind memory and, when given, a store that survives restarts.
#[derive(Debug)]
pub struct Cached<S> {
    source: S,
    memory: RwLock<HashMap<CollateralKey, Arc<Collateral>>>,
    store: Option<sled::Tree>,
}

impl<S: CollateralSource> Cached<S> {
    /// Caches `source`, in `store` too when there is one.
    pub fn new(source: S, store: Option<sled::Tree>) -> Self {
        Self {
            source,
            memory: RwLock::default(),
            store,
        }
    }

    fn remembered(&self, key: &CollateralKey) -> Option<Arc<Collateral>> {
        self.memory
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .get(key)
            .cloned()
    }

    fn remember(&self, key: &CollateralKey, collateral: &Arc<Collateral>) {
        self.memory
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(key.clone(), Arc::clone(collateral));
    }

    fn stored(&self, key: &CollateralKey) -> Option<Arc<Collateral>> {
        let bytes = self.store.as_ref()?.get(store_key(key)).ok()??;
        let text = std::str::from_utf8(&bytes).ok()?;
        // A damaged entry is as good as none: it is fetched again.
        Collateral::from_json(text, "cache").ok().map(Arc::new)
    }

    fn store(&self, key: &CollateralKey, collateral: &Collateral) -> Result<(), CollateralError> {
        let Some(tree) = &self.store else {
            return Ok(());
        };
        tree.insert(store_key(key), collateral.to_json().as_bytes())
            .map(|_| ())
            .map_err(|error| CollateralError::Cache(error.to_string()))
    }
}

fn store_key(key: &CollateralKey) -> Vec<u8> {
    [&key.fmspc[..], key.ca.as_bytes()].concat()
}

fn seconds_left(collateral: &Collateral, now: u64) -> u64 {
    collateral.expires_at().unwrap_or(0).saturating_sub(now)
}

#[async_trait]
impl<S: CollateralSource> CollateralSource for Cached<S> {
    async fn collateral(
        &self,
        key: &CollateralKey,
        now: u64,
    ) -> Result<Arc<Collateral>, CollateralError> {
        let known = self.remembered(key).or_else(|| self.stored(key));
        if let Some(known) = &known
            && seconds_left(known, now) > REFRESH_BEFORE
        {
            self.remember(key, known);
            return Ok(Arc::clone(known));
        }
        match (self.source.collateral(key, now).await, known) {
            (Ok(fresh), _) => {
                self.store(key, &fresh)?;
                self.remember(key, &fresh);
                Ok(fresh)
            }
            // Still valid for a while: better than refusing everyone.
            (Err(error), Some(known)) if seconds_left(&known, now) > 0 => {
                tracing::warn!(%error, "collateral not refreshed; using what is still valid");
                Ok(known)
            }
            (Err(error), _) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const REAL: &str =
        include_str!("../../../../test/vectors/attest/tdx/dcapqvl-v4/collateral.json");
    const EXPIRES: u64 = 1_752_919_235;
    const KEY: CollateralKey = CollateralKey {
        fmspc: [0xb0, 0xc0, 0x6f, 0, 0, 0],
        ca: "platform",
    };

    /// Answers the first `good` times, then fails.
    #[derive(Debug)]
    struct Counting {
        good: u32,
        asked: Arc<AtomicU32>,
    }

    #[async_trait]
    impl CollateralSource for Counting {
        async fn collateral(
            &self,
            key: &CollateralKey,
            _: u64,
        ) -> Result<Arc<Collateral>, CollateralError> {
            if self.asked.fetch_add(1, Ordering::SeqCst) < self.good {
                return Collateral::from_json(REAL, "test").map(Arc::new);
            }
            Err(CollateralError::NotFound {
                fmspc: hex::encode(key.fmspc),
                ca: key.ca,
                place: "test".into(),
            })
        }
    }

    fn cached(good: u32, store: Option<sled::Tree>) -> (Cached<Counting>, Arc<AtomicU32>) {
        let asked = Arc::new(AtomicU32::new(0));
        (
            Cached::new(
                Counting {
                    good,
                    asked: Arc::clone(&asked),
                },
                store,
            ),
            asked,
        )
    }

    #[tokio::test]
    async fn valid_collateral_is_fetched_once_and_survives_a_restart() {
        let tree = sled::Config::new()
            .temporary(true)
            .open()
            .unwrap()
            .open_tree("c")
            .unwrap();
        let (first, asked) = cached(1, Some(tree.clone()));
        for _ in 0..3 {
            first
                .collateral(&KEY, EXPIRES - 10 * REFRESH_BEFORE)
                .await
                .unwrap();
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let (second, asked) = cached(0, Some(tree));
        second
            .collateral(&KEY, EXPIRES - 10 * REFRESH_BEFORE)
            .await
            .unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn near_expiry_it_is_refreshed_but_still_served_when_that_fails() {
        let (cache, asked) = cached(1, None);
        cache
            .collateral(&KEY, EXPIRES - 10 * REFRESH_BEFORE)
            .await
            .unwrap();
        cache.collateral(&KEY, EXPIRES - 60).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn expired_collateral_is_never_served() {
        let (cache, _) = cached(1, None);
        cache
            .collateral(&KEY, EXPIRES - 10 * REFRESH_BEFORE)
            .await
            .unwrap();
        assert!(cache.collateral(&KEY, EXPIRES + 1).await.is_err());
    }
}
