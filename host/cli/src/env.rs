//! `bylaw env`: environments that only the app can read.

use std::io::Read;
use std::path::{Path, PathBuf};

use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use bylaw_chain::PolicySource;
use bylaw_keys::{Environment, MAX_ENV_FILE, SealedEnv, encrypt_anonymous, verify_env_key};
use bylaw_ratls::tls::{ServerTrust, client};
use bylaw_rpc::Client;
use bylaw_rpc::message::kms::{self as message, PublicKeyResponse};
use bylaw_types::clock::Clock;
use bylaw_types::compose::{EnvVersion, Manifest};
use bylaw_types::{AppId, SignerAddress};
use clap::Subcommand;
use serde_json::json;
use zeroize::Zeroizing;

use crate::chain::{ChainArgs, SignerArgs, doubt};
use crate::compose;
use crate::kms::unreachable;
use crate::output::{Failure, Output};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Encrypt variables for an app, signed unless --anonymous is given.
    #[command(after_help = "Examples:\n  \
        bylaw env encrypt 0x… --kms https://kms.example.com:8000 --revision 7 .env --output env.sealed\n  \
        bylaw env encrypt 0x… --kms https://kms.example.com:8000 --anonymous .env --output env.sealed")]
    Encrypt(Box<Encrypt>),
    /// Show who signed an encrypted environment, and its revision.
    #[command(after_help = "Example:\n  bylaw env inspect 0x… env.sealed")]
    Inspect {
        /// The app it was made for.
        app_id: AppId,
        /// The file.
        file: PathBuf,
    },
}

#[derive(clap::Args)]
pub(crate) struct Encrypt {
    /// The app.
    app_id: AppId,
    /// Variables: lines NAME=value, or a JSON object; - is standard input.
    file: PathBuf,
    /// Address of the KMS; its key must be signed by the root that KmsAuth names.
    #[arg(long, env = "KMS_URL")]
    kms: String,
    /// Where the encrypted file goes.
    #[arg(long, short)]
    output: PathBuf,
    /// Place in the order: a guest that opened a higher one refuses it.
    #[arg(long, required_unless_present = "anonymous")]
    revision: Option<u64>,
    /// Version 1, as dstack's clients make it: anybody, the host too, could replace it.
    #[arg(long, conflicts_with = "revision")]
    anonymous: bool,
    /// Manifest to check names, version and signer against.
    #[arg(long)]
    compose: Option<PathBuf>,
    #[command(flatten)]
    chain: ChainArgs,
    #[command(flatten)]
    signer: SignerArgs,
}

pub(crate) async fn run(command: Command, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Encrypt(args) => encrypt(*args, output).await,
        Command::Inspect { app_id, file } => inspect(&app_id, &file, output),
    }
}

async fn encrypt(args: Encrypt, output: &Output) -> Result<(), Failure> {
    let environment = read_variables(&args.file)?;
    let signer = match args.anonymous {
        true => None,
        false => Some(args.signer.signer()?),
    };
    let address = signer
        .as_ref()
        .map(|signer| SignerAddress::new(signer.address().into_array()));
    if let Some(file) = &args.compose {
        check_against(compose::read(file)?.manifest(), &environment, address)?;
    }
    let recipient = env_key(&args).await?;
    let signed = signer.zip(args.revision);
    let sealed = seal(&environment, &recipient, args.app_id, signed)?;
    bylaw_types::file::write_atomic(&args.output, &sealed)
        .map_err(|error| Failure::Unusable(format!("{}: {error}", args.output.display())))?;
    let names: Vec<&str> = environment.iter().map(|(name, _)| name).collect();
    let by = address.map_or_else(|| "nobody".to_owned(), |address| format!("0x{address}"));
    output.result(
        &[
            ("written", args.output.display().to_string()),
            ("app", format!("0x{}", args.app_id)),
            ("variables", names.join(" ")),
            ("signed by", by),
        ],
        &json!({
            "file": args.output, "app_id": format!("0x{}", args.app_id), "names": names,
            "signer": address.map(|address| format!("0x{address}")), "revision": args.revision,
        }),
    );
    Ok(())
}

/// The environment as a guest opens it: signed with a place in the order, or anonymous.
pub(crate) fn seal(
    environment: &Environment,
    recipient: &[u8; 32],
    app_id: AppId,
    signed: Option<(PrivateKeySigner, u64)>,
) -> Result<Vec<u8>, Failure> {
    let sealed = match signed {
        Some((signer, revision)) => {
            let sealed =
                SealedEnv::seal(environment, recipient, app_id, revision).map_err(unusable)?;
            let signature = signer
                .sign_hash_sync(&sealed.digest().into())
                .map_err(|error| Failure::Failed(error.into()))?;
            sealed
                .with_signature(&signature.as_bytes())
                .map_err(unusable)?
        }
        None => encrypt_anonymous(recipient, &environment.to_plaintext()).map_err(unusable)?,
    };
    if sealed.len() > MAX_ENV_FILE {
        return Err(Failure::Unusable(format!(
            "the encrypted environment has {} bytes; a guest opens at most {MAX_ENV_FILE}",
            sealed.len()
        )));
    }
    Ok(sealed)
}

