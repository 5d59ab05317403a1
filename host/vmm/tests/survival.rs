//! A VMM that is killed at any instant loses no VM and doubles none.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bylaw_rpc::message::vmm::{Id, ResizeVmRequest, UpdateVmRequest, VmConfiguration};
use bylaw_rpc::{Client, Empty};
use support::{COMPOSE, Vmm, request};
use tokio::time::{Instant, sleep, timeout};

/// Between 0 and `below`.
fn random(below: u64) -> u64 {
    getrandom::u64().unwrap() % below
}

/// What was asked and answered of a VM. An unanswered request may have happened or not.
#[derive(Debug, Clone, Default)]
struct Known {
    /// Removal was asked for; `Some(true)` when it was answered.
    removed: Option<bool>,
    /// Whether it should run; none after an unanswered request.
    started: Option<bool>,
    /// The revisions it may be at: compose and user configuration change together.
    revisions: BTreeSet<u64>,
    /// Disk sizes it may have.
    disks: BTreeSet<u32>,
}

type Model = Arc<Mutex<BTreeMap<String, Known>>>;

fn compose(revision: u64) -> String {
    COMPOSE.replace("\"app\"", &format!("\"app-{revision}\""))
}

/// Makes requests until the VMM is gone.
async fn client(client: Client, model: Model) {
    loop {
        if one_request(&client, &model).await.is_none() {
            return;
        }
    }
}

/// None when the VMM did not answer.
async fn one_request(client: &Client, model: &Model) -> Option<()> {
    let known: Vec<String> = {
        let model = model.lock().unwrap();
        let left = model.iter().filter(|(_, known)| known.removed.is_none());
        left.map(|(id, _)| id.clone()).collect()
    };
    let pick = known.get(usize::try_from(random(known.len().max(1) as u64)).unwrap());
    let (Some(id), false) = (pick, known.len() < 3) else {
        return create(client, model).await;
    };
    let vm = |change: &dyn Fn(&mut Known)| change(model.lock().unwrap().get_mut(id).unwrap());
    let order = Id { id: id.clone() };
    match random(6) {
        0 if known.len() < 6 => create(client, model).await,
        0 | 1 => {
            vm(&|known| known.removed = Some(false));
            let answer = answered(client.call::<_, Empty>("RemoveVm", &order).await)?;
            if answer.is_ok() {
                vm(&|known| known.removed = Some(true));
            }
            Some(())
        }
        2 | 3 => {
            let start = random(2) == 0;
            vm(&|known| known.started = None);
            let method = if start { "StartVm" } else { "StopVm" };
            let answer = answered(client.call::<_, Empty>(method, &order).await)?;
            // Two clients may have ordered at once: what is certain is then unknown.
            if answer.is_err() {
                vm(&|known| known.started = None);
            }
            Some(())
        }
        4 => {
            let revision = random(u64::MAX);
            vm(&|known| {
                known.revisions.insert(revision);
            });
            let update = UpdateVmRequest {
                id: id.clone(),
                compose_file: compose(revision),
                user_config: revision.to_string(),
                ..UpdateVmRequest::default()
            };
            answered(client.call::<_, Id>("UpdateVm", &update).await)?.ok();
            Some(())
        }
        _ => {
            let disk_size = 2 + u32::try_from(random(50)).unwrap();
            vm(&|known| {
                known.disks.insert(disk_size);
            });
            let resize = ResizeVmRequest {
                id: id.clone(),
                disk_size: Some(disk_size),
                ..ResizeVmRequest::default()
            };
            answered(client.call::<_, Empty>("ResizeVm", &resize).await)?.ok();
            Some(())
        }
    }
}

async fn create(client: &Client, model: &Model) -> Option<()> {
    let revision = random(u64::MAX);
    let asked = VmConfiguration {
        compose_file: compose(revision),
        user_config: revision.to_string(),
        stopped: random(3) == 0,
        ..request("vm")
    };
    let answer = answered(client.call::<_, Id>("CreateVm", &asked).await)?;
    let Id { id } = answer.unwrap();
    let known = Known {
        removed: None,
        started: Some(!asked.stopped),
        revisions: BTreeSet::from([revision]),
        disks: BTreeSet::from([1]),
    };
    model.lock().unwrap().insert(id, known);
    Some(())
}

