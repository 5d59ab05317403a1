//! Real image directories, launched and attested over HTTP as a guest under QEMU does.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../../measure/tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;

use bylaw_attest::collateral::{Directory, Fixed};
use bylaw_attest::image::ImageError;
use bylaw_attest::mr_config::MrConfig;
use bylaw_attest::{Appraisal, Attestation, Expect, IdentifyError, Mode, TrustAnchors, Verifier};
use bylaw_measure::ImageDir;
use bylaw_rpc::message::guest::{AttestResponse, EmitEventArgs, RawQuoteArgs};
use bylaw_rpc::message::simtee::{LaunchArgs, LaunchResponse, StopArgs};
use bylaw_rpc::{Client, ClientError, Empty, serve};
use bylaw_simtee::service::Simulator;
use bylaw_simtee::{Machine, Options, guests, launch_document};
use bylaw_types::clock::Clock;
use bylaw_types::file::write_atomic;
use bylaw_types::{AppCompose, AppId, ComposeHash, ReportData};
use tokio::net::TcpListener;

const NOW: u64 = 1_800_000_000;
const COMPOSE: &str = r#"{"manifest_version":2,"name":"a","runner":"docker-compose"}"#;

struct World {
    directory: tempfile::TempDir,
    machine: Arc<Machine>,
    control: Client,
}

async fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    support::write_image(directory.path());
    image(directory.path()).write_measurements().unwrap();
    let state = directory.path().join("state");
    let machine = Arc::new(Machine::open(&state, Options::default()).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let simulator = Simulator::new(Arc::clone(&machine), String::new(), url);
    let path = directory.path().join("control.sock");
    let socket = serve::bind_unix(&path, 0o600).unwrap();
    let routes = guests::router(Arc::clone(&simulator));
    tokio::spawn(serve::tcp(listener, routes, std::future::pending()));
    tokio::spawn(serve::unix(
        socket,
        simulator.router(),
        std::future::pending(),
    ));
    World {
        control: Client::new(&format!("unix:{}", path.display())).unwrap(),
        directory,
        machine,
    }
}

fn image(directory: &Path) -> ImageDir {
    ImageDir::open(directory).unwrap()
}

fn compose_hash() -> ComposeHash {
    AppCompose::parse(COMPOSE.as_bytes()).unwrap().hash()
}

impl World {
    fn request(&self) -> LaunchArgs {
        let image = image(self.directory.path());
        let vm_config = serde_json::json!({
            "os_image_hash": image.os_image_hash().unwrap(),
            "cpu_count": 2, "memory_size": 2u64 << 30, "qemu_version": "9.2.0",
            "ovmf_variant": "pre202505", "tdx_attestation_variant": "lite",
            "tdx_measurement": image.tdx_material().unwrap(),
        });
        LaunchArgs {
            name: "vm".into(),
            app_compose: COMPOSE.into(),
            memory_size: 2 << 30,
            image_dir: self.directory.path().display().to_string(),
            mr_config_id: MrConfig::V1 {
                compose_hash: &compose_hash(),
            }
            .register()
            .as_bytes()
            .to_vec(),
            vm_config: vm_config.to_string(),
            acpi_loader: b"loader".to_vec(),
            acpi_rsdp: b"rsdp".to_vec(),
            acpi_tables: b"tables".to_vec(),
            ..LaunchArgs::default()
        }
    }

    async fn launch(&self, request: &LaunchArgs) -> Result<LaunchResponse, ClientError> {
        self.control.call("Launch", request).await
    }

