//! The agent's view of containers, against a real Docker Engine.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bylaw_agent::containers::{Engine, router};
use bylaw_e2e::Docker;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

fn say(text: &str) {
    println!("containers: {text}");
}

/// An engine, and the agent's pages over it.
struct Stage {
    docker: Docker,
    engine: Engine,
    address: String,
}

impl Stage {
    async fn set() -> Self {
        say("starting dockerd");
        let docker = Docker::start().unwrap();
        let engine = Engine::new(&docker.socket);
        let address = serve(engine.clone()).await;
        Self {
            docker,
            engine,
            address,
        }
    }

    async fn open(&self, path: &str) -> reqwest::Response {
        say(path);
        let http = reqwest::Client::builder().timeout(PATIENCE);
        let url = format!("http://{}{path}", self.address);
        http.build().unwrap().get(url).send().await.unwrap()
    }

    async fn text(&self, path: &str) -> String {
        let response = self.open(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    }

    /// Channels and messages, as text.
    async fn lines(&self, path: &str) -> Vec<(String, String)> {
        parse(&self.text(path).await)
    }

    async fn wait_for_connections(&self, expected: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.docker.connections().unwrap() != expected {
            assert!(
                Instant::now() < deadline,
                "the engine has {} clients, not {expected}",
                self.docker.connections().unwrap()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn serve(engine: Engine) -> String {
    // The client wants one even for plain HTTP; another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let never = std::future::pending();
    tokio::spawn(bylaw_rpc::serve::tcp(listener, router(engine), never));
    address
}

fn parse(text: &str) -> Vec<(String, String)> {
    text.lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let part = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            (part("channel"), part("message"))
        })
        .collect()
}

fn of(channel: &str, messages: &[&str]) -> Vec<(String, String)> {
    messages
        .iter()
        .map(|message| (channel.to_owned(), (*message).to_owned()))
        .collect()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_are_listed_and_their_logs_have_every_form() {
    let stage = Stage::set().await;
    let docker = &stage.docker;

    say("running containers");
    let id = docker
        .run("stopped", &[], "echo out; sleep 0.3; echo err >&2")
        .unwrap();
    docker.run("running", &[], "echo up; sleep 60").unwrap();
    docker
        .run("colours", &[], r#"printf "\033[1;31mred\033[0m plain\n""#)
        .unwrap();
    docker
        // The engine's default driver keeps text only.
        .run(
            "binary",
            &["--log-driver", "local"],
            r#"printf "\377\000\001\n""#,
        )
        .unwrap();
    docker
        .run(
            "terminal",
            &["--tty"],
            r#"printf "\001\000\000\000\177\377\377\377 one\ntwo""#,
        )
        .unwrap();
    docker
        .run("long", &[], r#"head -c 40000 /dev/zero | tr "\0" x; echo"#)
        .unwrap();
    docker.run("many", &[], "seq 1 1500").unwrap();
    docker
        .run("mute", &["--log-driver", "none"], "echo x")
        .unwrap();
    for name in [
        "stopped", "colours", "binary", "terminal", "long", "many", "mute",
    ] {
        docker.wait(name).unwrap();
    }

    say("list");
    let list = stage.engine.list().await.unwrap();
    assert_eq!(list.len(), 8, "{list:?}");
    let of_name = |name: &str| list.iter().find(|it| it.names == [name]).unwrap();
    let stopped = of_name("/stopped");
    assert_eq!(stopped.id, id);
    assert_eq!((&*stopped.image, &*stopped.state), ("bylaw-test", "exited"));
    assert!(stopped.status.starts_with("Exited (0)"), "{stopped:?}");
    assert!(stopped.image_id.starts_with("sha256:"), "{stopped:?}");
    assert!(stopped.created > 1_700_000_000, "{stopped:?}");
    assert_eq!(of_name("/running").state, "running");

    say("forms");
    let expected = [of("stdout", &["out\n"]), of("stderr", &["err\n"])].concat();
    assert_eq!(stage.lines("/logs/stopped?text=true").await, expected);
    assert_eq!(stage.lines(&format!("/logs/{id}?text")).await, expected);
    assert_eq!(stage.text("/logs/stopped?text&bare").await, "out\nerr\n");
    let encoded = stage.lines("/logs/binary").await;
    assert_eq!(STANDARD.decode(&encoded[0].1).unwrap(), b"\xff\0\x01\n");
    assert_eq!(
        stage.text("/logs/binary?bare").await,
        format!("{}\n", encoded[0].1)
    );
    assert_eq!(stage.text("/logs/colours?text&bare").await, "red plain\n");
    assert_eq!(
        stage.lines("/logs/colours?text").await,
        of("stdout", &["red plain\n"])
    );
    assert_eq!(
        stage.text("/logs/colours?text&bare&ansi").await,
        "\x1b[1;31mred\x1b[0m plain\n"
    );
    let long = stage.text("/logs/long?text&bare").await;
    assert_eq!(long, format!("{}\n", "x".repeat(40_000)));
    assert_eq!(
        stage.lines("/logs/terminal?text&ansi").await,
        of(
            "console",
            &["\u{1}\0\0\0\u{7f}\u{fffd}\u{fffd}\u{fffd} one\r\n", "two"]
        )
    );

    say("tail");
    let counts = [
        ("", 1000),
        ("&tail=all", 1500),
        ("&tail=3", 3),
        ("&tail=0", 0),
    ];
    for (tail, count) in counts {
        let text = stage.text(&format!("/logs/many?text&bare{tail}")).await;
        assert_eq!(text.lines().count(), count, "{tail}");
        if count > 0 {
            assert_eq!(text.lines().last(), Some("1500"), "{tail}");
        }
    }

    say("errors");
    for (path, status, message) in [
        ("/logs/nobody", 404, "no container is named nobody"),
        ("/logs/mute", 502, "does not support reading"),
        (
            "/logs/many?since=yesterday",
            400,
            "since: \"yesterday\" is not Unix seconds",
        ),
        (
            "/logs/..%2Fimages%2Fjson%3F",
            400,
            "cannot be a container's name",
        ),
        ("/logs/many%00", 400, "cannot be a container's name"),
    ] {
        let response = stage.open(path).await;
        // The engine refuses to read `mute` only after it has answered with a log.
        let answered = response.status().as_u16();
        let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        let error = body["error"].as_str().unwrap();
        assert!(error.contains(message), "{path}: {error}");
        assert!(answered == status, "{path}: {answered}");
    }
    stage.wait_for_connections(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_bound_a_log() {
    let stage = Stage::set().await;
    stage
        .docker
        .run("slow", &[], "echo one; sleep 3; echo two")
        .unwrap();
    say("waiting for two lines three seconds apart");
    stage.docker.wait("slow").unwrap();
    let stamped = stage.text("/logs/slow?text&bare&timestamps=true").await;
    let stamps: Vec<&str> = stamped
        .lines()
        .map(|line| line.split_once(' ').unwrap().0)
        .collect();
    assert!(
        stamps[0] < stamps[1] && stamps[0].ends_with('Z'),
        "{stamped}"
    );
    assert!(stamped.ends_with(" two\n"), "{stamped}");

    let (_, message) = &stage.lines("/logs/slow?text&timestamps").await[1];
    assert_eq!(
        message,
        stamped
            .lines()
            .last()
            .map(|it| format!("{it}\n"))
            .as_ref()
            .unwrap()
    );

    // Between the two, by the engine's own clock.
    let date = |stamp: &str| -> u64 {
        let output = std::process::Command::new("date")
            .args(["-d", stamp, "+%s"])
            .output();
        String::from_utf8(output.unwrap().stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    };
    let between = date(stamps[0]) + 2;
    let log = async |query: &str| stage.text(&format!("/logs/slow?text&bare&{query}")).await;
    assert_eq!(log(&format!("since={between}")).await, "two\n");
    assert_eq!(log(&format!("until={between}")).await, "one\n");
    assert_eq!(log("since=1h").await, "one\ntwo\n");
    assert_eq!(log("until=1d").await, "");
    assert_eq!(log(&format!("since={}", between + 3600)).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_log_arrives_as_it_is_written() {
    let stage = Stage::set().await;

    say("a container that ends by itself");
    stage
        .docker
        .run("count", &[], "for i in 1 2 3; do echo $i; sleep 1; done")
        .unwrap();
    let mut response = stage.open("/logs/count?text&bare&follow").await;
    let (mut text, mut first) = (String::new(), None);
    while let Some(chunk) = response.chunk().await.unwrap() {
        first.get_or_insert_with(Instant::now);
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert_eq!(text, "1\n2\n3\n");
    // Had they arrived together, the end would follow at once.
    assert!(first.unwrap().elapsed() > Duration::from_millis(1500));

    say("a container that is stopped");
    stage.docker.run("stop", &[], "echo up; sleep 100").unwrap();
    let mut response = stage.open("/logs/stop?text&bare&follow").await;
    assert_eq!(response.chunk().await.unwrap().unwrap(), "up\n");
    stage.docker.docker(&["kill", "stop"]).unwrap();
    assert_eq!(response.chunk().await.unwrap(), None);

    say("a reader that hangs up");
    stage
        .docker
        .run("talk", &[], "while true; do echo x; sleep 0.2; done")
        .unwrap();
    stage.wait_for_connections(0).await;
    let mut response = stage.open("/logs/talk?text&bare&follow").await;
    assert!(response.chunk().await.unwrap().is_some());
    stage.wait_for_connections(1).await;
    drop(response);
    stage.wait_for_connections(0).await;

    say("an engine that is killed");
    let mut response = stage.open("/logs/talk?text&follow&tail=1").await;
    assert!(response.chunk().await.unwrap().is_some());
    stage.docker.kill_engine();
    let mut rest = String::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        rest.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let last: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert!(
        last["error"]
            .as_str()
            .unwrap()
            .contains("the container engine"),
        "{rest}"
    );
    let response = stage.open("/logs/talk").await;
    assert_eq!(response.status(), 503);
    let text = response.text().await.unwrap();
    assert!(text.contains("does not answer on"), "{text}");
    let error = stage.engine.list().await.unwrap_err().to_string();
    assert!(
        error.contains(&*stage.docker.socket.to_string_lossy()),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_costs_little_memory() {
    const LINE: usize = 8000;
    const LINES: usize = 8000;
    let stage = Stage::set().await;
    say("writing a log of 64 MB");
    let script = format!(
        r#"awk "BEGIN {{ s = sprintf(\"%{}s\", \"\"); for (i = 0; i < {LINES}; i++) print s }}""#,
        LINE - 1
    );
    stage.docker.run("big", &[], &script).unwrap();
    stage.docker.wait("big").unwrap();

    say("eight readers that take nothing");
    let before = resident_kib();
    let mut readers = Vec::new();
    for _ in 0..8 {
        let mut reader = TcpStream::connect(&stage.address).await.unwrap();
        let request =
            b"GET /logs/big?text&bare&tail=all HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        reader.write_all(request).await.unwrap();
        readers.push(reader);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = resident_kib();
    say(&format!("resident: {before} KiB before, {after} KiB after"));
    assert!(
        after < before + 16 * 1024,
        "{before} KiB before, {after} KiB after"
    );
    assert_eq!(stage.docker.connections().unwrap(), 8);

    say("one of them reads on, the others go");
    let mut reader = readers.pop().unwrap();
    drop(readers);
    stage.wait_for_connections(1).await;
    let (mut spaces, mut peak, mut buffer) = (0, 0, vec![0; 256 * 1024]);
    loop {
        let count = reader.read(&mut buffer).await.unwrap();
        if count == 0 {
            break;
        }
        spaces += buffer[..count].iter().filter(|byte| **byte == b' ').count();
        peak = peak.max(resident_kib());
    }
    assert!(spaces >= (LINE - 1) * LINES, "{spaces}");
    assert!(spaces < (LINE - 1) * LINES + 1000, "{spaces}");
    assert!(
        peak < before + 16 * 1024,
        "{before} KiB before, {peak} KiB at most"
    );
    stage.wait_for_connections(0).await;
}

#[tokio::test]
async fn without_an_engine_the_answer_says_so() {
    let engine = Engine::new("/nonexistent/docker.sock");
    let address = serve(engine.clone()).await;
    let response = reqwest::get(format!("http://{address}/logs/x"))
        .await
        .unwrap();
    assert_eq!(response.status(), 503);
    let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    let error = body["error"].as_str().unwrap();
    assert!(
        error.contains("/nonexistent/docker.sock: No such file"),
        "{error}"
    );
    assert!(engine.list().await.is_err());
}
