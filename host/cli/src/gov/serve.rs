//! `bylaw gov serve`: a page to look at. Reads only; holds no key.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256};
use axum::extract::{Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bylaw_gov::{At, Chain, Event, Proposal, diff};
use clap::Args as ClapArgs;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::library::Library;
use crate::chain::ChainArgs;
use crate::output::{Failure, Output};

/// How long a picture of the chain is shown before it is taken again.
const FRESH: Duration = Duration::from_secs(2);
/// Most apps on the page; name them where there are more.
const MAX_APPS: usize = 200;
/// Nothing but what is served here, and nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'";

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8092")]
    listen: SocketAddr,
    /// Apps to show; every registered one otherwise.
    #[arg(long)]
    app: Vec<Address>,
    /// First block to read events from.
    #[arg(long, default_value_t = 0)]
    from_block: u64,
    /// Directory of proposals, to show who signed.
    #[arg(long)]
    proposals: Option<PathBuf>,
    /// Directory of manifests, to show what changes.
    #[arg(long)]
    composes: Option<PathBuf>,
    #[command(flatten)]
    chain: ChainArgs,
}

struct Page {
    args: Args,
    chain: Chain,
    kms: Address,
    /// The last picture, and when it was taken.
    last: Mutex<Option<(Instant, Arc<Value>)>>,
    /// Events up to a block, so that only new ones are asked for.
    events: Mutex<Vec<(Address, u64, Vec<Event>)>>,
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let chain = args.chain.connect().await?;
    let kms = args.chain.kms_address()?;
    let listener = tokio::net::TcpListener::bind(args.listen)
        .await
        .map_err(|error| Failure::Unusable(format!("--listen {}: {error}", args.listen)))?;
    let url = format!("http://{}/", listener.local_addr()?);
    let page = Arc::new(Page {
        args,
        chain,
        kms,
        last: Mutex::default(),
        events: Mutex::default(),
    });
    // Taken once before anybody looks, so that what cannot work is said here.
    page.picture().await?;
    output.result(&[("page", url.clone())], &json!({ "url": url }));
    let routes = Router::new()
        .route("/", get(|| asset("text/html; charset=utf-8", INDEX)))
        .route(
            "/app.js",
            get(|| asset("text/javascript; charset=utf-8", SCRIPT)),
        )
        .route(
            "/style.css",
            get(|| asset("text/css; charset=utf-8", STYLE)),
        )
        .route("/api/state", get(state))
        .route("/api/diff", get(compare))
        .with_state(page);
    axum::serve(listener, routes)
        .with_graceful_shutdown(async {
            // Without a handler, the default ends the program, which is as good.
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    Ok(())
}

const INDEX: &str = include_str!("../../assets/gov/index.html");
const SCRIPT: &str = include_str!("../../assets/gov/app.js");
const STYLE: &str = include_str!("../../assets/gov/style.css");

async fn asset(kind: &'static str, text: &'static str) -> Response {
    with_headers(([(header::CONTENT_TYPE, kind)], text).into_response())
}

fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
    response
}

fn refusal(status: StatusCode, error: &str) -> Response {
    with_headers((status, Json(json!({ "error": error }))).into_response())
}

async fn state(State(page): State<Arc<Page>>) -> Response {
    match page.picture().await {
        Ok(picture) => with_headers(Json((*picture).clone()).into_response()),
        Err(error) => refusal(StatusCode::BAD_GATEWAY, &error.to_string()),
    }
}

#[derive(Deserialize)]
struct Compared {
    from: B256,
    to: B256,
}

async fn compare(State(page): State<Arc<Page>>, Query(which): Query<Compared>) -> Response {
    let library = page.library();
    let (Some(before), Some(after)) = (library.get(&which.from), library.get(&which.to)) else {
        return refusal(
            StatusCode::NOT_FOUND,
            "one of the two manifests is not known here; give their directory with --composes",
        );
    };
    let lines = diff(before.raw(), after.raw());
    let value = json!({ "from": which.from, "to": which.to, "lines": lines });
    with_headers(Json(value).into_response())
}

impl Page {
    /// Everything at the newest block, as the page wants it.
    async fn picture(&self) -> Result<Arc<Value>, anyhow::Error> {
        let mut last = self.last.lock().await;
        if let Some((taken, picture)) = last.as_ref()
            && taken.elapsed() < FRESH
        {
            return Ok(Arc::clone(picture));
        }
        let at = self.chain.latest().await?;
        // Chains without finality answer an error.
        let finalized = self.chain.finalized().await.ok().map(|block| block.number);
        let mut kms = serde_json::to_value(self.chain.kms(at, self.kms).await?)?;
        kms["history"] = json!(self.history(at, self.kms).await?);
        let library = self.library();
        let mut apps = Vec::new();
        for app in self.apps(at).await? {
            apps.push(self.app(at, app, &library).await?);
        }
        let picture = Arc::new(json!({
            "chain": {
                "id": self.chain.id(), "block": at.number, "time": at.timestamp,
                "finalized": finalized,
            },
            "kms": kms,
            "apps": apps,
            "proposals": self.proposals(at).await?,
        }));
        *last = Some((Instant::now(), Arc::clone(&picture)));
        Ok(picture)
    }

