//! `evidence.json`.

mod events;
mod quotes;
mod rules;

use bylaw_attest::event_log::{self, EventVersion, MAX_EVENTS, RuntimeEvent, TdxEvent};
use bylaw_attest::{Attestation, Platform};
use bylaw_simtee::Options;
use bylaw_types::{KeyProviderInfo, ReportData};
use serde::Serialize;
use serde_json::{Value, json};

use crate::tee::{self, TIME, Tee, Vm};

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
}

/// The same evidence without the log that repeats the runtime events.
fn usual_without_log(evidence: &Attestation) -> Attestation {
    let mut bare = evidence.clone();
    if let Platform::Tdx { event_log, .. } = &mut bare.platform {
        event_log.clear();
    }
    bare
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
