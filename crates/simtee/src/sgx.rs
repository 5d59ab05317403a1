//! The machine's sealing enclave: the part of SGX that a local key provider needs.

use bylaw_types::ReportData;
use sha2::{Digest, Sha256};

use crate::Machine;
use crate::quote::Enclave;

/// INIT and MODE64BIT; not DEBUG. Then XFRM.
const ATTRIBUTES: [u8; 16] = [0x05, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0];

impl Machine {
    /// Measurement of the simulated sealing enclave: always the same.
    pub fn mr_enclave(&self) -> [u8; 32] {
        Sha256::digest(b"bylaw-simtee sealing enclave").into()
    }

    /// A quote of the sealing enclave over these bytes.
    pub fn sgx_quote(&self, report_data: &ReportData) -> Vec<u8> {
        self.quote_enclave(&Enclave {
            attributes: ATTRIBUTES,
            mr_enclave: self.mr_enclave(),
            mr_signer: [0x52; 32],
            prod_id: 0,
            svn: 0,
            report_data: *report_data.as_bytes(),
        })
    }

    /// The sealing enclave's key: 16 bytes that only this enclave on this machine has.
    pub fn sgx_sealing_key(&self) -> [u8; 16] {
        let wide = self.sealing_key(&self.mr_enclave(), "sgx");
        let mut key = [0; 16];
        for (slot, byte) in key.iter_mut().zip(wide) {
            *slot = byte;
        }
        key
    }
}
