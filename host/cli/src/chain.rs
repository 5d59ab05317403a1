//! Reaching the contracts: shared options of every command that needs them.

use std::path::PathBuf;
use std::time::Duration;

use alloy::signers::local::PrivateKeySigner;
use bylaw_chain::contracts::Owner;
use bylaw_chain::{Doubt, Finality, RpcConfig, RpcPolicy};
use bylaw_types::clock::Clock;
use bylaw_types::{ChainId, ContractAddress};
use clap::Args;

use crate::output::Failure;

/// Where the contracts are.
#[derive(Args, Debug, Clone)]
pub(crate) struct ChainArgs {
    /// JSON-RPC endpoint; repeat it, or separate by commas.
    #[arg(long, env = "ETH_RPC_URL", value_delimiter = ',')]
    pub(crate) rpc_url: Vec<String>,
    /// How many endpoints must agree; default all.
    #[arg(long)]
    agreement: Option<usize>,
    /// Address of KmsAuth.
    #[arg(long, env = "KMS_CONTRACT_ADDR")]
    kms_contract: Option<ContractAddress>,
    /// EIP-155 chain id.
    #[arg(long, env = "ETH_CHAIN_ID", default_value_t = 31337)]
    chain_id: u64,
    /// Decide this many blocks below the head, for chains without finality.
    #[arg(long)]
    confirmations: Option<u64>,
}

impl ChainArgs {
    pub(crate) fn kms_auth(&self) -> Result<ContractAddress, Failure> {
        self.kms_contract.ok_or_else(|| {
            Failure::Unusable("name KmsAuth with --kms-contract or KMS_CONTRACT_ADDR".to_owned())
        })
    }

    fn urls(&self) -> Result<&[String], Failure> {
        if self.rpc_url.is_empty() {
            return Err(Failure::Unusable(
                "name an endpoint with --rpc-url or ETH_RPC_URL".to_owned(),
            ));
        }
        Ok(&self.rpc_url)
    }

    pub(crate) fn policy(&self) -> Result<RpcPolicy, Failure> {
        let urls = self.urls()?.to_vec();
        let config = RpcConfig {
            agreement: self.agreement.unwrap_or(urls.len()),
            urls,
            chain_id: ChainId(self.chain_id),
            kms_auth: self.kms_auth()?,
            finality: self
                .confirmations
                .map_or(Finality::Finalized, Finality::Confirmations),
            max_head_age: Duration::from_secs(30 * 60),
            timeout: Duration::from_secs(10),
        };
        RpcPolicy::new(config, Clock::system()).map_err(doubt)
    }

    pub(crate) fn owner(&self, signer: &SignerArgs) -> Result<Owner, Failure> {
        let url = self.urls()?.first().cloned().unwrap_or_default();
        Owner::new(&url, signer.signer()?).map_err(|error| Failure::Unusable(error.to_string()))
    }
}

/// A doubt is unreachable or a failure, never a denial.
pub(crate) fn doubt(doubt: Doubt) -> Failure {
    let text = doubt.to_string();
    match doubt {
        Doubt::Unreachable { .. } | Doubt::Timeout { .. } | Doubt::TooFew { .. } => {
            Failure::Unreachable(text)
        }
        Doubt::Configuration { .. } => Failure::Unusable(text),
        _ => Failure::Failed(anyhow::anyhow!(text)),
    }
}

/// Who signs transactions.
#[derive(Args, Debug, Clone)]
pub(crate) struct SignerArgs {
    /// File with the private key, hex; must not be readable by others.
    #[arg(long, env = "ETH_PRIVATE_KEY_FILE")]
    private_key_file: Option<PathBuf>,
}

impl SignerArgs {
    /// From a file, or from `PRIVATE_KEY`; never from the command line.
    fn signer(&self) -> Result<PrivateKeySigner, Failure> {
        use std::os::unix::fs::PermissionsExt;
        let text = match &self.private_key_file {
            Some(path) => {
                let unusable = |reason: String| {
                    Failure::Unusable(format!("--private-key-file {}: {reason}", path.display()))
                };
                let metadata =
                    std::fs::metadata(path).map_err(|error| unusable(error.to_string()))?;
                if metadata.permissions().mode() & 0o077 != 0 {
                    return Err(unusable(
                        "it is readable by others; chmod 600 it".to_owned(),
                    ));
                }
                std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?
            }
            None => std::env::var("PRIVATE_KEY").map_err(|_| {
                Failure::Unusable(
                    "name a signer with --private-key-file, ETH_PRIVATE_KEY_FILE or PRIVATE_KEY"
                        .to_owned(),
                )
            })?,
        };
        text.trim()
            .parse()
            .map_err(|_| Failure::Unusable("the private key is not 32 bytes of hex".to_owned()))
    }
}
