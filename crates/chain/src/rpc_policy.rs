//! [`PolicySource`] by view calls on JSON-RPC endpoints.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::{Address, Bytes};
use alloy::sol_types::SolCall;
use async_trait::async_trait;
use bylaw_types::clock::Clock;
use bylaw_types::{AppId, BootInfo, ChainId, ContractAddress, PlatformFacts};
use futures::future::join_all;
use tokio::sync::Mutex;

use crate::abi::{AppBootInfo, Facts, IApp, IKms, policy_interface};
use crate::quorum::{Answer, Head, Quorum};
use crate::settings::{AppRules, AppSettings, Explanation, KmsInfo, KmsSettings, RuleVerdict};
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
/// Facts state the time in steps of this many seconds, rounded up: older is stricter.
const ASKED_EVERY: u64 = 2;
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
    /// The same for the newest blocks that the endpoints know, which need not be one.
    newest: Mutex<Vec<Arc<Current>>>,
}

/// What `KmsAuth` is asked.
#[derive(Debug)]
enum Question {
    App(Facts),
    Kms,
}

#[derive(Debug)]
struct Current {
    head: Head,
    fetched: Instant,
    answers: Mutex<HashMap<(Address, Bytes), Answer>>,
}

impl Current {
    /// What is known at `head`: the answers so far, if it is one of `known`, which was
    /// asked of the same endpoints.
    async fn new(head: Head, known: &[Arc<Self>]) -> Arc<Self> {
        let answers = match known.iter().find(|known| known.head == head) {
            Some(known) => std::mem::take(&mut *known.answers.lock().await),
            None => HashMap::new(),
        };
        Arc::new(Self {
            head,
            fetched: Instant::now(),
            answers: Mutex::new(answers),
        })
    }
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
            newest: Mutex::default(),
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
        let current = Current::new(head, slot.as_slice()).await;
        *slot = Some(Arc::clone(&current));
        Ok(current)
    }

    /// The newest blocks, at most [`HEAD_FOR`] old; one for each that an endpoint holds
    /// to be the newest.
    async fn newest(&self) -> Result<Vec<Arc<Current>>, Doubt> {
        let mut slot = self.newest.lock().await;
        if slot
            .first()
            .is_some_and(|known| known.fetched.elapsed() < HEAD_FOR)
        {
            return Ok(slot.clone());
        }
        let heads = self.quorum.newest().await?;
        let mut newest = Vec::with_capacity(heads.len());
        for head in heads {
            newest.push(Current::new(head, &slot).await);
        }
        slot.clone_from(&newest);
        Ok(newest)
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

    /// Yes only when the contract says yes at the final block, and enough endpoints say so
    /// at the newest block they know: what widens access counts once it is final, what
    /// narrows it counts at once.
    async fn decide(&self, boot_info: BootInfo, question: Question) -> Result<Decision, Doubt> {
        let settled = self.current().await?;
        let (is_allowed, reason) = self.ask(&settled, &boot_info, &question).await?;
        if !is_allowed {
            return Ok(self.deny(reason, boot_info, settled.head.block));
        }
        if let Some((reason, block)) = self.refused_lately(&boot_info, &question).await? {
            return Ok(self.deny(reason, boot_info, block));
        }
        let gateway_app_id = self
            .call(&settled, self.kms(), IKms::gatewayAppIdCall {})
            .await?;
        Ok(Decision::Allow(Allowance {
            boot_info,
            block: settled.head.block,
            gateway_app_id,
        }))
    }

    fn deny(&self, reason: String, boot_info: BootInfo, block: Block) -> Decision {
        Decision::Deny(Denial {
            reason,
            kms_auth: self.config.kms_auth,
            boot_info,
            block,
        })
    }

    /// The refusal at the newest blocks, unless enough endpoints still say yes there.
    async fn refused_lately(
        &self,
        boot_info: &BootInfo,
        question: &Question,
    ) -> Result<Option<(String, Block)>, Doubt> {
        let newest = self.newest().await?;
        let asked = newest.iter().map(|at| self.ask(at, boot_info, question));
        let answers = join_all(asked).await;
        let agreeing = answers
            .iter()
            .filter(|answer| matches!(answer, Ok((true, _))))
            .count();
        let needed = self.quorum.needed();
        if agreeing >= needed {
            return Ok(None);
        }
        let mut doubt = Doubt::Disagreement {
            what: "the newest block".to_owned(),
            agreeing,
            needed,
        };
        for (at, answer) in newest.iter().zip(answers) {
            match answer {
                Ok((false, reason)) => return Ok(Some((reason, at.head.block))),
                Ok((true, _)) => {}
                Err(error) => doubt = error,
            }
        }
        Err(doubt)
    }

    async fn ask(
        &self,
        at: &Current,
        boot_info: &BootInfo,
        question: &Question,
    ) -> Result<(bool, String), Doubt> {
        let info = AppBootInfo::from(boot_info);
        match question {
            Question::Kms => {
                let call = IKms::isKmsAllowedCall { info };
                let said = self.call(at, self.kms(), call).await?;
                Ok((said.isAllowed, said.reason))
            }
            Question::App(facts) if self.knows_facts(at).await? => {
                let (facts, time) = (facts.clone(), 0);
                let call = IKms::decideCall { info, facts, time };
                let said = self.call(at, self.kms(), call).await?;
                Ok((said.isAllowed, said.reason))
            }
            Question::App(_) => {
                let call = IKms::isAppAllowedCall { info };
                let said = self.call(at, self.kms(), call).await?;
                Ok((said.isAllowed, said.reason))
            }
        }
    }

    /// Whether `KmsAuth` can be asked about facts.
    async fn knows_facts(&self, at: &Current) -> Result<bool, Doubt> {
        let question = IKms::supportsInterfaceCall {
            interfaceId: policy_interface(),
        };
        match self.call(at, self.kms(), question).await {
            Ok(answer) => Ok(answer),
            Err(Doubt::Reverted(_) | Doubt::MalformedAnswer { .. }) => Ok(false),
            Err(doubt) => Err(doubt),
        }
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

    async fn decide_app(
        &self,
        boot_info: BootInfo,
        facts: PlatformFacts,
    ) -> Result<Decision, Doubt> {
        // One time for the whole decision, in steps: the same question has the same answer
        // at one block, and is asked once.
        let time = self.clock.now_unix().next_multiple_of(ASKED_EVERY);
        let facts = Facts::new(&boot_info, &facts, time);
        self.decide(boot_info, Question::App(facts)).await
    }

    async fn decide_kms(&self, boot_info: BootInfo) -> Result<Decision, Doubt> {
        self.decide(boot_info, Question::Kms).await
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

    async fn explain_app(
        &self,
        boot_info: &BootInfo,
        facts: &PlatformFacts,
    ) -> Result<Explanation, Doubt> {
        let at = self.current().await?;
        let block = at.head.block;
        if !self.knows_facts(&at).await? {
            let rules = self.app_settings(boot_info).await?.judge(boot_info);
            return Ok(Explanation { block, rules });
        }
        let call = IKms::explainCall {
            info: AppBootInfo::from(boot_info),
            facts: Facts::new(boot_info, facts, self.clock.now_unix()),
            time: 0,
        };
        let rules = self.call(&at, self.kms(), call).await?;
        let rules = rules
            .iter()
            .map(|verdict| RuleVerdict::new(&verdict.rule, verdict.passed, &verdict.reason))
            .collect();
        Ok(Explanation { block, rules })
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
