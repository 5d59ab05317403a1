//! Real reports, and what was made of them by changing what the name says.

use super::*;

macro_rules! vector {
    ($path:literal) => {
        include_bytes!(concat!("../../../../test/vectors/attest/snp/", $path)).as_slice()
    };
}

/// 2026-07-01, within the dates of every VCEK here.
const NOW: u64 = 1_782_864_000;
/// 2025-06-01, when the VLEK was valid.
const VLEK_TIME: u64 = 1_748_736_000;
const ASK: &[u8] = vector!("milan-ask.pem");
const GENOA_ASK: &[u8] = vector!("genoa-ask.pem");
const DSTACK: &[u8] = vector!("dstack-milan-v3/report.bin");
const DSTACK_VCEK: &[u8] = vector!("dstack-milan-v3/vcek.pem");
const TRUSTEE: &[u8] = vector!("trustee-milan-v2/report.bin");
const TRUSTEE_VCEK: &[u8] = vector!("trustee-milan-v2/vcek.der");
const GENOA: &[u8] = vector!("trustee-genoa/report.bin");
const GENOA_VCEK: &[u8] = vector!("trustee-genoa/vcek.der");

fn verify_at(report: &[u8], chain: &[&[u8]], now: u64) -> Result<VerifiedSnp, SnpError> {
    let chain: Vec<Vec<u8>> = chain.iter().map(|part| part.to_vec()).collect();
    let signer = signer(report, &chain)?;
    let material = Material {
        product: signer.vcek.product,
        ask: &signer.given.ask.unwrap(),
        vcek: &signer.given.vcek.unwrap(),
        crl: None,
    };
    verify(report, &material, &TrustAnchors::vendor(), now)
}

fn refused(report: &[u8], vcek: &[u8]) -> SnpError {
    verify_at(report, &[ASK, vcek], NOW).unwrap_err()
}

#[test]
fn real_reports_of_milan_and_genoa_verify() {
    for (report, chain, product, version) in [
        (DSTACK, [ASK, DSTACK_VCEK], Product::Milan, 3),
        (TRUSTEE, [ASK, TRUSTEE_VCEK], Product::Milan, 2),
        (GENOA, [GENOA_ASK, GENOA_VCEK], Product::Genoa, 3),
    ] {
        let verified = verify_at(report, &chain, NOW).unwrap();
        assert_eq!(
            (verified.product, verified.report.version),
            (product, version)
        );
        assert_eq!(
            verified.tcb_status,
            TcbStatus::NotReported,
            "no revocation list"
        );
        assert_eq!(
            verified.device_id.as_bytes()[..],
            Sha256::digest(&report[0x1a0..0x1e0])[..]
        );
    }
}

#[test]
fn the_tcb_is_current_only_when_all_four_are_one() {
    for (report, current) in [(DSTACK, false), (TRUSTEE, false), (GENOA, true)] {
        let parsed = SnpReport::parse(report).unwrap();
        assert_eq!(parsed.is_current(), current, "{parsed:?}");
        for at in [0x38, 0x180, 0x1e0, 0x1f0] {
            let mut other = report.to_vec();
            other[at] ^= 1;
            assert!(!SnpReport::parse(&other).unwrap().is_current());
        }
    }
}

#[test]
fn a_table_of_the_host_serves_as_well_as_two_certificates() {
    let der = |pem: &[u8]| certificate("test", pem).unwrap();
    let (ask, vcek) = (der(ASK), der(DSTACK_VCEK));
    let table = table::encode(&[
        (table::EntryKind::Vcek, &vcek),
        (table::EntryKind::Ask, &ask),
        (table::EntryKind::Other([7; 16]), b"ignored"),
    ]);
    assert!(verify_at(DSTACK, &[&table], NOW).is_ok());
    assert!(verify_at(DSTACK, &[&ask, &vcek], NOW).is_ok());
    let vlek = table::encode(&[(table::EntryKind::Vlek, &vcek)]);
    assert_eq!(Endorsements::parse(&[vlek]), Err(SnpError::Vlek));
    let three = vec![ask.clone(); 3];
    let error = Endorsements::parse(&three).unwrap_err();
    assert!(matches!(error, SnpError::Endorsements(_)), "{error}");
    assert_eq!(Endorsements::parse(&[]), Ok(Endorsements::default()));
}

#[test]
fn every_broken_report_has_its_own_reason() {
    assert!(matches!(refused(&[], DSTACK_VCEK), SnpError::Malformed(_)));
    for report in [
        vector!("broken/truncated-1183.bin"),
        vector!("broken/trailing-1185.bin"),
    ] {
        assert!(matches!(
            refused(report, DSTACK_VCEK),
            SnpError::Malformed(_)
        ));
    }
    for report in [
        vector!("broken/sig-bitflip.bin"),
        vector!("broken/sig-zero.bin"),
        vector!("broken/report-data-bitflip.bin"),
        vector!("broken/measurement-bitflip.bin"),
        vector!("broken/policy-debug-set.bin"),
        vector!("broken/tcb-mismatch.bin"),
    ] {
        assert_eq!(refused(report, DSTACK_VCEK), SnpError::Signature);
    }
    let version = refused(vector!("broken/version-9.bin"), DSTACK_VCEK);
    assert_eq!(version, SnpError::Version(9));
    assert_eq!(
        refused(DSTACK, TRUSTEE_VCEK),
        SnpError::Signature,
        "another chip's VCEK"
    );
}

