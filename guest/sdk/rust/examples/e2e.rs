//! Every method and every verification against a running system, named by the variables
//! that `bylaw dev` writes to `.bylaw-dev/env`. Prints `sdk ok` at the end.
//!
//! ```sh
//! bylaw dev --detach && . .bylaw-dev/env
//! cargo run -p bylaw-sdk --example e2e
//! ```

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use bylaw_keys::{Secret, decrypt_anonymous};
use bylaw_sdk::tls::{ConnectError, connect, pinned};
use bylaw_sdk::{
    AppId, Client, ClientError, ComposeHash, Expect, KeyAlgorithm, KmsRoot, Measurement, Pccs,
    ReportData, TlsKeyOptions, TrustAnchors, Verifier, account, chain, encrypt_env,
    encrypt_env_signed, parse_chain, replay_rtmrs, verify_env_key, verify_env_key_legacy,
    verify_key_answer, verify_signature,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The running system, and what is known of it from outside.
struct System {
    client: Client,
    app_id: AppId,
    root: KmsRoot,
    verifier: Verifier,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let system = System::from_environment().await?;
    system.identity().await.context("identity")?;
    system.keys().await.context("keys")?;
    system.signatures().await.context("signatures")?;
    system.evidence().await.context("evidence")?;
    system.events().await.context("events")?;
    system.certificates().await.context("certificates")?;
    system.connections().await.context("connections")?;
    system.environments().await.context("environments")?;
    println!("sdk ok");
    Ok(())
}

fn variable(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| {
        format!("{name} is not set; run `bylaw dev --detach` and read .bylaw-dev/env")
    })
}

/// Other than this one in its last bit.
fn other(app_id: &AppId) -> AppId {
    let mut bytes = app_id.to_bytes();
    bytes[19] ^= 1;
    AppId::new(bytes)
}

/// The refusal must be by this rule.
fn ensure_refused<T>(
    verdict: Result<T, bylaw_sdk::VerifyError>,
    code: &str,
    what: &str,
) -> anyhow::Result<()> {
    match verdict {
        Ok(_) => bail!("{what} is accepted"),
        Err(error) if error.code() == code => Ok(()),
        Err(error) => bail!("{what} is refused by {}, not {code}: {error}", error.code()),
    }
}

impl System {
    async fn from_environment() -> anyhow::Result<Self> {
        let kms_auth = variable("KMS_CONTRACT_ADDR")?;
        let kms_auth: [u8; 20] = hex::decode(kms_auth.trim_start_matches("0x"))?
            .try_into()
            .map_err(|_| anyhow::anyhow!("KMS_CONTRACT_ADDR is not an address"))?;
        let anchors = TrustAnchors::with_tdx_root(&std::fs::read(variable("BYLAW_ROOT_CA")?)?)?;
        let collateral = Pccs::new(&variable("BYLAW_COLLATERAL")?)?;
        variable("DSTACK_SIMULATOR_ENDPOINT")?;
        Ok(Self {
            client: Client::new()?,
            app_id: variable("APP_CONTRACT_ADDR")?.parse()?,
            root: chain::fetch_kms_root(&variable("ETH_RPC_URL")?, &kms_auth).await?,
            verifier: Verifier::new(anchors, Arc::new(collateral)),
        })
    }

    /// What evidence of this app, made for these bytes, must say.
    fn expect(&self, report_data: ReportData) -> Expect {
        Expect {
            report_data: Some(report_data),
            app_id: Some(self.app_id),
            key_provider_id: Some(self.root.ca_spki().to_vec()),
            ..Expect::default()
        }
    }

    async fn identity(&self) -> anyhow::Result<()> {
        ensure!(
            self.client.is_reachable().await,
            "the agent does not answer"
        );
        ensure!(
            !self.client.version().await?.version.is_empty(),
            "no version"
        );
        self.client.gpu_info().await?;
        let info = self.client.info().await?;
        ensure!(
            info.app_id == self.app_id,
            "the agent says app {}",
            info.app_id
        );
        let provider = info.key_provider.context("no key provider")?;
        ensure!(
            provider.id == hex::encode(self.root.ca_spki()),
            "keys of another KMS"
        );
        let tcb = info.tcb_info.context("no measurements")?;
        let hash = ComposeHash::new(Sha256::digest(&tcb.app_compose).into());
        ensure!(
            hash == info.compose_hash,
            "the manifest has another hash: {hash}"
        );
        let silent = Client::builder()
            .endpoint("/nonexistent/dstack.sock")
            .build()?;
        ensure!(!silent.is_reachable().await, "nobody is reachable");
        Ok(())
    }

