//! A Docker Engine of a test's own as a value: nothing shared with the machine's, and
//! gone with its containers when dropped.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, geteuid, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::process::{Process, program};

const READY: Duration = Duration::from_secs(60);
const STOPPED: Duration = Duration::from_secs(20);
/// Made from busybox, not pulled from a registry.
const IMAGE: &str = "bylaw-test";

/// A running `dockerd`.
#[derive(Debug)]
pub struct Docker {
    process: Process,
    /// Where its API is.
    pub socket: PathBuf,
    // After the process: fields are dropped in order.
    dir: TempDir,
}

impl Docker {
    /// Starts an engine without networks and gives it one image.
    ///
    /// # Errors
    /// With its log when it does not start.
    pub fn start() -> anyhow::Result<Self> {
        if !geteuid().is_root() {
            bail!("a Docker Engine needs root: run this test as root, in a container perhaps");
        }
        // Socket paths are short.
        let dir = TempDir::with_prefix("docker-")?;
        let socket = dir.path().join("docker.sock");
        let mut command = Command::new(program("setpriv")?);
        command
            // Even a test that is killed leaves no engine behind.
            .args(["--pdeathsig", "TERM", "--"])
            .arg(program("dockerd")?)
            .arg("--host")
            .arg(format!("unix://{}", socket.display()))
            .arg("--data-root")
            .arg(dir.path().join("data"))
            .arg("--exec-root")
            .arg(dir.path().join("exec"))
            .arg("--pidfile")
            .arg(dir.path().join("docker.pid"))
            // Needs neither overlayfs nor rights over the machine's network.
            .args(["--storage-driver", "vfs", "--bridge", "none"])
            .args(["--iptables=false", "--ip6tables=false"])
            .args(["--shutdown-timeout", "1", "--log-level", "warn"])
            .process_group(0);
        let process = Process::start("dockerd", dir.path(), &mut command)?;
        let mut docker = Self {
            process,
            socket,
            dir,
        };
        docker.wait_until_ready()?;
        docker.make_image()?;
        Ok(docker)
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY;
        loop {
            match self.docker(&["version"]) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    bail!("dockerd is not ready: {error}\n{}", self.process.log_text())
                }
                Err(_) => self.process.check_alive()?,
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn make_image(&self) -> anyhow::Result<()> {
        let root = self.dir.path().join("image");
        std::fs::create_dir_all(root.join("bin"))?;
        let busybox = program("busybox").context("Debian's package busybox-static has it")?;
        std::fs::copy(&busybox, root.join("bin/busybox"))?;
        for applet in
            String::from_utf8_lossy(&Command::new(&busybox).arg("--list").output()?.stdout)
                .lines()
                .filter(|applet| *applet != "busybox")
        {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
        }
        let archive = self.dir.path().join("image.tar");
        let made = Command::new("tar")
            .arg("-C")
            .arg(&root)
            .arg("-cf")
            .arg(&archive)
            .arg("bin")
            .status()?;
        if !made.success() {
            bail!("tar failed: {made}");
        }
        let archive = archive.display().to_string();
        self.docker(&["import", &archive, IMAGE])?;
        Ok(())
    }

    /// Runs the docker command line against this engine; what it prints.
    ///
    /// # Errors
    /// With what it says when it fails.
    pub fn docker(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(program("docker")?)
            .env("DOCKER_HOST", format!("unix://{}", self.socket.display()))
            .env("DOCKER_CONFIG", self.dir.path())
            .args(arguments)
            .output()?;
        if !output.status.success() {
            bail!(
                "docker {}: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Starts a container that runs `script` in busybox's shell; its id.
    ///
    /// # Errors
    /// With what docker says when it does not start.
    pub fn run(&self, name: &str, options: &[&str], script: &str) -> anyhow::Result<String> {
        // Nothing outlives a test for long, whatever happens to it. The shell around it stays:
        // as a container's first process the script could not be ended from within.
        let limited = format!(
            "timeout 120 sh -c '{}'; exit $?",
            script.replace('\'', "'\\''")
        );
        let command = ["run", "--detach", "--network", "none", "--name", name];
        let script = [IMAGE, "/bin/sh", "-c", &limited];
        self.docker(&[&command[..], options, &script].concat())
    }

    /// Waits until a container has ended.
    ///
    /// # Errors
    /// When it is unknown.
    pub fn wait(&self, name: &str) -> anyhow::Result<()> {
        self.docker(&["wait", name]).map(drop)
    }

    /// SIGKILL to the engine, not to its containers.
    pub fn kill_engine(&self) {
        if let Some(id) = id_of(&self.process) {
            // Already gone is what is wanted.
            let _ = kill_process(id, Signal::KILL);
        }
    }

    /// Clients that are connected to its API now.
    ///
    /// # Errors
    /// When the kernel's table cannot be read.
    pub fn connections(&self) -> anyhow::Result<usize> {
        let socket = self.socket.display().to_string();
        let table = std::fs::read_to_string("/proc/net/unix")?;
        let connected = table.lines().filter(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // State 03 is a connection; the listener itself is 01.
            fields.get(5) == Some(&"03") && fields.get(7) == Some(&&*socket)
        });
        Ok(connected.count())
    }

    /// The engine's processes all name its directory; those of a container are in the
    /// control group that has the container's id, even when the engine was killed.
    fn processes(&self) -> Vec<Pid> {
        let directory = self.dir.path().as_os_str().as_encoded_bytes();
        let containers: Vec<_> = entries(&self.dir.path().join("data/containers")).collect();
        let is_ours = |process: &Path| {
            let read = |name: &str| std::fs::read(process.join(name)).unwrap_or_default();
            let contains =
                |text: &[u8], part: &[u8]| text.windows(part.len()).any(|window| window == part);
            let groups = read("cgroup");
            contains(&read("cmdline"), directory)
                || containers
                    .iter()
                    .any(|id| contains(&groups, id.as_encoded_bytes()))
        };
        entries(Path::new("/proc"))
            .filter_map(|name| {
                let id = Pid::from_raw(name.to_str()?.parse().ok()?)?;
                is_ours(&Path::new("/proc").join(&name)).then_some(id)
            })
            .collect()
    }
}

fn entries(directory: &Path) -> impl Iterator<Item = OsString> {
    std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
}

impl Drop for Docker {
    fn drop(&mut self) {
        // Each step is for what the one before left; there is nobody to report to.
        if let Ok(ids) = self.docker(&["ps", "--all", "--quiet"]) {
            let ids: Vec<&str> = ids.split_whitespace().collect();
            if !ids.is_empty() {
                let _ = self.docker(&[&["rm", "--force"][..], &ids].concat());
            }
        }
        if let Some(group) = id_of(&self.process) {
            let _ = kill_process(group, Signal::TERM);
            let _ = self.process.wait(STOPPED);
            let _ = kill_process_group(group, Signal::KILL);
        }
        for process in self.processes() {
            let _ = kill_process(process, Signal::KILL);
        }
        unmount_below(self.dir.path());
    }
}

fn id_of(process: &Process) -> Option<Pid> {
    Pid::from_raw(i32::try_from(process.id()).ok()?)
}

fn unmount_below(dir: &Path) {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let below = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|path| Path::new(path).starts_with(dir));
    for path in below {
        let _ = Command::new("umount").arg("--lazy").arg(path).status();
    }
}
