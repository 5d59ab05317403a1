//! The app itself: its scripts and its containers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bylaw_rpc::ClientError;
use bylaw_types::AppCompose;
use bylaw_types::compose::BootFields;
use bylaw_types::file::{write_atomic, write_private};

use crate::command::{Command, CommandError};
use crate::host::Host;
use crate::shared::SysConfig;

/// Where scripts run, and where relative paths of a compose file start.
const WORK: &str = "/dstack";
const COMPOSE_FILE: &str = "/dstack/docker-compose.yaml";
const SCRIPTS: &str = "/run/bylaw";
/// What scripts of upstream's apps call.
const TOOLS: &str = "/run/bylaw/bin";
const OURSELVES: &str = "/usr/lib/bylaw/bylaw-boot";
/// Pulling large images over slow lines.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);
/// The app's own script may be the app: it ends when it likes, as upstream's does.
const NO_LIMIT: Duration = Duration::MAX;

/// Sourced one after the other in one shell, as upstream does: a script may set variables
/// for the next, and for the compose file.
const INIT: &str = r#"set -e
cd /dstack
for script in /run/bylaw/init-script.*; do
    . "$script"
done
"#;

const START: &str = r#"set -eo pipefail
cd /dstack
if [ -e /run/bylaw/pre-launch.sh ]; then
    . /run/bylaw/pre-launch.sh
fi
dstack-util notify-host -e boot.progress -d "$START_TEXT" || true
"#;

const COMPOSE: &str = "exec docker compose --ansi never --progress plain -f docker-compose.yaml \
    up -d --remove-orphans\n";
const BASH: &str = "exec bash /run/bylaw/main.sh\n";

/// The app does not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// dockerd's socket.
    #[error("container engine: {0}")]
    Engine(ClientError),
    /// dockerd.
    #[error("dockerd did not answer within {0:?}; see the log of this VM")]
    NoEngine(Duration),
    /// One of the init scripts.
    #[error("init script: {0}")]
    InitScript(CommandError),
    /// Pre-launch script or containers.
    #[error("failed to start containers: {0}")]
    Containers(CommandError),
    /// Pre-launch script or the app's own script.
    #[error("bash_script: {0}")]
    MainScript(CommandError),
    /// Nothing to run.
    #[error("app-compose.json has runner {runner} and no {missing}")]
    Nothing {
        /// Which runner.
        runner: String,
        /// The field that is missing.
        missing: &'static str,
    },
}

fn file(path: &Path) -> impl FnOnce(std::io::Error) -> AppError + '_ {
    move |source| AppError::File {
        path: path.to_owned(),
        source,
    }
}

/// The app, ready to run.
#[derive(Debug)]
pub struct App<'a> {
    compose: &'a AppCompose,
    fields: &'a BootFields,
    variables: BTreeMap<String, String>,
}

impl<'a> App<'a> {
    /// Lays out tools and variables.
    ///
    /// # Errors
    /// [`AppError`].
    pub fn new(
        compose: &'a AppCompose,
        fields: &'a BootFields,
        sys_config: &SysConfig,
        environment: BTreeMap<String, String>,
    ) -> Result<Self, AppError> {
        let tools = Path::new(TOOLS);
        std::fs::create_dir_all(tools).map_err(file(tools))?;
        for name in ["dstack-util", "tdxctl"] {
            let link = tools.join(name);
            if std::fs::symlink_metadata(&link).is_err() {
                std::os::unix::fs::symlink(OURSELVES, &link).map_err(file(&link))?;
            }
        }
        let mut variables = BTreeMap::from([(
            "PCCS_URL".to_owned(),
            sys_config.pccs().unwrap_or_default().to_owned(),
        )]);
        variables.extend(environment);
        // Last: an app's variable must not decide which programs are run.
        variables.insert(
            "PATH".to_owned(),
            format!("{TOOLS}:{}", crate::command::PATH),
        );
        Ok(Self {
            compose,
            fields,
            variables,
        })
    }

    /// Whether any script of the app runs beside its containers.
    pub fn has_scripts(compose: &AppCompose, fields: &BootFields) -> bool {
        !compose.manifest().init_script.is_empty() || fields.pre_launch_script.is_some()
    }

    /// Runs the init scripts in their order: the disk is there, containers are not.
    ///
    /// # Errors
    /// [`AppError::InitScript`] when one fails.
    pub async fn init(&self, host: &Host) -> Result<(), AppError> {
        let scripts = &self.compose.manifest().init_script;
        if scripts.is_empty() {
            return Ok(());
        }
        host.progress("init-script").await;
        for (at, script) in scripts.iter().enumerate() {
            let path = Path::new(SCRIPTS).join(format!("init-script.{at}"));
            write_private(&path, script.as_bytes()).map_err(file(&path))?;
        }
        let done = self.shell(INIT, "", PATIENCE).await;
        done.map_err(AppError::InitScript)
    }

