//! The release log: every key or certificate that left, in order.
//!
//! A record is on disk before what it records leaves (design, invariant 8).
//! Each carries the SHA-256 of the one before it, so a record cannot be removed
//! or changed without every later one changing too.
//!
//! One task owns the log. It writes whatever waits as one batch and flushes
//! once, so a hundred waiting releases cost one flush, not a hundred.

use bylaw_types::{BootInfo, ChainId, ContractAddress, Sha256Digest};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};

/// Most records written in one batch.
const BATCH: usize = 256;

/// What left the KMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An app's keys (`GetAppKey`).
    AppKeys,
    /// The root keys, to another KMS (`GetKmsKey`).
    RootKeys,
    /// A certificate for an app (`SignCert`).
    Certificate,
}

/// The block a decision was made at, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecidedAt {
    /// Chain.
    pub chain_id: ChainId,
    /// `KmsAuth`.
    pub kms_auth: ContractAddress,
    /// Height.
    pub block_number: u64,
    /// Hash.
    pub block_hash: String,
}

/// One release, before it has its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Unix seconds.
    pub time: u64,
    /// What left.
    pub kind: Kind,
    /// To whom.
    pub boot_info: BootInfo,
    /// By which decision.
    pub decided_at: DecidedAt,
}

/// An [`Entry`] in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Position, from 0 without gaps.
    pub sequence: u64,
    /// SHA-256 of the previous record's stored bytes; zeros for the first.
    pub previous: Sha256Digest,
    /// The release.
    pub entry: Entry,
}

/// Why the log could not be written or is not intact.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The store failed; nothing may be released.
    #[error("the release log cannot be written: {0}")]
    Store(String),
    /// The owning task is gone; nothing may be released.
    #[error("the release log is closed")]
    Closed,
    /// A stored record is not what its successor says it was.
    #[error("release log record {sequence} is damaged: {reason}")]
    Damaged {
        /// Where.
        sequence: u64,
        /// What is wrong.
        reason: String,
    },
}

type Request = (Entry, oneshot::Sender<Result<u64, LogError>>);

/// Handle to the log; clones write to the same one.
#[derive(Debug, Clone)]
pub struct ReleaseLog {
    tree: sled::Tree,
    requests: mpsc::Sender<Request>,
}

impl ReleaseLog {
    /// Opens the log in `tree` and starts the task that owns it.
    ///
    /// # Errors
    /// [`LogError::Damaged`] when the newest record cannot be read.
    pub fn open(tree: sled::Tree) -> Result<Self, LogError> {
        let tip = Tip::read(&tree)?;
        let (requests, queue) = mpsc::channel(BATCH);
        tokio::spawn(write_batches(tree.clone(), tip, queue));
        Ok(Self { tree, requests })
    }

    /// Appends and returns the sequence number once the record is on disk.
    ///
    /// # Errors
    /// Nothing may be released after an error.
    pub async fn append(&self, entry: Entry) -> Result<u64, LogError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send((entry, reply))
            .await
            .map_err(|_| LogError::Closed)?;
        answer.await.map_err(|_| LogError::Closed)?
    }

    /// Up to `limit` records from `from` on.
    ///
    /// # Errors
    /// [`LogError::Damaged`] for a record that does not parse.
    pub fn read(&self, from: u64, limit: usize) -> Result<Vec<Record>, LogError> {
        self.tree
            .range(from.to_be_bytes()..)
            .take(limit)
            .map(|item| {
                item.map_err(store_error)
                    .and_then(|(key, value)| parse(&key, &value))
            })
            .collect()
    }

    /// Walks the whole log and checks every link; returns how many records it has.
    ///
    /// # Errors
    /// [`LogError::Damaged`] names the first record that is not intact.
    pub fn verify(&self) -> Result<u64, LogError> {
        let mut tip = Tip::default();
        for item in &self.tree {
            let (key, value) = item.map_err(store_error)?;
            let record = parse(&key, &value)?;
            if record.sequence != tip.next || record.previous != tip.digest {
                return Err(LogError::Damaged {
                    sequence: record.sequence,
                    reason: format!("expected record {} after {}", tip.next, tip.digest),
                });
            }
            tip = Tip {
                next: tip.next + 1,
                digest: digest(&value),
            };
        }
        Ok(tip.next)
    }
}

/// Where the next record goes.
#[derive(Debug, Clone)]
struct Tip {
    next: u64,
    digest: Sha256Digest,
}

impl Default for Tip {
    fn default() -> Self {
        Self {
            next: 0,
            digest: Sha256Digest::new([0; 32]),
        }
    }
}

impl Tip {
    fn read(tree: &sled::Tree) -> Result<Self, LogError> {
        let Some((key, value)) = tree.last().map_err(store_error)? else {
            return Ok(Self::default());
        };
        let record = parse(&key, &value)?;
        Ok(Self {
            next: record.sequence + 1,
            digest: digest(&value),
        })
    }
}

