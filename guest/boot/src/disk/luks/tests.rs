use std::process::{Command, Stdio};
use std::sync::LazyLock;

use super::*;

/// The header of a disk that this program formatted inside a VM, whose kernel has the
/// device-mapper that integrity needs.
static REAL: LazyLock<Vec<u8>> =
    LazyLock::new(|| include_bytes!("../../../fixtures/luks2-header.bin").to_vec());

fn made_by_cryptsetup(options: &[&str]) -> Vec<u8> {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    for (name, size) in [("header", DATA_OFFSET), ("disk", 2 * DATA_OFFSET)] {
        let file = std::fs::File::create(dir.path().join(name)).unwrap();
        file.set_len(size as u64).unwrap();
    }
    let mut child = Command::new("/usr/sbin/cryptsetup")
        .args(crate::disk::format::options(&dir.path().join("header")))
        .args(options)
        .arg(dir.path().join("disk"))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"passphrase")
        .unwrap();
    assert!(child.wait().unwrap().success());
    std::fs::read(dir.path().join("header")).unwrap()
}

fn json_of(header: &[u8]) -> serde_json::Value {
    let area = &header[BINARY..HEADER];
    let end = area.iter().position(|byte| *byte == 0).unwrap();
    serde_json::from_slice(&area[..end]).unwrap()
}

fn seal(header: &mut [u8]) {
    for start in [0, HEADER] {
        let one = &mut header[start..start + HEADER];
        one[CHECKSUM].fill(0);
        let digest = Sha256::digest(&*one);
        one[CHECKSUM.start..CHECKSUM.start + 32].copy_from_slice(&digest);
    }
}

fn rewrite_text(header: &mut [u8], text: &str) {
    for start in [0, HEADER] {
        let area = &mut header[start + BINARY..start + HEADER];
        area.fill(0);
        area[..text.len()].copy_from_slice(text.as_bytes());
    }
    seal(header);
}

fn rewrite(header: &mut [u8], change: impl FnOnce(&mut serde_json::Value)) {
    let mut json = json_of(header);
    change(&mut json);
    rewrite_text(header, &json.to_string());
}

fn refused(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut header = REAL.clone();
    rewrite(&mut header, change);
    validate(&header).unwrap_err().to_string()
}

#[test]
fn what_we_write_is_accepted() {
    validate(&REAL).unwrap();
}

#[test]
fn a_real_header_without_integrity_is_refused() {
    let header = made_by_cryptsetup(&["--cipher", CIPHER]);
    let error = validate(&header).unwrap_err().to_string();
    assert!(error.contains("key_size is 64"), "{error}");
}

#[test]
fn a_real_header_with_another_cipher_is_refused() {
    for cipher in ["aes-xts-plain", "aes-xts-essiv:sha256"] {
        let header = made_by_cryptsetup(&["--cipher", cipher]);
        assert!(validate(&header).is_err(), "{cipher}");
    }
}

