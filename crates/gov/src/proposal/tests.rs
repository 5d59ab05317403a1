//! What signers may rely on.

use alloy::primitives::address;
use alloy::sol_types::SolCall;
use proptest::prelude::*;

use super::*;
use crate::abi::Calls;

fn key(number: u8) -> PrivateKeySigner {
    let mut secret = [0; 32];
    secret[31] = number;
    PrivateKeySigner::from_bytes(&secret.into()).unwrap()
}

fn safe(owners: &[u8], threshold: u64) -> Authority {
    Authority::Safe {
        address: address!("5afe5afe5afe5afe5afe5afe5afe5afe5afe5afe"),
        threshold,
        owners: owners.iter().map(|number| key(*number).address()).collect(),
        nonce: 7,
        version: "1.5.0".to_owned(),
    }
}

fn proposal() -> Proposal {
    let call = Calls::retireCall {
        composeHash: B256::repeat_byte(9),
    };
    let target = address!("a99a99a99a99a99a99a99a99a99a99a99a99a99a");
    Proposal::new(31337, target, call.abi_encode().into(), safe(&[1, 2, 3], 2))
}

fn read(proposal: &Proposal) -> Result<Proposal, ProposalError> {
    Proposal::parse(&proposal.to_json())
}

#[test]
fn owners_sign_and_the_file_stays_readable() {
    let mut signed = proposal();
    for number in [3, 1, 3] {
        signed.sign(&key(number)).unwrap();
    }
    assert_eq!(signed.signatures.len(), 2, "one a signer");
    assert!(signed.signatures.is_sorted_by_key(|one| one.signer));
    assert_eq!(signed.missing(), [key(2).address()]);
    assert_eq!(read(&signed), Ok(signed.clone()));
    let error = signed.sign(&key(4)).unwrap_err();
    assert!(matches!(error, ProposalError::NotAnOwner { .. }), "{error}");
}

/// A signature belongs to one call of one Safe on one chain at one place in its order.
#[test]
fn a_signature_is_for_exactly_this() {
    let mut signed = proposal();
    signed.sign(&key(1)).unwrap();
    let other_call = Calls::pauseCall {}.abi_encode();
    let other_safe = match safe(&[1, 2, 3], 2) {
        Authority::Safe {
            threshold,
            owners,
            nonce,
            version,
            ..
        } => Authority::Safe {
            address: signed.target,
            threshold,
            owners,
            nonce,
            version,
        },
        _ => unreachable!("it is a Safe"),
    };
    let other_nonce = match safe(&[1, 2, 3], 2) {
        Authority::Safe {
            address,
            threshold,
            owners,
            version,
            ..
        } => Authority::Safe {
            address,
            threshold,
            owners,
            nonce: 8,
            version,
        },
        _ => unreachable!("it is a Safe"),
    };
    let base = signed.clone();
    for changed in [
        Proposal {
            chain_id: 1,
            ..base.clone()
        },
        Proposal {
            target: Address::ZERO,
            ..base.clone()
        },
        Proposal {
            data: other_call.into(),
            ..base.clone()
        },
        Proposal {
            authority: other_safe,
            ..base.clone()
        },
        Proposal {
            authority: other_nonce,
            ..base.clone()
        },
    ] {
        let error = read(&changed).unwrap_err();
        assert_eq!(error, ProposalError::BadSignature(key(1).address()));
    }
    // Somebody else's name on it, a byte of it, or its form.
    let mut renamed = base.clone();
    renamed.signatures[0].signer = key(2).address();
    assert_eq!(
        read(&renamed),
        Err(ProposalError::BadSignature(key(2).address()))
    );
    for (position, mask) in [(0, 1), (40, 1), (64, 27 ^ 31), (64, 27)] {
        let mut broken = base.clone();
        let mut bytes = broken.signatures[0].signature.to_vec();
        bytes[position] ^= mask;
        broken.signatures[0].signature = bytes.into();
        assert!(read(&broken).is_err(), "byte {position}");
    }
    let mut short = base.clone();
    short.signatures[0].signature = Bytes::from_static(&[1; 64]);
    assert!(read(&short).is_err());
    let removed = Proposal {
        authority: safe(&[2, 3], 2),
        ..base
    };
    assert!(matches!(
        read(&removed),
        Err(ProposalError::NotAnOwner { .. })
    ));
}

