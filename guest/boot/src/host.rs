//! Telling the host how far the start is.
//!
//! Best effort: the host is a spectator. Every call has two seconds, none is repeated, and
//! what is told is what the log on the serial console says anyway.

use std::time::Duration;

use bylaw_rpc::message::host_api::Notification;
use bylaw_rpc::{Client, Empty};

const PATIENCE: Duration = Duration::from_secs(2);
/// The host ignores longer ones.
const MAX_PAYLOAD: usize = 4096;

/// The host's API; silent when there is none.
#[derive(Debug, Clone, Default)]
pub struct Host(Option<Client>);

impl Host {
    /// The host at `url`; empty or unusable is nobody.
    pub fn new(url: &str) -> Self {
        Self(Client::new(url).ok())
    }

    /// `boot.progress`, in upstream's words where it has them.
    pub async fn progress(&self, text: &str) {
        tracing::info!(progress = text, "boot");
        self.notify("boot.progress", text).await;
    }

    /// `boot.error`.
    pub async fn error(&self, text: &str) {
        tracing::error!(error = text, "boot");
        self.notify("boot.error", text).await;
    }

    /// `shutdown.progress`.
    pub async fn shutdown(&self, text: &str) {
        tracing::info!(progress = text, "shutdown");
        self.notify("shutdown.progress", text).await;
    }

    /// Any event.
    pub async fn notify(&self, event: &str, payload: &str) {
        let Some(client) = &self.0 else { return };
        let notification = Notification {
            event: event.to_owned(),
            payload: shortened(payload).to_owned(),
        };
        let call = client.call::<_, Empty>("Notify", &notification);
        match tokio::time::timeout(PATIENCE, call).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(event, %error, "the host was not told"),
            Err(_) => tracing::warn!(event, "the host did not answer within {PATIENCE:?}"),
        }
    }
}

fn shortened(text: &str) -> &str {
    let end = (0..=MAX_PAYLOAD.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or_default();
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    use bylaw_rpc::{Context, Service, serve};

    use super::*;

    #[tokio::test]
    async fn progress_arrives_and_is_never_waited_for_long() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Service::new("HostApi", &["HostApi"], Arc::clone(&heard))
            .method(
                "Notify",
                |heard: Arc<Mutex<Vec<_>>>, _: Context, event: Notification| async move {
                    heard
                        .lock()
                        .unwrap()
                        .push((event.event, event.payload.len()));
                    Ok(Empty {})
                },
            )
            .into_router("/vm/x/secret/api");
        tokio::spawn(serve::any(
            serve::Listener::Tcp(listener),
            router,
            std::future::pending(),
        ));
        Host::new(&format!("http://{address}/vm/y/secret/api"))
            .progress("x")
            .await;
        assert!(
            heard.lock().unwrap().is_empty(),
            "another path is not this VM's API"
        );
        let host = Host::new(&format!("http://{address}/vm/x/secret/api"));
        host.progress("requesting app keys").await;
        host.error(&"ä".repeat(4000)).await;
        assert_eq!(
            *heard.lock().unwrap(),
            [
                ("boot.progress".to_owned(), 19),
                ("boot.error".to_owned(), MAX_PAYLOAD)
            ]
        );
    }

    #[tokio::test]
    async fn a_host_that_hangs_costs_two_seconds() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = Host::new(&format!("http://{}/api", listener.local_addr().unwrap()));
        let start = Instant::now();
        host.progress("x").await;
        assert!(start.elapsed() < PATIENCE * 3 / 2);
        Host::new("").progress("nobody").await;
        Host::new("nonsense").error("nobody").await;
    }
}