/// None when the connection was lost: nobody knows what happened.
fn answered<T>(answer: Result<T, bylaw_rpc::ClientError>) -> Option<Result<T, String>> {
    match answer {
        Ok(value) => Some(Ok(value)),
        Err(bylaw_rpc::ClientError::Refused { message, .. }) => Some(Err(message)),
        Err(_) => None,
    }
}

/// What must hold after a restart.
async fn check(vmm: &Vmm, model: &Model) {
    // Interrupted removals and starts are finished by themselves.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let vms = vmm.vms().await;
        let settled = vms
            .iter()
            .all(|vm| vm.status == "running" || vm.status == "stopped");
        if settled {
            break;
        }
        assert!(Instant::now() < deadline, "{vms:?}\n{}", vmm.log());
        sleep(Duration::from_millis(50)).await;
    }
    let vms = vmm.vms().await;
    let ids: BTreeSet<&str> = vms.iter().map(|vm| vm.id.as_str()).collect();
    assert_eq!(ids.len(), vms.len(), "twice in the list");
    let mut model = model.lock().unwrap();
    for (id, known) in model.iter() {
        let exists = ids.contains(id.as_str());
        match known.removed {
            None => assert!(exists, "{id} is lost: {known:?}\n{}", vmm.log()),
            Some(true) => assert!(!exists, "{id} is back"),
            Some(false) => {}
        }
    }
    let qemus = vmm.qemus();
    for (id, pids) in &qemus {
        assert!(ids.contains(id.as_str()), "orphan QEMU of {id}: {pids:?}");
        assert_eq!(pids.len(), 1, "{id} runs twice: {pids:?}");
    }
    let mut fresh = BTreeMap::new();
    for vm in &vms {
        assert_eq!(vm.status == "running", qemus.contains_key(&vm.id), "{vm:?}");
        let configuration = vm.configuration.as_ref().unwrap();
        let revision: u64 = configuration.user_config.parse().unwrap();
        assert_eq!(
            configuration.compose_file,
            compose(revision),
            "half an update"
        );
        if let Some(known) = model.get(&vm.id) {
            assert!(known.revisions.contains(&revision), "{known:?}");
            assert!(known.disks.contains(&configuration.disk_size), "{known:?}");
            if let Some(started) = known.started {
                assert_eq!(vm.status == "running", started, "{vm:?}");
            }
        }
        let known = Known {
            removed: None,
            started: Some(vm.status == "running"),
            revisions: BTreeSet::from([revision]),
            disks: BTreeSet::from([configuration.disk_size]),
        };
        fresh.insert(vm.id.clone(), known);
    }
    *model = fresh;
    for entry in std::fs::read_dir(vmm.path("vm")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name == ".lock" || ids.contains(name.as_str()),
            "left: {name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vmm_killed_at_any_instant_loses_and_doubles_nothing() {
    let rounds = std::env::var("BYLAW_KILL_ROUNDS").ok();
    let rounds: u32 = rounds.map_or(6, |text| text.parse().unwrap());
    let mut vmm = Vmm::start("cvm.auto_restart = { max_retries = 100, initial_backoff = 0 }").await;
    let model = Model::default();
    for round in 0..rounds {
        let clients: Vec<_> = (0..3)
            .map(|_| tokio::spawn(client(vmm.client(), Arc::clone(&model))))
            .collect();
        sleep(Duration::from_millis(300 + random(2500))).await;
        vmm.crash();
        for client in clients {
            timeout(Duration::from_secs(90), client)
                .await
                .unwrap()
                .unwrap();
        }
        vmm.run().await;
        check(&vmm, &model).await;
        eprintln!("round {round}: {} VMs", model.lock().unwrap().len());
    }
    for vm in vmm.vms().await {
        vmm.order("RemoveVm", &vm.id).await.unwrap();
    }
    assert_eq!(vmm.qemus(), BTreeMap::new());
}
