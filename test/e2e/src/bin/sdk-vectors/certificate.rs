//! `certificate.json`.

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

/// A certificate to be.
#[derive(Clone)]
struct Cert<'a> {
    name: &'static str,
    key: &'a P256Key,
    ca: Option<u8>,
    from: u64,
    until: u64,
    extensions: Vec<CustomExtension>,
}

impl<'a> Cert<'a> {
    fn leaf(key: &'a P256Key) -> Self {
        Self {
            name: "vectors",
            key,
            ca: None,
            from: TIME - DAY,
            until: TIME + DAY,
            extensions: vec![],
        }
    }

    fn ca(name: &'static str, key: &'a P256Key, path_len: u8) -> Self {
        Self {
            name,
            ca: Some(path_len),
            ..Self::leaf(key)
        }
    }

    fn with(mut self, number: u64, content: &[u8]) -> Self {
        let value = yasna::construct_der(|writer| writer.write_bytes(content));
        self.extensions.push(raw(number, value));
        self
    }

    fn params(&self) -> anyhow::Result<CertificateParams> {
        let date =
            |unix: u64| OffsetDateTime::from_unix_timestamp(i64::try_from(unix)?).context("a date");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Dstack");
        params
            .distinguished_name
            .push(DnType::CommonName, self.name);
        params.not_before = date(self.from)?;
        params.not_after = date(self.until)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if let Some(path_len) = self.ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_len));
            params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        }
        params.custom_extensions.clone_from(&self.extensions);
        Ok(params)
    }

    /// PEM, signed by the certificate `issuer` would be.
    fn signed_by(&self, issuer: &Cert<'_>) -> anyhow::Result<String> {
        let issuer = Issuer::new(issuer.params()?, pair(issuer.key)?);
        Ok(self.params()?.signed_by(&pair(self.key)?, &issuer)?.pem())
    }

    fn self_signed(&self) -> anyhow::Result<String> {
        Ok(self.params()?.self_signed(&pair(self.key)?)?.pem())
    }
}

fn raw(number: u64, value: Vec<u8>) -> CustomExtension {
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 62397, 1, number], value)
}

