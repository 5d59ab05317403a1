//! What can be absent or wrong, and which error says so.

use std::os::fd::AsRawFd;

use bylaw_attest::EventVersion;
use bylaw_attest::event_log::{extend, replay};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use super::*;
use crate::events::MAX_RUNTIME_EVENTS;

/// As if events were logged by a kernel that had another way to extend.
fn write_log(kernel: &FakeKernel, events: &[RuntimeEvent]) {
    let text: String = events.iter().map(events::to_line).collect();
    put(&log_path(&kernel.roots), text.as_bytes());
}

#[tokio::test]
async fn a_kernel_without_registers_still_attests_and_says_what_extending_needs() {
    let world = world();
    std::fs::remove_dir_all(world.kernel.roots.sysfs.join("class/misc")).unwrap();
    let error = platform_error(world.attester.extend("a", b"").await.unwrap_err());
    assert!(matches!(error, PlatformError::NoRegister { .. }), "{error}");
    assert!(error.to_string().contains("6.16"), "{error}");
    assert_eq!(copy_of_log(&world.kernel.roots), [], "nothing is logged");
    assert!(!world.attester.hardware().await.unwrap().measures_events);
    write_log(&world.kernel, &world.td.events());
    let evidence = world.attester.attest(&ASKED).await.unwrap();
    assert_eq!(evidence, world.td.attest(&ASKED));
}

#[tokio::test]
async fn a_register_that_cannot_be_used_changes_no_log() {
    let world = world();
    for (errno, denied) in [(Errno::ACCESS, true), (Errno::INVAL, false)] {
        world.kernel.driver().faults = vec![("rtmr3:sha384", errno)];
        let error = platform_error(world.attester.extend("a", b"").await.unwrap_err());
        assert_eq!(
            matches!(error, PlatformError::NotPermitted { .. }),
            denied,
            "{error}"
        );
    }
    for length in [0, 47, 49, 96] {
        put(
            &Measurement::Rtmr3.path(&world.kernel.roots),
            &vec![0; length],
        );
        let error = platform_error(world.attester.extend("a", b"").await.unwrap_err());
        assert!(
            matches!(error, PlatformError::Size { .. }),
            "{length}: {error}"
        );
    }
    assert_eq!(copy_of_log(&world.kernel.roots), []);
}

#[tokio::test]
async fn an_event_that_was_extended_but_not_logged_stops_everything() {
    let world = world();
    world.boot().await;
    let path = Measurement::Rtmr3.path(&world.kernel.roots);
    let stranger = RuntimeEvent::new("stranger", [], EventVersion::V1);
    let moved = extend(&replay(&world.td.events()), stranger.digest().as_bytes());
    put(&path, moved.as_bytes());
    world.td.extend("stranger", b"");
    let before = copy_of_log(&world.kernel.roots);
    let on_extend = platform_error(world.attester.extend("next", b"").await.unwrap_err());
    for error in [on_extend, world.refusal().await] {
        let text = error.to_string();
        let PlatformError::LogMismatch {
            register, replayed, ..
        } = error
        else {
            panic!("{text}");
        };
        assert_eq!((register, replayed), (moved, replay(&before)));
        assert!(text.contains("restart the VM"), "{text}");
    }
    assert_eq!(copy_of_log(&world.kernel.roots), before);
    let register = world.attester.measurement(Measurement::Rtmr3).unwrap();
    assert_eq!(register, moved, "and nothing is extended on top");
}

