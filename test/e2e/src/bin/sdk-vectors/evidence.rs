//! `evidence.json`.

use bylaw_attest::event_log::{self, EventVersion, MAX_EVENTS, RuntimeEvent, TdxEvent};
use bylaw_attest::{Attestation, Platform, Stack, StackKind};
use bylaw_simtee::Options;
use bylaw_types::{KeyProviderInfo, ReportData};
use serde::Serialize;
use serde_json::{Value, json};

use crate::tee::{self, TIME, Tee, Vm};

/// Offsets in a quote of version 4.
const TD_ATTRIBUTES: usize = 168;
const MRTD: usize = 184;
const REPORT_DATA: usize = 568;
const SIGNATURE: usize = 636;
const ATTESTATION_KEY: usize = SIGNATURE + 64;
const QE_REPORT: usize = ATTESTATION_KEY + 64 + 6;
const QE_SIGNATURE: usize = QE_REPORT + 384;

const DAY: u64 = 24 * 60 * 60;

pub(crate) fn vectors(tee: &Tee) -> anyhow::Result<Value> {
    let report_data = ReportData::new([0xd1; 64]);
    let usual = tee.vm().attest(&report_data)?;
    let collateral = tee::collateral(&tee.machine, TIME)?;
    let mut cases = Cases {
        tee,
        report_data,
        expect: tee::expect(tee, &usual)?,
        usual,
        good: vec![],
        bad: vec![],
    };
    cases.accepted()?;
    cases.encodings();
    cases.quotes()?;
    cases.events()?;
    cases.expectations()?;
    cases.vendors(&collateral)?;
    Ok(json!({
        "time": TIME,
        "root_ca": tee.machine.root_pem(),
        "pccs": tee::pccs(&collateral)?,
        "collateral": collateral,
        "attestation_v0": hex::encode(cases.usual.encode()),
        "attestation_v1": hex::encode(encode_v1(&cases.usual)?),
        "get_quote": get_quote(&cases.usual)?,
        "expect": cases.expect,
        "appraisal": tee::appraisal(tee, &cases.usual)?,
        "good": cases.good,
        "bad": cases.bad,
    }))
}

/// The answer of `GetQuote`.
fn get_quote(evidence: &Attestation) -> anyhow::Result<Value> {
    let Platform::Tdx { quote, event_log } = &evidence.platform else {
        anyhow::bail!("not TDX");
    };
    Ok(json!({
        "quote": hex::encode(quote),
        "event_log": event_log::to_get_quote_json(event_log).to_string(),
        "report_data": evidence.stack.report_data,
        "vm_config": evidence.stack.config,
    }))
}

/// The MessagePack form, which our writer uses only for events of version 2.
fn encode_v1(evidence: &Attestation) -> anyhow::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Tagged<T> {
        kind: &'static str,
        data: T,
    }
    #[derive(Serialize)]
    struct Tdx<'a> {
        quote: &'a [u8],
        event_log: &'a [TdxEvent],
    }
    #[derive(Serialize)]
    struct Guest<'a> {
        report_data: &'a [u8],
        runtime_events: &'a [RuntimeEvent],
        config: &'a str,
    }
    #[derive(Serialize)]
    struct Envelope<'a> {
        version: u32,
        platform: Tagged<Tdx<'a>>,
        stack: Tagged<Guest<'a>>,
    }
    let Platform::Tdx { quote, event_log } = &evidence.platform else {
        anyhow::bail!("not TDX");
    };
    let platform = Tdx { quote, event_log };
    let stack = Guest {
        report_data: evidence.stack.report_data.as_ref(),
        runtime_events: &evidence.stack.runtime_events,
        config: &evidence.stack.config,
    };
    Ok(rmp_serde::to_vec_named(&Envelope {
        version: 1,
        platform: Tagged {
            kind: "tdx",
            data: platform,
        },
        stack: Tagged {
            kind: "dstack",
            data: stack,
        },
    })?)
}

struct Cases<'a> {
    tee: &'a Tee,
    report_data: ReportData,
    usual: Attestation,
    expect: Value,
    good: Vec<Value>,
    bad: Vec<Value>,
}

/// A changed copy of a quote.
fn flip(evidence: &Attestation, position: usize) -> Attestation {
    let mut changed = evidence.clone();
    if let Platform::Tdx { quote, .. } = &mut changed.platform
        && let Some(byte) = quote.get_mut(position)
    {
        *byte ^= 1;
    }
    changed
}

