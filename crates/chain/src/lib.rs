//! The policy as the chain states it.
//!
//! [`PolicySource`] asks one question a method; every answer carries the block it
//! is true at. [`RpcPolicy`] answers by view calls pinned to one agreed block of
//! JSON-RPC endpoints. Anything that is not a certain yes is a [`Denial`] (the
//! contract said no) or a [`Doubt`] (nobody could say).

pub mod abi;
mod configuration;
pub mod contracts;
mod decision;
mod doubt;
mod quorum;
mod rpc_policy;
mod settings;

use async_trait::async_trait;
use bylaw_types::{AppId, BootInfo, ChainId, ContractAddress, PlatformFacts};
pub use configuration::{BadChainSetting, ChainSettings};
pub use decision::{Allowance, Block, Decision, Denial};
pub use doubt::Doubt;
pub use quorum::{http_client, redact};
pub use rpc_policy::{Finality, RpcConfig, RpcPolicy};
pub use settings::{AppSettings, Explanation, KmsInfo, KmsSettings, RuleVerdict};

/// Where the policy comes from.
#[async_trait]
pub trait PolicySource: std::fmt::Debug + Send + Sync {
    /// The chain.
    fn chain_id(&self) -> ChainId;

    /// Address of `KmsAuth`.
    fn kms_auth(&self) -> ContractAddress;

    /// May this app run and have its keys? A contract that speaks only dstack's
    /// interface is asked without the facts.
    ///
    /// # Errors
    /// [`Doubt`]: neither yes nor no.
    async fn decide_app(
        &self,
        boot_info: BootInfo,
        facts: PlatformFacts,
    ) -> Result<Decision, Doubt>;

    /// May this KMS serve, or have the root keys?
    ///
    /// # Errors
    /// [`Doubt`]: neither yes nor no.
    async fn decide_kms(&self, boot_info: BootInfo) -> Result<Decision, Doubt>;

    /// What the contract says about the KMS.
    ///
    /// # Errors
    /// [`Doubt`].
    async fn kms_settings(&self) -> Result<KmsSettings, Doubt>;

    /// What the contracts say about this app and these measurements, rule by rule.
    ///
    /// # Errors
    /// [`Doubt`].
    async fn app_settings(&self, boot_info: &BootInfo) -> Result<AppSettings, Doubt>;

    /// Every rule with its verdict on this app. For contracts that speak only dstack's
    /// interface the rules are read off their lists.
    ///
    /// # Errors
    /// [`Doubt`].
    async fn explain_app(
        &self,
        boot_info: &BootInfo,
        facts: &PlatformFacts,
    ) -> Result<Explanation, Doubt>;

    /// Whether an app is registered.
    ///
    /// # Errors
    /// [`Doubt`].
    async fn is_registered(&self, app_id: &AppId) -> Result<(bool, Block), Doubt>;
}
