//! SEV-SNP evidence of the simulator, verified by the code that verifies hardware.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod fixture;

use std::sync::Arc;

use bylaw_attest::collateral::{AmdSource, CachedAmd, Directory, Kds};
use bylaw_attest::image::snp::SnpImageError;
use bylaw_attest::snp::{Product, SnpError, table};
use bylaw_attest::{AppraisalError, Expect, IdentifyError, Mode, TrustAnchors, Verifier};
use bylaw_simtee::{
    Machine, Options, SimImage, SnpGuest, SnpImage, SnpLaunch, kds, launch_document, sign_report,
};
use bylaw_types::clock::Clock;
use bylaw_types::{ReportData, TcbStatus, TeeVariant};

use fixture::*;

#[tokio::test]
async fn a_launched_guest_is_appraised_and_identified() {
    for product in Product::ALL {
        let machine = machine(product);
        for certificates in [true, false] {
            let launch = SnpLaunch {
                certificates,
                ..launch()
            };
            let guest = SnpGuest::launch(Arc::clone(&machine), launch).unwrap();
            let appraisal = verifier(&machine, |_| {})
                .appraise(&guest.attest(&ASKED), Expect::ReportData(&ASKED))
                .await
                .unwrap();
            assert_eq!(appraisal.tcb_status(), TcbStatus::UpToDate);
            assert!(!appraisal.anchors().is_vendor());
            let who = appraisal.identify(Mode::Full, None).unwrap();
            assert_eq!(who.tee_variant, TeeVariant::SevSnp);
            assert_eq!(who.app_id, APP);
            assert_eq!(who.compose_hash, compose().hash());
            assert_eq!(
                who.os_image_hash,
                SimImage::new("").unwrap().os_image_hash()
            );
            assert_eq!(who.instance_id, guest.instance_id());
            assert!(who.instance_id.is_some());
            assert_eq!(who.key_provider_info, br#"{"name":"kms","id":""}"#);
            assert_eq!(appraisal.identify(Mode::BootTime, None).unwrap(), who);
        }
    }
}

#[tokio::test]
async fn a_machine_keeps_its_chip_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Machine::open(dir.path(), Options::default()).unwrap();
    let first = open().amd().unwrap();
    let second = open().amd().unwrap();
    assert_eq!(
        (first.vcek(), first.root_pem()),
        (second.vcek(), second.root_pem())
    );
    assert_eq!(
        std::fs::read_to_string(second.root_path()).unwrap(),
        second.root_pem()
    );
}

#[tokio::test]
async fn vendor_anchors_and_other_machines_refuse_it() {
    let evidence = guest(|_| {}).attest(&ASKED);
    let source = || Service {
        amd: MACHINE.amd().unwrap(),
        revoke_ask: false,
        issued_at: NOW,
    };
    let other = machine(Product::Milan);
    for anchors in [TrustAnchors::vendor(), anchors(&other)] {
        let nothing = Arc::new(Directory::new("/nonexistent"));
        let error = Verifier::new(anchors, nothing, Clock::fixed(NOW))
            .with_amd(Arc::new(source()))
            .appraise(&evidence, Expect::Anything)
            .await
            .unwrap_err();
        let AppraisalError::Snp(SnpError::Chain(reason)) = error else {
            panic!("{error}");
        };
        assert!(reason.contains("ARK-Milan"), "{reason}");
    }
}

