//! What holds and what waits, as one picture at one block.

use alloy::primitives::{Address, B256};
use bylaw_chain::abi::policy_interface;
use serde::Serialize;

use crate::abi::{PendingChange, VersionInfo, Views};
use crate::chain::At;
use crate::{Authority, Chain, GovError, text};

/// Which interface a contract speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Ours: delays, guardian, versions.
    Bylaw,
    /// dstack's: every change is immediate.
    Dstack,
    /// Somebody's own.
    Custom,
}

/// An owner, for people and pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OwnerView {
    /// Address.
    pub address: Address,
    /// `safe`, `account`, `timelock`, `contract` or `nobody`.
    pub kind: &'static str,
    /// Signatures needed; 0 where that is no question.
    pub threshold: u64,
    /// Who may sign.
    pub signers: Vec<Address>,
    /// Seconds a timelock waits.
    pub min_delay: u64,
}

impl From<&Authority> for OwnerView {
    fn from(authority: &Authority) -> Self {
        let mut view = Self {
            address: authority.address(),
            kind: "nobody",
            threshold: 0,
            signers: vec![],
            min_delay: 0,
        };
        match authority {
            Authority::Nobody => {}
            Authority::Account { address } => {
                view.kind = "account";
                view.threshold = 1;
                view.signers = vec![*address];
            }
            Authority::Safe {
                threshold, owners, ..
            } => {
                view.kind = "safe";
                view.threshold = *threshold;
                view.signers.clone_from(owners);
            }
            Authority::Timelock { min_delay, .. } => {
                view.kind = "timelock";
                view.min_delay = *min_delay;
            }
            Authority::Contract { .. } => view.kind = "contract",
        }
        view
    }
}

/// A change that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PendingView {
    /// What `veto` takes.
    pub id: B256,
    /// In words.
    pub title: String,
    /// More words.
    pub detail: String,
    /// Unix seconds.
    pub activates_at: u64,
    /// The version it adds.
    pub compose_hash: Option<B256>,
}

impl From<&PendingChange> for PendingView {
    fn from(change: &PendingChange) -> Self {
        let text = text::pending(change);
        Self {
            id: change.id,
            title: text.title,
            detail: text.detail,
            activates_at: change.activatesAt,
            compose_hash: text.compose_hash,
        }
    }
}

/// A version of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VersionView {
    /// Place in the order.
    pub number: u32,
    /// What it runs.
    pub compose_hash: B256,
    /// `active`, `pending`, `expired`, `retired` or `removed`.
    pub state: String,
    /// It may run.
    pub allowed: bool,
    /// Unix seconds.
    pub activates_at: u64,
    /// Unix seconds; 0 for never.
    pub expires_at: u64,
    /// Where people read about it.
    pub note: String,
}

impl From<VersionInfo> for VersionView {
    fn from(info: VersionInfo) -> Self {
        Self {
            number: info.number,
            compose_hash: info.composeHash,
            state: info.state,
            allowed: info.allowed,
            activates_at: info.activatesAt,
            expires_at: info.expiresAt,
            note: info.noteUri,
        }
    }
}

/// One rule of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyRule {
    /// What it is about.
    pub rule: &'static str,
    /// What it demands.
    pub value: String,
}

/// An app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppView {
    /// App id.
    pub id: Address,
    /// Which interface it speaks.
    pub kind: Kind,
    /// Who decides.
    pub owner: OwnerView,
    /// Who may veto and pause.
    pub guardian: Option<Address>,
    /// Seconds that widenings wait.
    pub delay: u64,
    /// It may ask for keys at all.
    pub registered: bool,
    /// Its own contract withholds keys.
    pub paused: bool,
    /// The KMS contract withholds keys.
    pub paused_at_kms: bool,
    /// No version can be added any more.
    pub versions_frozen: bool,
    /// The code can never be replaced.
    pub upgrades_disabled: bool,
    /// What it demands of VMs.
    pub policy: Vec<PolicyRule>,
    /// Oldest first.
    pub versions: Vec<VersionView>,
    /// What waits.
    pub pending: Vec<PendingView>,
}

