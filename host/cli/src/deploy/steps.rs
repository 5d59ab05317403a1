//! What is being done, on standard error, each with the time it took.

use tokio::time::Instant;

use crate::output::Output;

/// Steps of one command, in order.
pub(crate) struct Steps<'a> {
    output: &'a Output,
    since: Instant,
}

impl<'a> Steps<'a> {
    pub(crate) fn start(output: &'a Output) -> Self {
        Self {
            output,
            since: Instant::now(),
        }
    }

    /// A step is done; the next one begins.
    pub(crate) fn done(&mut self, name: &str, text: &str) {
        let now = Instant::now();
        let seconds = now.duration_since(self.since).as_secs_f32();
        self.since = now;
        self.output
            .say(&format!("  {name:<8} {text:<58} {seconds:6.1}s"));
    }

    /// Something to know; takes no time.
    pub(crate) fn note(&self, text: &str) {
        self.output.say(&format!("  {:<8} {text}", "note"));
    }
}
