//! Requests that are wrong in every way we could think of: each gets its error, and
//! the agent goes on serving.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use bylaw_e2e::world::manifest;
use bylaw_e2e::{AgentOptions, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const JSON: &str = "Content-Type: application/json\r\n";

/// What is sent, and a part of what must be answered.
struct Case {
    name: &'static str,
    head: String,
    body: Vec<u8>,
    answer: &'static str,
}

fn post(method: &str, headers: &str, body: impl Into<Vec<u8>>) -> (String, Vec<u8>) {
    let body = body.into();
    let head = format!(
        "POST /{method} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    (head, body)
}

fn json(name: &'static str, method: &str, body: &str, answer: &'static str) -> Case {
    let (head, body) = post(method, JSON, body);
    Case {
        name,
        head,
        body,
        answer,
    }
}

fn raw(name: &'static str, head: &str, body: &[u8], answer: &'static str) -> Case {
    Case {
        name,
        head: head.to_owned(),
        body: body.to_vec(),
        answer,
    }
}

fn corpus() -> Vec<Case> {
    let long_path = format!(r#"{{"path":"{}"}}"#, "a".repeat(9 * 1024 * 1024));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let mut cases = vec![
        // Wrong types.
        json(
            "number for text",
            "GetKey",
            r#"{"path":1}"#,
            "expected a string",
        ),
        json(
            "text for bool",
            "GetTlsKey",
            r#"{"usage_ra_tls":"yes"}"#,
            "expected a boolean",
        ),
        json(
            "null for text",
            "GetKey",
            r#"{"path":null}"#,
            "invalid type: null",
        ),
        json(
            "null for a list",
            "GetTlsKey",
            r#"{"alt_names":null}"#,
            "invalid type: null",
        ),
        json(
            "text for a list",
            "GetTlsKey",
            r#"{"alt_names":"a"}"#,
            "expected a sequence",
        ),
        json(
            "negative time",
            "GetTlsKey",
            r#"{"not_after":-1}"#,
            "expected u64",
        ),
        json(
            "fraction for time",
            "GetTlsKey",
            r#"{"not_after":1.5}"#,
            "expected u64",
        ),
        json(
            "number beyond u64",
            "GetTlsKey",
            r#"{"not_after":1e40}"#,
            "failed to parse",
        ),
        json(
            "bytes as a list",
            "GetQuote",
            r#"{"report_data":[1,2]}"#,
            "expected a string",
        ),
        json(
            "text for an object",
            "GetKey",
            r#""path""#,
            "failed to parse",
        ),
        json("null for an object", "GetKey", "null", "failed to parse"),
        json("half an object", "GetKey", r#"{"path":"#, "failed to parse"),
        json("two objects", "GetKey", "{}{}", "trailing"),
        json(
            "a field twice",
            "GetKey",
            r#"{"path":"a","path":"b"}"#,
            "duplicate field",
        ),
        json("nested beyond measure", "GetKey", &deep, "failed to parse"),
        // Bad hex.
        json(
            "odd hex",
            "GetQuote",
            r#"{"report_data":"abc"}"#,
            "Odd number of digits",
        ),
        json(
            "no hex",
            "GetQuote",
            r#"{"report_data":"zz"}"#,
            "Invalid character",
        ),
        json(
            "hex beyond ASCII",
            "Sign",
            r#"{"algorithm":"ed25519","data":"éé"}"#,
            "hex",
        ),
        // Too long.
        json(
            "65 bytes of report data",
            "GetQuote",
            &format!(r#"{{"report_data":"{}"}}"#, "00".repeat(65)),
            "Report data is too long",
        ),
        json(
            "a long event name",
            "EmitEvent",
            &format!(r#"{{"event":"{}","payload":""}}"#, "e".repeat(256)),
            "1 to 255 bytes",
        ),
        json(
            "an event name with a colon",
            "EmitEvent",
            r#"{"event":"a:b"}"#,
            "colon",
        ),
        // Bad values.
        json(
            "no algorithm",
            "Sign",
            r#"{"data":"00"}"#,
            "Unsupported algorithm",
        ),
        json(
            "another algorithm",
            "GetKey",
            r#"{"algorithm":"rsa"}"#,
            "Unsupported algorithm",
        ),
        json(
            "a digest of another length",
            "Sign",
            r#"{"algorithm":"secp256k1_prehashed","data":"00"}"#,
            "32-byte digest, but received 1 bytes",
        ),
        json(
            "a short signature",
            "Verify",
            r#"{"algorithm":"ed25519","data":"","signature":"00","public_key":"00"}"#,
            "invalid",
        ),
        json(
            "a validity that ends before it begins",
            "GetTlsKey",
            r#"{"not_before":2,"not_after":1}"#,
            "not_before must be earlier than not_after",
        ),
        json(
            "an alternative name that is none",
            "GetTlsKey",
            r#"{"alt_names":["\u0000é"]}"#,
            "error",
        ),
        json(
            "an unknown method",
            "GetKeys",
            "{}",
            "Service not found: GetKeys",
        ),
        json(
            "another service",
            "Tappd.GetKey",
            "{}",
            "Service not found: Tappd.GetKey",
        ),
        json(
            "a path in the method",
            "..%2fGetKey",
            "{}",
            "Service not found",
        ),
        json(
            "bytes that are no text in the path",
            "%ff%fe",
            "{}",
            "Service not found: %ff%fe",
        ),
    ];
    for (name, body) in [
        ("bytes that are no UTF-8", &b"{\"path\":\"\xff\"}"[..]),
        ("a NUL", b"{\"path\":\"\0\"}"),
        ("half a surrogate", b"{\"path\":\"\\ud800\"}"),
    ] {
        let (head, body) = post("GetKey", JSON, body);
        cases.push(Case {
            name,
            head,
            body,
            answer: "failed to parse",
        });
    }
    let (head, body) = post("GetKey", "", vec![0x0a, 0xff]);
    cases.push(Case {
        name: "protobuf cut short",
        head,
        body,
        answer: "failed to parse",
    });
    let (head, body) = post("GetKey", JSON, vec![b'a'; 10 * 1024 * 1024 + 1]);
    cases.push(Case {
        name: "a body beyond the limit",
        head,
        body,
        answer: "payload too large",
    });
    let (head, body) = post("Verify", JSON, long_path);
    cases.push(Case {
        name: "a long unknown field",
        head,
        body,
        answer: "Unsupported algorithm",
    });
    cases.extend([
        raw("no length", "POST /Sign HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\r\n", b"", "Unsupported algorithm"),
        raw("a length that is no number", "POST /GetKey HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", b"", "400"),
        raw("two lengths", "POST /GetKey HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", b"{}", "400"),
        raw("a length and chunks", "POST /GetKey HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n", "HTTP/1.1"),
        raw("chunks that are none", "POST /GetKey HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"zz\r\n", "400"),
        raw("no HTTP", "\x16\x03\x01\x02\x00\x01\r\n\r\n", b"", "400"),
        raw("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"", ""),
        raw("another verb", "PUT /GetKey HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", b"", "404"),
        raw("a header without end", &format!("GET /Version HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(1 << 20)), b"", "431"),
        raw("too many headers", &format!("GET /Version HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(500)), b"", "431"),
        raw("a query of another type", "GET /GetTlsKey?usage_ra_tls=maybe HTTP/1.1\r\nHost: x\r\n\r\n", b"", "failed to parse"),
    ]);
    cases
}

/// Sends, closes the write side, reads to the end.
async fn ask(socket: &Path, head: &[u8], body: &[u8]) -> String {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    // A server may answer and close before it has read everything.
    let _ = to.write_all(head).await;
    let _ = to.write_all(body).await;
    let _ = to.shutdown().await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), from.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_malformed_request_gets_its_error_and_the_agent_goes_on() {
    let world = World::start().await.unwrap();
    let kms = world.bootstrapped_kms().await.unwrap();
    let app = world.create_app(&manifest("app")).await.unwrap();
    world.settle().await.unwrap();
    let agent = world
        .start_agent("app", &app, &kms, AgentOptions::default())
        .await
        .unwrap();
    let socket = &agent.dstack;
    let (head, body) = post("GetKey", JSON, r#"{"path":"p"}"#);
    let usual = ask(socket, head.as_bytes(), &body).await;
    assert!(usual.starts_with("HTTP/1.1 200"), "{usual}");
    let usual_body = usual.split("\r\n\r\n").nth(1).unwrap().to_owned();
    let memory = agent.resident_kib().unwrap();

    // A sender that stops in the middle holds nobody up, and hears about it.
    let mut slow = UnixStream::connect(socket).await.unwrap();
    slow.write_all(b"POST /GetKey HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
        .await
        .unwrap();
    let mut headless = UnixStream::connect(socket).await.unwrap();
    headless.write_all(b"POST /GetKey HT").await.unwrap();

    for case in corpus() {
        let answer = ask(socket, case.head.as_bytes(), &case.body).await;
        assert!(
            answer.contains(case.answer),
            "{}: wanted {:?} in {:?}",
            case.name,
            case.answer,
            answer.chars().take(600).collect::<String>()
        );
        let status = answer.split(' ').nth(1).unwrap_or_default();
        // HTTP/2 is not spoken at all; a length beside chunks does not count.
        let is_fine = match case.name {
            "HTTP/2" => answer.is_empty(),
            "a length and chunks" => status == "200",
            _ => status.starts_with('4'),
        };
        assert!(is_fine, "{}: {answer}", case.name);
        let again = ask(socket, head.as_bytes(), &body).await;
        assert!(again.ends_with(&usual_body), "after {}: {again}", case.name);
    }

    let mut heard = String::new();
    let wait = Duration::from_secs(60);
    let read = slow.read_to_string(&mut heard);
    tokio::time::timeout(wait, read).await.unwrap().unwrap();
    assert!(heard.contains("the sender is too slow"), "{heard}");
    let mut nothing = Vec::new();
    let read = headless.read_to_end(&mut nothing);
    let _ = tokio::time::timeout(wait, read).await.unwrap();
    let grown = agent.resident_kib().unwrap().saturating_sub(memory);
    assert!(grown < 64 * 1024, "{grown} KiB more than before");
}
