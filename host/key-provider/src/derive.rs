//! The formulas: a TD's key, and the box it travels in.

use bylaw_attest::tdx::TdReport;
use bylaw_keys::Secret;
use crypto_box::aead::rand_core::CryptoRngCore;
use sha2::{Digest, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of the key that SGX derives for an enclave.
const SEALING_KEY_LEN: usize = 16;

/// The enclave's own key: no other enclave and no other machine has it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SealingKey(Box<[u8; SEALING_KEY_LEN]>);

impl SealingKey {
    /// Takes over bytes and wipes the original; `None` when there are not 16.
    pub fn take(mut bytes: Vec<u8>) -> Option<Self> {
        let key = bytes
            .as_slice()
            .try_into()
            .ok()
            .map(|key| Self(Box::new(key)));
        bytes.zeroize();
        key
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey")
    }
}

/// The key of a TD: `SHA-256(sealing key || MRTD || RTMR0 || RTMR1 || RTMR2 || RTMR3)`.
pub fn td_key(sealing_key: &SealingKey, report: &TdReport) -> Secret {
    let mut hash = Sha256::new().chain_update(sealing_key.0.as_slice());
    for register in std::iter::once(&report.mrtd).chain(&report.rtmr) {
        hash.update(register.as_bytes());
    }
    let mut key: [u8; 32] = hash.finalize().into();
    Secret::take(&mut key)
}

/// A key in a libsodium sealed box: only who has the secret half of `recipient` opens it.
///
/// `None` for a recipient of low order, with which the box would be open to everyone, and
/// when the box cannot be made.
pub fn seal(
    key: &Secret,
    recipient: &[u8; 32],
    random: &mut impl CryptoRngCore,
) -> Option<Vec<u8>> {
    // Any secret tells: a point of low order swallows them all.
    let probe = StaticSecret::from([0x42; 32]).diffie_hellman(&PublicKey::from(*recipient));
    if !probe.was_contributory() {
        return None;
    }
    crypto_box::PublicKey::from_bytes(*recipient)
        .seal(random, key.expose())
        .ok()
}

#[cfg(test)]
mod tests {
    use bylaw_types::{Register, ReportData};
    use crypto_box::aead::OsRng;
    use crypto_box::aead::rand_core::{CryptoRng, Error, RngCore};

    use super::*;

    fn vectors() -> serde_json::Value {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../test/vectors/keys/key-vectors.json"
        );
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn bytes(value: &serde_json::Value) -> Vec<u8> {
        hex::decode(value.as_str().unwrap()).unwrap()
    }

    fn array<const N: usize>(value: &serde_json::Value) -> [u8; N] {
        bytes(value).try_into().unwrap()
    }

    /// Says the same byte for ever.
    struct Constant(u8);

    impl RngCore for Constant {
        fn next_u32(&mut self) -> u32 {
            u32::from(self.0)
        }
        fn next_u64(&mut self) -> u64 {
            u64::from(self.0)
        }
        fn fill_bytes(&mut self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
            self.fill_bytes(bytes);
            Ok(())
        }
    }

    impl CryptoRng for Constant {}

    fn report(registers: &[u8]) -> TdReport {
        let mut registers = registers
            .chunks_exact(48)
            .map(|chunk| Register::new(chunk.try_into().unwrap()));
        let mut next = || registers.next().unwrap();
        TdReport {
            mrtd: next(),
            rtmr: [next(), next(), next(), next()],
            mr_config_id: Register::new([0; 48]),
            mr_owner: Register::new([0; 48]),
            mr_owner_config: Register::new([0; 48]),
            report_data: ReportData::new([0; 64]),
        }
    }

    #[test]
    fn vector_local_key_provider_derive() {
        let vector = &vectors()["local_key_provider_derive"];
        let sealing_key = SealingKey::take(bytes(&vector["sealing_key"])).unwrap();
        let measured = bytes(&vector["measurements_mrtd_rtmr0_to_3"]);
        let key = td_key(&sealing_key, &report(&measured));
        assert_eq!(key.expose(), &array(&vector["derived_key"]));
        for at in 0..5 {
            let mut other = measured.clone();
            other[at * 48] ^= 1;
            assert_ne!(td_key(&sealing_key, &report(&other)), key, "register {at}");
        }
    }

    #[test]
    fn vector_sealed_box() {
        let vector = &vectors()["sealed_box"];
        let key = Secret::from_slice(&bytes(&vector["plaintext"])).unwrap();
        let [first, ..] = array::<32>(&vector["ephemeral_secret"]);
        let recipient = array(&vector["recipient_public"]);
        let sealed = seal(&key, &recipient, &mut Constant(first)).unwrap();
        assert_eq!(sealed, bytes(&vector["sealed"]));

        let random = seal(&key, &recipient, &mut OsRng).unwrap();
        assert_ne!(random, sealed);
        let secret = crypto_box::SecretKey::from_bytes(array(&vector["recipient_secret"]));
        assert_eq!(secret.unseal(&random).unwrap(), key.expose());
    }

    #[test]
    fn boxes_that_everyone_could_open_are_not_made() {
        let key = Secret::from_slice(&[9; 32]).unwrap();
        let mut one = [0; 32];
        one[0] = 1;
        for low_order in [[0; 32], one] {
            assert_eq!(seal(&key, &low_order, &mut OsRng), None);
        }
    }

    #[test]
    fn sealing_keys_have_sixteen_bytes_and_do_not_print() {
        assert!(SealingKey::take(vec![1; 15]).is_none());
        assert!(SealingKey::take(vec![1; 17]).is_none());
        let key = SealingKey::take(vec![1; 16]).unwrap();
        assert_eq!(format!("{key:?}"), "SealingKey");
    }
}
