//! Apps get what the contract allows, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bylaw_e2e::world::manifest;
use bylaw_e2e::{AgentOptions, App, World};
use bylaw_keys::{verify_data, verify_key_chain};
use bylaw_ratls::RaTlsCert;
use bylaw_rpc::message::guest::{GetTlsKeyArgs, GetTlsKeyResponse, SignRequest, SignResponse};
use bylaw_types::AppId;

#[tokio::test(flavor = "multi_thread")]
async fn keys_follow_the_contract() {
    let world = World::start().await.unwrap();
    let kms = world.bootstrapped_kms().await.unwrap();
    let app = world.create_app(&manifest("app")).await.unwrap();
    let other = world.create_app(&manifest("other")).await.unwrap();
    world.settle().await.unwrap();
    let usual = AgentOptions::default;

    let mut agent = world.start_agent("app", &app, &kms, usual()).await.unwrap();
    let first = agent.key("wallet").await.unwrap();

    // The answer chains to the root key that the contract names, and is this app's.
    let meta = kms.wait_until_serving().await.unwrap();
    let chain = [&first.signature_chain[0][..], &first.signature_chain[1]];
    let public = public_of(&first.key);
    verify_key_chain(&meta.k256_pubkey, &app.id, "", &public, chain).unwrap();
    assert!(verify_key_chain(&meta.k256_pubkey, &other.id, "", &public, chain).is_err());

    // Certificates chain to the KMS root, carry the app id and are bound to evidence.
    let request = GetTlsKeyArgs {
        subject: "app.example".into(),
        alt_names: vec!["app.example".into()],
        usage_ra_tls: true,
        usage_server_auth: true,
        with_app_info: true,
        ..GetTlsKeyArgs::default()
    };
    let tls: GetTlsKeyResponse = agent
        .client()
        .unwrap()
        .call("GetTlsKey", &request)
        .await
        .unwrap();
    let certs: Vec<RaTlsCert> = tls
        .certificate_chain
        .iter()
        .map(|pem| RaTlsCert::parse(pem.as_bytes()).unwrap())
        .collect();
    let [leaf, ca, root] = certs.as_slice() else {
        panic!("three certificates")
    };
    assert_eq!(
        root.der,
        RaTlsCert::parse(meta.ca_cert.as_bytes()).unwrap().der
    );
    bylaw_ratls::tls::verify_chain(&leaf.der, &[ca.der.clone().into()], &root.der, now()).unwrap();
    assert_eq!(leaf.app_id, Some(app.id));
    assert_eq!(leaf.usage.as_deref(), Some("app:custom"));
    assert!(leaf.attestation.is_some());
    let info = leaf.app_info.as_ref().unwrap();
    assert_eq!(info.compose_hash, app.compose_hash().unwrap());
    assert!(!info.device_id.is_zero(), "32 real bytes on every platform");
    assert_eq!(
        leaf.trust_anchors.unwrap().as_bytes()[..],
        meta.trust_anchor_digest[..]
    );

    // Signatures mean what they say.
    let request = SignRequest {
        algorithm: "ed25519".into(),
        data: b"hello".to_vec(),
    };
    let signed: SignResponse = agent
        .client()
        .unwrap()
        .call("Sign", &request)
        .await
        .unwrap();
    let algorithm = bylaw_keys::Algorithm::Ed25519;
    assert!(verify_data(algorithm, b"hello", &signed.signature, &signed.public_key).unwrap());

    // A restarted app gets the same keys, another app others.
    agent.kill();
    agent.start().unwrap();
    assert_eq!(agent.key("wallet").await.unwrap().key, first.key);
    let other_agent = world
        .start_agent("other", &other, &kms, usual())
        .await
        .unwrap();
    assert_ne!(other_agent.key("wallet").await.unwrap().key, first.key);

    // Refused, each naming the rule.
    let refused = async |name: &str, app: &App, options: AgentOptions, rule: &str| {
        let error = world
            .start_agent(name, app, &kms, options)
            .await
            .unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(rule), "{name}: wanted {rule:?} in {text}");
    };
    let tampered = App {
        compose: app.compose.replace("nginx", "nginy"),
        ..app.clone()
    };
    let tampered_hash = tampered.compose_hash().unwrap().to_string();
    refused("tampered", &tampered, usual(), &tampered_hash).await;
    refused("tampered", &tampered, usual(), "Compose hash not allowed").await;
    let stolen = App {
        id: other.id,
        compose: app.compose.clone(),
    };
    refused("stolen", &stolen, usual(), "Compose hash not allowed").await;
    let unknown = App {
        id: AppId::new([9; 20]),
        compose: app.compose.clone(),
    };
    refused("unknown", &unknown, usual(), "App not registered").await;
    let image = AgentOptions {
        image: "another".into(),
        ..usual()
    };
    refused("image", &app, image, "OS image is not allowed").await;
    let debug = AgentOptions {
        debug: true,
        ..usual()
    };
    refused("debug", &app, debug, "debug mode").await;
    let governed = App {
        compose: app.compose.replace(
            "\"name\"",
            &format!(
                r#""governance":{{"chain_id":1,"kms_auth":"{}"}},"name""#,
                world.kms_auth
            ),
        ),
        ..app.clone()
    };
    refused("governed", &governed, usual(), "insists on KmsAuth").await;
    let pinned = App {
        compose: app
            .compose
            .replace("\"name\"", "\"key_provider_id\":\"00\",\"name\""),
        ..app.clone()
    };
    refused("pinned", &pinned, usual(), "app-compose.json names 00").await;

    // The owner changes that by transactions.
    world
        .owner
        .set_compose_hash(&app.id, &tampered.compose_hash().unwrap(), true)
        .await
        .unwrap();
    world.settle().await.unwrap();
    let allowed = world
        .start_agent("tampered", &tampered, &kms, usual())
        .await
        .unwrap();
    assert_eq!(
        allowed.key("wallet").await.unwrap().key,
        first.key,
        "an upgrade keeps its keys"
    );
    drop(allowed);
    world.stop("tampered").await.unwrap();
    world
        .owner
        .set_compose_hash(&app.id, &tampered.compose_hash().unwrap(), false)
        .await
        .unwrap();
    world.settle().await.unwrap();
    refused("tampered", &tampered, usual(), "Compose hash not allowed").await;

    // No key in any log.
    let secret = hex::encode(&first.key);
    for entry in walk(world.directory()) {
        let Ok(bytes) = std::fs::read(&entry) else {
            continue;
        };
        let leaked = String::from_utf8_lossy(&bytes).contains(&secret);
        assert!(!leaked, "{} holds a key", entry.display());
    }
}

fn now() -> u64 {
    bylaw_types::clock::Clock::system().now_unix()
}

fn public_of(secret: &[u8]) -> Vec<u8> {
    let key = alloy::signers::k256::ecdsa::SigningKey::from_slice(secret).unwrap();
    key.verifying_key()
        .to_encoded_point(true)
        .as_bytes()
        .to_vec()
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(walk(&entry.path())),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files
}
