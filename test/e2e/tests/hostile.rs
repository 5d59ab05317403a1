//! What a hostile host can hand to its guest, case by case: refused by name, or harmless.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bylaw_e2e::host::{image, visits};
use bylaw_e2e::hostile::{Boot, Files, Hostile, empty_disk};
use bylaw_e2e::{App, Kms, Registry, World, repository};
use bylaw_types::OsImageHash;
use serde_json::{Value, json};

struct System {
    app: App,
    kms: Kms,
    registry: Registry,
    world: World,
}

impl System {
    async fn start() -> Self {
        let world = World::start().await.unwrap();
        let kms = world.bootstrapped_kms().await.unwrap();
        let registry = Registry::start().await.unwrap();
        let digest = std::fs::read_to_string(image().unwrap().join("digest.txt")).unwrap();
        let hash: OsImageHash = digest.trim().parse().unwrap();
        world
            .owner
            .set_os_image(&world.kms_auth, &hash, true)
            .await
            .unwrap();
        let app = world
            .create_app(&visits("visits", &registry.image))
            .await
            .unwrap();
        world.settle().await.unwrap();
        Self {
            app,
            kms,
            registry,
            world,
        }
    }

    fn disk(&self, name: &str) -> PathBuf {
        let path = self.world.directory().join(format!("{name}.img"));
        empty_disk(&path).unwrap();
        path
    }
}

/// Changes a JSON file.
fn edit(files: &mut Files, name: &str, change: impl FnOnce(&mut Value)) {
    let file = files.get_mut(name).unwrap();
    let mut value: Value = serde_json::from_slice(file).unwrap();
    change(&mut value);
    *file = value.to_string().into_bytes();
}

/// The vm_config inside the sys-config.
fn edit_vm_config(files: &mut Files, change: impl FnOnce(&mut Value)) {
    edit(files, ".sys-config.json", |config| {
        let mut inner: Value = serde_json::from_str(config["vm_config"].as_str().unwrap()).unwrap();
        change(&mut inner);
        config["vm_config"] = Value::String(inner.to_string());
    });
}

struct Case {
    name: &'static str,
    change: fn(&mut Files),
    /// Part of what the console says.
    refusal: &'static str,
}

const CASES: &[Case] = &[
    Case {
        name: "compose-changed",
        change: |files| {
            edit(files, "app-compose.json", |compose| {
                compose["name"] = json!("x")
            })
        },
        refusal: "Compose hash not allowed",
    },
    Case {
        name: "sys-config-unknown-field",
        change: |files| {
            edit(files, ".sys-config.json", |config| {
                config["extra"] = json!(1)
            })
        },
        refusal: "extra",
    },
    Case {
        name: "kms-nowhere",
        change: |files| {
            edit(files, ".sys-config.json", |config| {
                config["kms_urls"] = json!(["https://10.0.2.2:1"]);
            });
        },
        refusal: "10.0.2.2:1",
    },
    Case {
        name: "other-contract",
        change: |files| {
            edit(files, ".sys-config.json", |config| {
                config["chain"]["kms_auth"] = json!(format!("0x{}", "42".repeat(20)));
            });
        },
        refusal: "4242",
    },
    Case {
        name: "other-chain",
        change: |files| {
            edit(files, ".sys-config.json", |config| {
                config["chain"]["chain_id"] = json!(1)
            });
        },
        refusal: "chain",
    },
    Case {
        name: "vm-config-claims-more-memory",
        change: |files| edit_vm_config(files, |config| config["memory_size"] = json!(4u64 << 30)),
        refusal: "RTMR0",
    },
    Case {
        name: "vm-config-claims-another-image",
        change: |files| {
            edit_vm_config(files, |config| {
                config["os_image_hash"] = json!("ab".repeat(32))
            });
        },
        refusal: "abab",
    },
    Case {
        name: "other-app",
        change: |files| {
            edit(files, ".instance_info", |info| {
                info["app_id"] = json!("22".repeat(20))
            });
        },
        refusal: "2222",
    },
    Case {
        name: "instance-unknown-field",
        change: |files| {
            edit(files, ".instance_info", |info| {
                info["owner"] = json!("host")
            })
        },
        refusal: "owner",
    },
    Case {
        name: "environment-of-the-host",
        change: |files| {
            files.insert(".encrypted-env".to_owned(), vec![7; 200]);
        },
        refusal: "env",
    },
    Case {
        name: "simulator-root-of-the-host",
        change: |files| {
            let other = rcgen::generate_simple_self_signed(vec![])
                .unwrap()
                .cert
                .pem();
            files.insert(
                ".tee-simulator.json".to_owned(),
                json!({"endpoint": "http://10.0.2.2:1/td/x", "root_ca": other})
                    .to_string()
                    .into_bytes(),
            );
        },
        refusal: "10.0.2.2:1",
    },
    Case {
        name: "compose-too-long",
        change: |files| {
            files.insert("app-compose.json".to_owned(), vec![b' '; (50 << 20) + 1]);
        },
        refusal: "app-compose.json",
    },
];

