//! Forged requests to a running KMS, each refused for its own reason.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use bylaw_attest::{Attestation, Platform, report_data};
use bylaw_e2e::world::manifest;
use bylaw_e2e::{App, Kms, World};
use bylaw_keys::P256Key;
use bylaw_ratls::csr::{CertConfig, Csr};
use bylaw_ratls::tls::{Identity, ServerTrust, client};
use bylaw_ratls::{Cert, CertSpec, Issuer};
use bylaw_rpc::message::kms::{
    AppKeyResponse, GetAppKeyRequest, GetTempCaCertResponse, SignCertRequest, SignCertResponse,
};
use bylaw_rpc::{Client, ClientError, Empty};
use bylaw_simtee::{Launch, Machine, Options, Td};
use bylaw_types::{AppCompose, ReportData};

struct Attacker {
    kms: String,
    temp: Issuer,
    td: Td,
    key: P256Key,
}

impl Attacker {
    async fn new(world: &World, kms: &Kms, app: &App) -> Self {
        // The same simulated machine, driven by hand.
        let machine = Machine::open(&world.directory().join("tee"), Options::default()).unwrap();
        let launch = Launch {
            name: "attacker".into(),
            compose: AppCompose::parse(app.compose.as_bytes()).unwrap(),
            app_id: Some(app.id),
            image: String::new(),
            memory_size: 2 << 30,
            cpu_count: 2,
            full_boot: false,
            debug: false,
            outdated: false,
            gpus: 0,
            instance_seed: None,
        };
        let temp: GetTempCaCertResponse = kms
            .client()
            .unwrap()
            .call("GetTempCaCert", &Empty {})
            .await
            .unwrap();
        let temp_key = P256Key::from_pkcs8_pem(&temp.temp_ca_key).unwrap();
        Self {
            kms: kms.url.clone(),
            temp: Issuer::from_parts(Cert::from_pem(&temp.temp_ca_cert).unwrap(), &temp_key)
                .unwrap(),
            td: Td::launch(Arc::new(machine), launch).unwrap(),
            key: P256Key::random().unwrap(),
        }
    }

    fn evidence(&self) -> Attestation {
        self.td.attest(&report_data::ratls(&self.key.spki_der()))
    }

    fn client(&self, evidence: Option<Attestation>) -> Client {
        let spec = CertSpec {
            subject: "x".into(),
            client_auth: true,
            attestation: evidence,
            ..CertSpec::default()
        };
        let cert = self
            .temp
            .issue(&spec, &self.key.spki_der(), 1_800_000_000)
            .unwrap();
        let identity = Identity {
            chain: vec![cert.der],
            key: &self.key,
        };
        let tls = client(ServerTrust::FirstContact, Some(identity)).unwrap();
        Client::new(&self.kms).unwrap().prpc().with_tls(tls)
    }

    async fn ask(
        &self,
        evidence: Attestation,
        vm_config: &str,
    ) -> Result<AppKeyResponse, ClientError> {
        let request = GetAppKeyRequest {
            api_version: 1,
            vm_config: vm_config.into(),
        };
        self.client(Some(evidence))
            .call("GetAppKey", &request)
            .await
    }
}

