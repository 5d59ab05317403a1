//! What happened, from the contracts' own events.

use std::collections::HashMap;

use alloy::primitives::{Address, B256};
use alloy::rpc::types::Log;
use alloy::sol_types::{SolEvent, SolEventInterface};
use serde::Serialize;

use crate::abi::{Events, KmsEvents, PendingChange, Safe};
use crate::chain::At;
use crate::{Chain, GovError, text};

/// Something that happened to a contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Unix seconds of its block.
    pub time: u64,
    /// Its block.
    pub block: u64,
    /// In words.
    pub title: String,
    /// More words.
    pub detail: String,
    /// Who did it, where the event says so.
    pub by: Option<Address>,
    /// The transaction.
    pub tx: B256,
}

impl Chain {
    /// Everything that happened to `contract` from block `from` to `at`, oldest first.
    ///
    /// # Errors
    /// [`GovError::Endpoint`].
    pub async fn history(
        &self,
        at: At,
        contract: Address,
        from: u64,
    ) -> Result<Vec<Event>, GovError> {
        let mut times = HashMap::new();
        let mut events = Vec::new();
        for log in self.logs(contract, from, at.number).await? {
            let Some((title, detail, by)) = words(&log) else {
                continue;
            };
            let block = log.block_number.unwrap_or_default();
            let time = match times.get(&block) {
                Some(time) => *time,
                None => {
                    let time = self.timestamp(block).await?;
                    times.insert(block, time);
                    time
                }
            };
            events.push(Event {
                time,
                block,
                title,
                detail,
                by,
                tx: log.transaction_hash.unwrap_or_default(),
            });
        }
        Ok(events)
    }

    /// Whether a Safe carried out the transaction with this hash.
    ///
    /// # Errors
    /// [`GovError::Endpoint`].
    pub async fn executed(
        &self,
        at: At,
        safe: Address,
        transaction: B256,
        from: u64,
    ) -> Result<bool, GovError> {
        let logs = self.logs(safe, from, at.number).await?;
        Ok(logs.iter().any(|log| {
            // Safes before 1.4 have the hash in the data, later ones in a topic.
            log.topic0() == Some(&Safe::ExecutionSuccess::SIGNATURE_HASH)
                && (log.topics().get(1) == Some(&transaction)
                    || log.inner.data.data.starts_with(transaction.as_slice()))
        }))
    }

    /// Every app that was ever registered, in that order.
    ///
    /// # Errors
    /// [`GovError::Endpoint`].
    pub async fn apps(&self, at: At, kms: Address, from: u64) -> Result<Vec<Address>, GovError> {
        let mut apps = Vec::new();
        for log in self.logs(kms, from, at.number).await? {
            if let Ok(Events::EventsEvents::AppRegistered(event)) = decode(&log)
                && !apps.contains(&event.appId)
            {
                apps.push(event.appId);
            }
        }
        Ok(apps)
    }
}

fn decode(log: &Log) -> alloy::sol_types::Result<Events::EventsEvents> {
    Events::EventsEvents::decode_log(&log.inner).map(|decoded| decoded.data)
}

