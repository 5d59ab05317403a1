//! The simulator's socket answers as every attester does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use bylaw_attester::{Interface, attester_from};
use bylaw_rpc::message::simtee::{LaunchArgs, LaunchResponse};
use bylaw_rpc::{Client, serve};
use bylaw_simtee::service::Simulator;
use bylaw_simtee::{Machine, Options, guests};
use bylaw_types::{ReportData, TeeVariant};
use tokio::net::TcpListener;

#[tokio::test]
async fn a_simulated_td_attests_extends_seals_and_says_that_it_is_simulated() {
    let dir = tempfile::tempdir().unwrap();
    let machine = Arc::new(Machine::open(dir.path(), Options::default()).unwrap());
    let guests_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let guests_url = format!("http://{}", guests_listener.local_addr().unwrap());
    let simulator = Simulator::new(machine, String::new(), guests_url);
    let routes = guests::router(Arc::clone(&simulator));
    tokio::spawn(serve::tcp(guests_listener, routes, std::future::pending()));
    let control = dir.path().join("control.sock");
    let listener = serve::bind_unix(&control, 0o600).unwrap();
    tokio::spawn(serve::unix(
        listener,
        simulator.router(),
        std::future::pending(),
    ));
    let launch = LaunchArgs {
        name: "vm".into(),
        app_compose: r#"{"manifest_version":2,"name":"a","runner":"bash"}"#.into(),
        ..LaunchArgs::default()
    };
    let client = Client::new(&format!("unix:{}", control.display())).unwrap();
    let launched: LaunchResponse = client.call("Launch", &launch).await.unwrap();

    for address in [&launched.socket, &launched.url] {
        let endpoint = format!("simtee:{address}");
        let attester = attester_from(&endpoint, None).unwrap();
        let hardware = attester.hardware().await.unwrap();
        assert!(hardware.simulated && hardware.measures_events);
        assert_eq!(hardware.tee, TeeVariant::Tdx);
        assert_eq!(hardware.interface, Interface::Simulator);
        assert_eq!(attester.vm_config().await.unwrap(), launched.vm_config);

        let asked = ReportData::new([3; 64]);
        let before = attester.attest(&asked).await.unwrap();
        attester.extend("app", b"x").await.unwrap();
        let after = attester.attest(&asked).await.unwrap();
        assert_eq!(after.stack.report_data, asked);
        assert_eq!(
            after.stack.runtime_events.len(),
            before.stack.runtime_events.len() + 1
        );
        attester.sealing_key("x").await.unwrap();
    }
}
