//! A software TEE in this process, and a TD of it.

#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::Arc;

use async_trait::async_trait;
use bylaw_attest::collateral::Fixed;
use bylaw_attest::{Platform, TrustAnchors};
use bylaw_key_provider::Provider;
use bylaw_key_provider::derive::SealingKey;
use bylaw_key_provider::enclave::{Enclave, EnclaveError};
use bylaw_simtee::{Launch, Machine, Options, Td};
use bylaw_types::clock::Clock;
use bylaw_types::{AppCompose, ReportData};

pub(crate) const NOW: u64 = 1_800_000_000;

/// The machine's enclave without a control socket between.
#[derive(Debug)]
pub(crate) struct InProcess {
    pub(crate) machine: Arc<Machine>,
    /// Flipped in the header of its quotes: another machine's quoting enclave.
    pub(crate) qe_id_bit: u8,
    /// Sets the debug attribute in its quotes.
    pub(crate) debug: bool,
}

#[async_trait]
impl Enclave for InProcess {
    async fn sealing_key(&self) -> Result<SealingKey, EnclaveError> {
        Ok(SealingKey::take(self.machine.sgx_sealing_key().to_vec()).unwrap())
    }

    async fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, EnclaveError> {
        let mut quote = self.machine.sgx_quote(report_data);
        quote[28] ^= self.qe_id_bit;
        if self.debug {
            quote[48 + 48] |= 2;
        }
        Ok(quote)
    }
}

pub(crate) struct World {
    pub(crate) machine: Arc<Machine>,
    pub(crate) anchors: TrustAnchors,
    pub(crate) secret: crypto_box::SecretKey,
    _dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let machine = Arc::new(Machine::open(dir.path(), options).unwrap());
        let anchors = TrustAnchors::with_tdx_root(machine.root_pem().as_bytes()).unwrap();
        Self {
            machine,
            anchors,
            secret: crypto_box::SecretKey::from_bytes([0x77; 32]),
            _dir: dir,
        }
    }

    pub(crate) fn provider(&self) -> Provider {
        self.provider_with(0, false, self.anchors.clone())
    }

    pub(crate) fn provider_with(
        &self,
        qe_id_bit: u8,
        debug: bool,
        anchors: TrustAnchors,
    ) -> Provider {
        let enclave = InProcess {
            machine: Arc::clone(&self.machine),
            qe_id_bit,
            debug,
        };
        let collateral = Fixed::new(self.machine.collateral(NOW).unwrap());
        Provider::new(
            Arc::new(enclave),
            anchors,
            Arc::new(collateral),
            Clock::fixed(NOW),
        )
    }

    pub(crate) fn td(&self, app: &str) -> Td {
        self.td_with(app, false)
    }

    pub(crate) fn td_with(&self, app: &str, debug: bool) -> Td {
        let text = format!(r#"{{"manifest_version":2,"name":"{app}","runner":"docker-compose"}}"#);
        let launch = Launch {
            name: "vm".into(),
            compose: AppCompose::parse(text.as_bytes()).unwrap(),
            app_id: None,
            image: String::new(),
            memory_size: 2 << 30,
            cpu_count: 2,
            full_boot: false,
            debug,
            outdated: false,
            gpus: 0,
            instance_seed: None,
        };
        Td::launch(Arc::clone(&self.machine), launch).unwrap()
    }

    /// `public key || 0^32`.
    pub(crate) fn report_data(&self) -> ReportData {
        ReportData::padded(self.secret.public_key().as_bytes()).unwrap()
    }

    pub(crate) fn quote(&self, td: &Td, report_data: &ReportData) -> Vec<u8> {
        match td.attest(report_data).platform {
            Platform::Tdx { quote, .. } => quote,
            other => panic!("{other:?}"),
        }
    }
}
