//! Building the parts in order, then serving.

use std::sync::Arc;

use anyhow::Context;
use bylaw_attest::collateral::{AmdSource, Cached, CachedAmd, Directory, Kds, Pccs};
use bylaw_attest::{CollateralSource, TrustAnchors, Verifier};
use bylaw_attester::attester_from;
use bylaw_chain::{PolicySource, RpcPolicy};
use bylaw_measure::store::ImageStore;
use bylaw_ratls::tls::{Identity, server};
use bylaw_rpc::serve;
use bylaw_service::{Stop, stop_signal};
use bylaw_types::clock::Clock;
use tokio::net::TcpListener;

use crate::admin::{self, Admin};
use crate::config::Config;
use crate::identity::Own;
use crate::kms::Kms;
use crate::onboard::Onboarding;
use crate::store::{SEALING_CONTEXT, Store};
use crate::{config, service};

/// Runs a KMS until SIGTERM or ctrl-C.
///
/// # Errors
/// Whatever keeps it from serving, with what to do about it.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let clock = Clock::system();
    let store = Store::open(&config.data_dir)?;
    let anchors =
        TrustAnchors::from_files(config.tdx_root_ca.as_deref(), config.amd_root_ca.as_deref())?;
    if !anchors.set().is_vendor() {
        tracing::warn!(anchors = %anchors.set(), "trust anchors are not the vendors': \
            keys of this KMS are not production keys");
    }
    let mut verifier = Verifier::new(anchors, collateral_source(&config, &store)?, clock.clone())
        .with_amd(amd_source(&config, &store)?);
    if let Some(images) = &config.images {
        verifier = verifier.with_images(Arc::new(ImageStore::new(images.clone())?));
    }
    let own = Own::new(attester_from(&config.attester, None)?, verifier);
    let policy: Arc<dyn PolicySource> =
        Arc::new(RpcPolicy::new(config.chain.clone(), clock.clone())?);

    let stop = stop_signal();
    if !store.has_root()? {
        onboard(&config, &own, &policy, &store, &clock, stop.clone()).await?;
        if stop.is_set() {
            return Ok(());
        }
    }
    let sealing_key = own.attester().sealing_key(SEALING_CONTEXT).await?;
    let roots = store.open_root(&sealing_key, own.verifier().anchors())?;
    let log = store.release_log()?;
    let kms = Kms::new(roots, own, policy, log, clock, config.sev_snp_key_release).await?;
    match kms.check_self().await {
        Ok(()) => tracing::info!("allowed to serve by KmsAuth"),
        // It stays up and refuses: the contract may allow it at any block.
        Err(refusal) => tracing::error!(%refusal, "KmsAuth does not allow this KMS to serve"),
    }
    serve_all(&config, kms, stop).await
}

async fn onboard(
    config: &Config,
    own: &Own,
    policy: &Arc<dyn PolicySource>,
    store: &Store,
    clock: &Clock,
    stop: Stop,
) -> anyhow::Result<()> {
    let onboarding = Onboarding::new(
        own.clone(),
        Arc::clone(policy),
        store.clone(),
        clock.clone(),
        config.site_name.clone(),
        config.chain.urls.first().cloned().unwrap_or_default(),
    );
    if let Some(domain) = &config.onboard.auto_bootstrap_domain {
        onboarding.bootstrap(domain).await?;
        tracing::info!(domain, "bootstrapped");
        return Ok(());
    }
    let listener = listen("onboard.listen", config.onboard.listen).await?;
    tracing::info!(address = %listener.local_addr()?, "no root keys yet: waiting for Bootstrap or Onboard");
    let done = {
        let onboarding = Arc::clone(&onboarding);
        async move {
            tokio::select! {
                () = onboarding.finished() => {}
                () = stop.wait() => {}
            }
        }
    };
    serve::tcp(listener, onboarding.router(), done).await;
    Ok(())
}

async fn serve_all(config: &Config, kms: Arc<Kms>, stop: Stop) -> anyhow::Result<()> {
    let listener = listen("rpc.listen", config.rpc_listen).await?;
    let chain = vec![
        kms.certificates.rpc.der.clone(),
        kms.certificates.root.cert().der.clone(),
    ];
    let identity = Identity {
        chain,
        key: &kms.roots.rpc,
    };
    let tls = server(identity, kms.certificates.temp.cert())?;
    tracing::info!(
        address = %listener.local_addr()?,
        ca = kms.ca_public(),
        "serving"
    );
    let main = serve::tls(
        listener,
        tls,
        service::router(Arc::clone(&kms)),
        stop.clone().wait(),
    );
    match &config.admin {
        None => main.await,
        Some(admin) => {
            let token = read_token(admin)?;
            let listener = listen("admin.listen", admin.listen).await?;
            let state = Arc::new(Admin {
                kms,
                cache_dir: config.data_dir.clone(),
            });
            let routes = admin::router(state, &token);
            tokio::join!(main, serve::tcp(listener, routes, stop.wait()));
        }
    }
    Ok(())
}

async fn listen(key: &str, address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{key}: cannot listen on {address}"))
}

fn read_token(admin: &config::Admin) -> anyhow::Result<String> {
    use std::os::unix::fs::PermissionsExt;
    let path = admin.token_file.display();
    let metadata =
        std::fs::metadata(&admin.token_file).with_context(|| format!("admin.token_file {path}"))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        anyhow::bail!("admin.token_file {path} is readable by others; chmod 600 it");
    }
    let text = std::fs::read_to_string(&admin.token_file)?;
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() {
        anyhow::bail!("admin.token_file {path}: its first line is empty; put the token there");
    }
    Ok(token.to_owned())
}

fn collateral_source(config: &Config, store: &Store) -> anyhow::Result<Arc<dyn CollateralSource>> {
    let source = &config.collateral;
    if source.starts_with("http://") || source.starts_with("https://") {
        let tree = store.collateral()?;
        return Ok(Arc::new(Cached::new(Pccs::new(source)?, Some(tree))));
    }
    Ok(Arc::new(Cached::new(Directory::new(source), None)))
}

fn amd_source(config: &Config, store: &Store) -> anyhow::Result<Arc<dyn AmdSource>> {
    let kds = Kds::new(&config.amd_kds)?;
    Ok(Arc::new(CachedAmd::new(kds, Some(store.amd_collateral()?))))
}
