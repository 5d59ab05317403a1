//! Against an engine that says what each test needs.

use std::path::Path as FsPath;
use std::sync::Mutex;

use axum::body::to_bytes;
use axum::http::Uri;
use futures::stream;
use serde_json::json;
use tokio::sync::Notify;
use tower::ServiceExt;

use super::*;

/// What an engine was asked, and what it says.
#[derive(Default)]
struct Script {
    asked: Mutex<Vec<String>>,
    tty: bool,
    log: Vec<Bytes>,
    /// Whether the log goes on after `log`.
    open: bool,
    /// Rung when the engine's own stream is dropped.
    hung_up: Arc<Notify>,
}

struct Ring(Arc<Notify>);

impl Drop for Ring {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

async fn answer(State(script): State<Arc<Script>>, uri: Uri) -> Response {
    script.asked.lock().unwrap().push(uri.to_string());
    match uri.path() {
        "/containers/json" => json_answer(&json!([
            {
                "Id": "aa", "Names": ["/web", "/alias"], "Image": "nginx", "ImageID": "sha256:bb",
                "Created": 1_700_000_000, "State": "running", "Status": "Up 2 hours",
                "Ports": [{"PrivatePort": 80}], "Labels": null,
            },
            { "Id": "cc", "Names": null, "Created": -1, "State": "dead" },
        ])),
        "/containers/web/json" => {
            json_answer(&json!({"Id": "aa", "Config": {"Tty": script.tty, "Env": []}}))
        }
        "/containers/odd/json" => json_answer(&json!({"Id": "../images"})),
        "/containers/evil/json" => {
            json_answer(&json!({"Id": "../images", "Config": {"Tty": false}}))
        }
        "/containers/aa/logs" => {
            let ring = Ring(Arc::clone(&script.hung_up));
            let ready = stream::iter(script.log.clone());
            let rest = stream::pending().take(usize::from(script.open));
            let body = ready.chain(rest).map(move |bytes: Bytes| {
                let _ = &ring;
                Ok::<_, std::convert::Infallible>(bytes)
            });
            Body::from_stream(body).into_response()
        }
        "/containers/muted/json" => (
            StatusCode::NOT_IMPLEMENTED,
            r#"{"message":"logging driver none"}"#,
        )
            .into_response(),
        "/containers/plain/json" => (StatusCode::INTERNAL_SERVER_ERROR, "oops").into_response(),
        _ => (StatusCode::NOT_FOUND, r#"{"message":"No such container"}"#).into_response(),
    }
}

fn json_answer(value: &serde_json::Value) -> Response {
    axum::Json(value).into_response()
}

/// A running engine; gone when dropped.
struct Fake {
    engine: Engine,
    script: Arc<Script>,
    _server: JoinSet<()>,
    _dir: tempfile::TempDir,
}

fn fake(script: Script) -> Fake {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    let script = Arc::new(script);
    let router = Router::new()
        .fallback(answer)
        .with_state(Arc::clone(&script));
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let mut server = JoinSet::new();
    // Like the engine's own, and unlike ours for SDKs, a server that sees its client go.
    server.spawn(async move {
        axum::serve(listener, router).await.unwrap();
    });
    Fake {
        engine: Engine::new(socket).with_clock(Clock::fixed(1_800_000_000)),
        script,
        _server: server,
        _dir: dir,
    }
}

fn frame(kind: u8, text: &str) -> Bytes {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&[kind, 0, 0, 0][..], &length, text.as_bytes()]
        .concat()
        .into()
}

fn text() -> LogOptions {
    LogOptions::parse("text", 0).unwrap()
}

async fn get_page(engine: &Engine, path: &str) -> (StatusCode, Response) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router(engine.clone()).oneshot(request).await.unwrap();
    (response.status(), response)
}

