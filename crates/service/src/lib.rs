//! What every service does at start: settings in layers, a log on standard error,
//! and one answer to SIGTERM.

mod settings;
mod stop;

use std::io::IsTerminal;
use std::path::PathBuf;

pub use settings::{SettingsError, load};
pub use stop::{Stop, stop_signal};

/// The command line of a service.
#[derive(Debug, clap::Args)]
pub struct ServiceArgs {
    /// TOML file; what it leaves out has a default.
    #[arg(short, long, global = true)]
    config: Option<PathBuf>,
    /// Print every setting with its default, and exit.
    #[arg(long)]
    print_config: bool,
    /// Say whether the configuration is usable, and exit.
    #[arg(long)]
    check_config: bool,
    /// Files read before `config`, where they exist.
    #[arg(skip)]
    earlier: Vec<PathBuf>,
}

/// Names of a service's settings.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    /// Environment overrides are `<prefix><SECTION>_<KEY>`, e.g. `BYLAW_KMS_`; the log's
    /// filter is `<prefix>LOG`.
    pub prefix: &'static str,
    /// TOML of the defaults: every setting, with what it means.
    pub defaults: &'static str,
}

impl ServiceArgs {
    /// As if `--check-config` was given.
    #[must_use]
    pub fn checking(mut self) -> Self {
        self.check_config = true;
        self
    }

    /// Reads these files before the one of `--config`, in this order, where they exist.
    #[must_use]
    pub fn after(mut self, files: &[&str]) -> Self {
        self.earlier = files.iter().map(PathBuf::from).collect();
        self
    }

    /// The file whose settings win over other files'; none when there is no file at all.
    pub fn config_file(&self) -> Option<PathBuf> {
        self.config
            .clone()
            .or_else(|| self.existing().last().cloned())
    }

    fn existing(&self) -> Vec<PathBuf> {
        let exists = |file: &&PathBuf| file.exists();
        self.earlier.iter().filter(exists).cloned().collect()
    }

    /// Reads the configuration, and starts the log; `None` when the command line asked
    /// for nothing more than a look at the configuration.
    ///
    /// # Errors
    /// Whatever makes the configuration unusable.
    pub fn start<Raw, Config, E>(self, names: Names) -> anyhow::Result<Option<Config>>
    where
        Raw: serde::de::DeserializeOwned,
        Config: TryFrom<Raw, Error = E>,
        E: std::error::Error + Send + Sync + 'static,
    {
        if self.print_config {
            print!("{}", names.defaults);
            return Ok(None);
        }
        let log = format!("{}LOG", names.prefix);
        let environment = std::env::vars().filter(|(name, _)| *name != log);
        let mut files = self.existing();
        files.extend(self.config);
        let raw: Raw = load(names, files, environment)?;
        let config = Config::try_from(raw)?;
        if self.check_config {
            println!("configuration is usable");
            return Ok(None);
        }
        start_log(&log);
        Ok(Some(config))
    }
}

/// Readable on a terminal, JSON elsewhere.
fn start_log(variable: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env(variable)
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        log.init();
    } else {
        log.json().init();
    }
}
