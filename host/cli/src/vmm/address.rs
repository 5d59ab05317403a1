//! Which VMM is meant, and how to prove who asks.
//!
//! The option wins over the environment, the environment over dstack's files; last,
//! a VMM that runs on this machine and said so is found by itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bylaw_rpc::Client;
use clap::Args;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::Vmm;
use crate::chain::read_secret;
use crate::kms::unreachable;
use crate::output::Failure;

/// Where the VMM is.
#[derive(Args, Clone)]
pub(crate) struct VmmArgs {
    /// Address of the VMM: unix:/path/to/vmm.sock, http://… or https://…; without it,
    /// the one that runs on this machine.
    #[arg(long = "vmm", value_name = "URL", env = "BYLAW_VMM")]
    address: Option<String>,
    /// File with the VMM's token; must not be readable by others.
    #[arg(long, value_name = "FILE", env = "BYLAW_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// The token itself; better in BYLAW_TOKEN or a file than where `ps` shows it.
    #[arg(
        long,
        env = "BYLAW_TOKEN",
        hide_env_values = true,
        conflicts_with = "token_file"
    )]
    token: Option<String>,
    /// PEM of the CA that certifies an https VMM; the public ones otherwise.
    #[arg(long, value_name = "FILE", env = "BYLAW_CA")]
    vmm_ca: Option<PathBuf>,
}

impl VmmArgs {
    /// The VMM; nothing is sent yet.
    pub(crate) fn connect(&self) -> Result<Vmm, Failure> {
        let url = self.url()?;
        let mut client = Client::new(&url).map_err(unreachable)?;
        if url.starts_with("https:") {
            client = client.with_tls(self.tls()?);
        }
        if let Some(token) = self.token()? {
            client = client.with_bearer(&token).map_err(unreachable)?;
        }
        Ok(Vmm::new(client))
    }

    fn url(&self) -> Result<String, Failure> {
        if let Some(url) = &self.address {
            return Ok(url.clone());
        }
        if let Ok(url) = std::env::var("DSTACK_VMM_URL") {
            return Ok(url);
        }
        let settings = Settings::read();
        if let Some(url) = settings.url.filter(|url| !url.is_empty()) {
            return Ok(url);
        }
        choose(
            &discovered(Path::new("/run/user")),
            settings.active_vmm.as_deref(),
        )
    }

    fn token(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        if let Some(file) = &self.token_file {
            let text = read_secret("--token-file", file)?;
            return Ok(Some(Zeroizing::new(text.trim().to_owned())));
        }
        // A VMM started from a shell with the first of these takes it for a setting of its own.
        let others = ["BYLAW_VMM_TOKEN", "DSTACK_VMM_TOKEN"];
        let mut others = others.iter().filter_map(|name| std::env::var(name).ok());
        let token = self.token.clone().or_else(|| others.next());
        let token = token.filter(|token| !token.is_empty());
        Ok(token
            .or_else(|| Settings::read().auth_token)
            .map(Zeroizing::new))
    }