#[tokio::test]
async fn each_claim_of_a_report_is_checked_though_the_chip_signed_it() {
    let policy = |bits: u64| signed_with(0x08, &bits.to_le_bytes());
    assert_eq!(refused(&policy(0x30000 | 1 << 19)).await, SnpError::Debug);
    assert_eq!(
        refused(&policy(0x30000 | 1 << 18)).await,
        SnpError::MigrationAgent
    );
    for bits in [0x10000, 0x20000, 0x30000 | 1 << 24, 0x30000 | 1 << 40] {
        let error = refused(&policy(bits)).await;
        assert!(matches!(error, SnpError::Policy(_)), "{error}");
    }
    assert_eq!(
        refused(&signed_with(0x30, &[1])).await,
        SnpError::PrivilegeLevel(1)
    );
    assert_eq!(
        refused(&signed_with(0x48, &[2])).await,
        SnpError::MaskedChip
    );
    assert_eq!(refused(&signed_with(0x48, &[4])).await, SnpError::Vlek);
    assert_eq!(
        refused(&signed_with(0x1a0, &[0; 64])).await,
        SnpError::MaskedChip
    );
    let chip = refused(&signed_with(0x1a0, &[9; 64])).await;
    assert!(matches!(chip, SnpError::OtherChip { .. }), "{chip}");
    for (at, part) in [
        (0x180, "bootloader"),
        (0x181, "tee"),
        (0x186, "snp"),
        (0x187, "microcode"),
    ] {
        match refused(&signed_with(at, &[99])).await {
            SnpError::Tcb {
                part: named,
                reported,
                ..
            } => {
                assert_eq!((named, reported), (part, 99));
            }
            other => panic!("{other}"),
        }
    }
    let genoa = refused(&signed_with(0x188, &[0x19, 0x11])).await;
    assert_eq!(genoa, SnpError::NoRoot(Product::Genoa));
    let venice = refused(&signed_with(0x188, &[0x1a, 0x50])).await;
    assert!(
        matches!(venice, SnpError::UnknownProduct { .. }),
        "{venice}"
    );
    let debug = guest(|launch| launch.debug = true).attest(&ASKED);
    assert_eq!(refused(&debug).await, SnpError::Debug);
}

/// A VCEK of another product that the same root issued: only its extension tells.
#[tokio::test]
async fn a_certificate_of_another_product_is_refused() {
    let other = machine(Product::Genoa);
    let evidence = SnpGuest::launch(Arc::clone(&other), launch())
        .unwrap()
        .attest(&ASKED);
    let both = [MACHINE.amd().unwrap(), other.amd().unwrap()]
        .map(|amd| amd.root_pem())
        .concat();
    let anchors = TrustAnchors::with_tdx_root(MACHINE.root_der())
        .unwrap()
        .with_amd_roots(both.as_bytes())
        .unwrap();
    let mut milan = evidence.clone();
    let (report, ..) = parts(&mut milan);
    report[0x188..0x18a].copy_from_slice(&[0x19, 0x01]);
    *report = sign_report(&other.amd().unwrap(), report.clone());
    for (evidence, holds) in [(evidence, true), (milan, false)] {
        let nothing = Arc::new(Directory::new("/nonexistent"));
        let service = Service {
            amd: other.amd().unwrap(),
            revoke_ask: false,
            issued_at: NOW,
        };
        let appraisal = Verifier::new(anchors.clone(), nothing, Clock::fixed(NOW))
            .with_amd(Arc::new(service))
            .appraise(&evidence, Expect::Anything)
            .await;
        assert_eq!(appraisal.is_ok(), holds, "{appraisal:?}");
    }
}

#[tokio::test]
async fn tampered_truncated_and_replayed_reports_are_refused() {
    let good = guest(|_| {}).attest(&ASKED);
    appraise(&good).await.unwrap();
    for at in [0x00c, 0x090, 0x0c0, 0x180, 0x29f, 0x2a0] {
        let mut evidence = good.clone();
        parts(&mut evidence).0[at] ^= 1;
        let error = refused(&evidence).await;
        assert_eq!(error, SnpError::Signature, "byte {at:#x}");
    }
    for length in [0, 1183, 1185] {
        let mut evidence = good.clone();
        parts(&mut evidence).0.resize(length, 0);
        assert!(matches!(refused(&evidence).await, SnpError::Malformed(_)));
    }
    let replayed = verifier(&MACHINE, |_| {})
        .appraise(&good, Expect::ReportData(&ReportData::new([8; 64])))
        .await
        .unwrap_err();
    assert!(
        matches!(replayed, AppraisalError::ReportData { .. }),
        "{replayed}"
    );
}

