//! The simulated machine: keys and certificates that survive restarts.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bylaw_attest::Collateral;
use bylaw_attest::snp::Product;
use bylaw_types::file::write_private;
use bylaw_types::{DeviceId, TcbStatus};
use hkdf::Hkdf;
use p256::ecdsa::SigningKey;
use p256::pkcs8::DecodePrivateKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::collateral;
use crate::pck::{self, Chain, ChainKeys, ChainPems};
use crate::quote::{self, Contents, Quoting};
use crate::{Amd, SimError};

/// How long collateral is valid, in seconds.
const COLLATERAL_LIFE: u64 = 30 * 24 * 60 * 60;

/// What the machine says about itself; every choice is explicit.
#[derive(Debug, Clone)]
pub struct Options {
    /// TCB status in the TCB info; `Revoked` is spelled out by `revoked_tcb`.
    pub tcb_status: String,
    /// Advisories in the TCB info.
    pub advisory_ids: Vec<String>,
    /// The PCK certificate is on the CRL.
    pub revoke_pck: bool,
    /// MRSIGNERSEAM that quotes state; zero is Intel's module.
    pub mr_signer_seam: [u8; 48],
    /// The processor that SEV-SNP guests run on.
    pub product: Product,
    /// AMD's intermediate is on the revocation list.
    pub revoke_ask: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tcb_status: TcbStatus::UpToDate.to_string(),
            advisory_ids: vec![],
            revoke_pck: false,
            mr_signer_seam: [0; 48],
            product: Product::Milan,
            revoke_ask: false,
        }
    }
}

/// What is on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// Root, platform CA, PCK, TCB signer.
    chain_keys: ChainKeys,
    /// Their certificates, in the same order.
    chain_certificates: ChainPems,
    /// Hex.
    ppid: String,
    /// Hex.
    secret: String,
    /// PKCS#8 PEM.
    attestation_key: String,
}

/// A simulated machine.
pub struct Machine {
    directory: PathBuf,
    options: Options,
    chain: Chain,
    ppid: [u8; 16],
    secret: [u8; 32],
    attestation_key: SigningKey,
    pck_key: SigningKey,
    tcb_key: SigningKey,
    pck_chain_pem: String,
    /// Made when it is first wanted: its RSA keys take a while.
    amd: Mutex<Option<Arc<Amd>>>,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

fn random<const N: usize>() -> Result<[u8; N], SimError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| SimError::State(error.to_string()))?;
    Ok(bytes)
}

fn fixed<const N: usize>(name: &str, text: &str) -> Result<[u8; N], SimError> {
    hex::decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| SimError::State(format!("{name} is not {N} bytes of hex")))
}

