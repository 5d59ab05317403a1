//! Connections to apps: who is verified, and that others learn nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use bylaw_keys::{P256Key, RootMaterial, Secret};
use bylaw_ratls::{Cert, CertSpec, Issuer, USAGE_APP_CA, USAGE_CUSTOM};
use bylaw_sdk::tls::{ConnectError, connect, pinned};
use bylaw_sdk::{
    AppId, Expect, KeyProviderInfo, KmsRoot, TrustAnchors, Verifier, VerifyError,
    report_data_for_tls_key,
};
use bylaw_simtee::{Launch, Machine, Options, Td};
use bylaw_types::AppCompose;
use bylaw_types::clock::Clock;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const APP: AppId = AppId::new([0x11; 20]);

/// An app's VM with a TLS key from a KMS, and what its clients know.
struct World {
    chain: Vec<Cert>,
    key: P256Key,
    root: KmsRoot,
    verifier: Verifier,
    _state: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let machine = Arc::new(Machine::open(state.path(), Options::default()).unwrap());
        let anchors = TrustAnchors::with_tdx_root(machine.root_der()).unwrap();
        let now = Clock::system().now_unix();
        let verifier = Verifier::with_collateral(anchors.clone(), machine.collateral(now).unwrap());
        let secret = |byte: u8| Secret::take(&mut [byte; 32]);
        let kms = RootMaterial::from_parts(secret(1), secret(2)).unwrap();
        let kms = kms.bind(&anchors.set()).unwrap();
        let root = KmsRoot::new(&kms.k256_public(), &kms.ca().spki_der()).unwrap();

        let key = P256Key::random().unwrap();
        let td = launch(machine);
        let provider = KeyProviderInfo::kms(root.ca_spki()).to_payload();
        td.extend("key-provider", &provider);
        td.extend("system-ready", &[]);
        let evidence = td.attest(&report_data_for_tls_key(&key.spki_der()));

        let ca = CertSpec {
            subject: "Dstack KMS CA".to_owned(),
            ca_path_len: Some(1),
            ..CertSpec::default()
        };
        let app_ca = CertSpec {
            subject: "Dstack App CA".to_owned(),
            ca_path_len: Some(0),
            app_id: Some(APP),
            usage: Some(USAGE_APP_CA),
            ..CertSpec::default()
        };
        let leaf = CertSpec {
            subject: "app".to_owned(),
            app_id: Some(APP),
            usage: Some(USAGE_CUSTOM),
            attestation: Some(evidence),
            ..CertSpec::default()
        };
        let ca = Issuer::self_signed(&ca, kms.ca(), now).unwrap();
        let app_ca = ca
            .intermediate(&app_ca, &kms.app_ca(&APP).unwrap(), now)
            .unwrap();
        let leaf = app_ca.issue(&leaf, &key.spki_der(), now).unwrap();
        Self {
            chain: vec![leaf, app_ca.cert().clone(), ca.cert().clone()],
            key,
            root,
            verifier,
            _state: state,
        }
    }

    fn acceptor(&self, key: &P256Key) -> TlsAcceptor {
        let der = PrivatePkcs8KeyDer::from(key.to_pkcs8_der().unwrap().to_vec());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let signing = provider
            .key_provider
            .load_private_key(PrivateKeyDer::Pkcs8(der))
            .unwrap();
        let chain = self.chain.iter().map(|cert| cert.der.clone()).collect();
        // Not checked against the chain: a server may show what is not its own.
        let certified = rustls::sign::CertifiedKey::new(chain, signing);
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
        TlsAcceptor::from(Arc::new(config))
    }

    /// A server that echoes one byte; it returns what it was sent.
    fn serve(&self, key: &P256Key) -> (DuplexStream, tokio::task::JoinHandle<Vec<u8>>) {
        let (client, server) = duplex(1 << 16);
        let acceptor = self.acceptor(key);
        let task = tokio::spawn(async move {
            let Ok(mut stream) = acceptor.accept(server).await else {
                return vec![];
            };
            let mut received = vec![0; 1];
            match stream.read_exact(&mut received).await {
                Ok(_) => {
                    stream.write_all(&received).await.unwrap();
                    stream.flush().await.unwrap();
                    received
                }
                Err(_) => vec![],
            }
        });
        (client, task)
    }

    async fn connect(&self, key: &P256Key, expect: &Expect) -> Result<Vec<u8>, ConnectError> {
        let (stream, server) = self.serve(key);
        let connected = connect(stream, name(), &self.verifier, Some(&self.root), expect).await;
        match connected {
            Ok((mut stream, peer)) => {
                assert_eq!(peer.appraisal().app_id(), Some(APP));
                assert_eq!(peer.subject(), Some("app"));
                stream.write_all(b"x").await?;
                stream.flush().await?;
                let mut echoed = vec![0; 1];
                stream.read_exact(&mut echoed).await?;
                Ok(echoed)
            }
            Err(error) => {
                assert_eq!(server.await.unwrap(), b"", "nothing was sent");
                Err(error)
            }
        }
    }
}