#[test]
fn unused_bytes_of_the_signature_must_be_zero() {
    for at in [0x2a0 + 48, 0x2e8 + 71, 0x330, REPORT_LEN - 1] {
        let mut report = DSTACK.to_vec();
        report[at] = 1;
        assert!(matches!(
            refused(&report, DSTACK_VCEK),
            SnpError::Malformed(_)
        ));
    }
}

#[test]
fn signers_that_are_not_judged_are_named() {
    let with_key_info = |value: u8| {
        let mut report = DSTACK.to_vec();
        report[0x48] = value;
        refused(&report, DSTACK_VCEK)
    };
    assert_eq!(with_key_info(1 << 2), SnpError::Vlek);
    assert_eq!(with_key_info(7 << 2), SnpError::Signer(7));
    assert_eq!(with_key_info(1 << 1), SnpError::MaskedChip);
    let mut masked = DSTACK.to_vec();
    masked[0x1a0..0x1e0].fill(0);
    assert_eq!(refused(&masked, DSTACK_VCEK), SnpError::MaskedChip);
    let mut algorithm = DSTACK.to_vec();
    algorithm[0x34] = 2;
    assert_eq!(
        refused(&algorithm, DSTACK_VCEK),
        SnpError::SignatureAlgorithm(2)
    );
}

/// Genuine, signed by AMD's hierarchy, and yet not evidence of a chip.
#[test]
fn a_cloud_providers_key_is_refused_however_it_is_presented() {
    let report = vector!("trustee-vlek-v3/report.bin");
    let vlek = vector!("trustee-vlek-v3/vlek.der");
    let asvk = &pem::parse_many(vector!("trustee-vlek-v3/milan-asvk-ark.pem")).unwrap()[0];
    assert_eq!(
        verify_at(report, &[asvk.contents(), vlek], VLEK_TIME),
        Err(SnpError::Vlek)
    );
    let material = Material {
        product: Product::Milan,
        ask: asvk.contents(),
        vcek: vlek,
        crl: None,
    };
    let as_vcek = verify(DSTACK, &material, &TrustAnchors::vendor(), VLEK_TIME).unwrap_err();
    assert!(as_vcek.to_string().contains("SEV-VLEK-Milan"), "{as_vcek}");
}

#[test]
fn debug_is_refused_although_the_signature_holds() {
    let report = vector!("gosev-milan-v2-debug/report.bin");
    let vcek = vector!("gosev-milan-v2-debug/vcek.der");
    assert_eq!(refused(report, vcek), SnpError::Debug);
}

#[test]
fn launch_policy_and_platform_must_fit() {
    let check = |policy: u64, platform_info: u64, vmpl: u32| {
        let mut report = SnpReport::parse(DSTACK).unwrap();
        report.policy = policy;
        report.platform_info = platform_info;
        report.vmpl = vmpl;
        report.check_policy().map_err(|error| error.to_string())
    };
    assert_eq!(check(0x30000, 1, 0), Ok(()));
    assert_eq!(check(0x20000, 0, 0), Ok(()));
    assert_eq!(check(0x183_0000, 0b11001, 0), Ok(()));
    for (policy, platform_info, vmpl, reason) in [
        (0xb0000, 1, 0, "debugging"),
        (0x70000, 1, 0, "migration agent"),
        (0x30000, 1, 1, "VMPL 1"),
        (0x10000, 1, 0, "bit 17"),
        (0x30000 | 1 << 26, 1, 0, "not known"),
        (0x20000, 1, 0, "SMT"),
        (0xb3_0000, 0b10001, 0, "RAPL"),
        (0x130_0000, 1, 0, "bit 17"),
        (0x103_0000, 0b01001, 0, "ciphertext hiding"),
    ] {
        let refused = check(policy, platform_info, vmpl).unwrap_err();
        assert!(refused.contains(reason), "{policy:#x}: {refused}");
    }
}

