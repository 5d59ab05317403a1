//! Reading the vectors that all SDKs share.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a test fails by panicking; each file uses a part"
)]

use serde_json::Value;

/// A file of `test/vectors/sdk`; a missing one fails the test.
pub(crate) fn vectors(name: &str) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../test/vectors/sdk")
        .join(name);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field]
        .as_str()
        .unwrap_or_else(|| panic!("{field} of {}", case["name"]))
}

pub(crate) fn bytes(case: &Value, field: &str) -> Vec<u8> {
    hex::decode(text(case, field)).unwrap()
}

pub(crate) fn list(case: &Value, field: &str) -> Vec<Vec<u8>> {
    let items = case[field].as_array().unwrap();
    items
        .iter()
        .map(|item| hex::decode(item.as_str().unwrap()).unwrap())
        .collect()
}

pub(crate) fn cases(vectors: &Value) -> &[Value] {
    let cases = vectors.as_array().unwrap();
    assert!(!cases.is_empty());
    cases
}

/// Both verdicts must occur, or the test could not fail.
pub(crate) fn assert_both_verdicts(cases: &[Value]) {
    for verdict in [true, false] {
        assert!(
            cases.iter().any(|case| case["ok"] == verdict),
            "no case is {verdict}"
        );
    }
}
