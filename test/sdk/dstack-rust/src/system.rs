//! The system under test, as the environment describes it.

use std::future::Future;

use anyhow::{anyhow, bail, ensure, Context, Result};

/// Identities everything the agent says must lead to.
pub struct System {
    pub app_id: Vec<u8>,
    pub root_k256: Vec<u8>,
    pub ca_spki: Vec<u8>,
}

impl System {
    /// From the environment.
    pub fn load() -> Result<Self> {
        for name in ["DSTACK_SIMULATOR_ENDPOINT", "TAPPD_SIMULATOR_ENDPOINT"] {
            variable(name)?;
        }
        let system = Self {
            app_id: bytes("APP_CONTRACT_ADDR")?,
            root_k256: bytes("KMS_ROOT_K256")?,
            ca_spki: bytes("KMS_CA_SPKI")?,
        };
        equal(system.app_id.len(), 20, "bytes in APP_CONTRACT_ADDR")?;
        equal(system.root_k256.len(), 33, "bytes in KMS_ROOT_K256")?;
        Ok(system)
    }
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).map_err(|_| anyhow!("set {name}: the checks compare answers with it"))
}

fn bytes(name: &str) -> Result<Vec<u8>> {
    let text = variable(name)?;
    hex::decode(text.trim_start_matches("0x")).with_context(|| format!("{name} is not hex"))
}

/// Both are the same, or the claim fails and says how they differ.
pub fn equal<T: PartialEq<U> + std::fmt::Debug, U: std::fmt::Debug>(
    found: T,
    expected: U,
    claim: &str,
) -> Result<()> {
    ensure!(
        found == expected,
        "{claim}: found {found:?}, expected {expected:?}"
    );
    Ok(())
}

/// The call must fail, with these words somewhere in what it says.
pub async fn refused<T>(
    call: impl Future<Output = Result<T>>,
    saying: &str,
    claim: &str,
) -> Result<()> {
    let Err(error) = call.await else {
        bail!("{claim}: accepted");
    };
    // The SDK shows the agent's own words only in the error's debug form.
    let cause: &dyn std::error::Error = error.as_ref();
    let text = format!("{error:#} {cause:?}");
    ensure!(
        text.contains(saying),
        "{claim}: refused without saying '{saying}': {text}"
    );
    Ok(())
}
