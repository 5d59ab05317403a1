//! Changing the contracts: what the command line does for owners.

use std::time::Duration;

use alloy::eips::BlockNumberOrTag;
use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address, B256, Bytes};
use alloy::providers::{DynProvider, PendingTransactionBuilder, Provider, ProviderBuilder};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{SolCall, SolEvent, SolValue};
use alloy::transports::{RpcError, TransportErrorKind};
use bylaw_types::{AppId, ComposeHash, ContractAddress, DeviceId, MrAggregated, OsImageHash};

use crate::KmsInfo;
use crate::abi::{IApp, IKms};
use crate::quorum::{http_client, redact};
use crate::rpc_policy::HEAD_FOR;

const TIMEOUT: Duration = Duration::from_secs(60);

/// A transaction that did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnerError {
    /// The endpoint cannot be used.
    #[error("RPC endpoint {url}: {reason}")]
    Endpoint {
        /// Which.
        url: String,
        /// Why.
        reason: String,
    },
    /// Refused by node or contract.
    #[error("{what} failed: {reason}")]
    Transaction {
        /// What was attempted.
        what: String,
        /// Why it failed.
        reason: String,
    },
    /// The contract code in this program is damaged.
    #[error("built-in contract code is damaged: {0}")]
    Artifact(String),
}

/// An account that may change contracts.
#[derive(Debug, Clone)]
pub struct Owner {
    provider: DynProvider,
    address: Address,
}

impl Owner {
    /// The account of `signer` on the chain at `url`.
    ///
    /// # Errors
    /// [`OwnerError::Endpoint`].
    pub fn new(url: &str, signer: PrivateKeySigner) -> Result<Self, OwnerError> {
        let failed = |reason: String| OwnerError::Endpoint {
            url: redact(url),
            reason,
        };
        let parsed = url.parse().map_err(|_| failed("not a URL".to_owned()))?;
        let client = http_client(TIMEOUT).map_err(|doubt| failed(doubt.to_string()))?;
        let address = signer.address();
        let provider = ProviderBuilder::new()
            .wallet(EthereumWallet::from(signer))
            .connect_reqwest(client, parsed)
            .erased();
        Ok(Self { provider, address })
    }

    /// Address of the account.
    pub fn address(&self) -> ContractAddress {
        ContractAddress::new(self.address.into_array())
    }

    /// Deploys `AppAuth`'s implementation and `KmsAuth` behind a proxy, owned by
    /// this account; returns the address of the proxy.
    ///
    /// # Errors
    /// [`OwnerError`].
    pub async fn deploy_kms_auth(&self) -> Result<ContractAddress, OwnerError> {
        let app = self.deploy("AppAuth", artifact(APP_AUTH)?).await?;
        let kms = self.deploy("KmsAuth", artifact(KMS_AUTH)?).await?;
        let initialize = IKms::initializeCall {
            owner: self.address,
            appImplementation: app,
        }
        .abi_encode();
        let arguments = (kms, Bytes::from(initialize)).abi_encode_params();
        let code = [&artifact(PROXY)?[..], &arguments].concat();
        let proxy = self.deploy("KmsAuth proxy", code.into()).await?;
        Ok(ContractAddress::new(proxy.into_array()))
    }

    /// Creates and registers an app owned by this account.
    ///
    /// # Errors
    /// [`OwnerError`].
    pub async fn create_app(
        &self,
        kms_auth: &ContractAddress,
        compose_hash: Option<&ComposeHash>,
        device: Option<&DeviceId>,
        require_tcb_up_to_date: bool,
    ) -> Result<AppId, OwnerError> {
        let zero = [0; 32];
        let call = IKms::deployAndRegisterAppCall {
            owner: self.address,
            disableUpgrades: false,
            requireTcbUpToDate: require_tcb_up_to_date,
            allowAnyDevice: device.is_none(),
            deviceId: B256::from(device.map_or(zero, |id| id.to_bytes())),
            composeHash: B256::from(compose_hash.map_or(zero, |hash| hash.to_bytes())),
        };
        let receipt = self.send("creating the app", kms_auth, call).await?;
        receipt
            .logs()
            .iter()
            .find_map(|log| IKms::AppDeployedViaFactory::decode_log(&log.inner).ok())
            .map(|event| AppId::new(event.appId.into_array()))
            .ok_or_else(|| OwnerError::Transaction {
                what: "creating the app".to_owned(),
                reason: "the factory emitted no AppDeployedViaFactory".to_owned(),
            })
    }

    /// Adds or removes a compose hash of an app.
    ///
    /// # Errors
    /// [`OwnerError`].
    pub async fn set_compose_hash(
        &self,
        app: &AppId,
        hash: &ComposeHash,
        allowed: bool,
    ) -> Result<(), OwnerError> {
        let app = ContractAddress::new(app.to_bytes());
        let hash = B256::from(hash.to_bytes());
        if allowed {
            self.send(
                "allowing the compose hash",
                &app,
                IApp::addComposeHashCall { hash },
            )
            .await?;
        } else {
            self.send(
                "removing the compose hash",
                &app,
                IApp::removeComposeHashCall { hash },
            )
            .await?;
        }
        Ok(())
    }

    /// Adds or removes a device of an app.
    ///
    /// # Errors
    /// [`OwnerError`].
    pub async fn set_device(
        &self,
        app: &AppId,
        device: &DeviceId,
        allowed: bool,
    ) -> Result<(), OwnerError> {
        let app = ContractAddress::new(app.to_bytes());
        let device = B256::from(device.to_bytes());
        if allowed {
            self.send("allowing the device", &app, IApp::addDeviceCall { device })
                .await?;
        } else {
            self.send(
                "removing the device",
                &app,
                IApp::removeDeviceCall { device },
            )
            .await?;
        }
        Ok(())
    }

