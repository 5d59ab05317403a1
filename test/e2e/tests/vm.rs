//! Apps in virtual machines: the guest image under QEMU with the software TEE, its
//! keys from a KMS by contract, its containers from a registry.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Read;

use bylaw_e2e::host::{page, visits};
use bylaw_e2e::{App, Host, Kms, World};
use bylaw_keys::{Environment, encrypt_anonymous};
use bylaw_rpc::Empty;
use bylaw_rpc::message::guest_api::Id;
use bylaw_rpc::message::vmm::{AppId, PublicKeyResponse, ResizeVmRequest, UpdateVmRequest, VmInfo};

/// In the app's environment and on its disk: must be nowhere on the host.
const SECRET: &str = "a-greeting-that-the-host-must-not-read";

struct System {
    host: Host,
    app: App,
    // After the host: fields are dropped in order.
    _kms: Kms,
    world: World,
}

impl System {
    async fn start() -> Self {
        let world = World::start().await.unwrap();
        let kms = world.bootstrapped_kms().await.unwrap();
        let host = Host::start(&world, &kms).await.unwrap();
        world
            .owner
            .set_os_image(&world.kms_auth, &host.os_image_hash().unwrap(), true)
            .await
            .unwrap();
        let app = world
            .create_app(&visits("visits", &host.registry.image))
            .await
            .unwrap();
        world.settle().await.unwrap();
        Self {
            host,
            app,
            _kms: kms,
            world,
        }
    }

    /// Variables that only the app can read.
    async fn sealed(&self, greeting: &str) -> Vec<u8> {
        let request = AppId {
            app_id: self.app.id.as_bytes().to_vec(),
        };
        let key: PublicKeyResponse = self
            .host
            .call("GetAppEnvEncryptPubKey", &request)
            .await
            .unwrap();
        let variables = [("GREETING".to_owned(), greeting.to_owned())];
        let plaintext = Environment::new(variables).unwrap().to_plaintext();
        encrypt_anonymous(&key.public_key.try_into().unwrap(), &plaintext).unwrap()
    }
}

/// An app's whole life: created, booted, stopped, started, updated, resized, removed.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_runs_on_an_encrypted_disk_and_keeps_its_data() {
    let mut system = System::start().await;
    let sealed = system.sealed(SECRET).await;
    let (mut configuration, port) = system.host.configuration("visits", &system.app).unwrap();
    configuration.encrypted_env = sealed;
    let id = system.host.create(&configuration).await.unwrap();
    let first = system.host.booted(&id).await.unwrap();
    assert_eq!(first.status, "running");
    assert_eq!(page(port, "/starts").await.unwrap(), "start\n");
    let environment = page(port, "/environment").await.unwrap();
    assert!(environment.contains(&format!("GREETING={SECRET}")));

    // The VMM dies and comes back: the VM is the same process and was not disturbed.
    let before = std::fs::read_to_string(system.host.work_directory(&id).join("qemu.pid")).unwrap();
    system.host.kill_vmm();
    assert_eq!(page(port, "/starts").await.unwrap(), "start\n");
    system.host.start_vmm().await.unwrap();
    let adopted = system.host.info(&id).await.unwrap();
    assert_eq!(adopted.status, "running");
    assert_eq!(adopted.instance_id, first.instance_id);
    let after = std::fs::read_to_string(system.host.work_directory(&id).join("qemu.pid")).unwrap();
    assert_eq!(before, after);

    let size = system.host.data_bytes(&id).await.unwrap();

    // Stopped from within: everything is on the disk, and none of it can be read there.
    system.host.shut_down(&id).await.unwrap();
    let disk = system.host.work_directory(&id).join("hda.img");
    assert!(!system.host.finds_on_disk(&id, SECRET).unwrap());
    assert!(!system.host.finds_on_disk(&id, "dockerd").unwrap());
    let mut magic = [0; 6];
    std::fs::File::open(&disk)
        .unwrap()
        .read_exact(&mut magic)
        .unwrap();
    assert_eq!(&magic, b"LUKS\xba\xbe");

    // Another environment and a larger disk; the data is still there.
    let update = UpdateVmRequest {
        id: id.clone(),
        encrypted_env: system.sealed("another").await,
        ..UpdateVmRequest::default()
    };
    let _: Id = system.host.call("UpdateVm", &update).await.unwrap();
    let resize = ResizeVmRequest {
        id: id.clone(),
        disk_size: Some(5),
        ..ResizeVmRequest::default()
    };
    let _: Empty = system.host.call("ResizeVm", &resize).await.unwrap();
    system.host.order("StartVm", &id).await.unwrap();
    // Power is lost when the volume has grown and its file system has not.
    let grows = |info: &VmInfo| {
        let mut said = info.events.iter().map(|event| event.body.as_str());
        said.any(|body| body == "growing data disk")
    };
    system.host.wait(&id, "growing", grows).await.unwrap();
    system.host.order("StopVm", &id).await.unwrap();
    system.host.order("StartVm", &id).await.unwrap();
    let second = system.host.booted(&id).await.unwrap();
    assert_eq!(second.instance_id, first.instance_id);
    assert_eq!(page(port, "/starts").await.unwrap(), "start\nstart\n");
    let environment = page(port, "/environment").await.unwrap();
    assert!(environment.contains("GREETING=another"));
    // Tags take a 32nd part or less.
    let grown = system.host.data_bytes(&id).await.unwrap() - size;
    assert!(grown > (1 << 30) / 100 * 96, "{grown}");

    // Killed like a machine that loses power: the disk opens again.
    system.host.order("StopVm", &id).await.unwrap();
    let console = std::fs::read(system.host.work_directory(&id).join("serial.log")).unwrap();
    assert!(!String::from_utf8_lossy(&console).contains(SECRET));

    // The disk in another app's VM does not open.
    let other = system
        .world
        .create_app(&visits("other", &system.host.registry.image))
        .await
        .unwrap();
    system.world.settle().await.unwrap();
    let (mut configuration, _) = system.host.configuration("other", &other).unwrap();
    configuration.stopped = true;
    configuration.disk_size = 5;
    let thief = system.host.create(&configuration).await.unwrap();
    std::fs::copy(&disk, system.host.work_directory(&thief).join("hda.img")).unwrap();
    system.host.order("StartVm", &thief).await.unwrap();
    let refusal = system.host.refused(&thief).await.unwrap();
    assert!(refusal.contains("disk"), "{refusal}");
    system.host.order("RemoveVm", &thief).await.unwrap();

    system.host.order("RemoveVm", &id).await.unwrap();
    system.host.wait_gone(&id).await.unwrap();
    assert!(!system.host.work_directory(&id).exists());
}

/// A changed compose is another compose hash: the contract refuses it, by name.
#[tokio::test(flavor = "multi_thread")]
async fn a_compose_that_the_host_changed_is_refused_by_the_contract() {
    let system = System::start().await;
    let tampered = App {
        compose: system.app.compose.replace("GREETING", "GREETINGS"),
        ..system.app.clone()
    };
    let (configuration, _) = system.host.configuration("tampered", &tampered).unwrap();
    let id = system.host.create(&configuration).await.unwrap();
    let refusal = system.host.refused(&id).await.unwrap();
    assert!(refusal.contains("Compose hash not allowed"), "{refusal}");
}
