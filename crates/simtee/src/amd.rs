//! AMD's hierarchy in software: root (ARK), intermediate (ASK), the chip's key (VCEK) and
//! the revocation list.
//!
//! Names, extensions and algorithms are those of AMD's, since verifiers look for them; the
//! root is this machine's own. Its RSA keys have 2048 bits where AMD's have 4096, because
//! making those takes many times as long and verifiers do not tell them apart.

mod certificates;

use std::path::{Path, PathBuf};

use bylaw_attest::collateral::AmdIssuer;
use bylaw_attest::snp::Product;
use bylaw_types::file::{write_atomic, write_private};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use rsa::RsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use serde::{Deserialize, Serialize};

use crate::SimError;
use certificates::{Extension, Issuing};

const RSA_BITS: usize = 2048;
/// Security versions of the simulated chip: boot loader, tee, SNP, microcode.
const VERSIONS: [u8; 4] = [4, 0, 24, 219];
/// First module of the boot path, which Turin alone has.
const FMC: u8 = 1;

/// What is on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    product: String,
    /// PKCS#8 PEM.
    ark_key: String,
    ask_key: String,
    /// PKCS#8, hex.
    vcek_key: String,
    /// DER, hex.
    ark: String,
    ask: String,
    vcek: String,
    chip_id: String,
}

/// A simulated chip and those who vouch for it.
pub struct Amd {
    product: Product,
    ark_key: RsaPrivateKey,
    vcek_key: EcdsaKeyPair,
    ark: Vec<u8>,
    ask: Vec<u8>,
    vcek: Vec<u8>,
    chip_id: [u8; 64],
    root_path: PathBuf,
}

impl std::fmt::Debug for Amd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Amd")
            .field("product", &self.product)
            .finish_non_exhaustive()
    }
}

fn state_error(error: impl std::fmt::Display) -> SimError {
    SimError::State(format!("AMD hierarchy: {error}"))
}

impl Amd {
    /// The chip whose state is in `directory`; a new one where there is none.
    ///
    /// # Errors
    /// [`SimError`].
    pub(crate) fn open(directory: &Path, product: Product) -> Result<Self, SimError> {
        let path = directory.join("amd.json");
        let file = |source| SimError::File {
            path: path.clone(),
            source,
        };
        let state: State = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(state_error)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let state = new_state(product)?;
                let json = serde_json::to_vec(&state).map_err(state_error)?;
                write_private(&path, &json).map_err(file)?;
                state
            }
            Err(source) => return Err(file(source)),
        };
        let amd = Self::load(&state, directory.join("amd-root-ca.pem"))?;
        if amd.product != product {
            return Err(state_error(format!("it is of {}", amd.product)));
        }
        write_atomic(&amd.root_path, amd.root_pem().as_bytes()).map_err(|source| {
            SimError::File {
                path: amd.root_path.clone(),
                source,
            }
        })?;
        Ok(amd)
    }

    fn load(state: &State, root_path: PathBuf) -> Result<Self, SimError> {
        let bytes = |text: &str| hex::decode(text).map_err(state_error);
        let vcek_key = bytes(&state.vcek_key)?;
        Ok(Self {
            product: Product::from_name(&state.product)
                .ok_or_else(|| state_error("it is of no known product"))?,
            ark_key: RsaPrivateKey::from_pkcs8_pem(&state.ark_key).map_err(state_error)?,
            vcek_key: ecdsa(&vcek_key)?,
            ark: bytes(&state.ark)?,
            ask: bytes(&state.ask)?,
            vcek: bytes(&state.vcek)?,
            chip_id: bytes(&state.chip_id)?
                .try_into()
                .map_err(|_| state_error("chip_id has not 64 bytes"))?,
            root_path,
        })
    }

    /// The processor.
    pub fn product(&self) -> Product {
        self.product
    }

    /// Where the root is written as PEM.
    pub fn root_path(&self) -> &Path {
        &self.root_path
    }

    /// The root that verifiers must be given, PEM.
    pub fn root_pem(&self) -> String {
        pem::encode(&pem::Pem::new("CERTIFICATE", self.ark.as_slice()))
    }

    /// ASK and ARK, PEM, as the key service gives them.
    pub fn chain_pem(&self) -> String {
        let ask = pem::encode(&pem::Pem::new("CERTIFICATE", self.ask.as_slice()));
        format!("{ask}{}", self.root_pem())
    }

    /// The intermediate, DER.
    pub fn ask(&self) -> &[u8] {
        &self.ask
    }

    /// The certificate of the chip's key, DER.
    pub fn vcek(&self) -> &[u8] {
        &self.vcek
    }

    /// Intermediate and revocation list as of `now`.
    ///
    /// # Errors
    /// [`SimError::State`].
    pub fn issuer(&self, now: u64, revoke_ask: bool) -> Result<AmdIssuer, SimError> {
        let (from, until) = crate::Machine::window(now);
        Ok(AmdIssuer {
            ask: self.ask.clone(),
            crl: self.crl(from, until, revoke_ask)?,
        })
    }

    /// The revocation list, DER; `revoke_ask` puts the intermediate on it.
    ///
    /// # Errors
    /// [`SimError::State`].
    pub fn crl(&self, from: u64, until: u64, revoke_ask: bool) -> Result<Vec<u8>, SimError> {
        certificates::crl(
            &self.ark,
            &self.ark_key,
            from,
            until,
            revoke_ask.then_some(&self.ask),
        )
        .map_err(state_error)
    }

    pub(crate) fn chip_id(&self) -> [u8; 64] {
        self.chip_id
    }

    /// As many bytes of the chip's id as the product uses.
    pub(crate) fn hardware_id(&self) -> &[u8] {
        let (used, _) = self.chip_id.split_at(hardware_id_len(self.product));
        used
    }

    /// How the key service is asked for this chip's TCB.
    pub(crate) fn kds_query(&self) -> String {
        let [bootloader, tee, snp, microcode] = VERSIONS;
        let fmc = match self.product {
            Product::Turin => format!("fmcSPL={FMC:02}&"),
            Product::Milan | Product::Genoa => String::new(),
        };
        format!(
            "{fmc}blSPL={bootloader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}"
        )
    }

    /// The chip's TCB as reports have it.
    pub(crate) fn tcb(&self) -> [u8; 8] {
        let [bootloader, tee, snp, microcode] = VERSIONS;
        match self.product {
            Product::Turin => [FMC, bootloader, tee, snp, 0, 0, 0, microcode],
            Product::Milan | Product::Genoa => [bootloader, tee, 0, 0, 0, 0, snp, microcode],
        }
    }

    /// `r || s`, big-endian, by the chip's key.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        // Fails only when the system has no randomness.
        self.vcek_key
            .sign(&SystemRandom::new(), message)
            .map_or_else(|_| vec![0; 96], |signature| signature.as_ref().to_vec())
    }
}