#[test]
fn certificates_outside_their_dates_are_refused() {
    for (now, late) in [
        (1_781_000_000, "VCEK"),
        (2_100_000_000, "VCEK"),
        (2_400_000_000, "ARK"),
    ] {
        match verify_at(DSTACK, &[ASK, DSTACK_VCEK], now) {
            Err(SnpError::Expired { name, .. }) => assert_eq!(name, late),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_vcek_must_lead_to_its_products_root() {
    for vcek in [
        vector!("trustee-milan-v2/vcek-not-amd-legacy-encoding.der"),
        vector!("trustee-milan-v2/vcek-not-amd-new-encoding.der"),
        // A certificate that AMD signed, but no VCEK.
        GENOA_ASK,
        ASK,
    ] {
        let error = refused(DSTACK, vcek);
        assert!(matches!(error, SnpError::Chain(_)), "{error}");
    }
    let error = refused(DSTACK, GENOA_VCEK);
    assert!(matches!(error, SnpError::Chain(_)), "{error}");
    let error = verify_at(DSTACK, &[GENOA_ASK, DSTACK_VCEK], NOW).unwrap_err();
    assert!(error.to_string().contains("SEV-Genoa"), "{error}");
    let mut flipped = certificate("test", DSTACK_VCEK).unwrap();
    *flipped.last_mut().unwrap() ^= 1;
    let error = refused(DSTACK, &flipped);
    assert!(error.to_string().contains("ARK-Milan"), "{error}");
}

#[test]
fn report_certificates_and_root_are_of_one_product() {
    let given = Endorsements::parse(&[ASK.to_vec(), DSTACK_VCEK.to_vec()]).unwrap();
    let (ask, vcek) = (given.ask.unwrap(), given.vcek.unwrap());
    let anchors = TrustAnchors::vendor();
    let material = Material {
        product: Product::Milan,
        ask: &ask,
        vcek: &vcek,
        crl: None,
    };
    let error = verify(GENOA, &material, &anchors, NOW).unwrap_err();
    assert!(error.to_string().contains("another product"), "{error}");

    let ark = anchors.amd_root(Product::Milan).unwrap();
    let chain = Chain::verify(Product::Milan, [ark, &ask, &vcek], NOW).unwrap();
    let report = SnpReport::parse(DSTACK).unwrap();
    chain.check_extensions(Product::Milan, &report).unwrap();
    let error = chain.check_extensions(Product::Genoa, &report).unwrap_err();
    assert!(matches!(error, SnpError::Product { .. }), "{error}");
}

#[test]
fn sets_without_an_amd_root_refuse() {
    let none = TrustAnchors::with_tdx_root(GENOA_ASK).unwrap();
    let (ask, vcek) = (
        certificate("", ASK).unwrap(),
        certificate("", DSTACK_VCEK).unwrap(),
    );
    let material = Material {
        product: Product::Milan,
        ask: &ask,
        vcek: &vcek,
        crl: None,
    };
    assert_eq!(
        verify(DSTACK, &material, &none, NOW),
        Err(SnpError::NoRoot(Product::Milan))
    );
}

#[test]
fn products_are_named_by_cpuid_or_by_certificates() {
    let named = |report: &[u8], chain: &[&[u8]]| {
        let chain: Vec<Vec<u8>> = chain.iter().map(|part| part.to_vec()).collect();
        signer(report, &chain).map(|signer| signer.vcek)
    };
    let dstack = named(DSTACK, &[]).unwrap();
    assert_eq!(dstack.product, Product::Milan);
    assert_eq!(
        (dstack.tcb.bootloader, dstack.tcb.snp, dstack.tcb.microcode),
        (4, 23, 213)
    );
    assert_eq!(dstack.hardware_id, DSTACK[0x1a0..0x1e0]);
    assert_eq!(named(TRUSTEE, &[]), Err(SnpError::ProductNotNamed));
    assert_eq!(
        named(TRUSTEE, &[ASK, TRUSTEE_VCEK]).unwrap().product,
        Product::Milan
    );
    let mut venice = DSTACK.to_vec();
    venice[0x188..0x18a].copy_from_slice(&[0x1a, 0x50]);
    assert!(matches!(
        named(&venice, &[]),
        Err(SnpError::UnknownProduct { .. })
    ));
    let mut turin = DSTACK.to_vec();
    turin[0x188..0x18a].copy_from_slice(&[0x1a, 0x02]);
    assert_eq!(named(&turin, &[]).unwrap().hardware_id.len(), 8);
}

/// Nothing that a host could send makes the parsers panic.
#[test]
fn no_cut_or_flipped_certificate_panics() {
    let vcek = certificate("", DSTACK_VCEK).unwrap();
    for length in 0..vcek.len() {
        assert!(certificate("", &vcek[..length]).is_err());
    }
    for at in (0..vcek.len()).step_by(7) {
        let mut flipped = vcek.clone();
        flipped[at] ^= 0xff;
        assert!(verify_at_unparsed(&flipped).is_err());
    }
}

fn verify_at_unparsed(vcek: &[u8]) -> Result<VerifiedSnp, SnpError> {
    let ask = certificate("", ASK).unwrap();
    let material = Material {
        product: Product::Milan,
        ask: &ask,
        vcek,
        crl: None,
    };
    verify(DSTACK, &material, &TrustAnchors::vendor(), NOW)
}
