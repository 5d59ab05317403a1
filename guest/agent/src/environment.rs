//! The app's variables: opened by the manifest's rules, handed on as a private file.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use bylaw_keys::{MAX_ENV_FILE, Secret, open_env};
use bylaw_types::compose::Manifest;
use bylaw_types::file::{write_atomic, write_private};
use bylaw_types::{AppCompose, AppId};
use zeroize::Zeroizing;

use crate::config::{Config, EnvironmentFiles};
use crate::keys_file::AppSecrets;

/// Decrypts what the host delivered, keeps what the manifest allows, and writes that.
///
/// The output is a JSON object from name to value, mode 0600, `{}` when nothing was
/// delivered: an app never sees variables of an earlier start.
///
/// # Errors
/// Why the file is refused; the app does not start without variables it was given.
pub fn open(
    files: &EnvironmentFiles,
    app_id: &AppId,
    manifest: &Manifest,
    env_crypt_key: Option<&Secret>,
) -> anyhow::Result<()> {
    let Some(output) = &files.output else {
        return Ok(());
    };
    let mut variables = BTreeMap::new();
    let opened = match read(&files.file)? {
        Some(sealed) => {
            let key = env_crypt_key.context(
                "an encrypted environment was delivered, but this app's key provider gives \
                 no key to open it: only a KMS does",
            )?;
            let last = last_revision(files.revision_file.as_deref())?;
            Some(
                open_env(&sealed, key, app_id, &manifest.encrypted_env, last)
                    .with_context(|| files.file.display().to_string())?,
            )
        }
        None => None,
    };
    let signed = opened.as_ref().and_then(|opened| opened.signed);
    let kept = opened.map(|opened| {
        let (kept, dropped) = opened.environment.filtered(&manifest.allowed_envs);
        if !dropped.is_empty() {
            tracing::warn!(?dropped, "variables that allowed_envs does not name");
        }
        kept
    });
    for (name, value) in kept.iter().flat_map(|kept| kept.iter()) {
        variables.insert(name, value);
    }
    let json = Zeroizing::new(serde_json::to_vec(&variables)?);
    write_private(output, &json).with_context(|| output.display().to_string())?;
    if let (Some((signer, revision)), Some(path)) = (signed, &files.revision_file) {
        tracing::info!(%signer, revision, "environment opened");
        write_atomic(path, revision.to_string().as_bytes())
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// [`open`] with the keys that the running agent wrote down, by the manifest it serves.
///
/// # Errors
/// As [`open`]; also when nothing is to be opened into, or no keys were kept.
pub fn open_with_kept_keys(config: &Config, app_id: &AppId) -> anyhow::Result<()> {
    if config.environment.output.is_none() {
        anyhow::bail!("environment.output is empty: there is nowhere to open the variables into");
    }
    let path = config
        .keys_file
        .as_deref()
        .context("keys_file is empty: the app's keys were not kept")?;
    let secrets = AppSecrets::read(path)?
        .with_context(|| format!("{} is not there: is the agent running?", path.display()))?;
    let bytes = std::fs::read(&config.compose_file)
        .with_context(|| format!("compose_file {}", config.compose_file.display()))?;
    let compose =
        AppCompose::parse(&bytes).with_context(|| config.compose_file.display().to_string())?;
    open(
        &config.environment,
        app_id,
        compose.manifest(),
        secrets.env_crypt_key.as_ref(),
    )
}

/// The file, if there is one; no more of it than can be valid.
fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    use std::io::Read;
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let mut bytes = Vec::new();
    file.take(MAX_ENV_FILE as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(|| path.display().to_string())?;
    Ok((!bytes.is_empty()).then_some(bytes))
}

fn last_revision(path: Option<&Path>) -> anyhow::Result<u64> {
    let Some(path) = path else { return Ok(0) };
    match std::fs::read_to_string(path) {
        Ok(text) => text
            .trim()
            .parse()
            .with_context(|| format!("{} holds no revision", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use bylaw_keys::{Environment, SealedEnv, encrypt_anonymous, env_public_key};

    use super::*;

    const APP: AppId = AppId::new([0x11; 20]);

    fn manifest(rules: &str) -> Manifest {
        let text = format!(
            r#"{{"manifest_version":2,"name":"a","runner":"docker-compose",{rules}"allowed_envs":["A"]}}"#
        );
        AppCompose::parse(text.as_bytes())
            .unwrap()
            .manifest()
            .clone()
    }

    fn variables() -> Environment {
        Environment::new([("A", "1"), ("B", "2")].map(|(k, v)| (k.to_owned(), v.to_owned())))
            .unwrap()
    }

    #[test]
    fn allowed_variables_arrive_and_nothing_older_remains() {
        let dir = tempfile::tempdir().unwrap();
        let files = EnvironmentFiles {
            file: dir.path().join("sealed"),
            output: Some(dir.path().join("env.json")),
            revision_file: None,
        };
        let key = Secret::random().unwrap();
        let written = || std::fs::read_to_string(dir.path().join("env.json")).unwrap();
        let sealed = encrypt_anonymous(&env_public_key(&key), &variables().to_plaintext()).unwrap();
        write_private(&files.file, &sealed).unwrap();
        open(&files, &APP, &manifest(""), Some(&key)).unwrap();
        assert_eq!(written(), r#"{"A":"1"}"#);
        let mode = std::fs::metadata(dir.path().join("env.json")).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600);

        let error = open(&files, &APP, &manifest(""), None).unwrap_err();
        assert!(error.to_string().contains("key provider"), "{error}");
        std::fs::remove_file(&files.file).unwrap();
        open(&files, &APP, &manifest(""), None).unwrap();
        assert_eq!(written(), "{}");
    }

    #[test]
    fn the_subcommand_takes_keys_and_manifest_from_their_files() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let toml = format!(
            "keys_file = {:?}\ncompose_file = {:?}\n[environment]\nfile = {:?}\noutput = {:?}\n",
            at("keys"),
            at("compose"),
            at("sealed"),
            at("env.json")
        );
        write_atomic(&at("agent.toml"), toml.as_bytes()).unwrap();
        let raw: crate::config::Raw = bylaw_service::load(
            crate::config::NAMES,
            Some(&at("agent.toml")),
            std::iter::empty(),
        )
        .unwrap();
        let mut config = Config::try_from(raw).unwrap();
        let error = open_with_kept_keys(&config, &APP).unwrap_err().to_string();
        assert!(error.contains("is the agent running"), "{error}");

        let mut secrets = AppSecrets::random().unwrap();
        let key = Secret::random().unwrap();
        let sealed = encrypt_anonymous(&env_public_key(&key), &variables().to_plaintext()).unwrap();
        secrets.env_crypt_key = Some(key);
        secrets.write(&at("keys")).unwrap();
        write_private(&at("sealed"), &sealed).unwrap();
        let compose = r#"{"manifest_version":2,"name":"a","runner":"bash","allowed_envs":["B"]}"#;
        write_atomic(&at("compose"), compose.as_bytes()).unwrap();
        open_with_kept_keys(&config, &APP).unwrap();
        assert_eq!(
            std::fs::read_to_string(at("env.json")).unwrap(),
            r#"{"B":"2"}"#
        );

        config.environment.output = None;
        assert!(open_with_kept_keys(&config, &APP).is_err());
    }

    #[test]
    fn an_older_revision_is_refused_after_a_newer_one() {
        let dir = tempfile::tempdir().unwrap();
        let files = EnvironmentFiles {
            file: dir.path().join("sealed"),
            output: Some(dir.path().join("env.json")),
            revision_file: Some(dir.path().join("revision")),
        };
        let (key, signer) = (Secret::random().unwrap(), Secret::random().unwrap());
        let seal = |revision| {
            let sealed =
                SealedEnv::seal(&variables(), &env_public_key(&key), APP, revision).unwrap();
            let file = sealed.sign(&signer).unwrap();
            let (envelope, signature) = SealedEnv::parse(&file, &APP).unwrap();
            (file.clone(), envelope.signer(signature).unwrap())
        };
        let (_, address) = seal(1);
        let rules = format!(r#""encrypted_env":{{"versions":[2],"signers":["{address}"]}},"#);
        for (revision, is_opened) in [(2, true), (2, true), (3, true), (2, false)] {
            write_private(&files.file, &seal(revision).0).unwrap();
            let opened = open(&files, &APP, &manifest(&rules), Some(&key));
            assert_eq!(opened.is_ok(), is_opened, "{revision}: {opened:?}");
        }
    }
}
