//! Quotes, attestations, event logs, Info.

use std::collections::BTreeMap;

use anyhow::{bail, ensure, Context, Result};
use dstack_sdk::dstack_client::{DstackClient, EventLog, GetQuoteResponse};
use serde_json::Value;
use sha2::{Digest, Sha256, Sha384};

use crate::quote::{padded, Quote};
use crate::system::{equal, refused, System};

const RUNTIME_EVENT: u32 = 0x0800_0001;

/// What a runtime event of the first version extends RTMR3 by.
fn digest_v1(event: &str, payload: &[u8]) -> String {
    let hash = Sha384::new_with_prefix(RUNTIME_EVENT.to_le_bytes())
        .chain_update(format!(":{event}:"))
        .chain_update(payload);
    hex::encode(hash.finalize())
}

/// The quote of an answer whose event log explains its registers.
fn replayed(answer: &GetQuoteResponse) -> Result<Quote> {
    let quote = Quote::parse(&answer.decode_quote()?)?;
    explained(&quote, &answer.replay_rtmrs()?)?;
    Ok(quote)
}

/// Registers replayed from a log are those of the quote.
pub fn explained(quote: &Quote, registers: &BTreeMap<u8, String>) -> Result<()> {
    let replayed: Vec<_> = registers.values().collect();
    equal(
        replayed,
        quote.rtmrs.iter().collect::<Vec<_>>(),
        "RTMRs replayed",
    )
}

/// `get_quote` and `attest` carry what was asked.
pub async fn quotes(client: &DstackClient) -> Result<()> {
    for data in [b"x".to_vec(), (0..64).collect::<Vec<u8>>()] {
        let answer = client.get_quote(data.clone()).await?;
        let quote = replayed(&answer)?;
        equal(&quote.report_data, &padded(&data), "report data of a quote")?;
        let beside = hex::decode(&answer.report_data)?;
        equal(beside, padded(&data), "report data beside a quote")?;
        serde_json::from_str::<Value>(&answer.vm_config).context("vm_config is JSON")?;
        let attestation = client.attest(data.clone()).await?.decode_attestation()?;
        let inner = Quote::within(&attestation)?;
        equal(
            inner.report_data,
            padded(&data),
            "report data of an attestation",
        )?;
        equal(inner.mrtd, quote.mrtd, "MRTD")?;
    }
    for length in [0, 65] {
        let (quote, attest) = (vec![0; length], vec![0; length]);
        let words = "Invalid report data length";
        refused(
            client.get_quote(quote),
            words,
            "get_quote of a wrong length",
        )
        .await?;
        refused(client.attest(attest), words, "attest of a wrong length").await?;
    }
    Ok(())
}

/// `emit_event` extends RTMR3, and the log says by what.
pub async fn events(client: &DstackClient) -> Result<()> {
    let before = client.get_quote(b"before".to_vec()).await?;
    // Every run emits its own: the log shows what came after the last one.
    let name = format!("sdk-check-{}", before.decode_event_log()?.len());
    let payload = b"a payload\0\xff".to_vec();
    client.emit_event(name.clone(), payload.clone()).await?;
    let after = client.get_quote(b"after".to_vec()).await?;

    let (old, new) = (replayed(&before)?, replayed(&after)?);
    equal(
        &new.rtmrs[..3],
        &old.rtmrs[..3],
        "RTMR0 to 2 after an event",
    )?;
    ensure!(new.rtmrs[3] != old.rtmrs[3], "an event changes RTMR3");
    let earlier = before.decode_event_log()?;
    let log = after.decode_event_log()?;
    equal(
        log.get(..earlier.len()),
        Some(&earlier[..]),
        "the log before an event",
    )?;
    let emitted = EventLog {
        imr: 3,
        event_type: RUNTIME_EVENT,
        digest: digest_v1(&name, &payload),
        event: name,
        event_payload: hex::encode(payload),
    };
    equal(&log[earlier.len()..], &[emitted][..], "the emitted event")?;
    let nameless = client.emit_event(String::new(), Vec::new());
    refused(nameless, "cannot be empty", "an event without a name").await
}

