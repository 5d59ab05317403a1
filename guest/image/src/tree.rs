//! Files of the build: reading, writing, and making a tree the same everywhere.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A file of the build that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {path}")]
pub struct TreeError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl TreeError {
    pub(crate) fn new(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self {
            path: path.into(),
            source,
        }
    }
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TreeError> {
    fs::read(path).map_err(|source| TreeError::new(path, source))
}

/// Writes a file of the tree under construction, and the folders above it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), TreeError> {
    if let Some(parent) = path.parent() {
        create_dir(parent)?;
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "a tree that a crash throws away whole"
    )]
    fs::write(path, bytes).map_err(|source| TreeError::new(path, source))
}

pub(crate) fn create_dir(path: &Path) -> Result<(), TreeError> {
    fs::create_dir_all(path).map_err(|source| TreeError::new(path, source))
}

pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), TreeError> {
    if let Some(parent) = to.parent() {
        create_dir(parent)?;
    }
    fs::copy(from, to)
        .map(drop)
        .map_err(|source| TreeError::new(from, source))
}

pub(crate) fn link(path: &Path, text: &str) -> Result<(), TreeError> {
    if let Some(parent) = path.parent() {
        create_dir(parent)?;
    }
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(TreeError::new(path, source)),
    }
    std::os::unix::fs::symlink(text, path).map_err(|source| TreeError::new(path, source))
}

/// Makes a file executable by everyone.
pub(crate) fn make_executable(path: &Path) -> Result<(), TreeError> {
    fs::set_permissions(path, Permissions::from_mode(0o755))
        .map_err(|source| TreeError::new(path, source))
}

