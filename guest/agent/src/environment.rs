//! The app's variables: opened by the manifest's rules, handed on as a private file.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use bylaw_keys::{MAX_ENV_FILE, Secret, open_env};
use bylaw_types::AppId;
use bylaw_types::compose::Manifest;
use bylaw_types::file::{write_atomic, write_private};
use zeroize::Zeroizing;

use crate::config::EnvironmentFiles;

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
    use bylaw_types::AppCompose;

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
