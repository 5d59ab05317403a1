//! A KMS that proved what it is, and the way back to it.
//!
//! The guest does not talk to just any KMS: its TLS certificate must carry evidence
//! that verifies and is bound to its key, the contract must allow what the evidence
//! shows, and the root key must be the one that `KmsAuth` names. Every later
//! connection must show the same attested key.

use std::sync::{Arc, Mutex, PoisonError};

use bylaw_attest::{Mode, Verifier};
use bylaw_chain::{Decision, KmsInfo, PolicySource};
use bylaw_ratls::tls::{Identity, ServerTrust, client};
use bylaw_ratls::{Cert, CertError, RaTlsCert, USAGE_KMS, verify_attested};
use bylaw_rpc::message::kms::GetTempCaCertResponse;
use bylaw_rpc::{Client, ClientError, Connection, Empty, Message};
use bylaw_types::AppId;
use bylaw_types::clock::Clock;
use bylaw_types::compose::Manifest;

use crate::handshake::HandshakeError;

/// Everything a guest holds a KMS against.
#[derive(Debug)]
pub struct Expectations {
    /// Verifies the KMS's evidence.
    pub verifier: Verifier,
    /// Names its root keys.
    pub policy: Arc<dyn PolicySource>,
    /// May insist on contract and provider.
    pub manifest: Manifest,
    /// This app.
    pub app_id: AppId,
}

/// The way back to an attested KMS.
#[derive(Debug, Clone)]
pub struct KmsLink {
    url: String,
    client: Client,
    trust: ServerTrust,
}

/// What a KMS said and proved at first contact.
#[derive(Debug)]
pub struct Introduction {
    /// The way back.
    pub link: KmsLink,
    /// Its root CA and temporary CA.
    pub meta: GetTempCaCertResponse,
    /// The roots that the contract names.
    pub info: KmsInfo,
    /// DER SubjectPublicKeyInfo of its root CA, which is the contract's.
    pub root_spki_der: Vec<u8>,
}

impl KmsLink {
    /// Has the KMS at `url` prove what it is.
    ///
    /// # Errors
    /// [`HandshakeError`] says what it could not prove.
    pub async fn establish(
        url: &str,
        expected: &Expectations,
    ) -> Result<Introduction, HandshakeError> {
        let client_of = Client::new(url.trim_end_matches('/'))?.prpc();
        let mut first = client_of
            .clone()
            .with_tls(client(ServerTrust::FirstContact, None)?)
            .connect()
            .await?;
        let attested_key = check_kms(&first, expected).await?;
        let meta: GetTempCaCertResponse = first.call("GetTempCaCert", &Empty {}).await?;
        let root = Cert::from_pem(&meta.ca_cert)?;
        let info = expected.policy.kms_settings().await?.info;
        let root_spki_der = check_root(&root, &info, &expected.manifest)?;
        let trust = ServerTrust::Pinned {
            spki_der: attested_key,
            ca: root.der,
            usage: USAGE_KMS,
        };
        let link = Self {
            url: url.to_owned(),
            client: client_of,
            trust,
        };
        Ok(Introduction {
            link,
            meta,
            info,
            root_spki_der,
        })
    }

    /// A connection to the same attested key.
    ///
    /// # Errors
    /// [`HandshakeError::Kms`].
    pub async fn connect(
        &self,
        identity: Option<Identity<'_>>,
    ) -> Result<Connection, HandshakeError> {
        let tls = client(self.trust.clone(), identity)?;
        Ok(self.client.clone().with_tls(tls).connect().await?)
    }
}

/// Evidence in the TLS certificate, bound to its key, of a build that the contract allows.
async fn check_kms(
    connection: &Connection,
    expected: &Expectations,
) -> Result<Vec<u8>, HandshakeError> {
    let der = connection
        .peer_certificates()
        .first()
        .ok_or_else(|| CertError::Malformed("the KMS presents none".to_owned()))?;
    let attested = verify_attested(RaTlsCert::parse(der)?, &expected.verifier).await?;
    let boot_info = attested.appraisal().identify(Mode::Full, None)?;
    match expected.policy.decide_kms(boot_info).await? {
        Decision::Allow(_) => Ok(attested.spki_der().to_vec()),
        Decision::Deny(denial) => Err(HandshakeError::Denied(Box::new(denial))),
    }
}

