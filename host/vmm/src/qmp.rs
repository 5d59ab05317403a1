//! QEMU's monitor: whether it came up, and a guest's power button.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open monitor; QEMU serves one at a time.
#[derive(Debug)]
pub struct Monitor {
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

impl Monitor {
    /// Connects and takes QEMU's greeting.
    ///
    /// # Errors
    /// Nobody there, or no QEMU.
    pub async fn open(socket: &Path) -> io::Result<Self> {
        within(async {
            let (reader, writer) = UnixStream::connect(socket).await?.into_split();
            let lines = BufReader::new(reader).lines();
            let mut monitor = Self { lines, writer };
            if monitor.next().await?.get("QMP").is_none() {
                return Err(io::Error::other("no QEMU greets there"));
            }
            monitor.exchange("qmp_capabilities").await?;
            Ok(monitor)
        })
        .await
    }

    /// Gives a command without arguments.
    ///
    /// # Errors
    /// QEMU's, with its text.
    pub async fn command(&mut self, name: &str) -> io::Result<Value> {
        within(self.exchange(name)).await
    }

    async fn exchange(&mut self, name: &str) -> io::Result<Value> {
        let line = format!("{}\n", json!({ "execute": name }));
        self.writer.write_all(line.as_bytes()).await?;
        loop {
            let mut message = self.next().await?;
            if let Some(answer) = message.get_mut("return") {
                return Ok(answer.take());
            }
            if let Some(error) = message.get("error") {
                let text = error.get("desc").and_then(Value::as_str);
                return Err(io::Error::other(format!(
                    "{name}: {}",
                    text.unwrap_or("refused")
                )));
            }
            // An event: nobody asked.
        }
    }

    async fn next(&mut self) -> io::Result<Value> {
        let line = self.lines.next_line().await?;
        let line = line.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(serde_json::from_str(&line)?)
    }
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, work)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says these lines to whoever connects, one for each line it hears after the first.
    async fn serve(said: &'static [&'static str]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (reader, mut writer) = stream.into_split();
            let mut heard = BufReader::new(reader).lines();
            for said in said {
                writer.write_all(said.as_bytes()).await.unwrap();
                heard.next_line().await.unwrap();
            }
        });
        (dir, path)
    }

    #[tokio::test]
    async fn events_are_passed_over_and_errors_told() {
        let (_dir, path) = serve(&[
            "{\"QMP\": {}}\n",
            "{\"return\": {}}\n",
            "{\"event\": \"RESET\"}\n{\"return\": {\"status\": \"running\"}}\n",
            "{\"error\": {\"class\": \"x\", \"desc\": \"not now\"}}\n",
        ])
        .await;
        let mut monitor = Monitor::open(&path).await.unwrap();
        let status = monitor.command("query-status").await.unwrap();
        assert_eq!(status["status"], "running");
        let error = monitor.command("quit").await.unwrap_err().to_string();
        assert_eq!(error, "quit: not now");
    }

    #[tokio::test]
    async fn what_is_no_qemu_is_refused() {
        let (_dir, path) = serve(&["{\"hello\": 1}\n"]).await;
        assert!(Monitor::open(&path).await.is_err());
        assert!(Monitor::open(Path::new("/nowhere")).await.is_err());
    }
}
