//! The time, where the app insists on a true one.

use std::path::Path;
use std::time::Duration;

use crate::command::{Command, CommandError};

const DAEMON: &str = "/usr/sbin/chronyd";
/// Servers and keys, in the verified image.
const CONFIGURATION: &str = "/etc/chrony/chrony.conf";
/// As long as upstream waits.
const DEADLINE: Duration = Duration::from_secs(200);

/// No true time.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// The image cannot ask for it.
    #[error("secure_time is asked for, but this image has no {0}")]
    NoDaemon(&'static str),
    /// Nobody answers.
    #[error(
        "secure_time: the clock could not be set: {0}. Let the VM reach a time server, or write \
         \"secure_time\": false into app-compose.json"
    )]
    NotSet(CommandError),
}

/// Sets the clock once from the image's servers, and fails where upstream fails: an app
/// that wants a true time does not start without.
///
/// # Errors
/// [`ClockError`].
pub async fn set_from_network() -> Result<(), ClockError> {
    for needed in [DAEMON, CONFIGURATION] {
        if !Path::new(needed).exists() {
            return Err(ClockError::NoDaemon(needed));
        }
    }
    let seconds = DEADLINE.as_secs().to_string();
    Command::new(
        DAEMON,
        ["-q", "-t", &seconds, "-f", CONFIGURATION, "-u", "root"],
    )
    .within(DEADLINE + Duration::from_secs(5))
    .output()
    .await
    .map_err(ClockError::NotSet)?;
    Ok(())
}