    /// Allows a KMS build.
    ///
    /// # Errors
    /// [`OwnerError`].
    pub async fn allow_kms(
        &self,
        kms_auth: &ContractAddress,
        mr: &MrAggregated,
        device: &DeviceId,
    ) -> Result<(), OwnerError> {
        let mr = B256::from(mr.to_bytes());
        let device = B256::from(device.to_bytes());
        self.send(
            "allowing the KMS build",
            kms_auth,
            IKms::addKmsAggregatedMrCall { mr },
        )
        .await?;
        self.send(
            "allowing the KMS device",
            kms_auth,
            IKms::addKmsDeviceCall { device },
        )
        .await?;
        Ok(())
    }

    /// Takes a KMS build off the list.
    ///
    /// # Errors
    /// [`OwnerError`].
    pub async fn remove_kms(
        &self,
        kms_auth: &ContractAddress,
        mr: &MrAggregated,
    ) -> Result<(), OwnerError> {
        let mr = B256::from(mr.to_bytes());
        self.send(
            "removing the KMS build",
            kms_auth,
            IKms::removeKmsAggregatedMrCall { mr },
        )
        .await?;
        Ok(())
    }

    /// Adds or removes an OS image.
    ///
    /// # Errors
    /// [`OwnerError`].
    pub async fn set_os_image(
        &self,
        kms_auth: &ContractAddress,
        hash: &OsImageHash,
        allowed: bool,
    ) -> Result<(), OwnerError> {
        let hash = B256::from(hash.to_bytes());
        if allowed {
            self.send(
                "allowing the OS image",
                kms_auth,
                IKms::addOsImageHashCall { hash },
            )
            .await?;
        } else {
            self.send(
                "removing the OS image",
                kms_auth,
                IKms::removeOsImageHashCall { hash },
            )
            .await?;
        }
        Ok(())
    }

    /// Names the root keys of the KMS.
    ///
    /// # Errors
    /// [`OwnerError`].
    pub async fn set_kms_info(
        &self,
        kms_auth: &ContractAddress,
        info: &KmsInfo,
    ) -> Result<(), OwnerError> {
        let info = IKms::KmsInfo {
            k256Pubkey: info.k256_public.clone().into(),
            caPubkey: info.ca_spki_der.clone().into(),
            quote: Bytes::new(),
            eventlog: Bytes::new(),
        };
        self.send(
            "naming the root keys",
            kms_auth,
            IKms::setKmsInfoCall { info },
        )
        .await?;
        Ok(())
    }

    /// Waits until everything mined so far is final, and a policy that asked just
    /// before has asked again.
    ///
    /// # Errors
    /// [`OwnerError`] when the chain does not get there in a minute.
    pub async fn wait_until_final(&self) -> Result<(), OwnerError> {
        let what = "waiting for finality";
        let failed = |reason: String| OwnerError::Transaction {
            what: what.to_owned(),
            reason,
        };
        let reached = async {
            let mined = self.provider.get_block_number().await?;
            loop {
                let block = self
                    .provider
                    .get_block_by_number(BlockNumberOrTag::Finalized)
                    .await?;
                if block.is_some_and(|block| block.header.inner.number >= mined) {
                    return Ok::<_, RpcError<TransportErrorKind>>(());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(TIMEOUT, reached)
            .await
            .map_err(|_| failed(format!("not within {TIMEOUT:?}")))?
            .map_err(|error| failed(error.to_string()))?;
        tokio::time::sleep(HEAD_FOR).await;
        Ok(())
    }

    async fn deploy(&self, what: &str, code: Bytes) -> Result<Address, OwnerError> {
        let transaction = TransactionRequest::default().with_deploy_code(code);
        let receipt = self
            .execute(&format!("deploying {what}"), transaction)
            .await?;
        receipt
            .contract_address
            .ok_or_else(|| OwnerError::Transaction {
                what: format!("deploying {what}"),
                reason: "the receipt names no contract".to_owned(),
            })
    }

    async fn send(
        &self,
        what: &str,
        to: &ContractAddress,
        call: impl SolCall,
    ) -> Result<TransactionReceipt, OwnerError> {
        let transaction = TransactionRequest::default()
            .with_to(Address::from(to.to_bytes()))
            .with_input(call.abi_encode());
        self.execute(what, transaction).await
    }

    async fn execute(
        &self,
        what: &str,
        transaction: TransactionRequest,
    ) -> Result<TransactionReceipt, OwnerError> {
        let failed = |reason: String| OwnerError::Transaction {
            what: what.to_owned(),
            reason,
        };
        let pending: PendingTransactionBuilder<_> = self
            .provider
            .send_transaction(transaction)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let receipt = pending
            .with_timeout(Some(TIMEOUT))
            .get_receipt()
            .await
            .map_err(|error| failed(error.to_string()))?;
        if receipt.status() {
            Ok(receipt)
        } else {
            Err(failed(format!(
                "transaction {} reverted",
                receipt.transaction_hash
            )))
        }
    }
}

const APP_AUTH: &str = include_str!("../artifacts/AppAuth.json");
const KMS_AUTH: &str = include_str!("../artifacts/KmsAuth.json");
const PROXY: &str = include_str!("../artifacts/ERC1967Proxy.json");

fn artifact(json: &str) -> Result<Bytes, OwnerError> {
    #[derive(serde::Deserialize)]
    struct Artifact {
        bytecode: Bytes,
    }
    serde_json::from_str::<Artifact>(json)
        .map(|artifact| artifact.bytecode)
        .map_err(|error| OwnerError::Artifact(error.to_string()))
}
