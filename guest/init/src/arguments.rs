//! What the measured kernel command line says about the root.

/// Size of a block of data and of a node of the hash tree, in bytes.
pub(crate) const BLOCK: u64 = 4096;

/// Length of a SHA-256 in hexadecimal.
const HASH_HEX: usize = 64;

/// `dstack.rootfs_hash=` and `dstack.rootfs_size=`, checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// Root hash of the verity tree: 64 lower-case hexadecimal digits, nothing else.
    hash: String,
    /// Bytes of the file system; the hash tree's superblock follows it.
    size: u64,
}

/// Why the command line does not name one root.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadArguments {
    #[error("the kernel command line has {count} words {name}…, it must have one")]
    Count { name: &'static str, count: usize },
    #[error("dstack.rootfs_hash is not 64 lower-case hexadecimal digits")]
    Hash,
    #[error("dstack.rootfs_size is not a decimal number of bytes, a positive multiple of 4096")]
    Size,
}

impl Arguments {
    /// Reads the text of `/proc/cmdline`.
    ///
    /// # Errors
    /// Each word must be there once and in its one canonical form. A second one is refused rather than
    /// ignored: which one counts would else depend on who reads it.
    pub(crate) fn parse(command_line: &str) -> Result<Self, BadArguments> {
        let hash = one(command_line, "dstack.rootfs_hash=")?;
        let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if hash.len() != HASH_HEX || !hash.bytes().all(hexadecimal) {
            return Err(BadArguments::Hash);
        }
        let size = one(command_line, "dstack.rootfs_size=")?;
        let canonical = size.bytes().all(|byte| byte.is_ascii_digit()) && !size.starts_with('0');
        match size.parse::<u64>() {
            Ok(bytes) if canonical && bytes.is_multiple_of(BLOCK) => Ok(Self {
                hash: hash.to_owned(),
                size: bytes,
            }),
            _ => Err(BadArguments::Size),
        }
    }

    /// Length of the verified device in sectors of 512 bytes.
    pub(crate) fn sectors(&self) -> u64 {
        self.size / 512
    }

    /// Parameters of the `verity` target over `device` (`major:minor`): hash type 1, SHA-256, no salt.
    ///
    /// The tree starts one block after the data: `veritysetup` keeps a superblock between them, which would
    /// repeat these parameters in the host's words and is not read.
    /// Source: kernel Documentation/admin-guide/device-mapper/verity.rst.
    pub(crate) fn verity_table(&self, device: &str) -> String {
        let blocks = self.size / BLOCK;
        let tree = blocks + 1;
        let hash = &self.hash;
        format!(
            "1 {device} {device} {BLOCK} {BLOCK} {blocks} {tree} sha256 {hash} - 1 panic_on_corruption"
        )
    }
}

/// The value of the only word that starts with `name`.
fn one<'a>(command_line: &'a str, name: &'static str) -> Result<&'a str, BadArguments> {
    let mut values = command_line
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix(name));
    match (values.next(), values.count()) {
        (Some(value), 0) => Ok(value),
        (None, _) => Err(BadArguments::Count { name, count: 0 }),
        (Some(_), more) => Err(BadArguments::Count {
            name,
            count: more + 1,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn with(hash: &str, size: &str) -> String {
        format!("console=ttyS0 dstack.rootfs_hash={hash} panic=-1 dstack.rootfs_size={size}\n")
    }

    #[test]
    fn the_table_names_the_hash_the_size_and_the_tree_behind_the_superblock() {
        let arguments = Arguments::parse(&with(HASH, "8192")).unwrap();
        assert_eq!(arguments.sectors(), 16);
        assert_eq!(
            arguments.verity_table("254:0"),
            format!("1 254:0 254:0 4096 4096 2 3 sha256 {HASH} - 1 panic_on_corruption")
        );
    }

    #[test]
    fn a_hash_in_any_other_form_is_refused() {
        let longer = format!("{HASH}0");
        let upper = HASH.to_uppercase();
        for hash in ["", &HASH[1..], &longer, &upper, &HASH.replace('0', "g")] {
            assert_eq!(
                Arguments::parse(&with(hash, "4096")),
                Err(BadArguments::Hash),
                "{hash:?}"
            );
        }
    }

    #[test]
    fn a_size_in_any_other_form_is_refused() {
        for size in [
            "",
            "0",
            "4095",
            "04096",
            "+4096",
            "-4096",
            "0x1000",
            "4096K",
            "4097",
            "99999999999999999999999",
            "18446744073709551616",
        ] {
            assert_eq!(
                Arguments::parse(&with(HASH, size)),
                Err(BadArguments::Size),
                "{size:?}"
            );
        }
    }

    #[test]
    fn words_must_be_there_exactly_once() {
        let hash = "dstack.rootfs_hash=";
        let size = "dstack.rootfs_size=";
        for (line, name, count) in [
            (format!("{size}4096"), hash, 0),
            (format!("{hash}{HASH}"), size, 0),
            (format!("{hash}{HASH} {size}4096 {hash}{HASH}"), hash, 2),
            (
                format!("{hash}{HASH} {size}4096 {size}8192 {size}1"),
                size,
                3,
            ),
            // Not a word of its own.
            (format!("x{hash}{HASH} {size}4096"), hash, 0),
        ] {
            assert_eq!(
                Arguments::parse(&line),
                Err(BadArguments::Count { name, count }),
                "{line}"
            );
        }
    }
}
