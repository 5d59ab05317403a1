//! kill -9 at any point: restart continues, nothing acknowledged is lost.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use bylaw_e2e::world::manifest;
use bylaw_e2e::{AgentOptions, Kms, KmsOptions, World};
use bylaw_rpc::Client;
use bylaw_rpc::message::kms::{
    BootstrapRequest, BootstrapResponse, ListReleasesRequest, ListReleasesResponse, OnboardRequest,
    OnboardResponse,
};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost() {
    let world = World::start().await.unwrap();
    let mut kms = world
        .start_kms("kms-1", KmsOptions::default())
        .await
        .unwrap();
    world.allow_kms(&kms).await.unwrap();
    world.settle().await.unwrap();

    // Bootstrap, killed ever later.
    let mut acknowledged: Option<BootstrapResponse> = None;
    for delay in [0, 5, 10, 20, 40, 80, 160, 320] {
        let client = Client::new(&kms.onboard_url).unwrap().prpc();
        let call = tokio::spawn(async move {
            let request = BootstrapRequest {
                domain: "localhost".into(),
            };
            client
                .call::<_, BootstrapResponse>("Bootstrap", &request)
                .await
        });
        tokio::time::sleep(Duration::from_millis(delay)).await;
        kms.kill();
        if let Ok(Ok(answer)) = call.await {
            acknowledged = Some(answer);
        }
        kms.start().unwrap();
        if has_roots(&kms).await {
            break;
        }
        assert!(
            acknowledged.is_none(),
            "acknowledged roots are gone after {delay} ms"
        );
    }
    if !has_roots(&kms).await {
        acknowledged = Some(world.bootstrap(&kms).await.unwrap());
        kms.finish().await.unwrap();
    }
    let meta = kms.wait_until_serving().await.unwrap();
    let kept = meta.bootstrap_info.unwrap();
    if let Some(answer) = &acknowledged {
        assert_eq!(answer.k256_pubkey, meta.k256_pubkey);
        assert_eq!(answer, &kept);
    }
    let info = bylaw_chain::KmsInfo {
        k256_public: kept.k256_pubkey.clone(),
        ca_spki_der: kept.ca_pubkey.clone(),
    };
    world
        .owner
        .set_kms_info(&world.kms_auth, &info)
        .await
        .unwrap();
    let app = world.create_app(&manifest("app")).await.unwrap();
    world.settle().await.unwrap();

    // Releases, killed in between: every one that was answered is on record.
    let mut agent = world
        .start_agent("app", &app, &kms, AgentOptions::default())
        .await
        .unwrap();
    let key = agent.key("x").await.unwrap().key;
    let mut answered = 1;
    for delay in [30, 60, 90, 120, 200] {
        agent.kill();
        let restarted = tokio::task::spawn_blocking(move || {
            let result = agent.start();
            (agent, result)
        });
        tokio::time::sleep(Duration::from_millis(delay)).await;
        kms.kill();
        let (back, result) = restarted.await.unwrap();
        agent = back;
        answered += u64::from(result.is_ok());
        kms.start().unwrap();
        kms.wait_until_serving().await.unwrap();
    }
    agent.kill();
    agent.start().unwrap();
    answered += 1;
    assert_eq!(agent.key("x").await.unwrap().key, key);
    let log = releases(&kms).await;
    assert!(
        log.total >= answered,
        "{} recorded, {answered} answered",
        log.total
    );
    assert!(
        log.records[0].contains(&app.id.to_string()),
        "{}",
        log.records[0]
    );

    // A TEE in another state does not open the store.
    let socket = kms.td.socket.clone();
    let attester: bylaw_attester::SocketAttester = format!("simtee:{socket}").parse().unwrap();
    bylaw_attester::Attester::extend(&attester, "changed", b"")
        .await
        .unwrap();
    kms.kill();
    kms.start().unwrap();
    let text = kms.wait_for_end().unwrap();
    assert!(text.contains("do not open"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn onboarding_that_is_killed_happens_wholly_or_not_at_all() {
    let world = World::start().await.unwrap();
    let first = world.bootstrapped_kms().await.unwrap();
    let meta = first.wait_until_serving().await.unwrap();
    let mut second = world
        .start_kms("second", KmsOptions::default())
        .await
        .unwrap();
    second.attestation_info().await.unwrap();
    world.allow_kms(&second).await.unwrap();
    world.settle().await.unwrap();
    for delay in [0, 10, 20, 40, 80, 160, 2000] {
        let client = Client::new(&second.onboard_url).unwrap().prpc();
        let request = OnboardRequest {
            source_url: first.url.clone(),
            domain: "second.example".into(),
        };
        let call =
            tokio::spawn(
                async move { client.call::<_, OnboardResponse>("Onboard", &request).await },
            );
        tokio::time::sleep(Duration::from_millis(delay)).await;
        second.kill();
        let acknowledged = matches!(call.await, Ok(Ok(_)));
        second.start().unwrap();
        if has_roots(&second).await {
            let received = second.wait_until_serving().await.unwrap();
            assert_eq!(received.k256_pubkey, meta.k256_pubkey);
            return;
        }
        assert!(
            !acknowledged,
            "acknowledged roots are gone after {delay} ms"
        );
    }
    panic!("two seconds must be enough:\n{}", second.log_text());
}

/// Whether the restarted KMS went past onboarding.
async fn has_roots(kms: &Kms) -> bool {
    for _ in 0..200 {
        if kms.attestation_info_once().await {
            return false;
        }
        if kms.client().unwrap().connect().await.is_ok() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{}", kms.log_text());
}

trait Once {
    async fn attestation_info_once(&self) -> bool;
}

impl Once for Kms {
    async fn attestation_info_once(&self) -> bool {
        use bylaw_rpc::Empty;
        use bylaw_rpc::message::kms::AttestationInfoResponse;
        let answer: anyhow::Result<AttestationInfoResponse> =
            self.onboard_call("GetAttestationInfo", &Empty {}).await;
        answer.is_ok()
    }
}

async fn releases(kms: &Kms) -> ListReleasesResponse {
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(
            rustls::ClientConfig::builder_with_provider(
                rustls::crypto::ring::default_provider().into(),
            )
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth(),
        )
        .build()
        .unwrap();
    let url = format!("{}/prpc/Admin.ListReleases?json", kms.admin_url);
    let refused = http.post(&url).body("{}").send().await.unwrap();
    assert_eq!(refused.status(), 401, "the admin listener needs its token");
    let body = serde_json::to_string(&ListReleasesRequest::default()).unwrap();
    let answer = http
        .post(&url)
        .header("x-admin-token", "admin-token")
        .body(body)
        .send()
        .await
        .unwrap();
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}
