//! Variables that only the app reads: taken from a file, sealed to the app's key.

use std::path::PathBuf;

use alloy::signers::local::PrivateKeySigner;
use bylaw_keys::Environment;
use bylaw_types::clock::Clock;
use bylaw_types::{AppCompose, AppId, SignerAddress};

use super::manifest::EnvRules;
use crate::chain::{ChainArgs, read_secret};
use crate::env;
use crate::output::Failure;
use crate::vmm::Vmm;

#[derive(clap::Args, Clone)]
pub(crate) struct EnvArgs {
    /// Variables for the app, lines NAME=value; only the app reads them.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// File with the private key that signs them, so that the host cannot exchange them.
    #[arg(long, value_name = "KEYFILE", requires = "env_file")]
    sign_env: Option<PathBuf>,
    /// Place in the order of signed environments; the time by default.
    #[arg(long, requires = "sign_env")]
    env_revision: Option<u64>,
}

/// Variables, and who signs them.
pub(crate) struct Variables {
    environment: Environment,
    signer: Option<PrivateKeySigner>,
    revision: u64,
}

impl EnvArgs {
    /// None when there are no variables.
    pub(crate) fn read(&self) -> Result<Option<Variables>, Failure> {
        let Some(file) = &self.env_file else {
            return Ok(None);
        };
        let signer = match &self.sign_env {
            None => None,
            Some(file) => Some(
                read_secret("--sign-env", file)?
                    .trim()
                    .parse::<PrivateKeySigner>()
                    .map_err(|_| {
                        Failure::Unusable("--sign-env: the key is not 32 bytes of hex".to_owned())
                    })?,
            ),
        };
        Ok(Some(Variables {
            environment: env::read_variables(file)?,
            signer,
            revision: self
                .env_revision
                .unwrap_or_else(|| Clock::system().now_unix()),
        }))
    }
}

impl Variables {
    fn signer(&self) -> Option<SignerAddress> {
        let signer = self.signer.as_ref()?;
        Some(SignerAddress::new(signer.address().into_array()))
    }

    /// What a manifest must say for these to be opened.
    pub(crate) fn rules(&self) -> EnvRules {
        EnvRules {
            names: self
                .environment
                .iter()
                .map(|(name, _)| name.to_owned())
                .collect(),
            signer: self.signer(),
        }
    }

    /// Whether a finished manifest opens these.
    pub(crate) fn check(&self, compose: &AppCompose) -> Result<(), Failure> {
        env::check_against(compose.manifest(), &self.environment, self.signer())
    }

    pub(crate) fn describe(&self) -> String {
        let names = self.rules().names.join(" ");
        match self.signer() {
            Some(signer) => format!("{names}, signed by 0x{signer}"),
            None => format!("{names}, anonymous: the host could exchange them"),
        }
    }

    /// Sealed to the app's key, which must be signed by the root that `KmsAuth` names:
    /// neither the VMM nor a KMS of the host's is believed.
    pub(crate) async fn seal(
        self,
        vmm: &Vmm,
        app: &AppId,
        chain: &ChainArgs,
    ) -> Result<Vec<u8>, Failure> {
        let answer = vmm.env_key(app.as_bytes()).await?;
        let key = env::verified(&answer, app, chain).await?;
        let signed = self.signer.zip(Some(self.revision));
        env::seal(&self.environment, &key, *app, signed)
    }
}