    /// What the guest does: extends its events, then asks for evidence.
    async fn boot(&self, request: &LaunchArgs) -> Appraisal {
        let launched = self.launch(request).await.unwrap();
        let guest = Client::new(&launched.url).unwrap();
        for (event, payload) in [
            ("system-preparing", vec![]),
            ("app-id", vec![5; 20]),
            ("compose-hash", compose_hash().as_bytes().to_vec()),
            ("instance-id", vec![6; 20]),
            ("boot-mr-done", vec![]),
        ] {
            let event = event.to_owned();
            let args = EmitEventArgs { event, payload };
            let _: Empty = guest.call("EmitEvent", &args).await.unwrap();
        }
        let args = RawQuoteArgs {
            report_data: vec![7; 64],
        };
        let answer: AttestResponse = guest.call("Attest", &args).await.unwrap();
        let evidence = Attestation::decode(&answer.attestation).unwrap();
        let anchors = TrustAnchors::with_tdx_root(self.machine.root_pem().as_bytes()).unwrap();
        let collateral = Arc::new(Fixed::new(self.machine.collateral(NOW).unwrap()));
        let expected = ReportData::new([7; 64]);
        Verifier::new(anchors, collateral, Clock::fixed(NOW))
            .appraise(&evidence, Expect::ReportData(&expected))
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn a_launched_image_is_proven_and_its_guest_identified() {
    let world = world().await;
    let appraisal = world.boot(&world.request()).await;
    let info = appraisal.identify(Mode::BootTime, None).unwrap();
    let image = image(world.directory.path());
    assert_eq!(info.os_image_hash, image.os_image_hash().unwrap());
    assert_eq!(info.compose_hash, compose_hash());
    assert_eq!(appraisal.runtime_events().len(), 5, "only the guest's");
}

#[tokio::test]
async fn each_changed_file_is_measured_although_the_documents_are_not() {
    for (name, register) in [
        ("ovmf.fd", "MRTD"),
        ("bzImage", "RTMR1"),
        ("initramfs.cpio.gz", "RTMR2"),
    ] {
        let world = world().await;
        let path = world.directory.path().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        write_atomic(&path, &bytes).unwrap();
        let appraisal = world.boot(&world.request()).await;
        match appraisal.identify(Mode::BootTime, None) {
            Err(IdentifyError::Image(ImageError::Mismatch {
                register: named, ..
            })) => {
                assert_eq!(named, register);
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// The same image under SEV-SNP: its digest is of the files, the document's word is not
/// taken.
#[tokio::test]
async fn an_snp_guest_is_measured_from_the_files_too() {
    let world = world().await;
    let folder = world.directory.path();
    let image = image(folder);
    let material = image.snp_material(2, "EPYC-v4", 1).unwrap().unwrap();
    let material = serde_json::to_string(&material).unwrap();
    let compose = AppCompose::parse(COMPOSE.as_bytes()).unwrap();
    let amd = world.machine.amd().unwrap();
    let anchors = TrustAnchors::with_tdx_root(world.machine.root_der())
        .unwrap()
        .with_amd_roots(amd.root_pem().as_bytes())
        .unwrap();
    let nothing = Arc::new(Directory::new("/nonexistent"));
    let verifier =
        Verifier::new(anchors, nothing, Clock::fixed(NOW)).tolerating_missing_collateral();
    let identify = async |name: &str| {
        let request = LaunchArgs {
            name: name.into(),
            tee: "sev-snp".into(),
            certificates: true,
            mr_config: launch_document(&compose, &AppId::new([5; 20]), None),
            vm_config: serde_json::json!({ "sev_snp_measurement": &material }).to_string(),
            ..world.request()
        };
        let launched = world.launch(&request).await.unwrap();
        let guest = Client::new(&launched.url).unwrap();
        let args = RawQuoteArgs {
            report_data: vec![7; 64],
        };
        let answer: AttestResponse = guest.call("Attest", &args).await.unwrap();
        let evidence = Attestation::decode(&answer.attestation).unwrap();
        let appraisal = verifier
            .appraise(&evidence, Expect::Anything)
            .await
            .unwrap();
        appraisal.identify(Mode::Full, None)
    };
    let who = identify("good").await.unwrap();
    assert_eq!(who.os_image_hash, image.os_image_hash().unwrap());
    assert_eq!(who.compose_hash, compose_hash());
    for name in ["ovmf-sev.fd", "bzImage", "initramfs.cpio.gz"] {
        let path = folder.join(name);
        let good = std::fs::read(&path).unwrap();
        let mut bytes = good.clone();
        // The middle of the firmware is code, not the tables at its end.
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        write_atomic(&path, &bytes).unwrap();
        let changed = identify(&format!("changed-{}", name.len())).await;
        assert!(
            matches!(changed, Err(IdentifyError::SnpImage(_))),
            "{name}: {changed:?}"
        );
        write_atomic(&path, &good).unwrap();
    }
}

#[tokio::test]
async fn acpi_tables_and_memory_are_measured() {
    let world = world().await;
    let good = world.boot(&world.request()).await;
    let stop = StopArgs { name: "vm".into() };
    let _: Empty = world.control.call("Stop", &stop).await.unwrap();
    let mut request = world.request();
    request.acpi_tables = b"other".to_vec();
    let other = world.boot(&request).await;
    assert_ne!(good.td().unwrap().rtmr[0], other.td().unwrap().rtmr[0]);
    let _: Empty = world.control.call("Stop", &stop).await.unwrap();
    let mut request = world.request();
    request.memory_size = 4 << 30;
    let larger = world.boot(&request).await;
    assert_ne!(good.td().unwrap().rtmr[0], larger.td().unwrap().rtmr[0]);
    assert!(
        larger.identify(Mode::BootTime, None).is_err(),
        "its claim is 2 GiB"
    );
}

#[tokio::test]
async fn only_the_token_of_a_running_td_answers() {
    let world = world().await;
    let launched = world.launch(&world.request()).await.unwrap();
    let (base, token) = launched.url.rsplit_once('/').unwrap();
    assert_eq!(token.len(), 32);
    let call = async |url: &str| -> Result<(), ClientError> {
        let client = Client::new(url)?;
        client
            .call::<_, Empty>("EmitEvent", &EmitEventArgs::default())
            .await
            .map(|_| ())
    };
    call(&launched.url).await.unwrap();
    for bad in [
        format!("{base}/{}", "0".repeat(32)),
        format!("{base}/{}", &token[..31]),
        format!("{base}/"),
        base.to_owned(),
    ] {
        assert!(call(&bad).await.is_err(), "{bad}");
    }
    let stop = StopArgs { name: "vm".into() };
    let _: Empty = world.control.call("Stop", &stop).await.unwrap();
    assert!(call(&launched.url).await.is_err(), "after its end");
    let again = world.launch(&world.request()).await.unwrap();
    assert_ne!(again.url, launched.url, "each launch has its own");
}

#[tokio::test]
async fn launches_that_cannot_be_measured_are_refused() {
    let world = world().await;
    type Change = fn(&mut LaunchArgs);
    let changes: [(&str, Change); 7] = [
        ("may be `tdx` or `sev-snp`", |request| {
            request.tee = "sgx".into()
        }),
        ("acpi", |request| request.acpi_rsdp.clear()),
        ("Register", |request| request.mr_config_id = vec![1; 47]),
        ("metadata.json", |request| {
            request.image_dir.push_str("/state")
        }),
        ("vm_config", |request| request.vm_config.clear()),
        ("older than 8", |request| {
            request.vm_config = request.vm_config.replace("9.2.0", "7.2.0");
        }),
        ("does not fit", |request| request.memory_size = 4096),
    ];
    for (reason, change) in changes {
        let mut request = world.request();
        change(&mut request);
        let error = world.launch(&request).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{reason}: {error}");
    }
}