async fn write_batches(tree: sled::Tree, mut tip: Tip, mut queue: mpsc::Receiver<Request>) {
    let mut waiting = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut waiting, BATCH).await > 0 {
        let (entries, replies): (Vec<_>, Vec<_>) = waiting.drain(..).unzip();
        let first = tip.next;
        let result = write_batch(&tree, &tip, entries).await;
        if let Ok(new_tip) = &result {
            tip = new_tip.clone();
        }
        for (sequence, reply) in (first..).zip(replies) {
            // A caller that stopped waiting has released nothing; its record stays, which is safe.
            let _ = reply.send(result.clone().map(|_| sequence));
        }
    }
}

async fn write_batch(tree: &sled::Tree, tip: &Tip, entries: Vec<Entry>) -> Result<Tip, LogError> {
    let mut tip = tip.clone();
    let mut batch = sled::Batch::default();
    for entry in entries {
        let record = Record {
            sequence: tip.next,
            previous: tip.digest,
            entry,
        };
        let bytes =
            serde_json::to_vec(&record).map_err(|error| LogError::Store(error.to_string()))?;
        batch.insert(&tip.next.to_be_bytes(), bytes.as_slice());
        tip = Tip {
            next: tip.next + 1,
            digest: digest(&bytes),
        };
    }
    let tree = tree.clone();
    tokio::task::spawn_blocking(move || {
        tree.apply_batch(batch)?;
        tree.flush()
    })
    .await
    .map_err(|error| LogError::Store(error.to_string()))?
    .map_err(store_error)?;
    Ok(tip)
}

fn digest(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest::new(Sha256::digest(bytes).into())
}

fn store_error(error: sled::Error) -> LogError {
    LogError::Store(error.to_string())
}

fn parse(key: &[u8], value: &[u8]) -> Result<Record, LogError> {
    let sequence = <[u8; 8]>::try_from(key)
        .map(u64::from_be_bytes)
        .map_err(|_| LogError::Damaged {
            sequence: 0,
            reason: "its key is not 8 bytes".into(),
        })?;
    let record: Record = serde_json::from_slice(value).map_err(|error| LogError::Damaged {
        sequence,
        reason: error.to_string(),
    })?;
    if record.sequence == sequence {
        Ok(record)
    } else {
        Err(LogError::Damaged {
            sequence,
            reason: format!("it says it is {}", record.sequence),
        })
    }
}

#[cfg(test)]
mod tests {
    use bylaw_types::{
        AppId, ComposeHash, DeviceId, MrAggregated, MrSystem, OsImageHash, TcbStatus, TeeVariant,
    };

    use super::*;

    fn entry(time: u64) -> Entry {
        Entry {
            time,
            kind: Kind::AppKeys,
            boot_info: BootInfo {
                tee_variant: TeeVariant::Tdx,
                mr_aggregated: MrAggregated::new([1; 32]),
                os_image_hash: OsImageHash::new([2; 32]),
                mr_system: MrSystem::new([3; 32]),
                app_id: AppId::new([4; 20]),
                compose_hash: ComposeHash::new([5; 32]),
                instance_id: None,
                device_id: DeviceId::new([6; 32]),
                key_provider_info: vec![],
                tcb_status: TcbStatus::UpToDate,
                advisory_ids: vec![],
            },
            decided_at: DecidedAt {
                chain_id: ChainId(1),
                kms_auth: ContractAddress::new([7; 20]),
                block_number: 9,
                block_hash: "00".into(),
            },
        }
    }

    fn tree() -> sled::Tree {
        sled::Config::new()
            .temporary(true)
            .open()
            .unwrap()
            .open_tree("log")
            .unwrap()
    }

    #[tokio::test]
    async fn records_are_numbered_and_chained_across_restarts() {
        let tree = tree();
        let log = ReleaseLog::open(tree.clone()).unwrap();
        assert_eq!(log.append(entry(1)).await.unwrap(), 0);
        assert_eq!(log.append(entry(2)).await.unwrap(), 1);
        let again = ReleaseLog::open(tree).unwrap();
        assert_eq!(again.append(entry(3)).await.unwrap(), 2);
        assert_eq!(again.verify().unwrap(), 3);
        assert_eq!(again.read(1, 1).unwrap()[0].entry.time, 2);
    }

    #[tokio::test]
    async fn many_at_once_each_get_their_own_number() {
        let log = ReleaseLog::open(tree()).unwrap();
        let all = (0..500).map(|time| log.append(entry(time)));
        let mut sequences: Vec<u64> = futures::future::join_all(all)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        sequences.sort_unstable();
        assert_eq!(sequences, (0..500).collect::<Vec<_>>());
        assert_eq!(log.verify().unwrap(), 500);
    }

    #[tokio::test]
    async fn a_changed_or_missing_record_is_found() {
        let tree = tree();
        let log = ReleaseLog::open(tree.clone()).unwrap();
        for time in 0..3 {
            log.append(entry(time)).await.unwrap();
        }
        let original = tree.get(1u64.to_be_bytes()).unwrap().unwrap();
        let forged = String::from_utf8(original.to_vec())
            .unwrap()
            .replace("\"time\":1", "\"time\":7");
        tree.insert(1u64.to_be_bytes(), forged.as_bytes()).unwrap();
        assert!(matches!(
            log.verify(),
            Err(LogError::Damaged { sequence: 2, .. })
        ));
        tree.remove(1u64.to_be_bytes()).unwrap();
        assert!(matches!(
            log.verify(),
            Err(LogError::Damaged { sequence: 2, .. })
        ));
    }
}
