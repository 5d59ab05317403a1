//! Outside: speaks to an app only after it has proven that it is this app, with keys from
//! the KMS that this contract governs, on a machine Intel calls up to date.
//!
//! ```sh
//! cargo run --example verify_peer -- app.example:443 0x<app id> 0x<KmsAuth> https://<rpc>
//! ```

use anyhow::{Context, bail};
use bylaw_sdk::{Expect, Verifier, chain, tls};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, app_id, kms_auth, rpc_url] = arguments.as_slice() else {
        bail!("usage: verify_peer <host:port> <app id> <KmsAuth> <rpc url>");
    };
    let kms_auth: [u8; 20] = hex::decode(kms_auth.trim_start_matches("0x"))?
        .try_into()
        .map_err(|_| anyhow::anyhow!("{kms_auth} is not an address"))?;
    let root = chain::fetch_kms_root(rpc_url, &kms_auth).await?;
    let verifier = Verifier::intel("https://api.trustedservices.intel.com")?;
    let expect = Expect {
        app_id: Some(app_id.parse()?),
        ..Expect::default()
    };

    let (host, _) = address.rsplit_once(':').context("host:port")?;
    let name = ServerName::try_from(host.to_owned())?;
    let stream = TcpStream::connect(address).await?;
    let (mut stream, peer) = tls::connect(stream, name, &verifier, Some(&root), &expect).await?;
    eprintln!("{:?}", peer.appraisal().compose_hash());

    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    print!("{}", String::from_utf8_lossy(&answer));
    Ok(())
}
