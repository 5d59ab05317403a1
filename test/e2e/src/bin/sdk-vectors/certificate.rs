//! `certificate.json`.

mod cert;
mod chains;
mod extensions;

use anyhow::Context;
use bylaw_attest::event_log;
use bylaw_attest::{Attestation, Platform, report_data};
use bylaw_keys::P256Key;
use bylaw_types::{AppId, KeyProviderInfo};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use time::OffsetDateTime;

use cert::{Cert, raw};

use crate::evidence::case;
use crate::tee::{self, APP, TIME, Tee, Vm};

const QUOTE: u64 = 1;
const EVENT_LOG: u64 = 2;
const APP_ID: u64 = 3;
const USAGE: u64 = 4;
const ATTESTATION: u64 = 8;

const DAY: u64 = 24 * 60 * 60;
const OTHER_APP: AppId = AppId::new([0x33; 20]);

pub(crate) async fn vectors(tee: &Tee) -> anyhow::Result<Value> {
    let key = P256Key::random()?;
    let vm = tee.vm();
    let evidence = vm.attest(&report_data::ratls(&key.spki_der()))?;
    let collateral = tee::collateral(&tee.machine, TIME)?;
    let mut expect = tee::expect(tee, &evidence)?;
    // The certificate's key decides the report data.
    expect
        .as_object_mut()
        .context("an object")?
        .remove("report_data");
    let mut cases = Cases {
        tee,
        key,
        evidence,
        good: vec![],
        bad: vec![],
    };
    let chain = cases.kms_chain()?;
    cases.accepted(&expect)?;
    cases.evidence()?;
    cases.chains(&chain)?;
    cases.extensions(&chain)?;
    cases.expectations(&chain, &expect);
    Ok(json!({
        "time": TIME,
        "root_ca": tee.machine.root_pem(),
        "pccs": tee::pccs(&collateral)?,
        "collateral": collateral,
        "chain": chain,
        "kms_ca_spki": hex::encode(tee.kms_spki()),
        "expect": expect,
        "appraisal": tee::appraisal(tee, &cases.evidence)?,
        "good": cases.good,
        "bad": cases.bad,
    }))
}

struct Cases<'a> {
    tee: &'a Tee,
    /// Of the leaf.
    key: P256Key,
    /// For the leaf's key.
    evidence: Attestation,
    good: Vec<Value>,
    bad: Vec<Value>,
}

