//! The deprecated Tappd client, which old apps still use.

use std::collections::BTreeMap;

use anyhow::{ensure, Result};
use dstack_sdk::dstack_client::DstackClient;
use dstack_sdk::tappd_client::TappdClient;

use crate::certificates::{chained, own_key};
use crate::evidence::explained;
use crate::quote::Quote;
use crate::system::{equal, refused, System};

/// `derive_key`: one P-256 key a path, certified as any TLS key.
pub async fn derived(tappd: &TappdClient, client: &DstackClient, system: &System) -> Result<()> {
    let mut found = BTreeMap::new();
    for path in ["", "/", "web"] {
        let answer = tappd.derive_key(path).await?;
        let leaf = chained(system, &answer.certificate_chain)?;
        let scalar = own_key(&answer.key, &leaf)?;
        equal(&answer.decode_key()?, &scalar, "decode_key's scalar")?;
        equal(
            leaf.subject,
            format!("CN={path}"),
            "the subject is the path",
        )?;
        // Both sockets derive the same 32 bytes from the app key and a path.
        let key = client.get_key(Some(path.into()), None).await?;
        equal(&key.decode_key()?, &scalar, "get_key's bytes for this path")?;
        found.insert(scalar, path);
    }
    equal(found.len(), 3, "distinct keys of three paths")?;

    let named = tappd.derive_key_with_subject("web", "old.example").await?;
    let leaf = chained(system, &named.certificate_chain)?;
    equal(&*leaf.subject, "CN=old.example", "the subject")?;
    let key = own_key(&named.key, &leaf)?;
    equal(
        found.get(&key),
        Some(&"web"),
        "the key of one path asked twice",
    )?;
    let names = vec!["b.example".to_owned(), "a.example".to_owned()];
    let full = tappd
        .derive_key_with_subject_and_alt_names("web", None, Some(names.clone()))
        .await?;
    let leaf = chained(system, &full.certificate_chain)?;
    equal(leaf.names, names, "alternative names in order")
}

/// `get_quote`: 64 bytes, as they are.
pub async fn quotes(tappd: &TappdClient) -> Result<()> {
    let data: Vec<u8> = (100..164).collect();
    let answer = tappd.get_quote(data.clone()).await?;
    let quote = Quote::parse(&answer.decode_quote()?)?;
    equal(&quote.report_data, &data, "report data of a raw quote")?;
    explained(&quote, &answer.replay_rtmrs()?)?;
    ensure!(
        !answer.decode_event_log()?.is_empty(),
        "a raw quote has a log"
    );
    equal(
        answer.hash_algorithm.as_deref(),
        Some("raw"),
        "the hash, echoed",
    )?;
    equal(answer.prefix.as_deref(), Some(""), "raw data has no prefix")?;
    for length in [0, 63, 65] {
        let call = tappd.get_quote(vec![0; length]);
        refused(call, "exactly 64 bytes", "raw data of a wrong length").await?;
    }
    Ok(())
}

/// `info` is that of the new socket.
pub async fn info(tappd: &TappdClient, client: &DstackClient) -> Result<()> {
    let (old, new) = (tappd.info().await?, client.info().await?);
    equal(old.app_id, new.app_id, "tappd's app_id")?;
    equal(old.instance_id, new.instance_id, "tappd's instance_id")?;
    equal(old.app_cert, new.app_cert, "tappd's app_cert")?;
    equal(old.app_name, new.app_name, "tappd's app_name")?;
    let (old, new) = (old.tcb_info, new.tcb_info);
    equal(old.mrtd, new.mrtd, "tappd's MRTD")?;
    equal(
        [old.rtmr0, old.rtmr1, old.rtmr2, old.rtmr3],
        [new.rtmr0, new.rtmr1, new.rtmr2, new.rtmr3],
        "tappd's registers",
    )?;
    equal(old.event_log, new.event_log, "tappd's event log")?;
    equal(old.app_compose, new.app_compose, "tappd's compose file")
}
