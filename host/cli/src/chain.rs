//! Reaching the contracts: shared options of every command that needs them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy::primitives::Address;
use alloy::signers::local::PrivateKeySigner;
use bylaw_chain::contracts::Owner;
use bylaw_chain::{Doubt, Finality, RpcConfig, RpcPolicy};
use bylaw_types::clock::Clock;
use bylaw_types::compose::Governance;
use bylaw_types::{ChainId, ContractAddress};
use clap::Args;
use zeroize::Zeroizing;

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

    /// Whether both the chain and `KmsAuth` are named.
    pub(crate) fn is_known(&self) -> bool {
        !self.rpc_url.is_empty() && self.kms_contract.is_some()
    }

    /// Whether decisions are taken some blocks below the head, rather than when final.
    pub(crate) fn decides_on_head(&self) -> bool {
        self.confirmations.is_some()
    }

    pub(crate) fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// What a manifest can insist on, where `KmsAuth` is named.
    pub(crate) fn governance(&self) -> Option<Governance> {
        self.kms_contract.map(|kms_auth| Governance {
            chain_id: ChainId(self.chain_id),
            kms_auth,
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

    /// The chain, for looking and proposing: one endpoint, its newest block.
    pub(crate) async fn connect(&self) -> Result<bylaw_gov::Chain, Failure> {
        let url = self.urls()?.first().cloned().unwrap_or_default();
        let client = bylaw_chain::http_client(Duration::from_secs(20)).map_err(doubt)?;
        Ok(bylaw_gov::Chain::connect(&url, client, self.chain_id).await?)
    }

    /// `KmsAuth`, as alloy names it.
    pub(crate) fn kms_address(&self) -> Result<Address, Failure> {
        Ok(Address::from(self.kms_auth()?.to_bytes()))
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

/// Who signs.
#[derive(Args, Debug, Clone)]
pub(crate) struct SignerArgs {
    /// Encrypted JSON keystore.
    #[arg(long, env = "ETH_KEYSTORE", conflicts_with = "private_key_file")]
    keystore: Option<PathBuf>,
    /// File with the keystore's password; asked for on the terminal otherwise.
    #[arg(long, env = "ETH_PASSWORD", requires = "keystore")]
    password_file: Option<PathBuf>,
    /// File with the private key, hex; must not be readable by others.
    #[arg(long, env = "ETH_PRIVATE_KEY_FILE")]
    private_key_file: Option<PathBuf>,
}

impl SignerArgs {
    /// From a keystore, a file, or `PRIVATE_KEY`; never from the command line.
    pub(crate) fn signer(&self) -> Result<PrivateKeySigner, Failure> {
        if let Some(keystore) = &self.keystore {
            return self.unlock(keystore);
        }
        let text = match &self.private_key_file {
            Some(path) => read_secret("--private-key-file", path)?,
            None => Zeroizing::new(std::env::var("PRIVATE_KEY").map_err(|_| {
                Failure::Unusable(
                    "name a signer with --keystore, --private-key-file or PRIVATE_KEY".to_owned(),
                )
            })?),
        };
        text.trim()
            .parse()
            .map_err(|_| Failure::Unusable("the private key is not 32 bytes of hex".to_owned()))
    }

    fn unlock(&self, keystore: &Path) -> Result<PrivateKeySigner, Failure> {
        let password = match &self.password_file {
            Some(path) => read_secret("--password-file", path)?,
            None => {
                let prompt = format!("Password of {}: ", keystore.display());
                Zeroizing::new(rpassword::prompt_password(prompt).map_err(|error| {
                    Failure::Unusable(format!(
                        "no terminal to ask for the password: {error}; give --password-file"
                    ))
                })?)
            }
        };
        let password = password.trim_end_matches(['\n', '\r']);
        PrivateKeySigner::decrypt_keystore(keystore, password).map_err(|error| {
            Failure::Unusable(format!("--keystore {}: {error}", keystore.display()))
        })
    }
}

/// A file that only its owner may read.
pub(crate) fn read_secret(option: &str, path: &Path) -> Result<Zeroizing<String>, Failure> {
    use std::os::unix::fs::PermissionsExt;
    let unusable =
        |reason: String| Failure::Unusable(format!("{option} {}: {reason}", path.display()));
    let metadata = std::fs::metadata(path).map_err(|error| unusable(error.to_string()))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(unusable(
            "it is readable by others; chmod 600 it".to_owned(),
        ));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
    Ok(Zeroizing::new(text))
}