    async fn keys(&self) -> anyhow::Result<()> {
        let (root, app_id) = (&self.root, &self.app_id);
        for (name, algorithm) in [
            ("secp256k1", KeyAlgorithm::Secp256k1),
            ("ed25519", KeyAlgorithm::Ed25519),
        ] {
            let answer = self.client.get_key("e2e", "testing", name).await?;
            let again = self.client.get_key("e2e", "testing", name).await?;
            ensure!(answer.key == again.key, "the key changes");
            let elsewhere = self.client.get_key("e2e/2", "testing", name).await?;
            ensure!(answer.key != elsewhere.key, "another path has the same key");
            verify_key_answer(root, app_id, "testing", algorithm, &answer)?;
            let wrong = verify_key_answer(root, app_id, "production", algorithm, &answer);
            ensure_refused(wrong, "key_chain", "another purpose")?;
            let wrong = verify_key_answer(root, &other(app_id), "testing", algorithm, &answer);
            ensure_refused(wrong, "key_chain", "another app")?;
            let printed = format!("{answer:?}");
            ensure!(
                !printed.contains(&hex::encode(answer.key.expose())),
                "the key prints"
            );
            ensure!(
                account::ethereum(&answer)?.address.len() == 42,
                "no Ethereum account"
            );
            ensure!(
                account::solana(&answer).address.len() >= 32,
                "no Solana account"
            );
        }
        match self.client.get_key("e2e", "", "rsa").await {
            Err(ClientError::Refused { .. }) => Ok(()),
            answer => bail!("an algorithm there is none of: {answer:?}"),
        }
    }

    async fn signatures(&self) -> anyhow::Result<()> {
        let digest = Sha256::digest(b"e2e");
        for (algorithm, data) in [
            ("ed25519", b"hello".as_slice()),
            ("secp256k1", b"hello"),
            ("secp256k1_prehashed", &digest),
        ] {
            let answer = self.client.sign(algorithm, data).await?;
            verify_signature(&self.root, &self.app_id, algorithm, data, &answer)?;
            let (signature, public) = (&answer.signature, &answer.public_key);
            let valid = self
                .client
                .verify(algorithm, data, signature, public)
                .await?;
            ensure!(
                valid,
                "{algorithm}: the agent does not know its own signature"
            );
            let mut changed = data.to_vec();
            changed[0] ^= 1;
            let valid = self
                .client
                .verify(algorithm, &changed, signature, public)
                .await?;
            ensure!(!valid, "{algorithm}: the agent accepts other data");
            let wrong = verify_signature(&self.root, &self.app_id, algorithm, &changed, &answer);
            ensure_refused(wrong, "signature", "other data")?;
            let wrong =
                verify_signature(&self.root, &other(&self.app_id), algorithm, data, &answer);
            ensure_refused(wrong, "key_chain", "another app's signature")?;
        }
        Ok(())
    }