/// A KMS node on the roster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeView {
    /// URL.
    pub endpoint: String,
    /// Hex of the DER SubjectPublicKeyInfo.
    pub public_key: String,
    /// SHA-256 of its evidence.
    pub evidence_hash: B256,
}

/// The KMS contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KmsView {
    /// Address.
    pub address: Address,
    /// Which interface it speaks.
    pub kind: Kind,
    /// Who decides.
    pub owner: OwnerView,
    /// Who may veto, and pause apps.
    pub guardian: Option<Address>,
    /// Seconds that widenings wait.
    pub delay: u64,
    /// The code can never be replaced.
    pub upgrades_disabled: bool,
    /// The gateway.
    pub gateway_app_id: String,
    /// What waits.
    pub pending: Vec<PendingView>,
    /// Where KMS nodes answer.
    pub nodes: Vec<NodeView>,
}

/// Most versions read; more would not fit on a page.
const MAX_VERSIONS: u32 = 1_000;
const PAGE: u32 = 50;

impl Chain {
    /// Which interface the contract speaks.
    ///
    /// # Errors
    /// [`GovError::Endpoint`].
    pub async fn kind(&self, at: At, address: Address) -> Result<Kind, GovError> {
        let supports = |interface: alloy::primitives::FixedBytes<4>| {
            let call = Views::supportsInterfaceCall {
                interfaceId: interface,
            };
            self.ask(at, address, call)
        };
        let has_delay = self.ask(at, address, Views::delayCall {}).await?.is_some();
        if has_delay && supports(policy_interface()).await? == Some(true) {
            return Ok(Kind::Bylaw);
        }
        let owned = self.ask(at, address, Views::ownerCall {}).await?.is_some();
        let asked = Views::allowedComposeHashesCall {
            composeHash: B256::ZERO,
        };
        let lists = self.ask(at, address, asked).await?.is_some();
        let asked = Views::allowedOsImagesCall {
            osImageHash: B256::ZERO,
        };
        let images = self.ask(at, address, asked).await?.is_some();
        Ok(if owned && (lists || images) {
            Kind::Dstack
        } else {
            Kind::Custom
        })
    }

    /// Who decides for a contract; nobody when it says nothing about that.
    ///
    /// # Errors
    /// [`GovError::Endpoint`].
    pub async fn owner_of(&self, at: At, contract: Address) -> Result<Authority, GovError> {
        let owner = self.ask(at, contract, Views::ownerCall {}).await?;
        self.authority(at, owner.unwrap_or_default()).await
    }

    /// Who may veto, if anybody.
    ///
    /// # Errors
    /// [`GovError::Endpoint`].
    pub async fn guardian_of(
        &self,
        at: At,
        contract: Address,
    ) -> Result<Option<Address>, GovError> {
        let guardian = self.ask(at, contract, Views::guardianCall {}).await?;
        Ok(guardian.filter(|guardian| !guardian.is_zero()))
    }

    /// Seconds that widenings wait; 0 where there is no delay.
    ///
    /// # Errors
    /// [`GovError::Endpoint`].
    pub async fn delay_of(&self, at: At, contract: Address) -> Result<u64, GovError> {
        let delay = self.ask(at, contract, Views::delayCall {}).await?;
        Ok(delay.unwrap_or_default().into())
    }

    /// What waits.
    ///
    /// # Errors
    /// [`GovError::Endpoint`].
    pub async fn pending(&self, at: At, contract: Address) -> Result<Vec<PendingView>, GovError> {
        let pending = self
            .ask(at, contract, Views::pendingChangesCall {})
            .await?
            .unwrap_or_default();
        let mut pending: Vec<PendingView> = pending.iter().map(PendingView::from).collect();
        pending.sort_by_key(|change| change.activates_at);
        Ok(pending)
    }

