use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::image::checksum_file;

/// What the VM of the real report said about itself, in the schema of its time.
fn fixture() -> (SnpDocument, Register) {
    let vector: Value = serde_json::from_str(include_str!(
        "../../../../../test/vectors/measure/snp-milan.json"
    ))
    .unwrap();
    let said = &vector["sev_snp_measurement"];
    let text = |key: &str| said[key].as_str().unwrap();
    let number = |value: &Value| u32::try_from(value.as_u64().unwrap()).unwrap();
    let sections = said["ovmf_sections"].as_array().unwrap();
    let document = SnpDocument {
        cmdline: text("base_cmdline").to_owned(),
        ovmf_hash: text("ovmf_hash").parse().unwrap(),
        kernel_hash: text("kernel_hash").parse().unwrap(),
        initrd_hash: text("initrd_hash").parse().unwrap(),
        hashes_table_gpa: number(&said["sev_hashes_table_gpa"]),
        reset_eip: number(&said["sev_es_reset_eip"]),
        sections: sections
            .iter()
            .map(|section| Section {
                gpa: number(&section["gpa"]),
                size: number(&section["size"]),
                kind: number(&section["section_type"]),
            })
            .collect(),
    };
    let measurement = vector["measurement"].as_str().unwrap();
    (document, measurement.parse().unwrap())
}

fn material(document: &SnpDocument) -> (SnpMaterial, OsImageHash) {
    let cbor = document.to_cbor();
    let checksums = checksum_file(&[("bzImage", b"kernel"), (SNP_CHECKSUM_NAME, &cbor)]);
    let material = SnpMaterial {
        checksum_file: STANDARD.encode(&checksums),
        measurement: STANDARD.encode(&cbor),
        vcpus: 2,
        vcpu_type: "EPYC-v4".to_owned(),
        guest_features: 1,
    };
    (
        material,
        OsImageHash::new(Sha256::digest(&checksums).into()),
    )
}

/// A vm_config that proves the image of the real report, and that image.
pub(crate) fn real_vm_config() -> (String, OsImageHash) {
    let (material, image) = material(&fixture().0);
    let material = serde_json::to_string(&material).unwrap();
    let config = serde_json::json!({ "sev_snp_measurement": material });
    (config.to_string(), image)
}

fn prove(material: &SnpMaterial, measurement: &Register) -> Result<OsImageHash, SnpImageError> {
    prove_snp(&serde_json::to_string(material).unwrap(), measurement)
}

#[test]
fn a_real_report_proves_its_image() {
    let (document, measurement) = fixture();
    let (material, hash) = material(&document);
    assert_eq!(prove(&material, &measurement), Ok(hash));
}

#[test]
fn every_part_of_the_launch_is_measured() {
    let (document, measurement) = fixture();
    type Change = fn(&mut SnpDocument);
    let changes: [Change; 7] = [
        |document| document.cmdline.push('1'),
        |document| document.ovmf_hash = Register::new([1; 48]),
        |document| document.kernel_hash = [1; 32].into(),
        |document| document.initrd_hash = [1; 32].into(),
        |document| document.hashes_table_gpa += 1,
        |document| document.reset_eip += 1,
        |document| document.sections[0].size += 4096,
    ];
    for change in changes {
        let mut other = document.clone();
        change(&mut other);
        let (material, image) = material(&other);
        match prove(&material, &measurement) {
            Err(SnpImageError::Mismatch {
                image: named,
                actual,
                ..
            }) => {
                assert_eq!((named, actual), (image, measurement));
            }
            other => panic!("{other:?}"),
        }
    }
    type Claim = fn(&mut SnpMaterial);
    let claims: [Claim; 3] = [
        |material| material.vcpus = 3,
        |material| material.vcpu_type = "EPYC-Milan".to_owned(),
        |material| material.guest_features = 3,
    ];
    for claim in claims {
        let (mut material, _) = material(&document);
        claim(&mut material);
        assert!(matches!(
            prove(&material, &measurement),
            Err(SnpImageError::Mismatch { .. })
        ));
    }
}

#[test]
fn a_document_that_is_not_listed_is_refused() {
    let (document, measurement) = fixture();
    let (good, _) = material(&document);
    let mut other = document.clone();
    other.cmdline.push('1');
    let swapped = SnpMaterial {
        measurement: STANDARD.encode(other.to_cbor()),
        ..good.clone()
    };
    let unlisted = SnpMaterial {
        checksum_file: STANDARD.encode(checksum_file(&[("bzImage", b"kernel")])),
        ..good
    };
    for bad in [swapped, unlisted] {
        assert!(matches!(
            prove(&bad, &measurement),
            Err(SnpImageError::NotCommitted { .. })
        ));
    }
}

#[test]
fn launches_outside_the_limits_are_refused() {
    let (document, _) = fixture();
    let digest = |document: &SnpDocument, vcpus, kind: &str, features| {
        launch_digest(document, vcpus, kind, features)
    };
    assert!(digest(&document, 1, "epyc-GENOA", 1).is_ok());
    for (vcpus, kind, features) in [
        (0, "EPYC", 1),
        (513, "EPYC", 1),
        (1, "Skylake-Server", 1),
        (1, "EPYC", 0),
    ] {
        assert!(
            digest(&document, vcpus, kind, features).is_err(),
            "{vcpus} {kind} {features}"
        );
    }
    type Change = fn(&mut SnpDocument);
    let changes: [Change; 7] = [
        |document| document.hashes_table_gpa = 0,
        |document| document.hashes_table_gpa = 0x80_1ff0,
        |document| document.reset_eip = 0,
        |document| document.sections.retain(|section| section.kind != 0x10),
        |document| document.sections[0].kind = 9,
        |document| document.sections[0].gpa += 1,
        |document| document.sections = vec![document.sections[0]; 65],
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut bad = document.clone();
        change(&mut bad);
        assert!(digest(&bad, 1, "EPYC", 1).is_err(), "change {index}");
    }
}

#[test]
fn unknown_keys_versions_and_trailing_bytes_are_refused() {
    let (document, measurement) = fixture();
    let (material, _) = material(&document);
    let mut json = serde_json::to_value(&material).unwrap();
    json["extra"] = Value::Null;
    assert!(matches!(
        prove_snp(&json.to_string(), &measurement),
        Err(SnpImageError::Material(_))
    ));
    let cbor = document.to_cbor();
    assert_eq!(SnpDocument::from_cbor(&cbor).as_ref(), Ok(&document));
    let mut trailing = cbor.clone();
    trailing.push(0);
    assert!(SnpDocument::from_cbor(&trailing).is_err());
    let position = cbor
        .windows(8)
        .position(|part| part == b"gversion" || &part[..7] == b"version");
    let mut version = cbor;
    version[position.unwrap() + 7] = 4;
    assert!(SnpDocument::from_cbor(&version).is_err());
}

#[test]
fn firmware_is_whole_pages() {
    assert!(firmware_digest(&[0; 4096]).is_ok());
    for bad in [0, 1, 4095, 4097] {
        assert!(firmware_digest(&vec![0; bad]).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn bytes_from_outside_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = SnpDocument::from_cbor(&bytes);
    }
}
