//! Byte for byte what real clients send, and what they must get.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::sync::Arc;

use bylaw_rpc::message::guest::{GetKeyArgs, GetKeyResponse, VerifyResponse};
use bylaw_rpc::{Client, ClientError, Context, Empty, RpcError, Service, serve};
use prost::Message as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

struct Server {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

async fn server() -> Server {
    let service = Service::new("Test", &["Test"], Arc::new(()))
        .method(
            "GetKey",
            |_: Arc<()>, _: Context, request: GetKeyArgs| async move {
                if request.path == "é" {
                    return Err(RpcError::new("odd", "é is refused"));
                }
                let key = request.path.into_bytes();
                Ok(GetKeyResponse {
                    key,
                    signature_chain: vec![vec![1]],
                })
            },
        )
        .method("Nothing", |_: Arc<()>, _: Context, _: Empty| async move {
            Ok(Empty {})
        })
        .method("Yes", |_: Arc<()>, _: Context, _: Empty| async move {
            Ok(VerifyResponse { valid: true })
        });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.sock");
    let listener = serve::bind_unix(&path, 0o600).unwrap();
    tokio::spawn(serve::unix(
        listener,
        service.into_router(""),
        std::future::pending(),
    ));
    Server { path, _dir: dir }
}

impl Server {
    /// Sends raw bytes, closes the write side, reads until the server closes.
    async fn raw(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = UnixStream::connect(&self.path).await.unwrap();
        stream.write_all(request.as_ref()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn post(&self, target: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        self.raw(format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        ))
        .await
    }
}

#[tokio::test]
async fn a_half_closed_request_is_answered_with_a_length_and_then_closed() {
    let answer = server()
        .await
        .post(
            "/GetKey",
            "Content-Type: application/json\r\n",
            r#"{"path":"a"}"#,
        )
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(
        answer.to_lowercase().contains("\r\ncontent-length: "),
        "{answer}"
    );
    assert!(!answer.to_lowercase().contains("chunked"), "{answer}");
    assert!(
        answer.ends_with(r#"{"key":"61","signature_chain":["01"]}"#),
        "{answer}"
    );
}

#[tokio::test]
async fn request_lines_and_headers_of_every_client_are_accepted() {
    let server = server().await;
    for head in [
        "POST http://unix.socket/GetKey HTTP/1.1\r\nHost: dstack\r\nContent-Type: application/json\r\nContent-Type: application/json\r\n",
        "POST /GetKey?json HTTP/1.1\r\nHost: localhost\r\n",
        "POST /GetKey?json=1 HTTP/1.1\r\nHost: x\r\n",
        "POST /Test.GetKey?json=true HTTP/1.1\r\nHost: x\r\n",
        "POST /Test.Test.GetKey?x=y&json HTTP/1.1\r\nHost: x\r\n",
        "POST /GetKey?json HTTP/1.1\r\n",
    ] {
        let answer = server
            .raw(format!("{head}Content-Length: 2\r\n\r\n{{}}"))
            .await;
        assert!(answer.contains(" 200 "), "{head}: {answer}");
    }
}

#[tokio::test]
async fn get_decodes_the_query_and_post_without_json_is_protobuf() {
    let server = server().await;
    let answer = server
        .raw("GET /GetKey?path=b&unknown=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert!(
        answer.ends_with(r#"{"key":"62","signature_chain":["01"]}"#),
        "{answer}"
    );

    let body = GetKeyArgs {
        path: "c".into(),
        ..GetKeyArgs::default()
    }
    .encode_to_vec();
    let head = format!(
        "POST /GetKey HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = server.raw([head.as_bytes(), &body].concat()).await;
    assert!(answer.contains("application/octet-stream"), "{answer}");
    let expected = GetKeyResponse {
        key: b"c".to_vec(),
        signature_chain: vec![vec![1]],
    };
    assert!(
        answer.as_bytes().ends_with(&expected.encode_to_vec()),
        "{answer:?}"
    );
}

#[tokio::test]
async fn errors_are_400_with_a_sentence_in_ascii() {
    let server = server().await;
    let json = "Content-Type: application/json\r\n";
    let answer = server.post("/GetKey", json, r#"{"path":"é"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(
        answer.contains(r#""error": "\u00e9 is refused""#) && answer.is_ascii(),
        "{answer}"
    );
    let answer = server.post("/Other.GetKey", json, "{}").await;
    assert!(
        answer.contains("Service not found: Other.GetKey"),
        "{answer}"
    );
    for bad in ["null", "[1", r#"{"path":1}"#, r#"{"path":null}"#] {
        let answer = server.post("/GetKey", json, bad).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{bad}: {answer}");
    }
    let binary = server.post("/Unknown", "", "").await;
    assert!(binary.contains("application/octet-stream") && binary.contains("Service not found"));
}

#[tokio::test]
async fn empty_requests_ignore_their_body_and_empty_answers_are_null() {
    let server = server().await;
    for body in ["", "null", "{}", "not json"] {
        let answer = server.post("/Nothing?json", "", body).await;
        assert!(answer.ends_with("\r\n\r\nnull"), "{body}: {answer}");
    }
    let answer = server.post("/Nothing", "", "").await;
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn other_verbs_are_404_and_too_long_bodies_are_named() {
    let server = server().await;
    for verb in ["HEAD", "PUT", "DELETE"] {
        let answer = server
            .raw(format!("{verb} /GetKey HTTP/1.1\r\nHost: x\r\n\r\n"))
            .await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{verb}: {answer}");
    }
    let long = format!(r#"{{"path":"{}"}}"#, "a".repeat(10 * 1024 * 1024));
    let answer = server.post("/GetKey?json", "", &long).await;
    assert!(
        answer.contains("failed to read data: payload too large"),
        "{}",
        answer.len()
    );
}

#[tokio::test]
async fn a_slow_sender_keeps_nobody_else_waiting() {
    let server = server().await;
    let mut slow = UnixStream::connect(&server.path).await.unwrap();
    slow.write_all(b"POST /GetKey HTTP/1.1\r\nContent-Le")
        .await
        .unwrap();
    let answer = server.post("/Yes?json", "", "").await;
    assert!(answer.ends_with(r#"{"valid":true}"#), "{answer}");
}

#[tokio::test]
async fn the_client_makes_several_calls_on_one_connection_and_names_its_errors() {
    let server = server().await;
    let url = format!("unix:{}", server.path.display());
    let mut connection = Client::new(&url).unwrap().connect().await.unwrap();
    for path in ["a", "b"] {
        let request = GetKeyArgs {
            path: path.into(),
            ..GetKeyArgs::default()
        };
        let answer: GetKeyResponse = connection.call("GetKey", &request).await.unwrap();
        assert_eq!(answer.key, path.as_bytes());
    }
    let request = GetKeyArgs {
        path: "é".into(),
        ..GetKeyArgs::default()
    };
    let refused = connection
        .call::<_, GetKeyResponse>("GetKey", &request)
        .await
        .unwrap_err();
    assert_eq!(
        refused,
        ClientError::Refused {
            code: "odd".into(),
            message: "é is refused".into()
        }
    );
    let malformed = connection.call::<_, GetKeyResponse>("Yes", &Empty {}).await;
    assert!(malformed.is_ok(), "missing fields are defaults");
    let gone = Client::new("http://127.0.0.1:1").unwrap();
    let error = gone.call::<_, Empty>("X", &Empty {}).await.unwrap_err();
    assert!(
        matches!(error, ClientError::Unreachable { .. }),
        "{error:?}"
    );
    for bad in ["", "ftp://x", "http://", "https//x"] {
        assert!(
            matches!(Client::new(bad), Err(ClientError::Address { .. })),
            "{bad}"
        );
    }
}

#[test]
fn sockets_replace_stale_ones_but_nothing_else() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _guard = runtime.enter();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.sock");
    drop(serve::bind_unix(&path, 0o600).unwrap());
    drop(serve::bind_unix(&path, 0o600).unwrap());
    let file = dir.path().join("file");
    std::fs::File::create(&file).unwrap();
    assert!(
        serve::bind_unix(&file, 0o600)
            .unwrap_err()
            .to_string()
            .contains("not a socket")
    );
}