fn refused<T: std::fmt::Debug>(what: &str, answer: Result<T, ClientError>, code: &str, part: &str) {
    match answer {
        Err(ClientError::Refused {
            code: actual,
            message,
        }) => {
            assert_eq!(actual, code, "{what}: {message}");
            assert!(
                message.contains(part),
                "{what}: wanted {part:?} in {message:?}"
            );
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_requests_are_refused_each_for_its_own_reason() {
    let world = World::start().await.unwrap();
    let kms = world.bootstrapped_kms().await.unwrap();
    let app = world.create_app(&manifest("app")).await.unwrap();
    world.settle().await.unwrap();
    let attacker = Attacker::new(&world, &kms, &app).await;
    let config = attacker.td.vm_config().to_owned();

    // The genuine request, so that each forgery differs in one thing.
    let genuine = attacker.ask(attacker.evidence(), &config).await.unwrap();
    assert_eq!(genuine.disk_crypt_key.len(), 32);

    let not_verified = "evidence_not_verified";
    let mut tampered = attacker.evidence();
    let Platform::Tdx { quote, .. } = &mut tampered.platform else {
        panic!("TDX")
    };
    quote[200] ^= 1;
    refused(
        "quote",
        attacker.ask(tampered, &config).await,
        not_verified,
        "signature",
    );

    let mut tampered = attacker.evidence();
    tampered.stack.runtime_events[1].payload[0] ^= 1;
    refused(
        "event log",
        attacker.ask(tampered, &config).await,
        not_verified,
        "replays to",
    );

    let other_key = P256Key::random().unwrap();
    let replayed = attacker
        .td
        .attest(&report_data::ratls(&other_key.spki_der()));
    refused(
        "another key",
        attacker.ask(replayed, &config).await,
        not_verified,
        "another key",
    );
    let unbound = attacker.td.attest(&ReportData::new([0; 64]));
    refused(
        "no key",
        attacker.ask(unbound, &config).await,
        not_verified,
        "another key",
    );

    let mut lying = attacker.evidence();
    lying.stack.report_data = ReportData::new([1; 64]);
    refused(
        "stated challenge",
        attacker.ask(lying, &config).await,
        not_verified,
        "report data",
    );

    let image = "identity_not_established";
    let claimed: serde_json::Value = serde_json::from_str(&config).unwrap();
    let real = claimed["os_image_hash"].as_str().unwrap();
    let other = config.replace(real, &"11".repeat(32));
    refused(
        "claimed image",
        attacker.ask(attacker.evidence(), &other).await,
        image,
        "commit",
    );
    let substring = config.replace(real, &real[..62]);
    refused(
        "part of a hash",
        attacker.ask(attacker.evidence(), &substring).await,
        image,
        "32 bytes",
    );

    let request = GetAppKeyRequest {
        api_version: 1,
        vm_config: config.clone(),
    };
    let answer = attacker
        .client(None)
        .call::<_, AppKeyResponse>("GetAppKey", &request)
        .await;
    refused(
        "no evidence",
        answer,
        "no_evidence",
        "App not allowed: No attestation provided",
    );
    let answer = kms
        .client()
        .unwrap()
        .call::<_, AppKeyResponse>("GetAppKey", &request)
        .await;
    refused(
        "no certificate",
        answer,
        "no_evidence",
        "No attestation provided",
    );
    let request = GetAppKeyRequest {
        api_version: 2,
        ..request
    };
    let answer = attacker
        .client(Some(attacker.evidence()))
        .call::<_, AppKeyResponse>("GetAppKey", &request)
        .await;
    refused(
        "api version",
        answer,
        "bad_request",
        "Unsupported API version: 2",
    );

    // Certificates: signed by the key, evidence for the key.
    let sign = async |csr: Vec<u8>, signature: Vec<u8>| {
        let request = SignCertRequest {
            api_version: 2,
            csr,
            signature,
            vm_config: config.clone(),
        };
        kms.client()
            .unwrap()
            .call::<_, SignCertResponse>("SignCert", &request)
            .await
    };
    let wish = CertConfig {
        subject: "x".into(),
        ..CertConfig::default()
    };
    let (csr, signature) = Csr::sign(&attacker.key, wish.clone(), &attacker.evidence()).unwrap();
    assert_eq!(
        sign(csr.clone(), signature.clone())
            .await
            .unwrap()
            .certificate_chain
            .len(),
        3
    );
    let mut forged = signature.clone();
    *forged.last_mut().unwrap() ^= 1;
    refused(
        "CSR signature",
        sign(csr.clone(), forged).await,
        "bad_request",
        "signed",
    );
    let (csr, signature) = Csr::sign(&other_key, wish, &attacker.evidence()).unwrap();
    refused(
        "CSR key",
        sign(csr, signature).await,
        not_verified,
        "another key",
    );

    let text = kms.log_text();
    for secret in [
        &genuine.disk_crypt_key,
        &genuine.k256_key,
        &genuine.env_crypt_key,
    ] {
        assert!(!text.contains(&hex::encode(secret)), "the log holds a key");
    }
}
