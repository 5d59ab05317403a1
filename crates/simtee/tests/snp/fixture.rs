//! A machine, its guests, and who judges them.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use bylaw_attest::collateral::{AmdIssuer, AmdSource, Directory};
use bylaw_attest::snp::{Product, SnpError, VcekId};
use bylaw_attest::{
    Appraisal, AppraisalError, Attestation, CollateralError, Expect, Platform, TrustAnchors,
    Verifier,
};
use bylaw_simtee::{
    Amd, Machine, Options, SnpGuest, SnpImage, SnpLaunch, launch_document, sign_report,
};
use bylaw_types::clock::Clock;
use bylaw_types::{AppCompose, AppId, ReportData};

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const ASKED: ReportData = ReportData::new([7; 64]);
pub(crate) const APP: AppId = AppId::new([0x11; 20]);

/// One machine for all: making its RSA keys takes a second.
pub(crate) static MACHINE: LazyLock<Arc<Machine>> = LazyLock::new(|| machine(Product::Milan));

pub(crate) fn machine(product: Product) -> Arc<Machine> {
    let options = Options {
        product,
        ..Options::default()
    };
    let directory = tempfile::tempdir().unwrap().keep();
    Arc::new(Machine::open(&directory, options).unwrap())
}

pub(crate) fn compose() -> AppCompose {
    let text =
        r#"{"manifest_version":2,"name":"a","runner":"docker-compose","key_provider":"kms"}"#;
    AppCompose::parse(text.as_bytes()).unwrap()
}

pub(crate) fn launch() -> SnpLaunch {
    SnpLaunch {
        name: "vm".into(),
        image: SnpImage::Seed(String::new()),
        cpu_count: 2,
        mr_config: launch_document(&compose(), &APP, Some(&[5; 20])),
        certificates: true,
        debug: false,
        outdated: false,
    }
}

pub(crate) fn guest(change: impl FnOnce(&mut SnpLaunch)) -> SnpGuest {
    let mut launch = launch();
    change(&mut launch);
    SnpGuest::launch(Arc::clone(&MACHINE), launch).unwrap()
}

/// AMD's answers for one simulated chip.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) amd: Arc<Amd>,
    pub(crate) revoke_ask: bool,
    pub(crate) issued_at: u64,
}

#[async_trait]
impl AmdSource for Service {
    async fn issuer(&self, _: Product, _: u64) -> Result<Arc<AmdIssuer>, CollateralError> {
        Ok(Arc::new(
            self.amd.issuer(self.issued_at, self.revoke_ask).unwrap(),
        ))
    }

    async fn vcek(&self, _: &VcekId, _: u64) -> Result<Arc<Vec<u8>>, CollateralError> {
        Ok(Arc::new(self.amd.vcek().to_vec()))
    }
}

pub(crate) fn anchors(machine: &Machine) -> TrustAnchors {
    TrustAnchors::with_tdx_root(machine.root_der())
        .unwrap()
        .with_amd_roots(machine.amd().unwrap().root_pem().as_bytes())
        .unwrap()
}

pub(crate) fn verifier_with(machine: &Machine, source: Arc<dyn AmdSource>) -> Verifier {
    let nothing = Arc::new(Directory::new("/nonexistent"));
    Verifier::new(anchors(machine), nothing, Clock::fixed(NOW)).with_amd(source)
}

pub(crate) fn verifier(machine: &Machine, change: impl FnOnce(&mut Service)) -> Verifier {
    let mut service = Service {
        amd: machine.amd().unwrap(),
        revoke_ask: false,
        issued_at: NOW,
    };
    change(&mut service);
    verifier_with(machine, Arc::new(service))
}

pub(crate) async fn appraise(evidence: &Attestation) -> Result<Appraisal, AppraisalError> {
    verifier(&MACHINE, |_| {})
        .appraise(evidence, Expect::ReportData(&ASKED))
        .await
}

pub(crate) async fn refused(evidence: &Attestation) -> SnpError {
    match appraise(evidence).await {
        Err(AppraisalError::Snp(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// The parts of evidence that tests change.
pub(crate) fn parts(evidence: &mut Attestation) -> (&mut Vec<u8>, &mut Vec<Vec<u8>>, &mut String) {
    match &mut evidence.platform {
        Platform::SevSnp {
            report,
            cert_chain,
            mr_config,
        } => (report, cert_chain, mr_config),
        _ => panic!("SEV-SNP"),
    }
}

/// Evidence whose report was changed before the chip signed it: what only firmware could do.
pub(crate) fn signed_with(at: usize, bytes: &[u8]) -> Attestation {
    let mut evidence = guest(|_| {}).attest(&ASKED);
    let (report, ..) = parts(&mut evidence);
    report[at..at + bytes.len()].copy_from_slice(bytes);
    *report = sign_report(&MACHINE.amd().unwrap(), report.clone());
    evidence
}
