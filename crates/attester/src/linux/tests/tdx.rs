//! A TD, whose evidence must hold.

use std::time::Duration;

use bylaw_attest::collateral::Fixed;
use bylaw_attest::event_log::replay;
use bylaw_attest::{EventVersion, Expect, Mode, TrustAnchors, Verifier};
use bylaw_types::clock::Clock;

use super::*;

const NOW: u64 = 1_800_000_000;

#[tokio::test]
async fn evidence_verifies_and_is_what_the_td_itself_would_give() {
    let world = world();
    world.boot().await;
    let evidence = world.attester.attest(&ASKED).await.unwrap();
    assert_eq!(evidence, world.td.attest(&ASKED));
    assert_eq!(world.kernel.entries(), 0);

    let root = TrustAnchors::with_tdx_root(world.machine.root_pem().as_bytes()).unwrap();
    let collateral = world.machine.collateral(NOW).unwrap();
    let verifier = Verifier::new(root, Arc::new(Fixed::new(collateral)), Clock::fixed(NOW));
    let decoded = Attestation::decode(&evidence.encode()).unwrap();
    for form in [decoded.clone(), decoded.stripped()] {
        let appraisal = verifier
            .appraise(&form, Expect::ReportData(&ASKED))
            .await
            .unwrap();
        let info = appraisal.identify(Mode::Full, None).unwrap();
        assert_eq!(info.os_image_hash, world.td.os_image_hash());
        assert_eq!(info.instance_id, world.td.instance_id());
        assert_eq!(info.tee_variant, TeeVariant::Tdx);
    }
}

#[tokio::test]
async fn the_register_is_really_extended_and_the_log_replays_to_it() {
    let world = world();
    world.boot().await;
    let before = world.attester.measurement(Measurement::Rtmr3).unwrap();
    assert_eq!(before, replay(&world.td.events()));
    world.td.extend("app", b"one");
    world.attester.extend("app", b"one").await.unwrap();
    let after = world.attester.measurement(Measurement::Rtmr3).unwrap();
    assert_ne!(after, before);
    assert_eq!(after, replay(&world.td.events()));
    assert_eq!(copy_of_log(&world.kernel.roots), world.td.events());
    assert_eq!(
        world.attester.attest(&ASKED).await.unwrap(),
        world.td.attest(&ASKED)
    );
    let mrtd = world.attester.measurement(Measurement::Mrtd).unwrap();
    assert!(mrtd.is_zero());
}

#[tokio::test]
async fn events_have_the_version_that_this_boot_fixed() {
    let world = world();
    events::fix_event_version(&world.kernel.roots, EventVersion::V2).unwrap();
    world.attester.extend("app", b"x").await.unwrap();
    let expected = RuntimeEvent::new("app", *b"x", EventVersion::V2);
    assert_eq!(
        copy_of_log(&world.kernel.roots),
        std::slice::from_ref(&expected)
    );
    let register = world.attester.measurement(Measurement::Rtmr3).unwrap();
    assert_eq!(register, replay([&expected]));
}

#[tokio::test]
async fn no_quote_is_made_in_the_middle_of_an_extend() {
    let world = world();
    world.boot().await;
    let booted = world.td.events().len();
    let (td, roots) = (Arc::clone(&world.td), world.kernel.roots.clone());
    world.kernel.driver().quoting = Box::new(move |asked| {
        let other = std::fs::File::open(log_path(&roots)).unwrap();
        assert!(other.try_lock().is_err(), "nobody may extend now");
        let logged = copy_of_log(&roots);
        let register = std::fs::read(Measurement::Rtmr3.path(&roots)).unwrap();
        assert_eq!(
            register,
            replay(&logged).as_bytes(),
            "between register and log"
        );
        for event in &logged[td.events().len()..] {
            td.extend(&event.event, &event.payload);
        }
        quote(&td, asked)
    });
    let tasks: Vec<_> = (0..24u8)
        .map(|number| {
            let attester = world.attester.clone();
            tokio::spawn(async move {
                attester.extend("app", &[number]).await?;
                attester.attest(&ASKED).await
            })
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        let evidence = task.await.unwrap().unwrap();
        let payload = [u8::try_from(number).unwrap()];
        let events = &evidence.stack.runtime_events[booted..];
        assert!(events.iter().any(|event| event.payload == payload));
    }
    let logged = copy_of_log(&world.kernel.roots);
    assert_eq!(logged.len(), booted + 24);
    let register = world.attester.measurement(Measurement::Rtmr3).unwrap();
    assert_eq!(register, replay(&logged));
}

#[tokio::test]
async fn an_event_is_logged_even_when_the_caller_goes_away() {
    let world = world();
    let mut extend = Box::pin(world.attester.extend("app", b""));
    // Polled once, so that the work is under way.
    std::future::poll_fn(|context| {
        let _ = extend.as_mut().poll(context);
        std::task::Poll::Ready(())
    })
    .await;
    drop(extend);
    let expected = RuntimeEvent::new("app", [], EventVersion::V1);
    let logged = async {
        // Neither file nor line is there before the work has come that far.
        while std::fs::read(log_path(&world.kernel.roots))
            .unwrap_or_default()
            .is_empty()
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), logged)
        .await
        .unwrap();
    assert_eq!(copy_of_log(&world.kernel.roots), [expected]);
    world.attester.extend("next", b"").await.unwrap();
}

#[tokio::test]
async fn hardware_says_what_it_runs_on() {
    let world = world();
    let hardware = world.attester.hardware().await.unwrap();
    assert_eq!(
        hardware,
        Hardware {
            tee: TeeVariant::Tdx,
            interface: Interface::ConfigfsTsm {
                provider: "tdx_guest".to_owned()
            },
            vendor: "QEMU".to_owned(),
            product: "dstack".to_owned(),
            measures_events: true,
            simulated: false,
        }
    );
    assert_eq!(
        hardware.to_string(),
        "dstack-tdx (configfs-tsm, tdx_guest), QEMU, dstack"
    );
    assert_eq!(
        world.attester.vm_config().await.unwrap(),
        world.td.vm_config()
    );
}
