//! Governing a world: a real Safe, and the command line as its owners use it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address, Bytes, U256};
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{Eip712Domain, SolCall, SolStruct, SolValue};
use anyhow::{Context, bail};
use bylaw_types::{AppId, ComposeHash, ContractAddress};
use serde_json::Value;

use crate::process::{program, repository};
use crate::world::World;

/// Keys of anvil's accounts; public, worth nothing. The first owns every world.
const KEYS: [&str; 6] = [
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    "0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
    "0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
];
/// Password of every keystore.
const PASSWORD: &str = "correct horse";

/// A Safe and its owners' keystores.
#[derive(Debug)]
pub struct Safe {
    /// Where it is.
    pub address: Address,
    /// Encrypted keys of its owners.
    pub keystores: Vec<PathBuf>,
}

impl World {
    /// The encrypted key of account `index`, as a person keeps it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keystore(&self, index: usize) -> anyhow::Result<PathBuf> {
        let directory = self.directory().join("keys");
        std::fs::create_dir_all(&directory)?;
        let password = directory.join("password");
        bylaw_types::file::write_private(&password, PASSWORD.as_bytes())?;
        let name = format!("account-{index}.json");
        let path = directory.join(&name);
        if !path.exists() {
            let output = Command::new(program("cast")?)
                .args(["wallet", "import", &name, "--private-key", KEYS[index]])
                .arg("--keystore-dir")
                .arg(&directory)
                .args(["--unsafe-password", PASSWORD])
                .output()?;
            if !path.exists() {
                bail!("no keystore: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
        Ok(path)
    }

    /// Address of account `index`.
    ///
    /// # Panics
    /// Never: the keys above are keys.
    pub fn account(&self, index: usize) -> Address {
        let signer: Result<PrivateKeySigner, _> = KEYS[index].parse();
        signer.map_or(Address::ZERO, |signer| signer.address())
    }

    /// A 2-of-3 Safe of accounts 1, 2 and 3, from Safe's own contracts.
    ///
    /// # Errors
    /// With what forge said.
    pub fn deploy_safe(&self) -> anyhow::Result<Safe> {
        let owners: Vec<String> = (1..=3)
            .map(|index| self.account(index).to_string())
            .collect();
        let output = Command::new(program("forge")?)
            .current_dir(repository())
            .env("PRIVATE_KEY", KEYS[0])
            .env("SAFE_OWNERS", owners.join(","))
            .env("SAFE_THRESHOLD", "2")
            .args([
                "script",
                "script/Safe.s.sol:DeploySafe",
                "--broadcast",
                "--slow",
            ])
            .args(["--rpc-url", &self.rpc_url])
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let address = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("Safe: "))
            .and_then(|address| address.trim().parse().ok())
            .with_context(|| {
                format!(
                    "no Safe:\n{text}\n{}",
                    String::from_utf8_lossy(&output.stderr)
                )
            })?;
        let keystores = (1..=3)
            .map(|index| self.keystore(index))
            .collect::<Result<_, _>>()?;
        Ok(Safe { address, keystores })
    }
}

/// Runs `bylaw --json` on a world; what it printed, or what it complained about.
///
/// # Errors
/// Its exit code and its message.
pub fn cli(world: &World, arguments: &[&str]) -> anyhow::Result<Value> {
    run(world, None, arguments)
}

/// The same with a keystore.
///
/// # Errors
/// Its exit code and its message.
pub fn cli_as(world: &World, keystore: &Path, arguments: &[&str]) -> anyhow::Result<Value> {
    run(world, Some(keystore), arguments)
}

/// `bylaw --json` in a world, with its contracts and maybe a signer; arguments follow.
///
/// # Errors
/// When it was not built.
pub fn cli_command(world: &World, keystore: Option<&Path>) -> anyhow::Result<Command> {
    let mut command = Command::new(program("bylaw")?);
    command
        .arg("--json")
        .current_dir(world.directory())
        .env("ETH_RPC_URL", &world.rpc_url)
        .env("ETH_CHAIN_ID", "31337")
        .env("KMS_CONTRACT_ADDR", format!("0x{}", world.kms_auth))
        .env_remove("PRIVATE_KEY");
    if let Some(keystore) = keystore {
        let password = keystore.with_file_name("password");
        command
            .env("ETH_KEYSTORE", keystore)
            .env("ETH_PASSWORD", password);
    }
    Ok(command)
}

fn run(world: &World, keystore: Option<&Path>, arguments: &[&str]) -> anyhow::Result<Value> {
    let mut command = cli_command(world, keystore)?;
    command.args(arguments);
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!(
            "bylaw {} exited with {}: {}{text}",
            arguments.join(" "),
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))
}

alloy::sol! {
    /// The worked example of an app contract that CI systems decide for.
    struct BuildAttestation {
        bytes32 composeHash;
        bytes32 sourceCommit;
        uint64 notBefore;
        uint64 notAfter;
    }

    function attest(BuildAttestation attestation, address[] signers, bytes[] signatures);
    function registerApp(address appId);
    function initialize(address owner, address appImplementation);
}

