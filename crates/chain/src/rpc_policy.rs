//! [`PolicySource`] by view calls on JSON-RPC endpoints.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::{Address, Bytes};
use alloy::sol_types::SolCall;
use async_trait::async_trait;
use bylaw_types::clock::Clock;
use bylaw_types::{AppId, BootInfo, ChainId, ContractAddress};
use tokio::sync::Mutex;

use crate::abi::{AppBootInfo, IApp, IKms};
use crate::quorum::{Answer, Head, Quorum};
use crate::settings::{AppRules, AppSettings, KmsInfo, KmsSettings};
use crate::{Allowance, Block, Decision, Denial, Doubt, PolicySource};

/// Which block decisions are made at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finality {
    /// The chain's `finalized` block.
    Finalized,
    /// This many blocks below the head, for chains without finality.
    Confirmations(u64),
}

/// How the policy is read.
#[derive(Debug, Clone)]
pub struct RpcConfig {
    /// JSON-RPC endpoints.
    pub urls: Vec<String>,
    /// How many must agree on block and answer.
    pub agreement: usize,
    /// EIP-155 id every endpoint must report.
    pub chain_id: ChainId,
    /// Address of `KmsAuth`.
    pub kms_auth: ContractAddress,
    /// Which block decisions are made at.
    pub finality: Finality,
    /// Oldest block a decision may rest on.
    pub max_head_age: Duration,
    /// Longest wait for one request.
    pub timeout: Duration,
}

/// How long an agreed block is used before endpoints are asked for a newer one.
pub(crate) const HEAD_FOR: Duration = Duration::from_millis(500);
/// Blocks are dated by their proposers; clocks differ a little.
const MAX_AHEAD_SECONDS: u64 = 60;
/// Most answers kept for one block.
const MAX_ANSWERS: usize = 4096;

/// The policy as JSON-RPC endpoints state it.
#[derive(Debug)]
pub struct RpcPolicy {
    quorum: Quorum,
    config: RpcConfig,
    clock: Clock,
    /// Answers at one block never change, so they are kept as long as the block is.
    current: Mutex<Option<Arc<Current>>>,
}

#[derive(Debug)]
struct Current {
    head: Head,
    fetched: Instant,
    answers: Mutex<HashMap<(Address, Bytes), Answer>>,
}

impl RpcPolicy {
    /// A policy that has not asked anything yet.
    ///
    /// # Errors
    /// [`Doubt::Configuration`].
    pub fn new(config: RpcConfig, clock: Clock) -> Result<Self, Doubt> {
        let quorum = Quorum::new(
            &config.urls,
            config.agreement,
            config.chain_id,
            config.finality,
            config.timeout,
        )?;
        Ok(Self {
            quorum,
            config,
            clock,
            current: Mutex::new(None),
        })
    }

    async fn current(&self) -> Result<Arc<Current>, Doubt> {
        let mut slot = self.current.lock().await;
        if let Some(current) = slot.as_ref()
            && current.fetched.elapsed() < HEAD_FOR
        {
            self.check_age(&current.head.block)?;
            return Ok(Arc::clone(current));
        }
        let head = self.quorum.head().await?;
        self.check_age(&head.block)?;
        let same = slot.take().filter(|known| known.head.block == head.block);
        let answers = match same {
            Some(known) => std::mem::take(&mut *known.answers.lock().await),
            None => HashMap::new(),
        };
        let fetched = Instant::now();
        let current = Arc::new(Current {
            head,
            fetched,
            answers: Mutex::new(answers),
        });
        *slot = Some(Arc::clone(&current));
        Ok(current)
    }

    fn check_age(&self, block: &Block) -> Result<(), Doubt> {
        let now = self.clock.now_unix();
        let max = self.config.max_head_age.as_secs();
        let age = now.saturating_sub(block.timestamp);
        if age > max {
            return Err(Doubt::HeadTooOld {
                number: block.number,
                age,
                max,
            });
        }
        let ahead = block.timestamp.saturating_sub(now);
        if ahead > MAX_AHEAD_SECONDS {
            return Err(Doubt::HeadInFuture {
                number: block.number,
                ahead,
            });
        }
        Ok(())
    }

    fn kms(&self) -> Address {
        Address::from(self.config.kms_auth.to_bytes())
    }

    async fn answer(&self, at: &Current, to: Address, data: Bytes) -> Result<Answer, Doubt> {
        let key = (to, data.clone());
        if let Some(answer) = at.answers.lock().await.get(&key) {
            return Ok(answer.clone());
        }
        let answer = self.quorum.call(&at.head, to, data).await?;
        let mut answers = at.answers.lock().await;
        if answers.len() < MAX_ANSWERS {
            answers.insert(key, answer.clone());
        }
        Ok(answer)
    }

