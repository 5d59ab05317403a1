//! VMs from creation to removal, over the API.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use bylaw_rpc::message::host_api::Notification;
use bylaw_rpc::message::vmm::{
    GetInfoResponse, Id, PortMapping, ResizeVmRequest, StatusRequest, StatusResponse,
    SvListResponse, UpdateVmRequest, VmConfiguration,
};
use bylaw_rpc::{Client, ClientError, Empty};
use rustix::process::{Pid, Signal, kill_process};
use support::{COMPOSE, Vmm, free_port, request};

const PORTS: &str = r#"cvm.port_mapping = { enabled = true, range = [
    { protocol = "tcp", from = 1024, to = 65535 }] }"#;

fn port(host_port: u16, host_address: &str) -> PortMapping {
    PortMapping {
        protocol: "tcp".into(),
        host_port: host_port.into(),
        vm_port: 80,
        host_address: host_address.into(),
    }
}

/// What the guest of a VM is told.
fn sys_config(vmm: &Vmm, id: &str) -> serde_json::Value {
    let text = std::fs::read(vmm.path("vm").join(id).join("shared/.sys-config.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Where it reaches its host, as this machine reaches it.
fn host_api(vmm: &Vmm, id: &str) -> String {
    let config = sys_config(vmm, id);
    let url = config["host_api_url"].as_str().unwrap();
    url.replace("10.0.2.2", "127.0.0.1")
}

/// What a guest says to its host.
async fn say(url: &str, event: &str, payload: &str) -> Result<Empty, ClientError> {
    let said = Notification {
        event: event.into(),
        payload: payload.into(),
    };
    Client::new(url).unwrap().call("Notify", &said).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_is_created_stopped_changed_started_and_removed() {
    let kds = "https://kds.test";
    let vmm = Vmm::start(&format!("{PORTS}\ncvm.amd_kds_url = \"{kds}\"")).await;
    let (one, two) = (free_port(), free_port());
    let asked = VmConfiguration {
        ports: vec![port(one, "")],
        encrypted_env: vec![1, 2, 3],
        user_config: "hello".into(),
        ..request("first")
    };
    let id = vmm.create(asked).await.unwrap();
    let vm = vmm.vm(&id).await;
    assert_eq!((vm.status.as_str(), vm.running), ("running", true));
    let configuration = vm.configuration.unwrap();
    assert_eq!(configuration.ports, [port(one, "127.0.0.1")]);
    assert_eq!(configuration.encrypted_env, [1, 2, 3]);
    assert_eq!(vmm.qemus()[&id].len(), 1);
    assert_eq!(sys_config(&vmm, &id)["collateral_urls"]["amd_kds"], kds);
    assert!(std::net::TcpStream::connect(("127.0.0.1", one)).is_ok());

    // Starting what runs changes nothing.
    let before = vmm.qemus();
    vmm.order("StartVm", &id).await.unwrap();
    assert_eq!(vmm.qemus(), before);

    let resize = |vcpu, disk_size| ResizeVmRequest {
        id: id.clone(),
        vcpu,
        disk_size,
        ..ResizeVmRequest::default()
    };
    let resized: Result<Empty, _> = vmm.call("ResizeVm", &resize(Some(2), None)).await;
    assert_eq!(
        resized.unwrap_err(),
        format!("vm should be stopped before resize: {id}")
    );

    vmm.order("StopVm", &id).await.unwrap();
    assert_eq!(vmm.vm(&id).await.status, "stopped");
    assert!(vmm.qemus().is_empty());
    for (sizes, error) in [
        (resize(None, Some(0)), "Cannot shrink disk size"),
        (resize(None, None), "at least one of"),
    ] {
        let resized: Result<Empty, _> = vmm.call("ResizeVm", &sizes).await;
        assert!(resized.unwrap_err().contains(error), "{error}");
    }
    let _: Empty = vmm
        .call("ResizeVm", &resize(Some(2), Some(3)))
        .await
        .unwrap();

    let update = UpdateVmRequest {
        id: id.clone(),
        compose_file: COMPOSE.replace("app", "other"),
        update_ports: true,
        ports: vec![port(two, "127.0.0.1")],
        ..UpdateVmRequest::default()
    };
    let hash = bylaw_types::compose::compose_hash(update.compose_file.as_bytes()).to_string();
    let answer: Id = vmm.call("UpgradeApp", &update).await.unwrap();
    assert_eq!(answer.id, hash[..40]);
    vmm.order("StartVm", &id).await.unwrap();
    let vm = vmm.vm(&id).await.configuration.unwrap();
    assert_eq!((vm.vcpu, vm.disk_size), (2, 3));
    assert_eq!(vm.user_config, "hello", "kept");
    assert!(std::net::TcpStream::connect(("127.0.0.1", two)).is_ok());
    let disk = vmm.path("vm").join(&id).join("hda.img");
    assert_eq!(std::fs::metadata(disk).unwrap().len(), 3 << 30);

    vmm.order("RemoveVm", &id).await.unwrap();
    assert!(vmm.vms().await.is_empty() && vmm.qemus().is_empty());
    let info: GetInfoResponse = vmm.call("GetInfo", &Id { id: id.clone() }).await.unwrap();
    assert_eq!(info, GetInfoResponse::default());
    assert!(
        vmm.order("StartVm", &id)
            .await
            .unwrap_err()
            .contains("not found")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_leaves_nothing() {
    let vmm = Vmm::start(PORTS).await;
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let asked = VmConfiguration {
        ports: vec![port(held.local_addr().unwrap().port(), "")],
        ..request("vm")
    };
    let error = vmm.create(asked).await.unwrap_err();
    assert!(error.contains("QEMU did not come up"), "{error}");
    let tee = VmConfiguration {
        no_tee: false,
        ..request("vm")
    };
    assert!(
        vmm.create(tee)
            .await
            .unwrap_err()
            .contains("neither TDX nor SEV-SNP")
    );
    assert!(vmm.vms().await.is_empty() && vmm.qemus().is_empty());
    let left: Vec<_> = std::fs::read_dir(vmm.path("vm")).unwrap().collect();
    assert_eq!(left.len(), 1, "only the lock: {left:?}");

    // Another VM's port, also of one that is stopped.
    let taken = VmConfiguration {
        ports: vec![port(20_000, "")],
        stopped: true,
        ..request("vm")
    };
    vmm.create(taken.clone()).await.unwrap();
    let error = vmm.create(taken).await.unwrap_err();
    assert!(error.contains("already mapped"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_dies_is_started_again_and_one_that_powers_off_is_not() {
    let vmm = Vmm::start("").await;
    let id = vmm.create(request("vm")).await.unwrap();
    let pid = vmm.qemus()[&id][0];
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    vmm.until(&id, |vm| {
        vm.running && vmm.qemus().get(&id).is_some_and(|p| *p != [pid])
    })
    .await;

    let url = host_api(&vmm, &id);
    say(&url, "boot.progress", "opening the disk")
        .await
        .unwrap();
    let vm = vmm.vm(&id).await;
    assert_eq!(vm.boot_progress, "opening the disk");
    assert_eq!(vm.events.len(), 1);
    // Whoever has not this start's secret is nobody.
    let (start, _) = url.rsplit_once("/api").unwrap();
    for wrong in [
        format!("{}x/api", &start[..start.len() - 1]),
        url.replace(&id, "00000000-0000-4000-8000-000000000000"),
        format!("http://127.0.0.1:{}/api", vmm.host_port),
    ] {
        assert!(say(&wrong, "boot.error", "x").await.is_err(), "{wrong}");
    }
    say(&url, "shutdown.progress", "powering off")
        .await
        .unwrap();
    assert_eq!(vmm.vm(&id).await.status, "stopping");
    let pid = vmm.qemus()[&id][0];
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    vmm.until(&id, |vm| vm.status == "stopped").await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert!(vmm.qemus().is_empty(), "it stays off");
    assert!(
        say(&url, "boot.progress", "x").await.is_err(),
        "nobody speaks for it any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_vmm_finds_its_vms_and_their_processes() {
    let mut vmm = Vmm::start("").await;
    let id = vmm.create(request("vm")).await.unwrap();
    let stopped = VmConfiguration {
        stopped: true,
        ..request("second")
    };
    let second = vmm.create(stopped).await.unwrap();
    let before = vmm.qemus();
    let url = host_api(&vmm, &id);
    say(&url, "boot.progress", "opening the disk")
        .await
        .unwrap();
    say(&url, "boot.error", "the disk does not open")
        .await
        .unwrap();
    let told = vmm.vm(&id).await;
    vmm.crash();
    assert_eq!(vmm.qemus(), before, "VMs outlive the VMM");
    vmm.run().await;
    assert_eq!(vmm.qemus(), before);
    let vm = vmm.vm(&id).await;
    assert_eq!(vm.events, told.events, "and what their guests said");
    assert_eq!(vm.boot_progress, "opening the disk");
    assert_eq!(vm.boot_error, "the disk does not open");
    let all: StatusResponse = vmm.call("Status", &StatusRequest::default()).await.unwrap();
    let states: Vec<_> = all
        .vms
        .iter()
        .map(|vm| (&vm.id, vm.status.as_str()))
        .collect();
    assert_eq!(
        states,
        [(&id, "running"), (&second, "stopped")],
        "oldest first"
    );
    let processes: SvListResponse = vmm.call("SvList", &Empty {}).await.unwrap();
    assert_eq!(processes.processes.len(), 1);
    assert_eq!(processes.processes[0].status, "running");

    let page = StatusRequest {
        page: 2,
        page_size: 1,
        brief: true,
        ..StatusRequest::default()
    };
    let page: StatusResponse = vmm.call("Status", &page).await.unwrap();
    assert_eq!((page.total, page.vms.len()), (2, 1));
    assert_eq!(page.vms[0].id, second);
    assert!(page.vms[0].configuration.is_none());
    let found = StatusRequest {
        keyword: "SECOND".into(),
        ..StatusRequest::default()
    };
    let found: StatusResponse = vmm.call("Status", &found).await.unwrap();
    assert_eq!(found.vms.len(), 1);
    // An adopted process is stopped like one of our own.
    vmm.order("StopVm", &id).await.unwrap();
    assert!(vmm.qemus().is_empty());
    // Why it did not boot is known until it is started again.
    vmm.crash();
    vmm.run().await;
    assert_eq!(vmm.vm(&id).await.boot_error, "the disk does not open");
    vmm.order("StartVm", &id).await.unwrap();
    vmm.crash();
    vmm.run().await;
    let vm = vmm.vm(&id).await;
    assert!(vm.running && vm.boot_error.is_empty() && vm.events.is_empty());
}
