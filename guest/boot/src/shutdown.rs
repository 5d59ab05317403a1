//! A clean end: containers, services, disk, in this order; then the host is told.

use std::time::Duration;

use crate::app::App;
use crate::disk;
use crate::host::Host;
use crate::supervise::Supervisor;

/// Longest that everything together may take.
const DEADLINE: Duration = Duration::from_secs(150);

/// Ends what the boot started, as far as it came. PID 1 switches off afterwards.
pub async fn run(supervisor: &mut Supervisor, host: &Host) {
    let clean = async {
        host.shutdown("stopping containers").await;
        App::stop().await;
        supervisor.stop("dockerd").await;
        supervisor.stop("containerd").await;
        host.shutdown("unmounting data disk").await;
        disk::close().await;
    };
    if tokio::time::timeout(DEADLINE, clean).await.is_err() {
        tracing::error!("no clean end within {DEADLINE:?}");
    }
    host.shutdown("powering off").await;
    supervisor.stop_all().await;
}
