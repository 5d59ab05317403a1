//! Which TDs get which key, over the wire.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bylaw_attest::{TrustAnchors, sgx};
use bylaw_key_provider::protocol::{Answer, MAX_FRAME, MAX_QUOTE, read, write};
use bylaw_key_provider::{AskError, Limits, Provider, Refusal, ask, serve};
use bylaw_simtee::Options;
use bylaw_types::ReportData;
use sha2::{Digest, Sha256};
use support::{NOW, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_secs(30);

async fn served(provider: Provider, limits: Limits) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(serve(
        listener,
        Arc::new(provider),
        limits,
        std::future::pending(),
    ));
    address
}

/// Opens the box as a guest does: verify the enclave, check the hash, unseal.
fn opened(world: &World, key: &bylaw_key_provider::protocol::SealedKey) -> Vec<u8> {
    let collateral = world.machine.sgx_collateral(NOW).unwrap();
    let verified = sgx::verify(&key.provider_quote, &world.anchors, &collateral, NOW).unwrap();
    assert_eq!(verified.enclave.mr_enclave, world.machine.mr_enclave());
    let mut expected = Sha256::digest(&key.encrypted_key).to_vec();
    expected.resize(64, 0);
    assert_eq!(verified.enclave.report_data.as_bytes(), expected.as_slice());
    world.secret.unseal(&key.encrypted_key).unwrap()
}

#[tokio::test]
async fn a_td_gets_the_same_key_whenever_it_asks_and_another_td_another_one() {
    let world = World::new(Options::default());
    let address = served(world.provider(), Limits::default()).await;
    let mut keys = Vec::new();
    for app in ["a", "a", "b"] {
        let quote = world.quote(&world.td(app), &world.report_data());
        let sealed = ask(&address, quote, PATIENCE).await.unwrap();
        keys.push(opened(&world, &sealed));
    }
    assert_eq!(keys[0].len(), 32);
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0], keys[2]);

    let elsewhere = World::new(Options::default());
    let quote = elsewhere.quote(&elsewhere.td("a"), &elsewhere.report_data());
    let sealed = elsewhere.provider().key_for(&quote).await.unwrap();
    assert_ne!(
        opened(&elsewhere, &sealed),
        keys[0],
        "keys stay on their machine"
    );
}

#[tokio::test]
async fn runtime_events_change_the_key() {
    let world = World::new(Options::default());
    let td = world.td("a");
    let before = world
        .provider()
        .key_for(&world.quote(&td, &world.report_data()))
        .await
        .unwrap();
    td.extend("more", b"");
    let after = world
        .provider()
        .key_for(&world.quote(&td, &world.report_data()))
        .await
        .unwrap();
    assert_ne!(opened(&world, &before), opened(&world, &after));
}

#[tokio::test]
async fn each_refusal_is_named() {
    let world = World::new(Options::default());
    let good = world.quote(&world.td("a"), &world.report_data());
    let refused = |provider: Provider, quote: Vec<u8>| async move {
        provider.key_for(&quote).await.unwrap_err()
    };
    let with = |report_data: [u8; 64]| world.quote(&world.td("a"), &ReportData::new(report_data));

    for at in [48, 184, 376, 568, 700] {
        let mut forged = good.clone();
        forged[at] ^= 1;
        let refusal = refused(world.provider(), forged).await;
        assert!(matches!(refusal, Refusal::Quote(_)), "{at}: {refusal}");
    }
    for quote in [
        vec![],
        good[..good.len() - 40].to_vec(),
        world.machine.sgx_quote(&world.report_data()),
    ] {
        let refusal = refused(world.provider(), quote).await;
        assert!(matches!(refusal, Refusal::Quote(_)), "{refusal}");
    }
    let refusal = refused(world.provider(), with([1; 64])).await;
    assert_eq!(
        refusal,
        Refusal::ReportData,
        "a quote made for something else"
    );
    let refusal = refused(world.provider(), with([0; 64])).await;
    assert_eq!(refusal, Refusal::PublicKey);

    let other = world.provider_with(1, false, world.anchors.clone());
    let refusal = refused(other, good.clone()).await;
    assert!(matches!(refusal, Refusal::OtherMachine { .. }), "{refusal}");
    let debug = world.provider_with(0, true, world.anchors.clone());
    assert!(matches!(debug.measurement().await, Err(Refusal::Own(_))));
    assert!(matches!(
        refused(debug, good.clone()).await,
        Refusal::Own(_)
    ));

    // A real provider gives nothing to simulated TDs, a simulated one nothing to others'.
    let real = world.provider_with(0, false, TrustAnchors::vendor());
    assert!(matches!(
        refused(real, good.clone()).await,
        Refusal::Quote(_)
    ));
    let stranger = World::new(Options::default());
    assert!(matches!(
        refused(stranger.provider(), good).await,
        Refusal::Quote(_)
    ));

    let debug_td = world.quote(&world.td_with("a", true), &world.report_data());
    let refusal = refused(world.provider(), debug_td).await;
    assert!(refusal.to_string().contains("debug"), "{refusal}");
    let revoked = World::new(Options {
        revoke_pck: true,
        ..Options::default()
    });
    let quote = revoked.quote(&revoked.td("a"), &revoked.report_data());
    let refusal = refused(revoked.provider(), quote).await;
    assert!(refusal.to_string().contains("evoked"), "{refusal}");
}

