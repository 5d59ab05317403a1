//! Decisions on a real chain, and every way an endpoint can mislead.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::{Duration, Instant};

use alloy::primitives::Address;
use bylaw_chain::{Decision, Doubt, Finality, KmsSettings, PolicySource, RpcPolicy};
use bylaw_types::clock::Clock;
use bylaw_types::{
    AppId, BootInfo, ChainId, ContractAddress, DeviceId, MrAggregated, OsImageHash, PlatformFacts,
    TcbStatus,
};
use support::{
    ACCOUNT_1, ACCOUNT_2, ACCOUNT_3, ACCOUNT_4, ACCOUNT_5, CHAIN_ID, COMPOSE, DEAD, DEVICE,
    GATEWAY, KMS_OWNER, Lie, allowed, boot_info, chain, denied, kms_info, registerAppCall,
    unknown_compose, until,
};

// What the contracts decide.

#[tokio::test(flavor = "multi_thread")]
async fn allowed_app_is_allowed_with_block_and_gateway() {
    let chain = chain().await;
    let allowance = allowed(
        chain
            .policy(&[&chain.url], 1)
            .decide_app(boot_info(chain.app), PlatformFacts::default())
            .await,
    );
    assert_eq!(allowance.boot_info(), &boot_info(chain.app));
    assert_eq!(allowance.gateway_app_id(), GATEWAY);
    let block = allowance.block();
    let number = format!("{:#x}", block.number);
    let actual = chain
        .rpc("eth_getBlockByNumber", serde_json::json!([number, false]))
        .await;
    assert_eq!(actual["hash"], format!("0x{}", block.hash));
    assert_eq!(actual["stateRoot"], format!("0x{}", block.state_root));
    assert_eq!(actual["timestamp"], format!("{:#x}", block.timestamp));
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_compose_hash_is_denied_and_named() {
    let chain = chain().await;
    let info = unknown_compose(chain.app);
    let policy = chain.policy(&[&chain.url], 1);
    let denial = denied(
        policy
            .decide_app(info.clone(), PlatformFacts::default())
            .await,
    );
    assert_eq!(denial.reason, "Compose hash not allowed");
    let hash = info.compose_hash.to_string();
    assert_eq!(denial.input(), Some(("composeHash", hash.clone())));
    assert_eq!(
        (denial.boot_info.clone(), denial.kms_auth),
        (info, chain.kms_auth)
    );
    let text = denial.to_string();
    assert!(text.contains(&hash), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unregistered_app_and_unknown_image_are_denied() {
    let chain = chain().await;
    let policy = chain.policy(&[&chain.url], 1);
    let stranger = AppId::new([9; 20]);
    let denial = denied(
        policy
            .decide_app(boot_info(stranger), PlatformFacts::default())
            .await,
    );
    assert_eq!(denial.reason, "App not registered");
    assert_eq!(denial.input(), Some(("appId", stranger.to_string())));
    assert!(!policy.is_registered(&stranger).await.unwrap().0);
    assert!(policy.is_registered(&chain.app).await.unwrap().0);

    let info = BootInfo {
        os_image_hash: OsImageHash::new([9; 32]),
        ..boot_info(chain.app)
    };
    let denial = denied(
        policy
            .decide_app(info.clone(), PlatformFacts::default())
            .await,
    );
    assert_eq!(denial.reason, "OS image is not allowed");
    let hash = info.os_image_hash.to_string();
    assert_eq!(denial.input(), Some(("osImageHash", hash)));
}

/// What narrows access does not wait for finality, and no minority of endpoints can hide it.
#[tokio::test(flavor = "multi_thread")]
async fn removed_compose_hash_is_denied_before_that_is_final() {
    let chain = chain().await;
    let owner = chain.owner(ACCOUNT_5);
    let app = owner
        .create_app(&chain.kms_auth, Some(&COMPOSE), None, false)
        .await
        .unwrap();
    let hider = chain.proxy(Lie::HidesNewest).await;
    let honest = &*chain.url;
    let ask = async |urls: &[&str], agreement| {
        let policy = chain.policy(urls, agreement);
        policy
            .decide_app(boot_info(app), PlatformFacts::default())
            .await
            .unwrap()
    };
    until("allowed", async || match ask(&[honest], 1).await {
        Decision::Allow(_) => Some(()),
        Decision::Deny(_) => None,
    })
    .await;
    // The block that removes it is final two blocks later: ask before.
    let denial = loop {
        owner.set_compose_hash(&app, &COMPOSE, false).await.unwrap();
        let removed_by = chain.block_number().await;
        let denial = denied(Ok(ask(&[honest], 1).await));
        assert_eq!(denial.reason, "Compose hash not allowed");
        if denial.block.number >= removed_by {
            let believed = ask(&[&hider], 1).await;
            if chain.final_number().await < removed_by {
                allowed(Ok(believed));
                denied(Ok(ask(&[&hider, honest], 2).await));
                denied(Ok(ask(&[honest, &hider, honest], 2).await));
                if chain.final_number().await < removed_by {
                    break denial;
                }
            }
        }
        // Too slow a machine, this time: it was final before everything was asked.
        owner.set_compose_hash(&app, &COMPOSE, true).await.unwrap();
        until("allowed again", async || match ask(&[honest], 1).await {
            Decision::Allow(_) => Some(()),
            Decision::Deny(_) => None,
        })
        .await;
    };
    assert_eq!(denial.boot_info.app_id, app);
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_compose_hash_is_denied_again_once_final() {
    let chain = chain().await;
    let owner = chain.owner(ACCOUNT_1);
    let app = owner
        .create_app(&chain.kms_auth, Some(&COMPOSE), None, false)
        .await
        .unwrap();
    // One policy throughout: what it remembers of one block must not outlive it.
    let policy = chain.policy(&[&chain.url], 1);
    let before = until("allowed", async || {
        match policy
            .decide_app(boot_info(app), PlatformFacts::default())
            .await
            .unwrap()
        {
            Decision::Allow(allowance) => Some(*allowance.block()),
            Decision::Deny(_) => None,
        }
    })
    .await;
    owner.set_compose_hash(&app, &COMPOSE, false).await.unwrap();
    let removed_by = chain.block_number().await;
    let denial = until("denied", async || {
        match policy
            .decide_app(boot_info(app), PlatformFacts::default())
            .await
            .unwrap()
        {
            Decision::Deny(denial) => Some(denial),
            Decision::Allow(allowance) => {
                assert!(allowance.block().number < removed_by);
                None
            }
        }
    })
    .await;
    assert_eq!(denial.reason, "Compose hash not allowed");
    assert!(denial.block.number > before.number);
}

#[tokio::test(flavor = "multi_thread")]
async fn kms_is_denied_until_its_build_and_device_are_allowed() {
    let chain = chain().await;
    let policy = chain.policy(&[&chain.url], 1);
    let info = boot_info(chain.app);
    let denial = denied(policy.decide_kms(info.clone()).await);
    assert_eq!(denial.reason, "Aggregated MR not allowed");
    let mr = info.mr_aggregated.to_string();
    assert_eq!(denial.input(), Some(("mrAggregated", mr)));
    let owner = chain.owner(KMS_OWNER);
    owner
        .allow_kms(&chain.kms_auth, &info.mr_aggregated, &info.device_id)
        .await
        .unwrap();
    let allowance = until("allowed", async || {
        match policy.decide_kms(info.clone()).await.unwrap() {
            Decision::Allow(allowance) => Some(allowance),
            Decision::Deny(_) => None,
        }
    })
    .await;
    assert_eq!(allowance.boot_info(), &info);
    let reason = async |info| denied(policy.decide_kms(info).await).reason;
    let other_device = BootInfo {
        device_id: DeviceId::new([9; 32]),
        ..info.clone()
    };
    let said = reason(other_device).await;
    assert_eq!(said, "KMS is not allowed to boot on this device");
    let outdated = BootInfo {
        tcb_status: TcbStatus::OutOfDate,
        ..info.clone()
    };
    assert_eq!(reason(outdated).await, "TCB status is not up to date");
    let other_build = BootInfo {
        mr_aggregated: MrAggregated::new([9; 32]),
        ..info.clone()
    };
    assert_eq!(reason(other_build).await, "Aggregated MR not allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn kms_settings_are_those_of_the_contract() {
    let chain = chain().await;
    let settings = chain.policy(&[&chain.url], 1).kms_settings().await.unwrap();
    let expected = KmsSettings {
        block: settings.block,
        info: kms_info(),
        gateway_app_id: GATEWAY.to_owned(),
        app_implementation: settings.app_implementation,
        owner: chain.owner(KMS_OWNER).address(),
    };
    assert_eq!(settings, expected);
    assert_ne!(settings.app_implementation.to_bytes(), [0; 20]);
}

#[tokio::test(flavor = "multi_thread")]
async fn app_settings_show_each_rule_and_the_same_rules_decide() {
    let chain = chain().await;
    let owner = chain.owner(ACCOUNT_2);
    let app = owner
        .create_app(&chain.kms_auth, Some(&COMPOSE), Some(&DEVICE), true)
        .await
        .unwrap();
    let policy = chain.policy(&[&chain.url], 1);
    let settings = until("deployed", async || {
        let settings = policy.app_settings(&boot_info(app)).await.unwrap();
        settings.deployed.then_some(settings)
    })
    .await;
    assert!(settings.registered && settings.os_image_allowed);
    let rules = settings.rules.unwrap();
    assert_eq!(rules.owner, owner.address());
    assert!(rules.compose_allowed && rules.device_allowed && rules.require_tcb_up_to_date);
    assert!(!rules.allow_any_device);
    allowed(
        policy
            .decide_app(boot_info(app), PlatformFacts::default())
            .await,
    );

    let stranger = BootInfo {
        device_id: DeviceId::new([9; 32]),
        os_image_hash: OsImageHash::new([9; 32]),
        ..unknown_compose(app)
    };
    let settings = policy.app_settings(&stranger).await.unwrap();
    let rules = settings.rules.unwrap();
    assert!(!settings.os_image_allowed && !rules.compose_allowed && !rules.device_allowed);

    let other_device = BootInfo {
        device_id: DeviceId::new([9; 32]),
        ..boot_info(app)
    };
    let denial = denied(
        policy
            .decide_app(other_device, PlatformFacts::default())
            .await,
    );
    assert_eq!(denial.reason, "Device not allowed");
    let outdated = BootInfo {
        tcb_status: TcbStatus::OutOfDate,
        ..boot_info(app)
    };
    let denial = denied(policy.decide_app(outdated, PlatformFacts::default()).await);
    assert_eq!(denial.reason, "TCB status is not up to date");
    assert_eq!(denial.input(), Some(("tcbStatus", "OutOfDate".to_owned())));

    let nothing = policy
        .app_settings(&boot_info(AppId::new([9; 20])))
        .await
        .unwrap();
    assert!(!nothing.registered && !nothing.deployed && nothing.rules.is_none());
}

// Contracts that are missing or of another making.

#[tokio::test(flavor = "multi_thread")]
async fn no_contract_at_the_address_denies() {
    let chain = chain().await;
    let nowhere = ContractAddress::new([0x77; 20]);
    let mut config = chain.config(&[&chain.url], 1);
    config.kms_auth = nowhere;
    let policy = RpcPolicy::new(config, Clock::system()).unwrap();
    let info = boot_info(chain.app);
    let doubt = policy
        .decide_app(info.clone(), PlatformFacts::default())
        .await
        .unwrap_err();
    assert_eq!(doubt, Doubt::NoContract(nowhere));
    let doubt = policy.decide_kms(info).await.unwrap_err();
    assert_eq!(doubt, Doubt::NoContract(nowhere));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_contract_than_kms_auth_denies() {
    let chain = chain().await;
    let mut config = chain.config(&[&chain.url], 1);
    config.kms_auth = ContractAddress::new(chain.app.to_bytes());
    let policy = RpcPolicy::new(config, Clock::system()).unwrap();
    let doubt = policy.kms_settings().await.unwrap_err();
    assert!(matches!(doubt, Doubt::Reverted(_)), "{doubt:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reverting_app_contract_denies() {
    let chain = chain().await;
    // PUSH0, PUSH0, REVERT.
    let app = chain.register_code(ACCOUNT_3, [0x5f, 0x5f, 0xfd]).await;
    let policy = chain.policy(&[&chain.url], 1);
    until("registered", async || {
        let (is_registered, _) = policy.is_registered(&app).await.unwrap();
        is_registered.then_some(())
    })
    .await;
    let doubt = policy
        .decide_app(boot_info(app), PlatformFacts::default())
        .await
        .unwrap_err();
    assert!(matches!(doubt, Doubt::Reverted(_)), "{doubt:?}");
    let settings = policy.app_settings(&boot_info(app)).await.unwrap();
    assert!(settings.registered && settings.deployed && settings.rules.is_none());

    // Two honest endpoints agree that it reverts.
    let doubt = chain
        .policy(&[&chain.url, &chain.url], 2)
        .decide_app(boot_info(app), PlatformFacts::default())
        .await
        .unwrap_err();
    assert!(matches!(doubt, Doubt::Reverted(_)), "{doubt:?}");

    // Registered, with no code at all: the contract itself says no.
    let app = Address::from([0x66; 20]);
    chain.send_to_kms(ACCOUNT_3, registerAppCall { app }).await;
    let app = AppId::new(app.into_array());
    let denial = until("registered", async || {
        let denial = denied(
            policy
                .decide_app(boot_info(app), PlatformFacts::default())
                .await,
        );
        (denial.reason != "App not registered").then_some(denial)
    })
    .await;
    assert_eq!(denial.reason, "App not deployed or invalid address");
}

// Which block.

#[tokio::test(flavor = "multi_thread")]
async fn confirmations_decide_that_many_blocks_below_the_head() {
    let chain = chain().await;
    // The contracts must be further down than any depth asked for.
    let ready = chain.block_number().await + 6;
    until("six blocks", async || {
        (chain.block_number().await >= ready).then_some(())
    })
    .await;
    let at_depth = |depth| {
        let mut config = chain.config(&[&chain.url], 1);
        config.finality = Finality::Confirmations(depth);
        config.max_head_age = Duration::from_secs(3600);
        RpcPolicy::new(config, Clock::system()).unwrap()
    };
    for depth in [0, 1, 3] {
        let lowest = chain.block_number().await - depth;
        let allowance = allowed(
            at_depth(depth)
                .decide_app(boot_info(chain.app), PlatformFacts::default())
                .await,
        );
        let highest = chain.block_number().await - depth;
        let number = allowance.block().number;
        assert!((lowest..=highest).contains(&number), "{depth}: {number}");
    }
    // Deeper than the chain is long: the first block, without contracts.
    let doubt = at_depth(1_000_000)
        .decide_app(boot_info(chain.app), PlatformFacts::default())
        .await
        .unwrap_err();
    assert_eq!(doubt, Doubt::NoContract(chain.kms_auth));

    // A change counts at the head before it does further down.
    let owner = chain.owner(ACCOUNT_4);
    let app = owner
        .create_app(&chain.kms_auth, Some(&COMPOSE), None, false)
        .await
        .unwrap();
    allowed(
        at_depth(0)
            .decide_app(boot_info(app), PlatformFacts::default())
            .await,
    );
    let denial = denied(
        at_depth(6)
            .decide_app(boot_info(app), PlatformFacts::default())
            .await,
    );
    assert_eq!(denial.reason, "App not registered");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_head_denies() {
    let chain = chain().await;
    let now = Clock::system().now_unix();
    let config = chain.config(&[&chain.url], 1);
    let policy = RpcPolicy::new(config, Clock::fixed(now + 3600)).unwrap();
    let doubt = policy
        .decide_app(boot_info(chain.app), PlatformFacts::default())
        .await
        .unwrap_err();
    assert!(
        matches!(doubt, Doubt::HeadTooOld { max: 60, age, .. } if age >= 3600),
        "{doubt:?}"
    );

    // An endpoint stuck at an old block, and the true time.
    let stuck = chain.proxy(Lie::OldHead).await;
    let brief = async |urls: &[&str], agreement| {
        let mut config = chain.config(urls, agreement);
        config.max_head_age = Duration::from_secs(7);
        let policy = RpcPolicy::new(config, Clock::system()).unwrap();
        policy
            .decide_app(boot_info(chain.app), PlatformFacts::default())
            .await
    };
    for (urls, agreement) in [(&[&*stuck][..], 1), (&[&*stuck, &*chain.url], 2)] {
        let doubt = brief(urls, agreement).await.unwrap_err();
        assert!(
            matches!(
                doubt,
                Doubt::HeadTooOld {
                    number: 1,
                    max: 7,
                    ..
                }
            ),
            "{doubt:?}"
        );
    }
    // It cannot hold back two that are not stuck.
    let allowance = allowed(brief(&[&stuck, &chain.url, &chain.url], 2).await);
    assert!(allowance.block().number > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn head_that_grows_old_while_remembered_denies() {
    let chain = chain().await;
    let started = Instant::now();
    let now = Clock::system().now_unix();
    // Time leaps at the third look, which is the second decision's first: within the while that
    // a block is remembered.
    let looks = std::sync::atomic::AtomicU64::new(0);
    let clock = Clock::from_fn(move || {
        now + 3600 * (looks.fetch_add(1, std::sync::atomic::Ordering::SeqCst) / 2)
    });
    let policy = RpcPolicy::new(chain.config(&[&chain.url], 1), clock).unwrap();
    allowed(
        policy
            .decide_app(boot_info(chain.app), PlatformFacts::default())
            .await,
    );
    let doubt = policy
        .decide_app(boot_info(chain.app), PlatformFacts::default())
        .await
        .unwrap_err();
    let took = started.elapsed();
    assert!(
        matches!(doubt, Doubt::HeadTooOld { .. }),
        "{took:?}: {doubt:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn head_in_future_denies() {
    let chain = chain().await;
    let now = Clock::system().now_unix();
    let at = async |now| {
        let config = chain.config(&[&chain.url], 1);
        let policy = RpcPolicy::new(config, Clock::fixed(now)).unwrap();
        policy
            .decide_app(boot_info(chain.app), PlatformFacts::default())
            .await
    };
    let doubt = at(now - 3600).await.unwrap_err();
    assert!(
        matches!(doubt, Doubt::HeadInFuture { ahead, .. } if ahead > 3500),
        "{doubt:?}"
    );
    // Clocks that differ a little do not matter.
    allowed(at(now - 30).await);
}

// One endpoint that misleads.

#[tokio::test(flavor = "multi_thread")]
async fn honest_proxy_changes_nothing() {
    let chain = chain().await;
    let url = chain.proxy(Lie::Nothing).await;
    allowed(chain.ask(&[&url], 1).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_chain_id_denies() {
    let chain = chain().await;
    let url = chain.proxy(Lie::ChainId(1)).await;
    let wrong = Doubt::WrongChainId {
        url: url.clone(),
        expected: CHAIN_ID,
        actual: ChainId(1),
    };
    assert_eq!(chain.ask(&[&url], 1).await.unwrap_err(), wrong);
    let too_few = Doubt::TooFew {
        answering: 1,
        needed: 2,
        first: Box::new(wrong),
    };
    let urls = [&*url, &*chain.url];
    assert_eq!(chain.ask(&urls, 2).await.unwrap_err(), too_few);
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_endpoint_times_out() {
    let chain = chain().await;
    let url = chain.proxy(Lie::Stall).await;
    // More than once: two limits of the same length would race.
    for _ in 0..5 {
        let mut config = chain.config(&[&url], 1);
        config.timeout = Duration::from_secs(1);
        let policy = RpcPolicy::new(config, Clock::system()).unwrap();
        let started = Instant::now();
        let doubt = policy
            .decide_app(boot_info(chain.app), PlatformFacts::default())
            .await
            .unwrap_err();
        let timeout = Doubt::Timeout {
            url: url.clone(),
            seconds: 1,
        };
        assert_eq!(doubt, timeout);
        assert!(started.elapsed() < Duration::from_secs(3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoint_that_breaks_off_or_answers_garbage_denies() {
    let chain = chain().await;
    let mut urls = vec![DEAD.to_owned()];
    for lie in [
        Lie::Drop,
        Lie::Garbage("<html>"),
        Lie::Garbage(""),
        Lie::Garbage("{}"),
        Lie::Garbage(r#"{"jsonrpc":"2.0","id":0,"result":{}}"#),
        Lie::Garbage(r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32000,"message":"busy"}}"#),
        Lie::ServerError,
    ] {
        urls.push(chain.proxy(lie).await);
    }
    for url in urls {
        let doubt = chain.ask(&[&url], 1).await.unwrap_err();
        assert!(
            matches!(&doubt, Doubt::Unreachable { url: named, .. } if *named == url),
            "{doubt:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doubts_do_not_tell_the_key_in_a_url() {
    let chain = chain().await;
    let stalling = chain.proxy(Lie::Stall).await;
    let failing = chain.proxy(Lie::ServerError).await;
    for url in [DEAD, &stalling, &failing] {
        let authority = url.strip_prefix("http://").unwrap();
        let with_key = format!("http://user:SECRET@{authority}/SECRET?key=SECRET");
        let mut config = chain.config(&[&with_key], 1);
        config.timeout = Duration::from_secs(1);
        let policy = RpcPolicy::new(config, Clock::system()).unwrap();
        let doubt = policy
            .decide_app(boot_info(chain.app), PlatformFacts::default())
            .await
            .unwrap_err();
        let text = format!("{doubt} {doubt:?}");
        assert!(text.contains(url) && !text.contains("SECRET"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_header_denies() {
    let chain = chain().await;
    let word = format!("0x{}", "11".repeat(32));
    for lie in [
        Lie::Field("hash", word.clone()),
        Lie::Field("stateRoot", word.clone()),
        Lie::Field("parentHash", word),
        Lie::Field("timestamp", "0x70000000".to_owned()),
        Lie::Field("number", "0x2".to_owned()),
        Lie::NoBlock,
    ] {
        let url = chain.proxy(lie.clone()).await;
        let doubt = chain.ask(&[&url], 1).await.unwrap_err();
        assert!(
            matches!(&doubt, Doubt::MalformedAnswer { url: named, .. } if *named == url),
            "{lie:?}: {doubt:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn undecodable_verdict_denies() {
    let chain = chain().await;
    for data in [vec![1], vec![0xff; 32], vec![0; 32]] {
        let url = chain.proxy(Lie::Call(data)).await;
        let doubt = chain.ask(&[&url], 1).await.unwrap_err();
        assert!(matches!(doubt, Doubt::MalformedAnswer { .. }), "{doubt:?}");
    }
    let url = chain.proxy(Lie::Call(vec![])).await;
    let doubt = chain.ask(&[&url], 1).await.unwrap_err();
    assert_eq!(doubt, Doubt::NoContract(chain.kms_auth));
}

// Several endpoints.

#[tokio::test(flavor = "multi_thread")]
async fn lying_call_disagrees_with_two_of_three() {
    let chain = chain().await;
    let info = unknown_compose(chain.app);
    let liar = chain.proxy(Lie::verdict(true, "")).await;
    let other = chain.proxy(Lie::verdict(false, "No reason")).await;
    let ask = async |urls: &[&str], agreement| {
        let policy = chain.policy(urls, agreement);
        policy
            .decide_app(info.clone(), PlatformFacts::default())
            .await
    };
    // Alone it is believed: one endpoint is one endpoint.
    allowed(ask(&[&liar], 1).await);
    // With one honest peer, or with one that lies otherwise besides, nobody knows.
    let disagreement = Doubt::Disagreement {
        what: format!("what 0x{} says", chain.kms_auth),
        agreeing: 1,
        needed: 2,
    };
    let doubt = ask(&[&liar, &chain.url], 2).await.unwrap_err();
    assert_eq!(doubt, disagreement);
    let doubt = ask(&[&liar, &chain.url, &other], 2).await.unwrap_err();
    assert_eq!(doubt, disagreement);
    // With two honest peers it is outvoted, wherever it stands.
    let (honest, liar) = (&*chain.url, &*liar);
    for urls in [
        [liar, honest, honest],
        [honest, liar, honest],
        [honest, honest, liar],
    ] {
        let denial = denied(ask(&urls, 2).await);
        assert_eq!(denial.reason, "Compose hash not allowed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_decide_with_one_dead_or_lying() {
    let chain = chain().await;
    let mut bad = vec![DEAD.to_owned()];
    for lie in [
        Lie::Stall,
        Lie::Drop,
        Lie::ServerError,
        Lie::ChainId(1),
        Lie::Field("hash", format!("0x{}", "11".repeat(32))),
        Lie::Fork,
    ] {
        bad.push(chain.proxy(lie).await);
    }
    for bad in &bad {
        allowed(chain.ask(&[bad, &chain.url, &chain.url], 2).await);
    }
    let doubt = chain.ask(&[DEAD, &chain.url, DEAD], 2).await.unwrap_err();
    assert!(
        matches!(
            &doubt,
            Doubt::TooFew { answering: 1, needed: 2, first }
                if matches!(&**first, Doubt::Unreachable { url, .. } if url == DEAD)
        ),
        "{doubt:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lying_hash_denies_when_both_must_agree() {
    let chain = chain().await;
    let hash = format!("0x{}", "11".repeat(32));
    let liar = chain.proxy(Lie::Field("hash", hash)).await;
    let doubt = chain.ask(&[&chain.url, &liar], 2).await.unwrap_err();
    assert!(
        matches!(
            &doubt,
            Doubt::TooFew { answering: 1, needed: 2, first }
                if matches!(&**first, Doubt::MalformedAnswer { url, .. } if *url == liar)
        ),
        "{doubt:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_history_denies_when_both_must_agree() {
    let chain = chain().await;
    let fork = chain.proxy(Lie::Fork).await;
    let doubt = chain.ask(&[&chain.url, &fork], 2).await.unwrap_err();
    assert!(
        matches!(
            &doubt,
            Doubt::Disagreement { what, agreeing: 1, needed: 2 } if what.starts_with("block ")
        ),
        "{doubt:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_cannot_be_used_are_refused_at_once() {
    let chain = chain().await;
    let url = &*chain.url;
    for (urls, agreement) in [
        (&[url][..], 2),
        (&[url], 0),
        (&[], 0),
        (&[], 1),
        (&["nonsense"], 1),
    ] {
        let refused = RpcPolicy::new(chain.config(urls, agreement), Clock::system());
        assert!(
            matches!(refused, Err(Doubt::Configuration { .. })),
            "{urls:?} {agreement}: {refused:?}"
        );
    }
}
