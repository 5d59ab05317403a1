//! Firmware: its tables, and what TDX and SEV-SNP measure of it.
#![no_main]

use bylaw_attest::image::snp::launch_digest;
use bylaw_attest::image::TdHobWitness;
use bylaw_measure::sev;
use bylaw_measure::tdvf::Tdvf;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(tdvf) = Tdvf::parse(bytes) {
        let _ = (tdvf.mrtd(), tdvf.configuration_volume());
        if let Ok(witness) = tdvf.witness() {
            // What firmware says and what the document carries is the same.
            assert_eq!(TdHobWitness::decode(&witness.encode()).as_ref(), Ok(&witness));
        }
    }
    if let Ok(document) = sev::document(bytes, b"kernel", b"initrd", "console=ttyS0") {
        let _ = launch_digest(&document, 2, "EPYC-v4", 1);
    }
});