/// A data disk whose header is good, and what follows it is the host's.
struct DiskCase {
    name: &'static str,
    superblock: fn() -> Vec<u8>,
    refusal: &'static str,
}

const DISKS: &[DiskCase] = &[
    DiskCase {
        name: "tags-to-be-recalculated",
        superblock: || {
            let mut bytes = vector("integrity-1gib.bin");
            bytes[24] |= 2;
            bytes
        },
        refusal: "flags",
    },
    DiskCase {
        name: "disk-cut-off",
        superblock: || vector("integrity-1tib.bin"),
        refusal: "was shrunk",
    },
];

fn vector(name: &str) -> Vec<u8> {
    std::fs::read(repository().join("test/vectors/disk").join(name)).unwrap()
}

fn write_disk(path: &Path, superblock: &[u8]) {
    let header = std::fs::read(repository().join("guest/boot/fixtures/luks2-header.bin")).unwrap();
    let disk = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    disk.write_all_at(&header, 0).unwrap();
    disk.write_all_at(superblock, 16 << 20).unwrap();
}

/// What is wrong with how a case went.
fn complaint(name: &str, refusal: &str, boot: &Boot) -> Option<String> {
    println!("    {name}: {:?}", boot.refusal);
    let refused_by_name = boot
        .refusal
        .as_ref()
        .is_some_and(|why| why.contains(refusal));
    (boot.is_up || !refused_by_name).then(|| {
        format!(
            "{name}: up: {}, refused: {:?}, expected {refusal:?}; console:\n{}",
            boot.is_up, boot.refusal, boot.console
        )
    })
}

/// Two at a time: that is how many cores CI has.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_host_edits_is_refused_by_name() {
    let system = System::start().await;
    let host = Hostile::new(&system.world).unwrap();
    let honest = host
        .honest(&system.app, &system.kms, &system.registry)
        .unwrap();
    let mut complaints = Vec::new();
    for pair in CASES.chunks(2) {
        let boots = pair.iter().map(|case| {
            let mut files = honest.clone();
            (case.change)(&mut files);
            let disk = system.disk(case.name);
            let host = &host;
            async move {
                let boot = host.boot(case.name, &files, &disk).await.unwrap();
                complaint(case.name, case.refusal, &boot)
            }
        });
        complaints.extend(futures::future::join_all(boots).await.into_iter().flatten());
    }
    let boots = DISKS.iter().map(|case| {
        let disk = system.disk(case.name);
        write_disk(&disk, &(case.superblock)());
        let (host, honest) = (&host, &honest);
        async move {
            let boot = host.boot(case.name, honest, &disk).await.unwrap();
            complaint(case.name, case.refusal, &boot)
        }
    });
    complaints.extend(futures::future::join_all(boots).await.into_iter().flatten());
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
}
