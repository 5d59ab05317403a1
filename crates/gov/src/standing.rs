//! Whether an app may start, as far as that can be said before it boots.

use alloy::primitives::{Address, B256};
use serde::Serialize;

use crate::abi::Views;
use crate::chain::At;
use crate::views::{Kind, PendingView, VersionView};
use crate::{Chain, GovError, text};

/// What would run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// The app's contract.
    pub app: Address,
    /// Of its app-compose.json.
    pub compose_hash: B256,
    /// Of the guest image.
    pub os_image_hash: B256,
}

/// What the contracts say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing that is known before boot stands against it.
    Allowed,
    /// Not yet; the change that allows it is scheduled.
    Pending,
    /// No.
    Refused,
    /// A contract of somebody's own decides when it boots.
    Unknown,
}

/// A verdict with its reason. Device and TCB are judged only when the app boots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The verdict.
    pub state: State,
    /// A sentence.
    pub reason: String,
    /// Unix seconds, when [`State::Pending`].
    pub activates_at: Option<u64>,
}

impl Standing {
    fn new(state: State, reason: impl Into<String>) -> Self {
        Self {
            state,
            reason: reason.into(),
            activates_at: None,
        }
    }

    fn refused(reason: impl Into<String>) -> Self {
        Self::new(State::Refused, reason)
    }

    fn pending(what: &str, activates_at: u64) -> Self {
        Self {
            state: State::Pending,
            reason: format!("{what} takes effect at {}", text::time(activates_at)),
            activates_at: Some(activates_at),
        }
    }
}

impl Chain {
    /// What the contracts say about a launch.
    ///
    /// # Errors
    /// [`GovError::Endpoint`].
    pub async fn standing(
        &self,
        at: At,
        kms: Address,
        launch: Launch,
    ) -> Result<Standing, GovError> {
        let Launch {
            app, compose_hash, ..
        } = launch;
        let registered = Views::registeredAppsCall { appId: app };
        if self.ask(at, kms, registered).await? != Some(true) {
            return Ok(Standing::refused(format!(
                "app {app} is not registered with KmsAuth {kms}"
            )));
        }
        let paused_at_kms = Views::pausedAppsCall { appId: app };
        if self.ask(at, app, Views::pausedCall {}).await? == Some(true)
            || self.ask(at, kms, paused_at_kms).await? == Some(true)
        {
            return Ok(Standing::refused("the app is paused"));
        }
        if let Some(image) = self.image_standing(at, kms, launch.os_image_hash).await? {
            return Ok(image);
        }
        let asked = Views::allowedComposeHashesCall {
            composeHash: compose_hash,
        };
        let listed = self.ask(at, app, asked).await?;
        Ok(match self.kind(at, app).await? {
            Kind::Bylaw => of_versions(&self.versions(at, app, 0).await?, compose_hash),
            Kind::Dstack if listed == Some(true) => {
                Standing::new(State::Allowed, "the app's contract lists this compose hash")
            }
            Kind::Dstack => Standing::refused(not_listed(compose_hash)),
            Kind::Custom => Standing::new(
                State::Unknown,
                "the app's contract is its owner's own: it decides when the app boots",
            ),
        })
    }

    /// What stands against the image; `None` when it is allowed.
    async fn image_standing(
        &self,
        at: At,
        kms: Address,
        image: B256,
    ) -> Result<Option<Standing>, GovError> {
        let asked = Views::allowedOsImagesCall { osImageHash: image };
        if self.ask(at, kms, asked).await? == Some(true) {
            return Ok(None);
        }
        Ok(Some(
            match waiting_for(&self.pending(at, kms).await?, image) {
                Some(pending) => Standing::pending("the OS image", pending.activates_at),
                None => Standing::refused(format!("KmsAuth does not allow OS image {image}")),
            },
        ))
    }
}

/// The change that is about this hash.
fn waiting_for(pending: &[PendingView], hash: B256) -> Option<&PendingView> {
    let hash = hash.to_string();
    pending
        .iter()
        .find(|change| change.title.contains(&hash) || change.detail.contains(&hash))
}

fn not_listed(hash: B256) -> String {
    format!("the app's contract does not allow compose hash {hash}")
}

/// The newest version of this compose decides.
fn of_versions(versions: &[VersionView], hash: B256) -> Standing {
    let Some(version) = versions
        .iter()
        .filter(|version| version.compose_hash == hash)
        .max_by_key(|version| (version.allowed, version.number))
    else {
        return Standing::refused(not_listed(hash));
    };
    let number = version.number;
    if version.allowed {
        return Standing::new(State::Allowed, format!("version {number} is active"));
    }
    if version.state == "pending" {
        return Standing::pending(&format!("version {number}"), version.activates_at);
    }
    Standing::refused(format!("version {number} is {}", version.state))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u32, state: &str, allowed: bool) -> VersionView {
        VersionView {
            number,
            compose_hash: B256::repeat_byte(1),
            state: state.to_owned(),
            allowed,
            activates_at: 1_800_000_000,
            expires_at: 0,
            note: String::new(),
        }
    }

    #[test]
    fn the_version_that_may_run_decides_else_the_newest() {
        let hash = B256::repeat_byte(1);
        let state = |versions: &[VersionView]| of_versions(versions, hash);
        assert_eq!(state(&[]).state, State::Refused);
        assert_eq!(state(&[version(1, "active", true)]).state, State::Allowed);
        let waits = state(&[version(1, "pending", false)]);
        assert_eq!(waits.state, State::Pending);
        assert_eq!(waits.activates_at, Some(1_800_000_000));
        let retired = state(&[version(2, "retired", false)]);
        assert_eq!(retired.state, State::Refused);
        assert!(retired.reason.contains("version 2 is retired"));
        let again = state(&[version(1, "retired", false), version(3, "active", true)]);
        assert_eq!(again.state, State::Allowed);
        let other = of_versions(&[version(1, "active", true)], B256::repeat_byte(2));
        assert_eq!(other.state, State::Refused);
    }
}