    async fn call<C: SolCall>(
        &self,
        at: &Current,
        to: Address,
        call: C,
    ) -> Result<C::Return, Doubt> {
        match self.answer(at, to, call.abi_encode().into()).await? {
            Answer::Data(data) if data.is_empty() => {
                Err(Doubt::NoContract(ContractAddress::new(to.into_array())))
            }
            Answer::Data(data) => {
                C::abi_decode_returns(&data).map_err(|error| Doubt::MalformedAnswer {
                    url: format!("contract {to}"),
                    reason: error.to_string(),
                })
            }
            Answer::Revert(reason) => Err(Doubt::Reverted(reason)),
        }
    }

    async fn decide(
        &self,
        boot_info: BootInfo,
        ask: impl AsyncFnOnce(&Current, AppBootInfo) -> Result<(bool, String), Doubt>,
    ) -> Result<Decision, Doubt> {
        let at = self.current().await?;
        let (is_allowed, reason) = ask(&at, AppBootInfo::from(&boot_info)).await?;
        let block = at.head.block;
        if !is_allowed {
            let kms_auth = self.config.kms_auth;
            return Ok(Decision::Deny(Denial {
                reason,
                kms_auth,
                boot_info,
                block,
            }));
        }
        let gateway_app_id = self
            .call(&at, self.kms(), IKms::gatewayAppIdCall {})
            .await?;
        Ok(Decision::Allow(Allowance {
            boot_info,
            block,
            gateway_app_id,
        }))
    }
}

#[async_trait]
impl PolicySource for RpcPolicy {
    fn chain_id(&self) -> ChainId {
        self.config.chain_id
    }

    fn kms_auth(&self) -> ContractAddress {
        self.config.kms_auth
    }

    async fn decide_app(&self, boot_info: BootInfo) -> Result<Decision, Doubt> {
        self.decide(boot_info, async |at, info| {
            let said = self
                .call(at, self.kms(), IKms::isAppAllowedCall { info })
                .await?;
            Ok((said.isAllowed, said.reason))
        })
        .await
    }

    async fn decide_kms(&self, boot_info: BootInfo) -> Result<Decision, Doubt> {
        self.decide(boot_info, async |at, info| {
            let said = self
                .call(at, self.kms(), IKms::isKmsAllowedCall { info })
                .await?;
            Ok((said.isAllowed, said.reason))
        })
        .await
    }

    async fn kms_settings(&self) -> Result<KmsSettings, Doubt> {
        let at = self.current().await?;
        let kms = self.kms();
        let info = self.call(&at, kms, IKms::kmsInfoCall {}).await?;
        let address = |address: Address| ContractAddress::new(address.into_array());
        Ok(KmsSettings {
            block: at.head.block,
            info: KmsInfo {
                k256_public: info.k256Pubkey.to_vec(),
                ca_spki_der: info.caPubkey.to_vec(),
            },
            gateway_app_id: self.call(&at, kms, IKms::gatewayAppIdCall {}).await?,
            app_implementation: address(self.call(&at, kms, IKms::appImplementationCall {}).await?),
            owner: address(self.call(&at, kms, IKms::ownerCall {}).await?),
        })
    }

    async fn app_settings(&self, boot_info: &BootInfo) -> Result<AppSettings, Doubt> {
        let at = self.current().await?;
        let info = AppBootInfo::from(boot_info);
        let (kms, app) = (self.kms(), info.appId);
        let hash = info.osImageHash;
        let registered = self
            .call(&at, kms, IKms::registeredAppsCall { app })
            .await?;
        let os_image_allowed = self
            .call(&at, kms, IKms::allowedOsImagesCall { hash })
            .await?;
        let rules = self.rules(&at, app, &info).await;
        let (deployed, rules) = match rules {
            Ok(rules) => (true, Some(rules)),
            Err(Doubt::NoContract(_)) => (false, None),
            // A contract of its own making need not have these views.
            Err(Doubt::Reverted(_) | Doubt::MalformedAnswer { .. }) => (true, None),
            Err(doubt) => return Err(doubt),
        };
        Ok(AppSettings {
            block: at.head.block,
            registered,
            os_image_allowed,
            deployed,
            rules,
        })
    }

    async fn is_registered(&self, app_id: &AppId) -> Result<(bool, Block), Doubt> {
        let at = self.current().await?;
        let app = Address::from(app_id.to_bytes());
        let registered = self
            .call(&at, self.kms(), IKms::registeredAppsCall { app })
            .await?;
        Ok((registered, at.head.block))
    }
}

impl RpcPolicy {
    async fn rules(
        &self,
        at: &Current,
        app: Address,
        info: &AppBootInfo,
    ) -> Result<AppRules, Doubt> {
        let owner = self.call(at, app, IApp::ownerCall {}).await?;
        let compose = IApp::allowedComposeHashesCall {
            hash: info.composeHash,
        };
        let device = IApp::allowedDeviceIdsCall {
            device: info.deviceId,
        };
        Ok(AppRules {
            owner: ContractAddress::new(owner.into_array()),
            compose_allowed: self.call(at, app, compose).await?,
            allow_any_device: self.call(at, app, IApp::allowAnyDeviceCall {}).await?,
            device_allowed: self.call(at, app, device).await?,
            require_tcb_up_to_date: self.call(at, app, IApp::requireTcbUpToDateCall {}).await?,
        })
    }
}