#[tokio::test]
async fn certificates_from_the_host_are_only_as_good_as_their_issuer() {
    let good = guest(|_| {}).attest(&ASKED);
    let with = |chain: Vec<Vec<u8>>| {
        let mut evidence = good.clone();
        *parts(&mut evidence).1 = chain;
        evidence
    };
    let amd = MACHINE.amd().unwrap();
    let other = machine(Product::Milan).amd().unwrap();
    let two = with(vec![amd.ask().to_vec(), amd.vcek().to_vec()]);
    appraise(&two).await.unwrap();
    let vcek_alone = table::encode(&[(table::EntryKind::Vcek, amd.vcek())]);
    appraise(&with(vec![vcek_alone])).await.unwrap();
    for chain in [
        vec![amd.ask().to_vec(), other.vcek().to_vec()],
        vec![other.ask().to_vec(), amd.vcek().to_vec()],
        vec![other.ask().to_vec(), other.vcek().to_vec()],
        vec![amd.vcek().to_vec(), amd.ask().to_vec()],
    ] {
        let error = refused(&with(chain)).await;
        assert!(matches!(error, SnpError::Chain(_)), "{error}");
    }
    for chain in [
        vec![vec![]],
        vec![b"table".to_vec()],
        vec![vec![0]; 2],
        vec![vec![]; 3],
    ] {
        let error = refused(&with(chain)).await;
        assert!(matches!(error, SnpError::Endorsements(_)), "{error}");
    }
}

