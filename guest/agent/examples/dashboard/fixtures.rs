//! States of an app, from a healthy one to a hostile one.

use bylaw_agent::dashboard::{
    CertificateView, ContactView, ContainerView, EventView, EvidenceView, KeysView, View,
};

const COMPOSE_FILE: &str = "\
services:
  web:
    image: registry.example.org/ledger/web@sha256:1f0c9a3f5a2c0d6b8c8e2b1d4f7a6c5e3d2b1a0f9e8d7c6b5a49382716050403
    ports:
      - \"443:8443\"
    environment:
      - DATABASE_URL=postgres://ledger@db/ledger
      - ALLOWED_ORIGINS=https://ledger.example.org,https://admin.ledger.example.org,https://staging.ledger.example.org
    volumes:
      - /var/run/dstack.sock:/var/run/dstack.sock
  db:
    image: docker.io/library/postgres:17.2
    volumes:
      - data:/var/lib/postgresql/data
  migrate:
    image: registry.example.org/ledger/migrate:3.1
    restart: \"no\"
volumes:
  data: {}
";

/// Every state, by the name of its page.
pub(crate) fn all() -> Vec<(&'static str, View)> {
    vec![
        ("full", full()),
        ("simulated", simulated()),
        ("private", private()),
        ("no-engine", no_engine()),
        ("kms-failed", kms_failed()),
        ("expired", expired()),
        ("no-instance", no_instance()),
        ("own-keys", own_keys()),
        ("sev-snp", sev_snp()),
        ("hostile", hostile()),
    ]
}

/// In production, with everything public.
fn full() -> View {
    View {
        app_name: "Ledger".into(),
        app_id: digits("app", 20),
        instance_id: digits("instance", 20),
        compose_hash: digits("compose", 32),
        os_image_hash: digits("os image", 32),
        device_id: digits("device", 32),
        platform: "Intel TDX".into(),
        is_production: true,
        trust_anchors: digits("anchors", 32),
        version: env!("CARGO_PKG_VERSION").into(),
        at: "2026-11-21T14:05:10Z".into(),
        evidence: Some(EvidenceView {
            registers: ["MRTD", "RTMR0", "RTMR1", "RTMR2", "RTMR3"]
                .map(|name| (name.into(), digits(name, 48)))
                .into(),
            events: events(),
            quote: digits("quote", 5006),
            app_compose: app_compose(COMPOSE_FILE),
            compose_file: Some(COMPOSE_FILE.into()),
        }),
        keys: KeysView {
            provider: "kms".into(),
            id: digits("kms", 91),
            contact: Some(ContactView {
                url: "https://kms-1.example.org:8000".into(),
                at: "2026-11-21T14:03:22Z".into(),
                failure: None,
            }),
        },
        certificates: vec![
            certificate("demo-cert", "", "2026-12-21T09:00:00Z", true),
            certificate("ledger", "app:ca", "2027-11-21T09:00:00Z", false),
            certificate("KMS Root CA", "kms", "2036-11-18T09:00:00Z", false),
        ],
        containers: Ok(vec![
            ContainerView {
                image: format!("registry.example.org/ledger/web@sha256:{}", digits("web", 32)),
                log: Some(Ok(web_log())),
                ..container("web", "running", "Up 2 hours (healthy)")
            },
            ContainerView {
                image: "docker.io/library/postgres:17.2".into(),
                log: Some(Ok(
                    "2026-11-21 12:01:03.220 UTC [1] LOG:  database system is ready to accept connections\n".into(),
                )),
                ..container("db", "running", "Up 2 hours")
            },
            ContainerView {
                log: Some(Ok(String::new())),
                ..container("cache", "running", "Up 2 hours")
            },
            ContainerView {
                log: Some(Err("the engine answered 404: no such container".into())),
                ..container("migrate", "exited", "Exited (0) 2 hours ago")
            },
        ]),
        shows_logs: true,
        shows_metrics: true,
    }
}

/// A software TEE on a developer's machine.
fn simulated() -> View {
    View {
        is_production: false,
        keys: KeysView {
            contact: None,
            ..full().keys
        },
        containers: Ok(vec![container(
            "web",
            "running",
            "Up 3 seconds (health: starting)",
        )]),
        ..full()
    }
}

