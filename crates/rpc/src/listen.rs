//! Where to listen: an address as text, and the socket it becomes.

use std::fmt;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tokio::net::{TcpListener, UnixListener};
use tokio_vsock::{VMADDR_CID_ANY, VsockAddr, VsockListener};

/// An address to listen on: `unix:<path>`, `<host>:<port>` or `vsock:<cid|any>:<port>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP; the host is a name or an address.
    Tcp(String),
    /// Virtual machine sockets.
    Vsock {
        /// Of this side; `VMADDR_CID_ANY` for whatever it is.
        cid: u32,
        /// Port.
        port: u32,
    },
}

/// An address that names no socket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} must be unix:<path>, <host>:<port> or vsock:<cid or any>:<port>")]
pub struct ListenError(String);

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let bad = || ListenError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(bad())
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        if let Some(rest) = text.strip_prefix("vsock:") {
            let (cid, port) = rest.split_once(':').ok_or_else(bad)?;
            let cid = match cid {
                "any" => VMADDR_CID_ANY,
                number => number.parse().map_err(|_| bad())?,
            };
            let port = port.parse().map_err(|_| bad())?;
            return Ok(Self::Vsock { cid, port });
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(bad());
        }
        Ok(Self::Tcp(text.to_owned()))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => f.write_str(address),
            Self::Vsock {
                cid: VMADDR_CID_ANY,
                port,
            } => write!(f, "vsock:any:{port}"),
            Self::Vsock { cid, port } => write!(f, "vsock:{cid}:{port}"),
        }
    }
}

/// A bound socket of any kind.
#[derive(Debug)]
pub enum Listener {
    /// Unix.
    Unix(UnixListener),
    /// TCP.
    Tcp(TcpListener),
    /// vsock.
    Vsock(VsockListener),
}

impl Listen {
    /// Binds it; a Unix socket gets these permissions.
    ///
    /// # Errors
    /// The system's, with the address.
    pub async fn bind(&self, mode: u32) -> io::Result<Listener> {
        let bound = match self {
            Self::Unix(path) => bind_unix(path, mode).map(Listener::Unix),
            Self::Tcp(address) => TcpListener::bind(address).await.map(Listener::Tcp),
            Self::Vsock { cid, port } => {
                VsockListener::bind(VsockAddr::new(*cid, *port)).map(Listener::Vsock)
            }
        };
        bound.map_err(|error| io::Error::new(error.kind(), format!("{self}: {error}")))
    }
}

/// Binds a Unix socket with these permissions; a stale socket file is replaced.
///
/// # Errors
/// When something else than a socket is in the way, or the directory is not writable.
pub fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => {
            let text = format!("{} exists and is not a socket", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_and_write_alike() {
        for text in [
            "unix:/run/x.sock",
            "0.0.0.0:8090",
            "[::]:8090",
            "localhost:1",
            "vsock:any:8000",
            "vsock:3:8000",
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "unix:",
            "8090",
            ":8090",
            "host:",
            "host:99999",
            "vsock:8000",
            "vsock:x:1",
            "vsock:1:x",
        ] {
            let error = bad.parse::<Listen>().unwrap_err().to_string();
            assert!(error.contains("must be"), "{bad}");
        }
    }
}
