//! What the contract says about a manifest, and allowing it.

use std::time::Duration;

use alloy::primitives::{Address, B256};
use bylaw_gov::text::time;
use bylaw_gov::{Authority, Chain, Kind};
use bylaw_types::{AppId, ComposeHash};
use tokio::time::{Instant, sleep};

use super::steps::Steps;
use crate::chain::{ChainArgs, SignerArgs};
use crate::output::Failure;

/// The contract's word, at one block.
enum Verdict {
    /// It may run.
    Allowed(String),
    /// From this Unix time.
    From(u64),
    /// It may not, and nothing is on its way.
    Refused(String),
    /// Somebody's own contract, which is asked only when the app boots.
    AtBoot,
}

/// An app and the manifest it is to run.
pub(crate) struct Policy<'a> {
    pub(crate) chain: &'a ChainArgs,
    pub(crate) signer: &'a SignerArgs,
    pub(crate) app: AppId,
    pub(crate) hash: ComposeHash,
    /// For the commands that are suggested.
    pub(crate) file: String,
}

impl Policy<'_> {
    /// Allows the manifest where that is asked for and needed; returns when the KMS
    /// will see it as allowed.
    pub(crate) async fn settle(
        &self,
        allow: bool,
        wait: bool,
        patience: Duration,
        steps: &mut Steps<'_>,
    ) -> Result<(), Failure> {
        let chain = self.chain.connect().await?;
        let deadline = Instant::now() + patience;
        let mut verdict = self.ask(&chain, false).await?;
        if allow && matches!(verdict, Verdict::Refused(_)) {
            self.allow(&chain).await?;
            steps.done(
                "Allow",
                &format!("{} sent to the contract", self.hash_text()),
            );
            verdict = self.ask(&chain, false).await?;
        }
        loop {
            match verdict {
                Verdict::Allowed(reason) => {
                    self.settled(&chain, deadline).await?;
                    steps.done("Policy", &reason);
                    return Ok(());
                }
                Verdict::AtBoot => {
                    steps.done(
                        "Policy",
                        "a contract of its own: it decides when the app boots",
                    );
                    return Ok(());
                }
                Verdict::From(at) if wait => {
                    steps.note(&format!("allowed from {}; waiting", time(at)));
                    self.until(&chain, at).await?;
                    sleep(Duration::from_secs(1)).await;
                    verdict = self.ask(&chain, false).await?;
                }
                Verdict::From(at) => {
                    return Err(Failure::Denied(format!(
                        "the contract allows {} from {} on; run the same command again then, or \
                         with --wait now",
                        self.hash_text(),
                        time(at)
                    )));
                }
                Verdict::Refused(reason) => {
                    let Self { app, file, .. } = self;
                    return Err(Failure::Denied(format!(
                        "{reason}. To allow it, as one key that owns the app: add --allow; as a \
                         multisig: bylaw gov propose version --app 0x{app} --compose {file}"
                    )));
                }
            }
        }
    }

    /// At the newest block, or at the finalised one, where the KMS looks.
    async fn ask(&self, chain: &Chain, finalised: bool) -> Result<Verdict, Failure> {
        let at = if finalised {
            chain.finalized().await?
        } else {
            chain.latest().await?
        };
        let (kms, app) = (self.chain.kms_address()?, address(&self.app));
        let view = chain.app(at, kms, app).await?;
        if !view.registered {
            return Ok(Verdict::Refused(format!(
                "app {app} is not registered with KmsAuth {kms}"
            )));
        }
        if view.paused || view.paused_at_kms {
            return Err(Failure::Denied(format!(
                "app {app} is paused; see `bylaw gov show --app {app}`"
            )));
        }
        let hash = B256::from(self.hash.to_bytes());
        let versions = view.versions.iter().filter(|one| one.compose_hash == hash);
        let newest = versions.max_by_key(|one| (one.allowed, one.number));
        Ok(match (view.kind, newest) {
            (_, Some(version)) if version.allowed => Verdict::Allowed(format!(
                "version {} of app {}… is active",
                version.number,
                short(&self.app)
            )),
            (_, Some(version)) if version.state == "pending" => Verdict::From(version.activates_at),
            (_, Some(version)) => Verdict::Refused(format!(
                "version {} of the app is {}",
                version.number, version.state
            )),
            (Kind::Bylaw, None) => Verdict::Refused(format!(
                "the contract of app {app} does not know {}",
                self.hash_text()
            )),
            (Kind::Custom, None) => Verdict::AtBoot,
            (Kind::Dstack, None) => {
                let asked = bylaw_gov::abi::Views::allowedComposeHashesCall { composeHash: hash };
                if chain.ask(at, app, asked).await? == Some(true) {
                    Verdict::Allowed("the app's contract lists this compose hash".to_owned())
                } else {
                    Verdict::Refused(format!(
                        "the contract of app {app} does not list {}",
                        self.hash_text()
                    ))
                }
            }
        })
    }

    async fn allow(&self, chain: &Chain) -> Result<(), Failure> {
        let at = chain.latest().await?;
        let app = address(&self.app);
        let decides = chain.owner_of(at, app).await?;
        let sender = self.signer.signer()?.address();
        match decides {
            Authority::Account { address } if address == sender => {}
            other => {
                return Err(Failure::Denied(format!(
                    "{sender} does not decide for app {app}, {} does: bylaw gov propose version \
                     --app {app} --compose {}",
                    other.describe(),
                    self.file
                )));
            }
        }
        let owner = self.chain.owner(self.signer)?;
        owner.set_compose_hash(&self.app, &self.hash, true).await?;
        Ok(())
    }

    /// Until the chain's own time has come; contracts know no other.
    async fn until(&self, chain: &Chain, at: u64) -> Result<(), Failure> {
        loop {
            let now = chain.latest().await?.timestamp;
            let Some(left) = at.checked_sub(now).filter(|left| *left > 0) else {
                return Ok(());
            };
            sleep(Duration::from_secs(left.min(30))).await;
        }
    }

    /// The KMS decides on finalised blocks: what is newer it does not see yet.
    async fn settled(&self, chain: &Chain, deadline: Instant) -> Result<(), Failure> {
        if self.chain.decides_on_head() {
            return Ok(());
        }
        while !matches!(self.ask(chain, true).await, Ok(Verdict::Allowed(_))) {
            if Instant::now() > deadline {
                return Err(Failure::Failed(anyhow::anyhow!(
                    "the contract allows {}, but the block is not final yet, so the KMS does \
                     not see it; run the same command again later",
                    self.hash_text()
                )));
            }
            sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }

    fn hash_text(&self) -> String {
        format!("compose hash {}", self.hash)
    }
}

fn address(app: &AppId) -> Address {
    Address::from(app.to_bytes())
}

fn short(app: &AppId) -> String {
    let text = format!("0x{app}");
    text.chars().take(10).collect()
}
