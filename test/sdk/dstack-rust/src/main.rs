//! The published Rust SDK, unmodified, against our sockets.
//!
//! Every client and every method; answers are checked for what they mean, by
//! libraries that know nothing of this project. Reads
//! `DSTACK_SIMULATOR_ENDPOINT`, `TAPPD_SIMULATOR_ENDPOINT`,
//! `APP_CONTRACT_ADDR`, and the root keys of the KMS: `KMS_ROOT_K256`
//! (compressed) and `KMS_CA_SPKI` (DER), in hex.

mod certificates;
mod evidence;
mod keys;
mod quote;
mod system;
mod tappd;

use std::process::ExitCode;

use anyhow::Result;
use dstack_sdk::dstack_client::DstackClient;
use dstack_sdk::tappd_client::TappdClient;
use system::System;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => {
            println!("sdk ok");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("sdk check failed: {failure:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let system = System::load()?;
    let (client, old) = (DstackClient::new(None), TappdClient::new(None));
    let nobody = DstackClient::new(Some("/nonexistent/dstack.sock"));
    system::refused(nobody.version(), "Failed to connect", "a missing socket").await?;
    evidence::info(&client, &system).await?;
    evidence::quotes(&client).await?;
    evidence::events(&client).await?;
    evidence::info(&client, &system).await?;
    keys::derived(&client, &system).await?;
    keys::signing(&client, &system).await?;
    certificates::issued(&client, &system).await?;
    certificates::demo(&client, &system).await?;
    tappd::info(&old, &client).await?;
    tappd::derived(&old, &client, &system).await?;
    tappd::quotes(&old).await
}
