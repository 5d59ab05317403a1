use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::sync::{Arc, Mutex};

use super::*;

/// What was asked, and what is answered to everything.
#[derive(Clone)]
struct Agent {
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    status: StatusCode,
    answer: Arc<Vec<u8>>,
}

impl Agent {
    fn new(status: StatusCode, answer: impl Into<Vec<u8>>) -> Self {
        Self {
            asked: Arc::default(),
            status,
            answer: Arc::new(answer.into()),
        }
    }

    fn answering(answer: &Value) -> Self {
        Self::new(StatusCode::OK, answer.to_string())
    }

    fn router(&self) -> Router {
        async fn any(State(agent): State<Agent>, request: Request) -> Response {
            let path = request.uri().path().to_owned();
            assert_eq!(request.headers()["content-type"], "application/json");
            let body = axum::body::to_bytes(request.into_body(), 1 << 20)
                .await
                .unwrap();
            let body = serde_json::from_slice(&body).unwrap();
            agent.asked.lock().unwrap().push((path, body));
            (agent.status, agent.answer.to_vec()).into_response()
        }
        Router::new().fallback(any).with_state(self.clone())
    }

    async fn client(&self) -> Client {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = self.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Client::builder().endpoint(url).build().unwrap()
    }

    fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().unwrap().clone()
    }
}

fn key() -> Value {
    json!({ "key": "07".repeat(32), "signature_chain": ["aa", ""], "more": 1 })
}

#[tokio::test]
async fn requests_have_the_names_and_forms_of_the_api() {
    let agent = Agent::answering(&key());
    let client = agent.client().await;
    let answer = client.get_key("a/b", "p", "ed25519").await.unwrap();
    assert_eq!(answer.key.expose(), &[7; 32]);
    assert_eq!(answer.signature_chain, [vec![0xaa], vec![]]);
    assert_eq!(
        agent.asked(),
        [(
            "/GetKey".to_owned(),
            json!({ "path": "a/b", "purpose": "p", "algorithm": "ed25519" })
        )]
    );

    let agent = Agent::answering(&json!({ "key": "pem", "certificate_chain": ["a"] }));
    let options = TlsKeyOptions {
        subject: "x".to_owned(),
        not_after: Some(5),
        ..TlsKeyOptions::default()
    };
    agent.client().await.get_tls_key(&options).await.unwrap();
    let expected = json!({
        "subject": "x", "alt_names": [], "usage_ra_tls": false, "usage_server_auth": true,
        "usage_client_auth": false, "not_after": 5, "with_app_info": false,
    });
    assert_eq!(agent.asked(), [("/GetTlsKey".to_owned(), expected)]);

    let agent = Agent::new(StatusCode::OK, "null");
    agent.client().await.emit_event("e", &[0xab]).await.unwrap();
    let expected = json!({ "event": "e", "payload": "ab" });
    assert_eq!(agent.asked(), [("/EmitEvent".to_owned(), expected)]);

    let agent = Agent::answering(&json!({ "valid": false }));
    let client = agent.client().await;
    assert!(!client.verify("ed25519", &[1], &[2], &[3]).await.unwrap());
    let expected =
        json!({ "algorithm": "ed25519", "data": "01", "signature": "02", "public_key": "03" });
    assert_eq!(agent.asked(), [("/Verify".to_owned(), expected)]);
}

#[tokio::test]
async fn unix_sockets_are_spoken_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dstack.sock");
    let agent = Agent::answering(&json!({ "version": "0.1.0", "rev": "" }));
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let router = agent.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    for endpoint in [
        path.display().to_string(),
        format!("unix:{}", path.display()),
    ] {
        let client = Client::builder().endpoint(endpoint).build().unwrap();
        assert_eq!(client.version().await.unwrap().version, "0.1.0");
        assert!(client.is_reachable().await);
    }
}

#[tokio::test]
async fn refusals_keep_sentence_and_code() {
    let agent = Agent::new(
        StatusCode::BAD_REQUEST,
        r#"{"error": "Unsupported algorithm", "code": "algorithm"}"#,
    );
    let error = agent.client().await.sign("rsa", b"x").await.unwrap_err();
    let expected = ClientError::Refused {
        method: "Sign",
        code: "algorithm".to_owned(),
        message: "Unsupported algorithm".to_owned(),
    };
    assert_eq!(error, expected);
    let silent = Agent::new(StatusCode::BAD_GATEWAY, "<html>");
    let error = silent.client().await.version().await.unwrap_err();
    assert!(error.to_string().contains("502"), "{error}");
    assert!(!silent.client().await.is_reachable().await);
}

