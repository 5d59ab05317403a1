//! The time, where the app insists on a true one.
//!
//! The hardware clock is the host's to set. chronyd asks the servers that the verified image
//! names, takes authenticated answers alone, and keeps the clock right for as long as the
//! VM runs.

use std::path::Path;
use std::time::Duration;

use crate::command::Command;
use crate::supervise::Program;

const DAEMON: &str = "/usr/sbin/chronyd";
/// Servers, in the verified image.
const CONFIGURATION: &str = "/etc/chrony/chrony.conf";
/// A server that does not answer at once is asked again after 16 and 48 seconds.
const DEADLINE: Duration = Duration::from_secs(60);
/// How far off the clock may still be, in seconds.
const TOLERANCE: &str = "0.1";

/// No true time.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// The image cannot ask for it.
    #[error("secure_time is asked for, but this image has no {0}")]
    NotInImage(&'static str),
    /// Nobody answers.
    #[error(
        "secure_time: none of the image's time servers has proved the time within {0:?} (the log \
         of this VM says what each answered). Let the VM reach one (NTS: TCP port 4460, UDP port \
         123), build an image that names others (bylaw image build --overlay), or write \
         \"secure_time\": false into app-compose.json"
    )]
    NotSet(Duration),
}

/// The program that sets the clock and keeps it right.
///
/// # Errors
/// [`ClockError::NotInImage`].
pub fn daemon() -> Result<Program, ClockError> {
    for needed in [DAEMON, CONFIGURATION] {
        if !Path::new(needed).exists() {
            return Err(ClockError::NotInImage(needed));
        }
    }
    // On the console, warnings and worse.
    let command = [DAEMON, "-d", "-L", "1", "-f", CONFIGURATION, "-u", "root"];
    Ok(Program::new("chronyd", command))
}

/// Waits until the daemon has set the clock: an app that wants a true time does not start
/// without.
///
/// # Errors
/// [`ClockError::NotSet`].
pub async fn wait_until_set() -> Result<(), ClockError> {
    let tries = DEADLINE.as_secs().to_string();
    // Tries, tolerance, any skew, seconds between tries.
    Command::new("chronyc", ["-n", "waitsync", &tries, TOLERANCE, "0", "1"])
        .within(DEADLINE + Duration::from_secs(10))
        .output()
        .await
        .map_err(|error| {
            tracing::debug!(%error, "chronyc");
            ClockError::NotSet(DEADLINE)
        })?;
    Ok(())
}