/// Title, detail and actor; `None` for events that say nothing new, such as the
/// `PolicyChanged` that accompanies every other one.
fn words(log: &Log) -> Option<(String, String, Option<Address>)> {
    use Events::EventsEvents as E;
    if let Ok(event) = KmsEvents::KmsEventsEvents::decode_log(&log.inner) {
        return Some(match event.data {
            KmsEvents::KmsEventsEvents::AppPaused(e) => {
                ("app paused".to_owned(), e.appId.to_string(), Some(e.by))
            }
            KmsEvents::KmsEventsEvents::AppUnpaused(e) => {
                ("app resumed".to_owned(), e.appId.to_string(), None)
            }
        });
    }
    let mut by = None;
    let (title, detail): (String, String) = match decode(log).ok()? {
        E::ChangeScheduled(e) => {
            let change = PendingChange {
                id: e.id,
                policy: e.policy,
                value: e.value,
                activatesAt: e.activatesAt,
                data: e.data,
            };
            let said = text::pending(&change);
            let until = text::time(change.activatesAt);
            (
                format!("scheduled: {}", said.title),
                join(&said.detail, &format!("from {until}")),
            )
        }
        E::ChangeDropped(e) => {
            by = Some(e.by);
            let what = text::label(e.policy).unwrap_or("unknown change");
            (format!("dropped: {what}"), e.value.to_string())
        }
        E::ChangeApplied(_) => return None,
        E::DelaySet(e) => ("delay set".into(), text::duration(e.delay.into())),
        E::GuardianSet(e) => ("guardian set".into(), e.guardian.to_string()),
        E::OwnershipTransferStarted(e) => ("ownership offered".into(), e.newOwner.to_string()),
        E::OwnershipTransferred(e) => ("owner changed".into(), e.newOwner.to_string()),
        E::Upgraded(e) => ("code replaced".into(), e.implementation.to_string()),
        E::UpgradesDisabled(_) => ("upgrades ended for good".into(), String::new()),
        E::ComposeHashAdded(e) => ("version may run".into(), e.composeHash.to_string()),
        E::ComposeHashRemoved(e) => ("version removed".into(), e.composeHash.to_string()),
        E::VersionAdded(e) => (
            format!("version {} added", e.number),
            join(&e.composeHash.to_string(), &e.noteUri),
        ),
        E::VersionRetired(e) => (
            format!("version {} retired", e.number),
            e.composeHash.to_string(),
        ),
        E::MinVersionSet(e) => (
            format!("versions before {} retired", e.minVersion),
            String::new(),
        ),
        E::VersionExpirySet(e) => (
            format!("end of version {} set", e.number),
            text::time(e.expiresAt),
        ),
        E::VersionsFrozen(_) => ("version list frozen".into(), String::new()),
        E::DeviceAdded(e) => ("device allowed".into(), e.deviceId.to_string()),
        E::DeviceRemoved(e) => ("device removed".into(), e.deviceId.to_string()),
        E::AllowAnyDeviceSet(e) => (
            "devices".into(),
            if e.allowAnyDevice {
                "any"
            } else {
                "those listed"
            }
            .to_owned(),
        ),
        E::RequireTcbUpToDateSet(e) => (
            "TCB status".into(),
            if e.requireTcbUpToDate {
                "UpToDate"
            } else {
                "not only UpToDate"
            }
            .to_owned(),
        ),
        E::PolicySet(e) => {
            let lines = text::policy_lines(&e.policy);
            let said: Vec<String> = lines
                .into_iter()
                .map(|(rule, value)| format!("{rule}: {value}"))
                .collect();
            ("policy set".into(), said.join("; "))
        }
        E::AdvisoryToleranceSet(e) => (
            if e.tolerated {
                "advisory tolerated"
            } else {
                "advisory no longer tolerated"
            }
            .to_owned(),
            text::ascii(e.advisory),
        ),
        E::AppPaused(e) => {
            by = Some(e.by);
            ("paused".into(), String::new())
        }
        E::AppUnpaused(_) => ("resumed".into(), String::new()),
        E::KmsInfoSet(e) => ("KMS keys published".into(), e.k256Pubkey.to_string()),
        E::GatewayAppIdSet(e) => ("gateway set".into(), e.gatewayAppId),
        E::AppImplementationSet(e) => {
            ("code for new apps set".into(), e.implementation.to_string())
        }
        E::AppRegistered(e) => ("app registered".into(), e.appId.to_string()),
        E::AppDeregistered(e) => {
            by = Some(e.by);
            ("app deregistered".into(), e.appId.to_string())
        }
        E::KmsAggregatedMrAdded(e) => ("KMS build allowed".into(), e.mrAggregated.to_string()),
        E::KmsAggregatedMrRemoved(e) => ("KMS build removed".into(), e.mrAggregated.to_string()),
        E::KmsDeviceAdded(e) => ("KMS device allowed".into(), e.deviceId.to_string()),
        E::KmsDeviceRemoved(e) => ("KMS device removed".into(), e.deviceId.to_string()),
        E::OsImageHashAdded(e) => ("OS image trusted".into(), e.osImageHash.to_string()),
        E::OsImageHashRemoved(e) => (
            "OS image no longer trusted".into(),
            e.osImageHash.to_string(),
        ),
        E::KmsNodeSet(e) => ("KMS node listed".into(), e.node.endpoint),
        E::KmsNodeRemoved(e) => ("KMS node taken off".into(), e.nodeId.to_string()),
    };
    Some((title, detail, by))
}

fn join(first: &str, second: &str) -> String {
    match (first.is_empty(), second.is_empty()) {
        (true, _) => second.to_owned(),
        (_, true) => first.to_owned(),
        _ => format!("{first}, {second}"),
    }
}
