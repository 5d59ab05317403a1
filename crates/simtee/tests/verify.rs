//! What the simulator emits, verified by the code that verifies hardware.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use bylaw_attest::collateral::{Fixed, Pccs};
use bylaw_attest::{
    Appraisal, AppraisalError, Attestation, Expect, Mode, Platform, TrustAnchors, Verifier,
};
use bylaw_simtee::{Launch, Machine, Options, SimImage, Td, pccs};
use bylaw_types::clock::Clock;
use bylaw_types::{AppCompose, ReportData, TcbStatus};

const NOW: u64 = 1_800_000_000;

fn compose(name: &str) -> AppCompose {
    let text = format!(r#"{{"manifest_version":2,"name":"{name}","runner":"docker-compose"}}"#);
    AppCompose::parse(text.as_bytes()).unwrap()
}

fn launch(name: &str) -> Launch {
    Launch {
        name: "vm".into(),
        compose: compose(name),
        app_id: None,
        image: String::new(),
        memory_size: 2 << 30,
        cpu_count: 2,
        full_boot: false,
        debug: false,
        outdated: false,
        gpus: 0,
        instance_seed: None,
    }
}

fn machine(options: Options) -> (tempfile::TempDir, Arc<Machine>) {
    let dir = tempfile::tempdir().unwrap();
    let machine = Arc::new(Machine::open(dir.path(), options).unwrap());
    (dir, machine)
}

fn verifier(machine: &Machine, anchors: TrustAnchors, now: u64) -> Verifier {
    let collateral = machine.collateral(NOW).unwrap();
    Verifier::new(anchors, Arc::new(Fixed::new(collateral)), Clock::fixed(now))
}

fn own(machine: &Machine) -> TrustAnchors {
    TrustAnchors::with_tdx_root(machine.root_pem().as_bytes()).unwrap()
}

async fn appraise(machine: &Arc<Machine>, td: &Td) -> Result<Appraisal, AppraisalError> {
    let evidence = td.attest(&ReportData::new([7; 64]));
    let expected = ReportData::new([7; 64]);
    verifier(machine, own(machine), NOW)
        .appraise(&evidence, Expect::ReportData(&expected))
        .await
}

#[tokio::test]
async fn a_launched_td_is_appraised_and_identified() {
    let (_dir, machine) = machine(Options::default());
    let td = Td::launch(Arc::clone(&machine), launch("a")).unwrap();
    let appraisal = appraise(&machine, &td).await.unwrap();
    assert_eq!(appraisal.tcb_status(), TcbStatus::UpToDate);
    assert!(!appraisal.anchors().is_vendor());
    let info = appraisal.identify(Mode::Full, None).unwrap();
    assert_eq!(info.compose_hash, compose("a").hash());
    assert_eq!(
        info.os_image_hash,
        SimImage::new("").unwrap().os_image_hash()
    );
    assert_eq!(info.device_id, machine.device_id());
    assert_eq!(info.instance_id, td.instance_id());
    let boot = appraisal.identify(Mode::BootTime, None).unwrap();
    assert_eq!(
        boot.mr_aggregated, info.mr_aggregated,
        "nothing came after boot-mr-done yet"
    );
}

#[tokio::test]
async fn stock_dcap_qvl_verifies_it_under_its_root_only() {
    let (_dir, machine) = machine(Options::default());
    let td = Td::launch(Arc::clone(&machine), launch("a")).unwrap();
    let Platform::Tdx { quote, .. } = td.attest(&ReportData::new([1; 64])).platform else {
        panic!("TDX");
    };
    let json: serde_json::Value =
        serde_json::from_str(&machine.collateral(NOW).unwrap().to_json()).unwrap();
    let bytes = |name: &str| hex::decode(json[name].as_str().unwrap()).unwrap();
    let text = |name: &str| json[name].as_str().unwrap().to_owned();
    let collateral = dcap_qvl::QuoteCollateralV3 {
        pck_crl_issuer_chain: text("pck_crl_issuer_chain"),
        root_ca_crl: bytes("root_ca_crl"),
        pck_crl: bytes("pck_crl"),
        tcb_info_issuer_chain: text("tcb_info_issuer_chain"),
        tcb_info: text("tcb_info"),
        tcb_info_signature: bytes("tcb_info_signature"),
        qe_identity_issuer_chain: text("qe_identity_issuer_chain"),
        qe_identity: text("qe_identity"),
        qe_identity_signature: bytes("qe_identity_signature"),
        pck_certificate_chain: None,
    };
    let own = dcap_qvl::verify::QuoteVerifier::new(machine.root_der().to_vec());
    assert_eq!(
        own.verify(&quote, &collateral, NOW).unwrap().status,
        "UpToDate"
    );
    let intel = dcap_qvl::verify::QuoteVerifier::new_prod();
    assert!(intel.verify(&quote, &collateral, NOW).is_err());
}

#[tokio::test]
async fn vendor_anchors_refuse_it() {
    let (_dir, machine) = machine(Options::default());
    let td = Td::launch(Arc::clone(&machine), launch("a")).unwrap();
    let evidence = td.attest(&ReportData::new([0; 64]));
    let vendor = verifier(&machine, TrustAnchors::vendor(), NOW);
    for verifier in [vendor.clone(), vendor.tolerating_missing_collateral()] {
        let error = verifier
            .appraise(&evidence, Expect::Anything)
            .await
            .unwrap_err();
        assert!(matches!(error, AppraisalError::Quote(_)), "{error:?}");
    }
}

#[tokio::test]
async fn each_knob_has_its_refusal() {
    let debug = Launch {
        debug: true,
        outdated: false,
        gpus: 0,
        ..launch("a")
    };
    for (what, options, launch, part) in [
        (
            "revoked PCK",
            Options {
                revoke_pck: true,
                ..Options::default()
            },
            launch("a"),
            "evoked",
        ),
        (
            "revoked TCB",
            Options {
                tcb_status: "Revoked".into(),
                ..Options::default()
            },
            launch("a"),
            "Revoked",
        ),
        ("debug TD", Options::default(), debug, "debug"),
        (
            "foreign module",
            Options {
                mr_signer_seam: [1; 48],
                ..Options::default()
            },
            launch("a"),
            "MRSIGNER",
        ),
    ] {
        let (_dir, machine) = machine(options);
        let td = Td::launch(Arc::clone(&machine), launch).unwrap();
        let error = appraise(&machine, &td).await.unwrap_err().to_string();
        assert!(error.contains(part), "{what}: {error}");
    }
}

#[tokio::test]
async fn other_tcb_states_are_reported_as_they_are() {
    let options = Options {
        tcb_status: "OutOfDate".into(),
        advisory_ids: vec!["INTEL-SA-00001".into()],
        ..Options::default()
    };
    let (_dir, machine) = machine(options);
    let td = Td::launch(Arc::clone(&machine), launch("a")).unwrap();
    let appraisal = appraise(&machine, &td).await.unwrap();
    assert_eq!(appraisal.tcb_status(), TcbStatus::OutOfDate);
    assert_eq!(appraisal.advisory_ids(), ["INTEL-SA-00001"]);
}

#[tokio::test]
async fn expired_collateral_is_refused() {
    let (_dir, machine) = machine(Options::default());
    let td = Td::launch(Arc::clone(&machine), launch("a")).unwrap();
    let evidence = td.attest(&ReportData::new([0; 64]));
    let later = verifier(&machine, own(&machine), NOW + 31 * 24 * 60 * 60);
    assert!(later.appraise(&evidence, Expect::Anything).await.is_err());
}

#[tokio::test]
async fn both_event_versions_survive_both_encodings() {
    let (_dir, machine) = machine(Options::default());
    for version in [1, 2] {
        let text = format!(
            r#"{{"manifest_version":2,"name":"a","runner":"bash","event_log_version":{version}}}"#
        );
        let compose = AppCompose::parse(text.as_bytes()).unwrap();
        let td = Td::launch(
            Arc::clone(&machine),
            Launch {
                compose,
                ..launch("a")
            },
        )
        .unwrap();
        let evidence = td.attest(&ReportData::new([0; 64]));
        for form in [evidence.clone(), evidence.stripped()] {
            let decoded = Attestation::decode(&form.encode()).unwrap();
            let appraisal = verifier(&machine, own(&machine), NOW)
                .appraise(&decoded, Expect::Anything)
                .await
                .unwrap();
            appraisal.identify(Mode::Full, None).unwrap();
        }
    }
}

#[test]
fn state_survives_a_restart_and_sealing_keys_depend_on_measurements() {
    let (dir, machine) = machine(Options::default());
    let key = |machine: &Arc<Machine>, name: &str| {
        let td = Td::launch(Arc::clone(machine), launch(name)).unwrap();
        (td.sealing_key("x"), td.instance_id())
    };
    let again = Arc::new(Machine::open(dir.path(), Options::default()).unwrap());
    assert_eq!(key(&machine, "a"), key(&again, "a"));
    assert_eq!(machine.root_pem(), again.root_pem());
    assert_ne!(
        key(&machine, "a").0,
        key(&machine, "b").0,
        "another compose"
    );
    let td = Td::launch(Arc::clone(&machine), launch("a")).unwrap();
    assert_ne!(td.sealing_key("x"), td.sealing_key("y"));
    let before = td.sealing_key("x");
    td.extend("app", b"");
    assert_ne!(td.sealing_key("x"), before, "another RTMR3");
}

#[tokio::test]
async fn the_pccs_serves_what_verifiers_fetch() {
    let (_dir, machine) = machine(Options::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = pccs::router(Arc::clone(&machine), Clock::fixed(NOW));
    tokio::spawn(bylaw_rpc::serve::tcp(
        listener,
        routes,
        std::future::pending(),
    ));
    let source = Arc::new(Pccs::new(&url).unwrap());
    let verifier = Verifier::new(own(&machine), source, Clock::fixed(NOW));
    let td = Td::launch(Arc::clone(&machine), launch("a")).unwrap();
    let evidence = td.attest(&ReportData::new([0; 64]));
    let appraisal = verifier
        .appraise(&evidence, Expect::Anything)
        .await
        .unwrap();
    assert_eq!(appraisal.tcb_status(), TcbStatus::UpToDate);
}

#[test]
fn bad_launches_are_refused_by_name() {
    let (_dir, machine) = machine(Options::default());
    for bad in [
        Launch {
            name: "../x".into(),
            ..launch("a")
        },
        Launch {
            name: String::new(),
            ..launch("a")
        },
        Launch {
            memory_size: 1 << 30,
            ..launch("a")
        },
    ] {
        assert!(Td::launch(Arc::clone(&machine), bad).is_err());
    }
}
