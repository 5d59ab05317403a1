//! Who gets what from the listener, and how clients find it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{Vmm, request};

/// The text at a path, or what the client says instead.
async fn get(vmm: &Vmm, path: &str) -> Result<String, String> {
    let mut connection = vmm.client().connect().await.unwrap();
    connection
        .get(path)
        .await
        .map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_but_scripts_and_styles_needs_a_token() {
    let vmm = Vmm::start("auth = { enabled = true, tokens = [\"secret\"] }").await;
    assert!(get(&vmm, "/res/style.css").await.is_ok());
    for path in [
        "/",
        "/v1",
        "/prpc/Version",
        "/guest/Info?id=x",
        "/logs?id=x",
        "/api-docs/openapi.json",
        "/api-docs/docs",
        "/nothing",
    ] {
        for query in ["", "token=", "token=wrong"] {
            let path = format!(
                "{path}{}{query}",
                if path.contains('?') { "&" } else { "?" }
            );
            let error = get(&vmm, &path).await.unwrap_err();
            assert!(error.contains("status 401"), "{path}: {error}");
        }
    }
    let version = get(&vmm, "/prpc/Version?token=secret").await.unwrap();
    assert!(version.contains(env!("CARGO_PKG_VERSION")));
    assert!(get(&vmm, "/?token=secret").await.unwrap().contains("<html"));
    let document = get(&vmm, "/api-docs/openapi.json?token=secret")
        .await
        .unwrap();
    assert!(document.contains("\"/prpc/CreateVm\"") && document.contains("\"/guest/Info\""));
    assert!(
        get(&vmm, "/api-docs/docs?token=secret")
            .await
            .unwrap()
            .contains("/prpc/CreateVm")
    );
    let error = get(&vmm, "/logs?id=x&token=secret").await.unwrap_err();
    assert!(error.contains("status 404"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_read_by_channel_and_lines() {
    let vmm = Vmm::start("").await;
    let id = vmm.create(request("vm")).await.unwrap();
    let log = vmm.path("vm").join(&id).join("stderr.log");
    bylaw_types::file::write_atomic(&log, b"one\n\x1b[31mtwo\x1b[0m\nthree\n").unwrap();
    let read = |query: &str| {
        let path = format!("/logs?id={id}&{query}");
        let vmm = &vmm;
        async move { get(vmm, &path).await }
    };
    assert_eq!(read("ch=stderr&lines=2").await.unwrap(), "two\nthree\n");
    let raw = read("ch=stderr&lines=2&ansi=true").await.unwrap();
    assert_eq!(raw, "\x1b[31mtwo\x1b[0m\nthree\n");
    assert!(read("ch=other").await.unwrap_err().contains("status 400"));
    assert!(
        read("follow=maybe")
            .await
            .unwrap_err()
            .contains("status 400")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_the_machine_find_it() {
    let vmm = Vmm::start("node_name = \"node\"").await;
    let folder = vmm.path("run/dstack-vmm");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().collect();
    assert_eq!(files.len(), 1);
    let text = std::fs::read(files[0].path()).unwrap();
    let entry: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let socket = format!("unix:{}", vmm.path("vmm.sock").display());
    assert_eq!(entry["address"], socket.as_str());
    assert_eq!(entry["node_name"], "node");
    let pid = entry["pid"].as_u64().unwrap();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
}
