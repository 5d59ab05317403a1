//! `GuestApi` for the host (guest agent API reference, section 5).
//!
//! The host may know what it could see anyway: who runs, how busy it is, and how to end
//! it. Nothing here gives keys or evidence for bytes of the host's choosing.

use std::sync::Arc;

use axum::Router;
use bylaw_rpc::message::guest_api::{GuestInfo, ListContainersResponse};
use bylaw_rpc::message::host_api::Notification;
use bylaw_rpc::{Context, Empty, RpcError, Service};

use crate::app::App;
use crate::config::SystemSettings;
use crate::containers::Engine;
use crate::system::{System, SystemError};
use crate::worker;

/// What the host's calls are answered from.
#[derive(Debug)]
struct Host {
    app: Arc<App>,
    engine: Engine,
    system: System,
    settings: SystemSettings,
}

/// Routes of the host's listener.
pub fn router(app: Arc<App>, engine: Engine, system: System, settings: SystemSettings) -> Router {
    let host = Arc::new(Host {
        app,
        engine,
        system,
        settings,
    });
    Service::new("GuestApi", &["GuestApi"], host)
        .method("Info", |host: Arc<Host>, _: Context, _: Empty| async move {
            host.info().await
        })
        .method(
            "SysInfo",
            |host: Arc<Host>, _: Context, _: Empty| async move {
                host.system.info().map_err(unreadable)
            },
        )
        .method(
            "NetworkInfo",
            |host: Arc<Host>, _: Context, _: Empty| async move {
                host.system.network().await.map_err(unreadable)
            },
        )
        .method(
            "ListContainers",
            |host: Arc<Host>, _: Context, _: Empty| async move {
                let containers = host
                    .engine
                    .list()
                    .await
                    .map_err(|error| RpcError::new("containers", error))?;
                Ok(ListContainersResponse { containers })
            },
        )
        .method(
            "Shutdown",
            |host: Arc<Host>, _: Context, _: Empty| async move { host.shutdown().await },
        )
        .into_router("/api")
}

fn unreadable(error: SystemError) -> RpcError {
    RpcError::new("system", error)
}

impl Host {
    async fn info(&self) -> Result<GuestInfo, RpcError> {
        // No more than the public sees: the host is not the app's owner.
        let info = worker::public_info(&self.app).await?;
        Ok(GuestInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            app_id: info.app_id,
            instance_id: info.instance_id,
            app_cert: info.app_cert,
            tcb_info: info.tcb_info,
            device_id: info.device_id,
        })
    }

    /// Tells the host, then powers off; the answer is sent before the system goes.
    async fn shutdown(&self) -> Result<Empty, RpcError> {
        let [program, arguments @ ..] = self.settings.shutdown.as_slice() else {
            return Err(RpcError::new(
                "shutdown",
                "this VM cannot be shut down from outside (system.shutdown is empty)",
            ));
        };
        if let Some(host_api) = &self.settings.host_api {
            let notification = Notification {
                event: "shutdown.progress".to_owned(),
                payload: "powering off".to_owned(),
            };
            let told: Result<Empty, _> = host_api.call("Notify", &notification).await;
            if let Err(error) = told {
                tracing::warn!(%error, "the host was not told about the shutdown");
            }
        }
        tracing::info!(program, "shutting down, as the host asked");
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .spawn()
            .map_err(|error| RpcError::new("shutdown", format!("{program}: {error}")))?;
        tokio::spawn(async move {
            match child.wait().await {
                Ok(status) if status.success() => {}
                Ok(status) => tracing::error!(%status, "the shutdown command failed"),
                Err(error) => tracing::error!(%error, "the shutdown command"),
            }
        });
        Ok(Empty {})
    }
}