#[test]
fn what_cannot_be_read_is_not_signed() {
    let mut unknown = proposal();
    unknown.data = Bytes::from_static(&[1, 2, 3, 4]);
    let error = unknown.sign(&key(1)).unwrap_err();
    assert!(matches!(error, ProposalError::Unreadable(_)), "{error}");
}

#[test]
fn a_file_shows_only_manifests_that_the_call_is_about() {
    let manifest = r#"{"manifest_version":2,"name":"a","runner":"docker-compose"}"#;
    let hash = AppCompose::parse(manifest.as_bytes()).unwrap().hash();
    let call = Calls::addComposeHashCall {
        composeHash: hash.to_bytes().into(),
    };
    let mut right = proposal();
    right.data = call.abi_encode().into();
    right.next_compose = Some(manifest.to_owned());
    assert!(read(&right).is_ok());
    let mut wrong = right.clone();
    wrong.next_compose = Some(manifest.replace("\"a\"", "\"b\""));
    assert!(matches!(
        read(&wrong),
        Err(ProposalError::ForeignCompose { .. })
    ));
    wrong.next_compose = Some("{}".to_owned());
    assert!(matches!(read(&wrong), Err(ProposalError::Malformed(_))));
}

#[test]
fn the_other_side_of_a_comparison_is_named_by_the_call_or_not() {
    let manifest = r#"{"manifest_version":2,"name":"a","runner":"docker-compose"}"#;
    let hash = AppCompose::parse(manifest.as_bytes()).unwrap().hash();
    let mut shown = proposal();
    assert_eq!(shown.running(), None);
    shown.running_compose = Some(manifest.to_owned());
    assert_eq!(shown.running(), Some((hash, false)));
    let call = Calls::retireCall {
        composeHash: hash.to_bytes().into(),
    };
    shown.data = call.abi_encode().into();
    assert_eq!(shown.running(), Some((hash, true)));
}

/// A timelock carries out one call of one salt once.
#[test]
fn the_same_call_can_be_proposed_again() {
    assert_ne!(proposal().salt, proposal().salt);
}

#[test]
fn a_file_is_refused_as_a_whole() {
    let json = String::from_utf8(proposal().to_json()).unwrap();
    for (from, to) in [
        ("\"version\": 1,", "\"version\": 2,"),
        ("\"chain_id\"", "\"chainid\""),
        ("\"chain_id\": 31337,", ""),
        ("{\n", "{\n \"more\": 1,"),
        ("\"kind\": \"safe\"", "\"kind\": \"vault\""),
    ] {
        let text = json.replacen(from, to, 1);
        assert_ne!(text, json, "{from}");
        let error = Proposal::parse(text.as_bytes()).unwrap_err();
        assert!(
            matches!(error, ProposalError::Malformed(_)),
            "{from}: {error}"
        );
    }
    assert!(Proposal::parse(b"").is_err());
    assert!(Proposal::parse(&json.as_bytes()[..json.len() / 2]).is_err());
}

proptest! {
    #[test]
    fn any_proposal_survives_its_file(
        data in proptest::collection::vec(any::<u8>(), 0..300),
        chain_id: u64,
        target: [u8; 20],
        nonce: u64,
        signers in proptest::collection::vec(1u8..5, 0..4),
    ) {
        let authority = match safe(&[1, 2, 3, 4], 2) {
            Authority::Safe { address, threshold, owners, version, .. } =>
                Authority::Safe { address, threshold, owners, nonce, version },
            other => other,
        };
        let mut any = Proposal::new(chain_id, target.into(), data.into(), authority);
        for number in signers {
            // A call that cannot be read is not signed; the rest of the file still holds.
            let _ = any.sign(&key(number));
        }
        prop_assert_eq!(read(&any), Ok(any));
    }
}
