//! Both attestation encodings: what decodes must survive encoding.
#![no_main]

use bylaw_attest::Attestation;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(attestation) = Attestation::decode(bytes) {
        let _ = attestation.vm_config();
        let again = Attestation::decode(&attestation.encode());
        assert_eq!(again.as_ref(), Ok(&attestation));
        let stripped = attestation.stripped();
        assert!(Attestation::decode(&stripped.encode()).is_ok());
    }
});