fn pair(key: &P256Key) -> anyhow::Result<KeyPair> {
    let der = key.to_pkcs8_der()?;
    let der = PrivatePkcs8KeyDer::from(der.as_slice());
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(
        &der,
        &PKCS_ECDSA_P256_SHA256,
    )?)
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

    fn chains(&mut self, good: &[String]) -> anyhow::Result<()> {
        let code = &["chain"][..];
        let stranger = P256Key::random()?;
        let spki = json!({ "kms_ca_spki": hex::encode(stranger.spki_der()) });
        self.bad(
            "another KMS is wanted",
            good,
            &["chain", "key_provider"],
            spki,
        );
        type Change = fn(&mut Cert<'_>, &mut Cert<'_>, &mut Cert<'_>);
        let changes: [(&str, Change); 14] = [
            ("leaf expired", |leaf, _, _| leaf.until = TIME - 1),
            ("leaf not yet valid", |leaf, _, _| leaf.from = TIME + 1),
            ("app CA expired", |_, ca, _| ca.until = TIME - 1),
            ("app CA not yet valid", |_, ca, _| ca.from = TIME + 1),
            ("root expired", |_, _, root| root.until = TIME - 1),
            ("root not yet valid", |_, _, root| root.from = TIME + 1),
            ("app CA that is no CA", |_, ca, _| ca.ca = None),
            ("root that is no CA", |_, _, root| root.ca = None),
            ("root that allows no CA below it", |_, _, root| {
                root.ca = Some(0)
            }),
            ("app CA without usage", |_, ca, _| {
                drop(ca.extensions.remove(1))
            }),
            ("app CA for TLS of a KMS", |_, ca, _| {
                ca.extensions.remove(1);
                *ca = ca.clone().with(USAGE, b"kms:rpc");
            }),
            ("app CA for leaves", |_, ca, _| {
                ca.extensions.remove(1);
                *ca = ca.clone().with(USAGE, b"app:custom");
            }),
            ("usage of the app CA in another case", |_, ca, _| {
                ca.extensions.remove(1);
                *ca = ca.clone().with(USAGE, b"APP:CA");
            }),
            ("usage of the app CA and more", |_, ca, _| {
                ca.extensions.remove(1);
                *ca = ca.clone().with(USAGE, b"app:ca:x");
            }),
        ];
        for (name, change) in changes {
            let chain = self.chain(change)?;
            self.bad(name, &chain, code, json!({}));
        }
        let [leaf, ca, root] = good else {
            anyhow::bail!("three certificates");
        };
        let list = |items: &[&String]| items.iter().map(|pem| (*pem).clone()).collect::<Vec<_>>();
        self.bad("app CA missing", &list(&[leaf, root]), code, json!({}));
        self.bad("leaf alone", &list(&[leaf]), code, json!({}));
        self.bad(
            "leaf three times",
            &list(&[leaf, leaf, leaf]),
            code,
            json!({}),
        );
        self.bad(
            "a CA in place of the leaf",
            &list(&[ca, root]),
            &["encoding", "chain", "report_data_mismatch"],
            json!({}),
        );

        let imitation = Cert {
            key: &stranger,
            ..self.root()
        };
        let app_key = self.tee.kms.app_ca(&APP)?;
        let app_ca = |key| {
            Cert::ca("Dstack App CA", key, 0)
                .with(APP_ID, APP.as_ref())
                .with(USAGE, b"app:ca")
        };
        let subject = Cert::leaf(&self.key)
            .with(APP_ID, APP.as_ref())
            .with(ATTESTATION, &self.evidence.clone().stripped().encode());
        let genuine = app_ca(&app_key);
        let forged = app_ca(&stranger);
        let cases = [
            (
                "root of the same name, another key",
                vec![
                    subject.signed_by(&genuine)?,
                    genuine.signed_by(&imitation)?,
                    imitation.self_signed()?,
                ],
            ),
            (
                "signed by an imitation, shown with the root",
                vec![
                    subject.signed_by(&genuine)?,
                    genuine.signed_by(&imitation)?,
                    root.clone(),
                ],
            ),
            (
                "leaf signed by another CA of the same name",
                vec![subject.signed_by(&forged)?, ca.clone(), root.clone()],
            ),
            (
                "leaf signs itself",
                vec![subject.self_signed()?, ca.clone(), root.clone()],
            ),
            (
                "leaf signed by the root itself",
                vec![subject.signed_by(&self.root())?, root.clone()],
            ),
            ("leaf signed by a leaf", {
                let middle = Cert::leaf(&stranger).with(USAGE, b"app:custom");
                vec![
                    subject.signed_by(&middle)?,
                    middle.signed_by(&genuine)?,
                    ca.clone(),
                    root.clone(),
                ]
            }),
            ("a CA below the app CA", {
                let below = app_ca(&stranger);
                vec![
                    subject.signed_by(&below)?,
                    below.signed_by(&genuine)?,
                    ca.clone(),
                    root.clone(),
                ]
            }),
        ];
        let other_key = self.tee.kms.app_ca(&OTHER_APP)?;
        let other_ca = Cert::ca("Dstack App CA", &other_key, 0)
            .with(APP_ID, OTHER_APP.as_ref())
            .with(USAGE, b"app:ca");
        let stolen = vec![
            subject.signed_by(&other_ca)?,
            other_ca.signed_by(&self.root())?,
            root.clone(),
        ];
        for (name, chain) in cases {
            self.bad(name, &chain, code, json!({}));
        }
        self.bad(
            "leaf signed by another app's CA",
            &stolen,
            &["app_id", "chain"],
            json!({}),
        );
        Ok(())
    }

    fn extensions(&mut self, good: &[String]) -> anyhow::Result<()> {
        let encoding = &["encoding"][..];
        let stripped = self.evidence.clone().stripped().encode();
        let none = self.chain(|leaf, _, _| drop(leaf.extensions.pop()))?;
        self.bad("no evidence", &none, encoding, json!({}));
        let (quote, log) = self.legacy()?;
        for (name, number, content) in [
            ("app id twice", APP_ID, APP.as_ref()),
            ("usage twice", USAGE, b"app:custom".as_slice()),
            ("evidence twice", ATTESTATION, &stripped),
        ] {
            let twice = self.chain(|leaf, _, _| *leaf = leaf.clone().with(number, content))?;
            self.bad(name, &twice, encoding, json!({}));
        }
        let twice = self.chain(|leaf, _, _| {
            leaf.extensions.pop();
            *leaf = leaf
                .clone()
                .with(QUOTE, &quote)
                .with(QUOTE, &quote)
                .with(EVENT_LOG, log.as_bytes());
        })?;
        self.bad("older evidence twice", &twice, encoding, json!({}));
        let twice = self.chain(|_, ca, _| *ca = ca.clone().with(USAGE, b"app:ca"))?;
        self.bad(
            "usage of the app CA twice",
            &twice,
            &["encoding", "chain"],
            json!({}),
        );
        let unlogged = self.chain(|leaf, _, _| {
            leaf.extensions.pop();
            *leaf = leaf.clone().with(QUOTE, &quote);
        })?;
        self.bad(
            "older evidence without an event log",
            &unlogged,
            &["event_log", "encoding"],
            json!({}),
        );
        let bare = self.chain(|leaf, _, _| {
            leaf.extensions.pop();
            leaf.extensions.push(raw(ATTESTATION, stripped.clone()));
        })?;
        self.bad(
            "evidence not in an OCTET STRING",
            &bare,
            encoding,
            json!({}),
        );
        let cut = stripped.get(..stripped.len() - 1).unwrap_or_default();
        let longer = [&stripped[..], &[0]].concat();
        for (name, content) in [
            ("evidence cut", cut),
            ("a byte after the evidence", &longer),
        ] {
            let chain = self.chain(|leaf, _, _| {
                leaf.extensions.pop();
                *leaf = leaf.clone().with(ATTESTATION, content);
            })?;
            self.bad(name, &chain, encoding, json!({}));
        }
        for (name, id) in [
            ("app id of 19 bytes", &[0x11; 19][..]),
            ("empty app id", &[]),
        ] {
            let chain = self.chain(|leaf, _, _| {
                leaf.extensions.remove(0);
                *leaf = leaf.clone().with(APP_ID, id);
            })?;
            self.bad(name, &chain, &["encoding", "app_id"], json!({}));
        }
        let pretended = self.chain(|leaf, _, _| {
            leaf.extensions.remove(0);
            *leaf = leaf.clone().with(APP_ID, OTHER_APP.as_ref());
        })?;
        self.bad(
            "the certificate says another app than the evidence",
            &pretended,
            &["app_id"],
            json!({}),
        );

        self.bad("no certificates", &[], &["encoding", "chain"], json!({}));
        let [leaf, rest @ ..] = good else {
            anyhow::bail!("a leaf");
        };
        let with_leaf = |leaf: String| [&[leaf], rest].concat();
        let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        self.bad(
            "leaf that is no certificate",
            &with_leaf(broken.to_owned()),
            encoding,
            json!({}),
        );
        self.bad(
            "leaf that is no PEM",
            &with_leaf("certificate".to_owned()),
            encoding,
            json!({}),
        );
        let mut lines: Vec<&str> = leaf.lines().collect();
        lines.remove(lines.len() / 2);
        self.bad(
            "leaf with a line missing",
            &with_leaf(lines.join("\n")),
            encoding,
            json!({}),
        );
        Ok(())
    }

    fn expectations(&mut self, good: &[String], expect: &Value) {
        for (name, field, value, code) in [
            ("another app", "app_id", json!("33".repeat(20)), "app_id"),
            (
                "another manifest",
                "compose_hash",
                json!("33".repeat(32)),
                "compose_hash",
            ),
            (
                "another machine",
                "device_ids",
                json!(["33".repeat(32)]),
                "device_id",
            ),
            (
                "another measurement",
                "measurements",
                json!([{ "mrtd": "33".repeat(48) }]),
                "measurement",
            ),
            (
                "another key provider",
                "key_provider_id",
                json!("33".repeat(91)),
                "key_provider",
            ),
            (
                "another report data",
                "report_data",
                json!("33".repeat(64)),
                "report_data_mismatch",
            ),
            (
                "status not listed",
                "tcb_statuses",
                json!(["OutOfDate"]),
                "tcb_status",
            ),
        ] {
            let mut wanted = expect.clone();
            wanted[field] = value;
            self.bad(name, good, &[code], json!({ "expect": wanted }));
        }
        self.bad(
            "collateral has expired",
            good,
            &["collateral", "quote"],
            json!({ "time": TIME + 31 * DAY }),
        );
        let root = json!({ "root_ca": self.tee.other.root_pem() });
        self.bad(
            "another trust root",
            good,
            &["quote", "collateral", "chain"],
            root,
        );
    }
}