async fn body(response: Response) -> String {
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn containers_are_listed_with_what_they_have() {
    let fake = fake(Script::default());
    let list = fake.engine.list().await.unwrap();
    assert_eq!(
        list,
        [
            Container {
                id: "aa".into(),
                names: vec!["/web".into(), "/alias".into()],
                image: "nginx".into(),
                image_id: "sha256:bb".into(),
                created: 1_700_000_000,
                state: "running".into(),
                status: "Up 2 hours".into(),
            },
            Container {
                id: "cc".into(),
                created: -1,
                state: "dead".into(),
                ..Container::default()
            },
        ]
    );
    assert_eq!(
        *fake.script.asked.lock().unwrap(),
        ["/containers/json?all=true"]
    );
}

#[tokio::test]
async fn a_log_is_asked_for_by_id_and_arrives_line_by_line() {
    let fake = fake(Script {
        log: vec![frame(1, "out\n"), frame(2, "err\n")],
        ..Script::default()
    });
    let (status, response) = get_page(&fake.engine, "/logs/web?text&tail=5&since=60s").await;
    assert_eq!(status, StatusCode::OK);
    let headers = response.headers();
    assert_eq!(headers["content-type"], "application/x-ndjson");
    assert_eq!(headers["x-accel-buffering"], "no");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(
        body(response).await,
        "{\"channel\":\"stdout\",\"message\":\"out\\n\"}\n{\"channel\":\"stderr\",\"message\":\"err\\n\"}\n"
    );
    assert_eq!(
        *fake.script.asked.lock().unwrap(),
        [
            "/containers/web/json",
            "/containers/aa/logs?stdout=true&stderr=true&follow=false&timestamps=false\
             &since=1799999940&until=0&tail=5"
        ]
    );
}

#[tokio::test]
async fn bare_logs_are_plain_text() {
    let fake = fake(Script {
        log: vec![frame(1, "out\n")],
        ..Script::default()
    });
    let (_, response) = get_page(&fake.engine, "/logs/web?bare&text").await;
    assert_eq!(
        response.headers()["content-type"],
        "text/plain; charset=utf-8"
    );
    assert_eq!(body(response).await, "out\n");
}

#[tokio::test]
async fn a_terminals_bytes_are_never_taken_for_frames() {
    let fake = fake(Script {
        tty: true,
        log: vec![Bytes::from_static(b"\x01\0\0\0\x7f\xff\xff\xff!\nlast")],
        ..Script::default()
    });
    let (_, response) = get_page(&fake.engine, "/logs/web?text&ansi").await;
    let text = body(response).await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        lines[0].contains("console") && lines[0].contains("!\\n"),
        "{text}"
    );
    assert_eq!(lines[1], "{\"channel\":\"console\",\"message\":\"last\"}");
}

#[tokio::test]
async fn an_engine_that_breaks_off_is_told_in_the_log() {
    let fake = fake(Script {
        log: vec![frame(1, "out\n"), Bytes::from_static(b"garbage!")],
        ..Script::default()
    });
    let (status, response) = get_page(&fake.engine, "/logs/web?text&bare").await;
    assert_eq!(status, StatusCode::OK);
    let text = body(response).await;
    let (first, last) = text.split_once('\n').unwrap();
    assert_eq!(first, "out");
    let value: serde_json::Value = serde_json::from_str(last).unwrap();
    assert!(
        value["error"]
            .as_str()
            .unwrap()
            .contains("begin no message")
    );
}

