//! The one place that asks what time it is.
//!
//! Everything that judges validity takes a time as an argument; only the
//! outermost layer reads it, through [`Clock`], so that an expired certificate
//! is a plain test.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch, from the system or fixed.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(Arc::new(|| {
            #[expect(clippy::disallowed_methods, reason = "this is the clock")]
            let now = SystemTime::now();
            // A clock before 1970 makes every certificate "not yet valid": fails closed.
            now.duration_since(UNIX_EPOCH)
                .map_or(0, |elapsed| elapsed.as_secs())
        }))
    }

    /// A clock that stands still at `unix_seconds`.
    pub fn fixed(unix_seconds: u64) -> Self {
        Self(Arc::new(move || unix_seconds))
    }

    /// A clock that reads `source`.
    pub fn from_fn(source: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// Seconds since the Unix epoch.
    pub fn now_unix(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
