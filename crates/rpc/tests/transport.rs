//! Connections rather than messages: TCP and Unix sockets, kept open, cut short,
//! slow, too long, and servers that answer nonsense.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bylaw_rpc::message::guest::{
    EmitEventArgs, GetKeyArgs, GetKeyResponse, GetTlsKeyArgs, RawQuoteArgs,
};
use bylaw_rpc::message::{Message, PrpcError};
use bylaw_rpc::{Client, ClientError, Context, Empty, RpcError, Service, serve};
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);
const JSON: &str = "Content-Type: application/json\r\n";

async fn echo<M: Message>(_: Arc<()>, _: Context, message: M) -> Result<M, RpcError> {
    Ok(message)
}

fn service() -> Service<()> {
    Service::new("Test", &["Old", "Older"], Arc::new(()))
        .method("Tls", echo::<GetTlsKeyArgs>)
        .method("Quote", echo::<RawQuoteArgs>)
        .method("Event", echo::<EmitEventArgs>)
        .method("Keys", echo::<GetKeyResponse>)
        .method("Nothing", echo::<Empty>)
        .method("Slow", |_: Arc<()>, _: Context, _: Empty| async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok(Empty {})
        })
        .method("Chain", |_: Arc<()>, _: Context, _: Empty| async {
            Err::<Empty, _>(RpcError::bad_request("outer: \"inner\":\nroot"))
        })
}

struct Server {
    tcp: SocketAddr,
    unix: PathBuf,
    stop: Vec<oneshot::Sender<()>>,
    running: Vec<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let unix = dir.path().join("x.sock");
        let on_unix = serve::bind_unix(&unix, 0o600).unwrap();
        let on_tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = on_tcp.local_addr().unwrap();
        let (stop_tcp, tcp_stopped) = oneshot::channel::<()>();
        let (stop_unix, unix_stopped) = oneshot::channel::<()>();
        let until = |stopped: oneshot::Receiver<()>| async move {
            let _ = stopped.await;
        };
        let running = vec![
            tokio::spawn(serve::tcp(
                on_tcp,
                service().into_router("/prpc"),
                until(tcp_stopped),
            )),
            tokio::spawn(serve::unix(
                on_unix,
                service().into_router("/prpc"),
                until(unix_stopped),
            )),
        ];
        Self {
            tcp,
            unix,
            stop: vec![stop_tcp, stop_unix],
            running,
            _dir: dir,
        }
    }

    async fn on_tcp(&self) -> TcpStream {
        TcpStream::connect(self.tcp).await.unwrap()
    }

    async fn on_unix(&self) -> UnixStream {
        UnixStream::connect(&self.unix).await.unwrap()
    }

    /// One request on both kinds of socket; the answers must be the same.
    async fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        let request = request.as_ref();
        // Only Unix sockets answer a caller that has closed its side.
        let mut stream = self.on_tcp().await;
        stream.write_all(request).await.unwrap();
        let tcp = next(&mut stream).await;
        let unix = half_close(self.on_unix().await, request).await;
        assert_eq!((tcp.status, &tcp.body), (unix.status, &unix.body));
        unix
    }

    async fn post(&self, target: &str, headers: &str, body: impl AsRef<[u8]>) -> Answer {
        self.ask(post(target, headers, body)).await
    }

    fn client(&self) -> Client {
        Client::new(&format!("http://{}/", self.tcp))
            .unwrap()
            .prpc()
    }
}

