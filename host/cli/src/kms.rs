//! `bylaw kms`: look at a KMS.

use bylaw_attest::Mode;
use bylaw_chain::{Decision, PolicySource};
use bylaw_ratls::tls::{ServerTrust, client};
use bylaw_ratls::{RaTlsCert, verify_attested};
use bylaw_rpc::message::kms::GetMetaResponse;
use bylaw_rpc::{Client, ClientError, Empty};
use clap::Subcommand;
use serde_json::json;

use crate::chain::{ChainArgs, doubt};
use crate::evidence::TrustArgs;
use crate::output::{Failure, Output};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Verify a KMS and compare it with what KmsAuth says.
    #[command(after_help = "Example:\n  bylaw kms status https://kms.example.com:8000")]
    Status {
        /// Address of the KMS.
        #[arg(env = "KMS_URL")]
        url: String,
        #[command(flatten)]
        trust: TrustArgs,
        #[command(flatten)]
        chain: ChainArgs,
    },
}

pub(crate) fn unreachable(error: ClientError) -> Failure {
    match error {
        ClientError::Address { .. } => Failure::Unusable(error.to_string()),
        ClientError::Refused { .. } => Failure::Failed(error.into()),
        _ => Failure::Unreachable(error.to_string()),
    }
}

pub(crate) async fn run(command: Command, output: &Output) -> Result<(), Failure> {
    let Command::Status { url, trust, chain } = command;
    let client = Client::new(url.trim_end_matches('/'))
        .map_err(unreachable)?
        .prpc()
        .with_tls(client(ServerTrust::FirstContact, None)?);
    let mut connection = client.connect().await.map_err(unreachable)?;
    let der = connection
        .peer_certificates()
        .first()
        .ok_or_else(|| Failure::Unverified("the KMS presents no certificate".to_owned()))?;
    let cert = RaTlsCert::parse(der)?;
    let attested = verify_attested(cert, &trust.verifier()?)
        .await
        .map_err(|error| Failure::Unverified(format!("the KMS is not attested: {error}")))?;
    let meta: GetMetaResponse = connection
        .call("GetMeta", &Empty {})
        .await
        .map_err(unreachable)?;

    let policy = chain.policy()?;
    let settings = policy.kms_settings().await.map_err(doubt)?;
    let who = attested
        .appraisal()
        .identify(Mode::Full, None)
        .map_err(|error| Failure::Unverified(error.to_string()))?;
    let decision = policy.decide_kms(who.clone()).await.map_err(doubt)?;
    let named = settings.info.k256_public == meta.k256_pubkey;
    let (is_allowed, verdict) = match &decision {
        Decision::Allow(_) => (true, "allowed to serve".to_owned()),
        Decision::Deny(denial) => (false, denial.to_string()),
    };
    let anchors = attested.appraisal().anchors();
    output.result(
        &[
            ("kms", url.clone()),
            (
                "attested",
                format!("{} {}", who.tee_variant, who.tcb_status),
            ),
            ("anchors", anchors.to_string()),
            ("root key", hex::encode(&meta.k256_pubkey)),
            (
                "on chain",
                if named {
                    "the same"
                } else {
                    "ANOTHER ROOT KEY"
                }
                .to_owned(),
            ),
            ("KmsAuth", verdict.clone()),
            ("block", settings.block.number.to_string()),
        ],
        &json!({
            "url": url, "boot_info": who, "trust_anchors": anchors, "allowed": is_allowed,
            "verdict": verdict, "k256_pubkey": hex::encode(&meta.k256_pubkey),
            "root_key_is_on_chain": named, "block": settings.block,
        }),
    );
    if !named {
        return Err(Failure::Unverified(
            "KmsAuth names another root key".to_owned(),
        ));
    }
    if is_allowed {
        Ok(())
    } else {
        Err(Failure::Denied(verdict))
    }
}
