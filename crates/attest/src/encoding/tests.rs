use proptest::prelude::*;

use super::*;

fn vectors() -> serde_json::Value {
    serde_json::from_str(include_str!(
        "../../../../test/vectors/attest/attestation-vectors.json"
    ))
    .unwrap()
}

fn vector_bytes(position: usize) -> Vec<u8> {
    hex::decode(vectors()["v1_msgpack"][position]["bytes"].as_str().unwrap()).unwrap()
}

#[test]
fn v1_vectors_decode_and_encode_to_the_same_bytes() {
    let pod = vector_bytes(0);
    let attestation = Attestation::decode(&pod).unwrap();
    assert_eq!(
        attestation.stack.kind,
        StackKind::Pod {
            payload: "hi".into()
        }
    );
    assert_eq!(attestation.encode(), pod);

    let snp = vector_bytes(1);
    let attestation = Attestation::decode(&snp).unwrap();
    assert!(
        matches!(&attestation.platform, Platform::SevSnp { report, .. } if report == &[0x11; 4])
    );
    assert_eq!(v1::encode(&attestation), snp);
}

#[test]
fn v0_vector_decodes_and_encodes_to_the_same_bytes() {
    let bytes = hex::decode(
        vectors()["csr_v2_scale"]["attestation_bytes"]
            .as_str()
            .unwrap(),
    )
    .unwrap();
    let attestation = Attestation::decode(&bytes).unwrap();
    assert_eq!(attestation.platform.kind(), "tdx");
    assert_eq!(attestation.encode(), bytes);
}

#[test]
fn real_attestations_of_three_platforms_round_trip() {
    for (kind, bytes) in [
        (
            "tdx",
            &include_bytes!("../../../../test/vectors/attest/attestation-v0-full.bin")[..],
        ),
        (
            "sev-snp",
            include_bytes!("../../../../test/vectors/attest/sev_snp_attestation.bin"),
        ),
        (
            "nitro-enclave",
            include_bytes!("../../../../test/vectors/attest/nitro_attestation.bin"),
        ),
    ] {
        let attestation = Attestation::decode(bytes).unwrap();
        assert_eq!(attestation.platform.kind(), kind);
        assert_eq!(attestation.encode(), bytes);
    }
}

#[test]
fn a_sys_config_around_vm_config_is_unwrapped() {
    let bytes = include_bytes!("../../../../test/vectors/attest/attestation-v0-full.bin");
    let attestation = Attestation::decode(bytes).unwrap();
    assert!(
        attestation
            .vm_config()
            .contains("e61be43dd1cc6a6f5edefd7c51b608983780839b0000ce60dd99737dcffe09b9")
    );
}

#[test]
fn truncated_and_trailing_bytes_are_refused_in_both() {
    for bytes in [
        vector_bytes(0),
        hex::decode(
            vectors()["csr_v2_scale"]["attestation_bytes"]
                .as_str()
                .unwrap(),
        )
        .unwrap(),
    ] {
        for length in 0..bytes.len() {
            assert!(Attestation::decode(&bytes[..length]).is_err(), "{length}");
        }
        assert!(Attestation::decode(&[&bytes[..], &[0]].concat()).is_err());
    }
}

#[test]
fn unknown_versions_are_named() {
    assert_eq!(Attestation::decode(&[]), Err(DecodeError::Empty));
    assert_eq!(
        Attestation::decode(&[0x42]),
        Err(DecodeError::UnknownVersion(0x42))
    );
    let long = vec![0; MAX_LEN + 1];
    assert_eq!(
        Attestation::decode(&long),
        Err(DecodeError::TooLong(MAX_LEN + 1))
    );
}

#[test]
fn a_claimed_length_does_not_allocate() {
    // SCALE compact length of 1 GiB for the quote.
    assert!(Attestation::decode(&[0, 0, 0x03, 0, 0, 0, 0x40]).is_err());
}

#[test]
fn get_quote_answer_becomes_an_attestation() {
    let answer: GetQuoteAnswer = serde_json::from_str(include_str!(
        "../../../../test/vectors/attest/tdx-lite-getquote.json"
    ))
    .unwrap();
    let attestation = Attestation::try_from(answer).unwrap();
    assert_eq!(attestation.stack.runtime_events.len(), 9);
    assert!(Attestation::try_from(GetQuoteAnswer::default()).is_err());
}

fn events() -> impl Strategy<Value = Vec<RuntimeEvent>> {
    let version = prop_oneof![Just(EventVersion::V1), Just(EventVersion::V2)];
    let event = (
        "[a-z-]{1,12}",
        proptest::collection::vec(any::<u8>(), 0..40),
        version,
    )
        .prop_map(|(name, payload, version)| RuntimeEvent::new(&name, payload, version));
    proptest::collection::vec(event, 0..6)
}

proptest! {
    #[test]
    fn any_attestation_round_trips(
        quote in proptest::collection::vec(any::<u8>(), 0..200),
        report_data in proptest::collection::vec(any::<u8>(), 64),
        runtime_events in events(),
        config in ".{0,40}",
    ) {
        let event_log: Vec<_> = runtime_events.iter().map(RuntimeEvent::to_tdx_event).collect();
        let attestation = Attestation {
            platform: Platform::Tdx { quote, event_log },
            stack: Stack {
                kind: StackKind::Plain,
                report_data: ReportData::try_from(report_data.as_slice()).unwrap(),
                runtime_events,
                config,
            },
        };
        prop_assert_eq!(Attestation::decode(&attestation.encode()).unwrap(), attestation.clone());
        prop_assert_eq!(v1::decode(&v1::encode(&attestation)).unwrap(), attestation);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Attestation::decode(&bytes);
    }
}