#[tokio::test]
async fn the_launch_document_decides_who_this_is() {
    let mut other = guest(|_| {}).attest(&ASKED);
    let document = parts(&mut other).2;
    *document = document.replace("\"kms\"", "\"none\"");
    let error = appraise(&other).await.unwrap_err();
    assert!(matches!(error, AppraisalError::HostData { .. }), "{error}");

    // What the host launched with is measured, but must say who this is.
    let unnamed =
        launch_document(&compose(), &APP, None).replace(&format!(r#""app_id":"{APP}","#), "");
    let evidence = guest(|launch| launch.mr_config = unnamed).attest(&ASKED);
    let appraisal = appraise(&evidence).await.unwrap();
    assert_eq!(
        appraisal.identify(Mode::Full, None),
        Err(IdentifyError::NotBound("app_id"))
    );
    let document = launch_document(&compose(), &APP, None);
    let evidence = guest(|launch| launch.mr_config = document).attest(&ASKED);
    let who = appraise(&evidence)
        .await
        .unwrap()
        .identify(Mode::Full, None);
    assert_eq!(who.unwrap().instance_id, None);
    let unknown = launch_document(&compose(), &APP, None).replace('{', r#"{"more":1,"#);
    let error = SnpGuest::launch(
        Arc::clone(&MACHINE),
        SnpLaunch {
            mr_config: unknown,
            ..launch()
        },
    );
    assert!(error.is_err());
}

#[tokio::test]
async fn false_claims_about_the_vm_prove_no_image() {
    let evidence = guest(|_| {}).attest(&ASKED);
    let appraisal = appraise(&evidence).await.unwrap();
    let config = appraisal.vm_config();
    for (from, to) in [
        (r#"\"vcpus\":2"#, r#"\"vcpus\":3"#),
        (r#"\"guest_features\":1"#, r#"\"guest_features\":3"#),
        ("EPYC-v4", "EPYC-Milan"),
    ] {
        let false_config = config.replace(from, to);
        assert_ne!(false_config, config);
        let error = appraisal.identify(Mode::Full, Some(&false_config));
        assert!(
            matches!(
                error,
                Err(IdentifyError::SnpImage(SnpImageError::Mismatch { .. }))
            ),
            "{error:?}"
        );
    }
    let nothing = appraisal.identify(Mode::Full, Some("{}"));
    assert_eq!(
        nothing,
        Err(IdentifyError::SnpImage(SnpImageError::NoMeasurement))
    );
    let other = guest(|launch| launch.image = SnpImage::Seed("other".into())).attest(&ASKED);
    let other = appraise(&other).await.unwrap();
    assert_ne!(
        other.identify(Mode::Full, None).unwrap().os_image_hash,
        appraisal.identify(Mode::Full, None).unwrap().os_image_hash
    );
    assert!(other.identify(Mode::Full, Some(config)).is_err());
}

#[tokio::test]
async fn a_pending_firmware_update_is_out_of_date() {
    let evidence = guest(|launch| launch.outdated = true).attest(&ASKED);
    let appraisal = appraise(&evidence).await.unwrap();
    assert_eq!(appraisal.tcb_status(), TcbStatus::OutOfDate);
}

#[tokio::test]
async fn revocation_is_amds_word_and_of_now() {
    let evidence = guest(|_| {}).attest(&ASKED);
    let refused =
        async |verifier: Verifier| match verifier.appraise(&evidence, Expect::Anything).await {
            Err(AppraisalError::Snp(error)) => error,
            other => panic!("{other:?}"),
        };
    let revoked = verifier(&MACHINE, |service| service.revoke_ask = true);
    assert_eq!(refused(revoked).await, SnpError::Revoked("ASK"));
    for (issued_at, reason) in [(NOW - 40 * 24 * 3600, "expired"), (NOW + 7200, "future")] {
        let error = refused(verifier(&MACHINE, |service| service.issued_at = issued_at)).await;
        assert!(error.to_string().contains(reason), "{error}");
    }
    // Another root of the same name.
    let other = machine(Product::Milan).amd().unwrap();
    let error = refused(verifier(&MACHINE, |service| service.amd = other)).await;
    assert!(error.to_string().contains("not the ARK's"), "{error}");
}

#[tokio::test]
async fn expired_certificates_are_refused() {
    let evidence = guest(|_| {}).attest(&ASKED);
    for now in [1_600_000_000, 1_930_000_000] {
        let service = Service {
            amd: MACHINE.amd().unwrap(),
            revoke_ask: false,
            issued_at: now,
        };
        let nothing = Arc::new(Directory::new("/nonexistent"));
        let error = Verifier::new(anchors(&MACHINE), nothing, Clock::fixed(now))
            .with_amd(Arc::new(service))
            .appraise(&evidence, Expect::Anything)
            .await
            .unwrap_err();
        assert!(
            matches!(error, AppraisalError::Snp(SnpError::Expired { .. })),
            "{error}"
        );
    }
}

#[tokio::test]
async fn the_key_service_answers_over_http() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = kds::router(Arc::clone(&MACHINE), Clock::fixed(NOW));
    let server = tokio::spawn(async move { axum::serve(listener, routes).await });
    let evidence = guest(|launch| launch.certificates = false).attest(&ASKED);
    let cached = Arc::new(CachedAmd::new(Kds::new(&url).unwrap(), None));
    let verifier = verifier_with(&MACHINE, Arc::clone(&cached) as Arc<dyn AmdSource>);
    let appraisal = verifier
        .appraise(&evidence, Expect::Anything)
        .await
        .unwrap();
    assert_eq!(appraisal.tcb_status(), TcbStatus::UpToDate);

    // The service has no certificate for another TCB, chip or product.
    let mut other = evidence.clone();
    parts(&mut other).0[0x180] = 99;
    let error = verifier
        .appraise(&other, Expect::Anything)
        .await
        .unwrap_err();
    assert!(
        matches!(error, AppraisalError::CollateralMissing(_)),
        "{error}"
    );

    // What is known still serves when nobody answers any more.
    server.abort();
    let _ = server.await;
    verifier
        .appraise(&evidence, Expect::Anything)
        .await
        .unwrap();
    let unknown = verifier_with(&MACHINE, Arc::new(Kds::new(&url).unwrap()));
    let error = unknown
        .appraise(&evidence, Expect::Anything)
        .await
        .unwrap_err();
    assert!(
        matches!(error, AppraisalError::CollateralMissing(_)),
        "{error}"
    );
}
