//! Building the parts in order, then serving.

use std::sync::Arc;

use anyhow::Context;
use bylaw_attest::TrustAnchors;
use bylaw_attest::collateral::{Cached, Pccs};
use bylaw_service::stop_signal;
use bylaw_types::clock::Clock;
use tokio::net::TcpListener;

use crate::config::{Config, EnclaveKind};
use crate::enclave::{Enclave, Gramine, Simulator};
use crate::{Limits, Provider, serve};

/// Runs a provider until SIGTERM or ctrl-C.
///
/// # Errors
/// Whatever keeps it from serving, with what to do about it.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let (enclave, anchors, pccs_url): (Arc<dyn Enclave>, _, _) = match config.enclave {
        EnclaveKind::Gramine => (
            Arc::new(Gramine::default()),
            TrustAnchors::vendor(),
            config.collateral,
        ),
        EnclaveKind::Simulator(control) => {
            let simulator = Simulator::new(&control)?;
            let trust = simulator.trust().await?;
            tracing::warn!("the enclave is simulated: its keys are not production keys");
            (Arc::new(simulator), trust.anchors, trust.pccs_url)
        }
    };
    let collateral = Arc::new(Cached::new(Pccs::new(&pccs_url)?, None));
    let provider = Provider::new(enclave, anchors, collateral, Clock::system());
    let measurement = provider.measurement().await?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("listen: cannot listen on {}", config.listen))?;
    tracing::info!(
        address = %listener.local_addr()?,
        mr_enclave = hex::encode(measurement),
        "serving"
    );
    serve(
        listener,
        Arc::new(provider),
        Limits::default(),
        stop_signal().wait(),
    )
    .await;
    Ok(())
}
