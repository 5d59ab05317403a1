use bylaw_attest::Attestation;
use bylaw_types::{AppId, ReportData, TrustAnchorDigest};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::{CertSpec, Issuer, USAGE_APP_CA, USAGE_KMS};

const NOW: u64 = 1_790_000_000;

struct World {
    root: Issuer,
    temp: Issuer,
    leaf: Cert,
    key: P256Key,
}

fn ca(name: &str, path_len: u8) -> (Issuer, P256Key) {
    let key = P256Key::random().unwrap();
    let spec = CertSpec {
        subject: name.into(),
        organization: Some("Dstack".into()),
        ca_path_len: Some(path_len),
        ..CertSpec::default()
    };
    (Issuer::self_signed(&spec, &key, NOW).unwrap(), key)
}

fn world() -> World {
    let root = ca("Dstack KMS CA", 1).0;
    let key = P256Key::random().unwrap();
    let spec = CertSpec {
        subject: "localhost".into(),
        alt_names: vec!["localhost".into()],
        server_auth: true,
        usage: Some(USAGE_KMS),
        ..CertSpec::default()
    };
    let leaf = root.issue(&spec, &key.spki_der(), NOW).unwrap();
    World {
        root,
        temp: ca("Dstack Client Temp CA", 0).0,
        leaf,
        key,
    }
}

impl World {
    fn pinned(&self) -> ServerTrust {
        ServerTrust::Pinned {
            spki_der: self.key.spki_der(),
            ca: self.root.cert().der.clone(),
            usage: USAGE_KMS,
        }
    }

    /// Shakes hands and passes one byte each way.
    async fn handshake(&self, config: Arc<ClientConfig>) -> std::io::Result<()> {
        let identity = Identity {
            chain: vec![self.leaf.der.clone()],
            key: &self.key,
        };
        let acceptor = TlsAcceptor::from(server(identity, self.temp.cert()).unwrap());
        let (here, there) = duplex(64 * 1024);
        let serving = tokio::spawn(async move {
            let mut stream = acceptor.accept(there).await?;
            let byte = stream.read_u8().await?;
            stream.write_u8(byte).await?;
            stream.flush().await
        });
        let name = ServerName::try_from("anything.example").unwrap();
        let mut stream = TlsConnector::from(config).connect(name, here).await?;
        stream.write_u8(7).await?;
        stream.flush().await?;
        let echoed = stream.read_u8().await?;
        assert_eq!(echoed, 7);
        serving.await.unwrap()
    }
}