    async fn evidence(&self) -> anyhow::Result<()> {
        let challenge = ReportData::new([0xe2; 64]);
        let expect = self.expect(challenge);
        let quote = self.client.get_quote(challenge.as_bytes()).await?;
        let quoted = self
            .verifier
            .verify_evidence(&quote.evidence()?, &expect)
            .await?;
        let replayed = replay_rtmrs(&quote.event_log)?;
        ensure!(
            replayed == *quoted.rtmr(),
            "the event log replays to something else"
        );

        let evidence = self.client.evidence(challenge.as_bytes()).await?;
        let attested = self.verifier.verify_evidence(&evidence, &expect).await?;
        ensure!(
            attested.mr_system() == quoted.mr_system(),
            "two forms, two systems"
        );
        let info = self.client.info().await?;
        ensure!(
            attested.compose_hash() == Some(info.compose_hash),
            "another manifest"
        );
        ensure!(attested.device_id() == info.device_id, "another machine");
        ensure!(
            attested.prove_os_image(None)?.as_ref() == info.os_image_hash,
            "another image"
        );

        let verify = async |change: &dyn Fn(&mut Expect)| {
            let mut changed = expect.clone();
            change(&mut changed);
            self.verifier.verify_evidence(&evidence, &changed).await
        };
        let [rtmr0, rtmr1, rtmr2, _] = *attested.rtmr();
        let measured = Measurement {
            mrtd: Some(*attested.mrtd()),
            rtmr0: Some(rtmr0),
            rtmr1: Some(rtmr1),
            rtmr2: Some(rtmr2),
        };
        verify(&|expect| {
            expect.measurements = Some(vec![measured.clone()]);
            expect.device_ids = Some(vec![info.device_id]);
            expect.compose_hash = Some(info.compose_hash);
        })
        .await?;
        type Change<'a> = &'a dyn Fn(&mut Expect);
        let app = other(&self.app_id);
        let cases: [(&str, Change<'_>); 7] = [
            ("report_data_mismatch", &|expect| {
                expect.report_data = Some(ReportData::new([1; 64]))
            }),
            ("app_id", &|expect| expect.app_id = Some(app)),
            ("compose_hash", &|expect| {
                expect.compose_hash = Some(ComposeHash::new([1; 32]))
            }),
            ("device_id", &|expect| expect.device_ids = Some(vec![])),
            ("measurement", &|expect| expect.measurements = Some(vec![])),
            ("key_provider", &|expect| {
                expect.key_provider_id = Some(vec![1])
            }),
            ("tcb_status", &|expect| expect.tcb_statuses.clear()),
        ];
        for (code, change) in cases {
            ensure_refused(
                verify(change).await,
                code,
                &format!("evidence of another {code}"),
            )?;
        }
        let intel = Verifier::intel(&variable("BYLAW_COLLATERAL")?)?;
        let verdict = intel.verify_evidence(&evidence, &expect).await;
        ensure!(verdict.is_err(), "simulated evidence passes for Intel's");
        Ok(())
    }

    async fn events(&self) -> anyhow::Result<()> {
        let challenge = ReportData::new([0xe3; 64]);
        let before = self.client.evidence(challenge.as_bytes()).await?;
        self.client.emit_event("app-id", &[0x33; 20]).await?;
        let after = self.client.evidence(challenge.as_bytes()).await?;
        // The app's own event is measured, and does not make it another app.
        let expect = self.expect(challenge);
        let before = self.verifier.verify_evidence(&before, &expect).await?;
        let after = self.verifier.verify_evidence(&after, &expect).await?;
        ensure!(before.rtmr() != after.rtmr(), "the event is not measured");
        let last = after.events().last().context("no events")?;
        ensure!(
            last.event == "app-id" && last.payload == [0x33; 20],
            "another event is last"
        );
        Ok(())
    }

    async fn certificates(&self) -> anyhow::Result<()> {
        let (root, expect) = (Some(&self.root), self.app());
        let options = TlsKeyOptions {
            subject: "e2e".to_owned(),
            alt_names: vec!["localhost".to_owned()],
            usage_ra_tls: true,
            ..TlsKeyOptions::default()
        };
        let answer = self.client.get_tls_key(&options).await?;
        ensure!(
            !format!("{answer:?}").contains("PRIVATE KEY"),
            "the key prints"
        );
        let again = self.client.get_tls_key(&options).await?;
        ensure!(answer.key != again.key, "the TLS key is not fresh");
        account::ethereum_from_tls_key_secure(&answer)?;
        account::solana_from_tls_key_secure(&answer)?;
        let chain = parse_chain(&answer.certificate_chain.concat())?;
        let peer = self
            .verifier
            .verify_certificate(&chain, root, &expect)
            .await?;
        ensure!(peer.subject() == Some("e2e"), "another subject");

        let stranger = KmsRoot::new(self.root.k256_public(), peer.spki_der())?;
        let wrong = self
            .verifier
            .verify_certificate(&chain, Some(&stranger), &expect)
            .await;
        ensure_refused(wrong, "chain", "another KMS")?;
        let mut elsewhere = expect.clone();
        elsewhere.app_id = Some(other(&self.app_id));
        let wrong = self
            .verifier
            .verify_certificate(&chain, root, &elsewhere)
            .await;
        ensure_refused(wrong, "app_id", "another app")?;
        let bare = TlsKeyOptions {
            usage_ra_tls: false,
            ..options
        };
        let bare = self.client.get_tls_key(&bare).await?.certificate_chain;
        let bare = parse_chain(&bare.concat())?;
        let wrong = self.verifier.verify_certificate(&bare, root, &expect).await;
        ensure_refused(wrong, "encoding", "a certificate without evidence")?;

        let own = parse_chain(&self.client.info().await?.app_cert)?;
        self.verifier
            .verify_certificate(&own, root, &expect)
            .await?;
        Ok(())
    }

    fn app(&self) -> Expect {
        Expect {
            app_id: Some(self.app_id),
            ..Expect::default()
        }
    }

    async fn connections(&self) -> anyhow::Result<()> {
        let options = TlsKeyOptions {
            usage_ra_tls: true,
            ..TlsKeyOptions::default()
        };
        let answer = self.client.get_tls_key(&options).await?;
        let chain = parse_chain(&answer.certificate_chain.concat())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                chain.into_iter().map(CertificateDer::from).collect(),
                PrivateKeyDer::from_pem_slice(answer.key.as_bytes())?,
            )?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that goes away is what one of the steps is about.
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.write_all(b"hello").await;
                    let _ = stream.shutdown().await;
                }
            }
        });

        let name = ServerName::try_from("localhost")?;
        let open = || TcpStream::connect(address);
        let (root, verifier) = (Some(&self.root), &self.verifier);
        let (mut stream, peer) =
            connect(open().await?, name.clone(), verifier, root, &self.app()).await?;
        let mut greeting = [0; 5];
        stream.read_exact(&mut greeting).await?;
        ensure!(&greeting == b"hello", "the app says something else");
        let mut elsewhere = self.app();
        elsewhere.app_id = Some(other(&self.app_id));
        match connect(open().await?, name.clone(), verifier, root, &elsewhere).await {
            Err(ConnectError::Verify(error)) if error.code() == "app_id" => {}
            other => bail!(
                "connecting to another app: {:?}",
                other.map(|(_, peer)| peer)
            ),
        }
        let pinned = TlsConnector::from(pinned(&peer)?);
        pinned
            .connect(name, open().await?)
            .await?
            .read_exact(&mut greeting)
            .await?;
        Ok(())
    }

    async fn environments(&self) -> anyhow::Result<()> {
        #[derive(serde::Deserialize)]
        struct Answer {
            public_key: String,
            signature: String,
            timestamp: u64,
            signature_v1: String,
        }
        let variables = || [("NAME".to_owned(), "value".to_owned())];
        let secret = Secret::random()?;
        if let Ok(url) = std::env::var("KMS_URL") {
            // Whoever answers: the signature says whether it is the KMS's key.
            let tls = bylaw_ratls::tls::client(bylaw_ratls::tls::ServerTrust::FirstContact, None)?;
            let http = reqwest::Client::builder()
                .tls_backend_preconfigured((*tls).clone())
                .build()?;
            let answer: Answer = http
                .post(format!("{url}/prpc/GetAppEnvEncryptPubKey?json"))
                .json(&serde_json::json!({ "app_id": self.app_id }))
                .send()
                .await?
                .json()
                .await?;
            let public = hex::decode(answer.public_key)?;
            let (new, old) = (
                hex::decode(answer.signature_v1)?,
                hex::decode(answer.signature)?,
            );
            let expected = Some(self.root.k256_public());
            let verify = |app_id: &AppId, now| {
                verify_env_key(&public, app_id, answer.timestamp, &new, expected, now, 300)
            };
            verify(&self.app_id, answer.timestamp)?;
            verify_env_key_legacy(&public, &self.app_id, &old, expected)?;
            ensure_refused(
                verify(&other(&self.app_id), answer.timestamp),
                "env_key",
                "another app",
            )?;
            ensure_refused(
                verify(&self.app_id, answer.timestamp + 301),
                "env_key",
                "an old key",
            )?;
            let public: [u8; 32] = public
                .try_into()
                .map_err(|_| anyhow::anyhow!("not 32 bytes"))?;
            encrypt_env(variables(), &public)?;
            encrypt_env_signed(variables(), &public, self.app_id, 1, &secret)?;
        }
        let recipient = "9aee1a85448856ea10b5e4bda49b2be7a3cb9cc23bc3e4462da284f4fd62f81c";
        let key = "46dd6b08f28b268385311db5091d2b002842102041550323af2a3c72a3712a93";
        let recipient: [u8; 32] = hex::decode(recipient)?.try_into().unwrap_or_default();
        let sealed = encrypt_env(variables(), &recipient)?;
        let key = Secret::from_slice(&hex::decode(key)?).context("32 bytes")?;
        let opened = decrypt_anonymous(&key, &sealed)?;
        ensure!(
            *opened == br#"{"env":[{"key":"NAME","value":"value"}]}"#,
            "another plaintext"
        );
        let twice = variables().into_iter().chain(variables());
        ensure!(
            encrypt_env(twice, &recipient).is_err(),
            "a name twice is accepted"
        );
        Ok(())
    }
}
