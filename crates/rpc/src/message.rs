//! Messages of every service: prost for the binary form, serde for the JSON form.
//!
//! JSON has the proto field names, bytes as lower-case hex, numbers for every
//! integer, every field present; missing fields are defaults, unknown ones are
//! ignored (RPC conventions reference, section 4).

pub mod guest;
pub mod guest_api;
pub mod host_api;
pub mod kms;
pub mod simtee;
pub mod vmm;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A message in both forms.
pub trait Message: prost::Message + Default + Serialize + DeserializeOwned + 'static {
    /// For the OpenAPI document.
    const NAME: &'static str;
    /// Whether a request body is ignored.
    const IS_EMPTY: bool = false;
}

macro_rules! message {
    ($name:ident) => {
        impl crate::message::Message for $name {
            const NAME: &'static str = stringify!($name);
        }
    };
}
pub(crate) use message;

/// `google.protobuf.Empty`: `null` in JSON, no bytes in protobuf; as a request any body will do.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Empty {}

impl Message for Empty {
    const NAME: &'static str = "Empty";
    const IS_EMPTY: bool = true;
}

impl Serialize for Empty {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Empty {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(input).map(|_| Self {})
    }
}

/// An error in the binary form.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct PrpcError {
    /// The sentence.
    #[prost(string, tag = "1")]
    pub message: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::guest::*;
    use super::kms::*;
    use super::*;

    #[test]
    fn every_field_is_present_and_bytes_are_hex() {
        let json = serde_json::to_value(AppKeyResponse {
            disk_crypt_key: vec![0xab; 2],
            ..AppKeyResponse::default()
        })
        .unwrap();
        assert_eq!(json["disk_crypt_key"], "abab");
        assert_eq!(json["env_crypt_key"], "");
        assert_eq!(json.as_object().unwrap().len(), 8);
        let meta = serde_json::to_value(GetMetaResponse::default()).unwrap();
        assert!(meta["bootstrap_info"].is_null());
        assert!(meta["chain_id"].is_null());
    }

    #[test]
    fn missing_and_unknown_fields_are_fine_null_scalars_are_not() {
        let parse = |text: &str| serde_json::from_str::<GetKeyArgs>(text);
        assert_eq!(parse("{}").unwrap(), GetKeyArgs::default());
        assert_eq!(parse(r#"{"path":"a","swap_size":1}"#).unwrap().path, "a");
        assert!(parse(r#"{"path":null}"#).is_err());
        assert!(parse("null").is_err());
    }

    #[test]
    fn hex_input_may_have_prefixes_and_either_case() {
        let parse = |text: &str| {
            serde_json::from_str::<RawQuoteArgs>(&format!(r#"{{"report_data":"{text}"}}"#))
        };
        assert_eq!(parse("0xABcd").unwrap().report_data, [0xab, 0xcd]);
        assert_eq!(parse("0x0xab").unwrap().report_data, [0xab]);
        assert!(parse("abc").is_err());
        assert!(parse("zz").is_err());
    }

    #[test]
    fn get_quote_omits_an_empty_attestation_only() {
        let json = serde_json::to_value(GetQuoteResponse::default()).unwrap();
        assert!(json.get("attestation").is_none());
        assert!(json.get("quote").is_some());
    }

    #[test]
    fn empty_is_null_and_accepts_anything() {
        assert_eq!(serde_json::to_string(&Empty {}).unwrap(), "null");
        for text in ["null", "{}", "[1]", "\"x\""] {
            serde_json::from_str::<Empty>(text).unwrap();
        }
    }

    proptest! {
        #[test]
        fn both_forms_carry_the_same(
            path in ".{0,20}", names in proptest::collection::vec("[a-z.]{0,9}", 0..4),
            flag: bool, time: Option<u64>, bytes: Vec<u8>, list: Vec<Vec<u8>>,
        ) {
            let tls = GetTlsKeyArgs {
                subject: path, alt_names: names, usage_ra_tls: flag, not_after: time,
                ..GetTlsKeyArgs::default()
            };
            let json = serde_json::to_string(&tls).unwrap();
            prop_assert_eq!(&serde_json::from_str::<GetTlsKeyArgs>(&json).unwrap(), &tls);
            prop_assert_eq!(&GetTlsKeyArgs::decode(&*tls.encode_to_vec()).unwrap(), &tls);
            let key = GetKeyResponse { key: bytes, signature_chain: list };
            let json = serde_json::to_string(&key).unwrap();
            prop_assert_eq!(&serde_json::from_str::<GetKeyResponse>(&json).unwrap(), &key);
            prop_assert_eq!(&GetKeyResponse::decode(&*key.encode_to_vec()).unwrap(), &key);
        }
    }
}
