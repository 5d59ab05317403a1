//! Tells systemd that the agent still answers, by asking it.

use std::time::Duration;

use bylaw_rpc::message::guest::WorkerVersion;
use bylaw_rpc::serve::Listen;
use bylaw_rpc::{Client, ClientError, Empty};
use bylaw_service::Stop;
use sd_notify::NotifyState;

use crate::config::Listeners;

/// Which of the agent's own listeners is asked.
#[derive(Debug)]
pub(crate) struct Probe(Option<Client>);

impl Probe {
    /// The public listener, else an app socket; nobody when nothing is served.
    pub(crate) fn new(listeners: &Listeners) -> Result<Self, ClientError> {
        let client = match listeners {
            Listeners {
                external: Some(Listen::Tcp(address)),
                ..
            } => {
                let (_, port) = address.rsplit_once(':').unwrap_or_default();
                Some(Client::new(&format!("http://localhost:{port}"))?.prpc())
            }
            Listeners {
                dstack: Some(path), ..
            } => Some(Client::new(&format!("unix:{}", path.display()))?),
            _ => None,
        };
        Ok(Self(client))
    }

    async fn answers(&self) -> Result<(), ClientError> {
        let Some(client) = &self.0 else { return Ok(()) };
        client
            .call::<_, WorkerVersion>("Version", &Empty {})
            .await
            .map(drop)
    }
}

/// Asks twice per period until the signal to stop, if systemd wants to know at all. An
/// agent that does not answer itself says nothing, and is restarted.
pub(crate) async fn run(probe: Probe, stop: Stop) {
    let Some(period) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticks = tokio::time::interval((period / 2).max(Duration::from_millis(100)));
    loop {
        tokio::select! {
            () = stop.clone().wait() => return,
            _ = ticks.tick() => {}
        }
        match tokio::time::timeout(period / 2, probe.answers()).await {
            Ok(Ok(())) => drop(sd_notify::notify(&[NotifyState::Watchdog])),
            Ok(Err(error)) => tracing::error!(%error, "the agent does not answer itself"),
            Err(_) => tracing::error!("the agent does not answer itself in time"),
        }
    }
}
