//! TCB info and QE identity that match the machine, signed.

use std::time::{Duration, UNIX_EPOCH};

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::json;

use crate::machine::Options;
use crate::pck::{FMSPC, PCE_SVN, SVN};
use crate::quote::{OUTDATED_TEE_TCB_SVN, QE_MRSIGNER, QE_PROD_ID, QE_SVN, TEE_TCB_SVN};

/// JSON text and its signature (`r || s`, hex).
pub(crate) struct Signed {
    pub(crate) text: String,
    pub(crate) signature: String,
}

fn sign(text: String, key: &SigningKey) -> Signed {
    let signature: Signature = key.sign(text.as_bytes());
    Signed {
        signature: hex::encode(signature.to_bytes()),
        text,
    }
}

fn date(unix: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(unix)).to_string()
}

fn components(svn: &[u8; 16]) -> Vec<serde_json::Value> {
    svn.iter().map(|svn| json!({ "svn": svn })).collect()
}

pub(crate) fn tcb_info(options: &Options, from: u64, until: u64, key: &SigningKey) -> Signed {
    let zero = "0".repeat(96);
    let level = |tdx: &[u8; 16], published: &str, status: &str, advisories: &[String]| {
        json!({
            "tcb": {
                "sgxtcbcomponents": components(&[SVN; 16]),
                "pcesvn": PCE_SVN,
                "tdxtcbcomponents": components(tdx),
            },
            "tcbDate": published,
            "tcbStatus": status,
            "advisoryIDs": advisories,
        })
    };
    let advisory = ["INTEL-SA-01036".to_owned()];
    let levels = [
        level(
            &TEE_TCB_SVN,
            "2024-03-13T00:00:00Z",
            &options.tcb_status,
            &options.advisory_ids,
        ),
        level(
            &OUTDATED_TEE_TCB_SVN,
            "2023-08-09T00:00:00Z",
            "OutOfDate",
            &advisory,
        ),
    ];
    let text = json!({
        "id": "TDX",
        "version": 3,
        "issueDate": date(from),
        "nextUpdate": date(until),
        "fmspc": hex::encode(FMSPC),
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": 17,
        "tdxModule": {
            "mrsigner": zero,
            "attributes": "0000000000000000",
            "attributesMask": "FFFFFFFFFFFFFFFF",
        },
        "tdxModuleIdentities": [{
            "id": "TDX_01",
            "mrsigner": zero,
            "attributes": "0000000000000000",
            "attributesMask": "FFFFFFFFFFFFFFFF",
            "tcbLevels": [{
                "tcb": { "isvsvn": TEE_TCB_SVN[0] },
                "tcbDate": "2024-03-13T00:00:00Z",
                "tcbStatus": "UpToDate",
            }],
        }],
        "tcbLevels": levels,
    });
    sign(text.to_string(), key)
}

/// TCB info for quotes of enclaves: the same platform, no TDX module.
pub(crate) fn sgx_tcb_info(options: &Options, from: u64, until: u64, key: &SigningKey) -> Signed {
    let text = json!({
        "id": "SGX",
        "version": 3,
        "issueDate": date(from),
        "nextUpdate": date(until),
        "fmspc": hex::encode(FMSPC),
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": 17,
        "tcbLevels": [{
            "tcb": {
                "sgxtcbcomponents": components(&[SVN; 16]),
                "pcesvn": PCE_SVN,
            },
            "tcbDate": "2024-03-13T00:00:00Z",
            "tcbStatus": options.tcb_status,
            "advisoryIDs": options.advisory_ids,
        }],
    });
    sign(text.to_string(), key)
}

/// Identity of the quoting enclave; `id` is `TD_QE` for quotes of TDs, `QE` for those of
/// enclaves.
pub(crate) fn qe_identity(id: &str, from: u64, until: u64, key: &SigningKey) -> Signed {
    let text = json!({
        "id": id,
        "version": 2,
        "issueDate": date(from),
        "nextUpdate": date(until),
        "tcbEvaluationDataNumber": 17,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": hex::encode_upper(QE_MRSIGNER),
        "isvprodid": QE_PROD_ID,
        "tcbLevels": [{
            "tcb": { "isvsvn": QE_SVN },
            "tcbDate": "2024-03-13T00:00:00Z",
            "tcbStatus": "UpToDate",
        }],
    });
    sign(text.to_string(), key)
}