    async fn apps(&self, at: At) -> Result<Vec<Address>, anyhow::Error> {
        if !self.args.app.is_empty() {
            return Ok(self.args.app.clone());
        }
        let mut apps = self.chain.apps(at, self.kms, self.args.from_block).await?;
        apps.truncate(MAX_APPS);
        Ok(apps)
    }

    async fn app(&self, at: At, app: Address, library: &Library) -> Result<Value, anyhow::Error> {
        let view = self.chain.app(at, self.kms, app).await?;
        let known = |hash: &B256| library.get(hash);
        let newest = view
            .versions
            .iter()
            .rev()
            .find_map(|version| known(&version.compose_hash));
        let name = newest.map(|compose| compose.manifest().name.clone());
        let mut value = serde_json::to_value(&view)?;
        value["name"] = json!(name);
        for (version, row) in view.versions.iter().zip(0..) {
            let known = known(&version.compose_hash).is_some();
            value["versions"][row as usize]["compose_known"] = known.into();
        }
        value["history"] = json!(self.history(at, app).await?);
        Ok(value)
    }

    /// Events so far, asking only for those of new blocks.
    async fn history(&self, at: At, contract: Address) -> Result<Vec<Event>, anyhow::Error> {
        let mut kept = self.events.lock().await;
        let known = kept.iter_mut().find(|(address, ..)| *address == contract);
        let (from, mut events) = match &known {
            Some((_, next, events)) => (*next, events.clone()),
            None => (self.args.from_block, vec![]),
        };
        if from <= at.number {
            events.extend(self.chain.history(at, contract, from).await?);
        }
        let entry = (contract, at.number + 1, events.clone());
        match known {
            Some(slot) => *slot = entry,
            None => kept.push(entry),
        }
        Ok(events)
    }

    fn files(&self) -> Vec<(String, Proposal)> {
        let Some(directory) = &self.args.proposals else {
            return vec![];
        };
        let Ok(entries) = std::fs::read_dir(directory) else {
            return vec![];
        };
        let mut files: Vec<(String, Proposal)> = entries
            .flatten()
            .filter_map(|entry| {
                let proposal = super::act::read(&entry.path()).ok()?;
                Some((entry.file_name().to_string_lossy().into_owned(), proposal))
            })
            .collect();
        files.sort_by(|one, other| one.0.cmp(&other.0));
        files
    }

    /// Manifests of the directory, and those that proposals carry.
    fn library(&self) -> Library {
        let directory = self.args.composes.as_deref();
        let mut library = directory
            .and_then(|directory| Library::open(directory).ok())
            .unwrap_or_default();
        for (_, proposal) in self.files() {
            for raw in [&proposal.running_compose, &proposal.next_compose]
                .into_iter()
                .flatten()
            {
                library.add(raw.as_bytes());
            }
        }
        library
    }

    async fn proposals(&self, at: At) -> Result<Vec<Value>, anyhow::Error> {
        let mut shown = Vec::new();
        for (file, proposal) in self.files() {
            let (Ok(title), Some(safe)) = (proposal.title(), proposal.safe()) else {
                continue;
            };
            if proposal.chain_id != self.chain.id() {
                continue;
            }
            let authority = self.chain.authority(at, safe.safe).await?;
            let bylaw_gov::Authority::Safe {
                threshold,
                owners,
                nonce,
                ..
            } = authority
            else {
                continue;
            };
            let signed: Vec<Address> = proposal
                .signatures
                .iter()
                .map(|signature| signature.signer)
                .filter(|signer| owners.contains(signer))
                .collect();
            let missing = threshold.saturating_sub(signed.len() as u64);
            let hash = safe.hashes().transaction;
            let status = if nonce > safe.nonce {
                let from = self.args.from_block;
                if self.chain.executed(at, safe.safe, hash, from).await? {
                    "executed".to_owned()
                } else {
                    "stale".to_owned()
                }
            } else if missing == 1 {
                "needs 1 more signature".to_owned()
            } else if missing > 0 {
                format!("needs {missing} more signatures")
            } else if nonce < safe.nonce {
                "waits for earlier ones".to_owned()
            } else {
                "ready to execute".to_owned()
            };
            shown.push(json!({
                "file": file, "title": title, "target": proposal.target, "safe": safe.safe,
                "safe_tx_hash": hash, "nonce": safe.nonce,
                "threshold": threshold, "signed_by": signed, "signers": owners,
                "status": status,
            }));
        }
        Ok(shown)
    }
}
