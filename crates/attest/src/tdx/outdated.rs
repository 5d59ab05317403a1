//! Since when a platform is out of date.

use dcap_qvl::configs::RingConfig;
use dcap_qvl::policy::{Policy, QuoteClaims};
use dcap_qvl::qe_identity::QeIdentity;
use dcap_qvl::tcb_info::{TcbInfo, TcbStatus};
use dcap_qvl::verify::QuoteVerifier;

use super::{QuoteError, classify};
use crate::TrustAnchors;
use crate::collateral::Collateral;

/// Judges nothing: what is acceptable is decided elsewhere, see [`super::verify`].
struct Anything;

impl Policy for Anything {
    fn validate(&self, _: &QuoteClaims) -> anyhow::Result<()> {
        Ok(())
    }
}

/// When the vendor published the first level, of platform or quoting enclave, that is
/// newer than the one this quote reaches; Unix seconds.
///
/// Several may have been published since; the first one began the platform's being out
/// of date. `None` when the collateral lists no newer level.
pub(super) fn since(
    quote: &[u8],
    anchors: &TrustAnchors,
    collateral: &Collateral,
    now: u64,
) -> Result<Option<u64>, QuoteError> {
    let signed = collateral.as_quote_collateral();
    let claims = QuoteVerifier::<RingConfig>::new_with_config(anchors.tdx_root().to_vec())
        .verify_with_policy(quote, signed.clone(), now, &Anything)
        .map_err(|error| classify(&format!("{error:#}")))?;
    let malformed = |error: serde_json::Error| QuoteError::Collateral(error.to_string());
    let mut newer = Vec::new();
    if is_outdated(claims.platform.tcb_level.tcb_status) {
        let info: TcbInfo = serde_json::from_str(&signed.tcb_info).map_err(malformed)?;
        let platform = info.tcb_levels.iter().map(|level| &level.tcb_date);
        let module = info
            .tdx_module_identities
            .iter()
            .flat_map(|identity| identity.tcb_levels.iter().map(|level| &level.tcb_date));
        let reached = &claims.platform.tcb_level.tcb_date;
        newer.extend(after(reached, platform.chain(module)));
    }
    if is_outdated(claims.qe.tcb_level.tcb_status) {
        let identity: QeIdentity = serde_json::from_str(&signed.qe_identity).map_err(malformed)?;
        let levels = identity.tcb_levels.iter().map(|level| &level.tcb_date);
        newer.extend(after(&claims.qe.tcb_level.tcb_date, levels));
    }
    Ok(newer.into_iter().min())
}

fn is_outdated(status: TcbStatus) -> bool {
    matches!(
        status,
        TcbStatus::OutOfDate | TcbStatus::OutOfDateConfigurationNeeded
    )
}

/// The first of `dates` after `reached`.
fn after<'a>(reached: &str, dates: impl Iterator<Item = &'a String>) -> Option<u64> {
    let reached = unix(reached)?;
    dates
        .filter_map(|date| unix(date))
        .filter(|date| *date > reached)
        .min()
}

fn unix(rfc3339: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(rfc3339).ok()?;
    Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_newer_level_counts() {
        let dates = [
            "2024-11-13T00:00:00Z",
            "2024-03-13T00:00:00Z",
            "2023-08-09T00:00:00Z",
            "not a date",
        ]
        .map(str::to_owned);
        let since = |reached: &str| after(reached, dates.iter());
        assert_eq!(since("2023-08-09T00:00:00Z"), unix("2024-03-13T00:00:00Z"));
        assert_eq!(since("2024-03-13T00:00:00Z"), unix("2024-11-13T00:00:00Z"));
        assert_eq!(since("2024-11-13T00:00:00Z"), None);
        assert_eq!(since("yesterday"), None);
    }
}