#[tokio::test]
async fn a_log_that_cannot_grow_is_said_with_the_event_that_is_lost() {
    let world = world();
    // A file that is full: it can be read and locked, and no write makes it longer.
    let full = rustix::fs::memfd_create("log", MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::fcntl_add_seals(&full, SealFlags::GROW).unwrap();
    let log = log_path(&world.kernel.roots);
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    let itself = format!("/proc/{}/fd/{}", std::process::id(), full.as_raw_fd());
    std::os::unix::fs::symlink(itself, &log).unwrap();
    let error = platform_error(world.attester.extend("lost", b"").await.unwrap_err());
    assert!(
        matches!(&error, PlatformError::NotLogged { event, .. } if event == "lost"),
        "{error}"
    );
    let error = platform_error(world.attester.extend("next", b"").await.unwrap_err());
    assert!(
        matches!(error, PlatformError::LogMismatch { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_log_that_was_tampered_with_is_refused() {
    let world = world();
    world.boot().await;
    let good = world.td.events();
    let mut changed = good.clone();
    changed[1].payload[0] ^= 1;
    for tampered in [&changed[..], &good[..good.len() - 1], &good[1..], &[]] {
        write_log(&world.kernel, tampered);
        let error = world.refusal().await;
        assert!(
            matches!(error, PlatformError::LogMismatch { .. }),
            "{error}"
        );
    }
    put(&log_path(&world.kernel.roots), b"{\"event\":");
    let error = world.refusal().await;
    assert!(matches!(error, PlatformError::Log { .. }), "{error}");
    assert!(error.to_string().contains("line 1"), "{error}");
    write_log(&world.kernel, &good);
    world.attester.attest(&ASKED).await.unwrap();
}

#[tokio::test]
async fn the_boot_log_must_be_there_and_parse() {
    let world = world();
    world.boot().await;
    let ccel = world.kernel.ccel();
    let good = std::fs::read(&ccel).unwrap();
    let mut torn = good.clone();
    torn.truncate(200);
    put(&ccel, &torn);
    let error = world.refusal().await;
    assert!(matches!(error, PlatformError::BootLog { .. }), "{error}");
    put(&ccel, &vec![0xff; 4 * 1024 * 1024 + 1]);
    let error = world.refusal().await;
    assert!(
        matches!(
            error,
            PlatformError::Size {
                what: "the CCEL table",
                ..
            }
        ),
        "{error}"
    );
    std::fs::remove_file(&ccel).unwrap();
    let error = world.refusal().await;
    assert!(matches!(error, PlatformError::NoBootLog { .. }), "{error}");
    world.kernel.driver().faults = vec![("CCEL", Errno::ACCESS)];
    let error = world.refusal().await;
    assert!(
        matches!(error, PlatformError::NotPermitted { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_boot_log_recorded_on_hardware_is_read() {
    let world = world();
    world.boot().await;
    let recorded = include_bytes!("../../../../../test/vectors/attest/ccel.bin");
    put(&world.kernel.ccel(), recorded);
    let Platform::Tdx { event_log, .. } = world.attester.attest(&ASKED).await.unwrap().platform
    else {
        panic!("TDX");
    };
    let firmware = bylaw_attest::ccel::parse(recorded).unwrap();
    assert_eq!(event_log[..firmware.len()], firmware);
    assert_eq!(event_log.len(), firmware.len() + world.td.events().len());
}

#[tokio::test]
async fn a_quote_must_be_one_and_answer_the_challenge() {
    let world = world();
    world.boot().await;
    let good = quote(&world.td, &ASKED);
    world.kernel.driver().quoting = Box::new(|_| vec![]);
    let error = world.refusal().await;
    assert!(matches!(error, PlatformError::EmptyQuote), "{error}");
    for length in [1, 48, 600, 631] {
        let short = good[..length].to_vec();
        world.kernel.driver().quoting = Box::new(move |_| short.clone());
        let error = world.refusal().await;
        assert!(
            matches!(error, PlatformError::Quote(_)),
            "{length}: {error}"
        );
    }
    let td = Arc::clone(&world.td);
    world.kernel.driver().quoting = Box::new(move |_| quote(&td, &ReportData::new([8; 64])));
    let error = world.refusal().await;
    let PlatformError::OtherReportData { expected, actual } = error else {
        panic!("{error}");
    };
    assert_eq!((expected, actual), (ASKED, ReportData::new([8; 64])));
    world.kernel.driver().quoting = Box::new(move |_| good.clone());
    world.attester.attest(&ASKED).await.unwrap();
    assert_eq!(world.kernel.entries(), 0);
}

#[tokio::test]
async fn a_vm_that_nobody_described_does_not_attest() {
    let world = world();
    world.boot().await;
    let bare = attester(&world.kernel, Some(Tee::Tdx), None).unwrap();
    for error in [
        bare.attest(&ASKED).await.unwrap_err(),
        bare.vm_config().await.unwrap_err(),
    ] {
        let error = platform_error(error);
        assert!(matches!(error, PlatformError::NoVmConfig), "{error}");
    }
    bare.extend("app", b"").await.unwrap();
    let error = attester(&world.kernel, None, Some("[]x")).unwrap_err();
    assert!(matches!(error, PlatformError::VmConfig(_)), "{error}");
}

#[tokio::test]
async fn names_that_would_be_ambiguous_are_refused() {
    let world = world();
    let long = "x".repeat(1025);
    for name in ["", "a:b", ":", long.as_str()] {
        let error = platform_error(world.attester.extend(name, b"").await.unwrap_err());
        assert!(matches!(error, PlatformError::Event { .. }), "{error}");
    }
    world.attester.extend(&long[1..], b"").await.unwrap();
}

#[tokio::test]
async fn a_full_log_is_refused_before_anything_is_extended() {
    let world = world();
    let one = RuntimeEvent::new("a", [], EventVersion::V1);
    let payload = vec![0; 4 * 1024 * 1024];
    let error = platform_error(world.attester.extend("a", &payload).await.unwrap_err());
    assert!(matches!(error, PlatformError::Event { .. }), "{error}");
    let almost = vec![one; MAX_RUNTIME_EVENTS - 1];
    write_log(&world.kernel, &almost);
    put(
        &Measurement::Rtmr3.path(&world.kernel.roots),
        replay(&almost).as_bytes(),
    );
    world.attester.extend("last", b"").await.unwrap();
    let before = world.attester.measurement(Measurement::Rtmr3).unwrap();
    let error = platform_error(world.attester.extend("more", b"").await.unwrap_err());
    assert!(error.to_string().contains("full"), "{error}");
    let after = world.attester.measurement(Measurement::Rtmr3).unwrap();
    assert_eq!(after, before);
}

#[tokio::test]
async fn neither_platform_seals_and_both_say_what_does() {
    let dir = tempfile::tempdir().unwrap();
    let snp = attester(&sev(dir.path(), |_| vec![]), None, None).unwrap();
    for attester in [world().attester, snp] {
        let error = attester.sealing_key("kms").await.unwrap_err();
        assert!(matches!(error, AttesterError::NoSealing { .. }), "{error}");
        assert!(error.to_string().contains("agent:<socket>"), "{error}");
    }
}

#[test]
fn the_driver_decides_unless_the_cloud_has_evidence_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = sev(dir.path(), |_| vec![]);
    let detect = |tee| attester(&kernel, tee, None);
    assert_eq!(detect(None).unwrap().tee(), Tee::Snp);
    let error = detect(Some(Tee::Tdx)).unwrap_err();
    assert!(
        matches!(error, PlatformError::OtherProvider { .. }),
        "{error}"
    );
    kernel.driver().provider = Some("arm_cca_guest");
    let error = detect(None).unwrap_err();
    assert!(
        matches!(error, PlatformError::UnsupportedProvider(_)),
        "{error}"
    );
    kernel.driver().provider = Some("tdx_guest");
    assert_eq!(detect(None).unwrap().tee(), Tee::Tdx);

    for (vendor, product, cloud) in [
        ("Google", "Google Compute Engine", Some("Google Cloud")),
        ("Amazon EC2", "m6a.large", Some("AWS EC2")),
        ("Amazon EC2", "dstack", None),
        ("QEMU", "qemu", None),
        ("", "", None),
    ] {
        kernel.add_dmi(vendor, product);
        match (detect(None), cloud) {
            (Ok(_), None) => {}
            (Err(PlatformError::UnsupportedCloud(name)), Some(cloud)) => assert_eq!(name, cloud),
            (outcome, _) => panic!("{vendor} {product}: {outcome:?}"),
        }
        detect(Some(Tee::Tdx)).unwrap();
    }
    put(&kernel.roots.sysfs.join("class/misc/nsm/dev"), b"10:144\n");
    let error = detect(None).unwrap_err();
    assert!(error.to_string().contains("Nitro Enclaves"), "{error}");
    kernel.driver().provider = None;
    let error = detect(Some(Tee::Tdx)).unwrap_err();
    assert!(matches!(error, PlatformError::NoProvider { .. }), "{error}");
}