#[tokio::test]
async fn an_outdated_platform_still_gets_its_key() {
    let world = World::new(Options {
        tcb_status: "OutOfDate".to_owned(),
        ..Options::default()
    });
    let quote = world.quote(&world.td("a"), &world.report_data());
    world.provider().key_for(&quote).await.unwrap();
}

/// What a provider says to these bytes; nothing when it only hangs up.
async fn said(address: &str, bytes: &[u8], end: bool) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    if end {
        stream.shutdown().await.unwrap();
    }
    match tokio::time::timeout(PATIENCE, read(&mut stream))
        .await
        .unwrap()
    {
        Ok(Answer::Refused { error }) => Some(error),
        Ok(Answer::Key(_)) => panic!("a key for nothing"),
        Err(_) => None,
    }
}

fn frame(json: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(json.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(json);
    frame
}

#[tokio::test]
async fn frames_that_are_none_get_one_sentence() {
    let world = World::new(Options::default());
    let address = served(world.provider(), Limits::default()).await;
    let long =
        serde_json::to_vec(&serde_json::json!({ "quote": vec![0u8; MAX_QUOTE + 1] })).unwrap();
    for (bytes, why) in [
        (0u32.to_be_bytes().to_vec(), "1 to 8388608"),
        ((MAX_FRAME + 1).to_be_bytes().to_vec(), "1 to 8388608"),
        (u32::MAX.to_be_bytes().to_vec(), "1 to 8388608"),
        (frame(b"hello"), "JSON"),
        (frame(b"{}"), "quote"),
        (frame(br#"{"quote":[256]}"#), "JSON"),
        (frame(br#"{"quote":[1],"more":1}"#), "more"),
        (frame(&long), "limit is 1048576"),
        (frame(br#"{"quote":[1,2,3]}"#), "not a TDX quote"),
        ([&100u32.to_be_bytes()[..], b"{"].concat(), "1 of 100 bytes"),
    ] {
        let error = said(&address, &bytes, true).await.unwrap();
        assert!(error.contains(why), "{why}: {error}");
    }
    assert_eq!(said(&address, b"", true).await, None);
    // Still there.
    let quote = world.quote(&world.td("a"), &world.report_data());
    ask(&address, quote, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn slow_clients_are_let_go_and_keep_nobody_waiting_for_ever() {
    let world = World::new(Options::default());
    let limits = Limits {
        transfer: Duration::from_millis(200),
        clients: 2,
        ..Limits::default()
    };
    let address = served(world.provider(), limits).await;
    let mut idle = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(&1000u32.to_be_bytes()).await.unwrap();
        idle.push(stream);
    }
    let quote = world.quote(&world.td("a"), &world.report_data());
    ask(&address, quote, PATIENCE).await.unwrap();
    for mut stream in idle {
        let answer: Answer = tokio::time::timeout(PATIENCE, read(&mut stream))
            .await
            .unwrap()
            .unwrap();
        assert!(matches!(answer, Answer::Refused { error } if error.contains("in time")));
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "then it hangs up");
    }
}

#[tokio::test]
async fn a_client_says_who_did_not_answer_and_what_was_refused() {
    let world = World::new(Options::default());
    let address = served(world.provider(), Limits::default()).await;
    let error = ask(&address, vec![1, 2, 3], PATIENCE).await.unwrap_err();
    assert!(matches!(error, AskError::Refused(_)), "{error}");
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let error = ask(&gone, vec![], PATIENCE).await.unwrap_err().to_string();
    assert!(
        error.contains(&gone) && error.contains("bylaw-key-provider"),
        "{error}"
    );

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap().to_string();
    let error = ask(&silent, vec![], Duration::from_millis(100))
        .await
        .unwrap_err();
    assert!(matches!(error, AskError::Unreachable { .. }), "{error}");
    let other = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut second, _) = listener.accept().await.unwrap();
        let _ = stream.shutdown().await;
        write(&mut second, &serde_json::json!({ "key": 1 }))
            .await
            .unwrap();
        let _ = second.read_to_end(&mut Vec::new()).await;
    });
    let error = ask(&silent, vec![], PATIENCE).await.unwrap_err();
    assert!(matches!(error, AskError::Frame { .. }), "{error}");
    other.await.unwrap();
}