/// The manifest keeps everything from the public that it can.
fn private() -> View {
    View {
        app_name: "Payroll of a company with a rather long name, second region".into(),
        evidence: None,
        shows_logs: false,
        shows_metrics: false,
        containers: Ok(vec![
            container("payroll", "running", "Up 9 days"),
            container("sidecar", "running", "Up 9 days"),
        ]),
        ..full()
    }
}

fn no_engine() -> View {
    View {
        containers: Err(
            "cannot reach the container engine at /var/run/docker.sock: No such file or directory (os error 2)".into(),
        ),
        ..full()
    }
}

fn kms_failed() -> View {
    View {
        keys: KeysView {
            contact: Some(ContactView {
                url: "https://kms-2.a-rather-long-name-of-a-cluster.eu-central-1.example.org:8000".into(),
                at: "2026-11-21T14:05:01Z".into(),
                failure: Some("its certificate carries evidence of another OS image than the contract allows: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into()),
            }),
            ..full().keys
        },
        containers: Ok(vec![
            container("web", "running", "Up 2 hours (unhealthy)"),
            container("db", "exited", "Exited (137) 4 minutes ago"),
            container("worker", "restarting", "Restarting (1) 5 seconds ago"),
        ]),
        ..full()
    }
}

fn expired() -> View {
    let mut view = full();
    view.certificates[0].not_after = "2026-11-20T09:00:00Z".into();
    view.certificates[0].is_valid = false;
    view
}

fn no_instance() -> View {
    View {
        instance_id: String::new(),
        containers: Ok(Vec::new()),
        ..full()
    }
}

/// `key_provider: none`, which is for trying things out.
fn own_keys() -> View {
    View {
        keys: KeysView {
            provider: "none".into(),
            id: digits("own", 91),
            contact: None,
        },
        certificates: vec![certificate("demo-cert", "", "2026-12-21T09:00:00Z", false)],
        ..full()
    }
}

/// A platform without registers and event log.
fn sev_snp() -> View {
    View {
        platform: "AMD SEV-SNP".into(),
        evidence: Some(EvidenceView {
            quote: digits("report", 1184),
            app_compose: app_compose(COMPOSE_FILE),
            ..EvidenceView::default()
        }),
        keys: KeysView {
            provider: "tpm".into(),
            id: digits("tpm", 32),
            contact: None,
        },
        ..full()
    }
}

/// Every text is of somebody who wants to break the page or to deceive its reader.
fn hostile() -> View {
    let evil = "</title></pre><script>window.ran=1</script><img src=x onerror=window.ran=1>\"'&amp;{{7*7}}";
    let hidden = "safe\u{202e}gnp.exe\u{202c} \u{200b}\u{0}\u{1b}[31mred\u{feff}";
    let long = "m".repeat(3000);
    View {
        app_name: format!("{evil}{hidden}"),
        app_id: format!("{}\"><b>bold</b>", digits("app", 16)),
        instance_id: long.clone(),
        platform: "Intel TDX".into(),
        evidence: Some(EvidenceView {
            registers: vec![("RTMR3".into(), evil.into())],
            events: vec![
                EventView {
                    register: "RTMR3".into(),
                    name: evil.into(),
                    payload: hidden.into(),
                    digest: long.clone(),
                },
                EventView {
                    register: "RTMR3".into(),
                    payload: format!("{evil}{long}"),
                    ..EventView::default()
                },
            ],
            quote: String::new(),
            app_compose: app_compose(evil),
            compose_file: Some(format!("{evil}\n{hidden}\n{long}")),
        }),
        keys: KeysView {
            provider: evil.into(),
            id: evil.into(),
            contact: Some(ContactView {
                url: format!("javascript:window.ran=1//{evil}"),
                at: evil.into(),
                failure: Some(format!("{evil}{long}")),
            }),
        },
        certificates: vec![CertificateView {
            usage: evil.into(),
            ..certificate(evil, "", evil, true)
        }],
        containers: Ok(vec![
            ContainerView {
                image: format!("{evil}{long}"),
                log: Some(Ok(format!("\n{evil}\n{hidden}\n{long}\r\n]]>--><!--\n"))),
                ..container(evil, evil, evil)
            },
            ContainerView {
                log: Some(Err(format!("{evil}{hidden}"))),
                ..container(&long, &long, &long)
            },
        ]),
        ..full()
    }
}

fn container(name: &str, state: &str, status: &str) -> ContainerView {
    ContainerView {
        name: name.into(),
        image: format!("registry.example.org/ledger/{name}:3.1"),
        state: state.into(),
        status: status.into(),
        log: None,
    }
}

fn certificate(subject: &str, usage: &str, not_after: &str, is_attested: bool) -> CertificateView {
    CertificateView {
        subject: subject.into(),
        usage: usage.into(),
        not_after: not_after.into(),
        is_attested,
        is_valid: true,
    }
}

fn web_log() -> String {
    let mut log = String::from("ledger web 3.1, listening on [::]:8443\n");
    for second in 10..40 {
        let path = ["/", "/accounts/1841", "/healthz"][second % 3];
        log += &format!("2026-11-21T14:02:{second}Z INFO GET {path} 200 {second} ms\n");
    }
    log += "2026-11-21T14:03:01Z INFO заказ № 18 принят; 注文を受け付けました; طلب رقم ١٨ مقبول; נמל 443\n";
    log += "طلب رقم ١٩ مرفوض: الرصيد غير كاف\n";
    log += "2026-11-21T14:03:02Z WARN body refused: <script>alert(\"no\")</script> & <b>not bold</b>\n";
    log += &format!(
        "2026-11-21T14:03:03Z DEBUG token {}\n",
        "eyJhbGciOiJFZERTQSJ9".repeat(60)
    );
    log
}

fn events() -> Vec<EventView> {
    let event = |register: &str, name: &str, payload: &str, seed: usize| EventView {
        register: register.into(),
        name: name.into(),
        payload: payload.into(),
        digest: digits(&format!("{register} {name} {seed}"), 48),
    };
    let firmware = [
        "EV_EFI_BOOT_SERVICES_APPLICATION",
        "EV_SEPARATOR",
        "EV_EFI_VARIABLE_DRIVER_CONFIG",
    ];
    let mut events = Vec::new();
    for (register, count) in [("RTMR0", 14), ("RTMR1", 9), ("RTMR2", 4)] {
        for seed in 0..count {
            let payload = digits(register, [0, 12, 900][seed % 3]);
            events.push(event(register, firmware[seed % 3], &payload, seed));
        }
    }
    let mine = [
        ("system-preparing", String::new()),
        ("app-id", digits("app", 20)),
        ("compose-hash", digits("compose", 32)),
        ("instance-id", digits("instance", 20)),
        ("boot-mr-done", String::new()),
        ("mr-kms", digits("mr-kms", 32)),
        ("os-image-hash", digits("os image", 32)),
        (
            "key-provider",
            format!(r#"{{"name":"kms","id":"{}"}}"#, digits("kms", 91)),
        ),
        ("storage-fs", "zfs".into()),
        ("system-ready", String::new()),
    ];
    for (seed, (name, payload)) in mine.iter().enumerate() {
        events.push(event("RTMR3", name, payload, seed));
    }
    events
}

fn app_compose(compose_file: &str) -> String {
    serde_json::json!({
        "manifest_version": 2,
        "name": "ledger",
        "runner": "docker-compose",
        "docker_compose_file": compose_file,
        "kms_enabled": true,
        "gateway_enabled": true,
        "public_logs": true,
        "public_sysinfo": true,
        "public_tcbinfo": true,
        "allowed_envs": ["DATABASE_PASSWORD", "SIGNING_KEY"],
    })
    .to_string()
}

/// Hex that looks like a hash: the same for the same seed, and of `bytes` bytes.
fn digits(seed: &str, bytes: usize) -> String {
    let start = seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |state, next| {
        (state ^ u64::from(next)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut state = start | 1;
    let mut text = String::new();
    while text.len() < 2 * bytes {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text += &format!("{state:016x}");
    }
    text.truncate(2 * bytes);
    text
}