    /// Every version, as it will be at `time`; 0 for now. Nothing for other contracts.
    ///
    /// # Errors
    /// [`GovError::Endpoint`].
    pub async fn versions(
        &self,
        at: At,
        app: Address,
        time: u64,
    ) -> Result<Vec<VersionView>, GovError> {
        let count = self.ask(at, app, Views::versionCountCall {}).await?;
        let count = count.unwrap_or_default();
        let mut from = count.saturating_sub(MAX_VERSIONS) + 1;
        let mut versions = Vec::new();
        while from <= count {
            let call = Views::versionsCall {
                from,
                count: PAGE,
                time,
            };
            let page = self.need(at, app, "versions", call).await?;
            versions.extend(page.into_iter().map(VersionView::from));
            from += PAGE;
        }
        Ok(versions)
    }

    /// What an app demands, as rules.
    async fn policy_rules(&self, at: At, app: Address) -> Result<Vec<PolicyRule>, GovError> {
        let rule = |(rule, value)| PolicyRule { rule, value };
        if let Some(policy) = self.ask(at, app, Views::policyCall { time: 0 }).await? {
            return Ok(text::policy_lines(&policy).into_iter().map(rule).collect());
        }
        let mut rules = Vec::new();
        if let Some(any) = self.ask(at, app, Views::allowAnyDeviceCall {}).await? {
            let devices = if any { "any" } else { "those listed" };
            rules.push(rule(("devices", devices.to_owned())));
        }
        let strict = self.ask(at, app, Views::requireTcbUpToDateCall {}).await?;
        if let Some(strict) = strict {
            let statuses = if strict { "UpToDate" } else { "any" };
            rules.push(rule(("TCB statuses", statuses.to_owned())));
        }
        Ok(rules)
    }

    /// An app, whatever its contract speaks.
    ///
    /// # Errors
    /// [`GovError::Endpoint`].
    pub async fn app(&self, at: At, kms: Address, app: Address) -> Result<AppView, GovError> {
        let flag = |answer: Option<bool>| answer.unwrap_or_default();
        let registered = Views::registeredAppsCall { appId: app };
        let paused_at_kms = Views::pausedAppsCall { appId: app };
        Ok(AppView {
            id: app,
            kind: self.kind(at, app).await?,
            owner: OwnerView::from(&self.owner_of(at, app).await?),
            guardian: self.guardian_of(at, app).await?,
            delay: self.delay_of(at, app).await?,
            registered: flag(self.ask(at, kms, registered).await?),
            paused: flag(self.ask(at, app, Views::pausedCall {}).await?),
            paused_at_kms: flag(self.ask(at, kms, paused_at_kms).await?),
            versions_frozen: flag(self.ask(at, app, Views::versionsFrozenCall {}).await?),
            upgrades_disabled: flag(self.ask(at, app, Views::upgradesDisabledCall {}).await?),
            policy: self.policy_rules(at, app).await?,
            versions: self.versions(at, app, 0).await?,
            pending: self.pending(at, app).await?,
        })
    }

    /// The KMS contract.
    ///
    /// # Errors
    /// [`GovError::Endpoint`].
    pub async fn kms(&self, at: At, kms: Address) -> Result<KmsView, GovError> {
        let gateway = self.ask(at, kms, Views::gatewayAppIdCall {}).await?;
        let disabled = self.ask(at, kms, Views::upgradesDisabledCall {}).await?;
        let nodes = self.ask(at, kms, Views::kmsNodesCall {}).await?;
        let nodes = nodes.map(|answer| answer.nodes).unwrap_or_default();
        Ok(KmsView {
            address: kms,
            kind: self.kind(at, kms).await?,
            owner: OwnerView::from(&self.owner_of(at, kms).await?),
            guardian: self.guardian_of(at, kms).await?,
            delay: self.delay_of(at, kms).await?,
            upgrades_disabled: disabled.unwrap_or_default(),
            gateway_app_id: gateway.unwrap_or_default(),
            pending: self.pending(at, kms).await?,
            nodes: nodes
                .into_iter()
                .map(|node| NodeView {
                    endpoint: node.endpoint,
                    public_key: hex::encode(node.publicKey),
                    evidence_hash: node.evidenceHash,
                })
                .collect(),
        })
    }
}