#[tokio::test]
async fn first_contact_and_pinned_servers_are_reached() {
    let world = world();
    for trust in [ServerTrust::FirstContact, world.pinned()] {
        world.handshake(client(trust, None).unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn another_key_ca_or_usage_is_refused() {
    let world = world();
    let other = P256Key::random().unwrap().spki_der();
    let root = world.root.cert().der.clone();
    for (what, trust) in [
        (
            "key",
            ServerTrust::Pinned {
                spki_der: other,
                ca: root.clone(),
                usage: USAGE_KMS,
            },
        ),
        (
            "CA",
            ServerTrust::Pinned {
                spki_der: world.key.spki_der(),
                ca: ca("Dstack KMS CA", 1).0.cert().der.clone(),
                usage: USAGE_KMS,
            },
        ),
        (
            "usage",
            ServerTrust::Pinned {
                spki_der: world.key.spki_der(),
                ca: root,
                usage: USAGE_APP_CA,
            },
        ),
    ] {
        assert!(
            world.handshake(client(trust, None).unwrap()).await.is_err(),
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_certificate_of_another_key_fails_the_handshake() {
    let mut world = world();
    // A relay shows the genuine certificate without having its key.
    world.key = P256Key::random().unwrap();
    let identity = Identity {
        chain: vec![world.leaf.der.clone()],
        key: &world.key,
    };
    match server(identity, world.temp.cert()) {
        Err(_) => {}
        Ok(_) => {
            let config = client(ServerTrust::FirstContact, None).unwrap();
            assert!(world.handshake(config).await.is_err());
        }
    }
}

#[tokio::test]
async fn client_certificates_chain_to_the_temp_ca_or_are_refused() {
    let world = world();
    let key = P256Key::random().unwrap();
    let spec = CertSpec {
        subject: "vm".into(),
        client_auth: true,
        ..CertSpec::default()
    };
    let own = world.temp.issue(&spec, &key.spki_der(), NOW).unwrap();
    let identity = Identity {
        chain: vec![own.der],
        key: &key,
    };
    world
        .handshake(client(world.pinned(), Some(identity)).unwrap())
        .await
        .unwrap();
    let foreign = ca("Dstack Client Temp CA", 0)
        .0
        .issue(&spec, &key.spki_der(), NOW)
        .unwrap();
    let identity = Identity {
        chain: vec![foreign.der],
        key: &key,
    };
    assert!(
        world
            .handshake(client(world.pinned(), Some(identity)).unwrap())
            .await
            .is_err()
    );
}

#[test]
fn every_field_survives_issue_and_parse() {
    let world = world();
    let app_id = AppId::new([5; 20]);
    let app_key = P256Key::random().unwrap();
    let evidence = Attestation::from_tdx_quote(&[1, 2, 3], ReportData::new([7; 64]));
    let app_ca = world
        .root
        .intermediate(
            &CertSpec {
                subject: "Dstack App CA".into(),
                organization: Some("Dstack".into()),
                ca_path_len: Some(0),
                app_id: Some(app_id),
                usage: Some(USAGE_APP_CA),
                ..CertSpec::default()
            },
            &app_key,
            NOW,
        )
        .unwrap();
    let key = P256Key::random().unwrap();
    let spec = CertSpec {
        subject: "leaf".into(),
        alt_names: vec!["a.example".into(), "10.0.0.1".into(), "::1".into()],
        server_auth: true,
        not_before: Some(NOW - 10),
        not_after: Some(NOW + 10),
        app_id: Some(app_id),
        usage: Some(crate::USAGE_CUSTOM),
        attestation: Some(evidence.clone()),
        trust_anchors: Some(TrustAnchorDigest::new([8; 32])),
        ..CertSpec::default()
    };
    let leaf = app_ca.issue(&spec, &key.spki_der(), NOW).unwrap();
    let parsed = RaTlsCert::parse(leaf.pem.as_bytes()).unwrap();
    assert_eq!(parsed.spki_der, key.spki_der());
    assert_eq!(parsed.app_id, Some(app_id));
    assert_eq!(parsed.usage.as_deref(), Some("app:custom"));
    assert_eq!(parsed.attestation, Some(evidence));
    assert_eq!(parsed.trust_anchors, Some(TrustAnchorDigest::new([8; 32])));
    let now = i64::try_from(NOW).unwrap();
    assert_eq!((parsed.not_before, parsed.not_after), (now - 10, now + 10));

    let root = &world.root.cert().der;
    let middle = [app_ca.cert().der.clone()];
    verify_chain(&leaf.der, &middle, root, NOW).unwrap();
    assert!(
        verify_chain(&leaf.der, &middle, root, NOW + 11).is_err(),
        "expired"
    );
    assert!(
        verify_chain(&leaf.der, &middle, root, NOW - 11).is_err(),
        "not yet valid"
    );
    assert!(
        verify_chain(&leaf.der, &[], root, NOW).is_err(),
        "no intermediate"
    );
    assert!(
        verify_chain(&leaf.der, &middle, &world.temp.cert().der, NOW).is_err(),
        "root"
    );
}

#[test]
fn a_ca_continues_from_its_certificate_and_key() {
    let (root, key) = ca("Dstack KMS CA", 1);
    let again = Issuer::from_parts(Cert::from_pem(&root.cert().pem).unwrap(), &key).unwrap();
    let leaf = again
        .issue(
            &CertSpec {
                subject: "x".into(),
                ..CertSpec::default()
            },
            &P256Key::random().unwrap().spki_der(),
            NOW,
        )
        .unwrap();
    verify_chain(&leaf.der, &[], &root.cert().der, NOW).unwrap();
}

#[test]
fn impossible_certificates_are_refused() {
    let world = world();
    let spki = world.key.spki_der();
    let issue = |spec: CertSpec| world.root.issue(&spec, &spki, NOW);
    let upside_down = CertSpec {
        not_before: Some(5),
        not_after: Some(5),
        ..CertSpec::default()
    };
    assert_eq!(
        issue(upside_down).unwrap_err().to_string(),
        "not_before must be earlier than not_after"
    );
    assert!(
        issue(CertSpec {
            alt_names: vec!["ü\u{0}".into()],
            ..CertSpec::default()
        })
        .is_err()
    );
    assert!(
        world
            .root
            .issue(&CertSpec::default(), b"no key", NOW)
            .is_err()
    );
}

#[test]
fn arbitrary_and_truncated_certificates_never_panic() {
    let world = world();
    for length in 0..world.leaf.der.len() {
        assert!(RaTlsCert::parse(&world.leaf.der[..length]).is_err());
    }
    assert!(
        RaTlsCert::parse(b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----").is_err()
    );
}