fn hardware_id_len(product: Product) -> usize {
    match product {
        Product::Turin => 8,
        Product::Milan | Product::Genoa => 64,
    }
}

fn ecdsa(pkcs8: &[u8]) -> Result<EcdsaKeyPair, SimError> {
    EcdsaKeyPair::from_pkcs8(
        &ECDSA_P384_SHA384_FIXED_SIGNING,
        pkcs8,
        &SystemRandom::new(),
    )
    .map_err(state_error)
}

fn new_state(product: Product) -> Result<State, SimError> {
    let rsa = || RsaPrivateKey::new(&mut rsa::rand_core::OsRng, RSA_BITS).map_err(state_error);
    let (ark_key, ask_key) = (rsa()?, rsa()?);
    let vcek_key =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new())
            .map_err(state_error)?;
    let mut chip_id = [0; 64];
    let (hardware_id, _) = chip_id.split_at_mut(hardware_id_len(product));
    getrandom::fill(hardware_id).map_err(state_error)?;
    let hardware_id = hardware_id.to_vec();

    let root = Issuing {
        name: format!("ARK-{product}"),
        key: &ark_key,
    };
    let intermediate = Issuing {
        name: format!("SEV-{product}"),
        key: &ask_key,
    };
    let ark = root.authority(&root, 1).map_err(state_error)?;
    let ask = root.authority(&intermediate, 2).map_err(state_error)?;
    let public = ecdsa(vcek_key.as_ref())?.public_key().as_ref().to_vec();
    let vcek = intermediate
        .chip(&public, &extensions(product, &hardware_id))
        .map_err(state_error)?;
    let pem = |key: &RsaPrivateKey| {
        key.to_pkcs8_pem(LineEnding::LF)
            .map(|pem| pem.to_string())
            .map_err(state_error)
    };
    Ok(State {
        product: product.to_string(),
        ark_key: pem(&ark_key)?,
        ask_key: pem(&ask_key)?,
        vcek_key: hex::encode(vcek_key.as_ref()),
        ark: hex::encode(ark),
        ask: hex::encode(ask),
        vcek: hex::encode(vcek),
        chip_id: hex::encode(chip_id),
    })
}

/// What a VCEK's certificate says of chip and TCB.
fn extensions(product: Product, hardware_id: &[u8]) -> Vec<Extension> {
    let [bootloader, tee, snp, microcode] = VERSIONS;
    let mut all = vec![
        Extension::number("1.1", 1),
        Extension::text("1.2", &format!("{product}-B0")),
        Extension::number("1.3.1", bootloader),
        Extension::number("1.3.2", tee),
        Extension::number("1.3.3", snp),
        Extension::number("1.3.8", microcode),
        Extension::bytes("1.4", hardware_id),
    ];
    if product == Product::Turin {
        all.push(Extension::number("1.3.9", FMC));
    }
    all
}
