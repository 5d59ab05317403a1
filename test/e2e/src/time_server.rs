//! Servers of authenticated time (NTS), and images whose guests ask them.
//!
//! The server is the guest image's own chronyd, so that no other has to be on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bylaw_types::file::{write_atomic, write_private};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::host::{GATEWAY, image};
use crate::process::{Process, free_port, program, repository};

const READY: Duration = Duration::from_secs(10);

/// A place on this machine where time is served, or is not.
#[derive(Debug)]
pub struct TimeServer {
    dir: PathBuf,
    /// UDP, for the time.
    port: u16,
    /// TCP, for the keys.
    key_port: u16,
}

impl TimeServer {
    /// The place; nobody serves there yet.
    ///
    /// # Errors
    /// When the image's programs cannot be unpacked.
    pub fn new(dir: &Path) -> anyhow::Result<Self> {
        let dir = dir.join("time");
        std::fs::create_dir_all(&dir)?;
        let root = image()?.join("rootfs.img.verity");
        let unpacked = Command::new("unsquashfs")
            .args(["-quiet", "-no-progress", "-no-xattrs", "-dest"])
            .arg(dir.join("root"))
            .arg(&root)
            .args(["usr/sbin/chronyd", "usr/lib/x86_64-linux-gnu"])
            .output()
            .context("unsquashfs: Debian's package squashfs-tools has it")?;
        if !unpacked.status.success() {
            let reason = String::from_utf8_lossy(&unpacked.stderr);
            bail!("unsquashfs {}: {reason}", root.display());
        }
        Ok(Self {
            dir,
            port: free_port()?,
            key_port: free_port()?,
        })
    }

    /// Serves time with a certificate under the root `name`, for as long as the value lives.
    ///
    /// # Errors
    /// With its log when it does not answer.
    pub fn serve(&self, name: &str) -> anyhow::Result<Process> {
        let path = |suffix: &str| self.dir.join(format!("{name}.{suffix}"));
        let (certificate, key) = certify(GATEWAY, &self.root(name)?)?;
        write_atomic(&path("crt"), certificate.as_bytes())?;
        write_private(&path("key"), key.as_bytes())?;
        let text = format!(
            "port {}\nntsport {}\nbindaddress 127.0.0.1\nallow all\nlocal stratum 1\n\
             ntsservercert {}\nntsserverkey {}\nntsprocesses 0\ncmdport 0\n\
             bindcmdaddress /\npidfile {}\n",
            self.port,
            self.key_port,
            path("crt").display(),
            path("key").display(),
            path("pid").display(),
        );
        write_atomic(&path("conf"), text.as_bytes())?;
        let libraries = self.dir.join("root/usr/lib/x86_64-linux-gnu");
        // As nobody in particular, and without touching this machine's clock.
        let mut process = Process::start(
            &format!("chronyd-{name}"),
            &self.dir,
            Command::new(libraries.join("ld-linux-x86-64.so.2"))
                .arg("--library-path")
                .arg(&libraries)
                .arg(self.dir.join("root/usr/sbin/chronyd"))
                .args(["-d", "-x", "-U", "-u", "root", "-f"])
                .arg(path("conf")),
        )?;
        let deadline = Instant::now() + READY;
        while std::net::TcpStream::connect(("127.0.0.1", self.key_port)).is_err() {
            process.check_alive()?;
            if Instant::now() > deadline {
                bail!("no time is served:\n{}", process.log_text());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(process)
    }

    /// The image with this place for its only time server, under the root `name` alone.
    ///
    /// # Errors
    /// With what `bylaw image build` says.
    pub fn build_image(&self, name: &str, out: &Path) -> anyhow::Result<()> {
        let chrony = self.dir.join("overlay/etc/chrony");
        std::fs::create_dir_all(&chrony)?;
        let (root, _) = self.root(name)?;
        write_atomic(&chrony.join("roots.pem"), root.as_bytes())?;
        let text = format!(
            "server {GATEWAY} port {} iburst nts ntsport {}\nnosystemcert\n\
             ntstrustedcerts /etc/chrony/roots.pem\nauthselectmode require\nmakestep 0.1 3\n\
             port 0\ncmdport 0\n",
            self.port, self.key_port
        );
        write_atomic(&chrony.join("chrony.conf"), text.as_bytes())?;
        let built = Command::new(program("bylaw")?)
            .args(["image", "build", "--bin-dir"])
            .arg(guest_programs(&self.dir.join("programs"))?)
            .arg("--overlay")
            .arg(self.dir.join("overlay"))
            .arg("--out")
            .arg(out)
            .output()?;
        if !built.status.success() {
            let reason = String::from_utf8_lossy(&built.stderr);
            bail!("bylaw image build: {reason}");
        }
        Ok(())
    }

    /// Certificate and key of a root, PEM; the same each time it is asked for.
    fn root(&self, name: &str) -> anyhow::Result<(String, String)> {
        let path = |suffix: &str| self.dir.join(format!("root-{name}.{suffix}"));
        if !path("crt").exists() {
            let key = KeyPair::generate()?;
            let certificate = authority(name).self_signed(&key)?;
            write_private(&path("key"), key.serialize_pem().as_bytes())?;
            write_atomic(&path("crt"), certificate.pem().as_bytes())?;
        }
        Ok((
            std::fs::read_to_string(path("crt"))?,
            std::fs::read_to_string(path("key"))?,
        ))
    }
}

/// The guest's programs as `script/image` left them, in one folder.
fn guest_programs(folder: &Path) -> anyhow::Result<&Path> {
    std::fs::create_dir_all(folder)?;
    for (target, name) in [
        ("target/static", "bylaw-init"),
        ("target", "bylaw-boot"),
        ("target", "bylaw-agent"),
    ] {
        let built = repository()
            .join(target)
            .join("x86_64-unknown-linux-gnu/guest")
            .join(name);
        std::fs::copy(&built, folder.join(name))
            .with_context(|| format!("{}: run script/image", built.display()))?;
    }
    Ok(folder)
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params
}

/// Certificate and key for `address`, PEM, under a root.
fn certify(address: &str, (root, key): &(String, String)) -> anyhow::Result<(String, String)> {
    let issuer = Issuer::from_ca_cert_pem(root, KeyPair::from_pem(key)?)?;
    let key = KeyPair::generate()?;
    let params = CertificateParams::new([address.to_owned()])?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok((certificate.pem(), key.serialize_pem()))
}
