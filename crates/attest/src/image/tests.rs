use super::*;
use crate::encoding::{Attestation, GetQuoteAnswer, Platform};

fn lite() -> (String, BootRegisters, Vec<TdxEvent>) {
    let answer: GetQuoteAnswer = serde_json::from_str(include_str!(
        "../../../../test/vectors/attest/tdx-lite-getquote.json"
    ))
    .unwrap();
    let vm_config = answer.vm_config.clone();
    let Platform::Tdx { quote, event_log } = Attestation::try_from(answer).unwrap().platform else {
        panic!("TDX");
    };
    let report = crate::tdx::report(&quote).unwrap();
    let [rtmr0, rtmr1, rtmr2, _] = report.rtmr;
    (
        vm_config,
        BootRegisters {
            mrtd: report.mrtd,
            rtmr0,
            rtmr1,
            rtmr2,
        },
        event_log,
    )
}

#[test]
fn a_real_quote_proves_its_image() {
    let (vm_config, registers, log) = lite();
    assert_eq!(
        prove(&vm_config, &registers, &log).unwrap().to_string(),
        "e6f5cfec20c02e7b97baa213d0f718020b55e040172d90ccbcb946d56c8b09db"
    );
}

#[test]
fn the_recomputed_boot_log_is_the_real_one() {
    let (vm_config, registers, log) = lite();
    let config = VmConfig::parse(&vm_config).unwrap();
    let claimed = config.os_image_hash.parse().unwrap();
    let document = committed_document(claimed, config.tdx_measurement.as_ref().unwrap()).unwrap();
    let shape = Shape {
        memory_size: config.memory_size,
        two_pass: true,
        acpi: acpi_digests(&log).unwrap(),
    };
    let (recomputed, events) = boot(&document, &shape).unwrap();
    assert_eq!(recomputed, registers);
    let real: Vec<_> = log
        .iter()
        .filter(|event| event.imr < 3)
        .map(|event| (event.imr, &event.digest))
        .collect();
    let ours: Vec<_> = events
        .iter()
        .map(|event| (event.imr, &event.digest))
        .collect();
    assert_eq!(ours, real);
    assert_eq!(Document::from_cbor(&document.to_cbor()).unwrap(), document);
}

#[test]
fn each_register_that_differs_is_named() {
    let (vm_config, registers, log) = lite();
    let other = Register::new([7; 48]);
    for (name, changed) in [
        (
            "MRTD",
            BootRegisters {
                mrtd: other,
                ..registers.clone()
            },
        ),
        (
            "RTMR0",
            BootRegisters {
                rtmr0: other,
                ..registers.clone()
            },
        ),
        (
            "RTMR1",
            BootRegisters {
                rtmr1: other,
                ..registers.clone()
            },
        ),
        (
            "RTMR2",
            BootRegisters {
                rtmr2: other,
                ..registers.clone()
            },
        ),
    ] {
        match prove(&vm_config, &changed, &log) {
            Err(ImageError::Mismatch {
                register, actual, ..
            }) => {
                assert_eq!((register, actual), (name, other));
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_claim_of_another_image_is_refused() {
    let (vm_config, registers, log) = lite();
    let other = vm_config.replace("e6f5cfec", "e6f5cfed");
    assert!(matches!(
        prove(&other, &registers, &log),
        Err(ImageError::NotCommitted { .. })
    ));
    let short = vm_config.replace("e6f5cfec", "");
    assert!(matches!(
        prove(&short, &registers, &log),
        Err(ImageError::Hash(_))
    ));
}

#[test]
fn a_false_shape_does_not_match() {
    let (vm_config, registers, log) = lite();
    let more = vm_config.replace("2147483648", "4294967296");
    assert!(matches!(
        prove(&more, &registers, &log),
        Err(ImageError::Mismatch {
            register: "RTMR0",
            ..
        })
    ));
    let newer = vm_config.replace("8.2.2", "9.2.2");
    assert!(matches!(
        prove(&newer, &registers, &log),
        Err(ImageError::Mismatch {
            register: "MRTD",
            ..
        })
    ));
    for bad in ["7.2.0", "9.2", "x.y.z"] {
        let config = vm_config.replace("8.2.2", bad);
        assert!(
            matches!(prove(&config, &registers, &log), Err(ImageError::Shape(_))),
            "{bad}"
        );
    }
    let small = vm_config.replace("2147483648", "1073741824");
    assert!(matches!(
        prove(&small, &registers, &log),
        Err(ImageError::Shape(_))
    ));
}

#[test]
fn without_a_document_nothing_is_proven() {
    let (vm_config, registers, log) = lite();
    for change in ["\"lite\"", "tdx_measurement"] {
        let config = vm_config.replace(
            change,
            &change.replace("lite", "legacy").replace("tdx_m", "x_m"),
        );
        assert!(matches!(
            prove(&config, &registers, &log),
            Err(ImageError::NoMeasurement { .. })
        ));
    }
    assert!(matches!(
        prove("", &registers, &log),
        Err(ImageError::Config(_))
    ));
}

#[test]
fn forged_missing_and_double_acpi_entries_are_refused() {
    let (vm_config, registers, log) = lite();
    let position = log.iter().position(TdxEvent::is_acpi).unwrap();
    let mut forged = log.clone();
    forged[position].digest[0] ^= 1;
    assert!(matches!(
        prove(&vm_config, &registers, &forged),
        Err(ImageError::Mismatch {
            register: "RTMR0",
            ..
        })
    ));
    let mut missing = log.clone();
    missing.remove(position);
    assert!(matches!(
        prove(&vm_config, &registers, &missing),
        Err(ImageError::Shape(_))
    ));
    let mut double = log.clone();
    double.push(log[position].clone());
    assert!(matches!(
        prove(&vm_config, &registers, &double),
        Err(ImageError::Shape(_))
    ));
}

/// Gives these registers for every image.
#[derive(Debug)]
struct Fixed(Result<BootRegisters, String>);

#[async_trait::async_trait]
impl ImageSource for Fixed {
    async fn registers(&self, _: OsImageHash, _: &str) -> Result<BootRegisters, String> {
        self.0.clone()
    }
}

#[tokio::test]
async fn legacy_images_are_proven_by_recomputed_registers_alone() {
    let (vm_config, registers, log) = lite();
    let legacy = vm_config.replace("\"lite\"", "\"legacy\"");
    let same = Fixed(Ok(registers.clone()));
    let claimed = VmConfig::parse(&legacy).unwrap().os_image_hash;
    let proven = prove_with(&legacy, &registers, &log, &same).await.unwrap();
    assert_eq!(proven.to_string(), claimed);
    let mut other = registers.clone();
    other.rtmr2 = Register::new([7; 48]);
    assert!(matches!(
        prove_with(&legacy, &registers, &log, &Fixed(Ok(other.clone()))).await,
        Err(ImageError::Mismatch {
            register: "RTMR2",
            ..
        })
    ));
    assert!(matches!(
        prove_with(&legacy, &registers, &log, &Fixed(Err("no".into()))).await,
        Err(ImageError::NotRecomputed { .. })
    ));
    // A lite image is proven by what it carries, whatever the source says.
    assert!(
        prove_with(&vm_config, &registers, &log, &Fixed(Ok(other)))
            .await
            .is_ok()
    );
    let unknown = vm_config.replace("\"lite\"", "\"none\"");
    assert!(prove_with(&unknown, &registers, &log, &same).await.is_err());
}