impl Machine {
    /// The machine whose state is in `directory`; a new one where there is none.
    ///
    /// # Errors
    /// [`SimError`].
    pub fn open(directory: &Path, options: Options) -> Result<Self, SimError> {
        std::fs::create_dir_all(directory).map_err(|source| SimError::File {
            path: directory.to_owned(),
            source,
        })?;
        let path = directory.join("machine.json");
        let state = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| SimError::State(format!("{}: {error}", path.display())))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => new_state(&path)?,
            Err(source) => return Err(SimError::File { path, source }),
        };
        let ppid = fixed("ppid", &state.ppid)?;
        let chain = Chain::load(&state.chain_keys, &state.chain_certificates)?;
        let signing = |pem: &str| {
            SigningKey::from_pkcs8_pem(pem).map_err(|error| SimError::State(error.to_string()))
        };
        let [_, _, pck_key, tcb_key] = &state.chain_keys;
        let machine = Self {
            directory: directory.to_owned(),
            options,
            ppid,
            secret: fixed("secret", &state.secret)?,
            attestation_key: signing(&state.attestation_key)?,
            pck_key: signing(pck_key)?,
            tcb_key: signing(tcb_key)?,
            pck_chain_pem: chain.pck_chain_pem(),
            amd: Mutex::default(),
            chain,
        };
        bylaw_types::file::write_atomic(&machine.root_path(), machine.root_pem().as_bytes())
            .map_err(|source| SimError::File {
                path: machine.root_path(),
                source,
            })?;
        Ok(machine)
    }

    /// Directory of the state.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The root that verifiers must be given, PEM.
    pub fn root_pem(&self) -> &str {
        &self.chain.root.pem
    }

    /// The root that verifiers must be given, DER.
    pub fn root_der(&self) -> &[u8] {
        &self.chain.root.der
    }

    /// Where the root is written as PEM.
    pub fn root_path(&self) -> PathBuf {
        self.directory.join("root-ca.pem")
    }

    /// The chip that SEV-SNP guests run on. Blocks the first time.
    ///
    /// # Errors
    /// [`SimError`] when its state cannot be read or written.
    pub fn amd(&self) -> Result<Arc<Amd>, SimError> {
        let mut amd = self.amd.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*amd {
            return Ok(Arc::clone(known));
        }
        let opened = Arc::new(Amd::open(&self.directory, self.options.product)?);
        *amd = Some(Arc::clone(&opened));
        Ok(opened)
    }

    pub(crate) fn revokes_ask(&self) -> bool {
        self.options.revoke_ask
    }

    /// How verifiers know this machine.
    pub fn device_id(&self) -> DeviceId {
        DeviceId::new(Sha256::digest(self.ppid).into())
    }

    pub(crate) fn pck_crl_chain_pem(&self) -> String {
        format!("{}{}", self.chain.platform.pem, self.chain.root.pem)
    }

    pub(crate) fn tcb_chain_pem(&self) -> String {
        format!("{}{}", self.chain.tcb_signer.pem, self.chain.root.pem)
    }

    pub(crate) fn crls(&self, from: u64, until: u64) -> Result<(Vec<u8>, Vec<u8>), SimError> {
        self.chain.crls(from, until, self.options.revoke_pck)
    }

    pub(crate) fn tcb_info(&self, from: u64, until: u64) -> collateral::Signed {
        collateral::tcb_info(&self.options, from, until, &self.tcb_key)
    }

    pub(crate) fn qe_identity(&self, from: u64, until: u64) -> collateral::Signed {
        collateral::qe_identity("TD_QE", from, until, &self.tcb_key)
    }

    pub(crate) fn sgx_tcb_info(&self, from: u64, until: u64) -> collateral::Signed {
        collateral::sgx_tcb_info(&self.options, from, until, &self.tcb_key)
    }

    pub(crate) fn sgx_qe_identity(&self, from: u64, until: u64) -> collateral::Signed {
        collateral::qe_identity("QE", from, until, &self.tcb_key)
    }

    /// Start and end of collateral issued now.
    pub(crate) fn window(now: u64) -> (u64, u64) {
        (now.saturating_sub(3600), now + COLLATERAL_LIFE)
    }

    /// Collateral for quotes of TDs as issued at `now`.
    ///
    /// # Errors
    /// [`SimError::Certificate`].
    pub fn collateral(&self, now: u64) -> Result<Collateral, SimError> {
        let (from, until) = Self::window(now);
        let (tcb, qe) = (self.tcb_info(from, until), self.qe_identity(from, until));
        self.collateral_of(from, until, &tcb, &qe)
    }

    /// Collateral for quotes of enclaves as issued at `now`.
    ///
    /// # Errors
    /// [`SimError::Certificate`].
    pub fn sgx_collateral(&self, now: u64) -> Result<Collateral, SimError> {
        let (from, until) = Self::window(now);
        let (tcb, qe) = (
            self.sgx_tcb_info(from, until),
            self.sgx_qe_identity(from, until),
        );
        self.collateral_of(from, until, &tcb, &qe)
    }

    fn collateral_of(
        &self,
        from: u64,
        until: u64,
        tcb: &collateral::Signed,
        qe: &collateral::Signed,
    ) -> Result<Collateral, SimError> {
        let (root_crl, pck_crl) = self.crls(from, until)?;
        let form = serde_json::json!({
            "pck_crl_issuer_chain": self.pck_crl_chain_pem(),
            "root_ca_crl": hex::encode(root_crl),
            "pck_crl": hex::encode(pck_crl),
            "tcb_info_issuer_chain": self.tcb_chain_pem(),
            "tcb_info": tcb.text,
            "tcb_info_signature": tcb.signature,
            "qe_identity_issuer_chain": self.tcb_chain_pem(),
            "qe_identity": qe.text,
            "qe_identity_signature": qe.signature,
        });
        Collateral::from_json(&form.to_string(), "simulator")
            .map_err(|error| SimError::State(error.to_string()))
    }

    pub(crate) fn quote(&self, contents: &Contents<'_>) -> Vec<u8> {
        quote::build(contents, &self.quoting())
    }

    /// Report data of 64 bytes, signed as an enclave's.
    pub(crate) fn quote_enclave(&self, enclave: &quote::Enclave) -> Vec<u8> {
        quote::build_sgx(&enclave.report(), &self.quoting())
    }

    fn quoting(&self) -> Quoting<'_> {
        Quoting {
            attestation_key: &self.attestation_key,
            pck_key: &self.pck_key,
            qe_id: self.ppid,
            pck_chain_pem: &self.pck_chain_pem,
        }
    }

    pub(crate) fn mr_signer_seam(&self) -> [u8; 48] {
        self.options.mr_signer_seam
    }

    /// 32 bytes that only this machine derives for these measurements.
    pub(crate) fn sealing_key(&self, measurements: &[u8], context: &str) -> [u8; 32] {
        let hkdf = Hkdf::<Sha256>::new(Some(b"bylaw-simtee-seal-v1"), &self.secret);
        let mut key = [0; 32];
        // 32 bytes are a valid length.
        let _ = hkdf.expand_multi_info(&[measurements, b"|", context.as_bytes()], &mut key);
        key
    }

    /// The instance seed of a VM's name: made once, then kept.
    pub(crate) fn instance_seed(&self, name: &str) -> Result<[u8; 20], SimError> {
        let path = self.directory.join(format!("{name}.seed"));
        match std::fs::read_to_string(&path) {
            Ok(text) => return fixed("instance seed", text.trim()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            // A new seed would be another instance.
            Err(source) => return Err(SimError::File { path, source }),
        }
        let seed = random::<20>()?;
        write_private(&path, hex::encode(seed).as_bytes())
            .map_err(|source| SimError::File { path, source })?;
        Ok(seed)
    }
}

fn new_state(path: &Path) -> Result<State, SimError> {
    let [attestation_key, ..] = pck::new_keys()?;
    let chain_keys = pck::new_keys()?;
    let ppid = random::<16>()?;
    let state = State {
        chain_certificates: Chain::new(&chain_keys, &ppid)?.pems(),
        chain_keys,
        ppid: hex::encode(ppid),
        secret: hex::encode(random::<32>()?),
        attestation_key,
    };
    let json = serde_json::to_vec(&state).map_err(|error| SimError::State(error.to_string()))?;
    write_private(path, &json).map_err(|source| SimError::File {
        path: path.to_owned(),
        source,
    })?;
    Ok(state)
}
