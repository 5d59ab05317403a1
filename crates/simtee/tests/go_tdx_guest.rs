//! An opinion that shares no code with ours: Google's go-tdx-guest.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bylaw_attest::Platform;
use bylaw_simtee::{Launch, Machine, Options, Td, pccs};
use bylaw_types::clock::Clock;
use bylaw_types::{AppCompose, ReportData};

#[tokio::test(flavor = "multi_thread")]
async fn go_tdx_guest_verifies_quotes_and_refuses_changed_ones() {
    if Command::new("go").arg("version").output().is_err() {
        println!("skipped: go is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("verify");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/go");
    let built = Command::new("go")
        .current_dir(source)
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );

    let machine = Arc::new(Machine::open(dir.path(), Options::default()).unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = pccs::router(Arc::clone(&machine), Clock::system());
    tokio::spawn(bylaw_rpc::serve::tcp(
        listener,
        routes,
        std::future::pending(),
    ));

    let text = r#"{"manifest_version":2,"name":"a","runner":"bash"}"#;
    let launch = Launch {
        name: "vm".into(),
        compose: AppCompose::parse(text.as_bytes()).unwrap(),
        app_id: None,
        image: String::new(),
        memory_size: 2 << 30,
        cpu_count: 2,
        full_boot: false,
        debug: false,
        outdated: false,
        gpus: 0,
        instance_seed: None,
    };
    let td = Td::launch(Arc::clone(&machine), launch).unwrap();
    let Platform::Tdx { mut quote, .. } = td.attest(&ReportData::new([7; 64])).platform else {
        unreachable!("the simulator is TDX")
    };
    let verify = |quote: &[u8]| {
        let path = dir.path().join("quote.bin");
        bylaw_types::file::write_atomic(&path, quote).unwrap();
        Command::new(&program)
            .arg(path)
            .arg(machine.root_path())
            .arg(&url)
            .output()
            .unwrap()
    };
    let verdict = verify(&quote);
    assert!(
        verdict.status.success(),
        "{}",
        String::from_utf8_lossy(&verdict.stderr)
    );
    quote[600] ^= 1;
    assert!(!verify(&quote).status.success(), "a changed report data");
}
