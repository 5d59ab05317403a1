//! The signal to stop, for as many tasks as want to hear it.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Becomes ready when the service shall stop.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Whether it is time.
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for it.
    pub async fn wait(mut self) {
        // A sender that is gone has nothing more to say either.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

/// Listens for SIGTERM and ctrl-C. Must be called inside a runtime.
pub fn stop_signal() -> Stop {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = tokio::signal::ctrl_c() => {}
                }
            }
            Err(_) => {
                let _ = tokio::signal::ctrl_c().await;
            }
        }
        let _ = sender.send(true);
    });
    Stop(receiver)
}
