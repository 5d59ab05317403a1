//! Dependencies point one way: types <- libraries <- services <- tests.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Our crates and which of ours each may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("bylaw-types", &[]),
    ("bylaw-attest", &["types"]),
    ("bylaw-keys", &["types"]),
    ("bylaw-chain", &["types"]),
    ("bylaw-gov", &["types", "chain"]),
    ("bylaw-rpc", &[]),
    ("bylaw-service", &[]),
    ("bylaw-ratls", &["types", "attest", "keys"]),
    ("bylaw-attester", &["types", "attest", "keys", "rpc"]),
    ("bylaw-measure", &["types", "attest"]),
    (
        "bylaw-simtee",
        &["types", "attest", "keys", "measure", "rpc"],
    ),
    ("bylaw-image", &["types", "attest", "measure"]),
    ("bylaw-init", &[]),
    (
        "bylaw-boot",
        &["types", "attest", "attester", "keys", "rpc", "service"],
    ),
    ("bylaw-qemu", &["types", "attest", "measure"]),
    (
        "bylaw-key-provider",
        &["types", "attest", "keys", "rpc", "service"],
    ),
    (
        "bylaw-vmm",
        &[
            "types", "attest", "chain", "gov", "measure", "qemu", "rpc", "service",
        ],
    ),
    (
        "bylaw-kms",
        &[
            "types", "attest", "attester", "chain", "keys", "measure", "ratls", "rpc", "service",
        ],
    ),
    (
        "bylaw-agent",
        &[
            "types", "attest", "attester", "chain", "keys", "ratls", "rpc", "service",
        ],
    ),
    ("bylaw-sdk", &["types", "attest", "keys", "ratls"]),
    (
        "bylaw-cli",
        &[
            "types", "attest", "chain", "gov", "image", "keys", "measure", "qemu", "ratls", "rpc",
        ],
    ),
];

fn ours() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    metadata
        .packages
        .iter()
        .map(|package| {
            let uses = package
                .dependencies
                .iter()
                .filter(|dependency| dependency.kind == DependencyKind::Normal)
                .filter_map(|dependency| dependency.name.strip_prefix("bylaw-"))
                .map(str::to_owned)
                .collect();
            (package.name.to_string(), uses)
        })
        .collect()
}

#[test]
fn no_arrow_points_the_wrong_way() {
    let ours = ours();
    for (name, allowed) in ALLOWED {
        let allowed: BTreeSet<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        let uses = &ours[*name];
        assert!(
            uses.is_subset(&allowed),
            "{name} uses {:?}",
            uses - &allowed
        );
    }
}

#[test]
fn no_production_program_links_the_simulators_signing_code() {
    for (name, uses) in ours() {
        if !["bylaw-e2e", "bylaw-bench"].contains(&name.as_str()) {
            assert!(!uses.contains("simtee"), "{name} links bylaw-simtee");
        }
    }
}
