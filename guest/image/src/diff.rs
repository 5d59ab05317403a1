//! How two images differ, in the words of what they are made of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use bylaw_measure::ImageDir;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::manifest::{self, Entry, Manifest};
use crate::{ImageError, tool, tree};

/// One thing that is not the same in both images.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// `image file`, `metadata`, `command line`, `package`, `file` or `measurement`.
    pub what: &'static str,
    /// Which of them.
    pub name: String,
    /// In the first image; `None`: not there.
    pub before: Option<String>,
    /// In the second image.
    pub after: Option<String>,
}

/// Every difference between two image directories, in a fixed order.
///
/// Files of the root come from the list inside it, read by `unsquashfs` of this machine; whether that list is
/// true of an image from elsewhere is what [`crate::verify()`] answers: it is below the root hash.
///
/// # Errors
/// [`ImageError`] if one of them cannot be read.
pub fn diff(first: &Path, second: &Path) -> Result<Vec<Difference>, ImageError> {
    let (first, second) = (Described::read(first)?, Described::read(second)?);
    let mut differences = Vec::new();
    for ((what, before), (_, after)) in first.parts().into_iter().zip(second.parts()) {
        compare(what, before, after, &mut differences);
    }
    Ok(differences)
}

/// What an image is made of, as names and values.
struct Described {
    measurement: BTreeMap<String, String>,
    image_file: BTreeMap<String, String>,
    metadata: BTreeMap<String, String>,
    command_line: BTreeMap<String, String>,
    package: BTreeMap<String, String>,
    file: BTreeMap<String, String>,
}

impl Described {
    fn read(path: &Path) -> Result<Self, ImageError> {
        let failed = |error: bylaw_measure::ImageDirError| ImageError::Measure(error.to_string());
        let image = ImageDir::open(path).map_err(failed)?;
        let json = serde_json::to_value(image.metadata()).map_err(crate::ManifestError::Form)?;
        let mut metadata: BTreeMap<String, String> = json
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect();
        metadata.remove("cmdline");
        let mut image_file = BTreeMap::new();
        for name in tree::walk(path)? {
            let hash = hex::encode(Sha256::digest(tree::read(&path.join(&name))?));
            image_file.insert(name.display().to_string(), hash);
        }
        let manifest = manifest_of(&image)?;
        Ok(Self {
            measurement: measurements(&image)?,
            image_file,
            metadata,
            command_line: words(image.metadata().cmdline.as_deref().unwrap_or_default()),
            package: manifest.packages,
            file: manifest
                .files
                .iter()
                .map(|(path, entry)| (path.clone(), describe(entry)))
                .collect(),
        })
    }

    fn parts(&self) -> [(&'static str, &BTreeMap<String, String>); 6] {
        [
            ("measurement", &self.measurement),
            ("image file", &self.image_file),
            ("metadata", &self.metadata),
            ("command line", &self.command_line),
            ("package", &self.package),
            ("file", &self.file),
        ]
    }
}

/// The list inside the root file system.
fn manifest_of(image: &ImageDir) -> Result<Manifest, ImageError> {
    let root = image.path_of(image.metadata().rootfs.as_deref().unwrap_or_default());
    let text = tool::run(
        Command::new("unsquashfs")
            .arg("-cat")
            .arg(root)
            .arg(manifest::PATH),
    )?;
    Ok(Manifest::parse(text.as_bytes())?)
}

/// What verifiers compare, from the files themselves.
fn measurements(image: &ImageDir) -> Result<BTreeMap<String, String>, ImageError> {
    let failed = |error: bylaw_measure::ImageDirError| ImageError::Measure(error.to_string());
    let hash = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    let tdx = image
        .measure_tdx(bylaw_measure::PRECOMPUTED_MEMORY)
        .map_err(failed)?;
    let mut found = BTreeMap::from([
        (
            "os_image_hash".to_owned(),
            image.os_image_hash().map_err(failed)?.to_string(),
        ),
        ("TDX".to_owned(), hash(&tdx.to_cbor())),
    ]);
    if let Some(snp) = image.measure_snp().map_err(failed)? {
        found.insert("SEV-SNP".to_owned(), hash(&snp.to_cbor()));
    }
    Ok(found)
}

/// Words by name; a word that comes again gets its number.
fn words(line: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for word in line.split_whitespace() {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let mut key = name.to_owned();
        let mut number = 2;
        while found.contains_key(&key) {
            key = format!("{name} ({number})");
            number += 1;
        }
        found.insert(key, value.to_owned());
    }
    found
}

fn describe(entry: &Entry) -> String {
    match entry {
        Entry::Folder => "folder".to_owned(),
        Entry::Link { to } => format!("link to {to}"),
        Entry::File {
            sha256,
            size,
            executable,
        } => {
            let kind = if *executable { "program" } else { "file" };
            format!("{kind}, {size} bytes, {sha256}")
        }
    }
}

fn compare(
    what: &'static str,
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
    differences: &mut Vec<Difference>,
) {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let (before, after) = (before.get(name), after.get(name));
        if before != after {
            differences.push(Difference {
                what,
                name: name.clone(),
                before: before.cloned(),
                after: after.cloned(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_come_twice_are_both_compared() {
        let words = words("console=ttyS0 quiet console=tty1");
        assert_eq!(words["console"], "ttyS0");
        assert_eq!(words["console (2)"], "tty1");
        assert_eq!(words["quiet"], "");
    }

    #[test]
    fn what_is_new_gone_or_changed_is_a_difference_and_nothing_else() {
        let before = BTreeMap::from([("a", "1"), ("b", "1"), ("c", "1")]);
        let after = BTreeMap::from([("b", "1"), ("c", "2"), ("d", "1")]);
        let owned = |map: BTreeMap<&str, &str>| -> BTreeMap<String, String> {
            map.into_iter()
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect()
        };
        let mut found = Vec::new();
        compare("file", &owned(before), &owned(after), &mut found);
        let names: Vec<(&str, bool, bool)> = found
            .iter()
            .map(|d| (d.name.as_str(), d.before.is_some(), d.after.is_some()))
            .collect();
        assert_eq!(
            names,
            [("a", true, false), ("c", true, true), ("d", false, true)]
        );
    }
}