impl Cases<'_> {
    /// Adds a case; of `codes` the first is what we say, the others are as right.
    fn bad(&mut self, name: &str, chain: &[String], codes: &[&str], more: Value) {
        let verdict = match codes {
            [code, rest @ ..] if !rest.is_empty() => json!({ "code": code, "or": rest }),
            codes => json!({ "code": codes.first() }),
        };
        self.bad
            .push(case(name, &[json!({ "chain": chain }), verdict, more]));
    }

    fn good(&mut self, name: &str, chain: &[String], more: Value) {
        self.good
            .push(case(name, &[json!({ "chain": chain }), more]));
    }

    /// Leaf, app CA and root as a KMS issues them.
    fn kms_chain(&self) -> anyhow::Result<Vec<String>> {
        use bylaw_ratls::{CertSpec, Issuer, USAGE_APP_CA, USAGE_CUSTOM};

        let trust_anchors = Some(*self.tee.anchors.set().digest());
        let root = CertSpec {
            subject: "Dstack KMS CA".to_owned(),
            organization: Some("Dstack".to_owned()),
            ca_path_len: Some(1),
            trust_anchors,
            ..CertSpec::default()
        };
        let ca = CertSpec {
            subject: "Dstack App CA".to_owned(),
            ca_path_len: Some(0),
            app_id: Some(APP),
            usage: Some(USAGE_APP_CA),
            ..root.clone()
        };
        let leaf = CertSpec {
            subject: "app.example".to_owned(),
            alt_names: vec!["app.example".to_owned(), "127.0.0.1".to_owned()],
            server_auth: true,
            app_id: Some(APP),
            usage: Some(USAGE_CUSTOM),
            attestation: Some(self.evidence.clone()),
            trust_anchors,
            ..CertSpec::default()
        };
        let root = Issuer::self_signed(&root, self.tee.kms.ca(), TIME)?;
        let ca = root.intermediate(&ca, &self.tee.kms.app_ca(&APP)?, TIME)?;
        let leaf = ca.issue(&leaf, &self.key.spki_der(), TIME)?;
        Ok(vec![
            leaf.pem,
            ca.cert().pem.clone(),
            root.cert().pem.clone(),
        ])
    }

    fn root(&self) -> Cert<'_> {
        Cert::ca("Dstack KMS CA", self.tee.kms.ca(), 1)
    }

    /// Leaf of this evidence, app CA and root, each as `change` leaves it.
    fn chain_of(
        &self,
        evidence: &Attestation,
        change: impl FnOnce(&mut Cert<'_>, &mut Cert<'_>, &mut Cert<'_>),
    ) -> anyhow::Result<Vec<String>> {
        let app_key = self.tee.kms.app_ca(&APP)?;
        let mut root = self.root();
        let mut ca = Cert::ca("Dstack App CA", &app_key, 0)
            .with(APP_ID, APP.as_ref())
            .with(USAGE, b"app:ca");
        let mut leaf = Cert::leaf(&self.key)
            .with(APP_ID, APP.as_ref())
            .with(USAGE, b"app:custom")
            .with(ATTESTATION, &evidence.clone().stripped().encode());
        change(&mut leaf, &mut ca, &mut root);
        Ok(vec![
            leaf.signed_by(&ca)?,
            ca.signed_by(&root)?,
            root.self_signed()?,
        ])
    }

    fn chain(
        &self,
        change: impl FnOnce(&mut Cert<'_>, &mut Cert<'_>, &mut Cert<'_>),
    ) -> anyhow::Result<Vec<String>> {
        self.chain_of(&self.evidence, change)
    }

    fn vm(&self, change: impl FnOnce(&mut Vm)) -> anyhow::Result<Attestation> {
        let mut vm = self.tee.vm();
        change(&mut vm);
        vm.attest(&report_data::ratls(&self.key.spki_der()))
    }

    fn accepted(&mut self, expect: &Value) -> anyhow::Result<()> {
        let whole = self.chain(|_, _, _| {})?;
        self.good("minimal certificates", &whole, json!({}));
        let again = self.chain(|_, _, root| {
            root.from = TIME - 2 * DAY;
            root.until = TIME + 2 * DAY;
        })?;
        self.good("root issued again for the same key", &again, json!({}));
        let nameless = self.chain(|leaf, _, _| drop(leaf.extensions.remove(0)))?;
        self.good("leaf without app id", &nameless, json!({}));
        let alone = Cert {
            extensions: vec![],
            ..Cert::leaf(&self.key)
        }
        .with(ATTESTATION, &self.evidence.clone().stripped().encode())
        .self_signed()?;
        let bare = json!({ "kms_ca_spki": null });
        self.good(
            "self-signed leaf, no KMS root asked for",
            &[alone],
            bare.clone(),
        );
        self.good("chain there, no KMS root asked for", &whole, bare);
        let (quote, log) = self.legacy()?;
        let legacy = self.chain(|leaf, _, _| {
            leaf.extensions.pop();
            *leaf = leaf
                .clone()
                .with(QUOTE, &quote)
                .with(EVENT_LOG, log.as_bytes());
        })?;
        self.good("evidence in the older extensions", &legacy, json!({}));
        let nothing = json!({ "expect": {} });
        self.good("nothing expected", &whole, nothing);
        let two = self.vm(|vm| vm.events = 2)?;
        let mut expect_two = expect.clone();
        expect_two["compose_hash"] =
            json!(event_log::field(&two.stack.runtime_events, "compose-hash").map(hex::encode));
        let two = self.chain_of(&two, |_, _, _| {})?;
        self.good(
            "event log of version 2",
            &two,
            json!({ "expect": expect_two }),
        );
        Ok(())
    }

    /// Quote and event log of the older extensions.
    fn legacy(&self) -> anyhow::Result<(Vec<u8>, String)> {
        let Platform::Tdx { quote, event_log } = &self.evidence.platform else {
            anyhow::bail!("not TDX");
        };
        Ok((quote.clone(), event_log::to_json(event_log).to_string()))
    }

    fn evidence(&mut self) -> anyhow::Result<()> {
        let stranger = P256Key::random()?;
        let other = self
            .tee
            .vm()
            .attest(&report_data::ratls(&stranger.spki_der()))?;
        let copied = self.chain_of(&other, |_, _, _| {})?;
        self.bad(
            "evidence of another key",
            &copied,
            &["report_data_mismatch"],
            json!({}),
        );
        let challenge = self.tee.vm().attest(&report_data::tagged(
            "app-data",
            report_data::HashAlgorithm::Sha512,
            &self.key.spki_der(),
        ))?;
        let challenge = self.chain_of(&challenge, |_, _, _| {})?;
        self.bad(
            "evidence for the key under another tag",
            &challenge,
            &["report_data_mismatch"],
            json!({}),
        );
        for (name, codes, evidence) in [
            ("debug TD", &["debug"][..], self.vm(|vm| vm.debug = true)?),
            (
                "platform out of date",
                &["tcb_status"],
                self.vm(|vm| vm.outdated = true)?,
            ),
            (
                "another machine's evidence",
                &["quote", "collateral", "chain"],
                self.vm(|vm| vm.machine = self.tee.other.clone())?,
            ),
        ] {
            let chain = self.chain_of(&evidence, |_, _, _| {})?;
            self.bad(name, &chain, codes, json!({}));
        }
        let provider = KeyProviderInfo::kms(&stranger.spki_der()).to_payload();
        let elsewhere = self.vm(|vm| vm.key_provider = Some(provider))?;
        let elsewhere = self.chain_of(&elsewhere, |_, _, _| {})?;
        let without = json!({ "expect": { "tcb_statuses": ["UpToDate"] } });
        self.bad(
            "the VM's keys come from another KMS",
            &elsewhere,
            &["key_provider"],
            without.clone(),
        );
        let none = self.vm(|vm| vm.key_provider = None)?;
        let none = self.chain_of(&none, |_, _, _| {})?;
        self.bad("the VM names no KMS", &none, &["key_provider"], without);
        let mut changed = self.evidence.clone();
        if let Some(byte) = changed
            .stack
            .runtime_events
            .get_mut(2)
            .and_then(|event| event.payload.first_mut())
        {
            *byte ^= 1;
        }
        let changed = self.chain_of(&changed, |_, _, _| {})?;
        self.bad("event log changed", &changed, &["event_log"], json!({}));
        let snp = Attestation {
            platform: Platform::SevSnp {
                report: vec![1; 1184],
                cert_chain: vec![],
                mr_config: String::new(),
            },
            stack: self.evidence.stack.clone(),
        };
        let snp = self.chain_of(&snp, |_, _, _| {})?;
        self.bad(
            "evidence of SEV-SNP",
            &snp,
            &["unsupported_platform"],
            json!({}),
        );
        Ok(())
    }
}