    /// A VMM is no confidential machine: its certificate is the only proof it has.
    fn tls(&self) -> Result<Arc<rustls::ClientConfig>, Failure> {
        let mut roots = rustls::RootCertStore::empty();
        match &self.vmm_ca {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(file) => {
                let unusable = |reason: String| {
                    Failure::Unusable(format!("--vmm-ca {}: {reason}", file.display()))
                };
                for certificate in CertificateDer::pem_file_iter(file)
                    .map_err(|error| unusable(error.to_string()))?
                {
                    let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
                    roots
                        .add(certificate)
                        .map_err(|error| unusable(error.to_string()))?;
                }
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

/// `~/.dstack-vmm/config.json`, which dstack's command line keeps.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Settings {
    url: Option<String>,
    active_vmm: Option<String>,
    auth_token: Option<String>,
}

impl Settings {
    fn read() -> Self {
        let file = std::env::home_dir().map(|home| home.join(".dstack-vmm/config.json"));
        file.and_then(|file| std::fs::read(file).ok())
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }
}

/// What a running VMM says about itself below `/run/user/<uid>/dstack-vmm`.
#[derive(Debug, Clone, Deserialize)]
struct Discovered {
    id: String,
    pid: u32,
    address: String,
    #[serde(default)]
    working_dir: PathBuf,
}

impl Discovered {
    fn url(&self) -> String {
        if let Some(path) = self.address.strip_prefix("unix:") {
            return format!("unix:{}", self.working_dir.join(path).display());
        }
        if self.address.contains("://") {
            return self.address.clone();
        }
        format!("http://{}", self.address.replace("0.0.0.0:", "127.0.0.1:"))
    }
}

/// Every VMM below this directory whose process is alive.
fn discovered(run_user: &Path) -> Vec<Discovered> {
    let entries = |path: &Path| {
        let read = std::fs::read_dir(path).into_iter().flatten().flatten();
        read.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for user in entries(run_user) {
        for file in entries(&user.join("dstack-vmm")) {
            let parsed = std::fs::read(&file)
                .ok()
                .and_then(|bytes| serde_json::from_slice::<Discovered>(&bytes).ok());
            let alive = |one: &Discovered| Path::new(&format!("/proc/{}", one.pid)).exists();
            found.extend(parsed.filter(alive));
        }
    }
    found.sort_by(|left, right| left.id.cmp(&right.id));
    found
}

fn choose(found: &[Discovered], active: Option<&str>) -> Result<String, Failure> {
    if let Some(active) = active
        && let Some(one) = found.iter().find(|one| one.id.starts_with(active))
    {
        return Ok(one.url());
    }
    match found {
        [one] => Ok(one.url()),
        [] => Err(Failure::Unusable(
            "no VMM runs on this machine, as far as /run/user/*/dstack-vmm says; start \
             bylaw-vmm, or name one with --vmm or BYLAW_VMM"
                .to_owned(),
        )),
        several => {
            let urls: Vec<String> = several.iter().map(Discovered::url).collect();
            Err(Failure::Unusable(format!(
                "several VMMs run on this machine; choose with --vmm: {}",
                urls.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(directory: &Path, name: &str, pid: u32, address: &str) {
        let folder = directory.join("0/dstack-vmm");
        std::fs::create_dir_all(&folder).unwrap();
        let json = serde_json::json!({
            "id": name, "pid": pid, "address": address, "working_dir": "/srv/vmm",
        });
        bylaw_types::file::write_atomic(
            &folder.join(format!("{name}.json")),
            json.to_string().as_bytes(),
        )
        .unwrap();
    }

    #[test]
    fn the_only_living_vmm_is_found() {
        let dir = tempfile::tempdir().unwrap();
        record(dir.path(), "a", std::process::id(), "unix:./vmm.sock");
        // No process has the highest id.
        record(dir.path(), "dead", u32::MAX, "127.0.0.1:1");
        let found = discovered(dir.path());
        assert_eq!(choose(&found, None).unwrap(), "unix:/srv/vmm/./vmm.sock");
    }

    #[test]
    fn of_several_the_active_one_is_taken_and_none_by_luck() {
        let dir = tempfile::tempdir().unwrap();
        record(dir.path(), "a", std::process::id(), "unix:/a.sock");
        record(dir.path(), "b", std::process::id(), "0.0.0.0:9080");
        let found = discovered(dir.path());
        assert_eq!(choose(&found, Some("b")).unwrap(), "http://127.0.0.1:9080");
        let refused = choose(&found, None).unwrap_err();
        assert!(
            matches!(&refused, Failure::Unusable(text) if text.contains("unix:/a.sock, http://127"))
        );
        assert!(matches!(choose(&[], None), Err(Failure::Unusable(_))));
    }
}