    /// Runs the pre-launch script and starts the containers, or the app's own script.
    ///
    /// Returns when the containers are started, or when the script has ended.
    ///
    /// # Errors
    /// [`AppError::Containers`], [`AppError::MainScript`].
    pub async fn start(&self, host: &Host) -> Result<(), AppError> {
        if let Some(script) = &self.fields.pre_launch_script {
            host.progress("pre-launch").await;
            let path = Path::new(SCRIPTS).join("pre-launch.sh");
            write_private(&path, script.as_bytes()).map_err(file(&path))?;
        }
        let manifest = self.compose.manifest();
        let (path, text, missing, last, progress, limit) = match manifest.runner.as_str() {
            "bash" => (
                "/run/bylaw/main.sh",
                &self.fields.bash_script,
                "bash_script",
                BASH,
                "running main script",
                NO_LIMIT,
            ),
            _ => (
                COMPOSE_FILE,
                &manifest.docker_compose_file,
                "docker_compose_file",
                COMPOSE,
                "starting containers",
                PATIENCE,
            ),
        };
        let text = text.as_ref().ok_or_else(|| AppError::Nothing {
            runner: manifest.runner.clone(),
            missing,
        })?;
        write_atomic(Path::new(path), text.as_bytes()).map_err(file(Path::new(path)))?;
        let done = self.shell(&format!("{START}{last}"), progress, limit).await;
        done.map_err(match manifest.runner.as_str() {
            "bash" => AppError::MainScript,
            _ => AppError::Containers,
        })
    }

    /// Stops the containers; they keep their data.
    pub async fn stop() {
        if !Path::new(COMPOSE_FILE).exists() {
            return;
        }
        let stop = ["compose", "-f", COMPOSE_FILE, "stop", "-t", "10"];
        let stopped = Command::new("docker", stop)
            .directory(WORK)
            .within(Duration::from_secs(90))
            .output()
            .await;
        if let Err(error) = stopped {
            tracing::warn!(%error, "containers");
        }
    }

    async fn shell(
        &self,
        script: &str,
        progress: &str,
        limit: Duration,
    ) -> Result<(), CommandError> {
        let mut variables = self.variables.clone();
        variables.insert("START_TEXT".to_owned(), progress.to_owned());
        Command::new("bash", ["-c", script])
            .variables(&variables)
            .directory(WORK)
            .within(limit)
            .on_console()
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The driver with its paths moved under a directory.
    async fn run(
        script: &str,
        root: &Path,
        variables: &[(&str, &str)],
    ) -> Result<(), CommandError> {
        let bin = root.join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        for tool in ["dstack-util", "docker"] {
            let path = bin.join(tool);
            let text = format!("#!/bin/sh\necho {tool} \"$@\" >> {}/log\n", root.display());
            write_atomic(&path, text.as_bytes()).unwrap();
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let here = root.display().to_string();
        let script = script
            .replace("/run/bylaw/", &format!("{here}/"))
            .replace("cd /dstack", &format!("cd {here}"));
        let mut all: BTreeMap<String, String> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        all.insert(
            "PATH".to_owned(),
            format!("{here}/bin:{}", crate::command::PATH),
        );
        Command::new("bash", ["-c", &script])
            .variables(&all)
            .on_console()
            .await
    }

    fn log(root: &Path) -> String {
        std::fs::read_to_string(root.join("log")).unwrap_or_default()
    }

    #[tokio::test]
    async fn the_pre_launch_script_shares_its_shell_with_the_containers() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            write_atomic(&dir.path().join(name), text.as_bytes()).unwrap();
        };
        put("pre-launch.sh", "echo pre $SECRET >> log; export LATER=1");
        let script = format!("{START}echo later $LATER >> log\n{COMPOSE}");
        let variables = [("SECRET", "s"), ("START_TEXT", "starting containers")];
        run(&script, dir.path(), &variables).await.unwrap();
        assert_eq!(
            log(dir.path()),
            "pre s\ndstack-util notify-host -e boot.progress -d starting containers\nlater 1\n\
             docker compose --ansi never --progress plain -f docker-compose.yaml up -d --remove-orphans\n"
        );
    }

    #[tokio::test]
    async fn a_failing_script_keeps_the_containers_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        write_atomic(&dir.path().join("pre-launch.sh"), b"false").unwrap();
        let script = format!("{START}{COMPOSE}");
        assert!(run(&script, dir.path(), &[]).await.is_err());
        assert_eq!(log(dir.path()), "");
    }

    #[tokio::test]
    async fn init_scripts_run_in_their_order_until_one_fails() {
        let dir = tempfile::tempdir().unwrap();
        for (at, text) in [
            "echo 0 >> log; A=1",
            "echo 1 $A >> log; false",
            "echo 2 >> log",
        ]
        .iter()
        .enumerate()
        {
            let path = dir.path().join(format!("init-script.{at}"));
            write_atomic(&path, text.as_bytes()).unwrap();
        }
        assert!(run(INIT, dir.path(), &[]).await.is_err());
        assert_eq!(log(dir.path()), "0\n1 1\n");
    }
}
