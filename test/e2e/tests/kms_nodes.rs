//! Several KMS nodes, and the attacks on how one learns the root keys.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use bylaw_chain::KmsInfo;
use bylaw_e2e::world::manifest;
use bylaw_e2e::{AgentOptions, Kms, KmsOptions, World};
use bylaw_keys::P256Key;
use bylaw_ratls::tls::{Identity, server};
use bylaw_ratls::{CertSpec, Issuer};
use bylaw_rpc::message::kms::{
    BootstrapRequest, BootstrapResponse, OnboardRequest, OnboardResponse,
};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

async fn onboard(node: &Kms, source: &str) -> anyhow::Result<OnboardResponse> {
    let request = OnboardRequest {
        source_url: source.into(),
        domain: "second.example".into(),
    };
    node.onboard_call("Onboard", &request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_onboards_and_derives_the_same_keys() {
    let world = World::start().await.unwrap();
    let first = world.bootstrapped_kms().await.unwrap();
    let app = world.create_app(&manifest("app")).await.unwrap();

    // A build that the contract does not allow is refused, by itself and by the source.
    let foreign = KmsOptions {
        build: "other-build".into(),
        ..KmsOptions::default()
    };
    let foreign = world.start_kms("foreign", foreign).await.unwrap();
    foreign.attestation_info().await.unwrap();
    let error = onboard(&foreign, &first.url).await.unwrap_err().to_string();
    assert!(error.contains("Aggregated MR not allowed"), "{error}");
    drop(foreign);

    let second = world
        .start_kms("second", KmsOptions::default())
        .await
        .unwrap();
    second.attestation_info().await.unwrap();
    world.allow_kms(&second).await.unwrap();
    world.settle().await.unwrap();

    // A relay that forwards the first connection and answers the second itself.
    let relay = relay(&first.url).await;
    let error = onboard(&second, &relay).await.unwrap_err().to_string();
    assert!(
        error.contains("cannot reach"),
        "the pinned key is not shown: {error}"
    );

    // A server that is no KMS at all.
    let impostor = impostor().await;
    let error = onboard(&second, &impostor).await.unwrap_err().to_string();
    assert!(error.contains("not attested"), "{error}");

    let received = onboard(&second, &first.url).await.unwrap();
    let meta = first.wait_until_serving().await.unwrap();
    assert_eq!(received.k256_pubkey, meta.k256_pubkey);
    let again = onboard(&second, &first.url).await.unwrap_err().to_string();
    assert!(again.contains("already been bootstrapped"), "{again}");
    second.finish().await.unwrap();
    let second_meta = second.wait_until_serving().await.unwrap();
    assert!(second_meta.bootstrap_info.is_none());
    world.settle().await.unwrap();

    let usual = AgentOptions::default();
    let one = world
        .start_agent("one", &app, &first, usual.clone())
        .await
        .unwrap();
    let two = world
        .start_agent("two", &app, &second, usual.clone())
        .await
        .unwrap();
    assert_eq!(
        one.key("x").await.unwrap().key,
        two.key("x").await.unwrap().key
    );

    // A KMS whose build is removed refuses to serve from the next final block on.
    let info = first.attestation_info_of_running(&world).await;
    world
        .owner
        .remove_kms(&world.kms_auth, &info)
        .await
        .unwrap();
    world.settle().await.unwrap();
    let error = world
        .start_agent("three", &app, &first, usual)
        .await
        .unwrap_err();
    assert!(
        format!("{error:#}").contains("Aggregated MR not allowed"),
        "{error:#}"
    );
}

/// mr_aggregated of a KMS that serves, from the evidence in its certificate.
trait Measured {
    async fn attestation_info_of_running(&self, world: &World) -> bylaw_types::MrAggregated;
}

impl Measured for Kms {
    async fn attestation_info_of_running(&self, world: &World) -> bylaw_types::MrAggregated {
        use bylaw_attest::{Mode, TrustAnchors, Verifier, collateral::Pccs};
        let connection = self.client().unwrap().connect().await.unwrap();
        let der = connection.peer_certificates()[0].to_vec();
        let cert = bylaw_ratls::RaTlsCert::parse(&der).unwrap();
        let anchors = TrustAnchors::with_tdx_root(&std::fs::read(&world.root_ca).unwrap()).unwrap();
        let pccs = Arc::new(Pccs::new(&world.pccs).unwrap());
        let verifier = Verifier::new(anchors, pccs, bylaw_types::clock::Clock::system());
        let attested = bylaw_ratls::verify_attested(cert, &verifier).await.unwrap();
        attested
            .appraisal()
            .identify(Mode::Full, None)
            .unwrap()
            .mr_aggregated
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn received_keys_must_be_those_on_chain() {
    let world = World::start().await.unwrap();
    let first = world.bootstrapped_kms().await.unwrap();
    let second = world
        .start_kms("second", KmsOptions::default())
        .await
        .unwrap();
    second.attestation_info().await.unwrap();
    world.allow_kms(&second).await.unwrap();
    let other = KmsInfo {
        k256_public: vec![2; 33],
        ca_spki_der: vec![1; 91],
    };
    world
        .owner
        .set_kms_info(&world.kms_auth, &other)
        .await
        .unwrap();
    world.settle().await.unwrap();
    let error = onboard(&second, &first.url).await.unwrap_err().to_string();
    assert!(error.contains("but KmsAuth names"), "{error}");
    // Guests hold the KMS to the same standard.
    let app = world.create_app(&manifest("app")).await.unwrap();
    world.settle().await.unwrap();
    let error = world
        .start_agent("app", &app, &first, AgentOptions::default())
        .await
        .unwrap_err();
    assert!(
        format!("{error:#}").contains("but KmsAuth names"),
        "{error:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_surroundings_refuse_bootstrap() {
    let world = World::start().await.unwrap();
    world.settle().await.unwrap();
    let bootstrap = async |kms: &Kms| {
        let request = BootstrapRequest {
            domain: "localhost".into(),
        };
        kms.onboard_call::<_, BootstrapResponse>("Bootstrap", &request)
            .await
            .unwrap_err()
            .to_string()
    };
    // Simulated evidence under the vendors' anchors.
    let vendor = KmsOptions {
        vendor_anchors: true,
        ..KmsOptions::default()
    };
    let vendor = world.start_kms("vendor", vendor).await.unwrap();
    wait_listening(&vendor).await;
    let error = bootstrap(&vendor).await;
    assert!(error.contains("does not hold under the anchors"), "{error}");
    // Not allowed by the contract.
    let kms = world
        .start_kms("unknown", KmsOptions::default())
        .await
        .unwrap();
    kms.attestation_info().await.unwrap();
    let error = bootstrap(&kms).await;
    assert!(error.contains("OS image is not allowed"), "{error}");
    let request = BootstrapRequest {
        domain: "not a domain".into(),
    };
    let error = kms
        .onboard_call::<_, BootstrapResponse>("Bootstrap", &request)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("label"), "{error}");
    // Another chain than configured, and no chain at all.
    let wrong = KmsOptions {
        chain_id: Some(1),
        ..KmsOptions::default()
    };
    let wrong = world.start_kms("wrong", wrong).await.unwrap();
    wrong.attestation_info().await.unwrap();
    let error = bootstrap(&wrong).await;
    assert!(error.contains("serves chain 31337, not 1"), "{error}");
    let dead = KmsOptions {
        rpc_urls: Some(vec!["http://127.0.0.1:1".into()]),
        ..KmsOptions::default()
    };
    let dead = world.start_kms("dead", dead).await.unwrap();
    dead.attestation_info().await.unwrap();
    let error = bootstrap(&dead).await;
    assert!(error.contains("does not answer"), "{error}");
}

async fn wait_listening(kms: &Kms) {
    let address = kms.onboard_url.trim_start_matches("http://").to_owned();
    for _ in 0..200 {
        if TcpStream::connect(&address).await.is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{}", kms.log_text());
}

/// A TLS server with a certificate of its own.
async fn own_server() -> (tokio_rustls::TlsAcceptor, TcpListener) {
    let (ca_key, key) = (P256Key::random().unwrap(), P256Key::random().unwrap());
    let spec = CertSpec {
        subject: "CA".into(),
        ca_path_len: Some(1),
        ..CertSpec::default()
    };
    let ca = Issuer::self_signed(&spec, &ca_key, 1_800_000_000).unwrap();
    let spec = CertSpec {
        subject: "localhost".into(),
        server_auth: true,
        usage: Some(bylaw_ratls::USAGE_KMS),
        ..CertSpec::default()
    };
    let leaf = ca.issue(&spec, &key.spki_der(), 1_800_000_000).unwrap();
    let identity = Identity {
        chain: vec![leaf.der],
        key: &key,
    };
    let acceptor = server(identity, ca.cert()).unwrap().into();
    (acceptor, TcpListener::bind("127.0.0.1:0").await.unwrap())
}

async fn impostor() -> String {
    let (acceptor, listener) = own_server().await;
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    url
}

async fn relay(genuine: &str) -> String {
    let genuine = genuine.trim_start_matches("https://").to_owned();
    let (acceptor, listener) = own_server().await;
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut upstream = TcpStream::connect(&genuine).await.unwrap();
        tokio::spawn(async move { copy_bidirectional(&mut stream, &mut upstream).await });
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    url
}
