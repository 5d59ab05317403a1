//! Whole attesters over the fake kernel.

mod crash;
mod lacking;
mod snp;
mod tdx;

use std::path::Path;

use bylaw_attest::Platform;
use bylaw_simtee::{Launch, Machine, Options, Td};
use bylaw_types::AppCompose;
use tempfile::TempDir;

use super::*;
use crate::fake_kernel::{Driver, FakeKernel, encode_ccel, put};

const ASKED: ReportData = ReportData::new([7; 64]);

/// A simulated TD behind the interfaces of a real kernel.
struct World {
    _dirs: [TempDir; 2],
    machine: Arc<Machine>,
    td: Arc<Td>,
    kernel: Arc<FakeKernel>,
    attester: LinuxAttester,
}

fn quote(td: &Td, asked: &ReportData) -> Vec<u8> {
    match td.attest(asked).platform {
        Platform::Tdx { quote, .. } => quote,
        other => panic!("{}", other.kind()),
    }
}

fn world() -> World {
    let [state, root] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let machine = Arc::new(Machine::open(state.path(), Options::default()).unwrap());
    let compose = br#"{"manifest_version":2,"name":"a","runner":"docker-compose"}"#;
    let launch = Launch {
        name: "vm".into(),
        compose: AppCompose::parse(compose).unwrap(),
        app_id: None,
        image: String::new(),
        memory_size: 2 << 30,
        cpu_count: 2,
        full_boot: false,
        debug: false,
        outdated: false,
        gpus: 0,
        instance_seed: None,
    };
    let td = Arc::new(Td::launch(Arc::clone(&machine), launch).unwrap());
    let quoting = {
        let td = Arc::clone(&td);
        move |asked: &ReportData| quote(&td, asked)
    };
    let kernel = FakeKernel::new(root.path(), Driver::new("tdx_guest", quoting));
    kernel.add_registers();
    kernel.add_dmi("QEMU", "dstack");
    let Platform::Tdx { event_log, .. } = td.attest(&ASKED).platform else {
        panic!("TDX");
    };
    put(&kernel.ccel(), &encode_ccel(&event_log));
    let kernel = Arc::new(kernel);
    let attester = attester(&kernel, None, Some(td.vm_config())).unwrap();
    World {
        _dirs: [state, root],
        machine,
        td,
        kernel,
        attester,
    }
}

impl World {
    /// The guest's part of the launch: what the simulated TD did by itself.
    async fn boot(&self) {
        for event in self.td.events() {
            self.attester
                .extend(&event.event, &event.payload)
                .await
                .unwrap();
        }
    }

    /// The error of attesting.
    async fn refusal(&self) -> PlatformError {
        platform_error(self.attester.attest(&ASKED).await.unwrap_err())
    }
}

fn attester(
    kernel: &Arc<FakeKernel>,
    tee: Option<Tee>,
    vm_config: Option<&str>,
) -> Result<LinuxAttester, PlatformError> {
    let roots = kernel.roots.clone();
    LinuxAttester::over(Arc::clone(kernel) as Arc<dyn Kernel>, tee, vm_config, roots)
}

fn platform_error(error: AttesterError) -> PlatformError {
    match error {
        AttesterError::Platform(error) => error,
        other => panic!("{other}"),
    }
}

fn log_path(root: &Roots) -> std::path::PathBuf {
    root.log.join("runtime_events.log")
}

fn copy_of_log(roots: &Roots) -> Vec<RuntimeEvent> {
    events::parse(&std::fs::read(log_path(roots)).unwrap()).unwrap()
}

fn sev(dir: &Path, quoting: impl Fn(&ReportData) -> Vec<u8> + Send + 'static) -> Arc<FakeKernel> {
    Arc::new(FakeKernel::new(dir, Driver::new("sev_guest", quoting)))
}