#[tokio::test]
async fn missing_fields_are_named_and_secrets_are_not_quoted() {
    let agent = Agent::answering(&json!({ "key": "07".repeat(32) }));
    let error = agent.client().await.get_key("", "", "").await.unwrap_err();
    assert!(error.to_string().contains("signature_chain"), "{error}");

    let secret = "5ec2e7".repeat(11);
    for key in [json!(secret), json!([secret]), json!(format!("zz{secret}"))] {
        let agent = Agent::answering(&json!({ "key": key, "signature_chain": [] }));
        let error = agent.client().await.get_key("", "", "").await.unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("5ec2e7"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn nothing_secret_prints() {
    let agent = Agent::answering(&key());
    let printed = format!(
        "{:?}",
        agent.client().await.get_key("", "", "").await.unwrap()
    );
    assert!(
        !printed.contains("07") && !printed.contains(", 7"),
        "{printed}"
    );
    let agent = Agent::answering(&json!({ "key": "PRIVATE", "certificate_chain": ["public"] }));
    let options = TlsKeyOptions::default();
    let answer = agent.client().await.get_tls_key(&options).await.unwrap();
    let printed = format!("{answer:?}");
    assert!(
        !printed.contains("PRIVATE") && printed.contains("public"),
        "{printed}"
    );
}

#[tokio::test]
async fn arguments_that_cannot_be_right_are_not_sent() {
    let agent = Agent::answering(&json!({}));
    let client = agent.client().await;
    for error in [
        client.get_quote(&[0; 65]).await.unwrap_err(),
        client.attest(&[0; 65]).await.unwrap_err(),
        client.emit_event("a:b", &[]).await.unwrap_err(),
        client.emit_event("", &[]).await.unwrap_err(),
    ] {
        assert!(matches!(error, ClientError::Argument(_)), "{error}");
    }
    assert_eq!(agent.asked(), []);
}

#[tokio::test]
async fn answers_have_a_limit() {
    let agent = Agent::new(StatusCode::OK, vec![b' '; http::MAX_ANSWER + 1]);
    let error = agent.client().await.version().await.unwrap_err();
    assert!(error.to_string().contains("longer"), "{error}");
}

#[tokio::test]
async fn a_silent_agent_is_not_waited_for() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let limit = Duration::from_millis(50);
    let client = Client::builder()
        .endpoint(&url)
        .call_timeout(limit)
        .build()
        .unwrap();
    let error = client.version().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    let patient = Client::builder().endpoint(url).build().unwrap();
    assert!(!patient.is_reachable().await);
}

fn info() -> Value {
    json!({
        "app_id": "11".repeat(20), "instance_id": "", "app_cert": "", "tcb_info": "",
        "app_name": "x", "device_id": "22".repeat(32),
        "key_provider_info": r#"{"name":"kms","id":"ab","since":1}"#,
        "compose_hash": "33".repeat(32),
    })
}

#[tokio::test]
async fn info_may_keep_its_measurements_to_itself() {
    let found = Agent::answering(&info())
        .client()
        .await
        .info()
        .await
        .unwrap();
    assert_eq!(found.instance_id, None);
    assert_eq!(found.key_provider.unwrap().name, "kms");
    assert!(found.tcb_info.is_none());

    let mut public = info();
    public["instance_id"] = json!("44".repeat(20));
    public["tcb_info"] = json!(
        json!({
            "mrtd": "55".repeat(48), "rtmr0": null, "app_compose": "{}", "device_id": "",
            "event_log": [{ "imr": 3, "event_type": 1, "digest": "", "event": "e", "event_payload": "00" }],
        })
        .to_string()
    );
    let found = Agent::answering(&public)
        .client()
        .await
        .info()
        .await
        .unwrap();
    let tcb = found.tcb_info.unwrap();
    assert_eq!((tcb.rtmr, tcb.event_log.len()), ([None; 4], 1));
    assert!(tcb.mrtd.is_some() && found.instance_id.is_some());

    for (field, value) in [
        ("app_id", json!("11")),
        ("tcb_info", json!("{}")),
        ("instance_id", json!("4")),
    ] {
        let mut broken = info();
        broken[field] = value;
        assert!(
            Agent::answering(&broken)
                .client()
                .await
                .info()
                .await
                .is_err(),
            "{field}"
        );
    }
}

#[test]
fn the_endpoint_is_given_named_or_found() {
    let found = |variable: Option<&str>, there: &str| {
        find_endpoint(variable.map(str::to_owned), |path| path == Path::new(there))
    };
    let newer = "/run/dstack/dstack.sock";
    assert_eq!(found(Some("/x/y.sock"), newer).unwrap(), "/x/y.sock");
    assert_eq!(found(Some(""), newer).unwrap(), newer);
    assert_eq!(found(None, newer).unwrap(), newer);
    assert_eq!(
        found(None, "/elsewhere").unwrap_err(),
        ClientError::NoEndpoint
    );
    for bad in ["", "dstack.sock", "ftp:x", "http://"] {
        let error = Client::builder().endpoint(bad).build().unwrap_err();
        assert_eq!(error, ClientError::Endpoint(bad.to_owned()), "{bad}");
    }
}