/// Paths below `root`, relative to it, sorted; folders come before what they hold, links are not followed.
pub(crate) fn walk(root: &Path) -> Result<Vec<PathBuf>, TreeError> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let at = root.join(&folder);
        for entry in fs::read_dir(&at).map_err(|source| TreeError::new(&at, source))? {
            let entry = entry.map_err(|source| TreeError::new(&at, source))?;
            let path = folder.join(entry.file_name());
            let kind = entry
                .file_type()
                .map_err(|source| TreeError::new(&at, source))?;
            if kind.is_dir() {
                folders.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Copies every file of `from` to its place below `root`, in place of what is there.
pub(crate) fn lay_over(from: &Path, root: &Path) -> Result<(), TreeError> {
    for path in walk(from)? {
        let (source, target) = (from.join(&path), root.join(&path));
        let kind = fs::symlink_metadata(&source).map_err(|error| TreeError::new(&source, error))?;
        // Written through, a link of the root would lead to a file of this machine.
        let is_link = fs::symlink_metadata(&target).is_ok_and(|target| target.is_symlink());
        let refuse = |reason: &str| {
            let error = io::Error::new(io::ErrorKind::InvalidInput, reason.to_owned());
            Err(TreeError::new(&source, error))
        };
        if is_link {
            return refuse("the image has a link of this name; use the name it leads to");
        } else if kind.is_dir() {
            create_dir(&target)?;
        } else if kind.is_file() {
            copy(&source, &target)?;
        } else {
            return refuse("only files and folders can be laid over the root");
        }
    }
    Ok(())
}

/// Removes what `patterns` name below `root`: `*` stands for any part of one name, a folder goes with all it
/// holds.
pub(crate) fn prune(root: &Path, patterns: &[String]) -> Result<(), TreeError> {
    for pattern in patterns {
        let mut matching = vec![root.to_owned()];
        for part in pattern.split('/') {
            let mut next = Vec::new();
            for folder in matching {
                next.extend(children(&folder, part)?);
            }
            matching = next;
        }
        for path in matching {
            remove(&path)?;
        }
    }
    Ok(())
}

fn children(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, TreeError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // Nothing of that name, or a file: nothing below it to remove.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(source) => return Err(TreeError::new(folder, source)),
    };
    Ok(entries
        .flatten()
        .filter(|entry| matches(pattern, &entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect())
}

/// Whether `name` is `pattern`, in which one `*` may stand for anything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, end)) => name
            .strip_prefix(start)
            .is_some_and(|rest| rest.ends_with(end)),
    }
}

fn remove(path: &Path) -> Result<(), TreeError> {
    let kind = fs::symlink_metadata(path).map_err(|source| TreeError::new(path, source))?;
    let removed = if kind.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    removed.map_err(|source| TreeError::new(path, source))
}

/// Gives every file and folder the one mode of its kind and the one time: 0755 or 0644, folders 0755.
///
/// So no set-user-id or set-group-id program stays, and nothing depends on who unpacked the packages or when.
pub(crate) fn normalise(root: &Path, epoch: i64) -> Result<(), TreeError> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(epoch).unwrap_or(0));
    for path in walk(root)?.into_iter().rev().chain([PathBuf::new()]) {
        let at = root.join(path);
        let failed = |source| TreeError::new(&at, source);
        let metadata = fs::symlink_metadata(&at).map_err(failed)?;
        if metadata.is_symlink() {
            continue;
        }
        let executable = metadata.is_dir() || metadata.permissions().mode() & 0o111 != 0;
        let mode = if executable { 0o755 } else { 0o644 };
        fs::set_permissions(&at, Permissions::from_mode(mode)).map_err(failed)?;
        File::open(&at)
            .and_then(|file| file.set_modified(time))
            .map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "etc/cron.d/x",
            "etc/cron.daily/y",
            "etc/hosts",
            "usr/bin/sh",
            "var/lib/x",
        ] {
            write(&root.path().join(path), b"x").unwrap();
        }
        link(&root.path().join("usr/bin/bash"), "sh").unwrap();
        root
    }

    fn names(root: &Path) -> Vec<String> {
        walk(root)
            .unwrap()
            .iter()
            .map(|path| path.display().to_string())
            .collect()
    }

    #[test]
    fn prune_removes_what_it_names_and_nothing_else() {
        let tree = tree();
        let patterns = [
            "etc/cron.*",
            "var",
            "usr/bin/ba*",
            "usr/games",
            "etc/hosts/x",
        ]
        .map(String::from);
        prune(tree.path(), &patterns).unwrap();
        assert_eq!(
            names(tree.path()),
            ["etc", "etc/hosts", "usr", "usr/bin", "usr/bin/sh"]
        );
    }

    #[test]
    fn what_is_laid_over_replaces_files_and_follows_no_link() {
        let tree = tree();
        let over = tempfile::tempdir().unwrap();
        write(&over.path().join("etc/hosts"), b"mine").unwrap();
        write(&over.path().join("etc/chrony/chrony.conf"), b"mine").unwrap();
        lay_over(over.path(), tree.path()).unwrap();
        for path in ["etc/hosts", "etc/chrony/chrony.conf"] {
            assert_eq!(read(&tree.path().join(path)).unwrap(), b"mine");
        }
        assert!(tree.path().join("etc/cron.d/x").exists(), "the rest stays");

        write(&over.path().join("usr/bin/bash"), b"mine").unwrap();
        let refused = lay_over(over.path(), tree.path()).unwrap_err();
        assert!(refused.to_string().contains("usr/bin/bash"), "{refused}");
        assert_eq!(read(&tree.path().join("usr/bin/sh")).unwrap(), b"x");
        remove(&over.path().join("usr/bin/bash")).unwrap();
        link(&over.path().join("etc/link"), "/etc/shadow").unwrap();
        let refused = lay_over(over.path(), tree.path()).unwrap_err();
        assert!(refused.source.to_string().contains("only files"));
    }

    #[test]
    fn prune_does_not_follow_links_out_of_the_tree() {
        let (tree, outside) = (tree(), tree());
        link(
            &tree.path().join("out"),
            &outside.path().display().to_string(),
        )
        .unwrap();
        prune(tree.path(), &["out".to_owned()]).unwrap();
        assert!(outside.path().join("etc/hosts").exists());
        assert!(!tree.path().join("out").exists());
    }

    #[test]
    fn nothing_keeps_more_rights_than_its_kind_has() {
        let tree = tree();
        let program = tree.path().join("usr/bin/sh");
        fs::set_permissions(&program, Permissions::from_mode(0o6711)).unwrap();
        let secret = tree.path().join("etc/hosts");
        fs::set_permissions(&secret, Permissions::from_mode(0o640)).unwrap();
        normalise(tree.path(), 1_000).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&program), 0o755);
        assert_eq!(mode(&secret), 0o644);
        let modified = fs::metadata(tree.path().join("usr"))
            .unwrap()
            .modified()
            .unwrap();
        assert_eq!(
            modified,
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_000)
        );
    }

    #[test]
    fn patterns_match_whole_names() {
        assert!(matches("rc*.d", "rc0.d"));
        assert!(matches("issue*", "issue"));
        assert!(!matches("rc*.d", "rc.local"));
        assert!(!matches("ssl", "sslx"));
        // The star cannot stand for what start and end both need.
        assert!(!matches("aa*aa", "aaa"));
    }
}
