//! From a measured VM to an app with its keys.

use std::sync::Arc;

use bylaw_attest::collateral::{Cached, CachedAmd, Directory, Kds, Pccs};
use bylaw_attest::event_log::{self, SYSTEM_READY};
use bylaw_attest::{
    AppInfo, Appraisal, CollateralSource, Expect, Mode, RuntimeEvent, TrustAnchors, Verifier,
};
use bylaw_attester::Attester;
use bylaw_chain::RpcPolicy;
use bylaw_keys::P256Key;
use bylaw_ratls::csr::CertConfig;
use bylaw_ratls::{Cert, CertSpec, Issuer, RaTlsCert};
use bylaw_types::clock::Clock;
use bylaw_types::compose::KeyProvider;
use bylaw_types::{AppCompose, BootInfo, KeyProviderInfo, OsImageHash, ReportData};

use crate::app::{App, Caches, EventBudget};
use crate::cache::KeyCache;
use crate::certs::{LocalCa, Signer};
use crate::config::Config;
use crate::environment;
use crate::handshake::{HandshakeError, obtain};
use crate::keys_file::{AppSecrets, Provider};
use crate::kms::{Expectations, KmsPool};
use crate::sealing;

/// Gets the app's keys and measures who gave them.
///
/// # Errors
/// Whatever keeps the app from its keys, with what to do about it.
pub async fn start(
    config: &Config,
    compose: AppCompose,
    attester: Arc<dyn Attester>,
    clock: Clock,
) -> anyhow::Result<App> {
    let verifier = verifier(config, &clock)?;
    let (at_start, logged) = appraise(&verifier, &*attester).await?;
    let who = at_start.identify(Mode::Full, None)?;
    if who.compose_hash != compose.hash() {
        anyhow::bail!(
            "this VM measured compose hash {}, but the file's is {}",
            who.compose_hash,
            compose.hash()
        );
    }
    let found = Keys::find(config, &compose, &who, &*attester, &verifier, &clock).await?;
    let provider = found.secrets.provider.info();
    measure(
        &*attester,
        &logged,
        compose
            .manifest()
            .storage_fs
            .as_deref()
            .or(config.storage_fs.as_deref()),
        found.kms.is_some().then_some(&who.os_image_hash),
        &provider,
    )
    .await?;

    let (appraisal, logged) = appraise(&verifier, &*attester).await?;
    let boot_info = appraisal.identify(Mode::Full, None)?;
    let app_info = appraisal.app_info(Mode::Full, None)?;
    environment::open(
        &config.environment,
        &boot_info.app_id,
        compose.manifest(),
        found.secrets.env_crypt_key.as_ref(),
    )?;
    let anchors = verifier.anchors();
    let mut app = App {
        keys: KeyCache::new(found.secrets.app_key()?),
        k256_signature: found.secrets.k256_signature.clone(),
        signer: signer(found, app_info, &verifier, &*attester, &clock).await?,
        events: EventBudget::of(&logged),
        caches: Caches::default(),
        gpu_attestation: config.system.gpu_attestation.clone(),
        app_cert: String::new(),
        attester,
        compose,
        boot_info,
        provider,
        anchors,
        clock,
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

/// This VM's own evidence, by the verifier it applies to others, and the events that it has
/// logged: on SEV-SNP nothing measures them, but this VM may go by its own log.
async fn appraise(
    verifier: &Verifier,
    attester: &dyn Attester,
) -> anyhow::Result<(Appraisal, Vec<RuntimeEvent>)> {
    let challenge = ReportData::new([0; 64]);
    let evidence = attester.attest(&challenge).await?;
    let appraisal = verifier
        .appraise(&evidence, Expect::ReportData(&challenge))
        .await?;
    Ok((appraisal, evidence.stack.runtime_events))
}

/// Keys, and the way back to the KMS that gave them, if one did.
struct Keys {
    secrets: AppSecrets,
    kms: Option<KmsPool>,
}

impl Keys {
    /// From the file of this boot, else from whom the manifest names.
    async fn find(
        config: &Config,
        compose: &AppCompose,
        who: &BootInfo,
        attester: &dyn Attester,
        verifier: &Verifier,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let manifest = compose.manifest();
        let expectations = || -> anyhow::Result<Expectations> {
            let chain = config.chain.clone().ok_or(HandshakeError::NoChain)?;
            Ok(Expectations {
                verifier: verifier.clone(),
                policy: Arc::new(RpcPolicy::new(chain, clock.clone())?),
                manifest: manifest.clone(),
                app_id: who.app_id,
            })
        };
        let pool = |secrets: &AppSecrets, expected, link| match &secrets.provider {
            Provider::Kms { spki_der, .. } => Some(KmsPool::new(
                config.kms_urls.clone(),
                expected,
                spki_der.clone(),
                link,
                clock.clone(),
            )),
            _ => None,
        };
        if let Some(path) = &config.keys_file
            && let Some(secrets) = AppSecrets::read(path)?
        {
            let kms = match &secrets.provider {
                Provider::Kms { .. } => pool(&secrets, expectations()?, None),
                _ => None,
            };
            return Ok(Self { secrets, kms });
        }
        let found = match manifest.key_provider() {
            KeyProvider::Kms => {
                let expected = expectations()?;
                let now = clock.now_unix();
                let granted = obtain(&config.kms_urls, attester, &expected, now).await?;
                if granted.os_image_hash != who.os_image_hash {
                    anyhow::bail!(
                        "the KMS says this VM runs image {}, its own evidence proves {}",
                        granted.os_image_hash,
                        who.os_image_hash
                    );
                }
                let kms = pool(&granted.secrets, expected, Some(granted.link));
                let secrets = granted.secrets;
                Self { secrets, kms }
            }
            KeyProvider::None => Self {
                secrets: AppSecrets::random()?,
                kms: None,
            },
            KeyProvider::Local => Self {
                secrets: sealing::obtain(config, manifest, attester, clock).await?,
                kms: None,
            },
            KeyProvider::Tpm => anyhow::bail!(
                "key_provider tpm is not available: this VM has no TPM whose seal would hold"
            ),
        };
        if let Some(path) = &config.keys_file {
            found.secrets.write(path)?;
        }
        Ok(found)
    }
}

/// The rest of the launch sequence (attestation reference, section 4.1). A restarted
/// agent finds its events in the log and extends nothing twice; one that would say
/// something else than the log does not start.
async fn measure(
    attester: &dyn Attester,
    log: &[RuntimeEvent],
    storage_fs: Option<&str>,
    os_image_hash: Option<&OsImageHash>,
    provider: &KeyProviderInfo,
) -> anyhow::Result<()> {
    let provider = provider.to_payload();
    let storage = storage_fs.map(str::as_bytes);
    for (name, payload) in [
        ("os-image-hash", os_image_hash.map(AsRef::as_ref)),
        ("key-provider", Some(provider.as_slice())),
        ("storage-fs", storage),
        (SYSTEM_READY, Some(&[][..])),
    ] {
        let Some(payload) = payload else { continue };
        let measured = if name == SYSTEM_READY {
            log.iter()
                .any(|event| event.event == name)
                .then_some(&[][..])
        } else {
            event_log::field(log, name)
        };
        match measured {
            None => attester.extend(name, payload).await?,
            Some(measured) if measured == payload => {}
            Some(_) => anyhow::bail!(
                "event {name} was measured at this boot already, with another value; \
                 reboot the VM"
            ),
        }
    }
    Ok(())
}

async fn signer(
    found: Keys,
    app_info: AppInfo,
    verifier: &Verifier,
    attester: &dyn Attester,
    clock: &Clock,
) -> anyhow::Result<Signer> {
    if let Some(kms) = found.kms {
        return Ok(Signer::Kms(Box::new(kms)));
    }
    let (Provider::None(key) | Provider::Local(key, _) | Provider::Tpm(key, _)) =
        &found.secrets.provider
    else {
        return Err(HandshakeError::NoKms.into());
    };
    Ok(Signer::Local(Box::new(LocalCa {
        issuer: local_ca(&found.secrets.ca_cert, key, attester, clock).await?,
        app_info,
        trust_anchors: *verifier.anchors().digest(),
    })))
}

/// The CA of the file when it is this key's, else one made now.
async fn local_ca(
    kept: &str,
    key: &P256Key,
    attester: &dyn Attester,
    clock: &Clock,
) -> anyhow::Result<Issuer> {
    let spki = key.spki_der();
    if !kept.is_empty() {
        let cert = Cert::from_pem(kept)?;
        if RaTlsCert::parse(&cert.der)?.spki_der != spki {
            anyhow::bail!("keys_file: ca_cert is of another key than key_provider's");
        }
        return Ok(Issuer::from_parts(cert, key)?);
    }
    let challenge = bylaw_attest::report_data::ratls(&spki);
    let spec = CertSpec {
        subject: "App Root Cert".to_owned(),
        ca_path_len: Some(1),
        attestation: Some(attester.attest(&challenge).await?),
        ..CertSpec::default()
    };
    Ok(Issuer::self_signed(&spec, key, clock.now_unix())?)
}

fn verifier(config: &Config, clock: &Clock) -> anyhow::Result<Verifier> {
    let anchors = anchors(config)?;
    let source = &config.collateral;
    let collateral: Arc<dyn CollateralSource> = if source.starts_with("http") {
        Arc::new(Cached::new(Pccs::new(source)?, None))
    } else {
        Arc::new(Cached::new(Directory::new(source), None))
    };
    let amd = Arc::new(CachedAmd::new(Kds::new(&config.amd_kds)?, None));
    Ok(Verifier::new(anchors, collateral, clock.clone()).with_amd(amd))
}

/// Whose evidence counts.
///
/// # Errors
/// A root that cannot be read.
pub(crate) fn anchors(config: &Config) -> anyhow::Result<TrustAnchors> {
    let (tdx, amd) = (config.tdx_root_ca.as_deref(), config.amd_root_ca.as_deref());
    Ok(TrustAnchors::from_files(tdx, amd)?)
}