fn launch(machine: Arc<Machine>) -> Td {
    let compose = AppCompose::parse(
        br#"{"manifest_version":2,"name":"x","runner":"docker-compose","docker_compose_file":""}"#,
    )
    .unwrap();
    let launch = Launch {
        name: "tls".to_owned(),
        compose,
        app_id: Some(APP),
        image: String::new(),
        memory_size: 2 << 30,
        cpu_count: 1,
        full_boot: false,
        debug: false,
        outdated: false,
        gpus: 0,
        instance_seed: Some([0; 20]),
    };
    Td::launch(machine, launch).unwrap()
}

fn name() -> ServerName<'static> {
    ServerName::try_from("app").unwrap()
}

fn app(app_id: AppId) -> Expect {
    Expect {
        app_id: Some(app_id),
        ..Expect::default()
    }
}

#[tokio::test]
async fn the_app_is_reached() {
    let world = World::new();
    assert_eq!(world.connect(&world.key, &app(APP)).await.unwrap(), b"x");
}

#[tokio::test]
async fn another_app_is_sent_nothing() {
    let world = World::new();
    let error = world
        .connect(&world.key, &app(AppId::new([0x33; 20])))
        .await
        .unwrap_err();
    assert!(
        matches!(error, ConnectError::Verify(VerifyError::AppId { .. })),
        "{error}"
    );
}

#[tokio::test]
async fn whoever_shows_the_certificates_without_the_key_is_sent_nothing() {
    let world = World::new();
    let thief = P256Key::random().unwrap();
    let error = world.connect(&thief, &app(APP)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls(_)), "{error}");
}

#[tokio::test]
async fn another_kms_is_refused() {
    let mut world = World::new();
    let other = P256Key::random().unwrap();
    world.root = KmsRoot::new(world.root.k256_public(), &other.spki_der()).unwrap();
    let error = world.connect(&world.key, &app(APP)).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Verify(VerifyError::Chain(_))),
        "{error}"
    );
}

#[tokio::test]
async fn a_pinned_peer_is_the_same_peer() {
    let world = World::new();
    let chain: Vec<_> = world.chain.iter().map(|cert| &cert.der).collect();
    let this_app = app(APP);
    let verify = |root| world.verifier.verify_certificate(&chain, root, &this_app);
    let peer = verify(Some(&world.root)).await.unwrap();
    let config = pinned(&peer).unwrap();

    let (stream, server) = world.serve(&world.key);
    let mut stream = TlsConnector::from(Arc::clone(&config))
        .connect(name(), stream)
        .await
        .unwrap();
    stream.write_all(b"y").await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(server.await.unwrap(), b"y");

    // Another instance of the same app: genuine, but not this peer.
    let other = World::new();
    let (stream, _server) = other.serve(&other.key);
    assert!(
        TlsConnector::from(config)
            .connect(name(), stream)
            .await
            .is_err()
    );

    let unrooted = verify(None).await.unwrap();
    assert!(pinned(&unrooted).is_err());
}
