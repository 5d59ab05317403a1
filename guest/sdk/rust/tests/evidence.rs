//! The shared vectors about evidence and certificates.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bylaw_attest::Collateral;
use bylaw_sdk::{
    Appraisal, Clock, Evidence, Expect, KmsRoot, Measurement, Pccs, QuoteAnswer, TrustAnchors,
    Verifier, VerifyError, parse_chain,
};
use serde_json::{Value, json};
use support::{bytes, cases, text, vectors};

/// What the case names in place of what all share.
fn given<'a>(vectors: &'a Value, case: &'a Value, field: &str) -> &'a Value {
    case.get(field).unwrap_or(&vectors[field])
}

fn anchors(vectors: &Value, case: &Value) -> TrustAnchors {
    match given(vectors, case, "root_ca").as_str() {
        Some(pem) => TrustAnchors::with_tdx_root(pem.as_bytes()).unwrap(),
        None => TrustAnchors::vendor(),
    }
}

/// With the collateral at hand, or with the service the case describes.
async fn verifier(vectors: &Value, case: &Value, ask: bool) -> Option<Verifier> {
    let anchors = anchors(vectors, case);
    let collateral = given(vectors, case, "collateral");
    let verifier = if ask {
        let url = serve(given(vectors, case, "pccs").clone()).await;
        Verifier::new(anchors, Arc::new(Pccs::new(&url).unwrap()))
    } else if collateral.is_null() {
        return None;
    } else {
        let collateral = Collateral::from_json(&collateral.to_string(), "the vectors").unwrap();
        Verifier::with_collateral(anchors, collateral)
    };
    let time = given(vectors, case, "time").as_u64().unwrap();
    Some(verifier.at(Clock::fixed(time)))
}

