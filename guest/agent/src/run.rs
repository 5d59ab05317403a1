//! Start-up: verify who gives the keys, get them, measure that, then serve.

use std::sync::Arc;

use anyhow::Context;
use bylaw_attest::collateral::{Cached, Directory, Pccs};
use bylaw_attest::event_log::SYSTEM_READY;
use bylaw_attest::{Attestation, CollateralSource, Expect, Mode, TrustAnchors, Verifier};
use bylaw_attester::{Attester, attester_from};
use bylaw_chain::RpcPolicy;
use bylaw_keys::{AppKey, Secret, SeedKeys};
use bylaw_ratls::csr::CertConfig;
use bylaw_ratls::{CertSpec, Issuer};
use bylaw_rpc::serve;
use bylaw_types::clock::Clock;
use bylaw_types::compose::KeyProvider;
use bylaw_types::{AppCompose, BootInfo, KeyProviderInfo, ReportData};

use crate::app::{App, has_event};
use crate::certs::Signer;
use crate::config::Config;
use crate::handshake::{Expectations, HandshakeError, obtain};
use crate::{dstack, tappd};

/// Runs the agent until SIGTERM or ctrl-C; `ready` is called once it serves.
///
/// # Errors
/// Whatever keeps the app from its keys, with what to do about it.
pub async fn run(config: Config, ready: impl FnOnce()) -> anyhow::Result<()> {
    let clock = Clock::system();
    let bytes = std::fs::read(&config.compose_file)
        .with_context(|| format!("compose_file {}", config.compose_file.display()))?;
    let compose =
        AppCompose::parse(&bytes).with_context(|| config.compose_file.display().to_string())?;
    let attester = attester_from(&config.attester, None)?;
    let app = Arc::new(start(&config, compose, attester, clock).await?);
    tracing::info!(
        app_id = %app.boot_info.app_id,
        compose_hash = %app.boot_info.compose_hash,
        provider = app.provider.name,
        "keys received"
    );

    let mut servers = tokio::task::JoinSet::new();
    for (path, router) in [
        (&config.dstack, dstack::router(Arc::clone(&app))),
        (&config.tappd, tappd::router(Arc::clone(&app))),
    ] {
        let Some(path) = path else { continue };
        let listener = serve::bind_unix(path, config.mode)
            .with_context(|| format!("cannot listen on {}", path.display()))?;
        servers.spawn(serve::unix(listener, router, stop_signal()));
    }
    ready();
    servers.join_all().await;
    for path in [&config.dstack, &config.tappd].into_iter().flatten() {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

async fn start(
    config: &Config,
    compose: AppCompose,
    attester: Arc<dyn Attester>,
    clock: Clock,
) -> anyhow::Result<App> {
    let verifier = verifier(config, &clock)?;
    let at_start = identify(&verifier, &*attester).await?;
    if at_start.compose_hash != compose.hash() {
        anyhow::bail!(
            "this VM measured compose hash {}, but the file's is {}",
            at_start.compose_hash,
            compose.hash()
        );
    }
    let (key, k256_signature, signer, provider) = match compose.manifest().key_provider() {
        KeyProvider::Kms => {
            let chain = config.chain.clone().ok_or(HandshakeError::NoChain)?;
            let policy = RpcPolicy::new(chain, clock.clone())?;
            let expected = Expectations {
                verifier: &verifier,
                policy: &policy,
                manifest: compose.manifest(),
                app_id: at_start.app_id,
            };
            let granted = obtain(&config.kms_urls, &*attester, &expected, clock.now_unix()).await?;
            if granted.os_image_hash != at_start.os_image_hash {
                anyhow::bail!(
                    "the KMS says this VM runs image {}, its own evidence proves {}",
                    granted.os_image_hash,
                    at_start.os_image_hash
                );
            }
            let provider = KeyProviderInfo::kms(&granted.provider_id);
            measure(
                &*attester,
                &compose,
                Some(granted.os_image_hash.as_ref()),
                &provider,
            )
            .await?;
            (
                granted.app_key,
                granted.k256_signature,
                Signer::Kms(granted.kms),
                provider,
            )
        }
        KeyProvider::None => {
            let seeded = SeedKeys::from_seed(&Secret::random()?)?;
            let provider = KeyProviderInfo {
                name: "none".to_owned(),
                id: String::new(),
            };
            measure(&*attester, &compose, None, &provider).await?;
            let signer = Signer::Local(Arc::new(local_ca(&seeded, &*attester, &clock).await?));
            (AppKey::new(seeded.k256_key)?, vec![], signer, provider)
        }
        other => anyhow::bail!("key_provider {other:?} is not available in this VM"),
    };
    let boot_info = identify(&verifier, &*attester).await?;
    let mut app = App {
        attester,
        compose,
        key,
        k256_signature,
        signer,
        boot_info,
        provider,
        clock,
        app_cert: String::new(),
    };
    let demo = CertConfig {
        subject: "demo-cert".to_owned(),
        usage_client_auth: true,
        ext_quote: true,
        ..CertConfig::default()
    };
    app.app_cert = app.tls_key(demo).await?.chain.concat();
    Ok(app)
}

/// This VM's own identity, by the verifier it applies to others.
async fn identify(verifier: &Verifier, attester: &dyn Attester) -> anyhow::Result<BootInfo> {
    let challenge = ReportData::new([0; 64]);
    let evidence = attester.attest(&challenge).await?;
    let appraisal = verifier
        .appraise(&evidence, Expect::ReportData(&challenge))
        .await?;
    Ok(appraisal.identify(Mode::Full, None)?)
}

/// The rest of the launch sequence (attestation reference, section 4.1). A restarted
/// agent finds its events in the log and extends nothing twice.
async fn measure(
    attester: &dyn Attester,
    compose: &AppCompose,
    os_image_hash: Option<&[u8]>,
    provider: &KeyProviderInfo,
) -> anyhow::Result<()> {
    let log: Attestation = attester.attest(&ReportData::new([0; 64])).await?;
    let storage = compose.manifest().storage_fs.as_deref().map(str::as_bytes);
    for (name, payload) in [
        ("os-image-hash", os_image_hash),
        ("key-provider", Some(provider.to_payload().as_slice())),
        ("storage-fs", storage),
        (SYSTEM_READY, Some(&[][..])),
    ] {
        if let Some(payload) = payload
            && !has_event(&log, name)
        {
            attester.extend(name, payload).await?;
        }
    }
    Ok(())
}

async fn local_ca(
    keys: &SeedKeys,
    attester: &dyn Attester,
    clock: &Clock,
) -> anyhow::Result<Issuer> {
    let challenge = bylaw_attest::report_data::ratls(&keys.ca.spki_der());
    let spec = CertSpec {
        subject: "App Root Cert".to_owned(),
        ca_path_len: Some(1),
        attestation: Some(attester.attest(&challenge).await?),
        ..CertSpec::default()
    };
    Ok(Issuer::self_signed(&spec, &keys.ca, clock.now_unix())?)
}

fn verifier(config: &Config, clock: &Clock) -> anyhow::Result<Verifier> {
    let anchors = match &config.tdx_root_ca {
        None => TrustAnchors::vendor(),
        Some(path) => {
            let pem = std::fs::read(path)
                .with_context(|| format!("trust.tdx_root_ca {}", path.display()))?;
            TrustAnchors::with_tdx_root(&pem)?
        }
    };
    let source = &config.collateral;
    let collateral: Arc<dyn CollateralSource> = if source.starts_with("http") {
        Arc::new(Cached::new(Pccs::new(source)?, None))
    } else {
        Arc::new(Cached::new(Directory::new(source), None))
    };
    Ok(Verifier::new(anchors, collateral, clock.clone()))
}

async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
