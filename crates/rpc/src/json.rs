//! The JSON mapping: bytes as hex, and answers in ASCII.

use std::fmt::Write;

/// Pure ASCII, so that clients which count UTF-16 units and bytes alike agree.
pub(crate) fn to_ascii(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

fn decode<E: serde::de::Error>(text: &str) -> Result<Vec<u8>, E> {
    let mut digits = text;
    while let Some(rest) = digits.strip_prefix("0x") {
        digits = rest;
    }
    hex::decode(digits).map_err(|error| E::custom(format!("{error} in hex string")))
}

/// `bytes` fields.
pub(crate) mod bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<u8>, D::Error> {
        super::decode(&String::deserialize(input)?)
    }
}

/// `repeated bytes` fields.
pub(crate) mod bytes_list {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        list: &[Vec<u8>],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(hex::encode))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Vec<Vec<u8>>, D::Error> {
        Vec::<String>::deserialize(input)?
            .iter()
            .map(|text| super::decode(text))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn non_ascii_text_is_escaped_and_means_the_same() {
        let text = serde_json::to_string("é😀a").unwrap();
        let ascii = super::to_ascii(&text);
        assert_eq!(ascii, "\"\\u00e9\\ud83d\\ude00a\"");
        assert_eq!(serde_json::from_str::<String>(&ascii).unwrap(), "é😀a");
    }
}