/// Serves recorded answers by path.
async fn serve(answers: Value) -> String {
    async fn answer(State(answers): State<Arc<Value>>, request: Request) -> Response {
        let recorded = &answers[request.uri().path()];
        let Some(status) = recorded["status"].as_u64() else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let mut response = Response::builder().status(u16::try_from(status).unwrap());
        for (name, value) in recorded["headers"].as_object().unwrap() {
            response = response.header(name, value.as_str().unwrap());
        }
        response.body(bytes(recorded, "body").into()).unwrap()
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(Arc::new(answers));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn expect(value: &Value) -> Expect {
    let parse = |field: &str| value.get(field).map(|value| value.as_str().unwrap());
    Expect {
        report_data: parse("report_data").map(|text| text.parse().unwrap()),
        tls_key: None,
        tcb_statuses: match value.get("tcb_statuses") {
            // A status that may not be accepted has no value to be named by.
            Some(list) => {
                let list = list.as_array().unwrap();
                list.iter()
                    .filter_map(|status| status.as_str().unwrap().parse().ok())
                    .collect()
            }
            None => Expect::default().tcb_statuses,
        },
        app_id: parse("app_id").map(|text| text.parse().unwrap()),
        compose_hash: parse("compose_hash").map(|text| text.parse().unwrap()),
        device_ids: value
            .get("device_ids")
            .map(|list| serde_json::from_value(list.clone()).unwrap()),
        measurements: value.get("measurements").map(|list| {
            let register = |item: &Value, field: &str| {
                item.get(field)
                    .map(|text| text.as_str().unwrap().parse().unwrap())
            };
            let list = list.as_array().unwrap();
            list.iter()
                .map(|item| Measurement {
                    mrtd: register(item, "mrtd"),
                    rtmr0: register(item, "rtmr0"),
                    rtmr1: register(item, "rtmr1"),
                    rtmr2: register(item, "rtmr2"),
                })
                .collect()
        }),
        key_provider_id: parse("key_provider_id").map(|text| hex::decode(text).unwrap()),
    }
}

fn described(found: &Appraisal) -> Value {
    let [rtmr0, rtmr1, rtmr2, rtmr3] = found.rtmr();
    let events: Vec<_> = found
        .events()
        .iter()
        .map(|event| {
            json!({
                "event": event.event,
                "payload": hex::encode(&event.payload),
                "version": event.version.number(),
            })
        })
        .collect();
    json!({
        "mrtd": found.mrtd(),
        "rtmr0": rtmr0,
        "rtmr1": rtmr1,
        "rtmr2": rtmr2,
        "rtmr3": rtmr3,
        "report_data": found.report_data(),
        "tcb_status": found.tcb_status(),
        "advisory_ids": found.advisory_ids(),
        "debug": false,
        "app_id": found.app_id(),
        "compose_hash": found.compose_hash(),
        "instance_id": found.instance_id(),
        "device_id": found.device_id(),
        "mr_system": found.mr_system(),
        "mr_aggregated": found.mr_aggregated(),
        "key_provider": found.key_provider(),
        "events": events,
    })
}

/// The evidence of a case, in the form it names.
fn evidence(vectors: &Value, case: &Value) -> Result<Evidence, VerifyError> {
    let base = case["base"].as_str().unwrap_or("attestation_v0");
    if base == "get_quote" {
        let answer = case.get("json").unwrap_or(&vectors["get_quote"]);
        let answer: QuoteAnswer = serde_json::from_value(answer.clone())
            .map_err(|error| VerifyError::Encoding(error.to_string()))?;
        return Ok(answer.evidence()?);
    }
    let text = case
        .get("bytes")
        .unwrap_or(&vectors[base])
        .as_str()
        .unwrap();
    Ok(Evidence::decode(&hex::decode(text).unwrap())?)
}

async fn judge(vectors: &Value, case: &Value, ask: bool) -> Option<Result<Appraisal, VerifyError>> {
    let verifier = verifier(vectors, case, ask).await?;
    let expect = expect(given(vectors, case, "expect"));
    Some(match evidence(vectors, case) {
        Ok(evidence) => verifier.verify_evidence(&evidence, &expect).await,
        Err(error) => Err(error),
    })
}

fn assert_refused<T>(case: &Value, verdict: Result<T, VerifyError>) {
    let name = text(case, "name");
    let Err(error) = verdict else {
        panic!("{name} is accepted");
    };
    let others = case["or"].as_array().cloned().unwrap_or_default();
    let right = case["code"] == error.code() || others.contains(&json!(error.code()));
    assert!(
        right,
        "{name}: {} ({error}), expected {}",
        error.code(),
        case["code"]
    );
}

#[tokio::test]
async fn one_vm_in_three_forms_is_appraised_alike() {
    let vectors = vectors("evidence.json");
    for base in ["attestation_v0", "attestation_v1", "get_quote"] {
        for ask in [false, true] {
            let case = json!({ "name": base, "base": base });
            let found = judge(&vectors, &case, ask).await.unwrap().unwrap();
            assert_eq!(described(&found), vectors["appraisal"], "{base}");
            let proven = found.prove_os_image(None).unwrap();
            assert_eq!(found.system_event("os-image-hash"), Some(proven.as_ref()));
        }
    }
}

#[tokio::test]
async fn good_evidence_is_accepted() {
    let vectors = vectors("evidence.json");
    for case in cases(&vectors["good"]) {
        let verdict = judge(&vectors, case, false).await.unwrap();
        assert!(verdict.is_ok(), "{}: {verdict:?}", case["name"]);
    }
}

#[tokio::test]
async fn bad_evidence_is_refused_by_the_right_rule() {
    let vectors = vectors("evidence.json");
    let mut rules: BTreeMap<String, u32> = BTreeMap::new();
    for case in cases(&vectors["bad"]) {
        // The service is asked where the case is about what it answers, or has no other form.
        let asks = case.get("pccs").is_some();
        for ask in [false, true] {
            if ask && !asks {
                continue;
            }
            if let Some(verdict) = judge(&vectors, case, ask).await {
                assert_refused(case, verdict);
                *rules.entry(text(case, "code").to_owned()).or_default() += 1;
            }
        }
    }
    for rule in [
        "encoding",
        "unsupported_platform",
        "quote",
        "collateral",
        "tcb_status",
        "debug",
        "report_data_mismatch",
        "event_log",
        "app_id",
        "compose_hash",
        "device_id",
        "measurement",
        "key_provider",
    ] {
        assert!(rules.contains_key(rule), "no case is about {rule}");
    }
}

#[tokio::test]
async fn evidence_for_nobodys_challenge_is_refused() {
    let vectors = vectors("evidence.json");
    let verifier = verifier(&vectors, &json!({}), false).await.unwrap();
    let evidence = evidence(&vectors, &json!({})).unwrap();
    let error = verifier
        .verify_evidence(&evidence, &Expect::default())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "report_data_mismatch");
    assert!(error.to_string().contains("say which"), "{error}");
}

async fn judge_chain(vectors: &Value, case: &Value, whole: bool) -> Result<Appraisal, VerifyError> {
    let verifier = verifier(vectors, case, false).await.unwrap();
    let pems: Vec<&str> = given(vectors, case, "chain")
        .as_array()
        .unwrap()
        .iter()
        .map(|pem| pem.as_str().unwrap())
        .collect();
    let chain = if whole {
        parse_chain(&pems.concat())?
    } else {
        let parsed: Result<Vec<_>, _> = pems.iter().map(|pem| parse_chain(pem)).collect();
        parsed?.concat()
    };
    // What is not a key cannot be made a root, which refuses it, too.
    let root = match given(vectors, case, "kms_ca_spki").as_str() {
        Some(spki) => {
            let k256 = bytes(&support::vectors("kms_info.json")[0], "k256_public");
            Some(KmsRoot::new(&k256, &hex::decode(spki).unwrap())?)
        }
        None => None,
    };
    let expect = expect(given(vectors, case, "expect"));
    let peer = verifier
        .verify_certificate(&chain, root.as_ref(), &expect)
        .await?;
    Ok(peer.appraisal().clone())
}

#[tokio::test]
async fn the_kms_chain_of_a_vm_is_verified() {
    let vectors = vectors("certificate.json");
    let case = json!({ "name": "as issued" });
    for whole in [false, true] {
        let found = judge_chain(&vectors, &case, whole).await.unwrap();
        assert_eq!(described(&found), vectors["appraisal"]);
    }
}

#[tokio::test]
async fn good_chains_are_accepted() {
    let vectors = vectors("certificate.json");
    for case in cases(&vectors["good"]) {
        let verdict = judge_chain(&vectors, case, false).await;
        assert!(verdict.is_ok(), "{}: {verdict:?}", case["name"]);
    }
}

#[tokio::test]
async fn bad_chains_are_refused_by_the_right_rule() {
    let vectors = vectors("certificate.json");
    for case in cases(&vectors["bad"]) {
        assert_refused(case, judge_chain(&vectors, case, false).await);
    }
}