/// Creation code of contracts that speak dstack's interface and nothing more.
const DSTACK_KMS: &str = include_str!("../../vectors/contracts/dstack-abi-kms.json");
const DSTACK_APP: &str = include_str!("../../vectors/contracts/dstack-abi-app.json");
const PROXY: &str = include_str!("../../../crates/chain/artifacts/ERC1967Proxy.json");

fn creation_code(artifact: &str) -> anyhow::Result<Vec<u8>> {
    let value: Value = serde_json::from_str(artifact)?;
    let code = value["bytecode"].as_str().context("no bytecode")?;
    Ok(hex::decode(code.trim_start_matches("0x"))?)
}

impl World {
    async fn send(&self, transaction: TransactionRequest) -> anyhow::Result<TransactionReceipt> {
        let signer: PrivateKeySigner = KEYS[0].parse()?;
        let provider = ProviderBuilder::new()
            .wallet(EthereumWallet::from(signer))
            .connect_reqwest(
                bylaw_chain::http_client(Duration::from_secs(30))?,
                self.rpc_url.parse()?,
            );
        let receipt = provider
            .send_transaction(transaction)
            .await?
            .get_receipt()
            .await?;
        if !receipt.status() {
            bail!("reverted: {receipt:?}");
        }
        Ok(receipt)
    }

    async fn deploy(&self, code: Vec<u8>) -> anyhow::Result<Address> {
        let transaction = TransactionRequest::default().with_deploy_code(code);
        let receipt = self.send(transaction).await?;
        receipt.contract_address.context("no contract")
    }

    async fn call(&self, to: Address, data: Vec<u8>) -> anyhow::Result<()> {
        let transaction = TransactionRequest::default().with_to(to).with_input(data);
        self.send(transaction).await.map(drop)
    }

    pub(crate) async fn deploy_dstack_contracts(&self) -> anyhow::Result<ContractAddress> {
        let app = self.deploy(creation_code(DSTACK_APP)?).await?;
        let kms = self.deploy(creation_code(DSTACK_KMS)?).await?;
        let initialize = initializeCall {
            owner: self.account(0),
            appImplementation: app,
        };
        let arguments = (kms, Bytes::from(initialize.abi_encode())).abi_encode_params();
        let proxy = self
            .deploy([creation_code(PROXY)?, arguments].concat())
            .await?;
        Ok(ContractAddress::new(proxy.into_array()))
    }

    /// Compiles and deploys a contract of this repository; account 0 pays.
    fn create(&self, contract: &str, arguments: &[&str]) -> anyhow::Result<Address> {
        let output = Command::new(program("forge")?)
            .current_dir(repository())
            .args([
                "create",
                contract,
                "--broadcast",
                "--rpc-url",
                &self.rpc_url,
            ])
            .args(["--private-key", KEYS[0]])
            .arg("--constructor-args")
            .args(arguments)
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines()
            .find_map(|line| line.strip_prefix("Deployed to: "))
            .and_then(|address| address.trim().parse().ok())
            .with_context(|| format!("{text}{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// OpenZeppelin's timelock; account 0 proposes and carries out.
    ///
    /// # Errors
    /// With what forge said.
    pub fn deploy_timelock(&self, delay: u64) -> anyhow::Result<Address> {
        let account = format!("[{}]", self.account(0));
        let nobody = Address::ZERO.to_string();
        self.create(
            "node_modules/@openzeppelin/contracts/governance/TimelockController.sol:TimelockController",
            &[&delay.to_string(), &account, &account, &nobody],
        )
    }

    /// The worked example of an app's own contract: account 1 attests builds.
    ///
    /// # Errors
    /// With what failed.
    pub async fn deploy_custom_app(&self) -> anyhow::Result<AppId> {
        let signers = format!("[{}]", self.account(1));
        let app = self.create(
            "contracts/examples/CiAttestedApp.sol:CiAttestedApp",
            &[&signers, "1"],
        )?;
        let kms = Address::from(self.kms_auth.to_bytes());
        self.call(kms, registerAppCall { appId: app }.abi_encode())
            .await?;
        Ok(AppId::new(app.into_array()))
    }

    /// Attests a build to such a contract.
    ///
    /// # Errors
    /// With what failed.
    pub async fn attest_build(&self, app: &AppId, hash: &ComposeHash) -> anyhow::Result<()> {
        let contract = Address::from(app.to_bytes());
        let attestation = BuildAttestation {
            composeHash: hash.to_bytes().into(),
            sourceCommit: [1; 32].into(),
            notBefore: 0,
            notAfter: u64::MAX,
        };
        let domain = Eip712Domain::new(
            Some("CiAttestedApp".into()),
            Some("1".into()),
            Some(U256::from(31337)),
            Some(contract),
            None,
        );
        let signer: PrivateKeySigner = KEYS[1].parse()?;
        let signature = signer.sign_hash_sync(&attestation.eip712_signing_hash(&domain))?;
        let call = attestCall {
            attestation,
            signers: vec![signer.address()],
            signatures: vec![signature.as_bytes().to_vec().into()],
        };
        self.call(contract, call.abi_encode()).await
    }
}