#[tokio::test]
async fn a_silent_log_ends_without_an_error() {
    let mut fake = fake(Script {
        log: vec![frame(1, "out\n")],
        open: true,
        ..Script::default()
    });
    fake.engine.idle = Duration::from_millis(200);
    let log = fake.engine.logs("web", text()).await.unwrap();
    let lines: Vec<Bytes> = tokio::time::timeout(Duration::from_secs(10), log.collect())
        .await
        .unwrap();
    assert_eq!(
        lines.concat(),
        b"{\"channel\":\"stdout\",\"message\":\"out\\n\"}\n"
    );
    tokio::time::timeout(Duration::from_secs(5), fake.script.hung_up.notified())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_engines_work() {
    let fake = fake(Script {
        log: vec![frame(1, "out\n")],
        open: true,
        ..Script::default()
    });
    let mut log = Box::pin(fake.engine.logs("web", text()).await.unwrap());
    assert!(log.next().await.is_some());
    drop(log);
    tokio::time::timeout(Duration::from_secs(5), fake.script.hung_up.notified())
        .await
        .unwrap();
    assert_eq!(fake.engine.readers.available_permits(), READERS);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_given_up() {
    let mut fake = fake(Script {
        log: vec![frame(1, &"x".repeat(30_000)); 200],
        ..Script::default()
    });
    fake.engine.idle = Duration::from_millis(200);
    let log = fake.engine.logs("web", text()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), fake.script.hung_up.notified())
        .await
        .unwrap();
    let lines: Vec<Bytes> = log.collect().await;
    assert!(lines.concat().len() < 1 << 20);
}

#[tokio::test]
async fn only_so_many_logs_are_read_at_once() {
    let fake = fake(Script {
        open: true,
        ..Script::default()
    });
    let mut open = Vec::new();
    for _ in 0..READERS {
        open.push(fake.engine.logs("web", text()).await.unwrap());
    }
    let (status, response) = get_page(&fake.engine, "/logs/web").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body(response).await.contains("64 logs are being read"));
    open.pop();
    let again = async {
        while fake.engine.logs("web", text()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), again)
        .await
        .unwrap();
}

#[tokio::test]
async fn names_are_names_and_nothing_else() {
    let fake = fake(Script::default());
    let long = "a".repeat(256);
    for name in [
        ".",
        "..",
        "-a",
        "_a",
        ".a",
        "a%2Fb",
        "..%2F..%2Fimages",
        "a%00",
        "a%0d%0ab",
        "a%20b",
        "a%3Fx",
        "a%23x",
        "a%25",
        "%C3%A9",
        "%FF",
        "a+b",
        "a:b",
        "a@b",
        &long,
    ] {
        let (status, response) = get_page(&fake.engine, &format!("/logs/{name}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{name}");
        let value: serde_json::Value = serde_json::from_str(&body(response).await).unwrap();
        assert!(
            value["error"]
                .as_str()
                .unwrap()
                .contains("container's name"),
            "{name}"
        );
    }
    for name in ["", "a/b", "a/../b"] {
        let (status, _) = get_page(&fake.engine, &format!("/logs/{name}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{name}");
    }
    assert!(fake.script.asked.lock().unwrap().is_empty());
    for name in ["a", "9", "Web_1.x-2", &long[1..]] {
        assert!(usable_name(name).is_ok(), "{name}");
    }
}

#[tokio::test]
async fn each_failure_says_whose_it_is() {
    let fake = fake(Script::default());
    for (path, expected, text) in [
        (
            "/logs/nope",
            StatusCode::NOT_FOUND,
            "no container is named nope",
        ),
        (
            "/logs/web?tail=x",
            StatusCode::BAD_REQUEST,
            "tail: \"x\" is not",
        ),
        (
            "/logs/muted",
            StatusCode::BAD_GATEWAY,
            "(status 501): logging driver none",
        ),
        ("/logs/plain", StatusCode::BAD_GATEWAY, "(status 500): oops"),
        ("/logs/odd", StatusCode::BAD_GATEWAY, "missing field"),
        (
            "/logs/evil",
            StatusCode::BAD_GATEWAY,
            "a container without an id",
        ),
    ] {
        let (status, response) = get_page(&fake.engine, path).await;
        assert_eq!(status, expected, "{path}");
        let value: serde_json::Value = serde_json::from_str(&body(response).await).unwrap();
        let error = value["error"].as_str().unwrap();
        assert!(error.contains(text), "{path}: {error}");
    }
}

#[tokio::test]
async fn an_absent_engine_is_named() {
    let engine = Engine::new("/nonexistent/docker.sock");
    let error = engine.list().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the container engine does not answer on /nonexistent/docker.sock: \
         No such file or directory (os error 2)"
    );
    let (status, _) = get_page(&engine, "/logs/web").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!FsPath::new("/nonexistent").exists());
}