#[test]
fn hostile_metadata_is_refused_by_name() {
    type Change = fn(&mut serde_json::Value);
    let cases: &[(&str, Change)] = &[
        ("segment encryption", |json| {
            json["segments"]["0"]["encryption"] = "cipher_null-ecb".into()
        }),
        ("keyslot encryption", |json| {
            json["keyslots"]["0"]["area"]["encryption"] = "cipher_null-ecb".into();
        }),
        ("segment integrity", |json| {
            json["segments"]["0"]
                .as_object_mut()
                .unwrap()
                .remove("integrity");
        }),
        ("segment integrity", |json| {
            json["segments"]["0"]["integrity"]["type"] = "none".into()
        }),
        ("journal_integrity", |json| {
            json["segments"]["0"]["integrity"]["journal_integrity"] = "x".into();
        }),
        ("segments", |json| {
            json["segments"]["1"] = json["segments"]["0"].clone()
        }),
        ("segments", |json| {
            let one = json["segments"]
                .as_object_mut()
                .unwrap()
                .remove("0")
                .unwrap();
            json["segments"]["7"] = one;
        }),
        ("segment type", |json| {
            json["segments"]["0"]["type"] = "linear".into()
        }),
        ("segment offset", |json| {
            json["segments"]["0"]["offset"] = "0".into()
        }),
        ("segment offset", |json| {
            json["segments"]["0"]["offset"] = "016777216".into()
        }),
        ("segment offset", |json| {
            json["segments"]["0"]["offset"] = "-1".into()
        }),
        ("segment size", |json| {
            json["segments"]["0"]["size"] = "4096".into()
        }),
        ("segment iv_tweak", |json| {
            json["segments"]["0"]["iv_tweak"] = "8".into()
        }),
        ("segment sector_size", |json| {
            json["segments"]["0"]["sector_size"] = 512.into()
        }),
        ("unknown field `flags`", |json| {
            json["segments"]["0"]["flags"] = serde_json::json!([])
        }),
        ("unknown field `requirements`", |json| {
            json["config"]["requirements"] = serde_json::json!({"mandatory": ["online-reencrypt"]});
        }),
        ("unknown field `flags`", |json| {
            json["config"]["flags"] = serde_json::json!(["allow-discards"])
        }),
        ("unknown field `mode`", |json| {
            json["keyslots"]["0"]["mode"] = "reencrypt".into()
        }),
        ("keyslot type", |json| {
            json["keyslots"]["0"]["type"] = "reencrypt".into()
        }),
        ("keyslots", |json| {
            json["keyslots"]["1"] = json["keyslots"]["0"].clone()
        }),
        ("keyslots", |json| json["keyslots"] = serde_json::json!({})),
        ("keyslot key_size", |json| {
            json["keyslots"]["0"]["key_size"] = 32.into()
        }),
        ("keyslot area offset", |json| {
            json["keyslots"]["0"]["area"]["offset"] = "0".into()
        }),
        ("keyslot area size", |json| {
            json["keyslots"]["0"]["area"]["size"] = "18446744073709551615".into();
        }),
        ("af hash", |json| {
            json["keyslots"]["0"]["af"]["hash"] = "sha1".into()
        }),
        ("af stripes", |json| {
            json["keyslots"]["0"]["af"]["stripes"] = 1.into()
        }),
        ("kdf iterations", |json| {
            json["keyslots"]["0"]["kdf"]["iterations"] = 1.into()
        }),
        ("kdf iterations", |json| {
            json["keyslots"]["0"]["kdf"]["iterations"] = 4_000_000_000_u32.into()
        }),
        ("kdf salt", |json| {
            json["keyslots"]["0"]["kdf"]["salt"] = "AA==".into()
        }),
        ("unknown field `memory`", |json| {
            json["keyslots"]["0"]["kdf"]["memory"] = 1.into()
        }),
        ("number of tokens", |json| {
            json["tokens"]["0"] = serde_json::json!({"type": "systemd-tpm2"})
        }),
        ("digest segments", |json| {
            json["digests"]["0"]["segments"] = serde_json::json!([])
        }),
        ("digest hash", |json| {
            json["digests"]["0"]["hash"] = "md5".into()
        }),
        ("digest is", |json| {
            json["digests"]["0"]["digest"] = "".into()
        }),
        ("config.json_size", |json| {
            json["config"]["json_size"] = "12287".into()
        }),
        ("config.keyslots_size", |json| {
            json["config"]["keyslots_size"] = "0".into()
        }),
    ];
    for (expected, change) in cases {
        let error = refused(change);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn json_tricks_are_refused() {
    let text = json_of(&REAL).to_string();
    for (text, why) in [
        (
            text.replacen("\"tokens\"", "\"tokens\":{},\"tokens\"", 1),
            "duplicate",
        ),
        (format!("{text} x"), "trailing"),
        (String::new(), "malformed"),
        ("[]".to_owned(), "malformed"),
    ] {
        let mut header = REAL.clone();
        rewrite_text(&mut header, &text);
        let error = validate(&header).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
    let mut header = REAL.clone();
    for start in [0, HEADER] {
        header[start + HEADER - 1] = b'x';
    }
    seal(&mut header);
    let error = validate(&header).unwrap_err().to_string();
    assert!(error.contains("follows"), "{error}");
}

#[test]
fn every_byte_of_the_binary_header_counts() {
    // Of either header; the checksums are made right again, so that it is the field itself.
    for start in [0, HEADER] {
        for at in [0, 7, 9, 24, 72, 80, 208, 256, 263, 300, 600, 4095] {
            let mut header = REAL.clone();
            header[start + at] ^= 1;
            seal(&mut header);
            assert!(validate(&header).is_err(), "byte {}", start + at);
        }
        // And without making them right.
        for at in [104, 168, 448, 500, BINARY, HEADER - 1] {
            let mut header = REAL.clone();
            header[start + at] ^= 1;
            assert!(validate(&header).is_err(), "byte {}", start + at);
        }
    }
}

#[test]
fn headers_must_agree() {
    let mut header = REAL.clone();
    // The sequence number of the second.
    header[HEADER + 23] ^= 1;
    seal(&mut header);
    assert_eq!(validate(&header), Err(HeaderError::Differ));
    for length in [0, 100, HEADER, 2 * HEADER - 1] {
        assert_eq!(validate(&REAL[..length]), Err(HeaderError::Short));
    }
}

#[test]
fn no_bytes_make_it_panic() {
    use proptest::prelude::*;
    proptest!(|(flips in prop::collection::vec((0..2 * HEADER, any::<u8>()), 1..20))| {
        let mut header = REAL[..2 * HEADER].to_vec();
        for (at, byte) in flips {
            header[at] = byte;
        }
        let _ = validate(&header);
        seal(&mut header);
        let _ = validate(&header);
    });
}