/// `info` agrees with the quote, the log, the compose file and the chain.
pub async fn info(client: &DstackClient, system: &System) -> Result<()> {
    let version = client.version().await?;
    ensure!(!version.version.is_empty(), "the agent has a version");

    let answer = client.info().await?;
    let quote = replayed(&client.get_quote(b"info".to_vec()).await?)?;
    let tcb = &answer.tcb_info;
    equal(
        hex::decode(&answer.app_id)?,
        &system.app_id[..],
        "the app id",
    )?;
    let compose_hash = hex::encode(Sha256::digest(&tcb.app_compose));
    equal(&answer.compose_hash, &compose_hash, "the compose hash")?;
    equal(
        &tcb.compose_hash,
        &compose_hash,
        "the compose hash in tcb_info",
    )?;
    let compose: Value = serde_json::from_str(&tcb.app_compose)?;
    equal(
        &compose["name"],
        &Value::from(&*answer.app_name),
        "the app's name",
    )?;
    let provider: Value = serde_json::from_str(&answer.key_provider_info)?;
    let expected = serde_json::json!({"name": "kms", "id": hex::encode(&system.ca_spki)});
    equal(&provider, &expected, "the key provider")?;
    equal(&tcb.mrtd, &hex::encode(&quote.mrtd), "MRTD")?;
    let rtmrs = [&tcb.rtmr0, &tcb.rtmr1, &tcb.rtmr2, &tcb.rtmr3];
    equal(rtmrs, quote.rtmrs.each_ref(), "the registers")?;
    equal(
        &tcb.os_image_hash,
        &answer.os_image_hash,
        "os_image_hash in tcb_info",
    )?;
    equal(&tcb.device_id, &answer.device_id, "device_id in tcb_info")?;
    equal(
        hex::decode(&answer.device_id)?.len(),
        32,
        "bytes in the device id",
    )?;
    let now = quote.aggregated(&quote.rtmrs[3])?;
    // What the KMS decided about is as good an answer.
    let booted = quote.aggregated(&rtmr3_at_boot(&tcb.event_log)?)?;
    ensure!(
        [now, booted].contains(&answer.mr_aggregated),
        "mr_aggregated, now or at boot"
    );
    let machine: Value = serde_json::from_str(&answer.vm_config)?;
    let image = Value::from(&*answer.os_image_hash);
    equal(&machine["os_image_hash"], &image, "os_image_hash of the VM")?;
    measured(
        &tcb.event_log,
        &answer.app_id,
        &compose_hash,
        &answer.instance_id,
    )
}

/// RTMR3 when the system became ready, before any event of an app.
fn rtmr3_at_boot(log: &[EventLog]) -> Result<String> {
    let mut register = vec![0; 48];
    for event in log.iter().filter(|event| event.imr == 3) {
        let hash = Sha384::new_with_prefix(&register).chain_update(hex::decode(&event.digest)?);
        register = hash.finalize().to_vec();
        if event.event == "system-ready" {
            return Ok(hex::encode(register));
        }
    }
    bail!("the event log says when the system became ready")
}

/// The log says who booted, and each runtime digest is of its event.
fn measured(log: &[EventLog], app_id: &str, compose_hash: &str, instance: &str) -> Result<()> {
    for event in log.iter().filter(|event| event.imr == 3) {
        let digest = digest_v1(&event.event, &hex::decode(&event.event_payload)?);
        equal(&event.digest, &digest, &event.event)?;
    }
    for (name, value) in [
        ("app-id", app_id),
        ("compose-hash", compose_hash),
        ("instance-id", instance),
    ] {
        // An app can repeat a name later; the first of each is the boot's.
        let first = log
            .iter()
            .find(|event| event.imr == 3 && event.event == name);
        let payload = first.map(|event| event.event_payload.as_str());
        equal(payload, Some(value), &format!("the measured {name}"))?;
    }
    Ok(())
}