fn post(target: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    /// Splits at exactly `": "`, as the most literal client does.
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(bytes)));
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        Self {
            status: status.parse().unwrap(),
            headers: lines
                .map(|line| line.split_once(": ").unwrap())
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect(),
            body: bytes[end + 4..].to_vec(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(key, _)| key == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert_eq!(found.next(), None, "{name} is there twice");
        value
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The sentence of an error in the JSON form, everything around it checked.
    fn error(&self) -> String {
        assert_eq!(self.status, 400, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert!(self.body.is_ascii());
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(self.header("x-error-code"), json["code"].as_str());
        json["error"].as_str().unwrap().to_owned()
    }
}

/// Writes, closes the write side, reads until the server closes.
async fn half_close(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> Answer {
    stream.write_all(request).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = vec![];
    timeout(SOON, stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let answer = Answer::parse(&answer);
    let length = answer.header("content-length").unwrap();
    assert_eq!(length.parse(), Ok(answer.body.len()));
    assert_eq!(answer.header("transfer-encoding"), None);
    answer
}

/// Reads one answer off a connection that stays open.
async fn next(stream: &mut (impl AsyncRead + Unpin)) -> Answer {
    let mut bytes = vec![];
    let read = async {
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(stream.read_u8().await.unwrap());
        }
        let mut answer = Answer::parse(&bytes);
        let length = answer.header("content-length").unwrap().parse().unwrap();
        answer.body.resize(length, 0);
        stream.read_exact(&mut answer.body).await.unwrap();
        answer
    };
    timeout(SOON, read).await.unwrap()
}

#[tokio::test]
async fn a_pooled_connection_serves_request_after_request() {
    let server = Server::start().await;
    let mut stream = server.on_tcp().await;
    for body in [r#"{"report_data":"00ff"}"#, "{", r#"{"report_data":""}"#] {
        stream
            .write_all(&post("/prpc/Quote", JSON, body))
            .await
            .unwrap();
        let answer = next(&mut stream).await;
        assert_eq!(answer.status == 200, body != "{", "{answer:?}");
    }
    // Two requests in one write are answered in order.
    let both = [
        post("/prpc/Slow?json", "", ""),
        post("/prpc/Quote", JSON, r#"{"report_data":"01"}"#),
    ];
    stream.write_all(&both.concat()).await.unwrap();
    assert_eq!(next(&mut stream).await.text(), "null");
    assert_eq!(next(&mut stream).await.text(), r#"{"report_data":"01"}"#);
}

#[tokio::test]
async fn a_half_closed_request_is_answered_even_when_the_answer_takes_a_while() {
    let server = Server::start().await;
    assert_eq!(server.post("/prpc/Slow", JSON, "{}").await.text(), "null");
}

#[tokio::test]
async fn the_exact_requests_of_the_sdks_are_answered() {
    let server = Server::start().await;
    let body = r#"{"report_data":"0xABcd"}"#;
    let length = body.len();
    for head in [
        "POST /prpc/Quote HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n",
        "POST http://unix.socket/prpc/Quote HTTP/1.1\r\nContent-Type: application/json\r\nHost: dstack\r\nContent-Type: application/json\r\n",
        "POST http://unix.socket/prpc/Quote HTTP/1.1\r\nContent-Type: application/json\r\nContent-Type: application/json\r\n",
        "POST /prpc/Old.Quote HTTP/1.1\r\nHost: x\r\ncontent-type: application/json; charset=utf-8\r\n",
        "POST /prpc/Old.Older.Old.Quote?json HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n",
    ] {
        let request = format!("{head}Content-Length: {length}\r\n\r\n{body}");
        let answer = server.ask(request).await;
        assert_eq!(answer.text(), r#"{"report_data":"abcd"}"#, "{head}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    let chunked = format!(
        "POST /prpc/Quote HTTP/1.1\r\nHost: x\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n\
         {length:x}\r\n{body}\r\n0\r\n\r\n"
    );
    assert_eq!(server.ask(chunked).await.status, 200);
}

#[tokio::test]
async fn only_listed_prefixes_are_stripped_and_unknown_methods_are_named_as_sent() {
    let server = Server::start().await;
    for name in ["New.Quote", "Old", "Old.", "OldQuote", "quote", "Old.Old.X"] {
        let answer = server.post(&format!("/prpc/{name}"), JSON, "{}").await;
        assert_eq!(answer.error(), format!("Service not found: {name}"));
    }
    let answer = server.post("/prpc/X", "", "{}").await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.header("content-type"),
        Some("application/octet-stream")
    );
    let error = PrpcError::decode(&*answer.body).unwrap();
    assert_eq!(error.message, "Service not found: X");
    for outside in ["/Quote", "/prpc/", "/prpc/a/Quote", "/"] {
        let request = post(outside, JSON, "{}");
        assert_eq!(server.ask(request).await.status, 404, "{outside}");
    }
    for verb in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        let request = format!("{verb} /prpc/Quote?json HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(server.ask(request).await.status, 404, "{verb}");
    }
}

#[tokio::test]
async fn queries_fill_every_kind_of_field() {
    let server = Server::start().await;
    let query = "subject=a%20b+%C3%A9&alt_names[0]=x&alt_names[1]=y&usage_ra_tls=true\
                 &not_after=18446744073709551615&json&unknown=1";
    let request = format!("GET /prpc/Tls?{query} HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = server.ask(request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.is_ascii());
    let expected = GetTlsKeyArgs {
        subject: "a b é".into(),
        alt_names: vec!["x".into(), "y".into()],
        usage_ra_tls: true,
        not_after: Some(u64::MAX),
        ..GetTlsKeyArgs::default()
    };
    let message: GetTlsKeyArgs = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(message, expected);
    for (query, body) in [
        ("Tls?alt_names[]=y", r#""alt_names":["y"]"#),
        ("Event?event=e&payload=0x00FF", r#""payload":"00ff""#),
        ("Quote", r#""report_data":"""#),
        ("Quote?", r#""report_data":"""#),
        ("Nothing?%%%", "null"),
    ] {
        let request = format!("GET /prpc/{query} HTTP/1.1\r\nHost: x\r\n\r\n");
        let answer = server.ask(request).await;
        assert!(answer.text().contains(body), "{query}: {}", answer.text());
    }
    for bad in ["Quote?report_data=xyz", "Tls?usage_ra_tls=7"] {
        let request = format!("GET /prpc/{bad} HTTP/1.1\r\nHost: x\r\n\r\n");
        server.ask(request).await.error();
    }
}

#[tokio::test]
async fn malformed_input_is_refused_in_the_form_it_came_in() {
    let server = Server::start().await;
    for (method, bad) in [
        ("Quote", r#"{"report_data":"abc"}"#),
        ("Quote", r#"{"report_data":"zz"}"#),
        ("Quote", r#"{"report_data":"0X00"}"#),
        ("Quote", r#"{"report_data":[1]}"#),
        ("Quote", r#"{"report_data":null}"#),
        ("Quote", "null"),
        ("Quote", "{} {}"),
        ("Quote", "\u{e9}"),
        ("Tls", r#"{"alt_names":null}"#),
        ("Tls", r#"{"not_after":"1"}"#),
        ("Tls", r#"{"not_after":18446744073709551616}"#),
        ("Keys", r#"{"signature_chain":["0"]}"#),
    ] {
        let answer = server.post(&format!("/prpc/{method}?json"), "", bad).await;
        let error = answer.error();
        assert!(error.starts_with("failed to parse "), "{bad}: {error}");
    }
    let deep = "[".repeat(100_000);
    server.post("/prpc/Quote?json", "", deep).await.error();
    for optional in [r#"{"not_after":null}"#, "{}", ""] {
        let answer = server.post("/prpc/Tls?json", "", optional).await;
        assert!(answer.text().contains(r#""not_after":null"#), "{optional}");
    }
    for bad in [&b"\x0a\x05ab"[..], b"\xff", b"\x08\x01"] {
        let answer = server.post("/prpc/Quote", "", bad).await;
        assert_eq!(answer.status, 400);
        let error = PrpcError::decode(&*answer.body).unwrap();
        assert!(error.message.contains("RawQuoteArgs"), "{error:?}");
    }
    // A chain with quotes and line breaks stays one JSON string.
    let answer = server.post("/prpc/Chain?json", "", "").await;
    assert_eq!(answer.error(), "outer: \"inner\":\nroot");
    assert!(answer.text().contains("\n  \"error\": "), "pretty-printed");
}

#[tokio::test]
async fn both_forms_go_in_and_come_out() {
    let server = Server::start().await;
    let message = GetTlsKeyArgs {
        subject: "é😀".into(),
        alt_names: vec!["a".into()],
        not_before: Some(0),
        ..GetTlsKeyArgs::default()
    };
    let answer = server.post("/prpc/Tls", "", message.encode_to_vec()).await;
    assert_eq!(answer.body, message.encode_to_vec());
    let json = serde_json::to_string(&message).unwrap();
    for headers in [
        JSON,
        "Content-Type:application/json;charset=UTF-8\r\n",
        "Content-Type: Application/JSON\r\n",
    ] {
        let answer = server.post("/prpc/Tls", headers, &json).await;
        assert!(answer.body.is_ascii());
        let again: GetTlsKeyArgs = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(again, message);
    }
    // Only these values of the flag ask for JSON.
    for flag in ["json=0", "json=false", "xjson", "jsonx=1"] {
        let answer = server.post(&format!("/prpc/Nothing?{flag}"), "", "").await;
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{flag}");
    }
    // Empty takes anything in either form, and answers in the form asked for.
    for (target, answered) in [("/prpc/Nothing", ""), ("/prpc/Nothing?a=b&json=1", "null")] {
        for body in [&b""[..], b"null", b"{", b"\xff\xff"] {
            assert_eq!(server.post(target, "", body).await.text(), answered);
        }
    }
}

#[tokio::test]
async fn ten_mebibytes_are_read_and_one_byte_more_is_not() {
    const LIMIT: usize = 10 * 1024 * 1024;
    let server = Server::start().await;
    let body = |length: usize| format!("{{}}{}", " ".repeat(length - 2));
    let answer = server.post("/prpc/Quote?json", "", body(LIMIT)).await;
    assert_eq!(answer.status, 200);
    let answer = server.post("/prpc/Quote?json", "", body(LIMIT + 1)).await;
    assert_eq!(answer.error(), "failed to read data: payload too large");
    let answer = server.post("/prpc/Quote", "", body(LIMIT + 1)).await;
    assert_eq!(
        PrpcError::decode(&*answer.body).unwrap().message,
        "failed to read data: payload too large"
    );
}

#[tokio::test]
async fn a_body_that_never_comes_keeps_nobody_waiting() {
    let server = Server::start().await;
    let mut waiting = vec![];
    for _ in 0..50 {
        let mut stream = server.on_tcp().await;
        let request = post("/prpc/Quote", JSON, "{}");
        stream
            .write_all(&request[..request.len() - 1])
            .await
            .unwrap();
        waiting.push(stream);
    }
    let answer = timeout(SOON, server.post("/prpc/Quote", JSON, "{}")).await;
    assert_eq!(answer.unwrap().status, 200);
    // And is still answered when it does come.
    let mut stream = waiting.pop().unwrap();
    stream.write_all(b"}").await.unwrap();
    assert_eq!(next(&mut stream).await.status, 200);
}

#[tokio::test]
async fn a_body_cut_short_is_no_request() {
    let server = Server::start().await;
    let request = "POST /prpc/Quote?json HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{}";
    let mut stream = server.on_unix().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = vec![];
    let _ = timeout(SOON, stream.read_to_end(&mut answer))
        .await
        .unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn stopping_finishes_what_is_open_and_takes_nothing_new() {
    let mut server = Server::start().await;
    let mut idle = server.on_unix().await;
    idle.write_all(&post("/prpc/Nothing", JSON, ""))
        .await
        .unwrap();
    next(&mut idle).await;
    let mut busy = server.on_tcp().await;
    busy.write_all(&post("/prpc/Slow", JSON, "")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    for stop in server.stop.drain(..) {
        stop.send(()).unwrap();
    }
    assert_eq!(next(&mut busy).await.text(), "null");
    for running in server.running.drain(..) {
        timeout(SOON, running).await.unwrap().unwrap();
    }
    assert!(TcpStream::connect(server.tcp).await.is_err());
    assert_eq!(
        idle.read(&mut [0]).await.unwrap(),
        0,
        "idle ones are closed"
    );
}

#[tokio::test]
async fn the_client_reuses_its_connection_and_reports_refusals() {
    let server = Server::start().await;
    let mut connection = server.client().connect().await.unwrap();
    assert!(connection.peer_certificates().is_empty());
    for byte in 0..3 {
        let request = RawQuoteArgs {
            report_data: vec![byte],
        };
        let answer: RawQuoteArgs = connection.call("Quote", &request).await.unwrap();
        assert_eq!(answer, request);
        let refused = connection.call::<_, Empty>("No", &Empty {}).await;
        let expected = ClientError::Refused {
            code: "unknown_method".into(),
            message: "Service not found: No".into(),
        };
        assert_eq!(refused, Err(expected));
    }
    let outside = connection.get("/elsewhere").await;
    assert!(matches!(outside, Err(ClientError::Malformed { .. })));
    assert_eq!(connection.get("/prpc/Nothing").await.unwrap(), "null");
}

/// A server that reads one request and writes `answer`, whatever it was asked.
async fn answering(answer: &'static [u8]) -> (Client, impl Future) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![];
        while !request.ends_with(b"\r\n\r\n{}") && !request.ends_with(b"\r\n\r\nnull") {
            request.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    (Client::new(&url).unwrap(), task)
}

#[tokio::test]
async fn the_client_names_every_way_an_answer_can_be_wrong() {
    async fn call(answer: &'static [u8]) -> Result<GetKeyArgs, ClientError> {
        let (client, _task) = answering(answer).await;
        timeout(SOON, client.call("X", &Empty {})).await.unwrap()
    }
    for malformed in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull",
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{\"path\":null}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n<html>",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    ] {
        let error = call(malformed).await.unwrap_err();
        let shown = String::from_utf8_lossy(malformed);
        assert!(
            matches!(error, ClientError::Malformed { .. }),
            "{shown}: {error:?}"
        );
    }
    for cut in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
    ] {
        let error = call(cut).await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    }
    // An error without a code, as other servers write it.
    let plain = b"HTTP/1.1 400 Bad\r\nContent-Length: 22\r\n\r\n{\n  \"error\": \"a: b\"\n}\n";
    let expected = ClientError::Refused {
        code: String::new(),
        message: "a: b".into(),
    };
    assert_eq!(call(plain).await, Err(expected));
    // Empty answers may have no body.
    let (client, _task) = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    client.call::<_, Empty>("X", &Empty {}).await.unwrap();
}

#[tokio::test]
async fn the_client_says_whom_it_could_not_reach() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none");
    for url in [
        format!("unix:{}", socket.display()),
        "http://127.0.0.1:1/prpc".into(),
    ] {
        let error = Client::new(&url).unwrap().connect().await.unwrap_err();
        let ClientError::Unreachable { url: named, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(named, url);
    }
    let https = Client::new("https://127.0.0.1:1").unwrap();
    assert!(https.connect().await.is_err());
}

/// A server that shows what it got, and refuses who has no token.
async fn guarded() -> (SocketAddr, JoinHandle<()>) {
    let check = |headers: axum::http::HeaderMap| async move {
        match headers.get("authorization").map(|value| value.as_bytes()) {
            Some(b"Bearer right") => (axum::http::StatusCode::OK, "one\ntwo\n"),
            Some(_) => (axum::http::StatusCode::NOT_FOUND, "VM not found"),
            None => (axum::http::StatusCode::UNAUTHORIZED, "who are you?"),
        }
    };
    let router = axum::Router::new().fallback(check);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let running = tokio::spawn(serve::tcp(listener, router, std::future::pending()));
    (address, running)
}

#[tokio::test]
async fn a_bearer_token_goes_with_every_request_and_into_no_log() {
    let (address, running) = guarded().await;
    let client = Client::new(&format!("http://{address}")).unwrap();
    let refused = client.call::<_, Empty>("X", &Empty {}).await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused { code, .. } if code == "unauthorized"));
    let known = client.clone().with_bearer("right").unwrap();
    assert!(!format!("{known:?}").contains("right"));
    let text = known.connect().await.unwrap().get("/page").await.unwrap();
    assert_eq!(text, "one\ntwo\n");
    assert!(client.with_bearer("two\nlines").is_err());
    running.abort();
}

#[tokio::test]
async fn a_stream_comes_piece_by_piece_until_it_is_enough() {
    use std::ops::ControlFlow;
    let (address, running) = guarded().await;
    let client = Client::new(&format!("http://{address}")).unwrap();
    let known = client.clone().with_bearer("right").unwrap();
    let mut seen = vec![];
    let mut connection = known.connect().await.unwrap();
    let streamed = connection.stream("/logs", |piece| {
        seen.extend_from_slice(piece);
        ControlFlow::Continue(())
    });
    streamed.await.unwrap();
    assert_eq!(seen, b"one\ntwo\n");
    let mut connection = known.connect().await.unwrap();
    connection
        .stream("/logs", |_| ControlFlow::Break(()))
        .await
        .unwrap();
    let unknown = client.with_bearer("other").unwrap();
    let mut connection = unknown.connect().await.unwrap();
    let refused = connection
        .stream("/logs", |_| ControlFlow::Continue(()))
        .await;
    assert!(
        matches!(refused, Err(ClientError::Refused { message, .. }) if message == "VM not found")
    );
    running.abort();
}
