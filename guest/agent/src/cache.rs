//! What is made once and answered often: derived keys, and evidence that does not change.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bylaw_keys::{Algorithm, AppKey, AppKeyError, DerivedKey};
use lru::LruCache;

/// Most derived keys kept; each is a few hundred bytes, and wiped when it goes.
const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// Longer names are derived anew each time, so that no caller fills the memory.
const MAX_NAME: usize = 256;

type KeyName = (String, String, Algorithm);

/// Derived keys by path, purpose and algorithm. Deriving is two multiplications on the
/// curve; most apps ask for the same few keys over and over.
pub(crate) struct KeyCache {
    app_key: AppKey,
    keys: Mutex<LruCache<KeyName, Arc<DerivedKey>>>,
}

impl KeyCache {
    pub(crate) fn new(app_key: AppKey) -> Self {
        Self {
            app_key,
            keys: Mutex::new(LruCache::new(MAX_KEYS)),
        }
    }

    pub(crate) fn app_key(&self) -> &AppKey {
        &self.app_key
    }

    pub(crate) fn derive(
        &self,
        path: &str,
        purpose: &str,
        algorithm: Algorithm,
    ) -> Result<Arc<DerivedKey>, AppKeyError> {
        if path.len() + purpose.len() > MAX_NAME {
            return Ok(Arc::new(self.app_key.derive(path, purpose, algorithm)?));
        }
        let name = (path.to_owned(), purpose.to_owned(), algorithm);
        if let Some(known) = self.lock().get(&name) {
            return Ok(Arc::clone(known));
        }
        // Not under the lock: two callers may derive the same key, and get the same.
        let derived = Arc::new(self.app_key.derive(path, purpose, algorithm)?);
        self.lock().put(name, Arc::clone(&derived));
        Ok(derived)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<KeyName, Arc<DerivedKey>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyCache")
    }
}

/// A value that is made at most once per `keep_for`, however many ask at once.
#[derive(Debug)]
pub(crate) struct Recent<T> {
    keep_for: Duration,
    value: Mutex<Option<(Instant, Arc<T>)>>,
    making: tokio::sync::Mutex<()>,
}

impl<T> Recent<T> {
    pub(crate) fn new(keep_for: Duration) -> Self {
        Self {
            keep_for,
            value: Mutex::new(None),
            making: tokio::sync::Mutex::new(()),
        }
    }

    /// The value, made anew when it is too old.
    pub(crate) async fn get<E>(
        &self,
        make: impl Future<Output = Result<T, E>>,
    ) -> Result<Arc<T>, E> {
        if let Some(value) = self.fresh() {
            return Ok(value);
        }
        let _one = self.making.lock().await;
        if let Some(value) = self.fresh() {
            return Ok(value);
        }
        // Dated before it is made: what changes meanwhile is seen one period later.
        let since = Instant::now();
        let value = Arc::new(make.await?);
        *self.lock() = Some((since, Arc::clone(&value)));
        Ok(value)
    }

    /// Forgets it, because something changed.
    pub(crate) fn forget(&self) {
        *self.lock() = None;
    }

    fn fresh(&self) -> Option<Arc<T>> {
        let value = self.lock();
        let (since, value) = value.as_ref()?;
        (since.elapsed() < self.keep_for).then(|| Arc::clone(value))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Instant, Arc<T>)>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bylaw_keys::Secret;

    use super::*;

    #[test]
    fn a_kept_key_is_the_derived_key() {
        let secret = || Secret::from_slice(&[7; 32]).unwrap();
        let cache = KeyCache::new(AppKey::new(secret()).unwrap());
        let plain = AppKey::new(secret()).unwrap();
        let long = "x".repeat(MAX_NAME + 1);
        for (path, purpose) in [("a", ""), ("a", "b"), ("", "b"), (&long, "")] {
            for algorithm in [Algorithm::Secp256k1, Algorithm::Ed25519] {
                let expected = plain.derive(path, purpose, algorithm).unwrap();
                for _ in 0..2 {
                    let kept = cache.derive(path, purpose, algorithm).unwrap();
                    assert_eq!(kept.key, expected.key);
                    assert_eq!(kept.public, expected.public);
                    assert_eq!(kept.signature, expected.signature);
                }
            }
        }
        assert_eq!(cache.lock().len(), 6, "long names are not kept");
        for index in 0..2000 {
            let path = index.to_string();
            cache.derive(&path, "", Algorithm::Secp256k1).unwrap();
        }
        assert_eq!(cache.lock().len(), MAX_KEYS.get());
    }

    #[tokio::test]
    async fn many_who_ask_at_once_cause_one_making() {
        let made = AtomicUsize::new(0);
        let recent = Recent::new(Duration::from_secs(60));
        let make = async || {
            tokio::task::yield_now().await;
            Ok::<_, ()>(made.fetch_add(1, Ordering::Relaxed))
        };
        let all = futures::future::join_all((0..10).map(|_| recent.get(make()))).await;
        assert!(all.into_iter().all(|value| *value.unwrap() == 0));
        recent.forget();
        assert_eq!(*recent.get(make()).await.unwrap(), 1);
        let failing = Recent::<u8>::new(Duration::ZERO);
        assert_eq!(failing.get(async { Err::<u8, _>("no") }).await, Err("no"));
    }
}