fn unusable(error: bylaw_keys::EnvError) -> Failure {
    Failure::Unusable(error.to_string())
}

/// What the guest would refuse or drop is better known here.
pub(crate) fn check_against(
    manifest: &Manifest,
    environment: &Environment,
    signer: Option<SignerAddress>,
) -> Result<(), Failure> {
    let rules = &manifest.encrypted_env;
    let version = match signer {
        Some(_) => EnvVersion::Signed,
        None => EnvVersion::Anonymous,
    };
    if !rules.accepts(version) {
        let number = u8::from(version);
        return Err(Failure::Denied(format!(
            "the manifest does not accept version {number} (encrypted_env.versions)"
        )));
    }
    if let Some(signer) = signer.filter(|signer| !rules.signers.contains(signer)) {
        return Err(Failure::Denied(format!(
            "0x{signer} is not a signer of the manifest (encrypted_env.signers)"
        )));
    }
    let unknown: Vec<&str> = environment
        .iter()
        .map(|(name, _)| name)
        .filter(|name| !manifest.allowed_envs.iter().any(|known| known == name))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Failure::Denied(format!(
        "the manifest does not allow {} (allowed_envs); the guest would drop it",
        unknown.join(", ")
    )))
}

/// The app's public key, signed just now by the root that `KmsAuth` names.
async fn env_key(args: &Encrypt) -> Result<[u8; 32], Failure> {
    let kms = Client::new(args.kms.trim_end_matches('/'))
        .map_err(unreachable)?
        .prpc()
        .with_tls(client(ServerTrust::FirstContact, None)?);
    let request = message::AppId {
        app_id: args.app_id.as_bytes().to_vec(),
    };
    let answer: PublicKeyResponse = kms
        .call("GetAppEnvEncryptPubKey", &request)
        .await
        .map_err(unreachable)?;
    verified(&answer, &args.app_id, &args.chain).await
}

/// The key in this answer, if the root that `KmsAuth` names signed it just now.
pub(crate) async fn verified(
    answer: &PublicKeyResponse,
    app_id: &AppId,
    chain: &ChainArgs,
) -> Result<[u8; 32], Failure> {
    let settings = chain.policy()?.kms_settings().await.map_err(doubt)?;
    let public: [u8; 32] = answer.public_key.as_slice().try_into().map_err(|_| {
        Failure::Unverified("the KMS answers a key of another length than 32 bytes".to_owned())
    })?;
    verify_env_key(
        &settings.info.k256_public,
        app_id,
        &public,
        answer.timestamp,
        &answer.signature_v1,
        Clock::system().now_unix(),
    )
    .map_err(|error| {
        Failure::Unverified(format!(
            "the key is not the app's, by the root that KmsAuth names: {error}"
        ))
    })?;
    Ok(public)
}

pub(crate) fn read_variables(file: &Path) -> Result<Environment, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::Unusable(format!("{}: {error}", file.display()));
    let mut bytes = Zeroizing::new(Vec::new());
    if file == Path::new("-") {
        std::io::stdin()
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
    } else {
        std::fs::File::open(file)
            .and_then(|mut open| open.read_to_end(&mut bytes))
            .map_err(unreadable)?;
    }
    let variables: Vec<(String, String)> = if bytes.trim_ascii_start().starts_with(b"{") {
        let object: std::collections::BTreeMap<String, String> = serde_json::from_slice(&bytes)
            .map_err(|error| {
                // The parser's own message could quote a value.
                let (line, column) = (error.line(), error.column());
                Failure::Unusable(format!(
                    "{}: not a JSON object of strings (line {line}, column {column})",
                    file.display()
                ))
            })?;
        object.into_iter().collect()
    } else {
        dotenvy::from_read_iter(&bytes[..])
            .enumerate()
            .map(|(index, item)| {
                item.map_err(|_| {
                    Failure::Unusable(format!(
                        "{}: variable {} is not NAME=value",
                        file.display(),
                        index + 1
                    ))
                })
            })
            .collect::<Result<_, _>>()?
    };
    Environment::new(variables).map_err(unusable)
}

fn inspect(app_id: &AppId, file: &Path, output: &Output) -> Result<(), Failure> {
    let bytes = std::fs::read(file)
        .map_err(|error| Failure::Unusable(format!("{}: {error}", file.display())))?;
    if !SealedEnv::is_signed(&bytes) {
        output.result(
            &[
                ("version", "1, anonymous".to_owned()),
                ("signed by", "nobody".to_owned()),
            ],
            &json!({ "version": 1 }),
        );
        return Ok(());
    }
    let (envelope, signature) = SealedEnv::parse(&bytes, app_id).map_err(unusable)?;
    let signer = envelope.signer(signature).map_err(unusable)?;
    output.result(
        &[
            ("version", "2, signed".to_owned()),
            ("revision", envelope.revision().to_string()),
            (
                "signed by",
                format!("0x{signer}, if it was made for this app"),
            ),
        ],
        &json!({
            "version": 2, "revision": envelope.revision(), "signer": format!("0x{signer}"),
        }),
    );
    Ok(())
}