fn named(name: &str, payload: impl Into<Vec<u8>>) -> (String, Vec<u8>) {
    (name.to_owned(), payload.into())
}

impl Cases<'_> {
    /// Adds a case; `more` adds to it or replaces what all cases share. The first of `codes`
    /// is what we say; the others are as right, where the order of checks decides.
    fn bad(&mut self, name: &str, evidence: &Attestation, codes: &[&str], more: Value) {
        self.bad_bytes(name, &evidence.encode(), codes, more);
    }

    fn bad_bytes(&mut self, name: &str, bytes: &[u8], codes: &[&str], more: Value) {
        let form = json!({ "base": "attestation_v0", "bytes": hex::encode(bytes) });
        self.bad.push(case(name, &[form, verdict(codes), more]));
    }

    fn bad_json(&mut self, name: &str, answer: Value, codes: &[&str], more: Value) {
        let form = json!({ "base": "get_quote", "json": answer });
        self.bad.push(case(name, &[form, verdict(codes), more]));
    }

    fn good(&mut self, name: &str, evidence: &Attestation, expect: Value) {
        let form = json!({ "base": "attestation_v0", "bytes": hex::encode(evidence.encode()) });
        self.good
            .push(case(name, &[form, json!({ "expect": expect })]));
    }

    fn vm(&self, change: impl FnOnce(&mut Vm)) -> anyhow::Result<Attestation> {
        let mut vm = self.tee.vm();
        change(&mut vm);
        vm.attest(&self.report_data)
    }

    fn expecting(&self, name: &str, value: Value) -> Value {
        let mut expect = self.expect.clone();
        expect[name] = value;
        expect
    }

    fn accepted(&mut self) -> anyhow::Result<()> {
        let expect = self.expect.clone();
        let usual = self.usual.clone();
        self.good(
            "as certificates carry it",
            &usual.clone().stripped(),
            expect.clone(),
        );
        let bare = json!({ "report_data": self.report_data });
        self.good("nothing expected but the report data", &usual, bare.clone());
        self.good(
            "without the event log beside the runtime events",
            &usual_without_log(&usual),
            expect.clone(),
        );
        let two = self.vm(|vm| vm.events = 2)?;
        let expect_two = tee::expect(self.tee, &two)?;
        self.good("event log of version 2", &two, expect_two.clone());
        self.good(
            "event log of version 2, as certificates carry it",
            &two.clone().stripped(),
            expect_two,
        );
        let busy = self.vm(|vm| {
            vm.after_ready = vec![named("app-id", [0x33; 20]), named("anything", *b"\x00\xff")];
        })?;
        self.good(
            "the app's own events say something else",
            &busy,
            expect.clone(),
        );
        let many = self.vm(|vm| vm.after_ready = vec![named("", []); MAX_EVENTS - 9])?;
        self.good(
            &format!("{} events", many.stack.runtime_events.len()),
            &usual_without_log(&many),
            expect,
        );
        let old = self.vm(|vm| vm.outdated = true)?;
        let tolerant = self.expecting("tcb_statuses", json!(["UpToDate", "OutOfDate"]));
        self.good("a platform that is out of date, allowed", &old, tolerant);
        let none = self.vm(|vm| vm.key_provider = None)?;
        self.good("no key provider, and none expected", &none, bare.clone());
        let local = KeyProviderInfo {
            name: "local-sgx".to_owned(),
            id: "ab".repeat(32),
        };
        let local = self.vm(|vm| vm.key_provider = Some(local.to_payload()))?;
        self.good("another key provider, and none expected", &local, bare);
        Ok(())
    }

    fn encodings(&mut self) {
        let bytes = self.usual.encode();
        let encoding = &["encoding"][..];
        self.bad_bytes("empty", &[], encoding, json!({}));
        self.bad_bytes("one byte", &[0], encoding, json!({}));
        for length in [2, 1000, bytes.len() / 2, bytes.len() - 1] {
            let cut = bytes.get(..length).unwrap_or_default();
            self.bad_bytes(&format!("cut to {length} bytes"), cut, encoding, json!({}));
        }
        let longer = [&bytes[..], &[0]].concat();
        self.bad_bytes("a byte follows", &longer, encoding, json!({}));
        let unknown = [&[1], bytes.get(1..).unwrap_or_default()].concat();
        self.bad_bytes("a version there is none of", &unknown, encoding, json!({}));
        let one = encode_v1(&self.usual).unwrap_or_default();
        for (name, bytes) in [
            (
                "MessagePack, cut",
                one.get(..one.len() / 2).unwrap_or_default().to_vec(),
            ),
            ("MessagePack, a byte follows", [&one[..], &[0]].concat()),
        ] {
            let form = json!({ "base": "attestation_v1", "bytes": hex::encode(bytes) });
            self.bad.push(case(name, &[form, verdict(encoding)]));
        }
        // A length of 2^30 - 1 for the quote.
        self.bad_bytes(
            "a length beyond the end",
            &[0, 0, 0xfe, 0xff, 0xff, 0xff],
            encoding,
            json!({}),
        );
        for (name, platform) in [
            (
                "Nitro enclave",
                Platform::NitroEnclave {
                    nsm_quote: vec![1; 8],
                },
            ),
            (
                "AWS Nitro TPM",
                Platform::AwsNitroTpm {
                    attestation_doc: vec![1; 8],
                },
            ),
            (
                "SEV-SNP",
                Platform::SevSnp {
                    report: vec![1; 1184],
                    cert_chain: vec![],
                    mr_config: String::new(),
                },
            ),
        ] {
            let other = Attestation {
                platform,
                stack: self.usual.stack.clone(),
            };
            self.bad(name, &other, &["unsupported_platform"], json!({}));
        }
    }

    fn quotes(&mut self) -> anyhow::Result<()> {
        let quote = &["quote"][..];
        let usual = self.usual.clone();
        for (name, position) in [
            ("MRTD changed", MRTD),
            ("RTMR3 changed", REPORT_DATA - 1),
            ("signature changed", SIGNATURE + 1),
            ("attestation key changed", ATTESTATION_KEY + 1),
            ("quoting enclave's report changed", QE_REPORT + 70),
            ("quoting enclave's signature changed", QE_SIGNATURE + 1),
        ] {
            self.bad(name, &flip(&usual, position), quote, json!({}));
        }
        let mut claimed = flip(&usual, REPORT_DATA);
        let changed = ReportData::new({
            let mut bytes = self.report_data.to_bytes();
            bytes[0] ^= 1;
            bytes
        });
        claimed.stack.report_data = changed;
        let expect = self.expecting("report_data", json!(changed));
        self.bad(
            "report data changed everywhere, as the verifier wants it",
            &claimed,
            quote,
            json!({ "expect": expect }),
        );
        self.bad(
            "debug bit cleared after signing",
            &self.debug_cleared()?,
            quote,
            json!({}),
        );
        let mut short = usual.clone();
        if let Platform::Tdx { quote, .. } = &mut short.platform {
            quote.truncate(SIGNATURE);
        }
        self.bad(
            "quote cut before its signature",
            &short,
            &["quote", "encoding"],
            json!({}),
        );
        let mut none = usual.clone();
        if let Platform::Tdx { quote, .. } = &mut none.platform {
            quote.clear();
        }
        self.bad("no quote", &none, &["quote", "encoding"], json!({}));
        let debug = self.vm(|vm| vm.debug = true)?;
        self.bad("debug TD", &debug, &["debug"], json!({}));
        let seam = Options {
            mr_signer_seam: [1; 48],
            ..Options::default()
        };
        let foreign = self.tee.with(seam)?;
        let foreign = self.vm(|vm| vm.machine = foreign)?;
        self.bad(
            "TDX module not signed by Intel",
            &foreign,
            &["quote", "collateral"],
            json!({}),
        );
        let elsewhere = self.vm(|vm| vm.machine = self.tee.other.clone())?;
        self.bad(
            "a machine under another root",
            &elsewhere,
            &["quote", "collateral", "chain"],
            json!({}),
        );
        Ok(())
    }

    fn debug_cleared(&self) -> anyhow::Result<Attestation> {
        Ok(flip(&self.vm(|vm| vm.debug = true)?, TD_ATTRIBUTES))
    }

    fn events(&mut self) -> anyhow::Result<()> {
        let code = &["event_log"][..];
        type Change = fn(&mut Vec<RuntimeEvent>);
        let changes: [(&str, Change); 8] = [
            ("payload of app-id changed", |events| {
                events[1].payload[0] ^= 1
            }),
            ("payload of compose-hash changed", |events| {
                events[2].payload[31] ^= 1
            }),
            ("name changed", |events| {
                "compose-hasi".clone_into(&mut events[2].event)
            }),
            ("event removed", |events| drop(events.remove(2))),
            ("last event removed", |events| drop(events.pop())),
            ("events swapped", |events| events.swap(1, 2)),
            ("event added", |events| {
                events.push(RuntimeEvent::new("app-id", [0x33; 20], EventVersion::V1));
            }),
            ("no events", Vec::clear),
        ];
        for (name, change) in changes {
            let mut changed = self.usual.clone();
            change(&mut changed.stack.runtime_events);
            let mut answer = get_quote(&changed)?;
            self.bad(name, &changed, code, json!({}));
            // In this form the digests still are those that were measured.
            let mut shown: Vec<TdxEvent> = boot_events(&changed);
            let measured: Vec<_> = self
                .usual
                .stack
                .runtime_events
                .iter()
                .map(RuntimeEvent::digest)
                .collect();
            for (position, event) in changed.stack.runtime_events.iter().enumerate() {
                let mut entry = event.to_tdx_event();
                if let Some(digest) = measured.get(position) {
                    entry.digest = digest.as_bytes().to_vec();
                }
                shown.push(entry);
            }
            answer["event_log"] = json!(event_log::to_get_quote_json(&shown).to_string());
            self.bad_json(
                &format!("GetQuote, digests as measured: {name}"),
                answer,
                code,
                json!({}),
            );
        }
        let colon = self.vm(|vm| vm.before_ready = vec![named("storage-fs:more", [])])?;
        self.bad(
            "colon in the name of a measured event",
            &colon,
            code,
            json!({}),
        );
        let late = self.vm(|vm| vm.after_ready = vec![named("a:b", *b"c")])?;
        self.bad(
            "colon in the name of an app's event",
            &late,
            code,
            json!({}),
        );
        // `app-id` measured as the event `app`, read with a payload that begins after a colon.
        let hidden = self.hidden_in_a_colon()?;
        self.bad(
            "a colon moved between name and payload",
            &hidden,
            code,
            json!({}),
        );
        let many = self.vm(|vm| vm.after_ready = vec![named("", []); MAX_EVENTS - 8])?;
        let count = many.stack.runtime_events.len();
        self.bad(
            &format!("{count} events"),
            &usual_without_log(&many),
            code,
            json!({}),
        );
        for (name, text, codes) in [
            (
                "GetQuote: event log is no JSON",
                "[{",
                &["encoding", "event_log"][..],
            ),
            (
                "GetQuote: event log is no array",
                "{}",
                &["encoding", "event_log"],
            ),
            (
                "GetQuote: event log is empty text",
                "",
                &["event_log", "encoding"],
            ),
            ("GetQuote: event log has no events", "[]", &["event_log"]),
        ] {
            let mut answer = get_quote(&self.usual)?;
            answer["event_log"] = json!(text);
            self.bad_json(name, answer, codes, json!({}));
        }
        let mut answer = get_quote(&self.usual)?;
        answer["quote"] = json!("");
        self.bad_json(
            "GetQuote: no quote",
            answer,
            &["encoding", "quote"],
            json!({}),
        );
        let mut answer = get_quote(&self.usual)?;
        answer["quote"] = json!("zz");
        self.bad_json(
            "GetQuote: quote is no hex",
            answer,
            &["encoding"],
            json!({}),
        );
        Ok(())
    }

    fn hidden_in_a_colon(&self) -> anyhow::Result<Attestation> {
        let mut evidence = self.vm(|vm| {
            vm.before_ready = vec![named("user", [b":".as_slice(), &[0x33; 20]].concat())];
        })?;
        for event in &mut evidence.stack.runtime_events {
            if event.event == "user" {
                "user:".clone_into(&mut event.event);
                event.payload.remove(0);
            }
        }
        Ok(evidence)
    }

    fn expectations(&mut self) -> anyhow::Result<()> {
        let usual = self.usual.clone();
        let other_report = json!(ReportData::new([0xd2; 64]));
        let mut expected = |name: &str, field: &str, value: Value, code: &str| {
            let expect = self.expecting(field, value);
            self.bad(name, &usual, &[code], json!({ "expect": expect }));
        };
        expected(
            "another challenge",
            "report_data",
            other_report.clone(),
            "report_data_mismatch",
        );
        expected("another app", "app_id", json!("33".repeat(20)), "app_id");
        expected(
            "another manifest",
            "compose_hash",
            json!("33".repeat(32)),
            "compose_hash",
        );
        expected(
            "another machine",
            "device_ids",
            json!(["33".repeat(32)]),
            "device_id",
        );
        expected(
            "another KMS",
            "key_provider_id",
            json!("33".repeat(91)),
            "key_provider",
        );
        expected(
            "status not listed",
            "tcb_statuses",
            json!(["OutOfDate"]),
            "tcb_status",
        );
        for register in ["mrtd", "rtmr0", "rtmr1", "rtmr2"] {
            let mut measurements = self.expect["measurements"].clone();
            measurements[1][register] = json!("33".repeat(48));
            let expect = self.expecting("measurements", measurements);
            self.bad(
                &format!("another {register}"),
                &usual,
                &["measurement"],
                json!({ "expect": expect }),
            );
        }
        let mut stated = usual.clone();
        stated.stack.report_data = ReportData::new([0xd2; 64]);
        let code = &["report_data_mismatch"][..];
        self.bad(
            "stated report data is not the quote's",
            &stated,
            code,
            json!({}),
        );
        let wished = self.expecting("report_data", other_report);
        self.bad(
            "stated report data is wanted, the quote's is not",
            &stated,
            code,
            json!({ "expect": wished }),
        );

        let late = self.vm(|vm| {
            vm.key_provider = None;
            let payload = KeyProviderInfo::kms(&self.tee.kms_spki()).to_payload();
            vm.after_ready = vec![named("key-provider", payload)];
        })?;
        self.bad(
            "key provider named after system-ready",
            &late,
            &["key_provider"],
            json!({}),
        );
        let pretend = self.vm(|vm| {
            vm.after_ready = vec![
                named("app-id", [0x33; 20]),
                named("compose-hash", [0x33; 32]),
            ];
        })?;
        let expect = self.expecting("app_id", json!("33".repeat(20)));
        self.bad(
            "app id measured again after system-ready",
            &pretend,
            &["app_id"],
            json!({ "expect": expect }),
        );
        let expect = self.expecting("compose_hash", json!("33".repeat(32)));
        self.bad(
            "manifest measured again after system-ready",
            &pretend,
            &["compose_hash"],
            json!({ "expect": expect }),
        );
        let twice = self.vm(|vm| vm.before_ready = vec![named("app-id", [0x33; 20])])?;
        let expect = self.expecting("app_id", json!("33".repeat(20)));
        self.bad(
            "the second app id is wanted, the first counts",
            &twice,
            &["app_id"],
            json!({ "expect": expect }),
        );
        for (name, payload) in [
            (
                "key provider of another kind",
                KeyProviderInfo {
                    name: "local-sgx".to_owned(),
                    id: hex::encode(self.tee.kms_spki()),
                }
                .to_payload(),
            ),
            (
                "key provider without id",
                KeyProviderInfo {
                    name: "kms".to_owned(),
                    id: String::new(),
                }
                .to_payload(),
            ),
            ("key provider that is no JSON", b"kms".to_vec()),
        ] {
            let provided = self.vm(|vm| vm.key_provider = Some(payload))?;
            self.bad(name, &provided, &["key_provider"], json!({}));
        }
        let old = self.vm(|vm| vm.outdated = true)?;
        self.bad("platform out of date", &old, &["tcb_status"], json!({}));
        Ok(())
    }

    fn vendors(&mut self, collateral: &Value) -> anyhow::Result<()> {
        let usual = self.usual.clone();
        let code = &["collateral", "quote"][..];
        for (name, time) in [
            ("collateral has expired", TIME + 31 * DAY),
            ("collateral is of the future", TIME - DAY),
            ("before every certificate", 1_600_000_000),
        ] {
            self.bad(name, &usual, code, json!({ "time": time }));
        }
        let elsewhere = &["quote", "collateral", "chain"][..];
        let root = json!({ "root_ca": self.tee.other.root_pem() });
        self.bad("another trust root", &usual, elsewhere, root);
        self.bad(
            "the vendor's trust root",
            &usual,
            elsewhere,
            json!({ "root_ca": null }),
        );
        let here = self.tee;
        let mut with = |name: &str, collateral: &Value, codes: &[&str]| -> anyhow::Result<()> {
            let more = json!({ "collateral": collateral, "pccs": tee::pccs(collateral)? });
            self.bad(name, &usual, codes, more);
            Ok(())
        };
        let other = tee::collateral(&here.other, TIME)?;
        with("collateral under another root", &other, code)?;
        for (name, field, from, to) in [
            ("TCB info edited", "tcb_info", "OutOfDate", "UpToDate"),
            (
                "TCB info for another platform",
                "tcb_info",
                "513e7e000000",
                "513e7e000001",
            ),
            (
                "QE identity edited",
                "qe_identity",
                "\"isvsvn\":4",
                "\"isvsvn\":3",
            ),
        ] {
            let mut edited = collateral.clone();
            let text = edited[field]
                .as_str()
                .unwrap_or_default()
                .replacen(from, to, 1);
            anyhow::ensure!(edited[field] != json!(text), "{name} changes nothing");
            edited[field] = json!(text);
            with(name, &edited, code)?;
        }
        for field in [
            "root_ca_crl",
            "pck_crl",
            "tcb_info_signature",
            "tcb_info_issuer_chain",
        ] {
            let mut mixed = collateral.clone();
            mixed[field] = other[field].clone();
            with(&format!("{field} of another machine"), &mixed, code)?;
        }
        let stated = |options: Options| tee::collateral(&*here.with(options)?, TIME);
        for status in [
            "OutOfDate",
            "SWHardeningNeeded",
            "ConfigurationNeeded",
            "Revoked",
        ] {
            let options = Options {
                tcb_status: status.to_owned(),
                ..Options::default()
            };
            let says = stated(options)?;
            with(&format!("the vendor says {status}"), &says, &["tcb_status"])?;
        }
        let revoked = stated(Options {
            revoke_pck: true,
            ..Options::default()
        })?;
        with(
            "platform's certificate revoked",
            &revoked,
            &["collateral", "quote", "tcb_status", "chain"],
        )?;
        let everything = json!({
            "tcb_statuses": ["UpToDate", "OutOfDate", "SWHardeningNeeded", "ConfigurationNeeded",
                "ConfigurationAndSWHardeningNeeded", "OutOfDateConfigurationNeeded", "Revoked"],
            "report_data": self.report_data,
        });
        let options = Options {
            tcb_status: "Revoked".to_owned(),
            ..Options::default()
        };
        let says = tee::collateral(&*self.tee.with(options)?, TIME)?;
        let more = json!({ "collateral": says, "pccs": tee::pccs(&says)?, "expect": everything });
        self.bad(
            "revoked, though the list names it",
            &usual,
            &["tcb_status"],
            more,
        );
        let mut absent = tee::pccs(collateral)?;
        absent["/tdx/certification/v4/tcb"] = json!({ "status": 404, "headers": {}, "body": "" });
        self.bad(
            "the source has no TCB info",
            &usual,
            &["collateral"],
            json!({ "collateral": null, "pccs": absent }),
        );
        Ok(())
    }
}

fn boot_events(evidence: &Attestation) -> Vec<TdxEvent> {
    match &evidence.platform {
        Platform::Tdx { event_log, .. } => event_log
            .iter()
            .filter(|event| event.imr != 3)
            .cloned()
            .collect(),
        _ => vec![],
    }
}

/// The same evidence without the log that repeats the runtime events.
fn usual_without_log(evidence: &Attestation) -> Attestation {
    let mut bare = evidence.clone();
    if let Platform::Tdx { event_log, .. } = &mut bare.platform {
        event_log.clear();
    }
    Attestation {
        platform: bare.platform,
        stack: Stack {
            kind: StackKind::Plain,
            ..bare.stack
        },
    }
}

fn verdict(codes: &[&str]) -> Value {
    match codes {
        [] => json!({}),
        [code] => json!({ "code": code }),
        [code, rest @ ..] => json!({ "code": code, "or": rest }),
    }
}

/// One object of several; later ones win.
pub(crate) fn case(name: &str, parts: &[Value]) -> Value {
    let mut whole = json!({ "name": name });
    for part in parts {
        if let (Some(whole), Some(part)) = (whole.as_object_mut(), part.as_object()) {
            whole.extend(part.clone());
        }
    }
    whole
}
