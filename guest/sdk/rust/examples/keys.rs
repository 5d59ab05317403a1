//! Inside a VM: a key that is this app's for good, and an Ethereum account from it.

use bylaw_sdk::{Client, account};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::new()?;
    let key = client
        .get_key("wallet/main", "mainnet", "secp256k1")
        .await?;
    println!("{}", account::ethereum(&key)?.address);
    Ok(())
}
