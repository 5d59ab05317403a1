//! Start-up, then every listener until the signal to stop.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use bylaw_attest::event_log::EventVersion;
use bylaw_attester::{Roots, attester_from, fix_event_version};
use bylaw_rpc::serve::{self, Listen, Listener};
use bylaw_service::{Stop, stop_signal};
use bylaw_types::AppCompose;
use bylaw_types::clock::Clock;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::containers::Engine;
use crate::start::start;
use crate::system::System;
use crate::watchdog;
use crate::{dstack, guest_api, tappd, worker};

/// Permissions of the host's socket, where that is a Unix socket.
const GUEST_API_MODE: u32 = 0o600;

/// Runs the agent until SIGTERM or ctrl-C; `ready` is called once it serves.
///
/// # Errors
/// Whatever keeps the app from its keys, with what to do about it.
pub async fn run(config: Config, ready: impl FnOnce()) -> anyhow::Result<()> {
    raise_descriptor_limit();
    let clock = Clock::system();
    let bytes = std::fs::read(&config.compose_file)
        .with_context(|| format!("compose_file {}", config.compose_file.display()))?;
    let compose =
        AppCompose::parse(&bytes).with_context(|| config.compose_file.display().to_string())?;
    let vm_config =
        match config.attester.starts_with("linux") {
            true => {
                let version = EventVersion::of_manifest(compose.manifest().event_log_version);
                fix_event_version(&Roots::default(), version)?;
                let text = std::fs::read_to_string(&config.vm_config_file);
                Some(text.with_context(|| {
                    format!("vm_config_file {}", config.vm_config_file.display())
                })?)
            }
            false => None,
        };
    let attester = attester_from(&config.attester, vm_config.as_deref())?;
    let stop = stop_signal();
    let starting = start(&config, compose, attester, clock);
    let app = tokio::select! {
        app = starting => Arc::new(app?),
        // systemd need not wait for a KMS that does not answer.
        () = stop.clone().wait() => return Ok(()),
    };
    tracing::info!(
        app_id = %app.boot_info.app_id,
        compose_hash = %app.boot_info.compose_hash,
        provider = app.provider.name,
        "keys received"
    );

    let engine = Engine::new(&config.system.container_engine);
    let mut sockets = Sockets::new(stop.clone());
    sockets.app_api(
        0,
        config.listen.dstack.as_deref(),
        config.listen.mode,
        dstack::router(Arc::clone(&app)),
    )?;
    sockets.app_api(
        1,
        config.listen.tappd.as_deref(),
        config.listen.mode,
        tappd::router(Arc::clone(&app)),
    )?;
    let system = System::new(config.system.data_disks.clone());
    if let Some(address) = &config.listen.external {
        let router = worker::router(Arc::clone(&app), engine.clone(), system.clone());
        sockets.bind(address, 0, router).await?;
    }
    if let Some(address) = &config.listen.guest_api {
        let router = guest_api::router(Arc::clone(&app), engine, system, config.system.clone());
        match sockets.bind(address, GUEST_API_MODE, router).await {
            // The host's view is for the host's comfort: an app need not miss its keys for it.
            Err(error) if matches!(address, Listen::Vsock { .. }) => {
                tracing::warn!(%error, "the host cannot look into this VM");
            }
            bound => bound?,
        }
    }
    let probe = watchdog::Probe::new(&config.listen)?;
    sockets.servers.spawn(watchdog::run(probe, stop));
    ready();
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    sockets.serve().await;
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    Ok(())
}

/// Each connection is a descriptor, and the usual limit of 1024 is below what we accept.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// Bound sockets and the tasks that serve them.
struct Sockets {
    /// Passed by systemd, in the order dstack, tappd.
    passed: ListenFd,
    servers: JoinSet<()>,
    /// Removed at the end.
    files: Vec<PathBuf>,
    stop: Stop,
}

impl Sockets {
    fn new(stop: Stop) -> Self {
        Self {
            passed: ListenFd::from_env(),
            servers: JoinSet::new(),
            files: Vec::new(),
            stop,
        }
    }

    /// The socket that systemd passed, else one of our own at `path`.
    fn app_api(
        &mut self,
        index: usize,
        path: Option<&Path>,
        mode: u32,
        router: Router,
    ) -> anyhow::Result<()> {
        let listener = if let Some(passed) = self.passed.take_unix_listener(index)? {
            passed.set_nonblocking(true)?;
            tokio::net::UnixListener::from_std(passed)?
        } else {
            let Some(path) = path else { return Ok(()) };
            let bound = serve::bind_unix(path, mode)
                .with_context(|| format!("cannot listen on {}", path.display()))?;
            self.files.push(path.to_owned());
            bound
        };
        self.spawn(Listener::Unix(listener), router);
        Ok(())
    }

    async fn bind(&mut self, address: &Listen, mode: u32, router: Router) -> anyhow::Result<()> {
        let listener = address.bind(mode).await.context("cannot listen")?;
        if let Listen::Unix(path) = address {
            self.files.push(path.clone());
        }
        self.spawn(listener, router);
        Ok(())
    }

    fn spawn(&mut self, listener: Listener, router: Router) {
        self.servers
            .spawn(serve::any(listener, router, self.stop.clone().wait()));
    }

    async fn serve(self) {
        self.servers.join_all().await;
        for path in self.files {
            let _ = std::fs::remove_file(path);
        }
    }
}
