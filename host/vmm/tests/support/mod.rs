//! A VMM as a process, with images that QEMU starts but that boot nothing.

#![allow(dead_code, reason = "every test uses a part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bylaw_rpc::message::vmm::{
    Id, StatusRequest, StatusResponse, VersionResponse, VmConfiguration, VmInfo,
};
use bylaw_rpc::{Client, ClientError, Message};
use bylaw_types::file::write_atomic;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) const IMAGE: &str = "tiny-0.6.0";
pub(crate) const COMPOSE: &str = r#"{"manifest_version":2,"name":"app","runner":"docker-compose"}"#;

/// A directory with an image and a configuration; a VMM runs while `process` is some.
pub(crate) struct Vmm {
    pub(crate) dir: TempDir,
    pub(crate) host_port: u16,
    process: Option<Child>,
}

impl Vmm {
    /// A VMM with `more` in its configuration.
    pub(crate) async fn start(more: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("vmm-").tempdir().unwrap();
        make_image(&dir.path().join("image").join(IMAGE));
        let host_port = free_port();
        let text = format!(
            r#"
            address = "unix:{root}/vmm.sock"
            run_path = "{root}/vm"
            kms_url = ""
            image.path = "{root}/image"
            host_api = {{ address = "127.0.0.1", port = {host_port} }}
            cvm.accel = "tcg"
            cvm.max_allocable_vcpu = 100
            {more}
            "#,
            root = dir.path().display()
        );
        write_atomic(&dir.path().join("vmm.toml"), text.as_bytes()).unwrap();
        let mut vmm = Self {
            dir,
            host_port,
            process: None,
        };
        vmm.run().await;
        vmm
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the process and waits until it answers.
    pub(crate) async fn run(&mut self) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_bylaw-vmm"))
            .arg("--config")
            .arg(self.path("vmm.toml"))
            .current_dir(self.dir.path())
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(child);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.answers().await {
            assert!(Instant::now() < deadline, "{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The socket takes connections before anything is served: only an answer counts,
    /// and a refusal for want of a token is one.
    async fn answers(&self) -> bool {
        let answer = self
            .client()
            .call::<_, VersionResponse>("Version", &bylaw_rpc::Empty {})
            .await;
        !answer.is_err_and(|error| matches!(error, ClientError::Unreachable { .. }))
    }

    /// kill -9, as a crash.
    pub(crate) fn crash(&mut self) {
        let mut child = self.process.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Calls go to `/prpc`; over a Unix socket the client sends bare paths.
    pub(crate) fn client(&self) -> Client {
        let socket = self.path("vmm.sock");
        Client::new(&format!("unix:{}", socket.display()))
            .unwrap()
            .prpc()
    }

    pub(crate) async fn call<Req: Message, Res: Message>(
        &self,
        method: &str,
        request: &Req,
    ) -> Result<Res, String> {
        let answer = self.client().call(method, request).await;
        answer.map_err(|error: ClientError| error.to_string())
    }

    /// The id of a new VM.
    pub(crate) async fn create(&self, request: VmConfiguration) -> Result<String, String> {
        self.call("CreateVm", &request).await.map(|Id { id }| id)
    }

    /// Start, stop and the like.
    pub(crate) async fn order(&self, method: &str, id: &str) -> Result<(), String> {
        let id = Id { id: id.to_owned() };
        self.call(method, &id).await.map(|bylaw_rpc::Empty {}| ())
    }

    pub(crate) async fn vms(&self) -> Vec<VmInfo> {
        let request = StatusRequest::default();
        let answer: StatusResponse = self.call("Status", &request).await.unwrap();
        answer.vms
    }

    pub(crate) async fn vm(&self, id: &str) -> VmInfo {
        let vms = self.vms().await;
        vms.into_iter().find(|vm| vm.id == id).unwrap()
    }

    /// Waits until this is so.
    pub(crate) async fn until(&self, id: &str, what: impl Fn(&VmInfo) -> bool) -> VmInfo {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let vm = self.vm(id).await;
            if what(&vm) {
                return vm;
            }
            assert!(Instant::now() < deadline, "{vm:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// QEMU processes of this VMM by VM: how many.
    pub(crate) fn qemus(&self) -> BTreeMap<String, Vec<i32>> {
        let run_path = format!("{}/", self.path("vm").display());
        let mut found: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
                continue;
            };
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            let is_ours = line.starts_with("qemu") || line.contains("vm-launcher");
            if let (true, Some(at)) = (is_ours, line.find(&run_path)) {
                let id: String = line[at + run_path.len()..].chars().take(36).collect();
                found.entry(id).or_default().push(pid);
            }
        }
        found
    }
}

impl Drop for Vmm {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        for pid in self.qemus().into_values().flatten() {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
    }
}

pub(crate) fn request(name: &str) -> VmConfiguration {
    VmConfiguration {
        name: name.to_owned(),
        image: IMAGE.to_owned(),
        compose_file: COMPOSE.to_owned(),
        vcpu: 1,
        memory: 64,
        disk_size: 1,
        no_tee: true,
        ..VmConfiguration::default()
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The smallest that QEMU takes for a kernel: it jumps into zeros.
fn make_image(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let mut kernel = vec![0; 8192];
    kernel[0x1f1] = 1;
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x206..0x208].copy_from_slice(&0x20cu16.to_le_bytes());
    kernel[0x211] = 1;
    kernel[0x22c..0x230].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
    let metadata = br#"{"kernel":"bzImage","initrd":"initrd","rootfs":"rootfs",
        "cmdline":"console=ttyS0","version":"0.6.0","is_dev":true}"#;
    for (name, bytes) in [
        ("bzImage", kernel.as_slice()),
        ("initrd", &[0; 512]),
        ("rootfs", &[0; 4096]),
        ("metadata.json", metadata),
        ("sha256sum.txt", b"none"),
    ] {
        write_atomic(&folder.join(name), bytes).unwrap();
    }
}