/// The root CA key must be the one on chain, and the one the app pins, compared whole.
fn check_root(root: &Cert, info: &KmsInfo, manifest: &Manifest) -> Result<Vec<u8>, HandshakeError> {
    let spki = RaTlsCert::parse(&root.der)?.spki_der;
    let received = hex::encode(&spki);
    let pinned = manifest.key_provider_id.to_ascii_lowercase();
    let on_chain = hex::encode(&info.ca_spki_der);
    let mut expectations = vec![("KmsAuth", on_chain)];
    if !pinned.is_empty() {
        expectations.push(("app-compose.json", pinned));
    }
    for (source_of_truth, expected) in expectations {
        if expected != received {
            return Err(HandshakeError::OtherRoot {
                source_of_truth,
                expected,
                received,
            });
        }
    }
    Ok(spki)
}

/// How the last call went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Which node.
    pub url: String,
    /// Unix seconds.
    pub at: u64,
    /// Why it failed.
    pub failure: Option<String>,
}

/// The nodes of the KMS that gave the app its keys, for everything that comes later.
#[derive(Debug)]
pub struct KmsPool {
    urls: Vec<String>,
    expected: Expectations,
    /// Root CA key of the KMS that gave the keys: every node must have it.
    root_spki_der: Vec<u8>,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    link: Option<KmsLink>,
    last: Option<Contact>,
}

impl KmsPool {
    /// The nodes at `urls`; `link` leads to the one that answered.
    pub fn new(
        urls: Vec<String>,
        expected: Expectations,
        root_spki_der: Vec<u8>,
        link: Option<KmsLink>,
        clock: Clock,
    ) -> Self {
        let last = link.as_ref().map(|link| Contact {
            url: link.url.clone(),
            at: clock.now_unix(),
            failure: None,
        });
        Self {
            urls,
            expected,
            root_spki_der,
            clock,
            state: Mutex::new(State { link, last }),
        }
    }

    /// How the last call went; `None` before the first.
    pub fn last_contact(&self) -> Option<Contact> {
        self.lock().last.clone()
    }

    /// Calls the node that answered last, else the first that proves what it is.
    ///
    /// # Errors
    /// A refusal at once; otherwise why the last node could not be asked.
    pub async fn call<Req: Message, Res: Message>(
        &self,
        method: &str,
        request: &Req,
    ) -> Result<Res, HandshakeError> {
        let known = self.lock().link.clone();
        if let Some(link) = known {
            match self.ask(&link, method, request).await {
                Err(error) if is_about_the_node(&error) => {
                    tracing::warn!(kms = link.url, %error, "this KMS does not answer any more");
                    self.lock().link = None;
                }
                answer => return answer,
            }
        }
        let mut last = HandshakeError::NoKms;
        for url in &self.urls {
            let link = match self.establish(url).await {
                Ok(link) => link,
                Err(error) => {
                    self.note(url, Some(&error));
                    tracing::warn!(kms = url, %error, "this KMS is of no use");
                    last = error;
                    continue;
                }
            };
            match self.ask(&link, method, request).await {
                Err(error) if is_about_the_node(&error) => last = error,
                answer => {
                    self.lock().link = Some(link);
                    return answer;
                }
            }
        }
        Err(last)
    }

    async fn establish(&self, url: &str) -> Result<KmsLink, HandshakeError> {
        let introduction = KmsLink::establish(url, &self.expected).await?;
        if introduction.root_spki_der != self.root_spki_der {
            return Err(HandshakeError::OtherRoot {
                source_of_truth: "the KMS that gave the keys",
                expected: hex::encode(&self.root_spki_der),
                received: hex::encode(introduction.root_spki_der),
            });
        }
        Ok(introduction.link)
    }

    async fn ask<Req: Message, Res: Message>(
        &self,
        link: &KmsLink,
        method: &str,
        request: &Req,
    ) -> Result<Res, HandshakeError> {
        let answer = async { Ok(link.connect(None).await?.call(method, request).await?) }.await;
        self.note(&link.url, answer.as_ref().err());
        answer
    }

    fn note(&self, url: &str, failure: Option<&HandshakeError>) {
        self.lock().last = Some(Contact {
            url: url.to_owned(),
            at: self.clock.now_unix(),
            failure: failure.map(ToString::to_string),
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Another node may do better; a refusal would be the same everywhere.
fn is_about_the_node(error: &HandshakeError) -> bool {
    !matches!(
        error,
        HandshakeError::Kms(ClientError::Refused { .. } | ClientError::Address { .. })
    )
}
